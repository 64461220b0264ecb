//! What is known of a mail transaction that runs.

use std::time::{Duration, Instant};

use super::{EndCause, Session, TransactionEnd};
use crate::envelope::Envelope;
use crate::outcome::Outcome;
use crate::wire::budget::Charge;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::Reply;

#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) envelope: Envelope,
    pub(super) refused: Vec<(ForwardPath, Reply)>,
    /// Recipients named when there were enough.
    pub(super) surplus: usize,
    /// Octets of content received.
    pub(super) size: u64,
    /// Octets that are kept of recipients and replies, and what of them is charged to the budget.
    pub(super) kept: usize,
    pub(super) charge: Option<Charge>,
    pub(super) began: Instant,
    /// The relay target has given up what it held of it.
    pub(super) in_doubt: bool,
    /// The relay target's answer, before the session has acted on it.
    pub(super) outcome: Option<Outcome>,
}

impl Session {
    /// Keeps how the transaction ended, for the next `poll`.
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
