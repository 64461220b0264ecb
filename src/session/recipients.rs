//! What recipients cost: memory for those of a transaction, and patience with those that are refused.

use std::mem::size_of;

use super::Session;
use super::transaction::Transaction;
use crate::wire::budget::Charge;
use crate::wire::mailbox::{ForwardPath, Path};
use crate::wire::reply::Reply;

/// Octets of an envelope that are not charged to the budget: so much most of them need not even have.
const UNCHARGED: usize = 4_096;
/// Octets that are charged at once.
const STEP: usize = 4_096;

impl Transaction {
    /// RCPT commands that were answered for a recipient, with yes or no.
    pub(super) fn attempts(&self) -> usize {
        self.envelope.forward_paths.len() + self.refused.len()
    }

    /// Charges the budget for what is kept of this recipient. Says whether it can pay.
    pub(super) fn afford_recipient(&mut self, session: &Session, path: &ForwardPath) -> bool {
        let octets = kept_of_path(&path.path, path.parameters.raw()) + size_of::<ForwardPath>();
        self.afford(session, octets)
    }

    /// Charges the budget for the reply to a recipient, of which the record has a copy. A reply for
    /// which there is no money is kept all the same: it was read, and its length is bounded.
    pub(super) fn pay_for_reply(&mut self, session: &Session, reply: &Reply) {
        self.afford(session, size_of::<Reply>() + reply.text().len());
    }

    fn afford(&mut self, session: &Session, octets: usize) -> bool {
        if self.kept == 0 {
            let sender = &self.envelope.reverse_path;
            self.kept = kept_of_path(&sender.path, sender.parameters.raw());
        }
        let kept = self.kept.saturating_add(octets);
        let due = kept.saturating_sub(UNCHARGED).div_ceil(STEP) * STEP;
        let charged = self.charge.as_ref().map_or(0, Charge::octets);
        if due > charged {
            let charge = self.charge.get_or_insert_with(|| session.settings.budget.charge());
            if !charge.grow(due - charged) {
                return false;
            }
        }
        self.kept = kept;
        true
    }
}

/// Octets that are kept of a path and its parameters, what they are kept in included.
fn kept_of_path(path: &Path, parameters: &[u8]) -> usize {
    2 * size_of::<usize>() + path.written().len() + parameters.len()
}

/// Recipients of a session that were refused with 5yz.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refused {
    /// Since the last one that was accepted.
    pub(super) in_a_row: u32,
    all: u32,
}

impl Session {
    /// A recipient was refused for good. Says whether there were too many of them: addresses are
    /// guessed, or a list is old. Those of our own networks and those that a trusted server forwards
    /// are not counted.
    pub(super) fn has_too_many_refused(&mut self) -> bool {
        let is_exempt = self.xforward.is_some() || self.settings.own_networks.include(&self.peer);
        if is_exempt {
            return false;
        }
        let Refused { in_a_row, all } = &mut self.refused;
        (*in_a_row, *all) = (in_a_row.saturating_add(1), all.saturating_add(1));
        let limits = &self.settings.limits;
        *in_a_row >= limits.refused_in_a_row || *all >= limits.refused_recipients
    }
}
