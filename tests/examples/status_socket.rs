//! The status server of `front_door` on a Unix socket, and its records as JSON.

#![allow(clippy::disallowed_methods, reason = "processes run in real time")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::Client;
use super::gate::{Gate, binary};
use super::log::greet;
use super::server::Onward;
use super::{GTUBE, HEAD, PATIENCE};

fn start(onward: &Onward, status: &Path) -> Gate {
    let (relay, status) = (onward.address.to_string(), format!("unix:{}", status.display()));
    let options = ["--relay", &relay, "--no-self-test", "--as-root", "--host", "mx.example.org"];
    Gate::start(
        "front_door",
        &[&options[..], &["--trust", "127.0.0.1", "--status", &status]].concat(),
    )
}

/// Returns the code and the body of a response.
fn get(socket: &Path, path: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: status\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Sends a message with this sender that is refused for its content.
fn refuse(client: &mut Client, sender: &str) {
    let content = format!("{HEAD}{GTUBE}\r\n.");
    let mail = [&*format!("MAIL FROM:<{sender}>"), "RCPT TO:<b@example.org>", "DATA", &content];
    let reply = client.say_all(&mail);
    assert!(reply.starts_with("550 5.7.1 "), "{reply}");
}

#[test]
fn status_is_served_on_a_unix_socket_and_survives_a_takeover() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let socket = folder.path().join("status");
    // A file of an earlier process is replaced.
    drop(UnixListener::bind(&socket).unwrap());
    let gate = start(&onward, &socket);
    assert!(gate.preface.contains(&format!("status page on unix:{}", socket.display())));
    assert_eq!(get(&socket, "/healthz"), (200, "ok\n".into()));
    let mut client = greet(gate.address);
    refuse(&mut client, "a@example.com");
    client.quit();
    assert!(get(&socket, "/").1.contains("a@example.com"));

    // The new process inherits the socket, as it would from systemd.
    let metrics = || get(&socket, "/metrics").1;
    let start = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("process_start_time_seconds "));
        line.unwrap().to_owned()
    };
    let before = start(&metrics());
    gate.signal("USR2");
    let began = Instant::now();
    while start(&metrics()) == before {
        assert!(began.elapsed() < PATIENCE, "the new process answers");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(get(&socket, "/healthz").0, 200);
    stop_process_with(&socket);
}

/// Ends the process that has this path in its command line.
fn stop_process_with(path: &Path) {
    let path = path.to_str().unwrap();
    for entry in fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(path) {
            let pid = entry.file_name().into_string().unwrap();
            assert!(Command::new("kill").arg(pid).status().unwrap().success());
        }
    }
}

#[test]
fn socket_of_a_running_process_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    for (name, expected) in [
        ("taken", "another process listens there"),
        ("file", "another process listens there, or it is no socket"),
        ("no-folder/status", "expected a file in a folder that exists"),
    ] {
        let socket = folder.path().join(name);
        let _listener = (name == "taken").then(|| UnixListener::bind(&socket).unwrap());
        if name == "file" {
            fs::write(&socket, "kept").unwrap();
        }
        let status = format!("unix:{}", socket.display());
        let options =
            ["--listen", "127.0.0.1:0", "--relay", "127.0.0.1:1", "--as-root", "--status", &status];
        let output = Command::new(binary("front_door")).args(options).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(expected), "{told}");
    }
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"kept");
    for (status, expected) in [("unix:status", "absolute path"), ("9125", "expected ADDRESS:PORT")]
    {
        let output =
            Command::new(binary("front_door")).args(["--status", status]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn recent_records_are_served_as_json() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let socket = folder.path().join("status");
    let mut gate = start(&onward, &socket);
    let read = |path: &str| -> Value {
        let (code, body) = get(&socket, path);
        assert_eq!(code, 200);
        serde_json::from_str(&body).unwrap()
    };
    assert_eq!(read("/recent.json"), serde_json::json!({"records": [], "left_out": 0}));
    let mut client = greet(gate.address);
    for sender in ["one@example.com", "\"<\\\"&>\"@example.com"] {
        refuse(&mut client, sender);
    }
    client.quit();
    let all = read("/recent.json");
    let records = all["records"].as_array().unwrap();
    assert_eq!(records.len(), 2);
    // The newest is first.
    assert_eq!(records[0]["sender"], "<\"<\\\"&>\"@example.com>");
    let one = &records[1];
    assert_eq!(one["client"], "unknown[198.51.100.7]");
    assert_eq!(one["result"], "refused by the panel");
    assert_eq!(one["score"], 1000.0);
    assert_eq!(one["recipients"], serde_json::json!({"listed": ["<b@example.org>"], "more": 0}));
    assert_eq!(one["findings"]["listed"][0]["symbol"], "gtube:GTUBE");
    assert!(one["replies"]["listed"][0].as_str().unwrap().starts_with("550 5.7.1 "), "{one}");
    assert_eq!(read("/recent.json?q=one%40")["records"].as_array().unwrap().len(), 1);
    gate.stop();
}

#[test]
fn hostile_texts_do_not_make_a_page_large() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let socket = folder.path().join("status");
    let mut gate = start(&onward, &socket);
    // Each of these octets is six octets of HTML.
    let quotes = "\\\"".repeat(30);
    let mut reference = String::new();
    for n in 0..200 {
        let mut client = greet(gate.address);
        client.say(&format!("MAIL FROM:<\"{quotes}\"@n{n}.example.com>"));
        for to in 0..15 {
            client.say(&format!("RCPT TO:<\"{to}{quotes}\"@example.org>"));
        }
        client.say("DATA");
        let subject = "\"<>&".repeat(200);
        let id = "\"".repeat(900);
        let head = format!("From: {subject}\r\nSubject: {subject}\r\nMessage-ID: <{id}>\r\n\r\n");
        let reply = client.say(&format!("{head}{GTUBE}\r\n."));
        assert!(reply.starts_with("550 5.7.1 "), "{reply}");
        reply.split(['(', ')']).nth(1).unwrap().clone_into(&mut reference);
        client.quit();
    }
    let search = format!("/?q={}", "%22".repeat(2_000));
    for path in ["/", "/?q=n", &search, &format!("/why/{reference}")] {
        let (code, page) = get(&socket, path);
        assert_eq!(code, 200, "{path}");
        assert!(page.len() <= 64 << 10, "{path}: {} octets", page.len());
        assert!(page.len() > 5_000, "{path}: {page}");
    }
    assert_eq!(get(&socket, &search).1.matches("&quot;").count(), 200, "of the search");
    let (code, recent) = get(&socket, "/recent.json");
    assert_eq!(code, 200);
    assert!((200_000..=(256 << 10) + 100).contains(&recent.len()), "{} octets", recent.len());
    let recent: Value = serde_json::from_str(&recent).unwrap();
    let records = recent["records"].as_array().unwrap().len() as u64;
    assert_eq!(records + recent["left_out"].as_u64().unwrap(), 200);
    gate.stop();
}
