//! The log of `front_door`: what it contains, in which forms, and that it survives rotation.

#![allow(clippy::disallowed_methods, reason = "a test of a process, in real time")]

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nobounce::observer::json::{Entry, Line, Party, Word};

use super::client::Client;
use super::gate::Gate;
use super::server::Onward;
use super::{GTUBE, PATIENCE};

#[path = "../log/schema.rs"]
mod schema;

/// A client of this address, made known with XCLIENT.
pub(crate) const CLIENT: &str = "198.51.100.7";

/// Starts front_door with a log in a folder, before an onward server.
pub(crate) fn front_door(onward: &Onward, folder: &Path, more: &[&str]) -> (Gate, PathBuf) {
    let log = folder.join("mail.json");
    let (path, relay) = (log.to_str().unwrap(), onward.address.to_string());
    let options = ["--relay", &relay, "--no-self-test", "--as-root", "--host", "mx.example.org"];
    let options = [&options[..], &["--trust", "127.0.0.1", "--json-log", path], more].concat();
    (Gate::start("front_door", &options), log)
}

/// Greets as a client of another address.
pub(crate) fn greet(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    assert!(client.reply().starts_with("220 "));
    assert!(client.say("EHLO proxy.example").starts_with("250-"));
    let told = format!("XCLIENT ADDR={CLIENT} NAME=[UNAVAILABLE]");
    assert!(client.say(&told).starts_with("220 "));
    assert!(client.say("EHLO client.example").starts_with("250-"));
    client
}

/// Sends a message and returns the reply to it.
pub(crate) fn mail(client: &mut Client, to: &[&str], content: &str) -> String {
    assert!(client.say("MAIL FROM:<a@example.com>").starts_with("250 "));
    for to in to {
        client.say(&format!("RCPT TO:<{to}>"));
    }
    client.say("DATA");
    client.say(&format!("{content}\r\n."))
}

/// Waits until a log has so many lines. Each is checked against the schema.
pub(crate) fn lines(log: &Path, count: usize) -> Vec<Line> {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        if text.lines().count() >= count && text.ends_with('\n') {
            assert_eq!(text.lines().count(), count, "{text}");
            text.lines().for_each(schema::check);
            return text.lines().map(|line| Line::read(line).unwrap().unwrap()).collect();
        }
        assert!(Instant::now() < end, "{count} lines in {text}");
        sleep(Duration::from_millis(20));
    }
}

fn result(line: &Line) -> (Word, Option<Party>) {
    match &line.entry {
        Entry::Transaction(it) => (it.outcome.result, it.outcome.by),
        Entry::Session(it) => (it.outcome.result, it.outcome.by),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_connection_leaves_a_trace() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let (mut gate, log) = front_door(&onward, folder.path(), &["--log", "-"]);
    let mut client = greet(gate.address);
    let spam = format!("Subject: \u{202e}win\r\nMessage-ID: <1@example.com>\r\n\r\n{GTUBE}");
    assert!(mail(&mut client, &["b@example.org"], &spam).starts_with("550 "));
    lines(&log, 1);
    assert!(
        mail(&mut client, &["b@example.org", "nobody@example.org"], "x: y\r\n").starts_with("250 ")
    );
    lines(&log, 2);
    client.say("MAIL FROM:<a@example.com>");
    client.quit();
    lines(&log, 3);

    // Sessions without a transaction: EHLO and QUIT, no command, HTTP, TLS, an early talker.
    greet(gate.address).quit();
    lines(&log, 4);
    let mut client = Client::connect(gate.address);
    client.reply();
    drop(client);
    lines(&log, 5);
    for (count, octets) in [(6, &b"GET / HTTP/1.1\r\n"[..]), (7, b"\x16\x03\x01\x02\x00\x01\x00")] {
        let mut client = Client::connect(gate.address);
        client.reply();
        client.send(octets);
        client.reply();
        lines(&log, count);
    }
    let mut early = Client::connect(gate.address);
    early.send(b"EHLO early.example\r\n");
    let _ = early.reply();
    drop(early);
    let lines = lines(&log, 8);
    let expected = [
        (Word::Refused, Some(Party::Panel)),
        (Word::Accepted, Some(Party::Onward)),
        (Word::Reset, Some(Party::Client)),
        (Word::Quit, Some(Party::Client)),
        (Word::Lost, Some(Party::Client)),
        (Word::Refused, Some(Party::Session)),
        (Word::Refused, Some(Party::Session)),
    ];
    let results: Vec<_> = lines.iter().map(result).collect();
    assert_eq!(results[..7], expected);
    let Entry::Transaction(spam) = &lines[0].entry else { panic!() };
    assert_eq!(spam.client.address, Some(CLIENT.parse().unwrap()));
    assert_eq!(spam.fields["Message-ID"], "<1@example.com>");
    assert!(spam.judged.scorers.iter().any(|it| it.scorer == "gtube"), "{spam:?}");
    let Entry::Transaction(mixed) = &lines[1].entry else { panic!() };
    let outcomes: Vec<_> = mixed.recipients.iter().map(|it| it.outcome.result).collect();
    assert_eq!(outcomes, [Word::Accepted, Word::Refused]);
    gate.signal("TERM");

    // The same lines as text, with the time.
    let text: Vec<_> = std::iter::from_fn(|| gate.line()).collect();
    assert_eq!(text.len(), 8, "{text:?}");
    for (line, words) in
        text.iter().zip(["result=refused-by-panel", "result=accepted", "result=reset"])
    {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{line}");
        assert!(rest.starts_with("id=") && rest.contains(words), "{line}");
    }
    assert!(text[0].contains("header.message-id=\"<1@example.com>\""), "{}", text[0]);
    assert!(text[3].contains("result=quit"), "{}", text[3]);
    assert!(!text.concat().contains('\u{202e}'));
    assert!(gate.wait().success());
}

#[test]
fn clients_without_a_session_are_logged() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let more = ["--proxy-from", "127.0.0.1", "--max-rate", "1"];
    let (gate, log) = front_door(&onward, folder.path(), &more);
    let mut strange = Client::connect(gate.address);
    strange.send(b"EHLO client.example\r\n");
    strange.assert_closed();
    for expected in ["220 ", "421 4.7.0 "] {
        let mut client = Client::connect(gate.address);
        client.send(b"PROXY TCP4 192.0.2.1 127.0.0.1 4321 25\r\n");
        assert!(client.reply().starts_with(expected));
    }
    let lines = lines(&log, 3);
    let mut results: Vec<_> = lines.iter().map(|line| format!("{:?}", result(line))).collect();
    results.sort();
    let expected =
        ["(Deferred, Some(Admission))", "(Lost, Some(Client))", "(Refused, Some(Admission))"];
    assert_eq!(results, expected);
}

#[test]
fn sessions_beyond_the_rate_are_counted_in_a_line() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let (mut gate, log) = front_door(&onward, folder.path(), &["--max-per-address", "1000"]);
    for _ in 0..230 {
        let mut client = Client::connect(gate.address);
        client.reply();
        assert!(client.say("QUIT").starts_with("221 "));
    }
    gate.stop();
    let text = fs::read_to_string(log).unwrap();
    let read = text.lines().map(|line| Line::read(line).unwrap().unwrap());
    let (mut listed, mut omitted) = (0, 0);
    for line in read {
        match line.entry {
            Entry::Session(_) => listed += 1,
            Entry::SessionsOmitted { sessions } => omitted += sessions,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(listed + omitted, 230, "{listed} {omitted}");
    assert!(listed >= 200 && omitted > 0, "{listed} {omitted}");
}

#[test]
fn both_forms_can_be_standard_output() {
    let onward = Onward::start(false);
    let relay = onward.address.to_string();
    let options = ["--listen", "127.0.0.1:0", "--relay", &relay, "--no-self-test", "--as-root"];
    let options = [&options[..], &["--json-log", "-", "--log", "-", "--no-time-stamps"]].concat();
    // The ports are reported on standard error, since programs read standard output.
    let (mut gate, address) = Gate::start_reporting_on_standard_error("front_door", &options);
    let mut client = Client::connect(address);
    client.reply();
    client.quit();
    let [one, other] = [gate.line().unwrap(), gate.line().unwrap()];
    schema::check(&one);
    assert!(other.starts_with("id="), "{other}");
    gate.stop();
}

#[test]
fn log_survives_rotation_by_rename_and_by_copytruncate() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let text = folder.path().join("mail.log");
    let (mut gate, log) = front_door(&onward, folder.path(), &["--log", text.to_str().unwrap()]);
    let files = [log.clone(), text.clone()];
    let mut client = greet(gate.address);
    let count = |path: &Path, count: usize| {
        let end = Instant::now() + PATIENCE;
        while fs::read_to_string(path).unwrap_or_default().lines().count() != count {
            assert!(Instant::now() < end, "{}: {:?}", path.display(), fs::read_to_string(path));
            sleep(Duration::from_millis(20));
        }
    };
    let mut send = |so_many: usize| {
        for _ in 0..so_many {
            assert!(mail(&mut client, &["b@example.org"], "x: y\r\n").starts_with("250 "));
        }
    };
    send(2);
    files.iter().for_each(|file| count(file, 2));

    // Rename, as logrotate does it by default. Until SIGHUP, lines go to the old file.
    let rotated = files.clone().map(|file| file.with_extension("1"));
    files.iter().zip(&rotated).for_each(|(file, rotated)| fs::rename(file, rotated).unwrap());
    send(1);
    rotated.iter().for_each(|file| count(file, 3));
    gate.signal("HUP");
    let end = Instant::now() + PATIENCE;
    while !files.iter().all(|file| file.exists()) {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(20));
    }
    send(2);
    files.iter().for_each(|file| count(file, 2));

    // Copytruncate: the file stays open, and is written from its new end.
    for file in &files {
        fs::copy(file, file.with_extension("2")).unwrap();
        fs::File::options().write(true).open(file).unwrap().set_len(0).unwrap();
    }
    send(3);
    files.iter().for_each(|file| count(file, 3));
    lines(&log, 3);
    assert!(!fs::read(&text).unwrap().contains(&0), "no hole at the start");
    gate.stop();
}

#[test]
fn message_fields_are_left_out_on_request() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let (mut gate, log) = front_door(&onward, folder.path(), &["--no-message-fields"]);
    let mut client = greet(gate.address);
    assert!(mail(&mut client, &["b@example.org"], "Subject: secret\r\n").starts_with("250 "));
    lines(&log, 1);
    gate.stop();
    assert!(!fs::read_to_string(log).unwrap().contains("secret"));
}

/// Appends a line to a log, as another program would damage it.
pub(crate) fn append(log: &Path, line: &[u8]) {
    fs::File::options().append(true).open(log).unwrap().write_all(line).unwrap();
}
