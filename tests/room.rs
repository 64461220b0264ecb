//! Mail data that is read directly into place: the session behaves as if the data had been copied.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test")]

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use nobounce::Verdict;
use nobounce::envelope::SessionId;
use nobounce::message::LineEndings;
use nobounce::session::EarlyInput;
use nobounce::verdict::Subject;
use nobounce::{Outcome, Peer, Receipt, Request, Session, Settings, Step};
use proptest::collection::vec;
use proptest::prelude::*;

/// The result of a session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Result {
    said: String,
    messages: Vec<Vec<u8>>,
}

/// Plays a session with a client that sends these octets in reads of these lengths, repeated. Also
/// returns how many octets were read directly into place.
fn play(
    settings: &Arc<Settings>,
    wire: &[u8],
    lengths: &[usize],
    in_room: bool,
) -> (Result, usize) {
    let (now, time_of_day) = (Instant::now(), SystemTime::UNIX_EPOCH);
    let id = SessionId::new("test");
    let mut session = Session::new(settings.clone(), id, Peer::local(), now, time_of_day);
    let (mut result, mut rest, mut read_to_place) = (Result::default(), wire, 0);
    let mut lengths = lengths.iter().copied().cycle();
    loop {
        match session.poll(now) {
            Step::Transmit(octets) => result.said.push_str(str::from_utf8(&octets).unwrap()),
            Step::Receive if rest.is_empty() => session.receive_eof(),
            Step::Receive => {
                let room = session.room();
                let most = if in_room && !room.is_empty() { room.len() } else { usize::MAX };
                let (part, behind) =
                    rest.split_at(lengths.next().unwrap().min(most).min(rest.len()));
                if most < usize::MAX {
                    room[..part.len()].copy_from_slice(part);
                    session.receive_in_room(part.len());
                    read_to_place += part.len();
                } else {
                    session.receive(part);
                }
                rest = behind;
            }
            Step::Ask(question) => {
                if let Subject::Content(_, message) = question.subject() {
                    result.messages.push(message.segments().concat());
                }
                question.answer(Verdict::Pass);
            }
            Step::Forward(forward) => {
                let (request, pending) = forward.take();
                let receipt = match request {
                    Request::Recipient(..) | Request::Renewal(_) => Receipt::recipient(),
                    Request::Content(..) | Request::Answer(..) => Receipt::kept("1"),
                };
                pending.complete(Outcome::Accepted(receipt));
            }
            Step::Ended(_) => {}
            Step::Close => return (result, read_to_place),
            Step::StartTls => panic!("not offered"),
        }
    }
}

const ENVELOPE: &str = "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n";

/// Returns one message with DATA in wire format, including its end.
fn by_data(wire: &[u8]) -> Vec<u8> {
    [ENVELOPE.as_bytes(), b"DATA\r\n", wire, b"\r\n.\r\nNOOP\r\nQUIT\r\n"].concat()
}

/// Returns the same octets in two chunks.
fn by_bdat(content: &[u8], first: usize) -> Vec<u8> {
    let (one, other) = content.split_at(first.min(content.len()));
    let [first, last] = [(one, ""), (other, " LAST")].map(|(chunk, last)| {
        [format!("BDAT {}{last}\r\n", chunk.len()).as_bytes(), chunk].concat()
    });
    [ENVELOPE.as_bytes(), &first, &last, b"NOOP\r\nQUIT\r\n"].concat()
}

fn settings(limit: u64, line_endings: LineEndings) -> Arc<Settings> {
    let mut settings = Settings::new("mx.example");
    settings.limits.content = limit;
    settings.line_endings = line_endings;
    // Early input is not tested here.
    settings.early_input = EarlyInput::Tolerate;
    let settings = Arc::new(settings);
    // A previous message: its blocks are reused, and only they offer room.
    let before = by_data(&b"\r\n..\r\n.\rQUIT\n".repeat(40_000));
    play(&settings, &before, &[usize::MAX], false);
    settings
}

fn any_content() -> impl Strategy<Value = Vec<u8>> {
    const PATTERNS: &[&str] = &[
        "a line of seventy-six columns or so, as they are in most of the mail\r\n",
        "x",
        "\r\n",
        ".\r\n",
        "..\r\n",
        "\r\n..",
        "\n.\r",
        "\r",
        "8 bits: \u{e9}\u{20ac}\r\n",
    ];
    const ODD: &[&str] =
        &["\r\n.\r", "\r\n..\r\n", "\n.\r\n", "\r", "\n", ".", "\r\r\n", "\r\n.", "\0"];
    let places = vec(
        (any::<prop::sample::Index>(), prop::sample::select(ODD).prop_map(str::as_bytes)),
        0..5,
    );
    let length = prop_oneof![0..20_000_usize, 60_000..330_000_usize];
    (prop::sample::select(PATTERNS).prop_map(str::as_bytes), length, places).prop_map(
        |(pattern, length, places)| {
            let mut content: Vec<u8> = pattern.iter().copied().cycle().take(length).collect();
            for (place, odd) in places {
                let at = place.index(content.len() + 1);
                content.splice(at..at, odd.iter().copied());
            }
            content
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn read_buffer_does_not_change_the_session(
        content in any_content(),
        lengths in vec(prop_oneof![1..300_usize, 1_000..200_000_usize], 1..6),
        first in 0..200_000_usize,
        limit in prop_oneof![Just(u64::MAX), 50_000..200_000_u64],
        strict in any::<bool>(),
    ) {
        let line_endings = if strict { LineEndings::Refuse } else { LineEndings::Normalise };
        let settings = settings(limit, line_endings);
        for wire in [by_data(&content), by_bdat(&content, first)] {
            let (expected, _) = play(&settings, &wire, &[usize::MAX], false);
            let (handed_over, _) = play(&settings, &wire, &lengths, false);
            let (in_room, _) = play(&settings, &wire, &lengths, true);
            prop_assert!(in_room == expected && handed_over == expected);
        }
    }
}

#[test]
fn large_mail_data_is_read_in_place() {
    let settings = settings(u64::MAX, LineEndings::Normalise);
    let content = b"seven columns of ten in a line that is plain\r\n".repeat(10_000);
    let data = by_data(content.strip_suffix(b"\r\n").unwrap());
    for wire in [data, by_bdat(&content, 200_000)] {
        let (result, read_to_place) = play(&settings, &wire, &[16_384], true);
        assert!(result.messages[0].ends_with(&content));
        assert!(read_to_place > content.len() / 2, "{read_to_place} of {}", content.len());
    }
}

#[test]
fn room_is_reserved_only_for_content() {
    let settings = settings(u64::MAX, LineEndings::Normalise);
    assert_eq!(play(&settings, &b"NOOP\r\n".repeat(100_000), &[512], true).1, 0);
    // A client that waits for 354, and then pauses.
    let (envelope, content) = (by_data(b""), b"small\r\n".repeat(100));
    let envelope = envelope.strip_suffix(b"\r\n.\r\nNOOP\r\nQUIT\r\n").unwrap();
    let (first, rest) = (envelope.len(), content.len() + 3);
    let wire = [envelope, &content, b".\r\nQUIT\r\n"].concat();
    assert_eq!(play(&settings, &wire, &[first, rest, 6], true).1, 0);
    assert_eq!(play(&settings, &wire, &[first, 7, rest - 7, 6], true).1, rest - 7);
}
