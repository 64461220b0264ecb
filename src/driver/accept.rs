//! The accept loop, for any runtime: clients are admitted, served, and drained at shutdown.
//!
//! It names no socket and no runtime. The adapters in [`runtime`](crate::runtime) supply both.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use futures::channel::oneshot;
use futures::future::{
    AbortHandle, AbortRegistration, Abortable, BoxFuture, Either, FutureExt, abortable, select,
};

use super::opening::{Opening, Refused, admit};
use super::{ServeError, attend};
use crate::gate::Gate;
use crate::observer::Event;
use crate::peer::Peer;
use crate::runtime::Runtime;

/// How long the loop pauses after the first failure to accept. The pause doubles with each further
/// one, up to [`LONGEST_PAUSE`], as that of Go's `net/http`.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Clients accepted one after another before other tasks of the thread get their turn.
const AT_ONCE: usize = 64;
/// How long sessions may take to end after shutdown has begun (actix-web `shutdown_timeout`).
const DRAIN: Duration = Duration::from_secs(30);

/// What the accept loop needs of a runtime, beside [`Runtime`].
pub trait Adapter: Runtime {
    /// Accepts connections.
    type Listener: Send + Unpin + 'static;

    /// Accepts a connection.
    fn poll_accept(
        listener: &mut Self::Listener,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Stream, Peer)>>;

    /// Writes a few octets to a connection that was just accepted, without waiting.
    fn send_at_once(stream: &Self::Stream, octets: &[u8]);

    /// Runs a future to its end in a task of its own.
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static);
}

/// Serves clients until shutdown. Returned by `serve` and `serve_tls`; nothing happens before it is
/// awaited.
///
/// - Each client is admitted before a task is spent on it: see [`Admission`](crate::Admission).
/// - `TCP_NODELAY` is set on every connection.
/// - If a connection cannot be accepted, for example because all descriptors are in use, the loop
///   tries again after 5 ms, then after twice as long, up to 1 s, or as soon as a session ends. Other
///   clients wait in the backlog meanwhile. [`Event::AcceptFailed`] reports each failure.
/// - It runs until the signal of [`with_graceful_shutdown`](Self::with_graceful_shutdown) or
///   [`Gate::shut_down`]. Then the listeners are closed. Sessions in a transaction may end it, and all
///   others are told `421 4.3.2`. Connections that are left after 30 s are closed:
///   [`drain_within`](Self::drain_within).
/// - Dropping its future closes the listeners and all connections.
///
/// # Errors
///
/// A listener is for TLS and the gate has none: `InvalidInput`, at once.
#[must_use = "nothing is served until it is awaited"]
pub struct Serve<R: Adapter> {
    gate: Arc<Gate<R>>,
    doors: Vec<Door<R>>,
    signal: BoxFuture<'static, ()>,
    drain: Duration,
}

struct Door<R: Adapter> {
    listener: R::Listener,
    opening: Opening,
}

/// How serving has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// Sessions that had not ended at the deadline, and whose connections were closed. What these
    /// clients were not told to be taken, they will send again.
    pub cut_off: usize,
}

impl<R: Adapter> Serve<R> {
    /// Without a listener yet: add at least one.
    pub fn new(gate: impl Into<Arc<Gate<R>>>) -> Self {
        Self { gate: gate.into(), doors: Vec::new(), signal: Box::pin(pending()), drain: DRAIN }
    }

    /// Accepts clients here, too.
    pub fn and(self, listener: impl Into<R::Listener>) -> Self {
        self.door(listener.into(), Opening::Clear)
    }

    /// Accepts clients here, too, that begin with TLS (RFC 8314).
    #[cfg(feature = "tls")]
    pub fn and_tls(self, listener: impl Into<R::Listener>) -> Self {
        self.door(listener.into(), Opening::Tls)
    }

    fn door(mut self, listener: R::Listener, opening: Opening) -> Self {
        self.doors.push(Door { listener, opening });
        self
    }

    /// Shuts down once `signal` is ready.
    pub fn with_graceful_shutdown(
        mut self,
        signal: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.signal = Box::pin(signal);
        self
    }

    /// How long sessions may take to end after shutdown has begun: 30 s.
    pub fn drain_within(mut self, time: Duration) -> Self {
        self.drain = time;
        self
    }

    async fn run(self) -> io::Result<Shutdown> {
        let Self { gate, mut doors, signal, drain } = self;
        if gate.tls.is_none() && doors.iter().any(|door| door.opening != Opening::Clear) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, ServeError::NoTls));
        }
        let sessions = Running(Arc::default());
        let mut stop = select(signal, gate.going_down());
        let mut pause = Duration::ZERO;
        let mut in_a_row = 0;
        loop {
            let accept = poll_fn(|context| poll_accept(&mut doors, context));
            let accepted = match select(&mut stop, accept).await {
                Either::Left(_) => break,
                Either::Right((accepted, _)) => accepted,
            };
            match accepted {
                Ok((opening, client, peer)) => {
                    receive(&gate, opening, client, peer, &sessions.0);
                    pause = Duration::ZERO;
                    in_a_row += 1;
                    if in_a_row % AT_ONCE == 0 {
                        yield_now().await;
                    }
                }
                Err(error) => {
                    gate.observe(&Event::AcceptFailed { error: &error });
                    if is_of_one_connection(&error) {
                        continue;
                    }
                    pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                    // A session that ends gives a descriptor back.
                    let fewer = sessions.0.fewer_than(sessions.0.count());
                    let over = gate.runtime.sleep_until(gate.runtime.now() + pause);
                    if let Either::Left(_) = select(&mut stop, select(pin!(fewer), over)).await {
                        break;
                    }
                }
            }
        }
        drop(doors);
        gate.shut_down();
        let deadline = gate.runtime.sleep_until(gate.runtime.now() + drain);
        select(pin!(sessions.0.fewer_than(1)), deadline).await;
        Ok(Shutdown { cut_off: sessions.0.count() })
    }
}

impl<R: Adapter> IntoFuture for Serve<R> {
    type Output = io::Result<Shutdown>;
    type IntoFuture = BoxFuture<'static, io::Result<Shutdown>>;

    /// The loop runs in a task of its own, beside the sessions: a thread that waits in `block_on`
    /// would be woken for each client.
    fn into_future(self) -> Self::IntoFuture {
        async move {
            let gate = self.gate.clone();
            let (running, handle) = abortable(self.run());
            let (tell, told) = oneshot::channel();
            gate.runtime.spawn(async move {
                let _ = tell.send(running.await);
            });
            let _aborts = AbortOnDrop(handle);
            match told.await {
                Ok(Ok(result)) => result,
                _ => Err(io::Error::other("the runtime has ended the accept loop")),
            }
        }
        .boxed()
    }
}

impl<R: Adapter> fmt::Debug for Serve<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("gate", &self.gate)
            .field("listeners", &self.doors.len())
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Accepts the next connection at any of the listeners. After each, it is another one's turn.
fn poll_accept<R: Adapter>(
    doors: &mut [Door<R>],
    context: &mut Context<'_>,
) -> Poll<io::Result<(Opening, R::Stream, Peer)>> {
    for at in 0..doors.len() {
        let Door { listener, opening } = &mut doors[at];
        let opening = *opening;
        if let Poll::Ready(accepted) = R::poll_accept(listener, context) {
            doors[at..].rotate_left(1);
            return Poll::Ready(accepted.map(|(client, peer)| (opening, client, peer)));
        }
    }
    Poll::Pending
}

/// Whether only this connection has failed. All other errors are those of the process or the system,
/// which is out of descriptors or memory.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted,
        NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkUnreachable
            | TimedOut
    )
}

/// Serves a client in a task of its own, or turns it away without one.
fn receive<R: Adapter>(
    gate: &Arc<Gate<R>>,
    opening: Opening,
    client: R::Stream,
    peer: Peer,
    sessions: &Arc<Sessions>,
) {
    let place = match admit(gate, &peer) {
        Ok(place) => place,
        Err(Refused::TurnedAway(reason)) => {
            if opening == Opening::Clear {
                let mut reply = BytesMut::new();
                reason.reply().write(&mut reply);
                R::send_at_once(&client, &reply);
            }
            drop(client);
            return gate.observe(&Event::TurnedAway { peer: &peer, reason });
        }
        Err(Refused::Unproxied(error)) => {
            drop(client);
            return gate.observe(&Event::Unproxied { peer: &peer, error: &error });
        }
    };
    let (ended, aborted) = sessions.begin();
    let served = gate.clone();
    gate.runtime.spawn(async move {
        let _ended = ended;
        // Pinned here: the task has room for one such future, not for two.
        let session = pin!(attend(client, peer, &served, opening, Some(place)));
        // What went wrong was observed, or it is the client's affair.
        let _ = Abortable::new(session, aborted).await;
    });
}

/// Lets the other tasks of this thread run.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The sessions of one loop. They are aborted with it.
struct Running(Arc<Sessions>);

impl Drop for Running {
    fn drop(&mut self) {
        let handles: Vec<_> = self.0.state().handles.values().cloned().collect();
        handles.iter().for_each(AbortHandle::abort);
    }
}

/// The sessions that run, each with what aborts it.
#[derive(Default)]
struct Sessions(Mutex<State>);

#[derive(Default)]
struct State {
    begun: u64,
    handles: HashMap<u64, AbortHandle>,
    /// Woken when a session ends.
    waiting: Option<Waker>,
}

impl Sessions {
    /// A session begins. It has ended when the guard is dropped.
    fn begin(self: &Arc<Self>) -> (Ended, AbortRegistration) {
        let (handle, aborted) = AbortHandle::new_pair();
        let mut state = self.state();
        state.begun += 1;
        let number = state.begun;
        state.handles.insert(number, handle);
        (Ended(self.clone(), number), aborted)
    }

    fn count(&self) -> usize {
        self.state().handles.len()
    }

    /// Waits until fewer sessions than this run. Only the loop waits.
    async fn fewer_than(&self, count: usize) {
        poll_fn(|context| {
            let mut state = self.state();
            if state.handles.len() < count {
                state.waiting = None;
                return Poll::Ready(());
            }
            state.waiting = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Ended(Arc<Sessions>, u64);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.handles.remove(&self.1);
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}
