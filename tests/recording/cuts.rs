//! Recordings that are cut, damaged or of another version.

use std::sync::Arc;

use nobounce::Panel;
use nobounce::recording::{RecorderSettings, Recording, RecordingError, Sample};
use nobounce::replay::{self, ProtocolReplay};
use nobounce::scorers::{Behaviour, Gtube};

use super::gate::{Pieces, Recorded, client, settings};

fn panel() -> Panel {
    Panel::new().scorer(Gtube).scorer(Behaviour::new())
}

fn recording() -> String {
    let mut settings = RecorderSettings::default();
    settings.sample = Sample::All;
    let recorded = Recorded::new(panel(), settings);
    let mail = ["HELO x\r\n", "MAIL FROM:<a@b.example>\r\n", "RCPT TO:<nobody@c.example>\r\n"];
    let rest =
        ["RCPT TO:<d@c.example>\r\n", "DATA\r\n", "Subject: x\r\n\r\nx\r\n.\r\n", "QUIT\r\n"];
    recorded.session(client(), &[&mail[..], &rest[..]].concat(), Pieces::Whole);
    recorded.session(client(), &["EHLO y\r\n", "FOO\r\n"], Pieces::Octets);
    recorded.session(client(), &["GET / HTTP/1.1\r\n"], Pieces::Whole);
    recorded.written()
}

#[test]
fn a_recording_that_is_cut_at_any_octet_is_read_up_to_there() {
    let whole = recording();
    let all: Vec<_> = Recording::new(whole.as_bytes()).map(Result::unwrap).collect();
    assert_eq!(all.len(), 3);
    let settings = Arc::new(settings());
    for length in 0..whole.len() {
        let cut = &whole.as_bytes()[..length];
        let sessions: Vec<_> = Recording::new(cut).map(Result::unwrap).collect();
        let lines = cut.iter().filter(|octet| **octet == b'\n').count();
        let read = sessions.iter().map(|session| 1 + session.elements.len()).sum::<usize>();
        assert_eq!(read, lines, "{length}");
        for (session, original) in sessions.iter().zip(&all) {
            assert_eq!(session.session, original.session);
            assert!(original.elements.starts_with(&session.elements), "{length}");
            let is_whole = session.elements.len() == original.elements.len();
            assert_eq!(session.is_complete(), is_whole, "{length}");
            for transaction in replay::policy(&panel(), session) {
                assert_eq!(transaction.recorded(), transaction.replayed(), "{length}");
            }
            let replayed = replay::protocol(&settings, session);
            assert_eq!(replayed, ProtocolReplay::Same, "{length}: {session}");
        }
    }
}

#[test]
fn damaged_lines_are_errors_and_the_rest_is_read() {
    let whole = recording();
    for damage in [
        "\0",
        "{}",
        "[1]",
        "{\"session\":\"g-0\",\"at\":-1,\"kind\":\"in\"}",
        "\u{fffd}",
        "{\"session\":\"z\",\"kind\":\"out\"}",
    ] {
        for after in 1..whole.lines().count() {
            let mut lines: Vec<&str> = whole.lines().collect();
            lines.insert(after, damage);
            let text = lines.join("\n") + "\n";
            let (read, failed): (Vec<_>, Vec<_>) =
                Recording::new(text.as_bytes()).partition(Result::is_ok);
            assert_eq!(read.len(), 3, "{damage} after {after}");
            for error in failed {
                let error = error.unwrap_err();
                assert!(
                    matches!(&error, RecordingError::Malformed { line, .. } if *line == after as u64 + 1),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn unknown_kinds_and_keys_are_skipped() {
    let whole = recording();
    let all: Vec<_> = Recording::new(whole.as_bytes()).map(Result::unwrap).collect();
    let unknown = whole.replace(
        "\"kind\":\"offered\"",
        "\"kind\":\"of a later version\",\"new\":[{\"a\":1}]}\n{\"kind\":\"lost\",\"sessions\":3}\n{\"session\":\"g-0\",\"at\":0,\"kind\":\"offered\",\"later\":{\"b\":[2]}",
    );
    assert_ne!(whole, unknown);
    let read: Vec<_> = Recording::new(unknown.as_bytes()).filter_map(Result::ok).collect();
    assert_eq!(read[0], all[0]);
}

#[test]
fn another_version_is_an_error() {
    let other = recording().replacen("\"v\":1", "\"v\":2", 1);
    let first = Recording::new(other.as_bytes()).next().unwrap();
    assert!(matches!(first, Err(RecordingError::Version { line: 1, version: 2 })), "{first:?}");
    let none = recording().replacen("\"v\":1,", "", 1);
    let first = Recording::new(none.as_bytes()).next().unwrap();
    assert!(first.unwrap_err().to_string().contains("`v` is missing"));
}

#[test]
fn a_recording_reads_as_it_was_written() {
    let whole = recording();
    let again: String =
        Recording::new(whole.as_bytes()).map(|session| session.unwrap().to_string()).collect();
    assert_eq!(again, whole);
}
