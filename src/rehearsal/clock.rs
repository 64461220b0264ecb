//! The virtual runtime: a clock that jumps, and servers that follow scripts.

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;

use super::server::{Connection, Heard, Script};
use crate::runtime::{Address, Runtime};

/// A [`Runtime`] without sockets, in virtual time, for tests of scorers, panels, relay targets and
/// whole gates.
///
/// It runs one future on the calling thread. When that future waits, the clock jumps to the next
/// timer. A test of a five-minute timeout therefore takes no real time and is deterministic.
/// Servers follow a [`Script`], and so does the client that a gate serves. All clones share one
/// state.
///
/// ```
/// use nobounce::relay::Smtp;
/// use nobounce::testing::{Script, VirtualRuntime, peer};
/// use nobounce::{Gate, Settings, serve};
///
/// let runtime = VirtualRuntime::new();
/// let address = "192.0.2.25:25".parse()?;
/// let unknown = "550 5.1.1 No such user";
/// let onward = runtime.listen(
///     &address,
///     Script::smtp_server().replying("RCPT TO:<nobody@example.com>", unknown),
/// );
/// let target = Smtp::new(runtime.clone(), address, "gate.example.com");
/// let gate = Gate::new(runtime.clone(), Settings::new("gate.example.com"), target);
///
/// let client = runtime.client(Script::smtp_client([
///     "EHLO client.example.org",
///     "MAIL FROM:<a@example.org>",
///     "RCPT TO:<nobody@example.com>",
///     "RCPT TO:<b@example.com>",
///     "DATA",
///     "Subject: hello\r\n\r\nHello!\r\n.",
///     "QUIT",
/// ]));
/// let heard = client.heard();
/// runtime.run(serve(client, peer(), &gate))?;
///
/// assert!(heard.text().contains("550 5.1.1 No such user\r\n250 2.1.5 Ok\r\n354 "));
/// assert!(heard.text().ends_with("250 2.0.0 Ok: queued as 1\r\n221 2.0.0 Bye\r\n"));
/// assert!(onward.text().contains("\r\nSubject: hello\r\n\r\nHello!\r\n.\r\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct VirtualRuntime(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    began: Instant,
    now: Instant,
    /// Pending timers, each with the waker of its future.
    timers: BTreeMap<usize, (Instant, Option<Waker>)>,
    /// Number of timers created so far.
    armed: usize,
    /// Scripts of successive connections. The last script is used for all further connections.
    scripts: Vec<Script>,
    /// Scripts of servers at certain addresses, and the octets sent to them. They take precedence
    /// over `scripts`.
    servers: HashMap<Address, (Script, Heard)>,
    /// Number of connections to servers so far, and number of open connections.
    connected: usize,
    open: Arc<AtomicUsize>,
    /// All octets sent to servers.
    heard: Heard,
}

impl Default for VirtualRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl VirtualRuntime {
    /// Creates a runtime without servers: all connections are refused.
    #[allow(clippy::disallowed_methods, reason = "an `Instant` cannot be created otherwise")]
    pub fn new() -> Self {
        let began = Instant::now();
        Self(Arc::new(Mutex::new(State {
            began,
            now: began,
            timers: BTreeMap::new(),
            armed: 0,
            scripts: vec![Script::refuses()],
            servers: HashMap::new(),
            connected: 0,
            open: Arc::default(),
            heard: Heard::default(),
        })))
    }

    /// Creates a runtime in which every address has a server that follows this script.
    pub fn with(script: Script) -> Self {
        Self::with_each([script])
    }

    /// Creates a runtime in which successive connections follow these scripts. Further connections
    /// follow the last script.
    pub fn with_each(scripts: impl IntoIterator<Item = Script>) -> Self {
        let runtime = Self::new();
        runtime.state().scripts = scripts.into_iter().collect();
        runtime
    }

    /// Starts a server at this address, and returns a record of everything sent to it. Each
    /// connection follows the script from the start.
    pub fn listen(&self, address: &Address, script: Script) -> Heard {
        let heard = Heard::default();
        self.state().servers.insert(address.clone(), (script, heard.clone()));
        heard
    }

    /// Returns the connection of a client that follows this script. Pass it to a gate.
    pub fn client(&self, script: Script) -> Connection {
        Connection::new(self.state().open.clone(), script, [Heard::default(), Heard::default()])
    }

    /// Runs `future` to completion in virtual time.
    ///
    /// # Panics
    ///
    /// Panics if the future can never continue: no timer is set, and every peer has reached the end
    /// of its script.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            if !woken.0.swap(false, Ordering::Relaxed) {
                self.skip_to_the_next_timer();
            }
        }
    }

    fn skip_to_the_next_timer(&self) {
        let mut state = self.state();
        let next = state.timers.values().map(|(at, _)| *at).min();
        let now = next.expect("the future waits, no timer is set, and no peer has anything to say");
        state.now = now;
        let due = state.timers.values_mut().filter(|(at, _)| *at <= now);
        let due: Vec<Waker> = due.filter_map(|(_, waker)| waker.take()).collect();
        drop(state);
        due.into_iter().for_each(Waker::wake);
    }

    /// Returns the virtual time elapsed since the runtime was created.
    pub fn elapsed(&self) -> Duration {
        let state = self.state();
        state.now - state.began
    }

    /// Returns the number of timers created so far.
    #[cfg(test)]
    pub(crate) fn armed(&self) -> usize {
        self.state().armed
    }

    /// Returns everything sent to servers, as text.
    pub fn heard(&self) -> String {
        self.state().heard.text()
    }

    /// Returns everything sent to servers.
    #[cfg(test)]
    pub(crate) fn octets(&self) -> Vec<u8> {
        self.state().heard.octets()
    }

    /// Returns the number of connections to servers so far, and the number of open connections.
    pub fn connections(&self) -> (usize, usize) {
        let state = self.state();
        (state.connected, state.open.load(Ordering::Relaxed))
    }

    /// Sleeps for this virtual time.
    pub async fn sleep(&self, time: Duration) {
        self.sleep_until(self.now() + time).await;
    }

    /// Moves the clock forward to `at`. Does nothing if that time has passed.
    #[cfg(feature = "testing")]
    pub(crate) fn advance_to(&self, at: Instant) {
        let mut state = self.state();
        state.now = state.now.max(at);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

#[async_trait]
impl Runtime for VirtualRuntime {
    type Stream = Connection;

    fn now(&self) -> Instant {
        self.state().now
    }

    /// Returns a time on a day in 2023, plus the virtual time elapsed.
    fn time_of_day(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + self.elapsed()
    }

    async fn sleep_until(&self, at: Instant) {
        let timer = Timer::arm(self, at);
        poll_fn(|context| timer.poll(at, context.waker())).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<Connection> {
        let (script, heard) = {
            let mut state = self.state();
            let next = state.connected.min(state.scripts.len() - 1);
            state.connected += 1;
            let all = state.heard.clone();
            match state.servers.get(address) {
                Some((script, heard)) => (script.clone(), [heard.clone(), all]),
                None => (state.scripts[next].clone(), [Heard::default(), all]),
            }
        };
        if !script.listens {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(Connection::new(self.state().open.clone(), script, heard))
    }
}

/// A timer. It is registered in the state until it is dropped.
struct Timer(VirtualRuntime, usize);

impl Timer {
    fn arm(runtime: &VirtualRuntime, at: Instant) -> Self {
        let mut state = runtime.state();
        state.armed += 1;
        let id = state.armed;
        state.timers.insert(id, (at, None));
        Self(runtime.clone(), id)
    }

    fn poll(&self, at: Instant, waker: &Waker) -> Poll<()> {
        let mut state = self.0.state();
        if state.now >= at {
            return Poll::Ready(());
        }
        state.timers.insert(self.1, (at, Some(waker.clone())));
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.state().timers.remove(&self.1);
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
