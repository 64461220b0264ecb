//! The configuration file of `front_door`: the sample file is correct, and errors are reported
//! before a port is opened.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use super::client::Client;
use super::gate::{Gate, binary};
use super::server::{Onward, nowhere, spamd};
use super::{GTUBE, HEAD};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// A header of a proxy on this machine, for a client from a foreign network.
const STRANGER: &str = "PROXY TCP4 192.0.2.1 127.0.0.1 4321 25\r\n";

/// Connects as the client of [`STRANGER`], and reads the greeting and the reply to EHLO.
fn greet_as_stranger(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.send(STRANGER.as_bytes());
    let greeting = client.reply();
    assert!(greeting.starts_with("220 localhost ESMTP nobounce"), "{greeting}");
    client.say("EHLO client.example");
    client
}

/// Runs `front_door` with this file until it exits. Its port is already in use.
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
    Path::new(EXAMPLES).join("front_door/front_door.toml")
}

/// Returns the reported error after the name of the file.
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

/// Returns whether this line of the sample file shows a commented-out key.
fn is_shown(line: &str) -> bool {
    let key = line.strip_prefix("# ").and_then(|line| line.split_once(" = ")).map(|it| it.0.trim());
    key.is_some_and(|key| key.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.".contains(&c)))
}

#[test]
fn each_commented_key_of_the_sample_file_is_valid() {
    let text = fs::read_to_string(example()).unwrap();
    let shown = text.lines().enumerate().filter(|(_, line)| is_shown(line));
    let shown: Vec<usize> = shown.map(|it| it.0).collect();
    assert!(shown.len() >= 80, "{} keys", shown.len());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("one.toml");
    for of in shown {
        let line = |(n, line): (usize, &str)| match n == of {
            true => format!("{}\n", &line[2..]),
            false => format!("{line}\n"),
        };
        fs::write(&file, text.lines().enumerate().map(line).collect::<String>()).unwrap();
        let output = front_door(&file, &["--check"]);
        let line = text.lines().nth(of).unwrap();
        assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    // Every line that looks like a key is one.
    let other =
        |line: &&str| line.trim_start_matches("# ").contains(" = ") && line.starts_with('#');
    let other: Vec<_> = text.lines().filter(other).filter(|line| !is_shown(line)).collect();
    assert!(other.is_empty(), "{other:?}");
}

#[test]
fn sample_file_is_valid_with_all_keys_set() {
    let text = fs::read_to_string(example()).unwrap();
    // Only one store can be configured.
    let in_force = |line: &str| is_shown(line) && !line.starts_with("# redis");
    let all: Vec<&str> =
        text.lines().map(|line| if in_force(line) { &line[2..] } else { line }).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.toml");
    fs::write(&file, all.join("\n")).unwrap();
    for file in [example(), file] {
        let output = front_door(&file, &["--check"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_configuration_on_the_page_about_postfix_is_valid() {
    const PAGE: &str = include_str!("../../src/docs/postfix.md");
    let (_, shown) = PAGE.split_once("```toml\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.toml");
    fs::write(&file, shown.split_once("```").unwrap().0).unwrap();
    let output = front_door(&file, &["--check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_example_is_in_the_index_and_says_what_it_shows() {
    let index = Path::new(EXAMPLES).join("README.md");
    let index = fs::read_to_string(index).unwrap();
    let mut found = 0;
    for entry in fs::read_dir(Path::new(EXAMPLES)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let source = if path.is_dir() { path.join("main.rs") } else { path.clone() };
        if source.extension().is_none_or(|it| it != "rs") {
            continue;
        }
        found += 1;
        assert!(index.contains(&format!("| [`{name}`](")), "{name} is not in examples/README.md");
        let source = fs::read_to_string(source).unwrap();
        let (first, second) = source.split_once('\n').unwrap();
        assert!(first.starts_with("//! ") && first.ends_with('.'), "{name}: {first}");
        assert!(second.starts_with("//!\n"), "{name}: its first line is a part of a sentence");
    }
    assert!(found > 8, "{found}");
}

#[test]
fn the_program_in_the_readme_is_the_example() {
    const README: &str = include_str!("../../README.md");
    let (_, program) = include_str!("../../examples/minimal.rs").split_once("\n\n").unwrap();
    assert!(README.contains(program), "README.md and examples/minimal.rs differ");
}

#[test]
fn scorer_without_client_names_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.toml");
    let spamd = "[spamd]\naddress = \"/x\"\n";
    let rspamd = "[rspamd]\naddress = \"/x\"\n";
    let clamd = "[clamd]\naddress = \"/x\"\n";
    let off = "[dns]\nname_clients = 0\n";
    for (config, options, reader) in [
        (format!("{spamd}{off}"), None, Some("[spamd]")),
        (format!("{rspamd}{spamd}{off}"), None, Some("[spamd] and [rspamd]")),
        (spamd.into(), None, None),
        (format!("{rspamd}[dns]\n"), None, None),
        (format!("{clamd}{off}"), None, None),
        (off.into(), Some("--identify=xclient"), None),
    ] {
        fs::write(&file, &config).unwrap();
        let options: Vec<_> = std::iter::once("--check").chain(options).collect();
        let output = front_door(&file, &options);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{config}\n{errors}");
        let expected = reader.map(|reader| format!("so {reader} treats every client"));
        let warned = errors.contains("warning: clients' names are not looked up");
        assert_eq!(warned, expected.is_some(), "{config}\n{errors}");
        assert!(errors.contains(&expected.unwrap_or_default()), "{config}\n{errors}");
    }
}

#[test]
fn configuration_errors_name_line_and_key() {
    let daemon = |line: &str| format!("[clamd]\naddress = \"/run/clamd\"\n{line}\n");
    let list = |first: &str, line: &str| format!("[[dnsbl.list]]\n{first}{line}\n");
    const ZONE: &str = "zone = \"zen.example\"\n";
    let tables = "`monitor`, `stage_budget`, `session`, `onward`, `thresholds`, ";
    let table = [
        // Unknown keys.
        ("\nmonitr = true".into(), format!("2: monitr: unknown field `monitr`, expected one of {tables}")),
        ("[greylst]".into(), format!("1: greylst: unknown field `greylst`, expected one of {tables}")),
        (
            "[thresholds]\nreject = 5".into(),
            "2: thresholds.reject: unknown field `reject`, expected one of `tag`, `defer`, `refuse`".into(),
        ),
        (daemon("budgt = 5"), "3: clamd.budgt: unknown field `budgt`, expected one of `address`, ".into()),
        // Missing keys.
        ("\n\n[spamd]\nuser = \"a\"".into(), "3: spamd: missing field `address`".into()),
        // Values.
        ("monitor = 1".into(), "1: monitor: invalid type: integer `1`, expected a boolean".into()),
        (
            "[spamd]\naddress = \"nowhere\"".into(),
            "2: spamd.address: `nowhere` is neither HOST:PORT nor unix:PATH".into(),
        ),
        ("[spamd]\naddress = \"/x\"\n\nuser = \"a\\nb\"".into(), "4: spamd.user: `a\\nb`: not a user name".into()),
        (
            "stage_budget = \"60s\"".into(),
            "1: stage_budget: invalid value: string \"60s\", expected a number of seconds above 0".into(),
        ),
        (
            daemon("budget = 0"),
            "3: clamd.budget: invalid value: integer `0`, expected a number of seconds above 0".into(),
        ),
        (
            daemon("on_failure = \"defre\""),
            "3: clamd.on_failure: invalid value: string \"defre\", expected \"defer\", \"ignore\" or a score".into(),
        ),
        (
            daemon("on_virus = true"),
            "3: clamd.on_virus: invalid type: boolean `true`, expected \"refuse\" or a score".into(),
        ),
        (
            daemon("size_limit = -1"),
            "3: clamd.size_limit: invalid value: integer `-1`, expected a number of octets above 0".into(),
        ),
        (
            daemon("oversize = \"tail\""),
            "3: clamd.oversize: invalid value: string \"tail\", expected \"head\" or \"skip\"".into(),
        ),
        (
            daemon("scale = -0.5"),
            "3: clamd.scale: invalid value: floating point `-0.5`, expected a factor from 0.01 to 100 with at most two decimals, such as 0.4".into(),
        ),
        (
            "[rspamd]\naddress = \"/x\"\nactions = \"obay\"".into(),
            "3: rspamd.actions: invalid value: string \"obay\", expected \"obey\" or \"score\"".into(),
        ),
        (
            "[thresholds]\ntag = 1.005".into(),
            "2: thresholds.tag: invalid value: floating point `1.005`, expected a score above 0 or \"never\"".into(),
        ),
        (
            "\n[thresholds]\ntag = 9\nrefuse = 5".into(),
            "2: thresholds: the threshold 9.00 is above the stricter threshold 5.00; expected tag, defer and".into(),
        ),
        (
            "[weights]\nspamd.A = inf".into(),
            "2: weights.spamd.A: invalid value: floating point `inf`, expected a score: a number of points with at most two decimals, such as 6.31".into(),
        ),
        ("[weights]\nspamd.\"A B\" = 1".into(), "2: weights.spamd.A B: `A B`: not a symbol, expected 1 to 100 letters".into()),
        (
            "[disclosure]\nspamd.A = \"maybe\"".into(),
            "2: disclosure.spamd.A: invalid value: string \"maybe\", expected \"public\" or \"private\"".into(),
        ),
        // Scorers that ask DNS.
        ("[dns]\nserver = []".into(), "2: dns.server: unknown field `server`, expected `servers` or".into()),
        (
            "[dns]\nservers = [\n\"127.0.0.1\",\n\"localhost\"]".into(),
            "4: dns.servers: `localhost` is neither ADDRESS nor ADDRESS:PORT".into(),
        ),
        (
            "[dns]\nname_clients = -1".into(),
            "2: dns.name_clients: invalid value: integer `-1`, expected a number of seconds of at most 60, or 0 to disable".into(),
        ),
        ("[dnsbl]\nbudget = 5".into(), "1: dnsbl: missing field `list`".into()),
        ("\n[rhsbl]\nlist = []".into(), "3: rhsbl.list: no list, expected at least one".into()),
        ("[uribl]\n\n[[uribl.list]]\nsymbol = \"A\"".into(), "3: uribl.list: missing field `zone`".into()),
        (list("\n", "zone = \"a b\""), "3: dnsbl.list.zone: not a domain name".into()),
        (
            list(ZONE, "scores = 5"),
            "3: dnsbl.list.scores: unknown field `scores`, expected one of `zone`, `symbol`, `score`, ".into(),
        ),
        (
            list(ZONE, "score = \"5\""),
            "3: dnsbl.list.score: invalid value: string \"5\", expected a score: a number of points with at most two decimals, such as 6.31".into(),
        ),
        (list(ZONE, "symbol = \"A B\""), "3: dnsbl.list.symbol: `A B`: not a symbol, expected 1 to 100 letters".into()),
        (
            list(ZONE, "codes = [{ codes = \"127.0.0\", symbol = \"A\", score = 1 }]"),
            "3: dnsbl.list.codes.codes: `127.0.0` is not a return code such as 127.0.0.2 or 127.0.[0..255].[1;3]".into(),
        ),
        (
            list(ZONE, "codes = [{ codes = \"127.0.0.2\", symbol = \"A\" }]"),
            "3: dnsbl.list.codes: missing field `score`".into(),
        ),
        (
            list(ZONE, "bits = [\n{ mask = 0x1000000, symbol = \"A\", score = 1 }]"),
            "4: dnsbl.list.bits.mask: invalid value: integer `16777216`, expected a mask of bits from 1 to 0xff".into(),
        ),
        (
            list(ZONE, "codes = [{ codes = \"127.0.0.1\", symbol = \"A\", score = 1 }]"),
            "1: dnsbl.list: no listing can have the code `127.0.0.1`: expected codes of 127.0.0.0/8 ".into(),
        ),
        (
            list(ZONE, "bits = [{ mask = 0, symbol = \"A\", score = 1 }]"),
            "3: dnsbl.list.bits.mask: invalid value: integer `0`, expected a mask of bits from 1 to 0xff".into(),
        ),
        (
            list(ZONE, &format!("bits = [{0}, {0}]", "{ mask = 1, symbol = \"A\", score = 1 }")),
            "1: dnsbl.list: two rules have the symbol `A` and the same codes or bits; expected each rule once".into(),
        ),
        (list(ZONE, "refusing = [\"127.0.0.256\"]"), "3: dnsbl.list.refusing: `127.0.0.256` is not a return".into()),
        (
            list(ZONE, "disclosure = true"),
            "3: dnsbl.list.disclosure: invalid type: boolean `true`, expected \"public\" or \"private\"".into(),
        ),
        ("[helo]\nours = [\"mx a\"]".into(), "2: helo.ours: `mx a` is not the name or address of a ser".into()),
        (
            "[helo]\nweights = { HELO_OUR = 1 }".into(),
            "2: helo.weights.HELO_OUR: `HELO_OUR` is not a symbol of [helo], expected one such as".into(),
        ),
        (
            "[reverse_name]\n[reverse_name.weights]\nRDNS_NO = 1".into(),
            "3: reverse_name.weights.RDNS_NO: unknown field `RDNS_NO`, expected `RDNS_NONE` or `RDNS_UNCONFIRMED`".into(),
        ),
        (
            "[authentication]\nauthserv_id = \"\"".into(),
            "2: authentication.authserv_id: `` is not the name or address of a server".into(),
        ),
        (
            "[authentication]\nrefuse_rejected = \"yes\"".into(),
            "2: authentication.refuse_rejected: invalid type: string \"yes\", expected a boolean".into(),
        ),
        (
            "[authentication]\n[authentication.weights]\nSPF_FAIL = 1\nSPF_FIAL = 2".into(),
            "4: authentication.weights.SPF_FIAL: `SPF_FIAL` is not a symbol of SPF, DKIM, ARC or DMARC".into(),
        ),
        (
            "[authentication]\nweights = { DKIM_FAIL = \"much\" }".into(),
            "2: authentication.weights.DKIM_FAIL: invalid value: string \"much\", expected a score: a number of points with at most two decimals, such as 6.31".into(),
        ),
        // Stores and the scorers that use them.
        (
            "[store]\nfile = \"/x\"\nredis = \"127.0.0.1:6379\"".into(),
            "1: store: both `file` and `redis` are set, expected one of them".into(),
        ),
        (
            "[store]\nfile = \"/x\"\nuser = \"a\"".into(),
            "1: store: `user`, `password`, `database`, `prefix` and `patience` require `redis`".into(),
        ),
        (
            "[rate_limit]\nper_address = { recipients = 0, seconds = 3 }".into(),
            "2: rate_limit.per_address: not a rate: expected at least one token, ".into(),
        ),
        (
            "[rate_limit]\nper_address = { recipients = 1, second = 3 }".into(),
            "2: rate_limit.per_address.second: unknown field `second`, expected `recipients` or `seconds`".into(),
        ),
        (
            "[rate_limit]\nover = \"refuse\"".into(),
            "2: rate_limit.over: invalid value: string \"refuse\", expected \"defer\" or a score".into(),
        ),
        (
            "[reputation]\n\nexempt = [\"a\"]".into(),
            "3: reputation.exempt: `a` is not ADDRESS or ADDRESS/PREFIX".into(),
        ),
        (
            "[admission]\nper_adress = 5".into(),
            "2: admission.per_adress: unknown field `per_adress`, expected one of".into(),
        ),
        (
            "[admission]\nconnections = 0".into(),
            "2: admission.connections: invalid value: integer `0`, expected a whole number from 1 to 10000000".into(),
        ),
        ("[admission]\nipv4_width = 33".into(), "2: admission.ipv4_width: a prefix of 33 bits, expected a number from 1 to 32".into()),
        (
            "[admission]\naddress_rate = { connections = 5 }".into(),
            "2: admission.address_rate: missing field `seconds`".into(),
        ),
        ("[tarpit]\nafter = 5".into(), "2: tarpit.after: unknown field `after`, expected one of `from`, ".into()),
        (
            "[tarpit]\nfrom = \"never\"".into(),
            "2: tarpit.from: invalid value: string \"never\", expected a score above 0".into(),
        ),
        (
            "[tarpit]\ndelay = 0".into(),
            "2: tarpit.delay: invalid value: integer `0`, expected a number of seconds above 0".into(),
        ),
        (
            "[behaviour]\nearly_talkers = { each = 1, most = 2 }".into(),
            "2: behaviour.early_talkers: unknown field `early_talkers`, expected one of `early_talker`, ".into(),
        ),
        ("[behaviour]\nearly_talker = { each = 1 }".into(), "2: behaviour.early_talker: missing field `most`".into()),
        // Not TOML.
        ("[weights]\nspamd.A = 1\nspamd.A = 2".into(), "3: duplicate key".into()),
        ("\n\n[spamd".into(), "3: unclosed table, expected `]`".into()),
        ("monitor = ".into(), "1: ".into()),
    ];
    let mut wrong = Vec::new();
    for (text, expected) in table {
        let told = fault(text.as_bytes());
        if !told.starts_with(&expected) {
            wrong.push(format!("{text:?}\n  said      {told}\n  expected  {expected}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
    assert!(
        fault(b"\xff").starts_with(" stream did not contain valid UTF-8; expected a TOML file")
    );
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
fn options_that_conflict_with_the_file_are_refused() {
    for option in [&["--tag-at", "1"][..], &["--reject-at", "1"], &["--monitor"]] {
        let output = front_door(&example(), option);
        assert_eq!(output.status.code(), Some(2), "{option:?}");
    }
}

#[test]
fn options_that_conflict_with_a_table_are_refused() {
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
                let fault = format!("options and the table `[{table}]` of the configuration file");
                assert_eq!(told.contains(&fault), refused, "{told}");
            }
        }
    }
}

#[test]
fn file_configures_admission_and_behaviour() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.toml");
    let text = "[admission]\nconnections = 5\n\
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
    // One client of at most five is not an overload, so the full error limit applies.
    let mut client = greet_as_stranger(gate.address);
    client.say("FOO");
    client.say("MAIL FROM:<a@example.com>");
    let reply = client.say("RCPT TO:<b@example.org>");
    assert!(reply.starts_with("550 5.7.1 Recipient refused as unwanted"), "{reply}");
    let _four: Vec<Client> = (0..4).map(|_| greet_as_stranger(gate.address)).collect();
    let mut surplus = BufReader::new(TcpStream::connect(gate.address).unwrap());
    surplus.get_mut().write_all(STRANGER.as_bytes()).unwrap();
    let mut told = String::new();
    surplus.read_line(&mut told).unwrap();
    assert_eq!(told, "421 4.3.2 Too many connections, try again later\r\n");
}

#[test]
fn unusable_store_is_reported_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.toml");
    fs::write(&file, "[greylist]\n[store]\nfile = \"/nonexistent/store.redb\"\n").unwrap();
    let config = ["--config", file.to_str().unwrap(), "--no-self-test", "--as-root"];
    let output = Command::new(binary("front_door"))
        .args([&["--listen", "127.0.0.1:0", "--relay", "127.0.0.1:1"][..], &config].concat())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let fault = format!("front_door: {}:3: store.file: /nonexistent/store.redb: ", file.display());
    assert!(told.contains(&fault) && !output.status.success(), "{told}");
}

#[test]
fn store_file_outlives_the_process() {
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
        let mut client = greet_as_stranger(gate.address);
        client.say("MAIL FROM:<a@example.com>");
        let reply = client.say(&format!("RCPT TO:<{recipient}@example.org>"));
        client.quit();
        gate.stop();
        reply
    };
    let replies: Vec<String> = (0..3).map(|_| ask("b")).collect();
    assert!(replies[..2].iter().all(|reply| reply.starts_with("250 ")), "{replies:?}");
    assert!(replies[2].starts_with("451 4.7.1 Too much mail for this recipient"), "{replies:?}");
    assert!(ask("c").starts_with("250 "), "another recipient has a separate limit");
}

/// Sends mail through a gate with this file. Returns the reply to the content, and the forwarded
/// message.
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
fn file_configures_scorers_and_thresholds() {
    let gtube = format!("{HEAD}{GTUBE}\r\n");
    let ham = format!("{HEAD}ham\r\n");
    let spamd = |score, more: &str| format!("{more}\n[spamd]\naddress = \"{}\"\n", spamd(score));
    let lost = |policy: &str| {
        let address = nowhere();
        format!("[spamd]\naddress = \"{address}\"\non_failure = {policy}\n")
    };
    let tag = |rest: &str| Some(format!("X-Nobounce-Status: Yes, {rest}"));
    // The beginning of the reply, and of the forwarded message, if any.
    let table = [
        ("[gtube]".into(), &gtube, "550 5.7.1 Message refused: GTUBE (", None),
        ("".into(), &gtube, "250 ", Some("Received: ".into())),
        ("monitor = true\n[gtube]".into(), &gtube, "250 ", Some("Received: ".into())),
        ("[gtube]\nmonitor = true".into(), &gtube, "250 ", Some("Received: ".into())),
        (
            "[gtube]\n[disclosure]\ngtube.GTUBE = \"private\"".into(),
            &gtube,
            "550 5.7.1 Message refused as unwanted (",
            None,
        ),
        (
            "[gtube]\n[weights]\ngtube.GTUBE = 5.5".into(),
            &gtube,
            "250 ",
            tag("score=5.50 required=5.00 symbols=gtube:GTUBE=5.50\r\n"),
        ),
        (
            "[gtube]\nscale = 0.01\n[thresholds]\ntag = \"never\"\ndefer = 9.99\nrefuse = 11"
                .into(),
            &gtube,
            "451 4.7.1 Message deferred: GTUBE (",
            None,
        ),
        (spamd("5.2", ""), &ham, "250 ", tag("score=5.20 required=5.00 symbols=spamd:SPAMD=5.20,")),
        (spamd("7", ""), &ham, "550 5.7.1 Message refused as unwanted (", None),
        (spamd("7", "[thresholds]\nrefuse = 15"), &ham, "250 ", tag("score=7.00 required=5.00")),
        (
            spamd("3", "[weights]\nspamd.TEST_RULE = 4"),
            &ham,
            "550 5.7.1 Message refused as unw",
            None,
        ),
        (lost("\"defer\""), &ham, "451 4.3.0 Message cannot be checked now", None),
        (lost("\"ignore\""), &ham, "250 ", Some("Received: ".into())),
        (lost("5"), &ham, "250 ", tag("score=5.00 required=5.00 symbols=spamd:SPAMD_FAILED=5.00")),
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
