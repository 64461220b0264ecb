//! A running mail transaction.

use std::time::{Duration, Instant};

use super::{EndCause, RefusedRecipient, Session, TransactionEnd};
use crate::envelope::Envelope;
use crate::outcome::Outcome;
use crate::wire::budget::Charge;
use crate::wire::reply::Reply;

#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) envelope: Envelope,
    pub(super) refused: Vec<RefusedRecipient>,
    /// The number of recipients above the limit.
    pub(super) surplus: usize,
    /// Octets of content received.
    pub(super) size: u64,
    /// Octets used for recipients and replies, and the part of them that is charged to the budget.
    pub(super) kept: usize,
    pub(super) charge: Option<Charge>,
    pub(super) began: Instant,
    /// The relay target has given up its state of this transaction.
    pub(super) in_doubt: bool,
    /// The relay target's answer, until the session has acted on it.
    pub(super) outcome: Option<Outcome>,
}

impl Session {
    /// Stores the end of the transaction for the next `poll`.
    pub(super) fn record(
        &mut self,
        transaction: Transaction,
        cause: EndCause,
        reply: Option<Reply>,
    ) {
        self.pace = None;
        let Transaction { mut envelope, refused, size, began, .. } = transaction;
        envelope.conduct = self.conduct_of_client();
        let duration = Duration::ZERO;
        self.xforward = None;
        let end = TransactionEnd { envelope, refused, size, cause, reply, duration };
        self.ended = Some((Box::new(end), began));
    }
}
