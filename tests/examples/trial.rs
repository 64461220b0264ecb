//! `front_door try`: a message through the configuration, with nothing sent and nothing learned.

#![allow(clippy::disallowed_methods, reason = "a test of a process, in real time")]

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use nobounce::store::{Embedded, Key, Rate, Store, Taken};

use super::gate::binary;
use super::server::{nowhere, spamd};
use super::why::{normal, told, transcript};
use super::{GTUBE, HEAD};

/// Runs a trial with these options and this standard input.
fn trial(options: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary("front_door"));
    command.arg("try").args(options).args(["--host", "mx.example.org"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The trial may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    told(&child.wait_with_output().unwrap())
}

/// Creates a message file, and returns it with its folder.
fn message(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("message.eml");
    fs::write(&path, text).unwrap();
    (folder, path.to_str().unwrap().to_owned())
}

#[test]
fn exit_codes_tell_pass_refused_and_deferred() {
    let spam = format!("{HEAD}{GTUBE}\n");
    let ham = format!("{HEAD}.\n..two dots\n");
    let [mild, bad, away] = [spamd("0.3"), spamd("15.0"), nowhere()].map(|it| it.to_string());
    let table: &[(&str, &[&str], i32, &str)] = &[
        (&ham, &[], 0, "the message would pass"),
        (&ham, &["--spamd", &mild], 0, "the message would pass"),
        (&ham, &["--spamd", &bad], 1, "would be refused"),
        (&ham, &["--spamd", &away], 2, "would be deferred"),
        (&ham, &["--spamd", &bad, "--monitor"], 0, "the message would pass"),
        (&spam, &[], 1, "would be refused"),
        (&spam, &["--reject-at", "2000"], 0, "the message would pass"),
    ];
    for (text, options, code, result) in table {
        let (_folder, path) = message(text);
        let envelope =
            ["--from", "a@example.com", "--to", "b@example.org", "--to", "c@example.org", &path];
        let (exit, output, errors) = trial(&[options, &envelope[..]].concat(), "");
        assert_eq!(exit, Some(*code), "{options:?}: {output}{errors}");
        assert!(output.contains(result), "{options:?}: {output}");
        assert!(output.contains("C: RCPT TO:<c@example.org>"), "{output}");
        if options.first() == Some(&"--spamd") {
            assert!(output.contains("data: spamd ("), "{output}");
        }
    }
    let (exit, _, errors) = trial(&["/no/such/file"], "");
    assert_eq!(exit, Some(66), "{errors}");
    let (exit, _, errors) = trial(&["--client", "nonsense"], "");
    assert_eq!(exit, Some(64), "{errors}");
    let (exit, _, errors) = trial(&["--config", "/no/such/file"], "");
    assert_eq!(exit, Some(78), "{errors}");
    assert!(errors.contains("/no/such/file"), "{errors}");
}

#[test]
fn the_trial_on_the_page_is_a_real_one() {
    let (command, expected) = transcript("front_door try ");
    assert_eq!(
        command,
        "front_door try --client 198.51.100.7 --from a@example.com --to b@example.org spam.eml"
    );
    let (_folder, path) = message(&format!("{HEAD}{GTUBE}\n").replace('\r', ""));
    let options =
        ["--client", "198.51.100.7", "--from", "a@example.com", "--to", "b@example.org", &path];
    let (code, output, errors) = trial(&options, "");
    assert_eq!((code, errors.as_str()), (Some(1), ""));
    // The greeting has the same prefix, with another number.
    let id = |text: &str| {
        let (_, rest) = text.split_once("GTUBE (").unwrap();
        rest.rsplit_once("-0.1)").unwrap().0.to_owned()
    };
    assert_eq!(normal(&output, &id(&output)), normal(&expected, &id(&expected)), "\n{output}");
}

#[test]
fn a_dialogue_on_standard_input_is_answered() {
    let dialogue = format!(
        "EHLO client.example\nMAIL FROM:<a@example.com>\nRCPT TO:<b@example.org>\nDATA\n{HEAD}{GTUBE}\n.\n\
         MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 6 LAST\r\nx: y\r\nNOOP\r\nQUIT\r\n"
    );
    let (code, output, errors) = trial(&["--client", "198.51.100.7"], &dialogue);
    assert_eq!(code, Some(1), "{output}{errors}");
    let mut rest = &output[..];
    for expected in [
        "client: unknown[198.51.100.7]",
        "S: 220 mx.example.org ESMTP",
        "C: EHLO client.example",
        "data: gtube (",
        "data: total 1000.00: refuse",
        "S: 550 5.7.1 Message refused: GTUBE",
        "data: total 0.00: pass",
        "S: 250 2.0.0 Ok: queued as nothing-is-sent",
        "C: NOOP",
        "S: 221 2.0.0 Bye",
        "would be refused",
    ] {
        let (_, behind) =
            rest.split_once(expected).unwrap_or_else(|| panic!("no {expected} in {output}"));
        rest = behind;
    }
    // Input that ends early, and a command line that is not UTF-8 text.
    for input in [
        "",
        "EHLO x",
        "MAIL FROM:<a@b>\nRCPT",
        "\u{1b}[2J\u{202e}\n",
        "EHLO x\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\nno end",
    ] {
        let (code, output, errors) = trial(&[], input);
        assert_eq!(code, Some(0), "{input:?}: {output}{errors}");
        assert!(
            !output.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'),
            "{output:?}"
        );
    }
}

#[test]
fn a_trial_changes_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let [store, config] = ["store.redb", "front.toml"].map(|name| folder.path().join(name));
    let now = SystemTime::now();
    let (key, rate) = (Key::new("k", "v"), Rate::new(9, Duration::from_secs(9_000)).unwrap());
    let file = Embedded::open(&store).unwrap();
    pollster::block_on(file.take(&key, rate, 4, now)).unwrap();
    drop(file);
    let before = fs::read(&store).unwrap();
    let table =
        "[greylist]\n[rate_limit]\nper_sender = { recipients = 1, seconds = 3600 }\n[reputation]\n";
    fs::write(&config, format!("{table}[store]\nfile = \"{}\"\n", store.display())).unwrap();
    let (_folder, path) = message(HEAD);
    let options = [
        "--config",
        config.to_str().unwrap(),
        "--from",
        "a@example.com",
        "--to",
        "b@example.org",
        &path,
    ];
    for _ in 0..3 {
        // A rate of one recipient would be exceeded by the second trial, if it counted.
        let (code, output, errors) = trial(&options, "");
        assert_eq!(code, Some(2), "greylisted: {output}{errors}");
        assert!(output.contains("greylist (") && !output.contains("SENDER_RATE"), "{output}");
    }
    assert!(fs::read(&store).unwrap() == before, "the file has changed");

    // A running gate holds the file.
    let file = Embedded::open(&store).unwrap();
    let (code, output, errors) = trial(&options, "");
    assert_eq!((code, errors.as_str()), (Some(2), ""), "{output}");
    let left = pollster::block_on(file.take(&key, rate, 0, now)).unwrap();
    assert_eq!(left, Taken::Granted { left: 5 });
}

/// A Redis server without persistence, on a Unix socket in its own folder.
struct Redis(std::process::Child, tempfile::TempDir);

impl Redis {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = ["--port", "0", "--save", "", "--unixsocket", "redis.sock"];
        let mut command = Command::new("redis-server");
        let command = command.args(options).current_dir(folder.path()).stdout(Stdio::null());
        let server = Self(command.spawn().unwrap(), folder);
        let end = std::time::Instant::now() + super::PATIENCE;
        while server.ask(&["PING"]) != "PONG\n" {
            assert!(std::time::Instant::now() < end, "Redis answers");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn socket(&self) -> String {
        self.1.path().join("redis.sock").to_str().unwrap().to_owned()
    }

    fn ask(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-s", &self.socket()]).args(words).output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    }

    /// Returns all keys with their values and times.
    fn contents(&self) -> Vec<[String; 3]> {
        let keys = self.ask(&["--scan"]);
        let mut all: Vec<_> = keys
            .lines()
            .map(|key| [key.to_owned(), self.ask(&["DUMP", key]), self.ask(&["PEXPIRETIME", key])])
            .collect();
        all.sort();
        all
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs an installed Redis"]
fn a_trial_changes_nothing_in_redis() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let config = folder.path().join("front.toml");
    let tables =
        "[greylist]\n[rate_limit]\nper_sender = { recipients = 1, seconds = 3600 }\n[reputation]\n";
    let text = format!("{tables}[store]\nredis = \"unix:{}\"\n", redis.socket());
    fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let (_folder, path) = message(HEAD);
    let options = [
        "--config",
        config,
        "--client",
        super::log::CLIENT,
        "--from",
        "a@example.com",
        "--to",
        "b@example.org",
        &path,
    ];
    let tries = || {
        for _ in 0..3 {
            let (code, output, errors) = trial(&options, "");
            assert_eq!((code, errors.as_str()), (Some(2), ""), "greylisted: {output}{errors}");
            assert!(!output.contains("failed"), "{output}");
        }
    };
    tries();
    assert_eq!(redis.contents(), Vec::<[String; 3]>::new(), "in an empty store");

    // A gate with the same store writes records.
    let onward = super::server::Onward::start(false);
    let (mut gate, _log) = super::log::front_door(&onward, folder.path(), &["--config", config]);
    let mut client = super::log::greet(gate.address);
    client.say("MAIL FROM:<a@example.com>");
    assert!(client.say("RCPT TO:<b@example.org>").starts_with("451 "));
    client.say("RSET");
    client.quit();
    gate.stop();
    let before = redis.contents();
    assert!(!before.is_empty());
    tries();
    assert_eq!(redis.contents(), before);
}
