//! Spans and events for the `tracing` crate.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::tracing::{Level, Span, debug, enabled, error, info, info_span, trace, warn};

use super::{Event, Observer, SessionRecord, TransactionRecord};
use crate::envelope::{SessionId, TransactionId};
use crate::outcome::Outcome;
use crate::panel::Answer;
use crate::peer::Peer;
use crate::verdict::{Stage, Verdict};
use crate::wire::text::{Printable, Written};

/// An observer that emits spans and events for the subscriber of your program, with the `tracing`
/// crate.
///
/// Each session is a span `session` with the fields `id` and `client`. In it, each transaction is a
/// span `transaction` with the field `id`. Findings, replies and paths are fields of events in these
/// spans. Control characters in values that peers chose are replaced. The target of all spans and events begins
/// with `nobounce`.
///
/// | event | level |
/// |---|---|
/// | `judged`, `relayed` | `DEBUG`; `INFO` for a refusal or a deferral, `WARN` if the relay target failed |
/// | `scored` | `TRACE`; `WARN` if the scorer failed; needs [`Gate::report_answers`](crate::Gate::report_answers) |
/// | `transaction ended`, `session ended` | `INFO` |
/// | `unacknowledged`, `late`, `overload`, `store failed`, `connection to the onward server failed` | `WARN` |
/// | `turned away`, `no PROXY header`, `handshake failed` | `INFO` |
/// | panics, and connections that could not be accepted | `ERROR` |
///
/// The observer keeps the spans of the running sessions. Their number is that of the sessions, which
/// the gate bounds.
///
/// ```
/// # use nobounce::{Gate, Runtime, observer::Tracing};
/// # fn traced<R: Runtime>(gate: Gate<R>) -> Gate<R> {
/// gate.observed_by(Tracing::new()).report_answers()
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Tracing(Mutex<HashMap<SessionId, Spans>>);

/// The spans of a session.
#[derive(Debug)]
struct Spans {
    session: Span,
    /// The transaction that is in progress.
    transaction: Option<(TransactionId, Span)>,
}

impl Tracing {
    /// Creates an observer. It needs no subscriber at that time.
    pub fn new() -> Self {
        Self::default()
    }

    fn spans(&self) -> MutexGuard<'_, HashMap<SessionId, Spans>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self, id: &SessionId, peer: &Peer) {
        let session = info_span!(parent: None, "session", %id, client = %peer);
        if !session.is_disabled() {
            self.spans().insert(id.clone(), Spans { session, transaction: None });
        }
    }

    /// Returns the span of a session.
    fn session(&self, id: &SessionId) -> Span {
        self.spans().get(id).map_or_else(Span::none, |spans| spans.session.clone())
    }

    /// Returns the span of a transaction. The first event of a transaction opens it.
    fn transaction(&self, id: &TransactionId, stage: Option<Stage>) -> Span {
        let mut all = self.spans();
        let Some(spans) = all.get_mut(id.session()) else { return Span::none() };
        if stage == Some(Stage::Connect) {
            return spans.session.clone();
        }
        match &spans.transaction {
            Some((known, span)) if known == id => span.clone(),
            _ => {
                let span = info_span!(parent: &spans.session, "transaction", %id);
                spans.transaction = Some((id.clone(), span.clone()));
                span
            }
        }
    }

    fn scored(&self, id: &TransactionId, stage: Stage, answer: &Answer) {
        let ms = answer.took.as_secs_f64() * 1e3;
        let scorer = &*answer.scorer;
        match &answer.result {
            Err(cause) => {
                let span = self.transaction(id, Some(stage));
                warn!(parent: &span, %stage, scorer, ms, error = %cause, "scored");
            }
            Ok(opinion) if enabled!(Level::TRACE) => {
                let span = self.transaction(id, Some(stage));
                let findings = opinion.findings.len();
                trace!(parent: &span, %stage, scorer, ms, findings, "scored");
            }
            Ok(_) => {}
        }
    }

    fn relayed(&self, id: &TransactionId, is_recipient: bool, outcome: &Outcome) {
        let span = self.transaction(id, None);
        let request = if is_recipient { "rcpt" } else { "content" };
        match outcome {
            Outcome::Failed(error) => warn!(parent: &span, request, %error, "relayed"),
            Outcome::Refused(refusal) => {
                info!(parent: &span, request, reply = text(refusal.reply()), "relayed");
            }
            Outcome::Accepted(_) => debug!(parent: &span, request, "relayed"),
        }
    }

    fn ended(&self, record: &TransactionRecord) {
        let id = &record.end.envelope.id;
        let span = self.transaction(id, None);
        let end = &record.end;
        info!(
            parent: &span,
            result = end.cause.word(),
            from = text(&end.envelope.reverse_path.path),
            recipients = end.envelope.forward_paths.len(),
            refused = end.refused.len(),
            size = end.size,
            score = %record.tally.total(),
            reply = end.reply.as_ref().map(text),
            queue_id = record.queue_id.as_ref().map(|it| text(&**it)),
            ms = end.duration.as_secs_f64() * 1e3,
            "transaction ended"
        );
        if let Some(spans) = self.spans().get_mut(id.session()) {
            spans.transaction = None;
        }
    }

    fn disconnected(&self, record: &SessionRecord<'_>) {
        let span = self.session(record.session);
        info!(
            parent: &span,
            result = record.end.word(),
            transactions = record.transactions,
            reply = record.reply.map(text),
            ms = record.duration.as_secs_f64() * 1e3,
            "session ended"
        );
        self.spans().remove(record.session);
    }
}

impl Observer for Tracing {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Connected { session, peer } => self.connected(session, peer),
            Event::Scored { id, stage, answer } => self.scored(id, *stage, answer),
            Event::Judged { id, stage, tally, verdict, .. } => {
                let span = self.transaction(id, Some(*stage));
                let score = tally.total();
                match verdict {
                    Verdict::Refuse(refusal) => {
                        let reply = text(refusal.reply());
                        info!(parent: &span, %stage, verdict = "refuse", %score, reply, "judged");
                    }
                    Verdict::Tag(_) => {
                        debug!(parent: &span, %stage, verdict = "tag", %score, "judged");
                    }
                    Verdict::Pass => {
                        debug!(parent: &span, %stage, verdict = "pass", %score, "judged");
                    }
                }
            }
            Event::Relayed { id, recipient, outcome, .. } => {
                self.relayed(id, recipient.is_some(), outcome);
            }
            Event::Ended(record) => self.ended(record),
            Event::Unacknowledged(record) => {
                let id = &record.end.envelope.id;
                warn!(parent: &self.session(id.session()), transaction = %id, "unacknowledged");
            }
            Event::Late { session, awaiting } => {
                warn!(parent: &self.session(session), ?awaiting, "late");
            }
            Event::Evicted { session, .. } => info!(parent: &self.session(session), "evicted"),
            Event::Tarpitted { session, .. } => info!(parent: &self.session(session), "tarpitted"),
            Event::ClientChanged { session, peer } => {
                info!(parent: &self.session(session), client = %peer, "client changed");
            }
            Event::RelayPanicked { session, panic } => {
                error!(parent: &self.session(session), panic = text(*panic), "relay target panicked");
            }
            Event::Disconnected(record) => self.disconnected(record),
            _ => outside(event),
        }
    }

    fn uses_octets(&self) -> bool {
        false
    }
}

/// Emits an event that belongs to no session.
fn outside(event: &Event<'_>) {
    match event {
        Event::TurnedAway { peer, reason } => {
            info!(parent: None, client = %peer, %reason, "turned away");
        }
        Event::Unproxied { peer, error } => {
            info!(parent: None, client = %peer, %error, "no PROXY header");
        }
        Event::HandshakeFailed { peer, error } => {
            info!(parent: None, client = %peer, error = text(&*error.to_string()), "handshake failed");
        }
        Event::AcceptFailed { error } => error!(parent: None, %error, "accepting failed"),
        Event::Overload { on, connections } => {
            warn!(parent: None, on, connections, "overload");
        }
        Event::ObserverFailed { observer, panic } => {
            error!(parent: None, observer, panic = text(*panic), "observer panicked");
        }
        Event::Stored(call) => {
            if let Some(error) = call.error {
                warn!(parent: None, operation = ?call.operation, %error, "store failed");
            }
        }
        Event::OnwardConnect(attempt) if !attempt.is_open => {
            let error = attempt.error.map(|error| text(&*error.to_string()));
            warn!(parent: None, error, "connection to the onward server failed");
        }
        _ => {}
    }
}

/// Returns the value without control characters. Subscribers quote and escape text.
fn text(value: &(impl Written + ?Sized)) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _: fmt::Result = value.write_to(&mut text);
    Printable(&*text).to_string()
}
