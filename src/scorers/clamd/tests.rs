use super::*;
use crate::panel::{Panel, Seat, Sitting};
use crate::rehearsal::{Cue, Rehearsal, Script, Then, Turn, envelope, message};
use crate::tally::Tally;
use crate::verdict::{Subject, Verdict};
use memchr::memmem;
use proptest::prelude::*;
use std::time::Duration;

/// The end of a stream: the last line end, and a zero length.
const END: &[u8] = b"\n\0\0\0\0";
const VIRUS: &str = "1: stream: Eicar-Signature FOUND\0";

fn clamd(runtime: &Rehearsal) -> Clamd<Rehearsal> {
    Clamd::new(runtime.clone(), "unix:/run/clamav/clamd.ctl".parse().unwrap())
}

fn script(says: &[&str], then: Then) -> Script {
    Script::turns(END, says, then)
}

fn ask(runtime: &Rehearsal, clamd: &Clamd<Rehearsal>, content: &str) -> Result<Opinion, String> {
    let (envelope, message) = (envelope("<a@example.com>"), message(content));
    let opinion = runtime.run(clamd.on_data(&DataContext::new(&envelope, &message)));
    opinion.map_err(|error| error.to_string())
}

/// Returns the error for this reply to a complete request.
fn error(reply: &str, then: Then) -> String {
    let runtime = Rehearsal::with(script(&[reply], then));
    let error = ask(&runtime, &clamd(&runtime), "x\n").unwrap_err();
    assert_eq!(runtime.connections(), (1, 0));
    error
}

#[test]
fn a_session_has_one_stream_after_another() {
    let runtime = Rehearsal::with(script(&["1: stream: OK\0", "2: stream: OK\0"], Then::Hang));
    let clamd = clamd(&runtime);
    for _ in 0..2 {
        assert_eq!(ask(&runtime, &clamd, "x\n"), Ok(Opinion::silent()));
    }
    assert_eq!(runtime.connections(), (1, 1));
    let heard = runtime.octets();
    let heard = heard.strip_prefix(b"zIDSESSION\0zINSTREAM\0").unwrap();
    let (first, second) = heard.split_at(memmem::find(heard, b"zINSTREAM\0").unwrap());
    for chunks in [first, second.strip_prefix(b"zINSTREAM\0").unwrap()] {
        assert_eq!(dechunk(chunks), message("x\n").segments().concat());
    }
}

/// Decodes chunks, as a reference implementation. Nothing may follow them.
fn dechunk(mut chunks: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    loop {
        let (length, rest) = chunks.split_first_chunk::<4>().unwrap();
        let (chunk, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        octets.extend_from_slice(chunk);
        chunks = rest;
        if chunk.is_empty() {
            assert!(rest.is_empty(), "{} octets after the end", rest.len());
            return octets;
        }
    }
}

proptest! {
    #[test]
    fn chunks_say_what_segments_hold(
        segments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..9),
    ) {
        let segments: Vec<_> = segments.into_iter().map(Bytes::from).collect();
        let request = stream(7, &segments).segments.concat();
        let chunks = request.strip_prefix(b"zINSTREAM\0").unwrap();
        prop_assert_eq!(dechunk(chunks), segments.concat());
    }
}

proptest! {
    /// Only the exact reply to the current command is accepted.
    #[test]
    fn reply_with_another_number_is_malformed(before in 0..3_u32, text in "[0-9]: (stream: (OK|X FOUND|)| ?)\0?") {
        let number = before + 1;
        let due = match &*text {
            _ if text == format!("{number}: stream: OK\0") => Some(vec![]),
            _ if text == format!("{number}: stream: X FOUND\0") => Some(vec!["X".into()]),
            _ => None,
        };
        let read = Replies::after(before, 4096).read(text.as_bytes());
        match due {
            Some(viruses) => {
                let expected = Scan { viruses, ..Scan::default() };
                prop_assert_eq!(read.unwrap().unwrap().reply, expected);
            }
            None if text.ends_with('\0') => prop_assert!(read.is_err()),
            None => prop_assert!(read.unwrap().is_none()),
        }
    }
}

#[test]
fn a_large_segment_becomes_several_chunks() {
    let segment = Bytes::from(vec![b'x'; CHUNK * 2 + 1]);
    let request = stream(0, std::slice::from_ref(&segment));
    assert_eq!(request.segments.len(), 1 + 3 * 2 + 1);
    let request = request.segments.concat();
    assert!(dechunk(request.strip_prefix(b"zIDSESSION\0zINSTREAM\0").unwrap()) == segment);
}

#[test]
fn a_virus_is_refused_or_weighed() {
    let finding = |score| {
        let finding = Finding::new("CLAMD", score).with_detail("Eicar-Signature");
        finding.with_disclosure(Disclosure::Public)
    };
    let text = "Message refused: virus Eicar-Signature";
    let refusal = Refusal::permanent(550, EnhancedStatus::new(7, 1), text);
    let refused = Opinion::from(refusal).and(finding(Score::ZERO));
    for (what, expected) in [
        (OnVirus::Refuse, refused),
        (OnVirus::Score(Score::points(4)), finding(Score::points(4)).into()),
    ] {
        for chunk in [1, 7, usize::MAX] {
            let runtime = Rehearsal::with(Script { chunk, ..script(&[VIRUS], Then::Hang) });
            let clamd = clamd(&runtime).on_virus(what);
            assert_eq!(ask(&runtime, &clamd, "x\n"), Ok(expected.clone()));
        }
    }
}

#[test]
fn a_scan_that_exceeded_a_limit_is_a_failure() {
    for name in ["MaxFileSize", "MaxScanSize", "MaxFiles", "MaxRecursion", "MaxScanTime"] {
        let name = format!("Heuristics.Limits.Exceeded.{name}");
        let reply = format!("1: stream: {name} FOUND\0");
        let runtime = Rehearsal::with(script(&[&reply], Then::Hang));
        for what in [OnVirus::Refuse, OnVirus::Score(Score::points(4))] {
            let error = ask(&runtime, &clamd(&runtime).on_virus(what), "x\n").unwrap_err();
            assert_eq!(
                error,
                format!("part of the message exceeds a limit of clamd and was not scanned: {name}")
            );
        }
    }
    // Before ClamAV 0.101.
    let old = "1: stream: Heuristics.Limits.Exceeded FOUND\0";
    let runtime = Rehearsal::with(script(&[old], Then::Hang));
    assert!(ask(&runtime, &clamd(&runtime), "x\n").is_err());
}

#[test]
fn encrypted_content_is_a_finding() {
    for name in ["Heuristics.Encrypted.Zip", "Heuristics.Encrypted.PDF"] {
        let reply = format!("1: stream: {name} FOUND\0");
        let runtime = Rehearsal::with(script(&[&reply], Then::Hang));
        let expected = Finding::new("CLAMD_ENCRYPTED", Score::ZERO).with_detail(name);
        assert_eq!(ask(&runtime, &clamd(&runtime), "x\n"), Ok(expected.into()));
    }
    for virus in ["Heuristics.OLE2.ContainsMacros", "Heuristics.EncryptedX", "Heuristics.Limits"] {
        let reply = format!("1: stream: {virus} FOUND\0");
        let runtime = Rehearsal::with(script(&[&reply], Then::Hang));
        let opinion = ask(&runtime, &clamd(&runtime), "x\n");
        assert!(opinion.as_ref().is_ok_and(|it| it.refusal.is_some()), "{opinion:?}");
    }
}

#[test]
fn invalid_response_is_an_error() {
    let size = "the message exceeds clamd's StreamMaxLength, so size_limit is too large";
    let table = [
        ("1: INSTREAM size limit exceeded. ERROR\0", size),
        ("INSTREAM size limit exceeded. ERROR\0", size),
        (
            "1: stream: Can't allocate memory ERROR\0",
            "clamd refused the request: \"1: stream: Can't allocate memory ERROR\"",
        ),
        (
            "COMMAND READ TIMED OUT ERROR\0",
            "clamd refused the request: \"COMMAND READ TIMED OUT ERROR\"",
        ),
        ("UNKNOWN COMMAND\0", "clamd refused the request: \"UNKNOWN COMMAND\""),
        // A reply to another command.
        ("2: stream: OK\0", "malformed response from clamd: \"2: stream: OK\""),
        ("stream: OK\0", "malformed response from clamd: \"stream: OK\""),
        ("1: stream: \0", "malformed response from clamd: \"1: stream: \""),
        ("1: stream:  FOUND\0", "malformed response from clamd: \"1: stream:  FOUND\""),
        ("1: stream: ok\0", "malformed response from clamd: \"1: stream: ok\""),
        ("1: OK\0", "malformed response from clamd: \"1: OK\""),
        ("\0", "malformed response from clamd: \"\""),
        ("", "the daemon closed the connection before the end of its response"),
        ("1: stream: OK", "the daemon closed the connection before the end of its response"),
        ("1: stream: OK\n", "the daemon closed the connection before the end of its response"),
    ];
    for (reply, expected) in table {
        assert_eq!(error(reply, Then::Close), expected, "{reply:?}");
    }
    assert_eq!(error(&"x".repeat(1 << 20), Then::Hang), "the response exceeds the size limit");
    assert_eq!(error("1: str", Then::Reset), "receiving from the daemon failed: connection reset");
}

#[test]
fn early_reply_of_a_daemon_is_read() {
    let early = Script {
        takes: 200,
        turns: vec![Turn {
            cue: Cue::Octets(150),
            says: b"1: INSTREAM size limit exceeded. ERROR\0".into(),
        }],
        ..script(&[], Then::Reset)
    };
    let runtime = Rehearsal::with(early);
    let error = ask(&runtime, &clamd(&runtime), &"x\n".repeat(1000)).unwrap_err();
    assert_eq!(error, "the message exceeds clamd's StreamMaxLength, so size_limit is too large");
}

#[test]
fn every_line_and_every_reply_of_an_answer_counts() {
    const ZIP: &str = "Heuristics.Encrypted.Zip";
    const LIMIT: &str = "Heuristics.Limits.Exceeded.MaxFiles";
    let virus = "refused: CLAMD (Eicar)";
    let exceeded = format!(
        "failure: part of the message exceeds a limit of clamd and was not scanned: {LIMIT}"
    );
    let table = [
        (format!("1: stream: {ZIP} FOUND\nstream: Eicar FOUND\0"), virus, "+ENCRYPTED"),
        (format!("1: stream: {ZIP} FOUND\r\n1: stream: Eicar FOUND\r\n\0"), virus, "+ENCRYPTED"),
        (format!("1: stream: {ZIP} FOUND\x001: stream: Eicar FOUND\0"), virus, "+ENCRYPTED"),
        ("1: stream: OK\nstream: Eicar FOUND\0".into(), virus, ""),
        ("1: stream: Eicar FOUND\nstream: OK\0".into(), virus, ""),
        (
            "1: stream: Eicar FOUND\nstream: Other FOUND\0".into(),
            "refused: CLAMD (Eicar, Other)",
            "",
        ),
        // Stream names with `HeuristicScanPrecedence`.
        ("1: instream(local): Eicar FOUND\0".into(), virus, ""),
        ("1: instream(127.0.0.1@3310): Eicar FOUND\0".into(), virus, ""),
        // A failure does not cancel a virus.
        (format!("1: stream: {LIMIT} FOUND\nstream: Eicar FOUND\0"), virus, ""),
        ("1: stream: Can't read ERROR\nstream: Eicar FOUND\0".into(), virus, ""),
        (format!("1: stream: {LIMIT} FOUND\nstream: OK\0"), &exceeded, ""),
        (format!("1: stream: OK\nstream: {LIMIT} FOUND\0"), &exceeded, ""),
        (format!("1: stream: {ZIP} FOUND\nstream: {LIMIT} FOUND\0"), &exceeded, "+ENCRYPTED"),
        (format!("1: stream: {ZIP} FOUND\nstream: {ZIP} FOUND\0"), "evidence:", "+ENCRYPTED"),
        (
            "1: stream: OK\nstream: Can't read ERROR\0".into(),
            "failure: clamd refused the request: \"stream: Can't read ERROR\"",
            "",
        ),
        ("1: stream: OK\nx\0".into(), "failure: malformed response from clamd: \"x\"", ""),
        ("1: stream: Eicar FOUND\nx\0".into(), "failure: malformed response from clamd: \"x\"", ""),
        ("1: stream: OK\n\nOK\0".into(), "failure: malformed response from clamd: \"\"", ""),
        // Replies to other commands.
        (
            "1: stream: OK\x002: stream: OK\0".into(),
            "failure: malformed response from clamd: \"2: stream: OK\"",
            "",
        ),
        (
            "1: stream: OK\0stream: Eicar FOUND\0".into(),
            "failure: malformed response from clamd: \"stream: Eicar FOUND\"",
            "",
        ),
    ];
    for (reply, expected, encrypted) in table {
        let runtime = Rehearsal::with(script(&[&reply], Then::Hang));
        let (envelope, message) = (envelope("<a@example.com>"), message("x\n"));
        let result = runtime.run(clamd(&runtime).on_data(&DataContext::new(&envelope, &message)));
        let (said, opinion) = match &result {
            Ok(opinion) => (String::new(), opinion),
            Err(error) => (format!("failure: {error}"), error.opinion()),
        };
        let (said, found) = match (&opinion.refusal, &opinion.findings[..]) {
            (None, []) => (said, &[][..]),
            (None, found) if said.is_empty() => ("evidence:".into(), found),
            (None, found) => (said, found),
            (Some(_), found) => (format!("refused: CLAMD ({})", found[0].detail()), &found[1..]),
        };
        assert_eq!(said, expected, "{reply:?}");
        let symbols: Vec<_> = found.iter().map(|it| it.symbol().replace("CLAMD_", "+")).collect();
        assert_eq!(symbols.concat(), encrypted, "{reply:?}");
    }
}

#[test]
fn connection_with_surplus_replies_is_not_reused() {
    let several = "1: stream: A FOUND\x001: stream: B FOUND\0";
    for (reply, idle) in [(several, 0), ("1: stream: A FOUND\nstream: B FOUND\0", 0), (VIRUS, 1)] {
        let runtime = Rehearsal::with(script(&[reply], Then::Hang));
        let clamd = clamd(&runtime);
        ask(&runtime, &clamd, "x\n").unwrap();
        assert_eq!(runtime.connections(), (1, idle));
    }
}

#[test]
fn a_daemon_that_hangs_costs_its_budget_and_its_connection() {
    let runtime = Rehearsal::with(script(&["1: stream"], Then::Hang));
    let panel = Panel::new().seat(Seat::new(clamd(&runtime)).budget(Duration::from_secs(7)));
    let (envelope, message) = (envelope("<a@example.com>"), message("x\n"));
    let mut tally = Tally::new();
    let subject = Subject::Content(&envelope, &message);
    let verdict = runtime.run(panel.ask(&runtime, subject, &mut tally, &mut Sitting::new()));
    assert!(matches!(verdict, Verdict::Refuse(refusal) if refusal.is_transient()));
    assert_eq!((runtime.elapsed(), runtime.connections()), (Duration::from_secs(7), (1, 0)));
}

#[test]
fn a_large_message_is_cut_or_skipped() {
    let content = "0123456789\r\n".repeat(100);
    let whole = message(&content).len();
    let runtime = Rehearsal::with(script(&["1: stream: OK\0"], Then::Hang));
    ask(&runtime, &clamd(&runtime).size_limit(whole - 1, Oversize::Head), &content).unwrap();
    let heard = runtime.octets();
    let sent = dechunk(heard.strip_prefix(b"zIDSESSION\0zINSTREAM\0").unwrap());
    assert_eq!(sent, &message(&content).segments().concat()[..whole - 12]);

    let runtime = Rehearsal::new();
    let skipping = clamd(&runtime).size_limit(whole - 1, Oversize::Skip);
    assert_eq!(ask(&runtime, &skipping, &content), Ok(Opinion::silent()));
}
