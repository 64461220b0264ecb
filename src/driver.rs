//! The driver: serves one client until its session ends.

#[cfg(any(feature = "smol", feature = "tokio"))]
mod accept;
mod handshake;
mod input;
mod opening;
mod proxied;

use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::{FutureExt, poll_fn, select};
use futures::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::admission::{AdmissionError, AdmissionGuard, ProxyError};
use crate::deadline::{Awaiting, Deadline};
use crate::gate::{Gate, GateSession, GateStep, GoingDown};
use crate::outcome::RequestKind;
use crate::peer::Peer;
use crate::runtime::{READ, Runtime, Timer, within};
use crate::tls::Channel;
use crate::verdict::Stage;
use handshake::handshake;
use input::{End, Stash, read, receive};
use opening::Opening;

#[cfg(any(feature = "smol", feature = "tokio"))]
pub(crate) use accept::Adapter;
#[cfg(any(feature = "smol", feature = "tokio"))]
pub use accept::{Serve, Shutdown};

/// Octets of commands read at once. This is also the most input that can wait to be executed.
const COMMANDS: usize = 16_384;
/// Maximum number of octets read from a client that sends while it should wait for a reply.
const STASH: usize = 4_096;

/// Time for a client to read the last reply, and octets that it may still send meanwhile.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_OCTETS: usize = 1 << 20;

/// The reason why a session ended without a final reply to the client. The responsibility for the
/// mail is unchanged. It is with the client, or with the relay target if the client got a positive
/// reply or [`Event::Unacknowledged`](crate::Event::Unacknowledged) was observed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The connection broke. Client or network fault.
    #[error("the connection to the client was lost: {0}")]
    ClientLost(#[source] io::Error),
    /// The client did not read its replies, or did not finish a TLS handshake, in time.
    #[error("the client did not read its replies or finish the TLS handshake in time")]
    ClientStuck,
    /// The TLS handshake failed. Fault of the client or the network, or no common parameters.
    #[error("the TLS handshake with the client failed: {0}")]
    Handshake(io::Error),
    /// TLS is offered or requested, but the gate has no TLS settings. Caller fault.
    #[error("TLS is offered, but the gate has no TLS settings")]
    NoTls,
    /// The client of the connection is unknown, because the PROXY header is missing or invalid.
    /// Fault of the proxy, of its configuration or of this server's configuration.
    #[error("the client is unknown: {0}")]
    Unproxied(#[from] ProxyError),
    /// A connection limit was reached.
    #[error("turned away: {0}")]
    TurnedAway(#[from] AdmissionError),
}

/// Serves one client from its connection to the end of its session. It runs the loop over
/// [`GateSession::poll`] on any runtime. Every wait has a deadline, including writes.
///
/// Dropping the future closes the connection. A message that was not answered by then was not
/// accepted.
///
/// ```
/// use nobounce::testing::{Script, VirtualRuntime, peer};
/// use nobounce::{Gate, Settings, relay::Smtp, serve};
///
/// // In production, `client` is an accepted connection, and `peer` has its address.
/// let runtime = VirtualRuntime::with(Script::smtp_server());
/// let target = Smtp::new(runtime.clone(), "192.0.2.25:25".parse()?, "mx.example");
/// let gate = Gate::new(runtime.clone(), Settings::new("mx.example"), target);
/// let client = runtime.client(Script::smtp_client(["HELO client.example", "QUIT"]));
/// let heard = client.heard();
/// runtime.run(serve(client, peer(), &gate))?;
/// assert!(heard.text().ends_with("\r\n250 mx.example\r\n221 2.0.0 Bye\r\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn serve<C, R>(
    client: C,
    peer: Peer,
    gate: &Gate<R>,
) -> impl Future<Output = Result<(), ServeError>> + Send
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    R: Runtime,
{
    attend(client, peer, gate, Opening::Clear, None)
}

/// Serves one client with TLS from the first octet (RFC 8314), using the gate's [`tls`](Gate::tls).
/// Otherwise it works like [`serve`]. If the handshake fails, no session event is observed.
///
/// ```
/// use nobounce::{AsyncRead, AsyncWrite, Gate, Peer, Runtime, driver::ServeError, serve_tls};
///
/// /// Serves a client of port 465.
/// async fn submissions<C, R>(client: C, peer: Peer, gate: &Gate<R>) -> Result<(), ServeError>
/// where
///     C: AsyncRead + AsyncWrite + Unpin + Send,
///     R: Runtime,
/// {
///     serve_tls(client, peer, gate).await
/// }
/// ```
#[cfg(feature = "tls")]
pub fn serve_tls<C, R>(
    client: C,
    peer: Peer,
    gate: &Gate<R>,
) -> impl Future<Output = Result<(), ServeError>> + Send
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    R: Runtime,
{
    attend(client, peer, gate, Opening::Tls, None)
}

fn attend<C, R>(
    client: C,
    peer: Peer,
    gate: &Gate<R>,
    opening: Opening,
    place: Option<AdmissionGuard>,
) -> impl Future<Output = Result<(), ServeError>> + Send
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    R: Runtime,
{
    // A separate boxed future. Its memory is freed with its arguments before the client sits idle.
    let opened = Box::pin(async move {
        let terms = gate.terms();
        let (client, peer, stash, place) = opening.of(client, peer, gate, &terms, place).await?;
        Ok::<_, ServeError>((terms, client, peer, stash, place))
    });
    async move {
        let admitted = gate.count_session();
        let began = gate.runtime.now();
        let (terms, client, peer, stash, place) = opened.await?;
        let mut session = gate.begin(terms, peer, place, admitted, began);
        session.introduce().await;
        let timer = Timer::new(|at| gate.runtime.sleep_until(at));
        let going_down = gate.going_down();
        let mut service = Service { gate, client, stash, timer, going_down, fault: None };
        service.unstash(&mut session);
        service.run(&mut session).await;
        let Service { client, fault, .. } = service;
        drop(client);
        // A separate boxed future: otherwise idle sessions would hold its space too.
        Box::pin(session.finish()).await;
        fault.map_or(Ok(()), Err)
    }
}

/// The event that ended a wait for the client.
enum Received {
    /// Input was received. Contains the end of the input, if it was reached.
    Input(Option<End>),
    /// The session has something else to do.
    Recalled,
}

struct Service<'g, C, R: Runtime> {
    gate: &'g Gate<R>,
    client: Channel<C>,
    stash: Stash,
    timer: Timer<'g>,
    going_down: GoingDown,
    /// The error that broke the connection.
    fault: Option<ServeError>,
}

impl<C, R> Service<'_, C, R>
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    R: Runtime,
{
    /// Executes the steps of the session until it is over.
    async fn run(&mut self, session: &mut GateSession<'_, R>) {
        let runtime = &self.gate.runtime;
        let mut now = runtime.now();
        loop {
            self.stash.room = STASH.saturating_sub(session.session().buffered());
            // Not in each step: reading the clock costs more than many of the steps.
            if self.timer.has_waited() {
                now = runtime.now();
            }
            match session.poll_busy(now) {
                GateStep::Transmit(octets) => self.transmit(session, &octets).await,
                GateStep::Receive => self.receive(session).await,
                GateStep::Delay(until) => {
                    let delay = select(runtime.sleep_until(until), self.gate.going_down());
                    self.timer.within(None, Box::pin(delay)).await;
                }
                GateStep::Ask(mut question) => {
                    let (deadline, stage) = (question.deadline(), question.stage());
                    // Boxed and pinned here. A future that is passed by value takes space in each
                    // future that it passes through, and idle sessions would hold that space too.
                    let asked = {
                        let ask = Box::pin(question.verdict());
                        let ask = pin!(self.stash.beside(&mut self.client, ask));
                        self.timer.within(deadline, ask).await
                    };
                    if stage == Stage::Connect {
                        // Detects early talkers, however soon the panel answered.
                        self.stash.listen(&mut self.client).await;
                    }
                    let is_late = asked.is_none();
                    if let Some(Some(verdict)) = asked {
                        question.answer(verdict);
                    }
                    // Scorers also use time when they do not wait.
                    self.look_at_clock(&mut now);
                    if is_late {
                        self.time_out(session);
                    }
                    self.unstash(session);
                }
                GateStep::Forward(forward) => {
                    let (deadline, kind) = (forward.deadline(), forward.kind());
                    let (ask, pending) = forward.begin();
                    // The answer to a content must reach the client without delay. Until that reply
                    // is written, no user code runs: events and input are held back.
                    let mut waits = true;
                    let asked = match kind {
                        RequestKind::Recipient | RequestKind::Renewal => {
                            waits = false;
                            let ask = self.stash.beside(&mut self.client, ask);
                            self.timer.within(deadline, ask).await
                        }
                        RequestKind::Content => {
                            // From here on, a disconnect of the client changes nothing. The message
                            // is complete, and it must not be forwarded only in part.
                            self.stash.listen(&mut self.client).await;
                            match self.stash.is_broken() {
                                true => {
                                    waits = false;
                                    drop(ask);
                                    Some(None)
                                }
                                false => self.timer.within(deadline, ask).await.map(Some),
                            }
                        }
                        RequestKind::Answer => self.timer.within(deadline, ask).await.map(Some),
                    };
                    let is_late = asked.is_none();
                    self.look_at_clock(&mut now);
                    if let Some(Some(outcome)) = asked {
                        pending.complete(outcome, now);
                    }
                    if is_late {
                        self.time_out(session);
                    }
                    if !waits {
                        self.unstash(session);
                    }
                }
                GateStep::StartTls => {
                    self.start_tls(session).await;
                    now = runtime.now();
                }
                GateStep::Close => return self.close(session.is_evicted()).await,
            }
        }
    }

    /// Sets `now` to the current time.
    fn look_at_clock(&mut self, now: &mut Instant) {
        // The next step then does not read the clock again.
        self.timer.has_waited();
        *now = self.gate.runtime.now();
    }

    async fn transmit(&mut self, session: &mut GateSession<'_, R>, octets: &[u8]) {
        let deadline = session.deadline();
        let client = &mut self.client;
        let write = async {
            client.write_all(octets).await?;
            client.flush().await
        };
        match self.timer.within(deadline, write).await {
            Some(Ok(())) => session.transmitted(),
            Some(Err(error)) => {
                self.fault = Some(ServeError::ClientLost(error));
                session.lose_client();
            }
            None => {
                self.fault = Some(ServeError::ClientStuck);
                self.time_out(session);
            }
        }
        // Input that the client sent while its content was forwarded.
        if !self.stash.octets.is_empty() || self.stash.end.is_some() {
            self.unstash(session);
        }
    }

    async fn receive(&mut self, session: &mut GateSession<'_, R>) {
        let deadline = session.deadline();
        let (client, going_down) = (&mut self.client, &mut self.going_down);
        let told = session.session().is_going_down();
        let wait = poll_fn(|context| match receive(session, client, context) {
            Poll::Pending if !told && going_down.poll_unpin(context).is_ready() => {
                Poll::Ready(Received::Recalled)
            }
            Poll::Pending => session.poll_recalled(context).map(|()| Received::Recalled),
            Poll::Ready(end) => Poll::Ready(Received::Input(end)),
        });
        match self.timer.within(deadline, wait).await {
            Some(Received::Input(None) | Received::Recalled) => {}
            Some(Received::Input(Some(end))) => {
                self.stash.end = Some(end);
                self.unstash(session);
            }
            None => self.time_out(session),
        }
    }

    /// Upgrades the connection. No plain-text input after STARTTLS stays in a buffer. The session
    /// has refused the part it had read. The rest is read as a TLS handshake, which fails.
    async fn start_tls(&mut self, session: &mut GateSession<'_, R>) {
        self.stash = Stash::default();
        let deadline = session.deadline();
        let peer = session.session().peer();
        // A separate boxed future: otherwise idle sessions would hold its memory.
        let shake =
            Box::pin(handshake(self.gate, session.terms(), &mut self.client, peer, &[], deadline));
        match shake.await {
            Ok(tls) => session.tls_started(tls),
            Err(fault) => {
                if let ServeError::ClientStuck = fault {
                    self.time_out(session);
                }
                self.fault = Some(fault);
                session.tls_failed();
            }
        }
    }

    /// Passes the stashed input of the client to the session.
    fn unstash(&mut self, session: &mut GateSession<'_, R>) {
        let Stash { octets, end, .. } = std::mem::take(&mut self.stash);
        session.receive(&octets);
        match end {
            Some(End::Orderly) => session.receive_eof(),
            Some(End::Broken(error)) => {
                self.fault = Some(ServeError::ClientLost(error));
                session.lose_client();
            }
            None => {}
        }
    }

    /// Handles a timeout that the timer has reported. Timers may fire slightly early.
    fn time_out(&self, session: &mut GateSession<'_, R>) {
        let now = self.gate.runtime.now();
        let due = session.deadline().map_or(now, |deadline| deadline.at.max(now));
        session.handle_timeout(due);
    }

    /// Closes the connection so that the last reply arrives. Closing a connection with unread input
    /// resets it, and the reply may then be lost.
    async fn close(&mut self, evicted: bool) {
        if self.fault.is_some() {
            return;
        }
        let runtime = &self.gate.runtime;
        let deadline = Deadline { at: runtime.now() + LINGER, awaiting: Awaiting::Transmission };
        let client = &mut self.client;
        let linger = async {
            let _ = client.close().await;
            // Evicted sessions do not linger: there may be many, and each holds a descriptor.
            let mut left = if evicted { 0 } else { LINGER_OCTETS };
            while left > 0 {
                let read = |context: &mut Context<'_>| {
                    read(client, context, READ, |octets| left = left.saturating_sub(octets.len()))
                };
                if poll_fn(read).await.is_some() {
                    break;
                }
            }
        };
        within(runtime, Some(deadline), linger).await;
    }
}

#[cfg(test)]
mod tests;
