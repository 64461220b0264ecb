//! The wire format: incoming and outgoing mail data, commands, replies. `cargo bench --bench
//! wire`.
//!
//! Mail data passes through a `Session` and an `Onward`: 10 MiB, copied into the session's room as
//! a socket read would do, in pieces of 16 KiB where no room is reserved. The first part ends at the
//! question to the panel. The second part begins there and ends at the data to write to the onward
//! server. The baselines get the same pieces:
//!
//! - `memcpy`: copies the pieces into memory that was used before, like the session's memory;
//! - smtp-proto's `DataReceiver`, with memory for all of it allocated beforehand (the session gets SIZE and
//!   trusts it up to 1 MiB). This is the cost of a decoder that is not strict: it accepts `CRLF . CR CR LF` as the
//!   end of data, and leaves bare CR and LF unchanged;
//! - the oracle: octet by octet, a direct implementation of the RFC's wording.
//!
//! Before the measurement, the oracle's content is checked to be equal to the session's.

#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark")]

mod dialogue;
mod measure;
mod shapes;

use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use dialogue::{DATA, Dialogue, RCPT, READ, Server};
use measure::{interleaved, is_quick, repeated, table, timed};
use nobounce::message::{LineEndings, MailData};
use nobounce::onward::OnwardSettings;
use nobounce::reply::{EnhancedStatus, ReplyCode};
use nobounce::{Message, Outcome, Reply, Request, Settings, wire_exposed};
use shapes::{SHAPES, content};
use smtp_proto::request::receiver::DataReceiver;
use smtp_proto::response::parser::ResponseReceiver;

fn main() {
    let (length, rounds, times) =
        if is_quick() { (1 << 20, 3, 1_000) } else { (10 << 20, 21, 20_000) };
    content_in(length, rounds);
    content_out(length, rounds);
    commands(rounds, times);
    replies(rounds, times);
}

fn content_in(length: usize, rounds: usize) {
    let normalise = settings(LineEndings::Normalise);
    let refuse = settings(LineEndings::Refuse);
    let now = dialogue::now();
    let session = |settings: &Arc<Settings>| {
        let mut dialogue = Dialogue::new(settings, now);
        dialogue.say(format!("MAIL FROM:<a@client.example> SIZE={length}\r\n").as_bytes());
        dialogue.say(RCPT);
        dialogue.say(DATA);
        dialogue
    };
    let decode = |settings: &Arc<Settings>, wire: &[u8]| {
        let mut dialogue = session(settings);
        let time = timed(|| dialogue.stream(wire));
        drop(dialogue);
        time
    };
    let rows = SHAPES.iter().map(|(name, pattern)| {
        let wire = [content(pattern, length).as_slice(), b"\r\n.\r\n"].concat();
        let mut dialogue = session(&normalise);
        dialogue.stream(&wire);
        let message = dialogue.message().expect("it is not refused");
        assert!(message.ends_with(&oracle(&wire)), "{name}: the session and the oracle disagree");
        let heard = |octets: &mut Vec<u8>| {
            let mut receiver = DataReceiver::new();
            wire.chunks(READ).all(|piece| !receiver.ingest(&mut piece.iter(), octets))
        };
        let ends = !heard(&mut Vec::new());
        let mut memory = vec![0; wire.len()];
        let mut copied = || {
            timed(|| {
                let pieces = memory.chunks_mut(READ).zip(wire.chunks(READ));
                pieces.for_each(|(memory, piece)| memory.copy_from_slice(piece));
                black_box(memory.as_ptr())
            })
        };
        let figures = interleaved(
            rounds,
            [
                &mut copied,
                &mut || decode(&normalise, &wire),
                &mut || decode(&refuse, &wire),
                &mut || {
                    timed(|| {
                        let mut octets = Vec::with_capacity(wire.len());
                        heard(&mut octets);
                        octets
                    })
                },
                &mut || timed(|| oracle(&wire)),
            ],
        );
        let mut cells = vec![(*name).to_string()];
        cells.push(format!("{:.1}", wire.len() as f64 / figures[0].seconds / 1e9));
        cells.extend(figures[1..].iter().map(|figure| format!("{:.2}", 1.0 / figure.ratio)));
        if !ends {
            cells[4] = "no end".into();
        }
        cells
    });
    let title = format!(
        "Mail data in: octets per second as a multiple of memcpy ({:.0} MiB)",
        length as f64 / f64::from(1 << 20)
    );
    let head = ["shape", "memcpy, GB/s", "normalise", "refuse", "smtp-proto", "oracle"];
    table(&title, &head, &rows.collect::<Vec<_>>());
}

fn settings(line_endings: LineEndings) -> Arc<Settings> {
    let mut settings = Settings::new("mx.example");
    settings.line_endings = line_endings;
    settings.into()
}

/// Decodes content octet by octet (RFC 5321 section 4.5.2). The end of data is a dot alone on its
/// line. A dot before other text is removed, where lines end in CRLF. A bare LF also becomes a
/// line end, and a bare CR a space.
fn oracle(wire: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(wire.len());
    let mut behind_crlf = true;
    let mut at = 0;
    while !(behind_crlf && wire[at..].starts_with(b".\r\n")) {
        let begins = std::mem::take(&mut behind_crlf);
        match wire[at] {
            b'.' if begins => {}
            b'\r' if wire[at + 1] == b'\n' => {
                content.extend_from_slice(b"\r\n");
                behind_crlf = true;
                at += 1;
            }
            b'\r' => content.push(b' '),
            b'\n' => content.extend_from_slice(b"\r\n"),
            octet => content.push(octet),
        }
        at += 1;
    }
    content
}

fn content_out(length: usize, rounds: usize) {
    let settings = Arc::new(OnwardSettings::new("mx.example"));
    let now = dialogue::now();
    let (envelope, recipient) = dialogue::envelope();
    let without_recipient = {
        let mut envelope = envelope.clone();
        envelope.forward_paths.clear();
        envelope
    };
    let rows = SHAPES.iter().map(|(name, pattern)| {
        let data = MailData::normalise(&content(pattern, length));
        let message = Message::new("mx.example", &envelope, SystemTime::UNIX_EPOCH, data);
        let server = || {
            let mut server = Server::new(&settings);
            let asked = Request::Recipient(&without_recipient, &recipient);
            assert!(matches!(server.ask(asked, now), Outcome::Accepted(_)));
            server.offer(&envelope, &message, now);
            server
        };
        assert!(
            server().written(now).concat() == stuffed(message.segments()),
            "{name}: the writer and the oracle disagree"
        );
        let figures = interleaved(
            rounds,
            [
                &mut || timed(|| message.segments().concat()),
                &mut || {
                    let mut server = server();
                    timed(|| server.written(now))
                },
                &mut || timed(|| stuffed(message.segments())),
            ],
        );
        let mut cells = vec![(*name).to_string()];
        cells.push(format!("{:.1}", message.len() as f64 / figures[0].seconds / 1e9));
        cells.extend(figures[1..].iter().map(|figure| format!("{:.2}", 1.0 / figure.ratio)));
        cells
    });
    let title =
        format!("Mail data out: octets per second as a multiple of memcpy ({} MiB)", length >> 20);
    table(&title, &["shape", "memcpy, GB/s", "onward", "oracle"], &rows.collect::<Vec<_>>());
}

/// Encodes mail data octet by octet: doubles a dot at the start of a line and adds a dot alone at
/// the end.
fn stuffed(segments: &[Bytes]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(segments.iter().map(Bytes::len).sum());
    let mut last = b'\n';
    for octet in segments.iter().flatten().copied() {
        if last == b'\n' && octet == b'.' {
            wire.push(b'.');
        }
        wire.push(octet);
        last = octet;
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

fn commands(rounds: usize, times: u32) {
    const COMMANDS: &[&str] = &[
        "EHLO client.example",
        "MAIL FROM:<alice@client.example>",
        "MAIL FROM:<alice@client.example> SIZE=4711 BODY=8BITMIME",
        "RCPT TO:<bob@mx.example>",
        "RCPT TO:<bob@mx.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@mx.example",
        "DATA",
        "BDAT 4711 LAST",
        "RSET",
        "QUIT",
    ];
    let rows = COMMANDS.iter().map(|command| {
        let line = format!("{command}\r\n");
        let ours = || wire_exposed::read_command(black_box(line.as_bytes()));
        let theirs = || smtp_proto::Request::parse(&mut black_box(line.as_bytes()).iter());
        assert!(ours().is_some() && theirs().is_ok(), "{command} is not a valid command");
        side_by_side(command, rounds, times, ours, theirs)
    });
    let head = ["command", "smtp-proto, ns", "nobounce, ns", "ratio"];
    table("A command, framed and parsed", &head, &rows.collect::<Vec<_>>());
}

fn replies(rounds: usize, times: u32) {
    const REPLIES: &[(&str, &[u8])] = &[
        ("one line", b"250 2.1.5 Ok\r\n"),
        ("queued", b"250 2.0.0 Ok: queued as 4bKd7R1x9Zz3vQy\r\n"),
        (
            "EHLO",
            b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-ETRN\r\n250-STARTTLS\r\n\
              250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n",
        ),
    ];
    let rows = REPLIES.iter().map(|(name, octets)| {
        let ours = || wire_exposed::read_replies(black_box(octets)).next();
        let theirs = || ResponseReceiver::default().parse(&mut black_box(octets).iter());
        assert!(ours().is_some() && theirs().is_ok(), "{name} is not a valid reply");
        side_by_side(name, rounds, times, ours, theirs)
    });
    let head = ["reply", "smtp-proto, ns", "nobounce, ns", "ratio"];
    table("A reply, read", &head, &rows.collect::<Vec<_>>());

    let code = ReplyCode::new(550).expect("it is one");
    let text = "Recipient address rejected: User unknown in local recipient table";
    let ours = Reply::new(code, EnhancedStatus::new(1, 1), text);
    let theirs = smtp_proto::Response::new(550, 5, 1, 1, text);
    let (mut output, mut their_output) = (BytesMut::new(), Vec::new());
    let row = side_by_side(
        "one line",
        rounds,
        times,
        || {
            output.clear();
            ours.write(&mut output);
            output.len()
        },
        || {
            their_output.clear();
            theirs.write(&mut their_output).expect("a Vec takes all");
            their_output.len()
        },
    );
    table("A reply, written", &head, &[row]);
    assert_eq!(output, their_output);
}

/// Returns a table row: a name, the times of the baseline and of our code in nanoseconds, and the ratio of
/// ours to the baseline.
fn side_by_side<T, U>(
    name: &str,
    rounds: usize,
    times: u32,
    mut ours: impl FnMut() -> T,
    mut theirs: impl FnMut() -> U,
) -> Vec<String> {
    let [theirs, ours] = interleaved(
        rounds,
        [&mut || repeated(times, &mut theirs), &mut || repeated(times, &mut ours)],
    );
    let nanoseconds = |seconds: f64| format!("{:.0}", seconds / f64::from(times) * 1e9);
    let (their_time, our_time) = (nanoseconds(theirs.seconds), nanoseconds(ours.seconds));
    vec![name.to_string(), their_time, our_time, format!("{:.2}", ours.ratio)]
}
