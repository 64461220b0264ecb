//! `front_door why`: explanations of records that real sessions produced.

#![allow(clippy::disallowed_methods, reason = "a test of a process, in real time")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use nobounce::observer::json::Line;
use nobounce::relay::Smtp;
use nobounce::reply::EnhancedStatus;
use nobounce::testing::{Script, VirtualRuntime, peer};
use nobounce::{
    DataContext, Finding, Gate, Opinion, Panel, RcptContext, Refusal, Score, Scorer, ScorerError,
    Settings, serve,
};

use super::GTUBE;
use super::client::Client;
use super::gate::binary;
use super::log::{append, front_door, greet, lines, mail};
use super::server::Onward;

const PAGE: &str = include_str!("../../src/docs/explaining.md");

/// Asks about the log with these options.
pub(crate) fn why(log: &Path, options: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary("front_door"));
    let output = command.arg("why").args(options).arg("--json-log").arg(log).output().unwrap();
    told(&output)
}

pub(crate) fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Returns the lines of the transcript on the page about explanations that begins with `$ ` and this
/// command, and the whole command.
pub(crate) fn transcript(command: &str) -> (String, String) {
    let begin = format!("```text\n$ {command}");
    let (_, rest) = PAGE.split_once(&begin).unwrap_or_else(|| panic!("no `{command}` on the page"));
    let (block, _) = rest.split_once("```").unwrap();
    let (rest, lines) = block.split_once('\n').unwrap();
    (format!("{command}{rest}"), lines.to_owned())
}

/// Replaces what differs from run to run: this ID, times and durations.
pub(crate) fn normal(text: &str, id: &str) -> String {
    let words = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let word = |at: usize| {
            let word = words[at];
            let unit =
                words.get(at + 1).map_or("", |next| next.trim_end_matches([',', '.', ')', ':']));
            match word {
                _ if word.len() == 24 && word.ends_with('Z') => "TIME".to_owned(),
                _ if ["s", "ms"].contains(&unit)
                    && word.trim_start_matches('(').parse::<f64>().is_ok() =>
                {
                    "TIME".to_owned()
                }
                _ => word.replace(id, "ID"),
            }
        };
        (0..words.len()).map(word).collect::<Vec<_>>().join(" ")
    };
    text.lines().map(|line| words(line.trim_end()) + "\n").collect()
}

fn spam() -> String {
    format!(
        "From: Win <a@example.com>\r\nSubject: You have won\r\nMessage-ID: <1@example.com>\r\n\r\n{GTUBE}"
    )
}

#[test]
fn the_explanation_on_the_page_is_that_of_a_real_refusal() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let (mut gate, log) = front_door(&onward, folder.path(), &[]);
    let mut client = greet(gate.address);
    let reply = mail(&mut client, &["b@example.org", "nobody@example.org"], &spam());
    lines(&log, 1);
    gate.stop();
    let id = reply.trim_end().rsplit_once('(').unwrap().1.trim_end_matches(')');
    let (command, expected) = transcript("front_door why ");
    let (code, output, errors) = why(&log, &[id]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let id_of_page = command.rsplit(' ').next().unwrap();
    assert_eq!(normal(&output, id), normal(&expected, id_of_page), "\n{output}");
}

#[test]
fn records_are_found_by_each_criterion() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let (mut gate, log) = front_door(&onward, folder.path(), &[]);
    let mut client = greet(gate.address);
    let refused = mail(&mut client, &["b@example.org"], &spam());
    assert!(
        mail(&mut client, &["later@example.org", "c@example.org"], "x: y\r\n").starts_with("250 ")
    );
    client.quit();
    Client::connect(gate.address).reply();
    let written = lines(&log, 3);
    gate.stop();
    let id = refused.trim_end().rsplit_once('(').unwrap().1.trim_end_matches(')');
    let session = id.rsplit_once('.').unwrap().0;
    assert_eq!(written.len(), 3);
    let table: &[(&[&str], usize)] = &[
        (&[id], 1),
        (&[session], 2),
        (&["4Xyz"], 1),
        (&["--client", "198.51.100.7"], 2),
        (&["--client", "198.51.100.0/24"], 2),
        (&["--client", "CLIENT.example"], 2),
        (&["--client", "127.0.0.1"], 1),
        (&["--client", "198.51.100.8"], 0),
        (&["--sender", "A@example.com"], 2),
        (&["--sender", "<a@example.com>"], 2),
        (&["--sender", "@example.com"], 2),
        (&["--sender", "example.com"], 0),
        (&["--sender", "<>"], 0),
        (&["--recipient", "later@example.org"], 1),
        (&["--recipient", "@example.org"], 2),
        (&["--message-id", "<1@example.com>"], 1),
        (&["--message-id", "1@example.com", "--recipient", "later@example.org"], 0),
        (&["--sender", "a@example.com", "--last", "1"], 2),
        (&["no-such-reference"], 0),
    ];
    for (options, found) in table {
        let (code, output, errors) = why(&log, options);
        let shown =
            output.lines().filter(|line| line.starts_with("20") && line.contains("Z  ")).count();
        let all = if options.contains(&"--last") { 1 } else { *found };
        assert_eq!(
            (code, shown),
            (Some(i32::from(*found == 0)), all),
            "{options:?}: {output}{errors}"
        );
        assert_eq!(output.starts_with("2 found, the last 1"), options.contains(&"--last"));
    }
    let (_, output, _) = why(&log, &["--recipient", "later@example.org"]);
    for expected in [
        "The message was accepted by the onward server.",
        "<later@example.org>: deferred by the onward server",
        "451 4.7.1 <later@example.org>: greylisted, 60 s",
        "The onward server replied: 250 2.0.0 Ok: queued as 4Xyz",
    ] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
}

#[test]
fn rotated_damaged_and_hostile_logs_are_read() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let (mut gate, log) = front_door(&onward, folder.path(), &[]);
    let mut client = greet(gate.address);
    let hostile = "Subject: =?utf-8?q?a=1B[2J=C2=9B=0A?= =?utf-8?q?2026-11-30T22:17:51.042Z_x?=\r\n =?utf-8?b?4oCu?=\r\n";
    assert!(mail(&mut client, &["b@example.org"], hostile).starts_with("250 "));
    assert!(client.say("EHLO \u{1b}]0;x\u{7}").len() > 3);
    lines(&log, 1);
    gate.stop();
    let [(_, alone, _), (_, output, _)] =
        [why(&log, &["4Xyz"]), why(&log, &["--sender", "@example.com"])];
    assert_eq!(alone, output);
    let is_hidden = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!output.contains(is_hidden), "{output:?}");
    assert_eq!(
        output.lines().filter(|line| line.starts_with("2026-11-30T22:17:51.042Z")).count(),
        0
    );

    // The rotated log is read first. Lines of others and a last line that is cut are skipped.
    let line = fs::read(&log).unwrap();
    fs::write(log.with_extension("json.1"), &line).unwrap();
    append(&log, b"4xyz is not JSON\n{\"v\":2,\"kind\":\"4xyz\"}\n\xff4xyz\n");
    append(&log, &line[..line.len() / 2]);
    let (code, output, errors) = why(&log, &["4Xyz"]);
    assert_eq!((code, output), (Some(0), format!("{alone}\n{alone}")));
    assert!(errors.contains("3 lines were skipped"), "{errors}");
    append(&log, &line[line.len() / 2..]);
    assert_eq!(
        why(&log, &["4Xyz"]).1.matches("queued as 4Xyz").count(),
        3 * alone.matches("queued as 4Xyz").count()
    );
}

#[test]
fn wrong_usage_and_missing_logs_have_exit_codes_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("mail.json");
    let (code, _, errors) = why(&log, &["x"]);
    assert_eq!(code, Some(66), "{errors}");
    assert!(errors.contains("mail.json") && errors.contains("expected a log"), "{errors}");
    fs::write(&log, "").unwrap();
    let (code, _, errors) = why(&log, &["x"]);
    assert_eq!((code, errors.as_str()), (Some(1), "front_door: nothing found in the log\n"));
    for options in
        [&[][..], &["--last", "0", "x"], &["--no-such-option", "x"], &["--client", "\u{1b}"]]
    {
        let (code, _, errors) = why(&log, options);
        assert_eq!(code, Some(64), "{options:?}: {errors}");
    }
    let mut command = Command::new(binary("front_door"));
    command.args(["why", "x", "--json-log", "-"]).stdin(Stdio::null());
    assert_eq!(command.output().unwrap().status.code(), Some(1));
}

/// Finds what the sender's address says.
struct Marks;

#[nobounce::async_trait]
impl Scorer for Marks {
    fn name(&self) -> &str {
        "marks"
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let trap = at.recipient.path.to_string().contains("trap");
        Ok(trap.then(|| Finding::new("TRAP", Score::points(7))).into())
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let find = |symbol: &str, score: i32| Finding::new(symbol, Score::hundredths(score));
        match &*at.envelope.reverse_path.path.to_string() {
            "<one@example.com>" => {
                Ok(vec![find("A", 600), find("B", 60), find("GOOD", -10)].into())
            }
            "<set@example.com>" => Ok(vec![find("A", 500), find("B", 500), find("C", 500)].into()),
            "<tag@example.com>" => Ok(find("A", 550).into()),
            "<no@example.com>" => {
                let refusal = Refusal::permanent(550, EnhancedStatus::new(7, 1), "A virus");
                Ok(Opinion::from(find("A", 100)).and(refusal))
            }
            "<away@example.com>" => Err(ScorerError::new("no route")),
            _ => Ok(Opinion::silent()),
        }
    }
}

/// Returns the explanation of a message from this sender.
fn explained(panel: Panel, from: &str, to: &str) -> String {
    let runtime = VirtualRuntime::with(Script::smtp_server());
    let target = Smtp::new(runtime.clone(), "192.0.2.25:25".parse().unwrap(), "mx.example");
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("mail.json");
    fs::write(&log, "").unwrap();
    let path = log.clone();
    let gate = Gate::new(runtime.clone(), Settings::new("mx.example"), target).panel(panel);
    let gate = gate.observer(move |event| {
        if let Some(line) = Line::of(event, SystemTime::UNIX_EPOCH) {
            append(&path, format!("{line}\n").as_bytes());
        }
    });
    let [from_command, to] = [format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{to}>")];
    let commands = ["EHLO c.example", &from_command, &to, "DATA", "x: y\r\n\r\n.", "QUIT"];
    let _ = runtime.run(serve(runtime.client(Script::smtp_client(commands)), peer(), &gate));
    let (code, output, errors) = why(&log, &["--sender", from]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    output
}

#[test]
fn what_would_have_changed_the_verdict_is_told() {
    let panel = || Panel::new().scorer(Marks);
    let table: [(_, _, _, &[&str], &[&str]); 7] = [
        (
            panel(),
            "one@example.com",
            "b@example.org",
            &[
                "Verdict at data: refuse.",
                "Threshold to refuse, 6.31: reached by 6.50.",
                "Without marks:A: 0.50, which would pass.",
                "Without marks:B: 5.90, which would be tagged.",
            ],
            &["Without marks:GOOD"],
        ),
        (
            panel(),
            "set@example.com",
            "b@example.org",
            &["Without marks:A and marks:B: 5.00, which would be tagged."],
            &["Without marks:A:"],
        ),
        (
            panel(),
            "tag@example.com",
            "b@example.org",
            &[
                "The message was accepted by the onward server.",
                "Verdict at data: tag.",
                "Threshold to refuse, 6.31: not reached by 5.50, 0.81 points are missing.",
                "Without marks:A: 0.00, which would pass.",
            ],
            &[],
        ),
        (
            panel(),
            "no@example.com",
            "b@example.org",
            &[
                "marks decided this by itself, whatever the score.",
                "The score of 1.00 alone would pass.",
            ],
            &["Without"],
        ),
        (
            panel(),
            "away@example.com",
            "b@example.org",
            &[
                "The message was deferred by the spam filter. The client may try again.",
                "marks gave no complete answer at data: failed: no route",
                "marks failed, and its failure policy is to defer.",
            ],
            &["Without"],
        ),
        (
            panel(),
            "ham@example.com",
            "trap@example.org",
            &[
                "The message was refused by the spam filter.",
                "7.00  marks:TRAP (at rcpt, only for <trap@example.org>, which was refused)",
                "Verdict at rcpt: refuse.",
                "Without marks:TRAP: 0.00, which would pass.",
                "This is about <trap@example.org>.",
            ],
            &["Threshold to tag"],
        ),
        (
            panel().monitor(),
            "one@example.com",
            "b@example.org",
            &[
                "The message was accepted by the onward server.",
                "Verdict at data: refuse (monitor mode: without effect).",
            ],
            &[],
        ),
    ];
    for (panel, from, to, told, untold) in table {
        let text = explained(panel, from, to);
        for expected in told {
            assert!(text.lines().any(|line| line.trim() == *expected), "{expected}\n{text}");
        }
        assert!(untold.iter().all(|part| !text.contains(part)), "{untold:?}\n{text}");
    }
}
