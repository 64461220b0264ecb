//! Plays every dialogue in `tests/dialogues/` in several chunkings, and checks that the player
//! would detect a wrong one.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use nobounce::reply::EnhancedStatus;
use nobounce::session::EndCause;
use nobounce::testing::{Chunking, Transcript};
use nobounce::verdict::Subject;
use nobounce::{ForwardPath, Refusal, Verdict};

/// Number of random chunkings for each dialogue.
const SEEDS: u64 = 16;

fn chunkings() -> impl Iterator<Item = Chunking> {
    let random = (0..SEEDS).map(Chunking::Random);
    [Chunking::Whole, Chunking::Octets].into_iter().chain(random)
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "dialogue"));
    files.sort();
    files
}

fn play(text: &str) -> Result<(), String> {
    let transcript = Transcript::parse(text).map_err(|error| error.to_string())?;
    for chunking in chunkings() {
        transcript.play(chunking).map_err(|error| format!("{error} ({chunking:?})"))?;
    }
    Ok(())
}

#[test]
fn every_dialogue_is_the_same_in_every_chunking() {
    let files = files();
    assert!(files.len() >= 60, "only {} dialogues", files.len());
    let faults: Vec<_> = files
        .iter()
        .filter_map(|file| {
            let name = file.file_name().unwrap().to_string_lossy();
            let fault = play(&fs::read_to_string(file).unwrap()).err()?;
            Some(format!("{name}: {fault}"))
        })
        .collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_dialogue_has_a_description() {
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# "), "{} begins without a comment", file.display());
    }
}
#[test]
fn a_wrong_dialogue_is_noticed() {
    const HELLO: &str = "S: 220 ...\nC: HELO c\nS: 250 gate.example.com\n";
    const RCPT: &str = "@ relay offers PIPELINING\nS: 220 ...\nC: HELO c\nS: 250 gate.example.com\n\
        C: MAIL FROM:<a@b>\nS: 250 2.1.0 Sender ok\nC: RCPT TO:<c@d>\n";
    const MAIL: &str = "R: MAIL FROM:<a@b>\nR: RCPT TO:<c@d>\n";
    let cases = [
        // beginning and end of the dialogue, line, expected, found
        ("", "S: 221 ...", 1, "`S: 221 ...`", "`S: 220 gate.example.com ESMTP nobounce`"),
        ("", "S: 220 ...\nS: 220 ...", 2, "`S: 220 ...`", "nothing"),
        ("", "S: 220 ...\nC: NOOP", 2, "nothing more", "`S: 250 2.0.0 Ok`"),
        ("", "C: NOOP\nS: 220 ...", 1, "a client that is read from", "`S: 220 ... too soon"),
        ("", "S: 220 ...\nS: <close>", 2, "`S: <close>`", "nothing"),
        ("", "S: <close>", 1, "`S: <close>`", "`S: 220 "),
        (
            "",
            "S: 220 ...\nT: 5m",
            2,
            "nothing more",
            "`S: 421 4.4.2 Timeout exceeded, closing connection`",
        ),
        ("", "S: 220 ...\nT: 5m\nS: 421 ...", 3, "nothing more", "`S: <close>`"),
        ("", "S: 220 ...\nC: NOOP\nS: 250 ...\nJ: pass", 4, "a question to the panel", "nothing"),
        ("", "J: silent", 1, "an answer by the panel", "nothing"),
        ("", "J: silent\nC: NOOP", 2, "a client that is read from", "nothing"),
        ("", "S: 220 ...\nO: 250 Ok", 2, "an onward server that is read from", "nothing"),
        ("", "S: 220 ...\nR: <connect>", 2, "`R: <connect>`", "nothing"),
        (HELLO, "C: QUIT\nS: 221 ...\nS: <close>\nC: NOOP", 7, "a client that is read from", ""),
        (HELLO, "C: MAIL FROM:<a@b>\nS: 250 ...\nC: RCPT TO:<c@d>", 6, "nothing more", "`R: <co"),
        (RCPT, "R: MAIL FROM:<a@b>", 8, "nothing more", "`R: RCPT TO:<c@d>`"),
        (RCPT, "R: MAIL FROM:<a@x>", 8, "`R: MAIL FROM:<a@x>`", "`R: MAIL FROM:<a@b>`"),
        (RCPT, MAIL, 9, "an answer by the onward server", "nothing"),
        (RCPT, "O: 250 Ok\nR: MAIL FROM:<a@b>", 8, "an onward server that is read from", "`R: MA"),
    ];
    for (before, end, line, expected, came) in cases {
        let text = format!("{before}{end}");
        let transcript = Transcript::parse(&text).unwrap();
        for chunking in chunkings() {
            let error = transcript.play(chunking).expect_err(&text);
            assert_eq!((error.line, &*error.expected), (line, expected), "{text}\n{error}");
            assert!(matches_start(&error.came, came), "{text}\n{error}");
        }
    }
}

/// Every line that we send is needed: a dialogue without it is wrong.
#[test]
fn every_line_of_ours_is_needed() {
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if !line.starts_with("S:") && !line.starts_with("R:") {
                continue;
            }
            let others = lines.iter().enumerate().filter(|(at, _)| *at != index);
            let shorter: Vec<_> = others.map(|(_, line)| *line).collect();
            let transcript = Transcript::parse(&shorter.join("\n")).unwrap();
            // If the line between two groups of input is left out, they become one group. This
            // makes a difference only if the input arrives octet by octet.
            let same = [Chunking::Whole, Chunking::Octets]
                .into_iter()
                .all(|chunking| transcript.play(chunking).is_ok());
            assert!(!same, "{}: line {}, `{line}`", file.display(), index + 1);
            // Actions of the relay after the end of the session are only played if they are in the
            // dialogue.
            if *line == "S: <close>" {
                break;
            }
        }
    }
}

/// Returns whether `text` begins like this. `...` matches anything.
fn matches_start(text: &str, start: &str) -> bool {
    match start.split_once("...") {
        Some((start, within)) => text.starts_with(start) && text.contains(within),
        None => text.starts_with(start),
    }
}

/// An answer before its place in the dialogue is as wrong as a different answer, since the tests
/// check lock-step.
#[test]
fn early_answer_in_a_dialogue_is_noticed() {
    let text = "S: 220 ...\nC: HELO c\nC: MAIL FROM:<a@b>\nC: RCPT TO:<c@d>\nS: 250 ...\n\
        R: <connect>\nO: <refused>\nS: 250 2.1.0 Sender ok\nS: 451 ...";
    let transcript = Transcript::parse(text).unwrap();
    // If the client's lines arrive in one piece, the replies are sent together after the onward
    // server's replies. If they arrive octet by octet, they are not.
    assert_eq!(transcript.play(Chunking::Whole), Ok(Vec::new()));
    let error = transcript.play(Chunking::Octets).unwrap_err();
    assert_eq!((error.line, &*error.expected), (6, "`R: <connect>`"));
}

#[test]
fn malformed_dialogue_is_refused() {
    let cases = [
        ("S 220", 1, "a speaker and a colon"),
        ("# fine\nX: 220", 2, "one of "),
        ("C*x: y", 1, "a number after `*`"),
        ("C: \\q", 1, "one of `\\r"),
        ("C: \\x4", 1, "two hexadecimal digits"),
        ("S: 220\\", 1, "no backslash at the end"),
        ("A: 354 yes", 1, "`CODE text`"),
        ("J: yes", 1, "`pass`, `refuse`, `tag`, `come again` or `silent`"),
        ("J: refuse 550 4.7.1 text", 1, "`refuse CODE STATUS text`"),
        ("J: refuse 250 2.0.0 text", 1, "`refuse CODE STATUS text`"),
        ("J: tag X Y: z", 1, "a header field name"),
        ("T: soon", 1, "a duration"),
        ("T: 5d", 1, "a duration"),
        ("@ limits.recipients many", 1, "a number"),
        ("@ relay rejects", 1, "`relay offers`, `relay accepts` or"),
        ("@ frobnicate yes", 1, "a setting"),
        ("S: 220\n@ relay accepts", 2, "settings before"),
    ];
    for (text, line, expected) in cases {
        let error = Transcript::parse(text).expect_err(text);
        assert_eq!(error.line, line, "{error}");
        assert!(error.expected.starts_with(expected), "{error}");
    }
}

#[test]
fn panel_answers_where_the_dialogue_does_not() {
    let text = "@ relay accepts\nJ: pass\nS: 220 ...\nC: HELO c\nS: 250 gate.example.com\n\
        C: MAIL FROM:<a@b>\nS: 250 2.1.0 Sender ok\nC: RCPT TO:<c@d>\nS: 250 2.1.5 Ok\n\
        C: RCPT TO:<spamtrap@d>\nS: 550 5.7.1 No (play.1)\nC: DATA\nS: 354 ...\nC: .\n\
        S: 250 2.0.0 Ok: queued as 1";
    let transcript = Transcript::parse(text).unwrap();
    for chunking in chunkings() {
        let mut stages = Vec::new();
        let ends = transcript.play_with(chunking, |subject| {
            stages.push(subject.stage().to_string());
            match subject {
                Subject::Recipient(_, recipient) if is_trap(recipient) => {
                    let status = EnhancedStatus::new(7, 1);
                    Verdict::Refuse(Refusal::permanent(550, status, "No"))
                }
                _ => Verdict::Pass,
            }
        });
        assert_eq!(stages, ["rcpt", "rcpt", "data"]);
        let ends = ends.unwrap();
        assert_eq!(ends.len(), 1);
        assert_eq!(ends[0].cause, EndCause::Accepted);
        assert_eq!((ends[0].envelope.forward_paths.len(), ends[0].refused.len()), (1, 1));
    }
}

fn is_trap(recipient: &ForwardPath) -> bool {
    recipient.path.address().starts_with(b"spamtrap@")
}

#[test]
fn record_contains_the_end_cause_of_each_transaction() {
    let cases: [(&str, &[EndCause]); 15] = [
        ("scenario_d1", &[EndCause::Accepted]),
        ("scenario_d2", &[EndCause::Reset]),
        ("panel_refuses_content", &[EndCause::RefusedByPanel]),
        ("content_refused_verbatim", &[EndCause::RefusedByRelay]),
        ("too_big_while_receiving", &[EndCause::RefusedBySession]),
        ("onward_lost_after_dot", &[EndCause::RelayFailed]),
        ("client_reset", &[EndCause::ClientLost]),
        ("data_timeout", &[EndCause::TimedOut]),
        ("early_body", &[EndCause::Closed]),
        ("onward_421_mid_session", &[EndCause::Closed]),
        ("greeting", &[]),
        ("prdr_lost", &[EndCause::Accepted]),
        ("prdr_client_reset", &[EndCause::Accepted]),
        ("prdr_all_refused", &[EndCause::RefusedByRelay; 2]),
        ("prdr_lost_at_once", &[EndCause::RelayFailed]),
    ];
    for (name, expected) in cases {
        let path = format!("{}/tests/dialogues/{name}.dialogue", env!("CARGO_MANIFEST_DIR"));
        let transcript = Transcript::parse(&fs::read_to_string(path).unwrap()).unwrap();
        let ends = transcript.play(Chunking::Whole).unwrap();
        let causes: Vec<_> = ends.iter().map(|end| end.cause).collect();
        assert_eq!(causes, expected, "{name}");
    }
}

/// Dialogues that cannot be recorded from events, each with the reason.
#[cfg(feature = "serve")]
const UNTOLD: &[(&str, &str)] = &[
    ("client_reset", "the panel had not answered when the client was gone"),
    ("prdr_client_reset", "no event tells that the client was gone when its message was taken"),
];

/// A session is recorded from its events. The recording plays in every chunking, and is then
/// recorded identically.
#[cfg(feature = "serve")]
#[test]
fn a_printed_transcript_is_played_again() {
    use nobounce::Reply;
    use nobounce::testing::{Scribe, VirtualRuntime};

    let print = |transcript: &Transcript, head: &[&str], chunking| {
        let runtime = VirtualRuntime::new();
        let mut scribe = Scribe::new(runtime.clone());
        for setting in head {
            scribe = scribe.setting(setting);
        }
        let played = transcript.on(&runtime).observer(&scribe).play(chunking);
        let records = played.map_err(|error| error.to_string())?;
        let ends: Vec<_> = records.iter().map(|it| (it.end.cause, it.end.reply.clone())).collect();
        Ok::<_, String>((scribe.transcripts().remove(0), ends))
    };
    let round = |text: &str| {
        let transcript = Transcript::parse(text).unwrap();
        let settings = text.lines().filter_map(|line| line.trim().strip_prefix("@ "));
        let head: Vec<_> =
            settings.filter(|it| !it.starts_with("relay ") && *it != "shutdown").collect();
        let (printed, ends) = print(&transcript, &head, Chunking::Whole)?;
        let parsed = Transcript::parse(&printed).map_err(|error| format!("{error}\n{printed}"))?;
        for chunking in [Chunking::Whole, Chunking::Octets, Chunking::Random(3)] {
            let again = print(&parsed, &head, chunking);
            let (again, ends_again) =
                again.map_err(|error| format!("{error} ({chunking:?})\n{printed}"))?;
            if chunking == Chunking::Whole && again != printed {
                return Err(format!("printed\n{printed}\nthen\n{again}"));
            }
            let replies = |ends: &[(EndCause, Option<Reply>)]| -> Vec<_> {
                ends.iter().map(|(_, reply)| reply.as_ref().map(Reply::to_string)).collect()
            };
            if replies(&ends) != replies(&ends_again) {
                return Err(format!("{ends:?}\nthen\n{ends_again:?}"));
            }
        }
        Ok(())
    };
    let mut faults = Vec::new();
    for file in files() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let told = round(&fs::read_to_string(&file).unwrap());
        match (told, UNTOLD.iter().any(|(untold, _)| *untold == name)) {
            (Err(fault), false) => faults.push(format!("--- {name}: {fault}")),
            (Ok(()), true) => faults.push(format!("--- {name} can be told")),
            _ => {}
        }
    }
    assert!(faults.is_empty(), "{}\n{}", faults.len(), faults.join("\n"));
}
