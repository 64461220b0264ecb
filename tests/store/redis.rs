//! A real server with two gates.

use std::env;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nobounce::breaker::{Breaker, Change};
use nobounce::envelope::SessionId;
use nobounce::panel::Sitting;
use nobounce::scorers::RateLimit;
use nobounce::store::{Balance, HalfLife, Key, Pace, Rate, Redis, Store, StoreError, Taken};
use nobounce::tally::Tally;
use nobounce::verdict::Subject;
use nobounce::{Address, Envelope, ForwardPath, Panel, Peer, ReversePath, Runtime, Verdict};
use pollster::block_on;

use super::server::{Server, Waiting};
use super::suite::at;

/// Stores at one server, each with its own keys.
struct Fresh {
    server: Server,
    made: AtomicUsize,
}

impl Fresh {
    fn new() -> Self {
        Self { server: Server::start(&[]), made: AtomicUsize::new(0) }
    }

    fn store(&self) -> Box<dyn Store> {
        let n = self.made.fetch_add(1, Ordering::Relaxed);
        Box::new(Redis::new(Waiting, self.server.address()).prefix(&format!("{n}:")))
    }
}

suite!([ignore = "needs redis-server"] {
    let fresh = Fresh::new();
    move || fresh.store()
});

const HOUR: Duration = Duration::from_secs(3600);
const PACE: Pace = Pace { apart: Duration::ZERO, once: HOUR, again: HOUR };

fn see(store: &dyn Store) -> Result<u32, StoreError> {
    block_on(store.see(&Key::new("k", ""), PACE, at(0.0))).map(|sighting| sighting.times)
}

#[test]
#[ignore = "needs redis-server"]
fn recovered_server_is_used_again() {
    let mut server = Server::start(&[]);
    let store = Redis::new(Waiting, server.address());
    assert_eq!(see(&store).unwrap(), 1);
    assert_eq!(see(&store).unwrap(), 2);
    server.stop();
    assert!(matches!(see(&store), Err(StoreError::Unreachable(_))));
    server.restart();
    // Its data is gone, and no old connection interferes.
    assert_eq!(see(&store).unwrap(), 1);
}

/// The server is stopped with SIGSTOP: it accepts connections, but does not reply.
#[test]
#[ignore = "needs redis-server"]
#[allow(clippy::disallowed_methods, reason = "a real server takes real time")]
fn hanging_server_delays_few_messages_and_is_used_after_recovery() {
    let server = Server::start(&[]);
    let changes = Arc::new(Mutex::new(Vec::new()));
    let told = changes.clone();
    let breaker = Breaker::new().on_change(move |it| told.lock().unwrap().push(it.clone()));
    let patience = Duration::from_millis(200);
    let store = Redis::new(Waiting, server.address()).patience(patience).breaker(breaker);
    assert_eq!(see(&store).unwrap(), 1);
    server.signal("STOP");
    let began = Instant::now();
    let mut late = 0;
    for _ in 0..200 {
        match see(&store) {
            Err(StoreError::Late(_)) => late += 1,
            Err(StoreError::Suspended(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    let took = began.elapsed();
    assert_eq!(late, 5, "only the failures that opened the breaker");
    assert!(took < patience * 10, "200 messages took {took:?}");
    server.signal("CONT");
    let again = (0..100).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        see(&store).ok()
    });
    assert!(again.is_some(), "the recovered server was not used");
    assert!(matches!(
        &changes.lock().unwrap()[..],
        [Change::Failed { .. }, Change::Recovered { .. }]
    ));
}

#[test]
#[ignore = "needs redis-server"]
fn store_connections_are_reused() {
    let server = Server::start(&[]);
    let store = Redis::new(Waiting, server.address());
    for _ in 0..100 {
        see(&store).unwrap();
    }
    let said = cli(&server, &["info", "stats"]);
    let received = said.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    // Our connection, and that of the query.
    assert_eq!(received.map(str::trim), Some("2"), "{said}");
}

#[test]
#[ignore = "needs redis-server"]
fn login_is_sent_to_the_server() {
    let server = Server::start(&[
        "--user",
        "gate",
        "on",
        ">secret",
        "~nobounce:*",
        "+@all",
        "--user",
        "default",
        "off",
    ]);
    let store = || Redis::new(Waiting, server.address());
    let declined = |result| match result {
        Err(StoreError::Declined(text)) => text.split(' ').next().unwrap().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(see(&store().login("gate", "secret")).unwrap(), 1);
    assert_eq!(see(&store().login("gate", "secret").database(3)).unwrap(), 1);
    assert_eq!(see(&store().login("gate", "secret")).unwrap(), 2);
    assert_eq!(declined(see(&store().login("gate", "wrong"))), "WRONGPASS");
    assert_eq!(declined(see(&store())), "NOAUTH");
    assert_eq!(declined(see(&store().login("gate", "secret").database(99))), "ERR");
    assert_eq!(declined(see(&store().login("gate", "secret").prefix("other:"))), "NOPERM");
}

#[test]
#[ignore = "needs redis-server"]
fn foreign_values_are_ignored_or_refused() {
    let server = Server::start(&[]);
    let store = Redis::new(Waiting, server.address());
    for garbage in ["", "1 2 3", "x", "-1 -1 -1 -1 -1", "1e400 0 0 0 0", "nan nan 1 99999999999999"]
    {
        for kind in ["seen", "bucket", "balance"] {
            cli(&server, &["set", &format!("nobounce:{kind}:k "), garbage]);
        }
        assert_eq!(see(&store).unwrap(), 1, "{garbage}");
        let key = Key::new("k", "");
        let rate = Rate::new(10, HOUR).unwrap();
        let taken = block_on(store.take(&key, rate, 1, at(0.0))).unwrap();
        assert_eq!(taken, Taken::Granted { left: 9 }, "{garbage}");
        let add = Balance::new(1.0, 0.0);
        let balance = block_on(store.weigh(&key, add, HalfLife::new(HOUR), at(0.0))).unwrap();
        assert_eq!(balance, add, "{garbage}");
    }
    cli(&server, &["del", "nobounce:seen:k "]);
    cli(&server, &["lpush", "nobounce:seen:k ", "x"]);
    assert!(matches!(see(&store), Err(StoreError::Declined(_))));
}

#[test]
#[ignore = "needs redis-server"]
fn expired_keys_are_removed() {
    let server = Server::start(&[]);
    let store = Redis::new(Waiting, server.address());
    let key = Key::new("k", "");
    let now = at(0.0);
    see(&store).unwrap();
    block_on(store.take(&key, Rate::new(2, HOUR).unwrap(), 1, now)).unwrap();
    block_on(store.weigh(&key, Balance::new(1.0, 1.0), HalfLife::new(HOUR), now)).unwrap();
    for (kind, most) in [("seen", 3600), ("bucket", 1800), ("balance", 17 * 3600)] {
        let left = cli(&server, &["ttl", &format!("nobounce:{kind}:k ")]);
        let left: i64 = left.trim().parse().unwrap();
        assert!((most - 60..=most).contains(&left), "{kind}: {left}");
    }
    let asked = Key::new("asked", "only");
    block_on(store.recall(&asked, now)).unwrap();
    block_on(store.weigh(&asked, Balance::ZERO, HalfLife::new(HOUR), now)).unwrap();
    block_on(store.take(&asked, Rate::new(2, HOUR).unwrap(), 0, now)).unwrap();
    assert_eq!(cli(&server, &["dbsize"]).trim(), "3");
}

fn cli(server: &Server, words: &[&str]) -> String {
    let Address::Unix(path) = server.address() else { panic!() };
    let mut command = Command::new("redis-cli");
    let output = command.arg("-s").arg(path).args(words).output();
    let output = output.expect("needs redis-cli: apt-get install redis-server");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A clock that stands still, so that two processes have the same time.
struct Still;

#[async_trait]
impl Runtime for Still {
    type Stream = <Waiting as Runtime>::Stream;

    fn time_of_day(&self) -> std::time::SystemTime {
        at(0.0)
    }

    async fn sleep_until(&self, at: std::time::Instant) {
        Waiting.sleep_until(at).await;
    }

    async fn connect(&self, address: &Address) -> std::io::Result<Self::Stream> {
        Waiting.connect(address).await
    }
}

const SHARED: &str = "NOBOUNCE_TEST_SHARED_REDIS";
const MESSAGES: u32 = 300;

/// Two gates in separate processes, each with four concurrent clients, ask for the same recipient.
/// Together they admit exactly the rate, and each sighting and each weight is stored once.
#[test]
#[ignore = "needs redis-server"]
fn two_gates_share_their_counts() {
    if let Some(path) = env::var_os(SHARED) {
        return print!("passed={};", gate(Address::Unix(path.into())));
    }
    let server = Server::start(&[]);
    let Address::Unix(path) = server.address() else { panic!() };
    let gates = [(); 2].map(|()| {
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "redis::two_gates_share_their_counts", "--ignored", "--nocapture"])
            .env(SHARED, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let passed: u32 = gates
        .into_iter()
        .map(|gate| {
            let output = gate.wait_with_output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{said}");
            let (_, rest) = said.split_once("passed=").unwrap();
            rest.split_once(';').unwrap().0.parse::<u32>().unwrap()
        })
        .sum();
    assert_eq!(passed, MESSAGES);
    let store = Redis::new(Waiting, server.address());
    let asked = 2 * MESSAGES;
    assert_eq!(see(&store).unwrap(), asked + 1);
    let (key, half_life) = (Key::new("k", ""), HalfLife::new(HOUR));
    let balance = block_on(store.weigh(&key, Balance::ZERO, half_life, at(0.0))).unwrap();
    assert_eq!(balance, Balance::new(asked.into(), 0.0));
}

/// Calls a gate's panel this often with four concurrent clients. Returns how many it admitted.
fn gate(address: Address) -> u32 {
    let store = Arc::new(Redis::new(Waiting, address));
    let rate = Rate::new(MESSAGES, HOUR).unwrap();
    let limit = RateLimit::new(Still, store.clone()).per_recipient(rate);
    let panel = Panel::new().scorer(limit);
    let client = || {
        let peer = Peer::new(([192, 0, 2, 1], 4711).into());
        let sender = ReversePath::parse("<alice@example.org>").unwrap();
        let recipient = ForwardPath::parse("<bob@example.net>").unwrap();
        let id = SessionId::new("gate").transaction(1);
        let envelope = Envelope::new(id, Arc::new(peer), sender);
        let passed = (0..MESSAGES / 4).filter(|_| {
            let subject = Subject::Recipient(&envelope, &recipient);
            let verdict =
                block_on(panel.ask(&Still, subject, &mut Tally::new(), &mut Sitting::new()));
            see(&*store).unwrap();
            let (key, half_life) = (Key::new("k", ""), HalfLife::new(HOUR));
            block_on(store.weigh(&key, Balance::new(1.0, 0.0), half_life, at(0.0))).unwrap();
            match verdict {
                Verdict::Pass => true,
                Verdict::Refuse(refusal) if refusal.to_string().contains("try again in") => false,
                other => panic!("{other:?}"),
            }
        });
        u32::try_from(passed.count()).unwrap()
    };
    std::thread::scope(|scope| {
        let clients = [(); 4].map(|()| scope.spawn(client));
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    })
}
