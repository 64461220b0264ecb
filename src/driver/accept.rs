//! The accept loop, for any runtime: admits clients, serves them, and drains the sessions at
//! shutdown.
//!
//! It is independent of sockets and runtimes. The adapters in [`runtime`](crate::runtime) supply
//! both.

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

/// Pause after the first failure to accept. The pause doubles with each further failure, up to
/// [`LONGEST_PAUSE`], as in Go's `net/http`.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Maximum number of iterations of the accept loop before other tasks of the thread run. Each
/// iteration accepts a client or fails to do so.
const AT_ONCE: usize = 64;
/// Default time for sessions to end after shutdown has begun (actix-web `shutdown_timeout`).
const DRAIN: Duration = Duration::from_secs(30);

/// The functions that the accept loop needs in addition to [`Runtime`].
pub trait Adapter: Runtime {
    /// A listener that accepts connections.
    type Listener: Send + Unpin + 'static;

    /// Accepts a connection.
    fn poll_accept(
        listener: &mut Self::Listener,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Stream, Peer)>>;

    /// Writes a few octets to a newly accepted connection, without waiting.
    fn send_at_once(stream: &Self::Stream, octets: &[u8]);

    /// Runs a future to completion in its own task.
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static);
}

/// Future that serves clients until shutdown. Returned by `serve` and `serve_tls`. It does nothing
/// before it is awaited.
///
/// - Each client is admitted before a task is spawned for it; see [`Admission`](crate::admission::Admission).
/// - `TCP_NODELAY` is set on every connection.
/// - If a connection cannot be accepted, for example because no descriptors are left, the loop
///   retries after 5 ms. The pause doubles with each further failure, up to 1 s, and ends early
///   when a session ends. Other clients wait in the backlog meanwhile. [`Event::AcceptFailed`]
///   reports each failure.
/// - It runs until the signal of [`with_graceful_shutdown`](Self::with_graceful_shutdown) or until
///   [`Gate::shut_down`]. Then the listeners are closed. A session in a transaction may finish it;
///   all others get `421 4.3.2`. Connections that are still open after 30 s are closed; see
///   [`drain_within`](Self::drain_within).
/// - Dropping its future closes the listeners and all connections.
///
/// # Errors
///
/// Returns `InvalidInput` at once if a listener is for TLS and the gate has no TLS settings.
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

/// The result of serving clients until shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// Number of sessions that had not ended at the deadline and whose connections were closed.
    /// Their clients will retry any message for which they got no positive reply.
    pub cut_off: usize,
}

impl<R: Adapter> Serve<R> {
    /// Creates an accept loop without listeners. Add at least one.
    pub fn new(gate: impl Into<Arc<Gate<R>>>) -> Self {
        Self { gate: gate.into(), doors: Vec::new(), signal: Box::pin(pending()), drain: DRAIN }
    }

    /// Adds a listener.
    pub fn and(self, listener: impl Into<R::Listener>) -> Self {
        self.door(listener.into(), Opening::Clear)
    }

    /// Adds a listener for clients that use TLS from the first octet (RFC 8314).
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

    /// Sets the time for sessions to end after shutdown has begun. Default: 30 s.
    pub fn drain_within(mut self, time: Duration) -> Self {
        self.drain = time;
        self
    }

    async fn run(self) -> io::Result<Shutdown> {
        let Self { gate, mut doors, signal, drain } = self;
        if gate.terms().tls.is_none() && doors.iter().any(|door| door.opening != Opening::Clear) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, ServeError::NoTls));
        }
        let sessions = Running(Arc::default());
        let mut stop = select(signal, gate.going_down());
        let mut pause = Duration::ZERO;
        let mut turns = 0;
        loop {
            // Counts every iteration. A stream of connections that were reset while in the backlog
            // makes no iteration wait, and the loop would otherwise block the thread. Iterations
            // that did wait are counted too: this costs one unnecessary wake-up in 64 iterations.
            if turns == AT_ONCE {
                turns = 0;
                yield_now().await;
            }
            turns += 1;
            let accept = poll_fn(|context| poll_accept(&mut doors, context));
            let accepted = match select(&mut stop, accept).await {
                Either::Left(_) => break,
                Either::Right((accepted, _)) => accepted,
            };
            match accepted {
                Ok((opening, client, peer)) => {
                    receive(&gate, opening, client, peer, &sessions.0);
                    pause = Duration::ZERO;
                }
                Err(error) => {
                    gate.observe(&Event::AcceptFailed { error: &error });
                    if is_of_one_connection(&error) {
                        continue;
                    }
                    pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                    // A session that ends frees a descriptor.
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

    /// Runs the loop in its own task, on the same threads as the sessions. If it ran on a thread in
    /// `block_on`, each client would have to wake that thread.
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

/// Accepts the next connection at any listener. The listeners take turns.
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

/// Returns whether the error concerns only one connection. All other errors mean that the process
/// or the system has run out of descriptors or memory.
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

/// Serves a client in its own task, or turns it away without a task.
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
        // Pinned here, so that the task holds only one copy of this future.
        let session = pin!(attend(client, peer, &served, opening, Some(place)));
        // Errors were already observed, or concern only the client.
        let _ = Abortable::new(session, aborted).await;
    });
}

/// Lets other tasks of this thread run.
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

/// The sessions of one loop. Dropping it aborts them.
struct Running(Arc<Sessions>);

impl Drop for Running {
    fn drop(&mut self) {
        let handles: Vec<_> = self.0.state().handles.values().cloned().collect();
        handles.iter().for_each(AbortHandle::abort);
    }
}

/// The running sessions with their abort handles.
#[derive(Default)]
struct Sessions(Mutex<State>);

#[derive(Default)]
struct State {
    begun: u64,
    handles: HashMap<u64, AbortHandle>,
    /// The waker of the loop, which is woken when a session ends.
    waiting: Option<Waker>,
}

impl Sessions {
    /// Registers a session until the guard is dropped.
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

    /// Waits until fewer than `count` sessions run. Only the loop waits.
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
