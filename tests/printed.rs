//! Text from strangers is printed so that it cannot control a terminal, start a new line, or look
//! like other text.

#![cfg(feature = "serve")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use async_trait::async_trait;
use futures::io::{AsyncRead, AsyncWrite, Cursor};
use nobounce::command::MailParameters;
use nobounce::outcome::{RelayError, TlsError};
use nobounce::peer::TlsInfo;
use nobounce::reply::ReplyCode;
use nobounce::session::EarlyInput;
use nobounce::tally::FailureCause;
use nobounce::{
    Address, DataContext, Envelope, Event, Finding, ForwardPath, Gate, Message, Outcome, Panel,
    Peer, Receipt, Relay, Reply, ReversePath, Runtime, Score, Scorer, ScorerError, Settings,
    Target, Thresholds, serve,
};

/// C0, DEL, C1, line separators, bidirectional and zero-width characters.
const HOSTILE: &str = "a\u{7}\u{1b}[2J\u{7f}\u{85}\u{9b}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\
                       \u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{200b}\u{200d}\u{200e}\u{200f}\u{61c}\
                       \u{2060}\u{feff}\u{ad}\u{e0041}\r\nid=forged z";

fn assert_printable(what: &str, text: &str) {
    let bad = |c: &char| {
        c.is_control()
            || "\u{ad}\u{61c}\u{feff}\u{180e}\u{e0041}".contains(*c)
            || ('\u{200b}'..='\u{200f}').contains(c)
            || ('\u{2028}'..='\u{202e}').contains(c)
            || ('\u{2060}'..='\u{206f}').contains(c)
    };
    let found: Vec<char> = text.chars().filter(bad).collect();
    assert!(found.is_empty(), "{what}: {found:?} in {text:?}");
}

/// Returns the characters of [`HOSTILE`] that a command may contain.
fn in_command() -> String {
    HOSTILE.chars().filter(|c| !c.is_ascii_control() && *c != ' ').collect()
}

/// Covers all types that are printed and can contain text from a peer.
#[test]
fn untrusted_text_is_printed_escaped() {
    let error = || -> Arc<dyn std::error::Error + Send + Sync> { Arc::from(Box::from(HOSTILE)) };
    let reply = Reply::plain(ReplyCode::new(550).unwrap(), HOSTILE);
    let refused = RelayError::NoTls(TlsError::Refused(reply.clone()));
    let required = RelayError::NoTls(TlsError::Required(reply.clone()));
    let finding = Finding::new(HOSTILE, Score::points(1)).with_detail(HOSTILE);
    let path = ReversePath::parse(format!("<{}@b>", in_command())).unwrap();
    for (what, text) in [
        ("peer", Peer::new(([192, 0, 2, 1], 1).into()).named(HOSTILE).to_string()),
        ("path", path.path.to_string()),
        ("mailbox", path.path.mailbox().map_or(String::new(), |it| it.to_string())),
        ("reply, debugged", format!("{reply:?}")),
        ("symbol", finding.symbol().to_owned()),
        ("detail", finding.detail().to_owned()),
        ("scorer error", ScorerError::new(HOSTILE).to_string()),
        ("failure", FailureCause::Error(ScorerError::new(HOSTILE)).to_string()),
        ("panic", FailureCause::Panic(HOSTILE.into()).to_string()),
        ("unreachable", RelayError::Unreachable(error()).to_string()),
        ("unexpected", RelayError::Unexpected(reply.clone()).to_string()),
        ("partial", RelayError::Partial(reply.clone()).to_string()),
        ("not believed", RelayError::NotBelieved(reply.clone()).to_string()),
        ("refused", refused.to_string()),
        ("required", required.to_string()),
        ("handshake", RelayError::NoTls(TlsError::Handshake(error())).to_string()),
        ("own", RelayError::Own(error()).to_string()),
    ] {
        assert_printable(what, &text);
    }
    for line in reply.to_string().lines() {
        assert_printable("line of a reply", line);
    }
}

/// ORCPT may be UTF-8 (RFC 6533), and servers print it in notifications.
#[test]
fn dsn_parameters_are_printable() {
    use nobounce::command::RcptParameters;
    for (value, taken) in [
        ("ORCPT=utf-8;caf\u{e9}@b", true),
        ("ORCPT=utf-8;a\u{202e}b@c", false),
        ("ORCPT=utf-8;a\u{85}b@c", false),
        ("ORCPT=utf-8;a\u{2028}b@c", false),
        ("ORCPT=rfc822;a\u{7f}b@c", false),
    ] {
        assert_eq!(RcptParameters::parse(value.as_bytes()).is_ok(), taken, "{value:?}");
    }
    for (value, taken) in
        [("ENVID=a+20b", true), ("ENVID=a\u{202e}", false), ("ENVID=a\u{7}", false)]
    {
        assert_eq!(MailParameters::parse(value.as_bytes()).is_ok(), taken, "{value:?}");
    }
}

/// A scorer that fails with the sender's text in its error.
struct Quoting;

#[async_trait]
impl Scorer for Quoting {
    fn name(&self) -> &str {
        "quoting"
    }

    async fn on_data(&self, _: &DataContext<'_>) -> Result<nobounce::Opinion, ScorerError> {
        let finding = Finding::new("QUOTED", Score::ZERO).with_detail(HOSTILE);
        Err(ScorerError::new(HOSTILE).but_says(finding.into()))
    }
}

struct Hole;

impl Target for Hole {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        Box::new(Self)
    }
}

#[async_trait]
impl Relay for Hole {
    async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
        Outcome::Accepted(Receipt::recipient())
    }

    async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
        Outcome::Accepted(Receipt::kept(HOSTILE))
    }
}

struct Still;

#[async_trait]
impl Runtime for Still {
    type Stream = Cursor<Vec<u8>>;

    async fn sleep_until(&self, _: Instant) {
        std::future::pending().await
    }

    async fn connect(&self, _: &Address) -> io::Result<Self::Stream> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

struct Client(Cursor<Vec<u8>>);

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The record of a client that sends hostile text wherever it can.
#[test]
fn a_record_is_one_printable_line() {
    let name = in_command();
    let said = format!(
        "EHLO {name}\r\nMAIL FROM:<{name}@b>\r\nMAIL FROM:<{name}@b> SMTPUTF8\r\nRCPT TO:<{name}@c>\r\n\
         DATA\r\nSubject: x\r\n\r\n.\r\nQUIT\r\n"
    );
    let lines = Arc::new(Mutex::new(Vec::new()));
    let mut settings = Settings::new("mx.example");
    settings.early_input = EarlyInput::Tolerate;
    let seen = lines.clone();
    let seat =
        nobounce::panel::Seat::new(Quoting).on_failure(nobounce::panel::FailurePolicy::Ignore);
    let gate = Gate::new(Still, settings, Hole)
        .panel(Panel::new().thresholds(Thresholds::none()).seat(seat))
        .observer(move |event| {
            if let Event::Ended(record) = event {
                seen.lock().unwrap().push(record.to_string());
            }
        });
    let mut peer = Peer::new(([192, 0, 2, 1], 4711).into()).named(HOSTILE);
    peer.tls = Some(TlsInfo::new(HOSTILE, HOSTILE));
    let client = Client(Cursor::new(said.into_bytes()));
    pollster::block_on(serve(client, peer, &gate)).unwrap();
    let lines = lines.lock().unwrap();
    assert!(!lines.is_empty());
    for line in lines.iter() {
        assert_printable("record", line);
        assert!(line.contains(" result="), "{line}");
    }
}
