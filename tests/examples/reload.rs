//! Reload of `front_door` on SIGHUP.

#![allow(clippy::disallowed_methods, reason = "processes run in real time")]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{iter, thread};

use tempfile::TempDir;

use super::client::Client;
use super::gate::{Gate, binary};
use super::server::Onward;
use super::status::{get, until};
use super::{GTUBE, HEAD, PATIENCE};

const MAIL: [&str; 3] = ["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA"];

/// A `front_door` with a configuration file and a status server.
struct Reloaded {
    gate: Gate,
    status: SocketAddr,
    folder: TempDir,
    onward: Onward,
}

impl Reloaded {
    fn start(config: &str, more: &[&str]) -> Self {
        Self::start_by(Command::new("sh"), config, more)
    }

    /// Starts it with the environment of this shell.
    fn start_by(mut shell: Command, config: &str, more: &[&str]) -> Self {
        let (folder, onward) = (tempfile::tempdir().unwrap(), Onward::start(false));
        // An unprivileged user reads the file again.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("front.toml");
        fs::write(&path, config).unwrap();
        let errors = folder.path().join("errors");
        let script = format!("exec \"$0\" \"$@\" 2>{}", errors.display());
        shell.arg("-c").arg(script).arg(binary("front_door"));
        let relay = onward.address.to_string();
        let options = ["--listen", "127.0.0.1:0", "--relay", &relay, "--status", "127.0.0.1:0"];
        let usual = ["--no-self-test", "--host", "localhost", "--config", path.to_str().unwrap()];
        let own = if more.contains(&"--user") { &[][..] } else { &["--as-root"] };
        let all = [&options[..], &usual, own, more].concat();
        let gate = Gate::run_by(shell, &binary("front_door"), &all);
        let mut lines = gate.preface.iter();
        let url = lines.find_map(|line| line.strip_prefix("status page on http://")).unwrap();
        let status = url.trim_end_matches('/').parse().unwrap();
        let reloaded = Self { gate, status, folder, onward };
        until("it is ready", || get(reloaded.status, "/readyz").code == 200);
        reloaded
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Waits until standard error contains this text.
    fn tells(&self, expected: &str) {
        let path = self.path("errors");
        let began = Instant::now();
        while !fs::read_to_string(&path).unwrap().contains(expected) {
            assert!(began.elapsed() < PATIENCE, "{expected}: {:?}", fs::read_to_string(&path));
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Writes the configuration file, sends SIGHUP, and waits until the reload is over.
    fn reload(&self, config: &str) {
        fs::write(self.path("front.toml"), config).unwrap();
        self.hang_up();
    }

    fn hang_up(&self) {
        let before = self.reloads();
        self.gate.signal("HUP");
        until("it is reloaded", || self.reloads() > before);
    }

    /// Returns a number that grows with each reload. The certificate is not reread without options,
    /// so the log is what each reload opens again.
    fn reloads(&self) -> u64 {
        let metrics = get(self.status, "/metrics").body;
        let line = metrics.lines().find_map(|it| it.strip_prefix("nobounce_config_reloads_total "));
        line.unwrap().parse().unwrap()
    }

    fn metric(&self, name: &str) -> String {
        let metrics = get(self.status, "/metrics").body;
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{name}: {metrics}")).to_owned()
    }
}

/// Sends a message with this line, and returns the reply.
fn says(client: &mut Client, content: &str) -> String {
    client.say_all(&[&MAIL[..], &[&format!("{HEAD}{content}\r\n.")]].concat())
}

const REFUSING: &str = "[gtube]\n[thresholds]\nrefuse = 6.31\n";
const PASSING: &str = "[gtube]\n[thresholds]\nrefuse = 2000\ntag = 2000\n";

#[test]
fn open_session_keeps_the_thresholds_and_a_new_one_gets_the_new_ones() {
    let mut it = Reloaded::start(REFUSING, &[]);
    let mut old = Client::greet(it.gate.address);
    assert!(says(&mut old, GTUBE).starts_with("550 5.7.1 "));
    let before = it.metric("nobounce_config_info");
    it.reload(PASSING);
    let mut new = Client::greet(it.gate.address);
    assert!(says(&mut new, GTUBE).starts_with("250 2.0.0 "));
    assert!(says(&mut old, GTUBE).starts_with("550 5.7.1 "));
    let after = it.metric("nobounce_config_info");
    assert_ne!(before, after);
    let hash = after.split('"').nth(1).unwrap();
    let page = get(it.status, "/").body;
    assert!(page.contains(&format!("<code>{hash}</code> since ")), "{page}");
    assert_eq!(get(it.status, "/readyz").body, "ready\n");
    new.quit();
    old.quit();
    it.gate.stop();
    assert_eq!(it.onward.deliveries.try_iter().count(), 1);
}

/// As in `systemctl reload`, which sends SIGHUP and waits.
#[test]
fn service_manager_learns_of_a_reload_and_its_result() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("manager");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let notified = || {
        let mut message = [0; 4_096];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let mut shell = Command::new("sh");
    shell.env("NOTIFY_SOCKET", &socket);
    let it = Reloaded::start_by(shell, REFUSING, &[]);
    assert_eq!(notified(), "READY=1\n");
    it.reload(PASSING);
    assert!(notified().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    let told = notified();
    assert!(told.starts_with("READY=1\nSTATUS=configuration "), "{told}");
    it.reload("[gtube]\nbudget = 0\n");
    assert!(notified().starts_with("RELOADING=1\n"));
    let told = notified();
    assert!(told.starts_with("READY=1\nSTATUS=reading the configuration again failed"), "{told}");
    assert!(told.contains("front.toml:2: gtube.budget: ") && told.lines().count() == 2, "{told}");
}

#[test]
fn session_limits_and_connection_limits_are_reloaded() {
    let it = Reloaded::start("[session]\nrecipients = 5\n", &[]);
    let mut old = Client::greet(it.gate.address);
    it.reload("[session]\nrecipients = 1\ngreeting = \"ESMTP nobounce new\"\n[admission]\nconnections = 2\n");
    let mut new = Client::connect(it.gate.address);
    assert!(new.reply().starts_with("220 localhost ESMTP nobounce new "));
    assert!(new.say("EHLO client.example").contains("RCPTMAX=1"));
    assert!(new.say_all(&MAIL[..2]).starts_with("250 "));
    assert!(new.say(MAIL[1]).starts_with("452 4.5.3 "));
    assert!(old.say_all(&[MAIL[0], MAIL[1], MAIL[1]]).starts_with("250 "));
    let mut third = Client::connect(it.gate.address);
    let reply = third.reply();
    assert!(reply.starts_with("421 4.3.2 "), "{reply}");
}

#[test]
fn faulty_file_keeps_the_old_configuration_and_is_reported_with_its_line() {
    let mut it = Reloaded::start(REFUSING, &[]);
    let hash = it.metric("nobounce_config_info");
    for (text, expected) in [
        (
            "[gtube]\n\n[thresholds]\nrefuse = \"high\"\n",
            "front.toml:4: thresholds.refuse: invalid value: string \"high\", expected a score",
        ),
        ("[gtube]\nbudjet = 3\n", "front.toml:2: gtube.budjet: unknown field `budjet`"),
        ("[gtube\n", "front.toml:1: "),
        ("[weights]\ngtube.GTUB = 1\n", "front.toml:2: weights.gtube.GTUB: "),
        ("[spamd]\naddress = \"nowhere\"\n", "front.toml:2: spamd.address: "),
    ] {
        it.reload(text);
        let begin =
            "front_door: reading the configuration again failed, the old one stays in use: ";
        it.tells(begin);
        it.tells(expected);
        // Mail is accepted as before, so the reply is still 200.
        let ready = get(it.status, "/readyz");
        assert_eq!(ready.code, 200);
        let body = ready.body;
        assert!(body.starts_with("ready\nreload at 20") && body.contains(expected), "{body}");
        assert!(get(it.status, "/").body.contains("stays in use: "));
        assert_eq!(
            it.metric("nobounce_config_last_reload_successful"),
            "nobounce_config_last_reload_successful 0.0"
        );
        assert_eq!(it.metric("nobounce_config_info"), hash);
    }
    let mut client = Client::greet(it.gate.address);
    assert!(says(&mut client, GTUBE).starts_with("550 5.7.1 "));
    // A missing file.
    fs::remove_file(it.path("front.toml")).unwrap();
    it.hang_up();
    it.tells("front.toml: No such file or directory (os error 2); expected a TOML file that front_door may read\n");
    it.reload(PASSING);
    assert_eq!(get(it.status, "/readyz").body, "ready\n");
    assert_eq!(
        it.metric("nobounce_config_last_reload_successful"),
        "nobounce_config_last_reload_successful 1.0"
    );
    client.quit();
    it.gate.stop();
}

#[test]
fn values_that_need_a_restart_are_named() {
    let text =
        "[greylist]\ndelay = 60\n[store]\nfile = \"FOLDER/one\"\n[onward]\nconnect_timeout = 9\n";
    let folder = tempfile::tempdir().unwrap();
    let place = |text: &str| text.replace("FOLDER", folder.path().to_str().unwrap());
    let it = Reloaded::start(&place(text), &["--proxy-from", "127.0.0.1"]);
    it.reload(&place(
        "[greylist]\ndelay = 30\n[store]\nfile = \"FOLDER/two\"\n[onward]\ncommand_timeout = 7\n\
         [admission]\nipv4_width = 16\n[record]\nfile = \"FOLDER/three\"\n",
    ));
    for expected in [
        "front.toml:3: store: the store cannot be changed while front_door runs; the old one (file) stays in use",
        "front.toml:5: onward: changed, but the old values stay in use until the next start",
        "front.toml:9: record: changed, but the old values stay in use until the next start",
        "front.toml:7: admission: ipv4_width and ipv6_width: changed, but the old values stay in use",
    ] {
        it.tells(expected);
        assert!(get(it.status, "/readyz").body.contains(expected));
    }
    assert!(!folder.path().join("two").exists());
    it.reload("[greylist]\ndelay = 30\n");
    it.tells("front.toml:1: [onward] is missing: changed, but the old values stay in use");
    it.tells("front.toml:1: [store] is missing: the store cannot be changed while front_door runs");
    // The scorers go on with the store that is open: the client is still known.
    assert!(stranger(&it).starts_with("451 4.7.1 "));
    it.reload(&place(text));
    assert_eq!(get(it.status, "/readyz").body, "ready\n");
    assert!(stranger(&it).starts_with("451 4.7.1 "));
}

/// Connects as a client of another network, and sends a recipient.
fn stranger(it: &Reloaded) -> String {
    let mut client = Client::connect(it.gate.address);
    client.send(b"PROXY TCP4 192.0.2.1 127.0.0.1 4321 25\r\n");
    client.reply();
    client.say_all(&["EHLO client.example", MAIL[0], MAIL[1]])
}

/// Greylisting is added, defers a client, and its state outlives the next reload.
#[test]
fn store_outlives_a_reload() {
    let it = Reloaded::start("[gtube]\n", &["--proxy-from", "127.0.0.1"]);
    let greylist = "[greylist]\ndelay = 1\n";
    it.reload(greylist);
    assert!(stranger(&it).starts_with("451 4.7.1 "));
    it.reload(&format!("{greylist}[gtube]\n"));
    until("the retry is accepted", || stranger(&it).starts_with("250 "));
}

#[test]
fn list_of_networks_is_read_again() {
    let it = Reloaded::start("[gtube]\n", &["--proxy-from", "127.0.0.1"]);
    let list = it.path("exempt");
    let config = format!("[greylist]\ndelay = 600\nexempt = [\"198.51.100.0/24\", {list:?}]\n");
    fs::write(&list, "# None yet.\n\n").unwrap();
    it.reload(&config);
    let hash = it.metric("nobounce_config_info");
    assert!(stranger(&it).starts_with("451 4.7.1 "));
    fs::write(&list, "192.0.2.0/24  # a neighbour\n2001:db8::/32\n").unwrap();
    it.hang_up();
    assert_ne!(it.metric("nobounce_config_info"), hash);
    assert!(stranger(&it).starts_with("250 "));
    // A faulty list keeps the old one.
    fs::write(&list, "# Neighbours\n192.0.2.0/33\n").unwrap();
    it.hang_up();
    it.tells("front.toml:3: greylist.exempt: ");
    it.tells(&format!("{}:2: ", list.display()));
    assert!(stranger(&it).starts_with("250 "));
    fs::remove_file(&list).unwrap();
    it.hang_up();
    it.tells(": No such file or directory (os error 2), expected a list of networks that front_door may read");
    fs::write(&list, "192.0.0.0/4\n").unwrap();
    it.hang_up();
    it.tells("192.0.0.0/4 would exempt strangers");
    assert!(stranger(&it).starts_with("250 "));
}

fn certificate(folder: &Path, name: &str) {
    let key = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), key.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), key.signing_key.serialize_pem()).unwrap();
}

#[test]
fn files_that_the_user_may_not_read_keep_their_old_content() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let own = tempfile::tempdir().unwrap();
    certificate(own.path(), "old.example.org");
    let (cert, key) = (own.path().join("cert.pem"), own.path().join("key.pem"));
    let pem = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let it = Reloaded::start(REFUSING, &[&pem[..], &["--user", "nobody"]].concat());
    // The key is private to root.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    it.reload(PASSING);
    let told = format!(
        "rereading the certificate failed, the old one stays in use: --tls-key {}: Permission denied (os error \
         13); expected a PEM file that the user `nobody` may read",
        key.display()
    );
    it.tells(&told);
    assert!(get(it.status, "/readyz").body.contains(&told));
    let mut client = Client::greet(it.gate.address);
    assert!(client.say("STARTTLS").starts_with("220 "));
    // The configuration is replaced nevertheless.
    let mut client = Client::greet(it.gate.address);
    assert!(says(&mut client, GTUBE).starts_with("250 2.0.0 "));
    fs::set_permissions(it.path("front.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    it.reload(REFUSING);
    let told = "front.toml: Permission denied (os error 13); expected a TOML file that the user `nobody` may read";
    it.tells(told);
    let mut client = Client::greet(it.gate.address);
    assert!(says(&mut client, GTUBE).starts_with("250 2.0.0 "));
}

#[test]
fn log_is_reopened_although_the_configuration_is_faulty() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let it = Reloaded::start(REFUSING, &["--log", log.to_str().unwrap()]);
    until("the log is there", || log.exists());
    fs::rename(&log, folder.path().join("old")).unwrap();
    it.reload("nonsense");
    until("the log is reopened", || log.exists());
    // A log that cannot be opened.
    fs::rename(&log, folder.path().join("older")).unwrap();
    fs::create_dir(&log).unwrap();
    it.reload(REFUSING);
    let told =
        format!("reopening the log failed, the old file stays open: --log: {}: ", log.display());
    it.tells(&told);
    assert!(get(it.status, "/readyz").body.contains(&told));
}

#[test]
fn recording_is_reopened_and_new_sessions_have_the_new_policy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording");
    let mut it = Reloaded::start(REFUSING, &["--record", path.to_str().unwrap()]);
    let refused = |it: &Reloaded| {
        let mut client = Client::greet(it.gate.address);
        assert!(says(&mut client, GTUBE).starts_with("550 5.7.1 "));
        client.quit();
    };
    let written = |path: &Path| {
        until("the session is written", || fs::metadata(path).is_ok_and(|it| it.len() > 0));
        fs::read_to_string(path).unwrap()
    };
    let policy = |text: &str| {
        let (_, rest) = text.split_once("\"policy\":\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    refused(&it);
    let old = written(&path);
    fs::rename(&path, folder.path().join("rotated")).unwrap();
    it.reload(&format!("{REFUSING}tag = 2\n"));
    refused(&it);
    let new = written(&path);
    let hash = it.metric("nobounce_config_info");
    assert!(hash.contains(&format!("\"{}\"", policy(&new))), "{hash}: {new}");
    assert_ne!(policy(&old), policy(&new));
    assert_eq!(written(&folder.path().join("rotated")), old);
    it.gate.stop();
}

/// Eight clients send without a pause while the configuration is replaced 40 times.
#[test]
fn reload_under_load_loses_and_delays_no_message() {
    let it = Reloaded::start(REFUSING, &[]);
    let (done, address) = (AtomicBool::new(false), it.gate.address);
    let done = &done;
    let taken: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = iter::repeat_with(|| {
            scope.spawn(move || {
                let (mut sent, mut slowest) = (0, Duration::ZERO);
                while !done.load(Ordering::Relaxed) {
                    let mut client = Client::greet(address);
                    for _ in 0..5 {
                        let began = Instant::now();
                        let reply = says(&mut client, "Hello");
                        assert!(reply.starts_with("250 2.0.0 "), "{reply}");
                        (sent, slowest) = (sent + 1, slowest.max(began.elapsed()));
                    }
                    client.quit();
                }
                (sent, slowest)
            })
        })
        .take(8)
        .collect();
        let reloads = catch_unwind(AssertUnwindSafe(|| {
            for n in 0..40 {
                it.reload(if n % 2 == 0 { PASSING } else { REFUSING });
            }
        }));
        done.store(true, Ordering::Relaxed);
        reloads.unwrap();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let sent: usize = taken.iter().map(|(sent, _)| sent).sum();
    let slowest = taken.iter().map(|(_, slowest)| *slowest).max().unwrap();
    assert!(sent > 40, "{sent}");
    assert!(slowest < PATIENCE / 2, "{slowest:?}");
    assert_eq!(it.onward.deliveries.try_iter().count(), sent);
    assert_eq!(get(it.status, "/readyz").body, "ready\n");
}
