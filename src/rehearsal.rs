//! A runtime for the tests of scorers and panel: one thread, a clock that jumps to the next timer
//! as soon as nothing else can happen, connections that follow a script.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "for tests only")]

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use futures::io::{AsyncRead, AsyncWrite};

use crate::envelope::{Envelope, SessionId};
use crate::message::Message;
use crate::peer::Peer;
use crate::runtime::{Address, Runtime};
use crate::wire::command::{MailParameters, RcptParameters};
use crate::wire::content::MailData;
use crate::wire::mailbox::{ForwardPath, Path, ReversePath};

#[derive(Debug, Clone)]
pub(crate) struct Rehearsal(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    began: Instant,
    now: Instant,
    timers: BTreeMap<usize, Instant>,
    /// How many timers there ever were.
    armed: usize,
    script: Script,
    /// What was written to the connection.
    heard: Vec<u8>,
    /// Whether the sending side was shut down.
    finished: bool,
}

/// What the server at the other end does. It says nothing before it was told everything.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) listens: bool,
    /// Octets that it takes before it resets the connection.
    pub(crate) takes: usize,
    pub(crate) says: Vec<u8>,
    /// Most octets that one read gives.
    pub(crate) chunk: usize,
    pub(crate) then: Then,
}

/// What the server does when it has said everything.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then {
    Close,
    Reset,
    Hang,
}

impl Script {
    pub(crate) fn new(says: impl Into<Vec<u8>>, chunk: usize, then: Then) -> Self {
        Self { listens: true, takes: usize::MAX, says: says.into(), chunk, then }
    }
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
            script: Script { listens: false, ..Script::new("", 1, Then::Close) },
            heard: Vec::new(),
            finished: false,
        })))
    }

    /// Whose connections all follow this script.
    pub(crate) fn with(script: Script) -> Self {
        let rehearsal = Self::new();
        rehearsal.state().script = script;
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
                let mut state = self.state();
                let next = state.timers.values().min().copied();
                state.now = next.expect("nothing can happen any more");
            }
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        let state = self.state();
        state.now - state.began
    }

    pub(crate) fn armed(&self) -> usize {
        self.state().armed
    }

    pub(crate) fn heard(&self) -> String {
        String::from_utf8(self.state().heard.clone()).unwrap()
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
        poll_fn(|_| if timer.0.now() < at { Poll::Pending } else { Poll::Ready(()) }).await;
    }

    async fn connect(&self, _: &Address) -> io::Result<Connection> {
        if !self.state().script.listens {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(Connection(self.clone()))
    }
}

/// In the state as long as it is waited for.
struct Timer(Rehearsal, usize);

impl Timer {
    fn arm(rehearsal: &Rehearsal, at: Instant) -> Self {
        let mut state = rehearsal.state();
        state.armed += 1;
        let id = state.armed;
        state.timers.insert(id, at);
        Self(rehearsal.clone(), id)
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

pub(crate) struct Connection(Rehearsal);

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let State { script, finished, .. } = &mut *self.0.state();
        if !*finished {
            return Poll::Pending;
        }
        if script.says.is_empty() {
            return match script.then {
                Then::Close => Poll::Ready(Ok(0)),
                Then::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Then::Hang => Poll::Pending,
            };
        }
        let count = script.says.len().min(script.chunk).min(buffer.len());
        buffer[..count].copy_from_slice(&script.says[..count]);
        script.says.drain(..count);
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.state();
        let room = state.script.takes - state.heard.len();
        if room == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let count = octets.len().min(room).min(100);
        state.heard.extend_from_slice(&octets[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.state().finished = true;
        Poll::Ready(Ok(()))
    }
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
