//! The bookkeeping of a session, without I/O and without a clock.
//!
//! The caller reports what happens, and gets [`Note`]s for the observers. Notes after the relay
//! target's answer to the content are held back until the reply to the client was written, so that
//! the reply does not wait for an observer.

mod reported;
mod session;
mod transaction;

use std::time::{Duration, Instant};

use crate::deadline::{Awaiting, Deadline};
use crate::envelope::{SessionId, TransactionId};
use crate::outcome::{Outcome, RelayError, RequestKind};
use crate::session::{EndCause, TransactionEnd};
use crate::tally::Tally;
use crate::unwind::{caught, drop_caught};
use crate::verdict::Subject;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::Reply;
pub(crate) use reported::Reported;
pub use reported::{RecordedField, Timing};
pub use session::SessionRecord;
pub use transaction::TransactionRecord;

/// The bookkeeping of one session: tallies, answers, times, and notes that wait for a reply.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The scorers' findings about the client; `None` before the scorers were asked.
    connection: Option<Tally>,
    /// Facts about the client that are recorded on request. Boxed, so that idle sessions stay
    /// small.
    reported: Option<Box<Reported>>,
    /// Whether the panel was asked about the client and has not answered.
    judging: bool,
    /// Allocated only during a transaction, so that idle sessions stay small.
    transaction: Option<Box<(TransactionId, Gathered)>>,
    /// Notes that wait until the reply to the content was written.
    owed: Vec<Owed>,
    /// Delivered notes about accepted messages. Their replies were written to the socket, and the
    /// client has sent nothing since then.
    told: Vec<Owed>,
    /// The current wait for an answer, and its start.
    waiting: Option<(Waiting, Instant)>,
    /// The deadline at which the last wait ended without an answer.
    expired: Option<Instant>,
}

/// An event for the observers.
#[derive(Debug)]
pub(crate) enum Note<'n> {
    Relayed {
        id: &'n TransactionId,
        request: RequestKind,
        recipient: Option<&'n ForwardPath>,
        outcome: &'n Outcome,
        took: Duration,
    },
    Late {
        session: &'n SessionId,
        awaiting: Awaiting,
    },
    Ended(&'n TransactionRecord),
    Unacknowledged(&'n TransactionRecord),
}

/// A note that waits until the client's reply was written.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "most lists hold one of each, for a moment")]
enum Owed {
    Relayed(TransactionId, OwedAnswer),
    Late(SessionId, Awaiting),
    /// The end of a transaction, and the answer to its content if its note was waiting too.
    Ended(Option<OwedAnswer>, TransactionRecord),
}

/// An answer of the relay target to a content.
#[derive(Debug)]
struct OwedAnswer {
    request: RequestKind,
    outcome: Outcome,
    took: Duration,
}

/// The party that the session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// The panel, asked about the client. This time does not count for a transaction.
    Connection,
    /// The panel, asked about a recipient or the content.
    Panel,
    Relay,
    /// The relay target, whose answer has come and whose time was added.
    Relayed,
}

/// The data of one transaction.
#[derive(Debug, Default)]
struct Gathered {
    tally: Tally,
    reported: Option<Box<Reported>>,
    onward: Vec<Reply>,
    failures: Vec<RelayError>,
    queue_id: Option<Box<str>>,
    scoring: Duration,
    relaying: Duration,
}

impl Record {
    /// Begins the tally of a client. Returns whether it replaces the tally of an earlier client of
    /// the session (XCLIENT). If the last question was dropped without an answer, this one is about
    /// the same client, and the result is `false`.
    pub(crate) fn begin_client(&mut self) -> bool {
        let is_again = std::mem::replace(&mut self.judging, true);
        self.reported = None;
        self.connection.replace(Tally::default()).is_some() && !is_again
    }

    /// Records that the panel has answered.
    pub(crate) fn answered(&mut self) {
        self.judging = false;
    }

    /// Returns the tally for a question about `subject`. The tally of a transaction begins with the
    /// findings about the client.
    pub(crate) fn tally(&mut self, subject: &Subject<'_>) -> &mut Tally {
        match subject {
            Subject::Connection(..) => self.connection.get_or_insert_default(),
            Subject::Recipient(envelope, _) | Subject::Content(envelope, _) => {
                &mut self.current(&envelope.id).tally
            }
        }
    }

    /// Returns the tally for a question about `subject`, and the facts that are recorded on
    /// request, if something `is_reported`.
    pub(crate) fn asked(
        &mut self,
        subject: &Subject<'_>,
        is_reported: bool,
    ) -> (&mut Tally, Option<&mut Reported>) {
        match subject {
            Subject::Connection(..) => {
                let reported = is_reported.then(|| &mut **self.reported.get_or_insert_default());
                (self.connection.get_or_insert_default(), reported)
            }
            Subject::Recipient(envelope, _) | Subject::Content(envelope, _) => {
                let gathered = self.current(&envelope.id);
                let reported = &mut gathered.reported;
                let reported = is_reported.then(|| &mut **reported.get_or_insert_default());
                (&mut gathered.tally, reported)
            }
        }
    }

    /// Begins the wait for the panel's verdict on `subject`.
    pub(crate) fn ask(&mut self, subject: &Subject<'_>, now: Instant) {
        let waiting = match subject {
            Subject::Connection(..) => Waiting::Connection,
            Subject::Recipient(..) | Subject::Content(..) => Waiting::Panel,
        };
        self.waiting = Some((waiting, now));
    }

    /// Begins the wait for an answer of the relay target.
    pub(crate) fn forward(&mut self, now: Instant) {
        self.waiting = Some((Waiting::Relay, now));
    }

    /// Records that the wait for the answer ended at this deadline.
    pub(crate) fn expire(&mut self, deadline: Option<Deadline>) {
        self.expired = deadline.map(|deadline| deadline.at);
    }

    /// Returns the time that [`expire`](Self::expire) recorded, and clears it.
    pub(crate) fn take_expired(&mut self) -> Option<Instant> {
        self.expired.take()
    }

    /// Ends the wait, and adds its time to the transaction. Returns whether there was a wait.
    pub(crate) fn stop_waiting(&mut self, now: Instant) -> bool {
        let Some((waiting, since)) = self.waiting.take() else { return false };
        if let Some(transaction) = &mut self.transaction {
            let time = || now.saturating_duration_since(since);
            match waiting {
                Waiting::Connection | Waiting::Relayed => {}
                Waiting::Panel => transaction.1.scoring += time(),
                Waiting::Relay => transaction.1.relaying += time(),
            }
        }
        true
    }

    /// Records an answer of the relay target, and the time at which it came if there is an observer.
    /// The findings about a refused recipient no longer count.
    pub(crate) fn relayed(
        &mut self,
        (id, recipient): (&TransactionId, Option<&ForwardPath>),
        kind: RequestKind,
        outcome: &Outcome,
        answered: Option<Instant>,
        mut tell: impl FnMut(Note<'_>),
    ) {
        let took = match (answered, &mut self.waiting) {
            (Some(answered), Some((waiting @ Waiting::Relay, since))) => {
                *waiting = Waiting::Relayed;
                answered.saturating_duration_since(*since)
            }
            _ => Duration::ZERO,
        };
        match kind {
            RequestKind::Content | RequestKind::Answer => {
                // Without this, the list would allocate four elements. Usually it has one element,
                // because the end of the transaction replaces this note.
                self.owed.reserve_exact(1);
                let answer = OwedAnswer { request: kind, outcome: outcome.copy_for_event(), took };
                self.owed.push(Owed::Relayed(id.clone(), answer));
            }
            // A renewal that is accepted is not reported: nothing has changed.
            RequestKind::Renewal if matches!(outcome, Outcome::Accepted(_)) => {}
            RequestKind::Recipient | RequestKind::Renewal => {
                tell(Note::Relayed { id, request: kind, recipient, outcome, took });
            }
        }
        let gathered = self.current(id);
        gathered.relaying += took;
        gathered.note(outcome, kind == RequestKind::Recipient);
    }

    /// Records a timeout.
    pub(crate) fn late(
        &mut self,
        session: &SessionId,
        awaiting: Awaiting,
        mut tell: impl FnMut(Note<'_>),
    ) {
        match awaiting {
            Awaiting::ContentOutcome => self.owed.push(Owed::Late(session.clone(), awaiting)),
            // The client correctly sent nothing before the greeting.
            Awaiting::EarlyInput => {}
            _ => tell(Note::Late { session, awaiting }),
        }
    }

    /// Records the end of a transaction. If the reply to the content was not written yet, or if
    /// earlier notes wait for that reply, the note waits too.
    pub(crate) fn ended(&mut self, end: Box<TransactionEnd>, mut tell: impl FnMut(Note<'_>)) {
        let owes = end.reply.is_some() || end.cause == EndCause::Accepted;
        let gathered = match self.transaction.take() {
            Some(current) if current.0 == end.envelope.id => current.1,
            _ => Gathered::about(self.connection.as_ref(), self.reported.as_deref()),
        };
        let Gathered { tally, reported, onward, failures, queue_id, scoring, relaying } = gathered;
        let record = TransactionRecord {
            end,
            tally,
            onward,
            failures,
            queue_id,
            scoring,
            relaying,
            reported,
        };
        if owes || !self.owed.is_empty() {
            let answer = self.answer_owed(&record.end.envelope.id);
            self.owed.reserve_exact(1);
            self.owed.push(Owed::Ended(answer, record));
        } else {
            tell(Note::Ended(&record));
            drop_caught(record);
        }
    }

    /// Takes the last note if it is the answer to this transaction's content.
    fn answer_owed(&mut self, ended: &TransactionId) -> Option<OwedAnswer> {
        let note = self.owed.pop_if(|note| matches!(note, Owed::Relayed(id, _) if id == ended))?;
        let Owed::Relayed(_, answer) = note else { return None };
        Some(answer)
    }

    /// Returns whether the positive reply to a message has not been sent yet.
    pub(crate) fn owes_acceptance(&self) -> bool {
        self.owed.iter().any(|note| note.taken().is_some())
    }

    /// Delivers the waiting notes, after the reply was passed to the socket or is known to be lost.
    #[inline]
    pub(crate) fn settle(&mut self, written: bool, tell: impl FnMut(Note<'_>)) {
        // For most replies, no note is waiting.
        if !self.owed.is_empty() {
            self.settle_owed(written, tell);
        }
    }

    fn settle_owed(&mut self, written: bool, mut tell: impl FnMut(Note<'_>)) {
        let owed = std::mem::take(&mut self.owed);
        for note in &owed {
            match note {
                Owed::Relayed(id, answer) => tell(answer.note(id)),
                Owed::Late(session, awaiting) => tell(Note::Late { session, awaiting: *awaiting }),
                Owed::Ended(answer, record) => {
                    if let Some(answer) = answer {
                        tell(answer.note(&record.end.envelope.id));
                    }
                    tell(Note::Ended(record));
                }
            }
            if let (Some(record), false) = (note.taken(), written) {
                tell(Note::Unacknowledged(record));
            }
        }
        if !written || owed.iter().all(|note| note.taken().is_none()) {
            drop_caught(owed);
        } else if self.told.is_empty() {
            self.told = owed;
        } else {
            self.told.extend(owed);
        }
    }

    /// Records that the client has sent something after a reply, and therefore has read it.
    #[inline]
    pub(crate) fn heard(&mut self) {
        if !self.told.is_empty() {
            let mut told = std::mem::take(&mut self.told);
            let _ = caught(|| told.clear());
            // The next transaction uses the list again.
            if self.owed.capacity() == 0 {
                self.owed = told;
            }
        }
    }

    /// Ends the connection. If it broke, the client may not have read the last reply.
    pub(crate) fn close(&mut self, broken: bool, mut tell: impl FnMut(Note<'_>)) {
        self.settle(false, &mut tell);
        if self.told.is_empty() {
            return;
        }
        let told = std::mem::take(&mut self.told);
        for record in told.iter().filter(|_| broken).filter_map(Owed::taken) {
            tell(Note::Unacknowledged(record));
        }
        drop_caught(told);
    }

    /// Returns the data of this transaction. It begins with the findings about the client.
    fn current(&mut self, id: &TransactionId) -> &mut Gathered {
        if self.transaction.as_ref().is_some_and(|current| current.0 != *id) {
            self.transaction = None;
        }
        let (connection, reported) = (self.connection.as_ref(), self.reported.as_deref());
        let fresh = || Box::new((id.clone(), Gathered::about(connection, reported)));
        &mut self.transaction.get_or_insert_with(fresh).1
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Self { connection, transaction, owed, told, .. } = self;
        let lists = (std::mem::take(owed), std::mem::take(told));
        drop_caught((lists, connection.take(), transaction.take()));
    }
}

impl Owed {
    /// Returns the record of a message that was accepted.
    fn taken(&self) -> Option<&TransactionRecord> {
        match self {
            Self::Ended(_, record) if record.end.cause == EndCause::Accepted => Some(record),
            _ => None,
        }
    }
}

impl OwedAnswer {
    fn note<'n>(&'n self, id: &'n TransactionId) -> Note<'n> {
        let Self { request, outcome, took } = self;
        Note::Relayed { id, request: *request, recipient: None, outcome, took: *took }
    }
}

impl Gathered {
    /// Begins with the findings about the client.
    fn about(connection: Option<&Tally>, reported: Option<&Reported>) -> Self {
        let tally = connection.cloned().unwrap_or_default();
        let reported = reported.map(|reported| Box::new(reported.for_transaction()));
        Self { tally, reported, ..Self::default() }
    }

    /// Records an answer of the relay target, about a recipient or about the content.
    fn note(&mut self, outcome: &Outcome, recipient: bool) {
        self.onward.push(outcome.reply().clone());
        match outcome {
            Outcome::Accepted(receipt) => self.queue_id = receipt.queue_id().map(Into::into),
            Outcome::Refused(_) | Outcome::Failed(_) => {
                if let Outcome::Failed(error) = outcome {
                    self.failures.push(error.clone());
                }
                if recipient {
                    self.tally.recipient_refused();
                }
            }
        }
    }
}
