//! What is gathered of a session for the record.

use std::time::Duration;

use crate::envelope::TransactionId;
use crate::observer::TransactionRecord;
use crate::outcome::{Outcome, RelayError};
use crate::session::TransactionEnd;
use crate::tally::Tally;
use crate::verdict::Stage;
use crate::wire::reply::Reply;

/// What is gathered for the record.
#[derive(Default)]
pub(super) struct Log {
    /// What scorers said of the client; `None` before they were asked.
    pub(super) connection: Option<Tally>,
    /// Only while there is one: idle sessions have none.
    transaction: Option<Box<(TransactionId, Gathered)>>,
    /// Messages that the relay target has taken and the client has not been told of.
    pub(super) unacknowledged: Vec<Box<TransactionRecord>>,
    /// Of these it has been told, as far as writing to it tells; it has not been heard since.
    pub(super) told: Vec<Box<TransactionRecord>>,
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

impl Log {
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

    pub(super) fn record(&mut self, mut end: TransactionEnd) -> TransactionRecord {
        let gathered = std::mem::take(self.current(&end.envelope.id));
        self.transaction = None;
        let Gathered { tally, mut onward, failures, queue_id, scoring, relaying } = gathered;
        // It may be kept while the client sits idle.
        onward.shrink_to_fit();
        end.envelope.forward_paths.shrink_to_fit();
        TransactionRecord { end, tally, onward, failures, queue_id, scoring, relaying }
    }
}
