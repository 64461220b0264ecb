//! Shapes of commands and replies, and loops that run both state machines to their end.

use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use nobounce::envelope::SessionId;
use nobounce::onward::{OnwardSettings, OnwardStep};
use nobounce::session::{Capabilities, EarlyInput};
use nobounce::{
    Envelope, ForwardPath, Message, Onward, Outcome, Peer, Receipt, Request, ReversePath, Session,
    Settings, Step, Verdict,
};

use crate::{Shape, Work};

pub(crate) const SHAPES: &[Shape] = &[
    Shape { name: "recipients", size: 5_000, least: 5.0, prepare: recipients },
    Shape { name: "pipelined-commands", size: 100_000, least: 5.0, prepare: pipelined },
    Shape { name: "faulty-lines", size: 100_000, least: 5.0, prepare: faulty },
    Shape { name: "endless-line", size: 1 << 20, least: 0.05, prepare: endless },
    Shape { name: "chunks-of-one-octet", size: 20_000, least: 5.0, prepare: chunks },
    Shape { name: "long-replies", size: 20, least: 1.0, prepare: replies },
    Shape { name: "long-replies-in-octets", size: 1, least: 20.0, prepare: replies_in_octets },
];

pub(crate) const HELLO: &str = "EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n";

/// The result of a client session.
#[derive(Default)]
pub(crate) struct Got {
    pub(crate) replies: usize,
    /// Messages that were accepted according to the replies, as the relay target received them.
    pub(crate) messages: Vec<(Envelope, Vec<u8>)>,
    pub(crate) recipients: usize,
    /// Octets written to the onward server.
    pub(crate) written: usize,
}

/// Runs a client that sends these octets in reads of the given size. Everything is accepted.
/// `onward` selects whether there is an onward server to write to.
pub(crate) fn converse(said: &[u8], read: usize, onward: bool) -> Got {
    let mut settings = Settings::new("mx.example");
    settings.early_input = EarlyInput::Tolerate;
    settings.authserv_id = Some(settings.host.clone());
    settings.limits.content = u64::MAX;
    settings.limits.recipients = usize::MAX;
    settings.limits.junk_commands = u32::MAX;
    settings.limits.errors = u32::MAX;
    let (now, id) = (now(), SessionId::new("linear"));
    let mut session = Session::new(settings.into(), id, Peer::local(), now, UNIX_EPOCH);
    session.offer(&Capabilities::all());
    let mut rest = said;
    let mut got = Got::default();
    loop {
        match session.poll(now) {
            Step::Transmit(octets) => {
                got.replies += octets.iter().filter(|octet| **octet == b'\n').count();
            }
            Step::Receive if rest.is_empty() => session.receive_eof(),
            // Reads like `serve`: directly into the room, if there is any.
            Step::Receive => {
                let room = session.room();
                let most = if room.is_empty() { read } else { read.min(room.len()) };
                let (octets, behind) = rest.split_at(most.min(rest.len()));
                if room.is_empty() {
                    session.receive(octets);
                } else {
                    room[..octets.len()].copy_from_slice(octets);
                    session.receive_in_room(octets.len());
                }
                rest = behind;
            }
            Step::Ask(question) => question.answer(Verdict::Pass),
            Step::Forward(forward) => {
                let (request, pending) = forward.take();
                let receipt = match request {
                    Request::Recipient(..) => {
                        got.recipients += 1;
                        Receipt::recipient()
                    }
                    Request::Answer(..) | Request::Renewal(..) => panic!("not offered"),
                    Request::Content(envelope, message) => {
                        if onward {
                            got.written += relay(envelope, message.clone());
                        }
                        got.messages.push((envelope.clone(), message.content().to_vec()));
                        Receipt::kept("1")
                    }
                };
                pending.complete(Outcome::Accepted(receipt));
            }
            Step::Ended(_) => {}
            Step::StartTls => panic!("not offered"),
            Step::Close => return got,
        }
    }
}

/// Sends a message to a server that accepts everything, with DATA. Returns the number of octets of
/// mail data received.
fn relay(envelope: &Envelope, message: Message) -> usize {
    let mut onward = Onward::new(Arc::new(OnwardSettings::new("mx.example")));
    let mut written = 0;
    onward.request(Request::Content(envelope, message));
    loop {
        match onward.poll(now()) {
            OnwardStep::Connect => {
                onward.connected();
                onward.receive(b"220 mx\r\n");
            }
            OnwardStep::Transmit(octets) => {
                let begin = octets[0].first_chunk::<4>();
                onward.receive(match begin {
                    Some(b"DATA") => b"354 go\r\n",
                    Some(b"EHLO") => b"250-mx\r\n250 DSN\r\n",
                    Some(b"MAIL" | b"RCPT") => b"250 ok\r\n",
                    _ => {
                        written += octets.iter().map(|it| it.len()).sum::<usize>();
                        let ended = octets.last().is_some_and(|it| it == ".\r\n");
                        if ended { b"250 ok\r\n" } else { b"" }
                    }
                });
            }
            OnwardStep::Done(outcome) => {
                assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
                return written;
            }
            step => panic!("{step:?}"),
        }
    }
}

/// Returns a fixed instant, since time does not pass.
fn now() -> Instant {
    static NOW: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *NOW.get_or_init(Instant::now)
}

fn recipients(size: usize) -> Work {
    let rcpt = "RCPT TO:<somebody@example.net> NOTIFY=NEVER\r\n".repeat(size);
    let said = format!("{HELLO}{rcpt}DATA\r\nx\r\n.\r\n");
    Box::new(move || {
        let got = converse(said.as_bytes(), 1_460, true);
        assert_eq!(got.recipients, size + 1);
        assert_eq!(got.messages[0].0.forward_paths.len(), size + 1);
        said.len()
    })
}

fn pipelined(size: usize) -> Work {
    let said = "NOOP\r\n".repeat(size);
    Box::new(move || {
        assert_eq!(converse(said.as_bytes(), usize::MAX, false).replies, size + 1);
        said.len()
    })
}

fn faulty(size: usize) -> Work {
    let said = "NO\0OP\r\n".repeat(size);
    Box::new(move || {
        assert_eq!(converse(said.as_bytes(), 1_460, false).replies, size + 1);
        said.len()
    })
}

/// Lines of 60,000 octets, each of which is too long, in small reads.
fn endless(size: usize) -> Work {
    const LINE: usize = 60_000;
    let line = format!("{}\r\n", "x".repeat(LINE));
    let lines = size / LINE;
    let said = line.repeat(lines);
    Box::new(move || {
        assert_eq!(converse(said.as_bytes(), 100, false).replies, lines + 1);
        said.len()
    })
}

fn chunks(size: usize) -> Work {
    let said = format!("{HELLO}{}BDAT 0 LAST\r\n", "BDAT 1\r\nx".repeat(size));
    Box::new(move || {
        let got = converse(said.as_bytes(), 1_460, true);
        assert_eq!(got.messages[0].1.len(), size + 2);
        said.len()
    })
}

fn replies(size: usize) -> Work {
    hear(size, 1_460)
}

fn replies_in_octets(size: usize) -> Work {
    hear(size, 1)
}

/// Each recipient gets a reply with the maximum number of lines of maximum length.
fn hear(size: usize, read: usize) -> Work {
    let line = |more| format!("250{more}{}\r\n", "x".repeat(4_000));
    let reply = [line('-').repeat(127), line(' ')].concat();
    Box::new(move || {
        let sender = ReversePath::parse("<a>").expect("a path");
        let recipient = ForwardPath::parse("<b>").expect("a path");
        let id = SessionId::new("linear");
        let mut onward = Onward::new(Arc::new(OnwardSettings::new("mx.example")));
        for transaction in 1..=size {
            let id = id.transaction(transaction as u32);
            let envelope = Envelope::new(id, Arc::new(Peer::local()), sender.clone());
            onward.request(Request::Recipient(&envelope, &recipient));
            let mut rest = "".as_bytes();
            loop {
                match onward.poll(now()) {
                    OnwardStep::Connect => {
                        onward.connected();
                        onward.receive(b"220 mx\r\n");
                    }
                    OnwardStep::Transmit(octets) => {
                        let is_rcpt = octets[0].starts_with(b"RCPT");
                        rest = if is_rcpt { reply.as_bytes() } else { b"250 ok\r\n" };
                    }
                    OnwardStep::Receive => {
                        let (part, behind) = rest.split_at(rest.len().min(read));
                        onward.receive(part);
                        rest = behind;
                    }
                    OnwardStep::Done(outcome) => {
                        assert_eq!(outcome.reply().lines().count(), 128);
                        break;
                    }
                    step => panic!("{step:?}"),
                }
            }
        }
        reply.len() * size
    })
}
