//! The configuration file of `front_door`: what stands in it is true, and what is wrong with it is
//! said before a port is opened.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use super::client::{Client, STRANGER};
use super::gate::{Gate, binary};
use super::server::{Onward, nowhere, spamd};
use super::{GTUBE, HEAD};

/// Runs `front_door` with this file until it has ended, on a port that it cannot have.
fn front_door(file: &Path, more: &[&str]) -> Output {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    Command::new(binary("front_door"))
        .args(["--listen", &listen, "--relay", "127.0.0.1:1", "--config"])
        .arg(file)
        .args(more)
        .output()
        .unwrap()
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/front_door/front_door.toml")
}

/// The fault that is told, behind the name of the file.
fn fault(text: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.toml");
    fs::write(&file, text).unwrap();
    let output = front_door(&file, &[]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let name = format!("front_door: {}:", file.display());
    told.strip_prefix(&name).unwrap_or_else(|| panic!("{told}")).trim_end().to_owned()
}

#[test]
fn the_example_is_good_and_so_is_all_that_it_shows() {
    let text = fs::read_to_string(example()).unwrap();
    let shown = |line: &str| {
        let key = line.strip_prefix("# ").and_then(|line| line.split_once(" = ")).map(|it| it.0);
        key.is_some_and(|key| key.bytes().all(|c| c.is_ascii_alphabetic() || c == b'_'))
    };
    let count = text.lines().filter(|line| shown(line)).count();
    assert!(count >= 17, "{count} keys");
    let in_force = text.lines().map(|line| if shown(line) { &line[2..] } else { line });
    let folder = tempfile::tempdir().unwrap();
    let all = folder.path().join("all.toml");
    fs::write(&all, in_force.collect::<Vec<_>>().join("\n")).unwrap();
    for file in [example(), all] {
        let output = front_door(&file, &["--check"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn what_the_readme_shows_is_good() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, shown) = readme.split_once("```toml\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.toml");
    fs::write(&file, shown.split_once("```").unwrap().0).unwrap();
    let output = front_door(&file, &["--check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let daemon = |line: &str| format!("[clamd]\naddress = \"/run/clamd\"\n{line}\n");
    let list = |first: &str, line: &str| format!("[[dnsbl.list]]\n{first}{line}\n");
    const ZONE: &str = "zone = \"zen.example\"\n";
    let tables = "`monitor`, `stage_budget`, `thresholds`, `weights`, `disclosure`, ";
    let table = [
        // Unknown keys.
        ("\nmonitr = true".into(), format!("2: unknown field `monitr`, expected one of {tables}")),
        ("[greylst]".into(), format!("1: unknown field `greylst`, expected one of {tables}")),
        (
            "[thresholds]\nreject = 5".into(),
            "2: unknown field `reject`, expected one of `tag`, `defer`, `refuse`".into(),
        ),
        (daemon("budgt = 5"), "3: unknown field `budgt`, expected one of `address`, ".into()),
        // What is missing.
        ("\n\n[spamd]\nuser = \"a\"".into(), "3: missing field `address`".into()),
        // Values.
        ("monitor = 1".into(), "1: invalid type: integer `1`, expected a boolean".into()),
        (
            "[spamd]\naddress = \"nowhere\"".into(),
            "2: `nowhere` is neither HOST:PORT nor unix:PATH".into(),
        ),
        ("[spamd]\naddress = \"/x\"\n\nuser = \"a\\nb\"".into(), "4: not a user name".into()),
        (
            "stage_budget = \"60s\"".into(),
            "1: invalid value: string \"60s\", expected a number of seconds above 0".into(),
        ),
        (
            daemon("budget = 0"),
            "3: invalid value: integer `0`, expected a number of seconds above 0".into(),
        ),
        (
            daemon("on_failure = \"defre\""),
            "3: invalid value: string \"defre\", expected \"defer\", \"ignore\" or a score".into(),
        ),
        (
            daemon("on_virus = true"),
            "3: invalid type: boolean `true`, expected \"refuse\" or a score".into(),
        ),
        (
            daemon("size_limit = -1"),
            "3: invalid value: integer `-1`, expected a number of octets above 0".into(),
        ),
        (
            daemon("oversize = \"tail\""),
            "3: invalid value: string \"tail\", expected \"head\" or \"skip\"".into(),
        ),
        (
            daemon("scale = -0.5"),
            "3: invalid value: floating point `-0.5`, expected a factor of at most 100".into(),
        ),
        (
            "[rspamd]\naddress = \"/x\"\nactions = \"obay\"".into(),
            "3: invalid value: string \"obay\", expected \"obey\" or \"score\"".into(),
        ),
        (
            "[thresholds]\ntag = 1.005".into(),
            "2: invalid value: floating point `1.005`, expected a score or \"never\"".into(),
        ),
        (
            "\n[thresholds]\ntag = 9\nrefuse = 5".into(),
            "2: a threshold of 9.00 lies above a stricter one of 5.00".into(),
        ),
        (
            "[weights]\nA = inf".into(),
            "2: invalid value: floating point `inf`, expected a score: points".into(),
        ),
        ("[weights]\n\"A B\" = 1".into(), "2: not a symbol: up to 100 letters".into()),
        (
            "[disclosure]\nA = \"maybe\"".into(),
            "2: invalid value: string \"maybe\", expected \"public\" or \"private\"".into(),
        ),
        // What asks DNS.
        ("[dns]\nserver = []".into(), "2: unknown field `server`, expected `servers` or".into()),
        (
            "[dns]\nservers = [\n\"127.0.0.1\",\n\"localhost\"]".into(),
            "4: `localhost` is neither ADDRESS nor ADDRESS:PORT".into(),
        ),
        (
            "[dns]\nname_clients = 0".into(),
            "2: invalid value: integer `0`, expected a number of seconds above 0".into(),
        ),
        ("[dnsbl]\nbudget = 5".into(), "1: missing field `list`".into()),
        ("\n[rhsbl]\nlist = []".into(), "3: no list, expected at least one".into()),
        ("[uribl]\n\n[[uribl.list]]\nsymbol = \"A\"".into(), "3: missing field `zone`".into()),
        (list("\n", "zone = \"a b\""), "3: not a domain name".into()),
        (
            list(ZONE, "scores = 5"),
            "3: unknown field `scores`, expected one of `zone`, `symbol`, `score`, ".into(),
        ),
        (
            list(ZONE, "score = \"5\""),
            "3: invalid value: string \"5\", expected a score: points, ".into(),
        ),
        (list(ZONE, "symbol = \"A B\""), "3: not a symbol: up to 100 letters".into()),
        (
            list(ZONE, "codes = [{ codes = \"127.0.0\", symbol = \"A\", score = 1 }]"),
            "3: `127.0.0` is not a return code like 127.0.0.2 or 127.0.[0..255].[1;3]".into(),
        ),
        (
            list(ZONE, "codes = [{ codes = \"127.0.0.2\", symbol = \"A\" }]"),
            "3: missing field `score`".into(),
        ),
        (
            list(ZONE, "bits = [\n{ mask = 0x1000000, symbol = \"A\", score = 1 }]"),
            "4: invalid value: integer `16777216`, expected a mask of bits from 1 to 0xff".into(),
        ),
        (
            list(ZONE, "codes = [{ codes = \"127.0.0.1\", symbol = \"A\", score = 1 }]"),
            "1: no listing can have the code `127.0.0.1`: expected codes of 127.0.0.0/8 ".into(),
        ),
        (
            list(ZONE, "bits = [{ mask = 0, symbol = \"A\", score = 1 }]"),
            "3: invalid value: integer `0`, expected a mask of bits from 1 to 0xff".into(),
        ),
        (
            list(ZONE, &format!("bits = [{0}, {0}]", "{ mask = 1, symbol = \"A\", score = 1 }")),
            "1: two rules with the same codes have the symbol `A`".into(),
        ),
        (list(ZONE, "refusing = [\"127.0.0.256\"]"), "3: `127.0.0.256` is not a return".into()),
        (
            list(ZONE, "disclosure = true"),
            "3: invalid type: boolean `true`, expected \"public\" or \"private\"".into(),
        ),
        ("[helo]\nours = [\"mx a\"]".into(), "2: `mx a` is no name or address of a ser".into()),
        (
            "[helo]\nweights = { HELO_OUR = 1 }".into(),
            "2: `HELO_OUR` is not a symbol of HELO".into(),
        ),
        (
            "[reverse_name]\n[reverse_name.weights]\nRDNS_NO = 1".into(),
            "3: unknown field `RDNS_NO`, expected `RDNS_NONE` or `RDNS_UNCONFIRMED`".into(),
        ),
        (
            "[authentication]\nauthserv_id = \"\"".into(),
            "2: `` is no name or address of a server".into(),
        ),
        (
            "[authentication]\nrefuse_rejected = \"yes\"".into(),
            "2: invalid type: string \"yes\", expected a boolean".into(),
        ),
        (
            "[authentication]\n[authentication.weights]\nSPF_FAIL = 1\nSPF_FIAL = 2".into(),
            "4: `SPF_FIAL` is not a symbol of SPF, DKIM, ARC or DMARC".into(),
        ),
        (
            "[authentication]\nweights = { DKIM_FAIL = \"much\" }".into(),
            "2: invalid value: string \"much\", expected a score: points, ".into(),
        ),
        // Stores and what remembers.
        (
            "[store]\nfile = \"/x\"\nredis = \"127.0.0.1:6379\"".into(),
            "1: `file` and `redis`, expected one of them".into(),
        ),
        (
            "[store]\nfile = \"/x\"\nuser = \"a\"".into(),
            "1: no `redis` for what it is to be told".into(),
        ),
        (
            "[rate_limit]\nper_address = { recipients = 0, seconds = 3 }".into(),
            "2: not a rate: at least one token, ".into(),
        ),
        (
            "[rate_limit]\nper_address = { recipients = 1, second = 3 }".into(),
            "2: unknown field `second`, expected `recipients` or `seconds`".into(),
        ),
        (
            "[rate_limit]\nover = \"refuse\"".into(),
            "2: invalid value: string \"refuse\", expected \"defer\" or a score".into(),
        ),
        (
            "[reputation]\n\nexempt = [\"a\"]".into(),
            "3: `a` is no ADDRESS or ADDRESS/PREFIX".into(),
        ),
        (
            "[admission]\nper_adress = 5".into(),
            "2: unknown field `per_adress`, expected one of".into(),
        ),
        (
            "[admission]\nconnections = 0".into(),
            "2: invalid value: integer `0`, expected a nonzero usize".into(),
        ),
        ("[admission]\nipv4_width = 33".into(), "2: 33 bits, expected at most 32".into()),
        (
            "[admission]\naddress_rate = { connections = 5 }".into(),
            "2: missing field `seconds`".into(),
        ),
        ("[tarpit]\nafter = 5".into(), "2: unknown field `after`, expected one of `from`, ".into()),
        (
            "[tarpit]\nfrom = \"never\"".into(),
            "2: invalid value: string \"never\", expected a score: points".into(),
        ),
        (
            "[tarpit]\ndelay = 0".into(),
            "2: invalid value: integer `0`, expected a number of seconds above 0".into(),
        ),
        (
            "[behaviour]\nearly_talkers = { each = 1, most = 2 }".into(),
            "2: unknown field `early_talkers`, expected one of `early_talker`, ".into(),
        ),
        ("[behaviour]\nearly_talker = { each = 1 }".into(), "2: missing field `most`".into()),
        // Not TOML.
        ("[weights]\nA = 1\nA = 2".into(), "3: duplicate key".into()),
        ("\n\n[spamd".into(), "3: unclosed table, expected `]`".into()),
        ("monitor = ".into(), "1: ".into()),
    ];
    for (text, expected) in table {
        let told = fault(text.as_bytes());
        assert!(told.starts_with(&expected), "{text:?}:\n{told}\n{expected}");
    }
    assert!(fault(b"\xff").starts_with(" stream did not contain valid UTF-8; expected a file"));
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    for (file, expected) in [(&*missing, "No such file"), (folder.path(), "Is a directory")] {
        let output = front_door(file, &[]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.starts_with(&format!("front_door: {}: {expected}", file.display())), "{told}");
    }
}

#[test]
fn options_for_what_the_file_says_are_refused() {
    for option in [&["--tag-at", "1"][..], &["--reject-at", "1"], &["--monitor"]] {
        let output = front_door(&example(), option);
        assert_eq!(output.status.code(), Some(2), "{option:?}");
    }
}

#[test]
fn what_a_table_says_no_option_says_too() {
    let folder = tempfile::tempdir().unwrap();
    for (table, options) in [
        (
            "admission",
            &["--max-connections", "--max-per-address", "--max-per-network", "--max-rate"][..],
        ),
        ("tarpit", &["--tarpit"]),
    ] {
        for (text, refused) in [(format!("[{table}]"), true), (String::new(), false)] {
            let file = folder.path().join("front.toml");
            fs::write(&file, text).unwrap();
            for option in options {
                let output = front_door(&file, &["--check", option, "7"]);
                assert_eq!(output.status.success(), !refused, "{option}");
                let told = String::from_utf8(output.stderr).unwrap();
                let fault =
                    format!("an option for what `[{table}]` of the configuration file says");
                assert_eq!(told.contains(&fault), refused, "{told}");
            }
        }
    }
}

#[test]
fn clients_are_counted_slowed_and_judged_as_the_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.toml");
    let text = "[admission]\nconnections = 1\n\
        [behaviour]\nunknown_command = { each = 7, most = 7 }\n";
    fs::write(&file, text).unwrap();
    let onward = Onward::start(false);
    let relay = onward.address.to_string();
    let config = ["--config", file.to_str().unwrap(), "--no-self-test", "--as-root"];
    let config = [&config[..], &["--proxy-from", "127.0.0.1"]].concat();
    let gate = Gate::start(
        "front_door",
        &[&["--relay", &*relay, "--host", "localhost"][..], &config].concat(),
    );
    let mut client = Client::greet_as_stranger(gate.address);
    let mut second = BufReader::new(TcpStream::connect(gate.address).unwrap());
    second.get_mut().write_all(STRANGER.as_bytes()).unwrap();
    let mut told = String::new();
    second.read_line(&mut told).unwrap();
    assert_eq!(told, "421 4.3.2 Too many connections, try again later\r\n");
    client.say("FOO");
    client.say("MAIL FROM:<a@example.com>");
    let reply = client.say("RCPT TO:<b@example.org>");
    assert!(reply.starts_with("550 5.7.1 Recipient refused as unwanted"), "{reply}");
}

#[test]
fn a_store_that_cannot_be_opened_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.toml");
    fs::write(&file, "[greylist]\n[store]\nfile = \"/nonexistent/store.redb\"\n").unwrap();
    let config = ["--config", file.to_str().unwrap(), "--no-self-test", "--as-root"];
    let output = Command::new(binary("front_door"))
        .args([&["--listen", "127.0.0.1:0", "--relay", "127.0.0.1:1"][..], &config].concat())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let fault = format!("front_door: {}:3: cannot open the store's file", file.display());
    assert!(told.contains(&fault) && !output.status.success(), "{told}");
}

#[test]
fn what_is_remembered_in_a_file_outlives_the_gate() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = (folder.path().join("front.toml"), folder.path().join("store.redb"));
    let text = format!("[store]\nfile = {store:?}\n");
    fs::write(&file, text + "[rate_limit]\nper_recipient = { recipients = 2, seconds = 3600 }\n")
        .unwrap();
    let onward = Onward::start(false);
    let relay = onward.address.to_string();
    let config = ["--config", file.to_str().unwrap(), "--no-self-test", "--as-root"];
    let config = [&config[..], &["--proxy-from", "127.0.0.1"]].concat();
    let options = [&["--relay", &*relay, "--host", "localhost"][..], &config].concat();
    let ask = |recipient: &str| {
        let mut gate = Gate::start("front_door", &options);
        let mut client = Client::greet_as_stranger(gate.address);
        client.say("MAIL FROM:<a@example.com>");
        let reply = client.say(&format!("RCPT TO:<{recipient}@example.org>"));
        client.quit();
        gate.stop();
        reply
    };
    let replies: Vec<String> = (0..3).map(|_| ask("b")).collect();
    assert!(replies[..2].iter().all(|reply| reply.starts_with("250 ")), "{replies:?}");
    assert!(replies[2].starts_with("451 4.7.1 Too much mail for this recipient"), "{replies:?}");
    assert!(ask("c").starts_with("250 "), "it is another's");
}

/// Mail through a gate with this file: the reply to the content, and what of it went onward.
fn reply_to(config: &str, content: &str) -> (String, Option<String>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.toml");
    fs::write(&file, config).unwrap();
    let onward = Onward::start(false);
    let relay = onward.address.to_string();
    let config = ["--config", file.to_str().unwrap(), "--no-self-test", "--as-root"];
    let options = [&["--relay", &*relay, "--host", "localhost"][..], &config].concat();
    let gate = Gate::start("front_door", &options);
    let mut client = Client::greet(gate.address);
    let start = ["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA"];
    let reply = client.say_all(&[&start[..], &[&format!("{content}.")]].concat());
    let delivery = onward.deliveries.try_recv().ok();
    (reply, delivery.map(|delivery| String::from_utf8(delivery.content).unwrap()))
}

#[test]
fn what_the_file_says_is_done() {
    let gtube = format!("{HEAD}{GTUBE}\r\n");
    let ham = format!("{HEAD}ham\r\n");
    let spamd = |score, more: &str| format!("{more}\n[spamd]\naddress = \"{}\"\n", spamd(score));
    let lost = |policy: &str| {
        let address = nowhere();
        format!("[spamd]\naddress = \"{address}\"\non_failure = {policy}\n")
    };
    let tag = |rest: &str| Some(format!("X-Nobounce-Status: Yes, {rest}"));
    // What the reply begins with and the message onward, if it goes there.
    let table = [
        ("[gtube]".into(), &gtube, "550 5.7.1 Message refused: GTUBE (", None),
        ("".into(), &gtube, "250 ", Some("Received: ".into())),
        ("monitor = true\n[gtube]".into(), &gtube, "250 ", Some("Received: ".into())),
        ("[gtube]\nmonitor = true".into(), &gtube, "250 ", Some("Received: ".into())),
        (
            "[gtube]\n[disclosure]\nGTUBE = \"private\"".into(),
            &gtube,
            "550 5.7.1 Message refused as unwanted (",
            None,
        ),
        (
            "[gtube]\n[weights]\nGTUBE = 5.5".into(),
            &gtube,
            "250 ",
            tag("score=5.50 required=5.00 symbols=GTUBE=5.50\r\n"),
        ),
        (
            "[gtube]\nscale = 0.01\n[thresholds]\ntag = \"never\"\ndefer = 9.99\nrefuse = 11"
                .into(),
            &gtube,
            "451 4.7.1 Message deferred: GTUBE (",
            None,
        ),
        (spamd("5.2", ""), &ham, "250 ", tag("score=5.20 required=5.00 symbols=SPAMD=5.20,")),
        (spamd("7", ""), &ham, "550 5.7.1 Message refused as unwanted (", None),
        (spamd("7", "[thresholds]\nrefuse = 15"), &ham, "250 ", tag("score=7.00 required=5.00")),
        (spamd("3", "[weights]\nTEST_RULE = 4"), &ham, "550 5.7.1 Message refused as unw", None),
        (lost("\"defer\""), &ham, "451 4.3.0 Message cannot be checked now", None),
        (lost("\"ignore\""), &ham, "250 ", Some("Received: ".into())),
        (lost("5"), &ham, "250 ", tag("score=5.00 required=5.00 symbols=SPAMD_FAILED=5.00")),
    ];
    for (config, content, reply, onward) in table {
        let (told, delivered) = reply_to(&config, content);
        assert!(told.starts_with(reply), "{config}\n{told}");
        match (delivered.map(|it| it.replace("\r\n ", " ")), onward) {
            (Some(delivered), Some(beginning)) => {
                assert!(delivered.starts_with(beginning.trim_end()), "{config}\n{delivered}");
            }
            (None, None) => {}
            (delivered, _) => panic!("{config}\n{told}\n{delivered:?}"),
        }
    }
}
