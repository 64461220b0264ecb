//! The driver: serves one client until its session ends.

#[cfg(any(feature = "smol", feature = "tokio"))]
mod accept;
mod handshake;
mod input;
mod log;
mod opening;
mod proxied;
mod slowness;
mod target;

use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::{FutureExt, poll_fn};
use futures::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::admission::{AdmissionError, AdmissionGuard, Call, ProxyError};
use crate::capabilities::Capabilities;
use crate::deadline::{Awaiting, Deadline};
use crate::gate::{Gate, GoingDown};
use crate::observer::Event;
use crate::outcome::{Outcome, RequestKind};
use crate::panel::Sitting;
use crate::peer::Peer;
use crate::runtime::{READ, Runtime, Timer, within};
use crate::session::{Session, Step};
use crate::tally::Tally;
use crate::tls::Channel;
use crate::unwind::Guarded;
use crate::verdict::{Stage, Subject};
use handshake::handshake;
use input::{End, Stash, hand_over, read, receive};
use log::Log;
use opening::Opening;
use slowness::Slowness;
use target::Held;

#[cfg(any(feature = "smol", feature = "tokio"))]
pub(crate) use accept::Adapter;
#[cfg(any(feature = "smol", feature = "tokio"))]
pub use accept::{Serve, Shutdown};

/// Octets of commands read at once. This is also the most input that can wait to be executed.
const COMMANDS: usize = 16_384;
/// Maximum number of octets read from a client that sends while it should wait for a reply.
const STASH: usize = 4_096;

/// Timeouts of the relay target: for its capabilities, and for closing.
const INTRODUCTION: Duration = Duration::from_secs(30);
const FAREWELL: Duration = Duration::from_secs(30);
/// Time for a client to read the last reply, and octets that it may still send meanwhile.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_OCTETS: usize = 1 << 20;

/// The reason why a session ended without a final reply to the client. The responsibility for the
/// mail is unchanged. It is with the client, or with the relay target if the client got a positive
/// reply or [`Event::Unacknowledged`] was observed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The connection broke. Client or network fault.
    #[error("the client is lost: {0}")]
    ClientLost(#[source] io::Error),
    /// The client did not read its replies, or did not finish a TLS handshake, in time.
    #[error("the client takes nothing")]
    ClientStuck,
    /// The TLS handshake failed. Fault of the client or the network, or no common parameters.
    #[error("no TLS with the client: {0}")]
    Handshake(io::Error),
    /// TLS is offered or requested, but the gate has no TLS settings. Caller fault.
    #[error("TLS is offered and the gate has none")]
    NoTls,
    /// The client of the connection is unknown, because there is no valid PROXY header. Fault of
    /// the proxy, of its configuration or of this server's configuration.
    #[error("no client: {0}")]
    Unproxied(#[from] ProxyError),
    /// A connection limit was reached.
    #[error("turned away: {0}")]
    TurnedAway(#[from] AdmissionError),
}

/// Serves one client from its connection to the end of its session. It runs the loop over
/// [`Session::poll`] on any runtime. Every wait has a deadline, including writes.
///
/// Dropping the future closes the connection. A message that was not answered by then was not
/// accepted.
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
    let opened = Box::pin(opening.of(client, peer, gate, place));
    async move {
        let _admitted = gate.admit();
        let runtime = &gate.runtime;
        let began = runtime.now();
        let (client, peer, stash, place) = opened.await?;
        let (mut session, relay) = gate.open(peer);
        let mut relay = Held::new(relay);
        gate.observe(&Event::Connected { session: session.id(), peer: session.peer() });
        let limit = |wait| Some(Deadline::after(runtime.now(), wait, Awaiting::Connection));
        // If the relay target does not answer in time, no extensions are offered.
        let through = Guarded::begin(|| relay.relay().capabilities());
        let through = within(runtime, limit(INTRODUCTION), through).await;
        let through = through.and_then(|through| relay.report(gate, &session, through));
        session.offer(&through.unwrap_or_else(Capabilities::none));
        let timer = Timer::new(|at| runtime.sleep_until(at));
        let (log, slowness) = (Log::new(&gate.observers), Slowness::default());
        let sitting = gate.sitting();
        let going_down = gate.going_down();
        let mut service = Service {
            gate,
            client,
            stash,
            log,
            sitting,
            timer,
            slowness,
            going_down,
            place,
            fault: None,
        };
        service.unstash(&mut session);
        service.run(&mut session, &mut relay).await;
        let Service { client, fault, place, .. } = service;
        drop((client, place));
        gate.report_overload();
        let closing = Guarded::begin(|| relay.relay().close());
        if let Some(closed) = within(runtime, limit(FAREWELL), closing).await {
            relay.report(gate, &session, closed);
        }
        relay.release(gate, &session);
        let (id, peer) = (session.id(), session.peer());
        let duration = runtime.now().saturating_duration_since(began);
        let conduct = session.conduct();
        gate.observe(&Event::Disconnected { session: id, peer, duration, conduct });
        fault.map_or(Ok(()), Err)
    }
}

/// The event that ended a wait for the client.
enum Received {
    /// Input was received. Contains the end of the input, if it was reached.
    Input(Option<End>),
    GoingDown,
    Called(Call),
}

struct Service<'g, C, R: Runtime> {
    gate: &'g Gate<R>,
    client: Channel<C>,
    stash: Stash,
    log: Log<'g>,
    sitting: Sitting,
    timer: Timer<'g>,
    slowness: Slowness,
    going_down: GoingDown,
    place: AdmissionGuard,
    /// The error that broke the connection.
    fault: Option<ServeError>,
}

impl<C, R> Service<'_, C, R>
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    R: Runtime,
{
    /// Executes the steps of the session until it is over.
    async fn run(&mut self, session: &mut Session, relay: &mut Held) {
        let runtime = &self.gate.runtime;
        if self.gate.is_going_down() {
            session.shut_down();
        }
        let mut now = runtime.now();
        loop {
            self.stash.room = STASH.saturating_sub(session.buffered());
            // Not in each step: reading the clock costs more than many of the steps.
            if self.timer.has_waited() {
                now = runtime.now();
            }
            if session.relies_on_recipients() && relay.has_given_up() {
                session.doubt_recipients();
            }
            match session.poll(now) {
                Step::Transmit(octets) => self.transmit(session, &octets).await,
                Step::Receive => self.receive(session, &mut now).await,
                Step::Ask(question) => {
                    let (id, stage) = (question.id(), question.subject().stage());
                    let deadline = question.deadline();
                    if let Subject::Connection(session, peer) = question.subject()
                        && self.log.connection.replace(Tally::default()).is_some()
                    {
                        self.gate.observe(&Event::ClientChanged { session, peer });
                    }
                    // Boxed and pinned here. A future that is passed by value takes space in each
                    // future that it passes through, and idle sessions would hold that space too.
                    let asked = {
                        let tally = self.log.tally(&id, stage);
                        let ask = self.gate.ask(question.subject(), tally, &mut self.sitting);
                        let ask = Box::pin(ask);
                        let ask = pin!(self.stash.beside(&mut self.client, ask));
                        self.timer.within(deadline, ask).await
                    };
                    if stage == Stage::Connect {
                        // Detects early talkers, however soon the panel answered.
                        self.stash.listen(&mut self.client).await;
                    }
                    match asked {
                        Some(Some(verdict)) => {
                            let tally = self.log.tally(&id, stage);
                            self.slowness.judge(self.gate, &question, tally);
                            question.answer(verdict);
                        }
                        Some(None) => {}
                        None => self.late(session, deadline),
                    }
                    // Scorers also use time when they do not wait.
                    let began = self.look_at_clock(&mut now);
                    if stage != Stage::Connect {
                        let scoring = now.saturating_duration_since(began);
                        self.log.current(&id).scoring += scoring;
                    }
                    self.unstash(session);
                }
                Step::Forward(forward) => {
                    let (deadline, kind) = (forward.deadline(), forward.kind());
                    let (request, pending) = forward.take();
                    let id = request.envelope().id.clone();
                    let recipient = request.recipient().filter(|_| kind == RequestKind::Recipient);
                    let is_renewal = kind == RequestKind::Renewal;
                    let asked = match kind {
                        RequestKind::Recipient | RequestKind::Renewal => {
                            let ask = self.stash.beside(&mut self.client, relay.ask(request));
                            self.timer.within(deadline, ask).await
                        }
                        RequestKind::Content => {
                            let ask = relay.ask(request);
                            // From here on, a disconnect of the client changes nothing. The message
                            // is complete, and it must not be forwarded only in part.
                            self.stash.listen(&mut self.client).await;
                            match self.stash.is_broken() {
                                true => Some(None),
                                false => self.timer.within(deadline, ask).await.map(Some),
                            }
                        }
                        RequestKind::Answer => {
                            self.timer.within(deadline, relay.ask(request)).await.map(Some)
                        }
                    };
                    // The answer to a content must reach the client without delay. Until that reply
                    // is written, no user code runs: events and input are held back.
                    let mut waits = recipient.is_none() && !is_renewal;
                    match asked {
                        Some(Some(asked)) => {
                            let outcome = relay.settle(asked);
                            if waits {
                                self.log.relayed(&id, &outcome);
                            } else {
                                let relayed =
                                    Event::Relayed { id: &id, recipient, outcome: &outcome };
                                // A renewal that is accepted is not reported: nothing has changed.
                                if !(is_renewal && matches!(outcome, Outcome::Accepted(_))) {
                                    self.gate.observe(&relayed);
                                }
                            }
                            self.log.current(&id).note(&outcome, recipient.is_some());
                            pending.complete(outcome);
                        }
                        Some(None) => waits = false,
                        None => {
                            if waits {
                                let awaiting =
                                    deadline.map_or(Awaiting::ContentOutcome, |it| it.awaiting);
                                self.log.late(session.id(), awaiting);
                                session.handle_timeout(self.gate.runtime.now());
                            } else {
                                self.late(session, deadline);
                            }
                        }
                    }
                    let began = self.look_at_clock(&mut now);
                    self.log.current(&id).relaying += now.saturating_duration_since(began);
                    if !waits {
                        self.unstash(session);
                    }
                }
                Step::Ended(end) => {
                    self.sitting.transaction_ended(&end);
                    self.log.ended(*end);
                    // Also checked here: if a client keeps sending, the session may never wait.
                    if self.gate.is_going_down() {
                        session.shut_down();
                    }
                }
                Step::StartTls => {
                    self.start_tls(session).await;
                    now = runtime.now();
                }
                Step::Close => return self.close().await,
            }
        }
    }

    /// Sets `now` to the current time and returns its old value.
    fn look_at_clock(&mut self, now: &mut Instant) -> Instant {
        // The next step then does not read the clock again.
        self.timer.has_waited();
        std::mem::replace(now, self.gate.runtime.now())
    }

    async fn transmit(&mut self, session: &mut Session, octets: &[u8]) {
        let deadline = session.deadline();
        // A positive reply to a message is not delayed: a delay makes duplicates more likely.
        if self.slowness.is_due() && !self.log.owes_acceptance() {
            let pass = Box::pin(self.slowness.pass(self.gate));
            self.timer.within(None, pass).await;
        }
        let client = &mut self.client;
        let write = async {
            client.write_all(octets).await?;
            client.flush().await
        };
        match self.timer.within(deadline, write).await {
            Some(Ok(())) => {
                self.log.settle(true);
                self.gate.observe(&Event::Transmitted { session: session.id(), octets });
                self.sitting.settle();
            }
            Some(Err(error)) => {
                self.log.settle(false);
                self.fault = Some(ServeError::ClientLost(error));
                session.lose_client();
            }
            None => {
                self.log.settle(false);
                self.fault = Some(ServeError::ClientStuck);
                self.late(session, deadline);
            }
        }
        // Input that the client sent while its content was forwarded.
        if !self.stash.octets.is_empty() || self.stash.end.is_some() {
            self.unstash(session);
        }
    }

    async fn receive(&mut self, session: &mut Session, now: &mut Instant) {
        let stressed = self.place.is_stressed();
        if stressed != session.is_stressed() {
            session.set_stress(stressed, *now);
        }
        session.hold_tls(self.gate.is_busy_with_tls(session.peer()));
        let deadline = session.deadline();
        let (gate, client, place) = (self.gate, &mut self.client, &self.place);
        let going_down = &mut self.going_down;
        let told = session.is_going_down();
        let wait = poll_fn(|context| match receive(gate, session, client, context) {
            Poll::Pending if !told && going_down.poll_unpin(context).is_ready() => {
                Poll::Ready(Received::GoingDown)
            }
            Poll::Pending => {
                let idle_since = session.idle_since();
                place.set_idle(idle_since);
                place.poll_called(idle_since.is_some(), stressed, context).map(Received::Called)
            }
            Poll::Ready(end) => Poll::Ready(Received::Input(end)),
        });
        let received = self.timer.within(deadline, wait).await;
        self.place.set_idle(None);
        match received {
            Some(Received::Input(None)) => self.log.told = Vec::new(),
            Some(Received::Input(Some(end))) => {
                self.stash.end = Some(end);
                self.unstash(session);
            }
            Some(Received::GoingDown) => session.shut_down(),
            Some(Received::Called(Call::Stress(on))) => {
                self.look_at_clock(now);
                session.set_stress(on, *now);
            }
            Some(Received::Called(Call::Evicted)) => {
                session.evict();
                let (session, peer) = (session.id(), session.peer());
                self.gate.observe(&Event::Evicted { session, peer });
            }
            None => self.late(session, deadline),
        }
    }

    /// Upgrades the connection. No plain-text input after STARTTLS stays in a buffer. The session
    /// has refused the part it had read. The rest is read as a TLS handshake, which fails.
    async fn start_tls(&mut self, session: &mut Session) {
        self.stash = Stash::default();
        let deadline = session.deadline();
        // A separate boxed future: otherwise idle sessions would hold its memory.
        let shake = Box::pin(handshake(self.gate, &mut self.client, session.peer(), &[], deadline));
        match shake.await {
            Ok(tls) => session.tls_started(tls),
            Err(fault) => {
                if let ServeError::ClientStuck = fault {
                    self.late(session, deadline);
                }
                self.fault = Some(fault);
                session.tls_failed();
            }
        }
    }

    /// Passes the stashed input of the client to the session.
    fn unstash(&mut self, session: &mut Session) {
        let Stash { octets, end, .. } = std::mem::take(&mut self.stash);
        hand_over(self.gate, session, &octets);
        match end {
            Some(End::Orderly) => session.receive_eof(),
            Some(End::Broken(error)) => {
                self.fault = Some(ServeError::ClientLost(error));
                session.lose_client();
            }
            None => {}
        }
    }

    fn late(&self, session: &mut Session, deadline: Option<Deadline>) {
        if let Some(Deadline { awaiting, .. }) = deadline
            && awaiting != Awaiting::EarlyInput
        {
            self.gate.observe(&Event::Late { session: session.id(), awaiting });
        }
        session.handle_timeout(self.gate.runtime.now());
    }

    /// Closes the connection so that the last reply arrives. Closing a connection with unread input
    /// resets it, and the reply may then be lost.
    async fn close(&mut self) {
        self.log.close(self.fault.is_some());
        if self.fault.is_some() {
            return;
        }
        let runtime = &self.gate.runtime;
        let deadline = Deadline { at: runtime.now() + LINGER, awaiting: Awaiting::Transmission };
        let (client, evicted) = (&mut self.client, self.place.is_revoked());
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
