//! The metrics of a gate: names, labels and values after sessions whose events are known.

#![cfg(all(feature = "metrics", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

#[cfg(feature = "dns")]
use nobounce::dns::{RecordKind, Resolver};
use nobounce::observer::{Metrics, Observer};
use nobounce::panel::{FailurePolicy, Seat};
use nobounce::prometheus_client::encoding::text::encode;
use nobounce::prometheus_client::registry::Registry;
use nobounce::relay::Smtp;
use nobounce::scorers::Gtube;
use nobounce::store::{
    Balance, Guarded, HalfLife, Key, Memory, Observed, Pace, Page, Rate, Retention, Sighting,
    Store, StoreError, Taken,
};
use nobounce::testing::{Script, VirtualRuntime, peer};
use nobounce::{
    ConnectContext, DataContext, Envelope, Finding, ForwardPath, Gate, Message, Opinion, Outcome,
    Panel, Peer, RcptContext, Receipt, Relay, Runtime, Score, Scorer, ScorerError, Settings,
    Target, async_trait, serve,
};

const PAGE: &str = include_str!("../src/docs/logs_and_metrics.md");
const GTUBE: &str = "\r\nXJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n.";
const HELLO: &str = "Subject: hello\r\n\r\nHello!\r\n.";

/// A scorer with a hostile name, which finds symbols in recipients, fails for one of them, and
/// panics at the content of a message from `panic@`.
struct Marks;

const HOSTILE: &str = "a\"b\\c\n# HELP x\r\u{202e}";

#[async_trait]
impl Scorer for Marks {
    fn name(&self) -> &str {
        HOSTILE
    }

    async fn on_connect(&self, _: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        Ok(Finding::new("NEW", Score::hundredths(50)).into())
    }

    async fn on_rcpt(&self, context: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let recipient = context.recipient.path.to_string();
        if recipient.contains("fail@") {
            return Err(ScorerError::new("no answer"));
        }
        if recipient.contains("trap@") {
            return Ok(Finding::new("TRAP", Score::points(20)).into());
        }
        Ok(Opinion::default())
    }

    async fn on_data(&self, context: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        assert!(!context.envelope.reverse_path.path.to_string().contains("panic@"), "a bug");
        Ok(Opinion::default())
    }
}

struct Served {
    runtime: VirtualRuntime,
    registry: Registry,
    gate: Gate<VirtualRuntime>,
}

impl Served {
    fn new(panel: Panel, server: Script) -> Self {
        let runtime = VirtualRuntime::with(server);
        let (mut registry, settings) = (Registry::default(), Settings::new("mx.example"));
        let metrics = Metrics::new(&mut registry, &settings);
        let target = Smtp::new(runtime.clone(), "192.0.2.25:25".parse().unwrap(), "mx.example");
        let gate = Gate::new(runtime.clone(), settings, target).panel(panel);
        let gate = gate.report_answers().observed_by(metrics);
        Self { runtime, registry, gate }
    }

    fn talk<'c>(&self, commands: impl IntoIterator<Item = &'c str>) {
        let client = self.runtime.client(Script::smtp_client(commands));
        self.runtime.run(serve(client, peer(), &self.gate)).unwrap();
    }

    fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }
}

/// Returns the commands of a session with one message.
fn message<'c>(from: &'c str, to: &'c str, content: &'c str) -> [&'c str; 6] {
    ["HELO c.example", from, to, "DATA", content, "QUIT"]
}

#[test]
fn a_scripted_session_has_known_metrics() {
    let panel = Panel::new().scorer(Gtube).seat(Seat::new(Marks).on_failure(FailurePolicy::Ignore));
    let server = Script::smtp_server()
        .replying("RCPT TO:<nobody@", "550 5.1.1 No such user")
        .replying("RCPT TO:<later@", "450 4.2.0 Later");
    let served = Served::new(panel, server);
    let (from, to) = ("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>");
    served.talk(message(from, to, HELLO));
    served.talk(message(from, to, GTUBE));
    served.talk([
        "HELO c.example",
        from,
        "RCPT TO:<nobody@example.com>",
        "RCPT TO:<later@example.com>",
        "RCPT TO:<trap@example.com>",
        "RCPT TO:<fail@example.com>",
        "RSET",
        "QUIT",
    ]);
    served.talk(message("MAIL FROM:<panic@example.org>", to, HELLO));
    let text = served.text();

    // The panel has replaced these characters.
    let scorer = "scorer=\"a_b_c___HELP_x__\"";
    let expected = [
        "nobounce_sessions 0".to_owned(),
        "nobounce_overloaded 0".into(),
        "nobounce_mail_data_bytes 0".into(),
        "nobounce_mail_data_limit_bytes 536870912".into(),
        "nobounce_connections_total{how=\"served\"} 4".into(),
        "nobounce_connections_total{how=\"turned_away\"} 0".into(),
        "nobounce_turned_away_total{reason=\"all\"} 0".into(),
        "nobounce_verdicts_total{stage=\"connect\",verdict=\"pass\",acted=\"true\"} 4".into(),
        "nobounce_verdicts_total{stage=\"rcpt\",verdict=\"pass\",acted=\"true\"} 6".into(),
        "nobounce_verdicts_total{stage=\"rcpt\",verdict=\"refuse\",acted=\"true\"} 1".into(),
        "nobounce_verdicts_total{stage=\"data\",verdict=\"pass\",acted=\"true\"} 2".into(),
        "nobounce_verdicts_total{stage=\"data\",verdict=\"refuse\",acted=\"true\"} 1".into(),
        "nobounce_verdicts_total{stage=\"data\",verdict=\"refuse\",acted=\"false\"} 0".into(),
        "nobounce_recipients_total{answer=\"taken\"} 4".into(),
        "nobounce_recipients_total{answer=\"refused_by_panel\"} 1".into(),
        "nobounce_recipients_total{answer=\"refused_by_relay\"} 1".into(),
        "nobounce_recipients_total{answer=\"come_again\"} 1".into(),
        "nobounce_transactions_total{cause=\"accepted\"} 2".into(),
        "nobounce_transactions_total{cause=\"refused_by_panel\"} 1".into(),
        "nobounce_transactions_total{cause=\"reset\"} 1".into(),
        "nobounce_unacknowledged_total 0".into(),
        "nobounce_onward_replies_total{request=\"rcpt\",class=\"2\"} 4".into(),
        "nobounce_onward_replies_total{request=\"rcpt\",class=\"4\"} 1".into(),
        "nobounce_onward_replies_total{request=\"rcpt\",class=\"5\"} 1".into(),
        "nobounce_onward_replies_total{request=\"content\",class=\"2\"} 2".into(),
        "nobounce_onward_failures_total{kind=\"unreachable\"} 0".into(),
        "nobounce_onward_seconds_count{request=\"rcpt\"} 6".into(),
        "nobounce_onward_seconds_count{request=\"content\"} 2".into(),
        "nobounce_store_breaker 0".into(),
        "nobounce_score_count 3".into(),
        "nobounce_score_bucket{le=\"0.0\"} 0".into(),
        "nobounce_score_bucket{le=\"2.0\"} 2".into(),
        "nobounce_score_bucket{le=\"6.31\"} 2".into(),
        "nobounce_score_bucket{le=\"+Inf\"} 3".into(),
        "nobounce_score_sum 1001.5".into(),
        "nobounce_content_bytes_count 3".into(),
        "nobounce_content_bytes_bucket{le=\"1024.0\"} 3".into(),
        "nobounce_transaction_seconds_count{phase=\"all\"} 4".into(),
        "nobounce_transaction_seconds_count{phase=\"scoring\"} 4".into(),
        "nobounce_symbols_total{scorer=\"gtube\",symbol=\"GTUBE\"} 1".into(),
        "nobounce_scorer_seconds_count{scorer=\"gtube\",stage=\"data\"} 3".into(),
    ];
    for line in &expected {
        assert!(text.lines().any(|known| known == line), "{line} is missing in:\n{text}");
    }
    let of_marks = [
        ("nobounce_symbols_total", "symbol=\"NEW\"} 4"),
        ("nobounce_symbols_total", "symbol=\"TRAP\"} 1"),
        ("nobounce_scorer_failures_total", "cause=\"error\"} 1"),
        ("nobounce_scorer_failures_total", "cause=\"panic\"} 1"),
        ("nobounce_scorer_seconds_count", "stage=\"rcpt\"} 7"),
    ];
    for (name, end) in of_marks {
        let begin = format!("{name}{{{scorer}");
        let found = text.lines().any(|line| line.starts_with(&begin) && line.ends_with(end));
        assert!(found, "{begin} ... {end} is missing in:\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    // No line begins with text that a peer or a scorer has chosen.
    for line in text.lines() {
        let ours = ["nobounce_", "# HELP nobounce_", "# TYPE nobounce_", "# UNIT nobounce_"];
        assert!(ours.iter().any(|it| line.starts_with(it)) || line == "# EOF", "{line:?}");
    }
    assert_eq!(documented(), exported(&text), "in the table of the page");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, labels)) = line.split_once('{') else { continue };
        for pair in labels.split('}').next().unwrap().split(',') {
            let (label, value) = pair.split_once('=').unwrap();
            let is_open = ["le", "scorer", "symbol"].contains(&label);
            assert!(label == "le" || PAGE.contains(&format!("`{label}`")), "{name}: {label}");
            assert!(is_open || PAGE.contains(value.trim_matches('"')), "{name}: {pair}");
        }
    }
}

/// Returns the names and types of the metrics.
fn exported(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE nobounce_"));
    types
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            let end = if kind == "counter" { "_total" } else { "" };
            (format!("{name}{end}"), kind.to_owned())
        })
        .collect()
}

/// Returns the names and types in the table of the page. The names have no prefix there.
fn documented() -> BTreeMap<String, String> {
    let (_, section) = PAGE.split_once("\n# Metrics for Prometheus\n").unwrap();
    let section = section.split("\n# Observers that block\n").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, rest) = row.split_once('`').unwrap();
        (name.to_owned(), rest.split('|').nth(1).unwrap().trim().to_owned())
    })
    .collect()
}

/// A scorer that finds a new symbol in each message: its number.
struct Numbers(std::sync::atomic::AtomicU32);

#[async_trait]
impl Scorer for Numbers {
    fn name(&self) -> &str {
        "numbers"
    }

    async fn on_rcpt(&self, _: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(Finding::new(&format!("N{n}"), Score::hundredths(1)).into())
    }
}

#[test]
fn a_thousand_symbols_are_counted_by_name() {
    let served =
        Served::new(Panel::new().scorer(Numbers(Default::default())), Script::smtp_server());
    let mut commands = vec!["HELO c.example"];
    for _ in 0..1_000 {
        commands.extend(["MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "RSET"]);
    }
    // A session may have a limited number of RSET commands.
    for part in commands[1..].chunks(3 * 50) {
        served.talk(std::iter::once("HELO c.example").chain(part.iter().copied()).chain(["QUIT"]));
    }
    let series = || {
        let text = served.text();
        let symbols = text.lines().filter(|line| line.starts_with("nobounce_symbols_total{"));
        symbols.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(series().len(), 1_000);
    let other = "nobounce_symbols_total{scorer=\"numbers\",symbol=\"other\"}";
    assert!(!series().iter().any(|line| line.starts_with(other)));
    for n in 1..=3 {
        let (from, to) = ("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>");
        served.talk(["HELO c.example", from, to, "RSET", "QUIT"]);
        assert_eq!(series().len(), 1_001);
        assert!(series().contains(&format!("{other} {n}")), "{:?}", series().last());
    }
}

#[test]
fn verdicts_in_monitor_mode_are_counted_apart() {
    let panel = Panel::new().scorer(Gtube).monitor();
    let served = Served::new(panel, Script::smtp_server());
    served.talk(message("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", GTUBE));
    let text = served.text();
    for line in [
        "nobounce_verdicts_total{stage=\"data\",verdict=\"refuse\",acted=\"false\"} 1\n",
        "nobounce_verdicts_total{stage=\"data\",verdict=\"refuse\",acted=\"true\"} 0\n",
        "nobounce_verdicts_total{stage=\"data\",verdict=\"pass\",acted=\"true\"} 1\n",
        "nobounce_transactions_total{cause=\"accepted\"} 1\n",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
}

/// A relay target that accepts everything, after these times for a recipient and for a content.
#[derive(Clone)]
struct Slow(VirtualRuntime, [Duration; 2]);

impl Target for Slow {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Relay for Slow {
    async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
        self.0.sleep_until(self.0.now() + self.1[0]).await;
        Outcome::Accepted(Receipt::recipient())
    }

    async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
        self.0.sleep_until(self.0.now() + self.1[1]).await;
        Outcome::Accepted(Receipt::kept("4711"))
    }
}

#[test]
fn times_of_the_relay_target_are_exported() {
    let runtime = VirtualRuntime::new();
    let (mut registry, settings) = (Registry::default(), Settings::new("mx.example"));
    let metrics = Metrics::new(&mut registry, &settings);
    let target = Slow(runtime.clone(), [2, 7].map(Duration::from_secs));
    let gate = Gate::new(runtime.clone(), settings, target).observed_by(metrics);
    let mail = message("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", HELLO);
    let client = runtime.client(Script::smtp_client(mail));
    runtime.run(serve(client, peer(), &gate)).unwrap();
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        "nobounce_onward_seconds_sum{request=\"rcpt\"} 2.0\n",
        "nobounce_onward_seconds_sum{request=\"content\"} 7.0\n",
        "nobounce_onward_seconds_count{request=\"connect\"} 0\n",
        "nobounce_transaction_seconds_sum{phase=\"relaying\"} 9.0\n",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
}

#[test]
fn connections_to_the_onward_server_are_measured() {
    let runtime = VirtualRuntime::with_each([Script::refuses(), Script::smtp_server()]);
    let (mut registry, settings) = (Registry::default(), Settings::new("mx.example"));
    let metrics = Arc::new(Metrics::new(&mut registry, &settings));
    let observer = metrics.clone();
    let target = Smtp::new(runtime.clone(), "192.0.2.25:25".parse().unwrap(), "mx.example")
        .on_connect(move |attempt| observer.observe(&attempt.into()))
        // The callback outlives a change of the settings.
        .connections(2);
    let gate = Gate::new(runtime.clone(), settings, target).observed_by(metrics);
    let mail = ["HELO c.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "QUIT"];
    for _ in 0..2 {
        let client = runtime.client(Script::smtp_client(mail));
        runtime.run(serve(client, peer(), &gate)).unwrap();
    }
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let line = "nobounce_onward_seconds_count{request=\"connect\"} 2\n";
    assert!(text.contains(line), "{line} is missing in:\n{text}");
}

/// A store that answers after 3 seconds, or never.
struct Lame(VirtualRuntime, Memory, Arc<AtomicBool>);

macro_rules! lame {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        #[async_trait]
        impl Store for Lame {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$result, StoreError> {
                if self.2.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                self.0.sleep_until(self.0.now() + Duration::from_secs(3)).await;
                self.1.$name($($argument),*).await
            })*
        }
    };
}

lame! {
    see(key: &Key, pace: Pace, now: SystemTime) -> Sighting;
    recall(key: &Key, now: SystemTime) -> Option<Sighting>;
    take(key: &Key, rate: Rate, tokens: u32, now: SystemTime) -> Taken;
    weigh(key: &Key, add: Balance, half_life: HalfLife, now: SystemTime) -> Balance;
    put(key: &Key, value: &[u8], until: SystemTime, now: SystemTime) -> ();
    get(key: &Key, now: SystemTime) -> Option<Vec<u8>>;
    remove(key: &Key) -> ();
    append(log: &Key, record: &[u8], retention: Retention, now: SystemTime) -> u64;
    read(log: &Key, from: u64, now: SystemTime) -> Page;
}

#[test]
fn operations_of_a_store_are_measured() {
    let runtime = VirtualRuntime::new();
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry, &Settings::new("mx.example"));
    let hangs = Arc::new(AtomicBool::new(false));
    let lame = Guarded::new(runtime.clone(), Lame(runtime.clone(), Memory::new(), hangs.clone()));
    let store: Arc<dyn Store> =
        Arc::new(Observed::new(runtime.clone(), lame, move |call| metrics.observe(&call.into())));
    let (key, now) = (Key::new("k", ""), SystemTime::UNIX_EPOCH);
    let second = Duration::from_secs(1);
    let page = |has: &[&str]| {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in has {
            assert!(text.lines().any(|it| it == *line), "{line} is missing in:\n{text}");
        }
    };
    let retention = Retention::new(9, second);
    let half_life = HalfLife::new(second * 60);
    let (rate, pace) =
        (Rate::new(2, second).unwrap(), Pace { apart: second, once: second, again: second });
    let all = async {
        store.see(&key, pace, now).await?;
        store.recall(&key, now).await?;
        store.take(&key, rate, 1, now).await?;
        store.weigh(&key, Balance::ZERO, half_life, now).await?;
        store.put(&key, b"v", now + second, now).await?;
        store.get(&key, now).await?;
        store.remove(&key).await?;
        store.append(&key, b"r", retention, now).await?;
        store.read(&key, 0, now).await
    };
    runtime.run(all).unwrap();
    for word in ["see", "recall", "take", "weigh", "put", "get", "remove", "append", "read"] {
        page(&[&format!("nobounce_store_seconds_sum{{op=\"{word}\"}} 3.0")]);
    }
    page(&["nobounce_store_breaker 0"]);
    hangs.store(true, Ordering::Relaxed);
    for _ in 0..7 {
        runtime.run(store.get(&key, now)).unwrap_err();
    }
    // The breaker opens at the fifth failure.
    page(&[
        "nobounce_store_failures_total{cause=\"late\"} 5",
        "nobounce_store_failures_total{cause=\"suspended\"} 2",
        "nobounce_store_breaker 1",
        "nobounce_store_seconds_count{op=\"get\"} 6",
        "nobounce_store_seconds_sum{op=\"get\"} 28.0",
    ]);
    hangs.store(false, Ordering::Relaxed);
    runtime.run(runtime.sleep_until(runtime.now() + second));
    runtime.run(store.get(&key, now)).unwrap();
    page(&["nobounce_store_breaker 0"]);
}

#[cfg(feature = "dns")]
#[test]
fn dns_lookups_are_measured() {
    let runtime = VirtualRuntime::new();
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry, &Settings::new("mx.example"));
    let zone = nobounce::testing::Zone::new("a.example TXT v=spf1\nbroken.example A fails");
    let cache = nobounce::dns::Cache::new(runtime.clone(), zone)
        .on_lookup(move |lookup| metrics.observe(&lookup.into()));
    for (name, kind) in [
        ("a.example", RecordKind::Txt),
        ("broken.example", RecordKind::A),
        // The failure is cached.
        ("broken.example", RecordKind::A),
        ("none.example", RecordKind::Ptr),
    ] {
        let _ = runtime.run(cache.lookup(&name.parse().unwrap(), kind));
    }
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        "nobounce_dns_seconds_count{type=\"A\"} 1\n",
        "nobounce_dns_seconds_count{type=\"TXT\"} 1\n",
        "nobounce_dns_seconds_count{type=\"PTR\"} 1\n",
        "nobounce_dns_cache_total{hit=\"true\"} 1\n",
        "nobounce_dns_cache_total{hit=\"false\"} 3\n",
        "nobounce_dns_failures_total{cause=\"declined\"} 1\n",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
}
