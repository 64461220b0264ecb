//! The readers themselves. They get the rows that name them, and must show the text.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use crate::mime::{self, MIME_TOOLS, PYTHON, SHOWN, SPAMASSASSIN};

/// Returns the answers of a program to all messages: a line for each.
fn answers(program: &str, script: &str, messages: &[Vec<u8>]) -> Vec<String> {
    let script = format!("{}/tests/evasion/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new(program)
        .args([&*script, SHOWN])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut input = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            for message in messages {
                let octets: String = message.iter().map(|octet| format!("{octet:02x}")).collect();
                writeln!(input, "{octets}").unwrap();
            }
        });
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success());
    let lines: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(Into::into).collect();
    assert_eq!(lines.len(), messages.len());
    lines
}

#[test]
#[ignore = "needs Debian's python3, amavisd-new and spamassassin: see .ci/run"]
fn readers_show_the_text_of_their_rows() {
    let rows = mime::rows();
    let messages: Vec<_> = rows.iter().map(|row| row.content.clone()).collect();
    let python = answers("/usr/bin/python3", "python.py", &messages);
    let perl = answers("/usr/bin/perl", "perl.pl", &messages);
    let mut hidden = Vec::new();
    for ((row, python), perl) in rows.iter().zip(python).zip(perl) {
        let is_shown = match row.reader {
            PYTHON => python == "shown",
            reader @ (MIME_TOOLS | SPAMASSASSIN) => perl.contains(reader),
            _ => true,
        };
        if !is_shown {
            hidden.push((row.name, row.reader));
        }
    }
    assert!(hidden.is_empty(), "not shown: {hidden:#?}");
    let others =
        rows.iter().filter(|row| ![PYTHON, MIME_TOOLS, SPAMASSASSIN].contains(&row.reader));
    assert!(5 * others.count() < rows.len(), "too many rows without a reader that is run");
}
