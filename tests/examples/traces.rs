//! Every connection leaves a line in the log of `front_door`, wherever it breaks.

#![allow(clippy::disallowed_methods, reason = "a test of a process, in real time")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::SockRef;

use super::PATIENCE;
use super::gate::Gate;
use super::log::front_door;
use super::server::Onward;

/// Waits for the line of a log after this many lines. Returns it.
fn next_line(log: &Path, known: usize, what: &str) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        if let Some(line) = text.lines().nth(known)
            && text.ends_with('\n')
        {
            return serde_json::from_str(line).unwrap();
        }
        assert!(Instant::now() < end, "{what}: no line");
        sleep(Duration::from_millis(10));
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads one reply line, or what is there.
fn hear(stream: &mut TcpStream) -> String {
    let mut octets = [0; 2_048];
    let length = stream.read(&mut octets).unwrap_or_default();
    String::from_utf8_lossy(&octets[..length]).into_owned()
}

/// Closes the connection with RST.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// The octets of a session, each sent after the reply to the one before. A reset may follow each.
const STEPS: [&str; 10] = [
    "EHLO client.exa",
    "mple\r\n",
    "NOOP\r\n",
    "MAIL FROM:<a@example.com>\r\n",
    "RCPT TO:<b@example.org>\r\n",
    "DATA\r\n",
    "Subject: x\r\n\r\nsome ",
    "text\r\n",
    ".\r\n",
    "RSET\r\n",
];

#[test]
fn client_that_resets_at_any_point_leaves_a_line() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let (mut gate, log) = front_door(&onward, folder.path(), &[]);
    let mut lines = 0;
    for (reads_greeting, steps) in
        [(false, 0)].into_iter().chain((0..=STEPS.len()).map(|n| (true, n)))
    {
        let what = format!("reset after {:?}", &STEPS[..steps]);
        let mut stream = connect(gate.address);
        if reads_greeting {
            assert!(hear(&mut stream).starts_with("220 "));
        }
        for step in &STEPS[..steps] {
            stream.write_all(step.as_bytes()).unwrap();
            let has_reply = step.ends_with("\r\n") && !step.starts_with("text");
            if has_reply {
                assert!(hear(&mut stream).starts_with(['2', '3']), "{what}");
            }
        }
        // The rest of the last step must have arrived.
        sleep(Duration::from_millis(20));
        reset(stream);
        let expected: &[_] = match steps {
            ..4 => &[("session", "lost")],
            4..9 => &[("transaction", "lost")],
            // The client may not have read the reply, and may send the message again.
            9 => &[("transaction", "accepted"), ("unacknowledged", "accepted")],
            _ => &[("transaction", "accepted")],
        };
        for (kind, result) in expected {
            let line = next_line(&log, lines, &what);
            lines += 1;
            let told = (line["kind"].as_str().unwrap(), line["result"].as_str().unwrap());
            assert_eq!(told, (*kind, *result), "{what}: {line}");
        }
    }
    // No session line follows later.
    gate.stop();
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), lines);
}

#[test]
fn early_talker_leaves_a_line_with_its_conduct() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    // `--own-network` is not set, and the test is a stranger behind a PROXY header.
    let more = ["--greeting-delay", "1", "--proxy-from", "127.0.0.1"];
    let (mut gate, log) = front_door(&onward, folder.path(), &more);
    let mut stream = connect(gate.address);
    stream
        .write_all(b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 25\r\nEHLO early.example\r\nQUIT\r\n")
        .unwrap();
    while !hear(&mut stream).is_empty() {}
    let line = next_line(&log, 0, "early talker");
    assert_eq!(line["client"]["address"], "198.51.100.7", "{line}");
    assert!(line.to_string().to_lowercase().contains("early"), "{line}");

    // A connection without a PROXY header, and one that breaks in it.
    for (count, octets) in [(1, &b"EHLO x\r\n"[..]), (2, b"PROXY TCP4 198.51")] {
        let mut stream = connect(gate.address);
        stream.write_all(octets).unwrap();
        sleep(Duration::from_millis(20));
        reset(stream);
        let line = next_line(&log, count, "no PROXY header");
        assert_eq!(line["kind"], "session", "{line}");
    }
    gate.stop();
}

/// Starts front_door with a port for implicit TLS. Returns it with the address of that port.
fn with_tls(onward: &Onward, folder: &Path) -> (Gate, SocketAddr, std::path::PathBuf) {
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    let signed = rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).unwrap();
    fs::write(&certificate, signed.cert.pem()).unwrap();
    fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let [certificate, key] = [&certificate, &key].map(|path| path.to_str().unwrap());
    let more = ["--tls-listen", "127.0.0.1:0", "--tls-cert", certificate, "--tls-key", key];
    let (gate, log) = front_door(onward, folder, &more);
    let line = gate.line().unwrap();
    let address = line.strip_prefix("listening on ").and_then(|it| it.strip_suffix(" with TLS"));
    (gate, address.unwrap().parse().unwrap(), log)
}

#[test]
fn failed_handshake_of_implicit_tls_leaves_a_line() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let (mut gate, address, log) = with_tls(&onward, folder.path());
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for (known, (what, octets, is_reset)) in [
        ("SMTP in the clear", &b"EHLO client.example\r\n"[..], false),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n", false),
        ("nothing", b"", false),
        ("nothing, and a reset", b"", true),
        ("a part of a ClientHello", hello, false),
        ("a part of a ClientHello, and a reset", hello, true),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = connect(address);
        stream.write_all(octets).unwrap();
        sleep(Duration::from_millis(20));
        if is_reset {
            reset(stream)
        } else {
            drop(stream)
        }
        let line = next_line(&log, known, what);
        assert_eq!(line["kind"], "session", "{what}: {line}");
        assert_eq!(line["result"], "handshake-failed", "{what}: {line}");
        assert_eq!(line["client"]["address"], "127.0.0.1", "{what}: {line}");
    }
    gate.stop();
}

#[test]
fn lines_of_failed_handshakes_are_bounded_and_counted() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let (mut gate, address, log) = with_tls(&onward, folder.path());
    const ALL: u64 = 230;
    for _ in 0..ALL {
        let mut stream = connect(address);
        stream.write_all(b"EHLO client.example\r\n").unwrap();
        while !hear(&mut stream).is_empty() {}
    }
    gate.stop();
    let text = fs::read_to_string(log).unwrap();
    let (mut listed, mut omitted) = (0, 0);
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        match line["sessions"].as_u64() {
            Some(sessions) => omitted += sessions,
            None => listed += 1,
        }
    }
    assert_eq!(listed + omitted, ALL, "{listed} {omitted}");
    assert!(listed >= 200 && omitted > 0, "{listed} {omitted}");
}
