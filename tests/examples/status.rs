//! The status server of `front_door`: metrics, health, readiness and the page.

#![allow(clippy::disallowed_methods, reason = "processes run in real time")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use super::client::Client;
use super::gate::{Gate, binary};
use super::log::greet;
use super::server::{Onward, nowhere};
use super::{GTUBE, HEAD, PATIENCE};

const RULES: &str = include_str!("../../examples/front_door/nobounce.rules");
const DASHBOARD: &str = include_str!("../../examples/front_door/grafana.json");
const STYLE: &str = include_str!("../../examples/front_door/status/page.css");

/// A local part that would start a script if it were not escaped.
const HOSTILE: &str = r#""<script>document.title='owned'</script><img/src=//evil.example/x>\"'&""#;

/// A `front_door` with a status server.
struct Served {
    gate: Gate,
    status: SocketAddr,
}

impl Served {
    fn start(relay: SocketAddr, more: &[&str]) -> Self {
        let relay = relay.to_string();
        let options = ["--listen", "127.0.0.1:0", "--relay", &relay, "--status", "127.0.0.1:0"];
        let usual = ["--no-self-test", "--as-root", "--host", "mx.example.org"];
        let gate = Gate::run("front_door", &[&options[..], &usual, more].concat());
        let mut lines = gate.preface.iter();
        let url = lines.find_map(|line| line.strip_prefix("status page on http://")).unwrap();
        let status = url.trim_end_matches('/').parse().unwrap();
        let served = Self { gate, status };
        until("it is ready", || served.get("/readyz").code == 200);
        served
    }

    fn client(&self) -> Client {
        let mut client = Client::connect(self.gate.address);
        assert!(client.reply().starts_with("220 mx.example.org ESMTP"));
        assert!(client.say("HELO client.example").starts_with("250 "));
        client
    }

    fn get(&self, path: &str) -> Response {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))
    }

    fn request(&self, request: &str) -> Response {
        self::request(self.status, request)
    }

    /// Sends a message that is refused for its content. Returns the reference in the reply.
    fn refused(&self) -> String {
        let mut client = self.client();
        let content = format!("{HEAD}{GTUBE}\r\n.");
        let mail = ["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA", &content];
        let reply = client.say_all(&mail);
        assert!(reply.starts_with("550 5.7.1 Message refused: GTUBE ("), "{reply}");
        client.quit();
        reply.split(['(', ')']).nth(1).unwrap().to_owned()
    }

    /// Refuses this many recipients, one in each transaction, each from a hostile sender.
    fn refuse_recipients(&self, count: usize) {
        let mut client = self.client();
        for n in 0..count {
            if n % 90 == 89 {
                client.quit();
                client = self.client();
            }
            let sender = format!("MAIL FROM:<{HOSTILE}@n{n}.example.com>");
            assert!(client.say(&sender).starts_with("250 "), "{sender}");
            let refused = client.say("RCPT TO:<nobody@example.org>");
            assert!(refused.starts_with("550-5.1.1 "), "{refused}");
            assert!(client.say("RSET").starts_with("250 "));
        }
        client.quit();
    }
}

pub(crate) struct Response {
    pub(crate) code: u16,
    /// In lower case.
    head: String,
    pub(crate) body: String,
}

/// Requests a path of a status server.
pub(crate) fn get(status: SocketAddr, path: &str) -> Response {
    request(status, &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))
}

fn request(status: SocketAddr, request: &str) -> Response {
    let mut stream = TcpStream::connect(status).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    Response { code, head: head.to_lowercase(), body: body.to_owned() }
}

/// Waits until the condition holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn status_server_answers_only_reading_requests() {
    let onward = Onward::start(false);
    let mut served = Served::start(onward.address, &[]);
    for (path, code, kind, part) in [
        ("/healthz", 200, "text/plain", "ok\n"),
        ("/readyz", 200, "text/plain", "ready\n"),
        ("/metrics", 200, "application/openmetrics-text", "\n# EOF\n"),
        ("/", 200, "text/html", "<h2>The last hour</h2>"),
        ("/why/nothing", 404, "text/html", "No record"),
        ("/nothing", 404, "text/plain", "expected"),
    ] {
        let response = served.get(path);
        assert_eq!(response.code, code, "{path}");
        assert!(response.body.contains(part), "{path}: {}", response.body);
        for field in [
            &format!("content-type: {kind}"),
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
        ] {
            assert!(response.head.contains(field), "{path}: {}", response.head);
        }
    }
    let head = served.request("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((head.code, &*head.body), (200, ""));
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request =
            format!("{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let response = served.request(&request);
        assert_eq!(response.code, 405, "{method}");
        assert!(response.head.contains("\r\nallow: get, head"), "{}", response.head);
    }
    // Another name that leads to this machine, such as in DNS rebinding.
    let rebound = "GET / HTTP/1.1\r\nHost: evil.example:9125\r\n\r\n";
    assert_eq!(served.request(rebound).code, 421);
    served.gate.stop();
}

#[test]
fn requests_and_connections_are_bounded() {
    let onward = Onward::start(false);
    let mut served = Served::start(onward.address, &[]);
    let request = |length: usize| {
        let value = "x".repeat(length);
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: {value}\r\n\r\n")
    };
    assert_eq!(served.request(&request(7 << 10)).code, 200);
    assert_eq!(served.request(&request(9 << 10)).code, 431);

    let connect = || TcpStream::connect(served.status).unwrap();
    let mut idle: Vec<_> = (0..15).map(|_| connect()).collect();
    assert_eq!(served.get("/healthz").code, 200);
    idle.push(connect());
    thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    assert_eq!(served.get("/healthz").code, 200);
    let waited = began.elapsed();
    assert!(waited > Duration::from_secs(2), "the 17th connection waited {waited:?}");
    assert!(waited < Duration::from_secs(20), "the 17th connection waited {waited:?}");
    served.gate.stop();
}

#[test]
fn readyz_is_503_during_the_drain_delay() {
    let onward = Onward::start(false);
    let mut served = Served::start(onward.address, &["--drain-delay", "600"]);
    assert_eq!(served.get("/readyz").code, 200);
    served.gate.signal("TERM");
    until("/readyz is 503", || served.get("/readyz").code == 503);
    assert_eq!(served.get("/readyz").body, "front_door is shutting down\n");
    assert_eq!(served.get("/healthz").code, 200);
    served.client().quit();
    // The second signal ends the delay.
    served.gate.stop();
}

/// The ports stay open, so that no load balancer needs to send its clients elsewhere.
#[test]
fn handover_to_a_new_process_needs_no_drain_delay() {
    let onward = Onward::start(false);
    let mut served = Served::start(onward.address, &["--drain-delay", "600"]);
    served.gate.signal("USR2");
    let began = Instant::now();
    let mut codes = BTreeSet::new();
    until("the old process ends", || {
        codes.insert(served.get("/readyz").code);
        served.gate.has_exited()
    });
    let took = began.elapsed();
    let ready = served.get("/readyz").code;
    served.client().quit();
    // The new process has the same arguments.
    let arguments = format!(" --relay {} ", onward.address);
    let found = Command::new("pgrep").args(["-f", &arguments]).output().unwrap();
    let heir = String::from_utf8(found.stdout).unwrap();
    assert!(Command::new("kill").args(["-KILL", heir.trim()]).status().unwrap().success());
    assert!(took < Duration::from_secs(40), "{took:?}");
    assert_eq!(ready, 200);
    // While it starts, the new process is not ready, and both answer.
    assert!(codes.contains(&200), "{codes:?}");
}

#[test]
fn readyz_names_the_server_that_fails() {
    let served = Served::start(nowhere(), &[]);
    assert_eq!(served.get("/readyz").code, 200);
    let mut client = served.client();
    assert!(client.say("MAIL FROM:<a@example.com>").starts_with("250 "));
    assert!(client.say("RCPT TO:<b@example.org>").starts_with("451 4."));
    let response = served.get("/readyz");
    assert_eq!(response.code, 503);
    let expected = "the onward server fails: connection failed: ";
    assert!(response.body.starts_with(expected), "{}", response.body);
    assert!(response.body.ends_with("; clients get 451\n"), "{}", response.body);
    let page = served.get("/").body;
    assert!(page.contains("Not ready: the onward server fails: "), "{page}");
}

#[test]
fn status_for_other_machines_causes_a_warning() {
    for (address, warns) in
        [("127.0.0.1:9125", false), ("[::1]:9125", false), ("0.0.0.0:9125", true)]
    {
        let mut check = Command::new(binary("front_door"));
        let output = check.args(["--check", "--status", address]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let warning = format!("warning: --status {address}: other machines can read");
        assert_eq!(told.contains(&warning), warns, "{told}");
    }
}

#[test]
fn page_explains_a_refusal() {
    let onward = Onward::start(false);
    let mut served = Served::start(onward.address, &[]);
    let reference = served.refused();
    let page = served.get("/").body;
    for part in [
        &format!("<a href=\"/why/{reference}\">{reference}</a>"),
        "127.0.0.1",
        "a@example.com",
        "b@example.org",
        "<td>gtube:GTUBE</td><td class=\"number\">1</td><td class=\"number\">100 %</td>",
        "<td>gtube (data)</td>",
        "1 refused</li>",
    ] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    for (searched, is_found) in
        [(&*reference, true), ("A%40EXAMPLE.com", true), ("127.0.0.1", true), ("c%40d", false)]
    {
        let found = served.get(&format!("/?q={searched}")).body;
        assert_eq!(found.contains("href=\"/why/"), is_found, "{searched}");
    }
    let why = served.get(&format!("/why/{reference}")).body;
    for part in [
        "refused by the panel",
        "550 5.7.1 Message refused",
        "gtube:GTUBE",
        "Score 1000.00",
        "<h2>In words</h2><pre>",
    ] {
        assert!(why.contains(part), "{part} is missing in {why}");
    }
    served.gate.stop();
}

#[test]
fn page_shows_the_onward_server_and_a_store_that_fails() {
    let (onward, folder) = (Onward::start(false), tempfile::tempdir().unwrap());
    let config = folder.path().join("front.toml");
    fs::write(&config, format!("[greylist]\n[store]\nredis = \"{}\"\n", nowhere())).unwrap();
    let options = ["--config", config.to_str().unwrap(), "--trust", "127.0.0.1"];
    let mut served = Served::start(onward.address, &options);
    let mut client = greet(served.gate.address);
    for _ in 0..5 {
        client.say("MAIL FROM:<a@example.com>");
        let reply = client.say("RCPT TO:<b@example.org>");
        assert!(reply.starts_with("451 4."), "{reply}");
        client.say("RSET");
    }
    client.quit();
    let text = served.get("/metrics").body;
    for line in [
        "nobounce_store_breaker 1\n",
        "nobounce_store_failures_total{cause=\"unreachable\"} 5\n",
        "nobounce_onward_seconds_count{request=\"connect\"} 1\n",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
    let page = served.get("/").body;
    for part in [
        "<td>onward server: connect</td><td class=\"number\">1</td><td class=\"number\">0</td>",
        "<td>store</td><td class=\"number\">5</td><td class=\"number\">5</td>",
        "The store is not asked, because it failed repeatedly.",
    ] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    served.gate.stop();
}

#[test]
fn page_is_bounded_and_escapes_what_strangers_chose() {
    let onward = Onward::start(false);
    let mut served = Served::start(onward.address, &[]);
    let first = served.refused();
    served.refuse_recipients(999);
    assert_eq!(served.get(&format!("/why/{first}")).code, 200);
    served.refuse_recipients(1);
    assert_eq!(served.get(&format!("/why/{first}")).code, 404, "more than 1,000 records");

    let hostile = "/?q=%3Cscript%3E%22'%3E";
    let by_domain = "/?q=n7.example.com";
    for path in ["/", hostile, "/?q=%3Cimg", by_domain] {
        let response = served.get(path);
        let page = &response.body;
        assert!(page.len() <= 64 << 10, "{path}: {} octets", page.len());
        assert!(!page.contains("<script") && !page.contains("<img"), "{path}: {page}");
        let policy = "content-security-policy: default-src 'none'; style-src 'nonce-";
        assert!(response.head.contains(policy), "{}", response.head);
        assert_links_stay_here(page);
    }
    let found = served.get(by_domain).body;
    assert!(found.contains("&lt;script&gt;document.title='owned'&lt;/script&gt;"), "{found}");
    served.gate.stop();
}

/// Checks that the page has no reference to another host, and no attribute that could have one.
fn assert_links_stay_here(page: &str) {
    for attribute in ["href=\"", "action=\"", "src=\""] {
        for (_, rest) in page.match_indices(attribute).map(|(at, it)| page.split_at(at + it.len()))
        {
            let stays = rest.starts_with(['/', '#']) && !rest.starts_with("//");
            assert!(stays, "{}", rest.chars().take(40).collect::<String>());
        }
    }
    assert!(!page.contains("url(") && !page.contains("@import"));
}

#[test]
fn alerts_and_dashboard_use_exported_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let signed = rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).unwrap();
    fs::write(&certificate, signed.cert.pem()).unwrap();
    fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let onward = Onward::start(false);
    let spamd = nowhere().to_string();
    let [certificate, key] = [&certificate, &key].map(|path| path.to_str().unwrap());
    let tls = ["--tls-cert", certificate, "--tls-key", key, "--spamd", &spamd];
    let mut served = Served::start(onward.address, &tls);
    let mut client = served.client();
    let content = format!("{HEAD}{GTUBE}\r\n.");
    let mail = ["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA", &content];
    client.say_all(&mail);
    client.quit();

    let text = served.get("/metrics").body;
    let exported: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let panels: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!(panels["panels"].as_array().unwrap().len(), 12);
    for name in ["nobounce_build_info", "nobounce_config_info", "process_cpu_seconds_total"] {
        assert!(exported.contains(name), "{name}: {exported:?}");
    }
    for (file, text) in [("nobounce.rules", RULES), ("grafana.json", DASHBOARD)] {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names = text.split(|c| !is_part(c)).filter(|word| {
            word.starts_with("process_") || (word.starts_with("nobounce_") && word.len() > 9)
        });
        let names: BTreeSet<&str> = names.collect();
        assert!(names.len() >= 8, "{file}: {names:?}");
        for name in names {
            assert!(exported.contains(name), "{file}: {name} is not exported: {exported:?}");
        }
    }
    served.gate.stop();
}

#[test]
fn colours_have_the_contrast_of_wcag_aa() {
    let (light, dark) = STYLE.split_once("prefers-color-scheme: dark").unwrap();
    for scheme in [light, dark] {
        let colour = |name: &str| {
            let (_, rest) = scheme.split_once(&format!("--{name}: #")).unwrap();
            let channel = |n: usize| {
                let value = f64::from(u8::from_str_radix(&rest[2 * n..][..2], 16).unwrap()) / 255.0;
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * channel(0) + 0.7152 * channel(1) + 0.0722 * channel(2)
        };
        for text in ["text", "muted", "link", "accepted", "deferred", "refused"] {
            for ground in ["ground", "card"] {
                let (one, other) = (colour(text), colour(ground));
                let ratio = (one.max(other) + 0.05) / (one.min(other) + 0.05);
                assert!(ratio >= 4.5, "{text} on {ground}: {ratio:.2}");
            }
        }
    }
}

/// Runs Chromium without a window. It can reach only the status server: all names are unknown.
fn chromium(profile: &Path, options: &[&str]) -> String {
    let output = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(options)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "needs an installed Chromium"]
fn browser_runs_no_script_and_asks_no_other_host() {
    let onward = Onward::start(false);
    let mut served = Served::start(onward.address, &[]);
    let reference = served.refused();
    served.refuse_recipients(30);
    let mut client = served.client();
    for n in 0..5 {
        let to = format!("RCPT TO:<b{n}@example.org>");
        let message = format!("{HEAD}Hello\r\n.");
        client.say_all(&["MAIL FROM:<a@example.com>", &to, "DATA", &message]);
    }
    let url = format!("http://{}/", served.status);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("net.json");
    let logging = format!("--log-net-log={}", log.display());
    let dom = chromium(folder.path(), &["--dump-dom", &logging, &url]);
    assert!(dom.contains("<title>nobounce</title>"), "{dom}");
    assert!(dom.contains("&lt;script&gt;"), "{dom}");
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains(&url), "the log has the request");
    assert!(!log.contains("evil.example"), "a request to another host");

    // For a human: the page in both schemes, wide and narrow.
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let shots = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("screenshots");
    fs::create_dir_all(&shots).unwrap();
    let why = format!("{url}why/{reference}");
    for (name, url) in [("overview", &url), ("why", &why)] {
        for (width, size) in [("wide", "1280,1600"), ("narrow", "375,2400")] {
            for (scheme, dark) in [("light", None), ("dark", Some("--force-dark-mode"))] {
                let path = shots.join(format!("{name}-{width}-{scheme}.png"));
                let shot = format!("--screenshot={}", path.display());
                let size = format!("--window-size={size}");
                let options = [&*shot, &size].into_iter().chain(dark).chain([&**url]);
                chromium(folder.path(), &options.collect::<Vec<_>>());
                assert!(fs::metadata(&path).unwrap().len() > 10_000, "{}", path.display());
            }
        }
    }
    served.gate.stop();
}
