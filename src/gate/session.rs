//! A session of a gate: the state machine, its relay target and its bookkeeping.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::held::Held;
use super::slowness::Slowness;
use super::steps::{GateForward, GateQuestion, GateStep};
use super::{Admitted, Gate, Terms};
use crate::admission::AdmissionGuard;
use crate::capabilities::Capabilities;
use crate::deadline::{Awaiting, Deadline};
use crate::observer::{During, Event};
use crate::panel::Sitting;
use crate::peer::TlsInfo;
use crate::record::{Note, Record};
use crate::runtime::{Runtime, within};
use crate::session::{Next, Session, TransactionEnd};
use crate::unwind::{Guarded, caught};

/// Timeout of the relay target for its capabilities.
pub(crate) const INTRODUCTION: Duration = Duration::from_secs(30);

/// A session of a [`Gate`]: the [`Session`] of one client, its relay target and its bookkeeping.
///
/// [`serve`](crate::serve) is a loop over [`poll`](Self::poll). Write your own loop if your program
/// has no async runtime, or if its connections are not `AsyncRead` and `AsyncWrite`. [`Gate::open`]
/// returns the session.
///
/// The session does no I/O with the client. Call `poll`, do what the [`GateStep`] says, and repeat
/// until [`GateStep::Close`]. Then call [`close`](Self::close). Pass the time of the gate's runtime
/// ([`Runtime::now`]) to `poll` and [`handle_timeout`](Self::handle_timeout). `poll` handles late
/// questions and requests. The loop itself handles the timeout of a read or a write.
///
/// The session delivers all events to the observers, in the same order as with `serve`. The relay
/// target's answer to a content and the end of the transaction are delivered after the reply was
/// written: at the `poll` that follows [`GateStep::Transmit`], or when
/// [`transmitted`](Self::transmitted) is called.
///
/// ```
/// # use std::io;
/// # use std::time::Instant;
/// # use nobounce::{Address, Envelope, ForwardPath, Message, Outcome, Peer, Receipt, Relay, Runtime,
/// #     Settings, Target};
/// use nobounce::gate::GateStep;
/// use nobounce::{Event, Gate};
/// use pollster::block_on;
///
/// # struct Still;
/// # #[async_trait::async_trait]
/// # impl Runtime for Still {
/// #     type Stream = futures::io::Cursor<Vec<u8>>;
/// #     async fn sleep_until(&self, _: Instant) { std::future::pending().await }
/// #     async fn connect(&self, _: &Address) -> io::Result<Self::Stream> {
/// #         Err(io::ErrorKind::Unsupported.into())
/// #     }
/// # }
/// # struct Keeps;
/// # impl Target for Keeps {
/// #     fn open(&self, _: &Peer) -> Box<dyn Relay> { Box::new(Keeps) }
/// # }
/// # #[async_trait::async_trait]
/// # impl Relay for Keeps {
/// #     async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
/// #         Outcome::Accepted(Receipt::recipient())
/// #     }
/// #     async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
/// #         Outcome::Accepted(Receipt::kept("4711"))
/// #     }
/// # }
/// let (causes, ended) = std::sync::mpsc::channel();
/// let gate = Gate::new(Still, Settings::new("mx.example"), Keeps).observer(move |event| {
///     if let Event::Ended(record) = event {
///         let _ = causes.send(record.end.cause);
///     }
/// });
/// let mut client = ["EHLO c\r\n", "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 0 LAST\r\nQUIT\r\n"].iter();
/// let mut written = Vec::new();
///
/// let mut session = block_on(gate.open(Peer::local()))?;
/// loop {
///     match session.poll(Instant::now()) {
///         GateStep::Transmit(octets) => written.extend_from_slice(&octets),
///         GateStep::Receive => match client.next() {
///             Some(octets) => session.receive(octets.as_bytes()),
///             None => session.receive_eof(),
///         },
///         GateStep::Ask(question) => block_on(question.ask()),
///         GateStep::Forward(forward) => block_on(forward.ask()),
///         GateStep::Delay(until) => std::thread::sleep(until - Instant::now()),
///         GateStep::StartTls => session.tls_failed(),
///         GateStep::Close => break,
///     }
/// }
/// block_on(session.close());
/// assert!(written.ends_with(b"250 2.0.0 Ok: queued as 4711\r\n221 2.0.0 Bye\r\n"));
/// assert_eq!(ended.recv()?.to_string(), "accepted");
/// assert_eq!(gate.sessions(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "poll the session until it is over, then close it"]
pub struct GateSession<'g, R: Runtime> {
    pub(super) gate: &'g Gate<R>,
    /// The rules of this session. The gate may have others for later sessions.
    terms: Arc<Terms<R>>,
    pub(super) session: Session,
    pub(super) relay: Held,
    pub(super) record: Record,
    pub(super) sitting: Sitting,
    slowness: Slowness,
    /// Whether the next reply was delayed already.
    delayed: bool,
    /// `None` after the connection was closed.
    pub(super) place: Option<AdmissionGuard>,
    /// Whether the gate was under stress when the wait for the client began.
    stressed: bool,
    /// Whether the last step was `Transmit`, and it is not known yet whether it succeeded.
    writes: bool,
    /// The octets of the last `Transmit`, if an observer uses them.
    written: Option<Bytes>,
    /// Whether the last step was `Receive`.
    reads: bool,
    /// Whether the connection broke.
    pub(super) broken: bool,
    pub(super) began: Instant,
    /// Whether the end of the session was observed.
    pub(super) is_over: bool,
    _admitted: Admitted<'g, R>,
}

impl<'g, R: Runtime> GateSession<'g, R> {
    pub(super) fn new(
        gate: &'g Gate<R>,
        terms: Arc<Terms<R>>,
        session: Session,
        place: AdmissionGuard,
        admitted: Admitted<'g, R>,
        began: Instant,
    ) -> Self {
        Self {
            gate,
            terms,
            session,
            relay: Held::default(),
            record: Record::default(),
            sitting: gate.sitting(),
            slowness: Slowness::default(),
            delayed: false,
            place: Some(place),
            stressed: false,
            writes: false,
            written: None,
            reads: false,
            broken: false,
            began,
            is_over: false,
            _admitted: admitted,
        }
    }

    /// Reads the capabilities of the relay target. If it does not answer in time, no extensions are
    /// offered.
    pub(crate) async fn introduce(&mut self) {
        let (gate, session) = (self.gate, &self.session);
        gate.observe(&Event::Connected { session: session.id(), peer: session.peer() });
        let opened = caught(|| self.terms.target.open(session.peer()));
        if let Some(relay) = self.relay.report(gate, session, opened) {
            self.relay.relay = relay;
        }
        let limit = Deadline::after(gate.runtime.now(), INTRODUCTION, Awaiting::Connection);
        let through = Guarded::begin(|| self.relay.relay.capabilities());
        let through = within(&gate.runtime, Some(limit), through).await;
        let through = through.and_then(|through| self.relay.report(gate, &self.session, through));
        let extensions = &through.unwrap_or_else(Capabilities::none);
        self.session.offer(extensions);
        gate.observe(&Event::Offered { session: self.session.id(), extensions });
        self.follow_shutdown();
    }

    /// Does all work that needs no I/O and returns the next step.
    ///
    /// A `poll` after [`GateStep::Transmit`] means that the octets were written. If they were not,
    /// call [`lose_client`](Self::lose_client) or [`handle_timeout`](Self::handle_timeout) first. A
    /// question or request without an answer gets 451 once its deadline has passed.
    pub fn poll(&mut self, now: Instant) -> GateStep<'_, R> {
        // A timer may fire slightly early. If the answer was not waited for any longer, it is late.
        let now = self.record.take_expired().map_or(now, |at| at.max(now));
        if self.record.stop_waiting(now) {
            self.handle_timeout(now);
        }
        self.advance(now, true)
    }

    /// Like [`poll`](Self::poll), for a caller that handles every timeout, and that waits for the
    /// client with [`poll_recalled`](Self::poll_recalled). A session whose input is there already does
    /// not become idle.
    pub(crate) fn poll_busy(&mut self, now: Instant) -> GateStep<'_, R> {
        self.record.stop_waiting(now);
        self.advance(now, false)
    }

    fn advance(&mut self, now: Instant, becomes_idle: bool) -> GateStep<'_, R> {
        let gate = self.gate;
        self.transmitted();
        self.relay.check();
        if std::mem::take(&mut self.reads)
            && let Some(place) = &self.place
        {
            place.set_idle(None);
        }
        loop {
            if self.session.relies_on_recipients() && self.relay.has_given_up() {
                self.session.doubt_recipients();
            }
            match self.session.next(now) {
                Next::Transmit => {
                    if let Some(delay) = self.delay() {
                        return GateStep::Delay(now + delay);
                    }
                    let octets = self.session.hand_out(now);
                    self.writes = true;
                    if gate.shows_octets() {
                        self.written = Some(octets.clone());
                    }
                    return GateStep::Transmit(octets);
                }
                Next::Receive => {
                    if self.is_recalled(now) {
                        continue;
                    }
                    if let (true, Some(place)) = (becomes_idle, &self.place) {
                        place.set_idle(self.session.idle_since());
                    }
                    self.reads = true;
                    return GateStep::Receive;
                }
                Next::Ask => {
                    let Self { terms, session, record, sitting, slowness, .. } = self;
                    let question = session.question();
                    record.ask(&question.subject(), now);
                    return GateStep::Ask(GateQuestion {
                        gate,
                        terms,
                        question,
                        record,
                        sitting,
                        slowness,
                    });
                }
                Next::Forward => {
                    let Self { session, record, relay, .. } = self;
                    record.forward(now);
                    let forward = session.request();
                    return GateStep::Forward(GateForward { gate, forward, relay, record });
                }
                Next::Ended(end) => {
                    self.end_transaction(end);
                    // Also checked here: if a client keeps sending, the session may never wait.
                    self.follow_shutdown();
                }
                Next::StartTls => return GateStep::StartTls,
                Next::Close => {
                    self.record.close(self.broken, |note| gate.observe(&note.into()));
                    return GateStep::Close;
                }
            }
        }
    }

    pub(super) fn end_transaction(&mut self, end: Box<TransactionEnd>) {
        let gate = self.gate;
        self.sitting.transaction_ended(&end);
        self.record.ended(end, |note| gate.observe(&note.into()));
    }

    /// Returns the delay of the next reply, once for each reply.
    fn delay(&mut self) -> Option<Duration> {
        if !self.slowness.is_stuck() {
            self.delayed = false;
            return None;
        }
        if std::mem::take(&mut self.delayed) {
            self.slowness.pass();
            return None;
        }
        // A positive reply to a message is not delayed: a delay makes duplicates more likely.
        if self.record.owes_acceptance() {
            return None;
        }
        let delay = self.slowness.delay();
        self.delayed = delay.is_some();
        delay
    }

    /// Checks stress, shutdown and eviction before a wait for the client. Returns whether the
    /// session has something else to do now.
    fn is_recalled(&mut self, now: Instant) -> bool {
        if self.follow_shutdown() {
            return true;
        }
        let Self { gate, terms, session, place, stressed, .. } = self;
        session.hold_tls(gate.is_busy_with_tls(terms, session.peer()));
        let Some(place) = place else { return false };
        *stressed = place.is_stressed();
        if *stressed != session.is_stressed() {
            session.set_stress(*stressed, now);
            gate.observe(&Event::Stressed { session: session.id(), on: *stressed });
        }
        if place.is_revoked() && session.idle_since().is_some() {
            session.evict();
            gate.observe(&Event::Evicted { session: session.id(), peer: session.peer() });
            return true;
        }
        false
    }

    /// Tells the session if the gate shuts down. Returns whether this is news for it.
    fn follow_shutdown(&mut self) -> bool {
        let Self { gate, session, .. } = self;
        let is_news = gate.is_going_down() && !session.is_going_down();
        if is_news {
            session.shut_down();
            gate.observe(&Event::ShuttingDown { session: session.id() });
        }
        is_news
    }

    /// Ready when a session that waits for its client must be polled again: stress has begun or
    /// ended, or the place was given to another client.
    pub(crate) fn poll_recalled(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some(place) = &self.place else { return Poll::Pending };
        let idle_since = self.session.idle_since();
        place.set_idle(idle_since);
        place.poll_called(idle_since.is_some(), self.stressed, context)
    }

    /// Reports that the octets of the last [`GateStep::Transmit`] were written. The events that wait
    /// for it are delivered now, instead of at the next [`poll`](Self::poll).
    #[inline]
    pub fn transmitted(&mut self) {
        if !std::mem::take(&mut self.writes) {
            return;
        }
        let gate = self.gate;
        self.record.settle(true, |note| gate.observe(&note.into()));
        if let Some(octets) = self.written.take() {
            gate.observe(&Event::Transmitted { session: self.session.id(), octets: &octets });
        }
        self.sitting.settle();
    }

    /// Takes octets that were read from the client.
    pub fn receive(&mut self, octets: &[u8]) {
        if !octets.is_empty() {
            self.hear();
            if self.gate.shows_octets() {
                let (session, during) = (self.session.id(), self.during());
                self.gate.observe(&Event::Received { session, octets, during });
            }
            self.session.receive(octets);
        }
    }

    /// Returns a buffer for mail data, to read into directly: see [`Session::room`].
    pub fn room(&mut self) -> &mut [u8] {
        self.session.room()
    }

    /// Takes octets that were read from the client into the start of the [`room`](Self::room)
    /// buffer.
    pub fn receive_in_room(&mut self, length: usize) {
        self.hear();
        let length = length.min(self.session.room().len());
        if self.gate.shows_octets() {
            let (id, during) = (self.session.id().clone(), self.during());
            let octets = &self.session.room()[..length];
            self.gate.observe(&Event::Received { session: &id, octets, during });
        }
        self.session.receive_in_room(length);
    }

    fn during(&self) -> During {
        match (self.reads, self.writes, self.session.awaits_answer()) {
            (true, ..) => During::Receive,
            (_, true, _) => During::Transmit,
            (.., true) => During::Question,
            _ => During::Work,
        }
    }

    fn hear(&mut self) {
        self.transmitted();
        // Input that was sent before the reply does not show that the reply was read.
        if self.reads {
            self.record.heard();
        }
    }

    /// Reports EOF from the client. The client may still read replies (half-close).
    pub fn receive_eof(&mut self) {
        let (session, during) = (self.session.id(), self.during());
        self.gate.observe(&Event::InputEnded { session, during });
        self.session.receive_eof();
    }

    /// Reports that the client is gone: the connection was reset, or a write failed. Nothing more
    /// is sent to the relay target.
    pub fn lose_client(&mut self) {
        let during = self.during();
        self.not_transmitted();
        self.broken = true;
        if !self.session.is_closed() {
            let session = self.session.id();
            self.gate.observe(&Event::ClientLost { session, during });
        }
        self.session.lose_client();
    }

    fn not_transmitted(&mut self) {
        if std::mem::take(&mut self.writes) {
            self.written = None;
            let gate = self.gate;
            self.record.settle(false, |note| gate.observe(&note.into()));
        }
    }

    /// Handles the timeout when [`deadline`](Self::deadline) has passed. Does nothing before.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.session.settle();
        let Some(deadline) = self.deadline().filter(|deadline| deadline.at <= now) else { return };
        if deadline.awaiting == Awaiting::Transmission {
            self.not_transmitted();
            self.broken = true;
        }
        let gate = self.gate;
        let tell = |note: Note<'_>| gate.observe(&note.into());
        self.record.late(self.session.id(), deadline.awaiting, tell);
        self.session.handle_timeout(now);
    }

    /// Returns the deadline of the last step, with its reason. `None` without a deadline.
    pub fn deadline(&self) -> Option<Deadline> {
        self.session.deadline()
    }

    /// Reports that the TLS handshake has succeeded.
    pub fn tls_started(&mut self, tls: TlsInfo) {
        self.gate.observe(&Event::Secured { session: self.session.id(), tls: &tls });
        self.session.tls_started(tls);
    }

    /// Reports that the TLS handshake failed or did not take place. The session is over.
    pub fn tls_failed(&mut self) {
        self.broken = true;
        self.gate.observe(&Event::NotSecured { session: self.session.id() });
        self.session.tls_failed();
    }

    /// Returns the state machine, for its [id](Session::id), its [client](Session::peer) and so on.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Replaces the rules by those of the gate, and returns them.
    pub(super) fn take_terms(&mut self) -> Arc<Terms<R>> {
        std::mem::replace(&mut self.terms, self.gate.terms())
    }

    /// Returns the rules of this session.
    pub(crate) fn terms(&self) -> &Terms<R> {
        &self.terms
    }

    /// Returns whether the place of the session was given to another client.
    pub(crate) fn is_evicted(&self) -> bool {
        self.place.as_ref().is_some_and(AdmissionGuard::is_revoked)
    }
}

impl<R: Runtime> fmt::Debug for GateSession<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateSession").field("session", &self.session).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
