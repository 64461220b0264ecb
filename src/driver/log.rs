//! What is gathered of a session for the record.

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

/// What is gathered for the record, and the events that are observed once the client has its reply.
pub(super) struct Log<'g> {
    observers: &'g Observers,
    /// What scorers said of the client; `None` before they were asked.
    pub(super) connection: Option<Tally>,
    /// Only while there is one: idle sessions have none.
    transaction: Option<Box<(TransactionId, Gathered)>>,
    /// Events between the relay target's answer to a content and the client's reply.
    owed: Vec<Owed>,
    /// Of these it has been told, as far as writing to it tells; it has not been heard since.
    pub(super) told: Vec<TransactionRecord>,
}

/// An event that waits for the client's reply to be written.
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
    /// The relay target has answered, about a recipient or about the content.
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

    /// What is gathered of this transaction; it begins with what was said of the connection.
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

    /// The relay target has answered a content.
    pub(super) fn relayed(&mut self, id: &TransactionId, outcome: &Outcome) {
        // A list would make room for four; this event and the end of the transaction are the rule.
        self.owed.reserve_exact(2);
        self.owed.push(Owed::Relayed(id.clone(), outcome.copy_for_event()));
    }

    /// The relay target has not answered a content in time.
    pub(super) fn late(&mut self, session: &SessionId, awaiting: Awaiting) {
        self.owed.push(Owed::Late(session.clone(), awaiting));
    }

    /// A transaction has ended. If that owes the client a reply to its content, or if events before
    /// it wait for one, the end waits too.
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

    /// Whether the client is still to be told that its message was taken.
    pub(super) fn owes_acceptance(&self) -> bool {
        let taken = |owed: &Owed| matches!(owed, Owed::Ended(record) if is_taken(record));
        self.owed.iter().any(taken)
    }

    /// The reply was handed to the socket, or it is known to be lost: what waited for that is
    /// observed.
    #[inline]
    pub(super) fn settle(&mut self, written: bool) {
        // Most replies are owed nothing.
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
                            // There is mostly one, and lists make room for four.
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

    /// The connection is over. A client whose connection broke has perhaps not read the last reply.
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
    /// The session may be dropped while it writes the reply: its record is observed all the same.
    fn drop(&mut self) {
        self.close(false);
        drop_caught((self.connection.take(), self.transaction.take()));
    }
}
