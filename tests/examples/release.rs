//! Copies of refused messages, and `front_door release`.

#![allow(clippy::disallowed_methods, reason = "processes run in real time")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use tempfile::TempDir;

use super::client::Client;
use super::gate::{Gate, binary};
use super::server::{Onward, nowhere};
use super::status::until;
use super::{GTUBE, HEAD};

/// A `front_door` that keeps refused messages.
struct Keeping {
    gate: Gate,
    folder: TempDir,
    onward: Onward,
}

impl Keeping {
    fn start(table: &str) -> Self {
        let (folder, onward) = (tempfile::tempdir().unwrap(), Onward::start(false));
        let config = folder.path().join("front.toml");
        fs::write(&config, format!("[gtube]\n{}", placed(table, folder.path()))).unwrap();
        let (relay, config) = (onward.address.to_string(), config.to_str().unwrap());
        let options = ["--relay", &relay, "--config", config, "--host", "localhost"];
        let gate =
            Gate::start("front_door", &[&options[..], &["--no-self-test", "--as-root"]].concat());
        Self { gate, folder, onward }
    }

    /// Sends a message that is refused, and returns its reference.
    fn refuse(&self, to: &[&str]) -> String {
        let mut client = Client::greet(self.gate.address);
        let to: Vec<_> = to.iter().map(|to| format!("RCPT TO:<{to}>")).collect();
        let content = format!("{HEAD}{GTUBE}\r\n.");
        let mut mail = vec!["MAIL FROM:<a@example.com>"];
        mail.extend(to.iter().map(String::as_str));
        mail.extend(["DATA", &content]);
        let reply = client.say_all(&mail);
        assert!(reply.starts_with("550 5.7.1 Message refused: GTUBE ("), "{reply}");
        client.quit();
        reply.split(['(', ')']).nth(1).unwrap().to_owned()
    }

    fn kept(&self, reference: &str) -> PathBuf {
        self.folder.path().join("refused").join(format!("{reference}.eml"))
    }

    /// Runs `front_door release`, and returns its exit code and output.
    fn release(&self, relay: SocketAddr, arguments: &[&str]) -> (Option<i32>, String) {
        let (relay, config) = (relay.to_string(), self.folder.path().join("front.toml"));
        let output = Command::new(binary("front_door"))
            .args(["release", "--relay", &relay, "--config", config.to_str().unwrap()])
            .args(["--host", "mx.example.org"])
            .args(arguments)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }
}

fn placed(table: &str, folder: &Path) -> String {
    table.replace("FOLDER", folder.join("refused").to_str().unwrap())
}

const WHOLE: &str = "[refused_mail]\nfolder = \"FOLDER\"\n";

#[test]
fn refused_message_is_released_once() {
    let it = Keeping::start(WHOLE);
    let reference = it.refuse(&["b@example.org"]);
    let eml = it.kept(&reference);
    until("the copy is written", || eml.exists());
    let (code, text) = it.release(it.onward.address, &[&reference]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.ends_with("<b@example.org>: 250 2.0.0 Ok: queued as 4Xyz\n"), "{text}");
    assert!(text.contains(", from <a@example.com> by 127.0.0.1\n"), "{text}");
    let delivery = it.onward.deliveries.try_recv().unwrap();
    assert_eq!(delivery.envelope, ["<a@example.com>", "<b@example.org>"]);
    let content = String::from_utf8(delivery.content).unwrap();
    let trace = format!("X-Nobounce-Released: {reference} by mx.example.org;");
    assert!(content.starts_with(&trace), "{content}");
    assert!(content.ends_with(&fs::read_to_string(&eml).unwrap()), "{content}");

    let (code, text) = it.release(it.onward.address, &[&reference]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("released before, 20") && text.contains("expected --again"), "{text}");
    assert!(it.onward.deliveries.try_recv().is_err());
    let (code, text) = it.release(it.onward.address, &[&reference, "--again", "--remove"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(it.onward.deliveries.try_recv().is_ok());
    assert!(!eml.exists());
    let (code, text) = it.release(it.onward.address, &[&reference]);
    assert_eq!(code, Some(66), "{text}");
    assert!(text.contains("no such copy"), "{text}");
}

#[test]
fn release_reports_what_the_onward_server_says() {
    let it = Keeping::start(WHOLE);
    for (to, code, said) in [
        ("spamtrap@example.org", 1, "554-5.7.1 we do not want this / 554 5.7.1 and shall not"),
        ("full@example.org", 2, "452 4.2.2 mailbox full"),
    ] {
        let reference = it.refuse(&[to]);
        until("the copy is written", || it.kept(&reference).exists());
        let (exit, text) = it.release(it.onward.address, &[&reference]);
        assert_eq!(exit, Some(code), "{text}");
        assert!(text.contains(&format!("<{to}>: ")) && text.contains(&said[4..20]), "{text}");
        // The message was not released, so it can be tried again.
        let (exit, text) = it.release(nowhere(), &[&reference, "--remove"]);
        assert_eq!(exit, Some(2), "{text}");
        assert!(text.contains(": 451 4.4.1 ") && text.contains("Connection refused"), "{text}");
        assert!(it.kept(&reference).exists());
    }
}

#[test]
fn header_alone_cannot_be_released() {
    let it = Keeping::start(&format!("{WHOLE}keep = \"header\"\n"));
    let reference = it.refuse(&["b@example.org"]);
    until("the copy is written", || it.kept(&reference).exists());
    assert!(!fs::read_to_string(it.kept(&reference)).unwrap().contains("GTUBE"));
    let (code, text) = it.release(it.onward.address, &[&reference]);
    assert_eq!(code, Some(65), "{text}");
    assert_eq!(text.lines().last(), Some("front_door: only the header of the message was kept"));
    assert!(it.onward.deliveries.try_recv().is_err());
}

#[test]
fn nothing_is_written_without_a_folder_and_a_reload_turns_it_on() {
    let it = Keeping::start("[refused_mail]\nmessages = 5\n");
    let reference = it.refuse(&["b@example.org"]);
    let (code, text) = it.release(it.onward.address, &[&reference]);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("expected --config FILE with `folder`"), "{text}");
    let config = it.folder.path().join("front.toml");
    fs::write(&config, format!("[gtube]\n{}", placed(WHOLE, it.folder.path()))).unwrap();
    it.gate.signal("HUP");
    let folder = it.folder.path().join("refused");
    until("the folder is created", || folder.exists());
    until("copies are written", || {
        let reference = it.refuse(&["b@example.org"]);
        thread::sleep(std::time::Duration::from_millis(50));
        it.kept(&reference).exists()
    });
    assert!(!it.kept(&reference).exists());
}

#[test]
fn copies_that_wait_are_written_at_exit() {
    let mut it = Keeping::start(WHOLE);
    let references: Vec<_> = (0..20).map(|_| it.refuse(&["b@example.org"])).collect();
    it.gate.stop();
    assert!(references.iter().all(|reference| it.kept(reference).exists()));
}

#[test]
fn faulty_folder_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("front.toml");
    for (table, expected) in [
        ("folder = \"FILE/refused\"", "front.toml:2: refused_mail.folder: "),
        ("folder = \"/x\"\nshare = 0", "front.toml:3: refused_mail.share: "),
        ("folder = \"/x\"\nkeep = \"all\"", "front.toml:3: refused_mail.keep: "),
        ("folder = \"/x\"\ndays = 3", "front.toml:3: refused_mail.days: "),
    ] {
        // The folder would be in a regular file.
        let table = table.replace("FILE", config.to_str().unwrap());
        fs::write(&config, format!("[refused_mail]\n{table}\n")).unwrap();
        for start in [&["--check"][..], &["--listen", "127.0.0.1:0", "--as-root"]] {
            let output = Command::new(binary("front_door"))
                .args(["--no-self-test", "--relay", "127.0.0.1:1", "--config"])
                .arg(&config)
                .args(start)
                .output()
                .unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(told.contains(expected) && told.contains("expected"), "{start:?} {told}");
        }
    }
}

/// Starts an onward server that supports XCLIENT, and returns the commands that it gets.
fn xclient_server() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, commands) = channel();
    thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let say = |stream: &mut BufReader<std::net::TcpStream>, reply: &str| {
            let _ = stream.get_mut().write_all(format!("{reply}\r\n").as_bytes());
        };
        say(&mut stream, "220 onward.example ESMTP");
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|length| length > 0) {
            let command = line.trim_end().to_owned();
            line.clear();
            let reply = match command.split(' ').next().unwrap() {
                "EHLO" => {
                    "250-onward.example\r\n250-8BITMIME\r\n250 XCLIENT NAME ADDR PORT PROTO HELO REVERSE_NAME"
                }
                "XCLIENT" => "220 onward.example ESMTP",
                "DATA" => "354 go ahead",
                "." => "250 2.0.0 Ok: queued as X1",
                "MAIL" | "RCPT" | "RSET" => "250 2.1.0 Ok",
                "QUIT" => "221 2.0.0 Bye",
                _ => "",
            };
            sender.send(command).unwrap();
            if !reply.is_empty() {
                say(&mut stream, reply);
            }
        }
    });
    (address, commands)
}

#[test]
fn onward_server_gets_the_client_of_the_refused_message() {
    let it = Keeping::start(WHOLE);
    let reference = it.refuse(&["b@example.org"]);
    until("the copy is written", || it.kept(&reference).exists());
    let (address, commands) = xclient_server();
    let (code, text) = it.release(address, &[&reference, "--identify", "xclient"]);
    assert_eq!(code, Some(0), "{text}");
    let commands: Vec<_> = commands.try_iter().collect();
    let xclient = commands.iter().find(|it| it.starts_with("XCLIENT ")).unwrap();
    assert!(xclient.contains(" ADDR=127.0.0.1"), "{commands:?}");
    assert!(commands.iter().any(|it| it == "EHLO client.example"), "{commands:?}");
    assert!(commands.iter().any(|it| it == "MAIL FROM:<a@example.com>"), "{commands:?}");
}
