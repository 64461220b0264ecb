//! The steps of a session of a gate.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use super::held::Held;
use super::slowness::Slowness;
use super::{Gate, Terms};
use crate::deadline::Deadline;
use crate::envelope::Envelope;
use crate::observer::Event;
use crate::outcome::{Outcome, RequestKind};
use crate::panel::Sitting;
use crate::record::{Note, Record};
use crate::runtime::{Runtime, within};
use crate::session::{Forward, Pending, Question};
use crate::unwind::{Guarded, Panic};
use crate::verdict::{Stage, Subject, Verdict};
use crate::wire::mailbox::ForwardPath;

/// The next action of a loop over [`GateSession::poll`](crate::gate::GateSession::poll). `poll` returns the
/// same step until its action is done, except for [`Transmit`](Self::Transmit) and
/// [`Delay`](Self::Delay), which it returns once.
#[must_use = "the session waits until the step is done"]
pub enum GateStep<'s, R: Runtime> {
    /// Write all of these octets to the client before the next `poll`.
    Transmit(Bytes),
    /// Read from the client, then call [`receive`](crate::gate::GateSession::receive) or
    /// [`receive_eof`](crate::gate::GateSession::receive_eof).
    ///
    /// A loop that reads with a timeout should poll every few seconds, because the gate may shut down
    /// or give the place of the session to another client.
    Receive,
    /// Wait until this time: the client is in the [tarpit](Gate::tarpit). An earlier `poll` ends the
    /// delay.
    Delay(Instant),
    /// Upgrade the connection (RFC 3207), then call
    /// [`tls_started`](crate::gate::GateSession::tls_started) or
    /// [`tls_failed`](crate::gate::GateSession::tls_failed).
    StartTls,
    /// Ask the panel: [`GateQuestion::ask`].
    Ask(GateQuestion<'s, R>),
    /// Ask the relay target: [`GateForward::ask`].
    Forward(GateForward<'s, R>),
    /// Close the connection, then call [`close`](crate::gate::GateSession::close).
    Close,
}

/// A question to the panel. If it is dropped, the session asks it again.
#[must_use = "the session asks again until the question is answered"]
pub struct GateQuestion<'s, R: Runtime> {
    pub(super) gate: &'s Gate<R>,
    pub(super) terms: &'s Terms<R>,
    pub(super) question: Question<'s>,
    pub(super) record: &'s mut Record,
    pub(super) sitting: &'s mut Sitting,
    pub(super) slowness: &'s mut Slowness,
}

/// A request to the relay target. If it is dropped, the session makes it again.
#[must_use = "the session asks again until the request is completed"]
pub struct GateForward<'s, R: Runtime> {
    pub(super) gate: &'s Gate<R>,
    pub(super) forward: Forward<'s>,
    pub(super) relay: &'s mut Held,
    pub(super) record: &'s mut Record,
}

/// A request that the relay target is working on.
pub(crate) struct GatePending<'s, R: Runtime> {
    gate: &'s Gate<R>,
    kind: RequestKind,
    envelope: &'s Envelope,
    recipient: Option<&'s ForwardPath>,
    pending: Pending<'s>,
    record: &'s mut Record,
    panicked: &'s mut bool,
}

impl<R: Runtime> GateQuestion<'_, R> {
    /// Asks the panel and passes its verdict to the session. Gives up at the
    /// [`deadline`](Self::deadline); the next `poll` then handles the timeout.
    pub async fn ask(mut self) {
        let (gate, deadline) = (self.gate, self.deadline());
        match within(&gate.runtime, deadline, self.verdict()).await {
            Some(verdict) => self.answer(verdict),
            None => self.record.expire(deadline),
        }
    }

    /// Returns the time until which the session waits for the answer.
    pub fn deadline(&self) -> Option<Deadline> {
        self.question.deadline()
    }

    /// Returns the subject of the question.
    pub fn subject(&self) -> Subject<'_> {
        self.question.subject()
    }

    pub(crate) fn stage(&self) -> Stage {
        self.subject().stage()
    }

    /// Asks the panel. Its findings are recorded even if the verdict is not waited for.
    pub(crate) fn verdict(&mut self) -> impl Future<Output = Verdict> + Send {
        let subject = self.question.subject();
        if let Subject::Connection(session, peer) = subject
            && self.record.begin_client()
        {
            self.gate.observe(&Event::ClientChanged { session, peer });
        }
        let record = self.record.asked(&subject, self.gate.is_reported());
        self.gate.ask(self.terms, subject, record, self.sitting)
    }

    /// Passes the verdict of the panel to the session.
    pub(crate) fn answer(self, verdict: Verdict) {
        let Self { gate, terms, question, record, slowness, .. } = self;
        record.answered();
        slowness.judge(gate, terms, &question, |subject| record.tally(subject));
        question.answer(verdict);
    }
}

impl<'s, R: Runtime> GateForward<'s, R> {
    /// Asks the relay target and passes its answer to the session. Gives up at the
    /// [`deadline`](Self::deadline); the next `poll` then handles the timeout.
    pub async fn ask(self) {
        let (gate, deadline) = (self.gate, self.deadline());
        let (asked, pending) = self.begin();
        match within(&gate.runtime, deadline, asked).await {
            Some(outcome) => pending.complete(outcome, gate.runtime.now()),
            None => pending.record.expire(deadline),
        }
    }

    /// Returns the time until which the session waits for the outcome.
    pub fn deadline(&self) -> Option<Deadline> {
        self.forward.deadline()
    }

    /// Returns the kind of the request.
    pub fn kind(&self) -> RequestKind {
        self.forward.kind()
    }

    /// Returns the envelope that the request is about.
    pub fn envelope(&self) -> &Envelope {
        self.forward.envelope()
    }

    /// Begins to ask the relay target. Pass the output of the future to [`GatePending::complete`].
    pub(crate) fn begin(self) -> (Guarded<'s, Outcome>, GatePending<'s, R>) {
        let Self { gate, forward, relay, record } = self;
        let Held { relay, panicked } = relay;
        let (request, pending) = forward.take();
        let (kind, envelope, recipient) = (request.kind(), request.envelope(), request.recipient());
        let asked = Guarded::begin(move || relay.ask(request));
        (asked, GatePending { gate, kind, envelope, recipient, pending, record, panicked })
    }
}

impl<R: Runtime> GatePending<'_, R> {
    /// Passes the answer of the relay target, which came at `now`, to the session. A panic becomes a
    /// failure without an answer.
    pub(crate) fn complete(self, asked: Result<Outcome, Panic>, now: Instant) {
        let Self { gate, kind, envelope, recipient, pending, record, panicked } = self;
        let outcome = asked.unwrap_or_else(|panic| {
            *panicked = true;
            Outcome::failed(format!("the relay target panicked: {panic}"))
        });
        let tell = |note: Note<'_>| gate.observe(&note.into());
        let answered = gate.is_observed().then_some(now);
        record.relayed((&envelope.id, recipient), kind, &outcome, answered, tell);
        pending.complete(outcome);
    }
}

impl<R: Runtime> fmt::Debug for GateStep<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmit(octets) => f.debug_tuple("Transmit").field(octets).finish(),
            Self::Receive => f.write_str("Receive"),
            Self::Delay(until) => f.debug_tuple("Delay").field(until).finish(),
            Self::StartTls => f.write_str("StartTls"),
            Self::Ask(question) => question.fmt(f),
            Self::Forward(forward) => forward.fmt(f),
            Self::Close => f.write_str("Close"),
        }
    }
}

impl<R: Runtime> fmt::Debug for GateQuestion<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GateQuestion").field(&self.subject()).finish()
    }
}

impl<R: Runtime> fmt::Debug for GateForward<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, envelope) = (self.kind(), self.envelope());
        f.debug_struct("GateForward").field("kind", &kind).field("envelope", envelope).finish()
    }
}
