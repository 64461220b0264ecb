//! A runtime for the tests of scorers and panel: one thread, a clock that jumps to the next timer
//! as soon as nothing else can happen, connections that follow a script.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "for tests only")]

mod server;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;

use crate::envelope::{Envelope, SessionId};
use crate::message::Message;
use crate::peer::Peer;
use crate::runtime::{Address, Runtime};
use crate::wire::command::{MailParameters, RcptParameters};
use crate::wire::content::MailData;
use crate::wire::mailbox::{ForwardPath, Path, ReversePath};

pub(crate) use server::{Connection, Cue, Script, Then, Turn};

#[derive(Debug, Clone)]
pub(crate) struct Rehearsal(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    began: Instant,
    now: Instant,
    /// Those that are waited for, and who waits.
    timers: BTreeMap<usize, (Instant, Option<Waker>)>,
    /// How many timers there ever were.
    armed: usize,
    /// What connections find, one after another; those that follow find what the last one found.
    scripts: Vec<Script>,
    /// Connections that were made, and that are open.
    connected: usize,
    open: usize,
    /// What was written to all of them.
    heard: Vec<u8>,
}

impl Rehearsal {
    #[allow(clippy::disallowed_methods, reason = "an instant can only be made by asking for one")]
    pub(crate) fn new() -> Self {
        let began = Instant::now();
        Self(Arc::new(Mutex::new(State {
            began,
            now: began,
            timers: BTreeMap::new(),
            armed: 0,
            scripts: vec![Script::refuses()],
            connected: 0,
            open: 0,
            heard: Vec::new(),
        })))
    }

    /// Whose connections all follow this script.
    pub(crate) fn with(script: Script) -> Self {
        Self::with_each([script])
    }

    /// Whose connections follow these scripts, one after another; all others follow the last.
    pub(crate) fn with_each(scripts: impl IntoIterator<Item = Script>) -> Self {
        let rehearsal = Self::new();
        rehearsal.state().scripts = scripts.into_iter().collect();
        rehearsal
    }

    /// Runs `future` to its end, time included.
    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
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
        let now = next.expect("nothing can happen any more");
        state.now = now;
        let due = state.timers.values_mut().filter(|(at, _)| *at <= now);
        let due: Vec<Waker> = due.filter_map(|(_, waker)| waker.take()).collect();
        drop(state);
        due.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn elapsed(&self) -> Duration {
        let state = self.state();
        state.now - state.began
    }

    pub(crate) fn armed(&self) -> usize {
        self.state().armed
    }

    pub(crate) fn heard(&self) -> String {
        String::from_utf8(self.octets()).unwrap()
    }

    /// All that was written to servers.
    pub(crate) fn octets(&self) -> Vec<u8> {
        self.state().heard.clone()
    }

    /// Connections that were made, and how many of them are open.
    pub(crate) fn connections(&self) -> (usize, usize) {
        let state = self.state();
        (state.connected, state.open)
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        self.sleep_until(self.now() + time).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

#[async_trait]
impl Runtime for Rehearsal {
    type Stream = Connection;

    fn now(&self) -> Instant {
        self.state().now
    }

    /// A day in 2023, and the time that has passed since.
    fn time_of_day(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + self.elapsed()
    }

    async fn sleep_until(&self, at: Instant) {
        let timer = Timer::arm(self, at);
        poll_fn(|context| timer.poll(at, context.waker())).await;
    }

    async fn connect(&self, _: &Address) -> io::Result<Connection> {
        let script = {
            let mut state = self.state();
            let next = state.connected.min(state.scripts.len() - 1);
            state.connected += 1;
            state.scripts[next].clone()
        };
        if !script.listens {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(Connection::new(self, script))
    }
}

/// In the state as long as it is waited for.
struct Timer(Rehearsal, usize);

impl Timer {
    fn arm(rehearsal: &Rehearsal, at: Instant) -> Self {
        let mut state = rehearsal.state();
        state.armed += 1;
        let id = state.armed;
        state.timers.insert(id, (at, None));
        Self(rehearsal.clone(), id)
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

/// The session of the tests.
pub(crate) fn session() -> SessionId {
    SessionId::new("test")
}

pub(crate) fn peer() -> Peer {
    Peer::new(([192, 0, 2, 1], 4711).into())
}

/// An envelope with this path as its sender.
pub(crate) fn envelope(sender: &str) -> Envelope {
    let (path, _) = Path::scan(sender.as_bytes()).unwrap();
    let reverse_path = ReversePath { path, parameters: MailParameters::default() };
    Envelope::new(SessionId::new("test").transaction(1), Arc::new(peer()), reverse_path)
}

pub(crate) fn recipient() -> ForwardPath {
    let (path, _) = Path::scan(b"<rcpt@example.org>").unwrap();
    ForwardPath { path, parameters: RcptParameters::default() }
}

pub(crate) fn message(content: &str) -> Message {
    let content = MailData::normalise(content.as_bytes());
    Message::new("mx.example", &envelope("<a@example.com>"), SystemTime::UNIX_EPOCH, content)
}
