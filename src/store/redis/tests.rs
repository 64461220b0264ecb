use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Mutex as Lock;
use std::task::Context;
use std::time::Instant;

use super::*;
use crate::breaker;
use crate::opinion::FailurePolicy;
use crate::panel::{Panel, Seat, Sitting};
use crate::rehearsal::{Rehearsal, envelope, recipient};
use crate::scorers::RateLimit;
use crate::tally::Tally;
use crate::verdict::{Subject, Verdict};

/// Behaviour of the server on a connection: its answer to each command, and what follows.
#[derive(Debug, Clone)]
enum Server {
    Absent,
    /// Drops all packets: connecting never succeeds or fails.
    Unreachable,
    /// Sends this answer to each command.
    Says(Vec<u8>),
    /// Sends this answer to each command, then closes.
    Leaves(Vec<u8>),
    Hangs,
    /// Does not read the command.
    Clogged,
}

/// A network in virtual time with one server.
#[derive(Debug, Clone)]
struct Net {
    clock: Rehearsal,
    state: Arc<Lock<State>>,
}

#[derive(Debug)]
struct State {
    server: Server,
    /// Connections made, and connections open.
    made: usize,
    open: usize,
    read: usize,
}

struct Wire {
    net: Net,
    heard: usize,
    to_say: VecDeque<u8>,
    closes: bool,
}

impl Net {
    fn new(server: Server) -> Self {
        let state = State { server, made: 0, open: 0, read: 0 };
        Self { clock: Rehearsal::new(), state: Arc::new(Lock::new(state)) }
    }

    fn store(&self) -> Redis<Self> {
        Redis::new(self.clone(), "127.0.0.1:6379".parse().unwrap())
    }

    fn server(&self) -> Server {
        self.state.lock().unwrap().server.clone()
    }
}

#[async_trait]
impl Runtime for Net {
    type Stream = Wire;

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn time_of_day(&self) -> SystemTime {
        self.clock.time_of_day()
    }

    async fn sleep_until(&self, at: Instant) {
        self.clock.sleep_until(at).await;
    }

    async fn connect(&self, _: &Address) -> io::Result<Wire> {
        match self.server() {
            Server::Absent => return Err(io::ErrorKind::ConnectionRefused.into()),
            Server::Unreachable => std::future::pending().await,
            _ => {}
        }
        let mut state = self.state.lock().unwrap();
        state.made += 1;
        state.open += 1;
        Ok(Wire { net: self.clone(), heard: 0, to_say: VecDeque::new(), closes: false })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.net.state.lock().unwrap().open -= 1;
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.to_say.is_empty() && !self.closes {
            return Poll::Pending;
        }
        let count = io::Read::read(&mut self.to_say, buffer)?;
        self.net.state.lock().unwrap().read += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        if matches!(self.net.server(), Server::Clogged) {
            return Poll::Pending;
        }
        self.heard += octets.len();
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.heard) > 0 {
            match self.net.server() {
                Server::Says(octets) => self.to_say = octets.into(),
                Server::Leaves(octets) => {
                    self.to_say = octets.into();
                    self.closes = true;
                }
                _ => {}
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn take(net: &Net, store: &Redis<Net>) -> Result<Taken, String> {
    let rate = Rate::new(60, MINUTE).unwrap();
    let key = Key::new("k", "");
    net.clock.run(store.take(&key, rate, 1, net.time_of_day())).map_err(|error| error.to_string())
}

fn says(text: &str) -> Server {
    Server::Says(text.as_bytes().to_vec())
}

#[test]
fn a_command_is_an_array_of_strings() {
    assert_eq!(
        resp::command(&["AUTH", "ü", ""]),
        "*3\r\n$4\r\nAUTH\r\n$2\r\nü\r\n$0\r\n\r\n".as_bytes()
    );
}

#[test]
fn connection_is_reused_sequentially() {
    let net = Net::new(says("$17\r\ngranted 59000000\x20\r\n"));
    assert_eq!(
        take(&net, &net.store()).unwrap_err(),
        "store: malformed response: neither granted nor exhausted"
    );

    let net = Net::new(says("$16\r\ngranted 58000000\r\n"));
    let store = net.store();
    for _ in 0..10 {
        assert_eq!(take(&net, &store), Ok(Taken::Granted { left: 58 }));
    }
    let state = net.state.lock().unwrap();
    assert_eq!((state.made, state.open), (1, 1));
}

/// For every kind of server failure, the operation fails in time, and the connection is closed.
#[test]
fn operation_ends_for_any_server_behaviour() {
    let second = Duration::from_secs(1);
    let now = Duration::ZERO;
    let table = [
        (Server::Absent, now, "store: connection refused"),
        (Server::Unreachable, second, "store: no answer within 1s"),
        (Server::Hangs, second, "store: no answer within 1s"),
        (Server::Clogged, second, "store: no answer within 1s"),
        (Server::Leaves(vec![]), now, "store: unexpected end of file"),
        (Server::Leaves(b"$16\r\ngranted 5".to_vec()), now, "store: unexpected end of file"),
        (says("$16\r\ngranted 5"), second, "store: no answer within 1s"),
        (
            says("-NOAUTH Authentication required.\r\n"),
            now,
            "store: operation refused: \"NOAUTH Authentication required.\"",
        ),
        (says("HTTP/1.1 400 Bad Request\r\n\r\n"), now, "store: malformed response: not a string"),
        (says("220 mx.example ESMTP\r\n"), now, "store: malformed response: not a string"),
        (says(":1\r\n"), now, "store: malformed response: not a string"),
        (says("*1\r\n$1\r\nx\r\n"), now, "store: malformed response: not a string"),
        (says("\r\n"), now, "store: malformed response: empty line"),
        (says("$-1\r\n"), now, "store: malformed response: length"),
        (says("$+1\r\nx\r\n"), now, "store: malformed response: length"),
        (says("$\r\n"), now, "store: malformed response: length"),
        (says("$99999999999999999999999\r\n"), now, "store: malformed response: length"),
        (says("$1\r\nxyz"), now, "store: malformed response: octets after the response"),
        (says("$1\r\nx\r\n+OK\r\n"), now, "store: malformed response: octets after the response"),
        (says("+OK\r\n+OK\r\n"), now, "store: malformed response: octets after the response"),
        (Server::Says(b"$1\r\n\xff\r\n".to_vec()), now, "store: malformed response: not UTF-8"),
        (says("+granted -1\r\n"), now, "store: malformed response: neither granted nor exhausted"),
        (says("+granted\r\n"), now, "store: malformed response: neither granted nor exhausted"),
        (says("$104857600\r\n"), now, "store: malformed response: string too long"),
        (Server::Says(vec![b'x'; 100 << 20]), now, "store: malformed response: line too long"),
        (
            Server::Says([b"$104857600\r\n", &*vec![b'x'; 100 << 20]].concat()),
            now,
            "store: malformed response: string too long",
        ),
    ];
    for (server, time, expected) in table {
        let net = Net::new(server);
        let store = net.store();
        for round in 1..=3 {
            assert_eq!(take(&net, &store).unwrap_err(), expected);
            assert_eq!(net.clock.elapsed(), time * round, "{expected}");
        }
        let state = net.state.lock().unwrap();
        assert!(state.read <= 3 * (REPLY + 512), "{} octets were read", state.read);
        // After a well-formed but invalid answer, the connection is still in sync and is kept.
        let makes_no_sense = ["neither granted", "not UTF-8"].map(|what| expected.contains(what));
        let kept = usize::from(makes_no_sense.contains(&true));
        assert_eq!(state.open, kept, "{expected}");
    }
}

const REPLY: usize = resp::REPLY;

#[test]
fn closed_connection_is_replaced() {
    let net = Net::new(Server::Leaves(b"$16\r\ngranted 58000000\r\n".to_vec()));
    let store = net.store();
    for made in 1..=3 {
        assert_eq!(take(&net, &store), Ok(Taken::Granted { left: 58 }));
        let state = net.state.lock().unwrap();
        assert_eq!((state.made, state.open), (made, 1));
    }
}

#[test]
fn connections_are_bounded() {
    let net = Net::new(Server::Hangs);
    let store = net.store().connections(3);
    let rate = Rate::new(60, MINUTE).unwrap();
    let key = Key::new("k", "");
    // At most 30 operations: up to this number, `join_all` polls all futures together. With more
    // futures it polls only those that were woken, which the virtual runtime does not support.
    let takes = (0..30).map(|_| store.take(&key, rate, 1, SystemTime::UNIX_EPOCH));
    let answers = net.clock.run(futures::future::join_all(takes));
    assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::Late(_)))));
    assert_eq!(
        net.clock.elapsed(),
        PATIENCE,
        "waiting for a connection counts towards the timeout"
    );
    assert_eq!(net.state.lock().unwrap().open, 0);

    net.state.lock().unwrap().server = says("$16\r\ngranted 58000000\r\n");
    // These failures opened the breaker: one operation is the probe.
    net.clock.run(net.clock.sleep(Duration::from_secs(1)));
    net.clock.run(store.take(&key, rate, 1, SystemTime::UNIX_EPOCH)).unwrap();
    let takes = (0..30).map(|_| store.take(&key, rate, 1, SystemTime::UNIX_EPOCH));
    let answers = net.clock.run(futures::future::join_all(takes));
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Taken::Granted { left: 58 }))));
    assert!(net.state.lock().unwrap().open <= 3);
}

/// Dropping an operation closes its connection, so no other operation can read the late answer.
#[test]
fn dropped_operation_closes_its_connection() {
    let net = Net::new(Server::Hangs);
    let store = net.store();
    {
        let key = Key::new("k", "");
        let recall = store.recall(&key, SystemTime::UNIX_EPOCH);
        let mut recall = pin!(recall);
        assert!(net.clock.run(async { poll!(recall.as_mut()) }).is_pending());
        assert_eq!(net.state.lock().unwrap().open, 1);
    }
    assert_eq!(net.state.lock().unwrap().open, 0);
}

#[test]
fn hanging_server_delays_only_five_operations() {
    let net = Net::new(Server::Hangs);
    let store = net.store();
    for _ in 0..5 {
        assert_eq!(take(&net, &store).unwrap_err(), "store: no answer within 1s");
    }
    assert!(matches!(store.state(), breaker::State::Open { .. }));
    let suspended = "store: suspended for 1s after repeated failures: store: no answer within 1s";
    for _ in 0..1000 {
        assert_eq!(take(&net, &store).unwrap_err(), suspended);
    }
    let waited = net.clock.elapsed();
    assert_eq!((waited, net.state.lock().unwrap().made), (PATIENCE * 5, 5));

    net.clock.run(net.clock.sleep(PATIENCE));
    net.state.lock().unwrap().server = says("$16\r\ngranted 58000000\r\n");
    assert_eq!(take(&net, &store), Ok(Taken::Granted { left: 58 }));
    assert_eq!(store.state(), breaker::State::Closed);
}

/// If the store fails, the failure policy of the seat decides. The shorter of the two timeouts
/// applies.
#[test]
fn scorer_fails_without_its_store() {
    let rate = Rate::new(60, MINUTE).unwrap();
    let half = Duration::from_millis(500);
    let garbage = Server::Says(vec![b'x'; 100 << 20]);
    for (server, budget, elapsed) in [
        (Server::Absent, MINUTE, Duration::ZERO),
        (Server::Hangs, MINUTE, PATIENCE),
        (Server::Hangs, half, half),
        (garbage, MINUTE, Duration::ZERO),
        (Server::Leaves(vec![]), MINUTE, Duration::ZERO),
    ] {
        for policy in [FailurePolicy::Ignore, FailurePolicy::Defer] {
            let net = Net::new(server.clone());
            let limit = RateLimit::new(net.clone(), Arc::new(net.store())).per_recipient(rate);
            let seat = Seat::new(limit).budget(budget).on_failure(policy);
            let panel = Panel::new().seat(seat);
            let (envelope, recipient) = (envelope("<a@example.org>"), recipient());
            let mut tally = Tally::new();
            let subject = Subject::Recipient(&envelope, &recipient);
            let verdict = net.clock.run(panel.ask(&net, subject, &mut tally, &mut Sitting::new()));
            match policy {
                FailurePolicy::Defer => assert!(
                    matches!(&verdict, Verdict::Refuse(refusal) if refusal.is_transient()),
                    "{verdict:?}"
                ),
                _ => assert_eq!(verdict, Verdict::Pass),
            }
            assert_eq!(tally.failures().count(), 1);
            assert_eq!(net.clock.elapsed(), elapsed);
            assert_eq!(net.state.lock().unwrap().open, 0);
        }
    }
}
