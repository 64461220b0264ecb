//! Collects the data of a session's records.

use std::time::Duration;

use crate::deadline::Awaiting;
use crate::envelope::{SessionId, TransactionId};
use crate::observer::{Event, Observers, TransactionRecord};
use crate::outcome::{Outcome, RelayError};
use crate::session::{EndCause, TransactionEnd};
use crate::tally::Tally;
use crate::unwind::drop_caught;
use crate::verdict::Stage;
use crate::wire::reply::Reply;

/// The data for the record, and the events that are delivered after the client got its reply.
pub(super) struct Log<'g> {
    observers: &'g Observers,
    /// The scorers' findings about the client; `None` before the scorers were asked.
    pub(super) connection: Option<Tally>,
    /// The data of the current transaction. It is allocated only during a transaction, so that idle
    /// sessions stay small.
    transaction: Option<Box<(TransactionId, Gathered)>>,
    /// Events between the relay target's answer to a content and the client's reply.
    owed: Vec<Owed>,
    /// Accepted messages whose replies were written to the socket. The client has sent nothing
    /// since.
    pub(super) told: Vec<TransactionRecord>,
}

/// An event that is delivered after the client's reply was written.
#[allow(clippy::large_enum_variant, reason = "most lists hold one of each, for a moment")]
enum Owed {
    Relayed(TransactionId, Outcome),
    Late(SessionId, Awaiting),
    Ended(TransactionRecord),
}

#[derive(Default)]
pub(super) struct Gathered {
    pub(super) tally: Tally,
    onward: Vec<Reply>,
    failures: Vec<RelayError>,
    queue_id: Option<Box<str>>,
    pub(super) scoring: Duration,
    pub(super) relaying: Duration,
}

impl Gathered {
    /// Records an answer of the relay target, about a recipient or about the content.
    pub(super) fn note(&mut self, outcome: &Outcome, recipient: bool) {
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

impl<'g> Log<'g> {
    pub(super) fn new(observers: &'g Observers) -> Self {
        let (owed, told) = (Vec::new(), Vec::new());
        Self { observers, connection: None, transaction: None, owed, told }
    }

    /// Returns the data of this transaction. It starts with the findings about the connection.
    pub(super) fn current(&mut self, id: &TransactionId) -> &mut Gathered {
        if self.transaction.as_ref().is_some_and(|current| current.0 != *id) {
            self.transaction = None;
        }
        let tally = self.connection.get_or_insert_default();
        let gathered = || Gathered { tally: tally.clone(), ..Gathered::default() };
        let fresh = || Box::new((id.clone(), gathered()));
        &mut self.transaction.get_or_insert_with(fresh).1
    }

    pub(super) fn tally(&mut self, id: &TransactionId, stage: Stage) -> &mut Tally {
        match stage {
            Stage::Connect => self.connection.get_or_insert_default(),
            Stage::Rcpt | Stage::Data => &mut self.current(id).tally,
        }
    }

    /// Records the relay target's answer to a content.
    pub(super) fn relayed(&mut self, id: &TransactionId, outcome: &Outcome) {
        // Usually there are two elements: this event and the end of the transaction. By default, a
        // list would allocate four.
        self.owed.reserve_exact(2);
        self.owed.push(Owed::Relayed(id.clone(), outcome.copy_for_event()));
    }

    /// Records that the relay target did not answer a content in time.
    pub(super) fn late(&mut self, session: &SessionId, awaiting: Awaiting) {
        self.owed.push(Owed::Late(session.clone(), awaiting));
    }

    /// Records the end of a transaction. If the client still needs a reply to its content, or if
    /// earlier events wait for that reply, the end is delivered after the reply too.
    pub(super) fn ended(&mut self, end: TransactionEnd) {
        let owes = end.reply.is_some() || end.cause == EndCause::Accepted;
        let record = self.record(end);
        if owes || !self.owed.is_empty() {
            self.owed.reserve_exact(1);
            self.owed.push(Owed::Ended(record));
        } else {
            self.observers.observe(&Event::Ended(&record));
            drop_caught(record);
        }
    }

    /// Returns whether the positive reply to a message is still to be sent.
    pub(super) fn owes_acceptance(&self) -> bool {
        let taken = |owed: &Owed| matches!(owed, Owed::Ended(record) if is_taken(record));
        self.owed.iter().any(taken)
    }

    /// Delivers the waiting events, after the reply was passed to the socket or is known to be
    /// lost.
    #[inline]
    pub(super) fn settle(&mut self, written: bool) {
        // For most replies there are no waiting events.
        if !self.owed.is_empty() {
            self.settle_owed(written);
        }
    }

    fn settle_owed(&mut self, written: bool) {
        for owed in std::mem::take(&mut self.owed) {
            match owed {
                Owed::Relayed(id, outcome) => {
                    let (id, outcome) = (&id, &outcome);
                    self.observers.observe(&Event::Relayed { id, recipient: None, outcome });
                }
                Owed::Late(session, awaiting) => {
                    self.observers.observe(&Event::Late { session: &session, awaiting });
                }
                Owed::Ended(record) => {
                    self.observers.observe(&Event::Ended(&record));
                    match (is_taken(&record), written) {
                        (true, true) => {
                            // Usually there is one element. By default, a list would allocate four.
                            self.told.reserve_exact(1);
                            self.told.push(record);
                        }
                        (true, false) => self.unacknowledged(record),
                        (false, _) => drop_caught(record),
                    }
                }
            }
        }
    }

    /// Ends the connection. If it broke, the client may not have read the last reply.
    pub(super) fn close(&mut self, broken: bool) {
        self.settle(false);
        for record in std::mem::take(&mut self.told).into_iter().filter(|_| broken) {
            self.unacknowledged(record);
        }
    }

    fn unacknowledged(&self, record: TransactionRecord) {
        self.observers.observe(&Event::Unacknowledged(&record));
        drop_caught(record);
    }

    fn record(&mut self, end: TransactionEnd) -> TransactionRecord {
        let gathered = std::mem::take(self.current(&end.envelope.id));
        self.transaction = None;
        let Gathered { tally, onward, failures, queue_id, scoring, relaying } = gathered;
        TransactionRecord { end, tally, onward, failures, queue_id, scoring, relaying }
    }
}

fn is_taken(record: &TransactionRecord) -> bool {
    record.end.cause == EndCause::Accepted
}

impl Drop for Log<'_> {
    /// Delivers the record even if the session is dropped while it writes the reply.
    fn drop(&mut self) {
        self.close(false);
        drop_caught((self.connection.take(), self.transaction.take()));
    }
}
