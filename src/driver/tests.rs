mod isolation;
mod judging;
mod overload;
mod tarpit;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use std::pin::Pin;

use super::*;
use crate::capabilities::Capabilities;
use crate::envelope::Envelope;
use crate::gate::{FAREWELL, INTRODUCTION};
use crate::message::Message;
use crate::observer::Event;
use crate::outcome::{Outcome, Receipt};
use crate::rehearsal::{Rehearsal, peer};
use crate::relay::{Relay, Target};
use crate::session::Settings;
use crate::wire::mailbox::ForwardPath;

/// A client that is always ready to send, until it has sent everything.
pub(super) struct Client<'c> {
    says: Vec<u8>,
    /// The size of each group that it sends after a reply. If empty, it sends everything at once.
    pub(super) groups: Vec<usize>,
    /// Number of octets received when it last sent.
    answered: usize,
    /// Number of octets sent.
    said: Arc<AtomicUsize>,
    /// Whether it waits for the greeting.
    pub(super) polite: bool,
    /// Number of octets that it sends before it waits for the reply that its message is queued.
    waits_at: usize,
    /// Whether its connection breaks at the end.
    breaks: bool,
    heard: &'c mut Vec<u8>,
    /// A callback that gets the number of octets sent, before the client continues.
    pub(super) listener: &'c (dyn Fn(usize) + Sync),
}

impl<'c> Client<'c> {
    pub(super) fn new(says: &str, heard: &'c mut Vec<u8>) -> Self {
        let says = says.as_bytes().to_vec();
        Self {
            says,
            groups: Vec::new(),
            answered: 0,
            said: Arc::default(),
            polite: true,
            waits_at: usize::MAX,
            breaks: false,
            heard,
            listener: &|_| {},
        }
    }
}

impl AsyncRead for Client<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.polite && self.heard.len() == self.answered {
            return Poll::Pending;
        }
        let from = self.said.load(Ordering::Relaxed);
        (self.listener)(from);
        let told = self.heard.windows(6).any(|six| six == b"queued");
        let until = if told { self.says.len() } else { self.waits_at.min(self.says.len()) };
        let mut count = buffer.len().min(until - from);
        if count == 0 && from == self.waits_at && !told {
            return Poll::Pending;
        }
        if count == 0 && self.breaks {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !self.groups.is_empty() {
            self.answered = self.heard.len();
            count = self.groups.remove(0);
        }
        buffer[..count].copy_from_slice(&self.says[from..from + count]);
        self.said.store(from + count, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Client<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.heard.extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A relay target that accepts everything, after a delay.
#[derive(Clone)]
pub(super) struct Slow {
    runtime: Rehearsal,
    /// Whether it never returns its capabilities and never closes.
    mute: bool,
    /// Number of octets that the client had sent when each recipient was asked about.
    asked: Arc<std::sync::Mutex<Vec<usize>>>,
    said: Arc<AtomicUsize>,
}

impl Slow {
    pub(super) fn new(runtime: &Rehearsal, mute: bool) -> Self {
        let runtime = runtime.clone();
        Self { runtime, mute, asked: Arc::default(), said: Arc::default() }
    }
}

impl Target for Slow {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Relay for Slow {
    async fn capabilities(&mut self) -> Capabilities {
        if self.mute { pending().await } else { Capabilities::all() }
    }

    async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
        self.asked.lock().unwrap().push(self.said.load(Ordering::Relaxed));
        self.runtime.sleep(Duration::from_millis(1)).await;
        Outcome::Accepted(Receipt::recipient())
    }

    async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
        Outcome::Accepted(Receipt::kept("1"))
    }

    async fn close(&mut self) {
        if self.mute {
            pending().await
        }
    }
}

fn gate(runtime: &Rehearsal, target: &Slow) -> Gate<Rehearsal> {
    Gate::new(runtime.clone(), Settings::new("mx.example"), target.clone())
}

#[test]
fn early_talker_is_detected_with_an_empty_panel() {
    let runtime = Rehearsal::new();
    let mut heard = Vec::new();
    let mut client = Client::new("EHLO c\r\n", &mut heard);
    client.polite = false;
    let gate = gate(&runtime, &Slow::new(&runtime, false));
    runtime.run(serve(client, peer(), &gate)).unwrap();
    assert_eq!(
        str::from_utf8(&heard).unwrap(),
        "554 5.5.0 SMTP protocol synchronization error\r\n"
    );
}

#[test]
fn client_is_read_no_faster_than_it_is_answered() {
    const AFTER_CONTENT: usize = 64 << 10;
    // Two cases: the excess input follows commands, or it follows a chunk that fills most of the
    // first block of its content.
    for (chunk, most) in [(None, COMMANDS + STASH), (Some(20_000), AFTER_CONTENT)] {
        let runtime = Rehearsal::new();
        let target = Slow::new(&runtime, false);
        let rcpt = format!("RCPT TO:<{}@d>\r\n", "x".repeat(1000));
        let mail = "MAIL FROM:<a@b>\r\n";
        let message = chunk.map_or_else(String::new, |octets| {
            let chunk = "x".repeat(octets);
            format!("{mail}RCPT TO:<{}@d>\r\nBDAT {octets} LAST\r\n{chunk}", "x".repeat(1000))
        });
        let says = format!("HELO c\r\n{message}{mail}{}QUIT\r\n", rcpt.repeat(500));
        let mut heard = Vec::new();
        let mut client = Client::new(&says, &mut heard);
        client.said = target.said.clone();
        runtime.run(serve(client, peer(), &gate(&runtime, &target))).unwrap();
        let replies = str::from_utf8(&heard).unwrap().lines().count();
        let before = if message.is_empty() { 0 } else { 3 };
        assert_eq!(replies, 500 + 4 + before);
        let asked = target.asked.lock().unwrap();
        let asked = asked.iter().skip(asked.len() - 500).enumerate();
        let ahead = asked.map(|(index, said)| {
            said - "HELO c\r\n".len() - message.len() - mail.len() - (index + 1) * rcpt.len()
        });
        let ahead = ahead.max().unwrap();
        assert!(ahead <= most && ahead > most / 2, "{ahead} octets are held, {most} may be");
    }
}

#[test]
fn busy_client_gets_421_at_shutdown() {
    let runtime = Rehearsal::new();
    let message = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 0 LAST\r\n";
    let says = format!("EHLO c\r\n{}", message.repeat(900));
    let gate = gate(&runtime, &Slow::new(&runtime, false));
    let listener = |said| {
        if said > COMMANDS {
            gate.shut_down();
        }
    };
    let mut heard = Vec::new();
    let mut client = Client::new(&says, &mut heard);
    client.listener = &listener;
    runtime.run(serve(client, peer(), &gate)).unwrap();
    let heard = str::from_utf8(&heard).unwrap();
    assert!(heard.ends_with("\r\n421 4.3.2 Service shutting down, try again later\r\n"), "{heard}");
}

#[test]
fn hanging_relay_target_does_not_block_the_session() {
    let runtime = Rehearsal::new();
    let mut heard = Vec::new();
    let client = Client::new("EHLO c\r\nMAIL FROM:<a@b> RET=FULL\r\nQUIT\r\n", &mut heard);
    runtime.run(serve(client, peer(), &gate(&runtime, &Slow::new(&runtime, true)))).unwrap();
    let heard = str::from_utf8(&heard).unwrap();
    assert!(heard.starts_with("220 mx.example ESMTP"), "{heard}");
    assert!(heard.contains("\r\n555 5.5.4 "), "{heard}");
    assert_eq!(runtime.elapsed(), INTRODUCTION + FAREWELL);
}

/// A relay target that accepts everything and offers no extensions.
struct Plain;

impl Target for Plain {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        Box::new(Self)
    }
}

#[async_trait]
impl Relay for Plain {
    async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
        Outcome::Accepted(Receipt::recipient())
    }

    async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
        Outcome::Accepted(Receipt::kept("1"))
    }
}

#[test]
fn dsn_and_smtputf8_are_offered_only_if_the_relay_target_says_so() {
    let hears = |target: Box<dyn Target>| {
        let runtime = Rehearsal::new();
        let mut heard = Vec::new();
        let says = "EHLO c\r\nMAIL FROM:<a@b> SMTPUTF8\r\nMAIL FROM:<a@b>\r\n\
                    RCPT TO:<c@d> NOTIFY=FAILURE\r\nRCPT TO:<c@d>\r\nQUIT\r\n";
        let mut client = Client::new(says, &mut heard);
        client.groups = says.split_inclusive("\r\n").map(str::len).collect();
        let gate = Gate::new(runtime.clone(), Settings::new("mx.example"), target);
        runtime.run(serve(client, peer(), &gate)).unwrap();
        String::from_utf8(heard).unwrap()
    };
    let plain = hears(Box::new(Arc::new(Plain)));
    for keyword in ["DSN", "SMTPUTF8"] {
        assert!(!plain.contains(&format!("250-{keyword}\r\n")), "{plain}");
    }
    for keyword in ["PIPELINING", "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES"] {
        assert!(plain.contains(&format!("250-{keyword}\r\n")), "{plain}");
    }
    assert_eq!(plain.matches("\r\n555 5.5.4 ").count(), 2, "{plain}");
    assert_eq!(
        plain.matches("\r\n250 2.1.5 ").count() + plain.matches("250 2.1.0").count(),
        2,
        "{plain}"
    );

    let all = hears(Box::new(Slow::new(&Rehearsal::new(), false)));
    for keyword in ["DSN", "SMTPUTF8"] {
        assert!(all.contains(&format!("250-{keyword}\r\n")), "{all}");
    }
}

#[test]
fn unacknowledged_reply_is_observed() {
    let message = "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 0 LAST\r\n";
    for (more, breaks, expected) in [
        ("", true, 1),
        // The client has sent something since, or has not disconnected.
        ("NOOP\r\n", true, 0),
        ("QUIT\r\n", true, 0),
        ("", false, 0),
    ] {
        let runtime = Rehearsal::new();
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let gate = gate(&runtime, &Slow::new(&runtime, false)).observer(move |event| {
            let unacknowledged = matches!(event, Event::Unacknowledged(_));
            counter.fetch_add(usize::from(unacknowledged), Ordering::Relaxed);
        });
        let mut heard = Vec::new();
        let says = format!("{message}{more}");
        let mut client = Client::new(&says, &mut heard);
        (client.waits_at, client.breaks) = (message.len(), breaks);
        let _ = runtime.run(serve(client, peer(), &gate));
        let heard = str::from_utf8(&heard).unwrap();
        assert!(heard.contains("queued as 1"), "{more:?} {breaks}: {heard}");
        assert_eq!(count.load(Ordering::Relaxed), expected, "{more:?} {breaks}");
    }
}
