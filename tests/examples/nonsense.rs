//! Values that are valid one by one, but cannot work or are dangerous: `front_door` refuses them at
//! start with the key, the value and the expected value.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use nobounce::store::Embedded;

use super::gate::{Gate, binary};
use super::server::Onward;

fn front_door(options: &[&str]) -> Output {
    Command::new(binary("front_door")).args(options).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn options_that_cannot_work_or_are_dangerous_are_refused() {
    let table: &[(&[&str], &[&str])] = &[
        (
            &["--listen=127.0.0.1:2525", "--listen=127.0.0.1:2525"],
            &["--listen 127.0.0.1:2525", "once"],
        ),
        (
            &["--listen=0.0.0.0:2525", "--listen=127.0.0.1:2525"],
            &["--listen 127.0.0.1:2525", "0.0.0.0:2525"],
        ),
        (&["--listen=[::]:2525", "--listen=[::1]:2525"], &["--listen [::1]:2525", "[::]:2525"]),
        (
            &["--relay=127.0.0.1:2525", "--listen=127.0.0.1:2525"],
            &["--relay 127.0.0.1:2525", "itself"],
        ),
        (
            &["--relay=127.0.0.1:2525", "--listen=0.0.0.0:2525"],
            &["--relay 127.0.0.1:2525", "itself"],
        ),
        (
            &["--relay=localhost:2525", "--listen=127.0.0.1:2525"],
            &["--relay localhost:2525", "itself"],
        ),
        (&["--relay=[::1]:2525", "--listen=[::]:2525"], &["--relay [::1]:2525", "itself"]),
        (
            &["--relay=lmtp:127.0.0.1:24", "--listen=127.0.0.1:24"],
            &["--relay 127.0.0.1:24", "itself"],
        ),
        (
            &["--spamd=127.0.0.1:783", "--listen=127.0.0.1:783"],
            &["--spamd 127.0.0.1:783", "itself"],
        ),
        (&["--trust=0.0.0.0/0"], &["--trust 0.0.0.0/0", "expected networks"]),
        (&["--trust=192.0.2.0/24,::/0"], &["--trust ::/0", "expected networks"]),
        (&["--proxy-from=::/0"], &["--proxy-from ::/0", "expected networks"]),
        (&["--proxy-from=::ffff:0.0.0.0/96"], &["--proxy-from", "expected networks"]),
        (&["--own-network=0.0.0.0/0"], &["--own-network 0.0.0.0/0", "expected networks"]),
        (&["--own-network=0.0.0.0/1", "--own-network=128.0.0.0/1"], &["--own-network 128.0.0.0/1"]),
        (&["--own-network=2000::/3"], &["--own-network 2000::/3"]),
        (&["--json-log=/dev/full"], &["--json-log /dev/full", "device", "expected"]),
        (&["--json-log=/dev/zero"], &["--json-log /dev/zero", "device", "expected"]),
        (
            &["--json-log=/etc/passwd"],
            &["--json-log /etc/passwd", "not a log of front_door", "expected"],
        ),
        (&["--json-log=/etc"], &["--json-log /etc", "expected"]),
        (&["--log=/etc/passwd"], &["--log /etc/passwd", "not a log of front_door", "expected"]),
        (
            &["--log=/var/log/front_door.log", "--json-log=/var/log/front_door.log"],
            &["--log /var/log/front_door.log", "also the file of --json-log"],
        ),
    ];
    for (options, expected) in table {
        let output = front_door(&[&["--check"], *options].concat());
        let told = told(&output);
        assert_eq!(output.status.code(), Some(1), "{options:?}: {told}");
        assert!(expected.iter().all(|part| told.contains(part)), "{options:?}: {told}");
    }
}

#[test]
fn unusual_but_valid_options_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let (log, other) = (folder.path().join("mail.json"), folder.path().join("other.json"));
    fs::write(&log, "{\"v\":1,\"kind\":\"session\"}\n{\"cut").unwrap();
    let text = folder.path().join("mail.log");
    fs::write(&text, "2026-11-30T22:17:51.042Z id=1-2-3.1 client=unknown[192.0.2.1]\n").unwrap();
    fs::write(&other, "").unwrap();
    let path = |path: &Path| format!("--json-log={}", path.display());
    let table: &[&[&str]] = &[
        &["--listen=0.0.0.0:0", "--listen=127.0.0.1:0", "--listen=127.0.0.1:0"],
        &["--listen=0.0.0.0:2525", "--listen=[::]:2525"],
        &["--listen=127.0.0.1:2525", "--relay=127.0.0.2:2525"],
        &["--listen=127.0.0.1:2525", "--relay=127.0.0.1:2526"],
        &["--trust=10.0.0.0/8,local", "--own-network=fc00::/7", "--own-network=2001:db8::/32"],
        &["--proxy-from=192.0.2.1", "--proxy-from=::ffff:192.0.2.0/120", "--own-network=fe80::/10"],
        &["--json-log=-"],
        &["--json-log=/dev/stdout"],
        &["--json-log=/dev/null"],
        &[&path(&log)],
        &[&path(&log), &format!("--log={}", text.display())],
        &["--json-log=-", "--log=-"],
        &[&path(&other)],
        &[&path(&folder.path().join("new.json"))],
    ];
    for options in table {
        let output = front_door(&[&["--check"], *options].concat());
        assert!(output.status.success(), "{options:?}: {}", told(&output));
    }
}

/// A file, and the message after its name.
#[test]
fn values_that_cannot_work_are_refused_with_line_and_key() {
    let spamd = |user: &str| format!("[spamd]\naddress = \"/x\"\nuser = \"{user}\"\n");
    let lists = "[[uribl.list]]\nzone = \"a.example\"\n[[uribl.list]]\nzone = \"A.example.\"\n";
    let rules = |one: &str, other: &str| {
        format!(
            "[[dnsbl.list]]\nzone = \"a.example\"\ncodes = [\n{{ codes = \"{one}\", symbol = \"A\", score = 1 }},\n\
            {{ codes = \"{other}\", symbol = \"A\", score = 1 }},\n]\n"
        )
    };
    let table: &[(&str, &str)] = &[
        ("[store]\nfile = \"\"\n[reputation]", "1: store: `file` is \"\", expected a path"),
        (
            "[store]\nredis = \"127.0.0.1:6379\"\nuser = \"x\"",
            "1: store: `user` without `password`, expected",
        ),
        (
            "[session]\nmessage_size = 10",
            "2: session.message_size: invalid value: integer `10`, expected a number of octets from 65536",
        ),
        ("[session]\nmessage_size = 65535", "2: session.message_size: "),
        (
            "[session]\ndata_rate = 4000000000",
            "2: session.data_rate: invalid value: integer `4000000000`, expected a whole number of octets",
        ),
        ("[session]\ndata_rate = 0.5", "2: session.data_rate: "),
        (
            "[session]\ncommand_timeout = 0",
            "2: session.command_timeout: invalid value: integer `0`, expected a number of seconds from 1",
        ),
        ("[session]\ncommand_timeout = 0.001", "2: session.command_timeout: "),
        ("[onward]\ncontent_timeout = 0.5", "2: onward.content_timeout: "),
        (&spamd("a b"), "3: spamd.user: `a b`: not a user name, expected 1 to 100 letters"),
        (&spamd("a\\r\\nQuota: 9"), "3: spamd.user: `a\\r\\nQuota: 9`: not a user name"),
        (&spamd("\\u009b31m"), "3: spamd.user: `\\u{9b}31m`: not a user name"),
        (&spamd(""), "3: spamd.user: ``: not a user name"),
        (&spamd("-x"), "3: spamd.user: `-x`: not a user name"),
        (&spamd("../x"), "3: spamd.user: `../x`: not a user name"),
        (
            "\n[rate_limit]\n",
            "2: rate_limit: no limit is set, expected at least one of `per_address`",
        ),
        ("rate_limit = {}", "1: rate_limit: no limit is set"),
        ("[rate_limit]\nover = 3", "1: rate_limit: no limit is set"),
        (
            "[rate_limit]\nper_address = { recipients = 100, seconds = 60 }\nper_network = { recipients = 10, seconds = 60 }",
            "2: rate_limit.per_address: 100 recipients in 60 seconds exceed the 10 in 60 seconds of `per_network`, expected",
        ),
        (
            "[admission]\naddress_rate = { connections = 9, seconds = 1 }\nnetwork_rate = { connections = 8, seconds = 1 }",
            "2: admission.address_rate: 9 connections",
        ),
        ("[dns]\nservers = []", "2: dns.servers: []: no server, expected at least one"),
        (
            "[dns]\nservers = [\"192.0.2.1\", \"192.0.2.1:53\"]",
            "2: dns.servers: 192.0.2.1:53 occurs twice, expected",
        ),
        (lists, "the zone a.example occurs twice, expected each zone once"),
        (&rules("127.0.0.2", "127.0.0.2"), "dnsbl.list"),
        (
            "[greylist]\nexempt = [\"0.0.0.0/0\"]",
            "2: greylist.exempt: 0.0.0.0/0 would exempt strangers, expected",
        ),
        (
            "[reputation]\nexempt = [\"192.0.2.0/24\", \"::/0\"]",
            "2: reputation.exempt: ::/0 would exempt strangers",
        ),
        ("[thresholds]\ntag = 6\nrefuse = 5", "1: thresholds: "),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.toml");
    for (text, expected) in table {
        fs::write(&file, text).unwrap();
        let output = front_door(&["--check", "--config", file.to_str().unwrap()]);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(1), "{text}\n{told}");
        assert!(told.contains(expected), "{text}\n{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn unusual_values_cause_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.toml");
    fs::write(&file, "[session]\nrecipients = 2\n").unwrap();
    let output = front_door(&["--check", "--config", file.to_str().unwrap()]);
    assert!(output.status.success());
    assert!(told(&output).contains("warning: session.recipients 2: "), "{}", told(&output));
}

#[test]
fn a_value_with_control_characters_is_escaped_in_every_message() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.toml");
    const RAW: &str = "\u{1b}[31m\u{202e}\u{9b}1m";
    for key in [
        "[spamd]\naddress",
        "[spamd]\nx",
        "[session]\ngreeting",
        "[dns]\nservers",
        "[thresholds]\ntag",
        "[helo]\nours",
    ] {
        fs::write(&file, format!("{key} = \"\\u001b[31m\\u202e\\u009b1m\\nfront_door: good\"\n"))
            .unwrap();
        let output = front_door(&["--check", "--config", file.to_str().unwrap()]);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        let unseen = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!told.contains(unseen) && told.lines().count() == 1, "{told:?}");
    }
    for option in [
        "--host",
        "--relay",
        "--reject-at",
        "--json-log",
        "--log",
        "--user",
        "--config",
        "--identify",
        "--memory",
        "--trust",
        "--listen",
        "--spamd",
        "--tls-cert",
    ] {
        for options in
            [vec![format!("{option}={RAW}\nx")], vec![option.to_owned(), format!("{RAW}\nx")]]
        {
            let output =
                Command::new(binary("front_door")).arg("--check").args(&options).output().unwrap();
            let told = told(&output);
            assert!(!output.status.success(), "{options:?}");
            let unseen = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            assert!(!told.contains(unseen) && !told.contains("\nx"), "{told:?}");
        }
    }
}

#[test]
fn a_store_and_a_log_are_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let (file, path) = (folder.path().join("front.toml"), folder.path().join("one"));
    fs::write(&file, format!("[reputation]\n[store]\nfile = \"{}\"\n", path.display())).unwrap();
    let log = format!("--json-log={}", path.display());
    let output = front_door(&["--check", "--config", file.to_str().unwrap(), &log]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("store.file: this is also the file of --json-log"),
        "{}",
        told(&output)
    );
}

#[test]
fn store_readable_by_others_is_reported_and_made_private() {
    let folder = tempfile::tempdir().unwrap();
    let (file, path) = (folder.path().join("front.toml"), folder.path().join("store.redb"));
    fs::write(&file, format!("[reputation]\n[store]\nfile = \"{}\"\n", path.display())).unwrap();
    drop(Embedded::open(&path).unwrap());
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    for open in [0o644, 0o660, 0o602] {
        fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
        let config = file.to_str().unwrap();
        let output = front_door(&["--check", "--config", config]);
        assert!(output.status.success());
        assert!(told(&output).contains(&format!("(mode {open:04o})")), "{}", told(&output));
        assert_eq!(mode(), open);
        let onward = Onward::start(false);
        let relay = onward.address.to_string();
        let options = [
            "--relay",
            &relay,
            "--host",
            "localhost",
            "--config",
            config,
            "--no-self-test",
            "--as-root",
        ];
        let gate = Gate::start("front_door", &options);
        assert_eq!(mode(), 0o600);
        drop(gate);
    }
}
