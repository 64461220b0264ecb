//! Reports of `front_door` before it starts: senseless values, `--check`, its manual page.

use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use nobounce::store::Embedded;

use super::client::Client;
use super::gate::{Gate, binary};
use super::server::{Onward, spamd};

fn front_door(options: &[&str]) -> Output {
    Command::new(binary("front_door")).args(options).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Creates a file with this text in a folder that exists as long as it is held.
fn file(name: &str, text: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn check(text: &str) -> Output {
    let (_folder, path) = file("front.toml", text);
    front_door(&["--check", "--config", path.to_str().unwrap()])
}

#[test]
fn check_needs_no_relay_and_no_file() {
    for options in [&["--check"][..], &["--check", "--host", "mx.example.org"]] {
        let output = front_door(options);
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(output.stdout, b"good\n");
    }
    assert_eq!(front_door(&[]).status.code(), Some(2));
}

#[test]
fn invalid_options_are_refused_by_name() {
    let table = [
        ("--host", "mx example"),
        ("--host", ""),
        ("--host", "-mx.example"),
        ("--host", "mx..example"),
        ("--host", "192.0.2.1"),
        ("--host", "[192.0.2]"),
        ("--memory", "0"),
        ("--memory", "-1"),
        ("--memory", "18446744073709551615"),
        ("--relay", "127.0.0.1:0"),
        ("--relay", "mx example:25"),
        ("--relay", "::1:25"),
        ("--relay", "unix:relative"),
        ("--relay", "lmtp:nowhere"),
        ("--spamd", "localhost"),
        ("--spamd-within", "0"),
        ("--spamd-within", "61"),
        ("--reject-at", "-1"),
        ("--reject-at", "0"),
        ("--reject-at", "NaN"),
        ("--reject-at", "99999999999"),
        ("--tag-at", "0"),
        ("--tag-at", "7"),
        ("--tarpit", "-3"),
        ("--greeting-delay", "61"),
        ("--grace", "3601"),
        ("--max-connections", "0"),
        ("--max-per-address", "0"),
        ("--max-per-network", "-5"),
        ("--max-rate", "0"),
        ("--trust", "192.0.2.1/24"),
        ("--trust", "localhost"),
        ("--proxy-from", "10.0.0.0/33"),
        ("--own-network", "10.0.0.0/8/8"),
        ("--listen", "25"),
        ("--identify", "Xclient"),
        ("--onward-tls", "maybe"),
    ];
    for (option, value) in table {
        let output = front_door(&["--check", &format!("{option}={value}")]);
        let told = told(&output);
        assert!(!output.status.success(), "{option}={value}");
        assert!(told.contains(option) && told.contains(value), "{option}={value}: {told}");
    }
}

#[test]
fn invalid_values_are_refused_with_line_and_key() {
    let table = [
        ("thresholds.refuse", "[thresholds]\nrefuse = -1", 2),
        ("thresholds.refuse", "[thresholds]\nrefuse = 0", 2),
        ("thresholds.tag", "[thresholds]\ntag = nan", 2),
        ("thresholds", "[thresholds]\ntag = 6\nrefuse = 5", 1),
        ("stage_budget", "stage_budget = 600", 1),
        ("stage_budget", "stage_budget = 1e-12", 1),
        ("clamd.budget", "[clamd]\naddress = \"/x\"\nbudget = 90", 3),
        ("clamd.budget", "stage_budget = 5\n[clamd]\naddress = \"/x\"\nbudget = 6", 4),
        ("clamd.scale", "[clamd]\naddress = \"/x\"\nscale = 0", 3),
        ("clamd.scale", "[clamd]\naddress = \"/x\"\nscale = 0.001", 3),
        ("clamd.on_failure", "[clamd]\naddress = \"/x\"\non_failure = -1", 3),
        ("clamd.on_virus", "[clamd]\naddress = \"/x\"\non_virus = 0", 3),
        ("clamd.size_limit", "[clamd]\naddress = \"/x\"\nsize_limit = 1e300", 3),
        ("clamd.address", "[clamd]\naddress = \"unix:clamd.ctl\"", 2),
        ("rspamd.address", "[rspamd]\naddress = \"127.0.0.1:0\"", 2),
        ("rspamd.address", "[rspamd]\naddress = \"rspamd host:11333\"", 2),
        ("rspamd.mta_name", "[rspamd]\naddress = \"/x\"\nmta_name = \"a\\r\\nb: c\"", 3),
        ("rspamd.settings", "[rspamd]\naddress = \"/x\"\nsettings = \"\"", 3),
        ("weights.spamd.A", "[weights]\nspamd.A = 1e9", 2),
        ("admission.connections", "[admission]\nconnections = 1e18", 2),
        ("admission.ipv4_width", "[admission]\nipv4_width = 0", 2),
        ("admission.per_address", "[admission]\nper_address = 9\nper_network = 8", 2),
        ("tarpit.delay", "[tarpit]\ndelay = 600", 2),
        ("tarpit.delay", "[tarpit]\ndelay = 50\ntotal = 40", 2),
        ("tarpit.from", "[tarpit]\nfrom = 0", 2),
        ("behaviour.early_talker", "[behaviour]\nearly_talker = { each = 2, most = 1 }", 2),
        ("behaviour.early_data.each", "[behaviour]\nearly_data = { each = -2, most = 1 }", 2),
        ("dns.servers", "[dns]\nservers = [\"0.0.0.0\"]", 2),
        ("dns.servers", "[dns]\nservers = [\"127.0.0.1:0\"]", 2),
        ("dns.name_clients", "[dns]\nname_clients = 61", 2),
        ("helo.ours", "[helo]\nours = [\"mx..example\"]", 2),
        ("authentication.authserv_id", "[authentication]\nauthserv_id = \"a b\"", 2),
        ("store.redis", "[store]\nredis = \"127.0.0.1:0\"", 2),
        ("store.patience", "[store]\nredis = \"/x\"\npatience = 3600", 3),
        ("greylist.delay", "[greylist]\ndelay = 1e18", 2),
        ("greylist.delay", "[greylist]\ndelay = 600\nretry_window = 300", 2),
        ("greylist.ipv6_width", "[greylist]\nipv6_width = 129", 2),
        ("reputation.best", "[reputation]\nbest = 1", 2),
        ("reputation.worst", "[reputation]\nworst = -1", 2),
        ("rate_limit.over", "[rate_limit]\nover = -1", 2),
        ("session.message_size", "[session]\nmessage_size = 0", 2),
        ("session.greeting", "[session]\ngreeting = \"ESMTP\\r\\n250 x\"", 2),
        ("session.recipients", "[session]\nrecipients = 0", 2),
        ("session.errors", "[session]\nerrors = 1.5", 2),
        ("session.command_timeout", "[session]\ncommand_timeout = -1", 2),
        ("session.data_rate", "[session]\ndata_rate = -500", 2),
        ("onward.connect_timeout", "[onward]\nconnect_timeout = inf", 2),
    ];
    for (key, text, line) in table {
        let output = check(text);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(1), "{text}\n{told}");
        let place = format!("front.toml:{line}: {key}: ");
        assert!(
            told.contains(&place) && told.contains("expected") || key == "thresholds",
            "{place}\n{told}"
        );
    }
}

#[test]
fn unknown_symbols_are_errors() {
    let wrong = "[helo]\n[weights]\nhelo-names.HELO_NODOT = 1\nspam.X = 1\nauthentication.SPF_FIAL = 1\n[disclosure]\ngtube.GTUB = \"public\"";
    let (_folder, path) = file("front.toml", wrong);
    let path = path.to_str().unwrap();
    let output = front_door(&["--relay", "127.0.0.1:1", "--as-root", "--config", path]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(
        told(&output).contains(": no scorer in this file has the symbol `"),
        "{}",
        told(&output)
    );
    let output = check(wrong);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("front.toml:3: weights.helo-names.HELO_NODOT: "), "{told}");
    assert!(told.contains("front.toml:7: disclosure.gtube.GTUB: "), "{told}");
    assert!(told.contains("front.toml:4: weights.spam.X: "), "{told}");
    assert!(told.contains("front.toml:5: weights.authentication.SPF_FIAL: "), "{told}");
    let list = "[[dnsbl.list]]\nzone = \"zen.example\"\nbits = [{ mask = 1, symbol = \"A\", score = 1 }]\n";
    let good = "[weights]\ndnsbl = { ZEN_EXAMPLE = 1, A = 2 }\nhelo-names.HELO_NO_DOT = 1\nauthentication.SPF_FAIL = 2\n\
                clamd.CLAMD_FAILED = 3";
    for text in
        [format!("{list}{good}"), "[spamd]\naddress = \"/x\"\n[weights]\nspamd.ANY = 1".to_owned()]
    {
        let output = check(&text);
        assert!(output.status.success(), "{text}\n{}", self::told(&output));
    }
}

#[cfg(all(feature = "sender-authentication", feature = "testing"))]
#[test]
fn every_symbol_of_a_scorer_can_have_a_weight() {
    use nobounce::Scorer;
    use nobounce::scorers::{Authentication, Gtube, Structure};

    let authentication = Authentication::new(nobounce::testing::Zone::new(""), "mx.example");
    let scorers: [&dyn Scorer; 3] = [&authentication, &Gtube, &Structure::new()];
    for scorer in scorers {
        let name = scorer.name();
        let symbols = scorer.symbols().unwrap();
        let weights: String =
            symbols.iter().map(|symbol| format!("{name}.{symbol} = 1\n")).collect();
        let output = check(&format!("[{name}]\n[weights]\n{weights}"));
        assert!(output.status.success(), "{}", told(&output));
    }
}

#[test]
fn unmatched_weights_are_reported_at_exit() {
    let (folder, path) = file(
        "front.toml",
        format!(
            "[gtube]\n[spamd]\naddress = \"{}\"\n[weights]\ngtube.GTUBE = 9\nspamd.NEVER = 1\nspamd.TEST_RULE = 1",
            spamd("1")
        ),
    );
    let errors = folder.path().join("errors");
    let onward = Onward::start(false);
    let (relay, config) = (onward.address.to_string(), path.to_str().unwrap());
    let mut gate = Command::new(binary("front_door"))
        .args(["--listen", "127.0.0.1:0", "--relay", &relay, "--config", config])
        .args(["--host", "localhost", "--no-self-test", "--as-root"])
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(gate.stdout.take().unwrap()).lines();
    let address =
        said.find_map(|line| line.unwrap().strip_prefix("listening on ").map(str::to_owned));
    let mut client = Client::greet(address.unwrap().parse().unwrap());
    let mail = [
        "MAIL FROM:<a@example.com>",
        "RCPT TO:<b@example.org>",
        "DATA",
        "Subject: x\r\n\r\nham\r\n.",
    ];
    let reply = client.say_all(&mail);
    assert!(reply.starts_with("250 "), "{reply}");
    drop(client);
    let stop = Command::new("kill").arg(gate.id().to_string()).status().unwrap();
    assert!(stop.success() && gate.wait().unwrap().success());
    let told = fs::read_to_string(errors).unwrap();
    assert!(told.contains("weights that matched no finding: 1 (spamd.NEVER)\n"), "{told}");
}

#[test]
fn unreachable_addresses_are_reported() {
    let output = front_door(&["--check", "--relay", "no-such-host.invalid:25"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("--relay: no-such-host.invalid:25: "), "{}", told(&output));
    // A daemon that does not answer now may be started later.
    let output = check("[clamd]\naddress = \"unix:/nonexistent/clamd.ctl\"");
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("warning: ") && told(&output).contains("clamd.address"));
    let output = front_door(&["--check", "--listen", "192.0.2.1:25"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("--listen 192.0.2.1:25: "), "{}", told(&output));
}

#[test]
fn store_file_is_checked_and_private() {
    let store = |path: &Path| format!("[greylist]\n[store]\nfile = {path:?}\n");
    let output = check(&store(Path::new("/nonexistent/store.redb")));
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("front.toml:3: store.file: /nonexistent/store.redb: "));
    let (_folder, none) = file("store.redb", "no store");
    assert_eq!(check(&store(&none)).status.code(), Some(1));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    assert!(check(&store(&path)).status.success());
    assert!(!path.exists(), "--check creates no file");
    let held = Embedded::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let output = check(&store(&path));
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("another process holds this file"), "{}", told(&output));
    drop(held);
    let output = check(&store(&path));
    assert!(output.status.success() && told(&output).is_empty(), "{}", told(&output));
}

#[test]
fn certificate_and_key_are_checked() {
    let key = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (one, other) = (key("mx.example.org"), key("mx.example.org"));
    let (_folder, cert) = file("cert.pem", one.cert.pem());
    let (_folder, good) = file("key.pem", one.signing_key.serialize_pem());
    let (_folder, wrong) = file("key.pem", other.signing_key.serialize_pem());
    let check = |cert: &Path, key: &Path| {
        let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
        front_door(&["--check", "--tls-cert", cert, "--tls-key", key])
    };
    let output = check(&cert, &good);
    assert!(output.status.success(), "{}", told(&output));
    for (cert, key) in
        [(&cert, &wrong), (&good, &good), (&cert, &cert), (&cert, &PathBuf::from("/none"))]
    {
        let output = check(cert, key);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("--tls-key") && told.contains(&*key.to_string_lossy()), "{told}");
    }
    let output = front_door(&["--check", "--tls-cert", cert.to_str().unwrap()]);
    assert!(told(&output).contains("--tls-key"), "{}", told(&output));
}

#[test]
fn expiring_or_incomplete_certificate_chain_is_reported() {
    let signed = |days: i64, alone: bool| {
        let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
        root.distinguished_name.push(rcgen::DnType::CommonName, "root");
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root_key = rcgen::KeyPair::generate().unwrap();
        let root = rcgen::CertifiedIssuer::self_signed(root, root_key).unwrap();
        let mut leaf = rcgen::CertificateParams::new(["mx.example.org".to_owned()]).unwrap();
        #[allow(clippy::disallowed_methods, reason = "certificates expire by the wall clock")]
        let today = std::time::SystemTime::now();
        let shift = std::time::Duration::from_secs(days.unsigned_abs() * 86_400 + 3_600);
        let end = if days < 0 { today - shift } else { today + shift };
        leaf.not_after = end.into();
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = leaf.signed_by(&key, &root).unwrap().pem();
        let chain = if alone { cert } else { cert + &root.pem() };
        let (folder, chain) = file("chain.pem", chain);
        let key_path = folder.path().join("key.pem");
        fs::write(&key_path, key.serialize_pem()).unwrap();
        let (cert, key) = (chain.to_str().unwrap(), key_path.to_str().unwrap());
        let output = front_door(&["--check", "--tls-cert", cert, "--tls-key", key]);
        (output.status.success(), told(&output))
    };
    assert_eq!(signed(90, false), (true, String::new()));
    let (good, told) = signed(3, false);
    assert!(!good && told.contains("certificate 1 expires in 3 days"), "{told}");
    let (good, told) = signed(-3, false);
    assert!(!good && told.contains("certificate 1 expired 3 days ago"), "{told}");
    let (good, told) = signed(90, true);
    assert!(
        !good && told.contains("certificate 1 is not followed by the certificate of its issuer"),
        "{told}"
    );
}

#[test]
fn identify_none_causes_a_warning() {
    let warned = |options: &[&str]| {
        let output = front_door(&[&["--check"][..], options].concat());
        assert!(output.status.success(), "{}", told(&output));
        told(&output).contains("--identify none")
    };
    assert!(warned(&["--relay", "127.0.0.1:25"]));
    assert!(!warned(&["--relay", "127.0.0.1:25", "--identify", "xclient"]));
    assert!(!warned(&["--relay", "lmtp:127.0.0.1:24"]));
    assert!(!warned(&[]));
}

#[test]
fn the_version_is_that_of_the_crate() {
    let output = front_door(&["--version"]);
    assert_eq!(output.stdout, format!("front_door {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
}

#[test]
fn file_configures_greeting_limits_and_timeouts() {
    let text = "[session]\ngreeting = \"ESMTP Example\"\nmessage_size = 65536\nrecipients = 2\n\
        errors = 3\ncommand_timeout = 1\n[onward]\nconnect_timeout = 5\n";
    let (_folder, path) = file("front.toml", text);
    let onward = Onward::start(false);
    let relay = onward.address.to_string();
    let config = ["--config", path.to_str().unwrap(), "--no-self-test", "--as-root"];
    let options = [&["--relay", &*relay, "--host", "mx.example.org"][..], &config].concat();
    let gate = Gate::start("front_door", &options);
    let greet = || {
        let mut client = Client::connect(gate.address);
        let greeting = client.reply();
        assert!(greeting.starts_with("220 mx.example.org ESMTP Example"), "{greeting}");
        client
    };
    let mut client = greet();
    let start = ["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA"];
    let large = format!("{}.", format!("{}\r\n", "x".repeat(998)).repeat(66));
    let reply = client.say_all(&[&["EHLO client.example.com"], &start[..], &[&large]].concat());
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    client.say("MAIL FROM:<a@example.com>");
    client.say("RCPT TO:<b@example.org>");
    client.say("RCPT TO:<c@example.org>");
    let reply = client.say("RCPT TO:<d@example.org>");
    assert!(reply.starts_with("452 4.5.3"), "{reply}");
    let reply = client.reply();
    assert!(reply.starts_with("421 4.4.2"), "{reply}");
    let mut client = greet();
    let replies: Vec<String> = (0..3).map(|_| client.say("FOO")).collect();
    assert!(replies[2].starts_with("421 4.7.0"), "{replies:?}");
}

#[test]
fn the_manual_page_has_every_option_and_signal() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/front_door/front_door.8");
    let page = fs::read_to_string(page).unwrap().replace('\\', "");
    let help = |options| String::from_utf8(front_door(options).stdout).unwrap();
    let commands: [&[&str]; 5] = [
        &["--help"],
        &["why", "--help"],
        &["try", "--help"],
        &["release", "--help"],
        &["replay", "--help"],
    ];
    let help = commands.map(help).concat();
    let words = |text: &str| -> Vec<String> {
        let option = |word: &&str| word.starts_with("--") && word.len() > 2;
        let plain =
            |word: &str| word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
        text.split_whitespace().filter(option).map(plain).collect()
    };
    let (said, written) = (words(&help), words(&page));
    let missing: Vec<_> = said.iter().filter(|option| !written.contains(option)).collect();
    assert!(missing.is_empty(), "not in the manual page: {missing:?}");
    let surplus: Vec<_> = written.iter().filter(|option| !said.contains(option)).collect();
    assert!(surplus.is_empty(), "no options: {surplus:?}");
    for signal in ["SIGHUP", "SIGUSR2", "SIGTERM", "SIGINT"] {
        assert!(help.contains(signal) && page.contains(signal), "{signal}");
    }
}

#[test]
fn reports_of_refused_clients_are_rate_limited() {
    let folder = tempfile::tempdir().unwrap();
    let errors = folder.path().join("errors");
    let options =
        ["--listen", "127.0.0.1:0", "--relay", "127.0.0.1:1", "--no-self-test", "--as-root"];
    let mut gate = Command::new(binary("front_door"))
        .args([&options[..], &["--proxy-from", "127.0.0.1", "--max-rate", "1"]].concat())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(gate.stdout.take().unwrap()).lines();
    let address =
        said.find_map(|line| line.unwrap().strip_prefix("listening on ").map(str::to_owned));
    for n in 0..201 {
        let mut client = BufReader::new(TcpStream::connect(address.as_ref().unwrap()).unwrap());
        client.get_mut().write_all(b"PROXY TCP4 192.0.2.1 127.0.0.1 4321 25\r\n").unwrap();
        let mut told = String::new();
        client.read_line(&mut told).unwrap();
        assert_eq!(told.starts_with("421 4.7.0 "), n > 0, "{n}: {told}");
    }
    gate.kill().unwrap();
    gate.wait().unwrap();
    let told = fs::read_to_string(errors).unwrap();
    let lines = told.lines().filter(|line| line.contains("192.0.2.1")).count();
    assert!((20..40).contains(&lines), "{told}");
}
