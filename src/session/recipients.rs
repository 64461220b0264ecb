//! Limits on recipients: the memory for those of a transaction, and the number of refused ones.

use std::mem::size_of;

use super::Session;
use super::transaction::Transaction;
use crate::wire::budget::Charge;
use crate::wire::mailbox::{ForwardPath, SmtpPath};
use crate::wire::reply::Reply;

/// Octets of an envelope that are not charged to the budget. Most envelopes are smaller.
const UNCHARGED: usize = 4_096;
/// The granularity of charges in octets.
const STEP: usize = 4_096;

impl Transaction {
    /// Returns the number of recipients that were accepted or refused.
    pub(super) fn attempts(&self) -> usize {
        self.envelope.forward_paths.len() + self.refused.len()
    }

    /// Charges the budget for a recipient. Returns whether the budget was sufficient.
    pub(super) fn afford_recipient(&mut self, session: &Session, path: &ForwardPath) -> bool {
        let octets = kept_of_path(&path.path, path.parameters.raw()) + size_of::<ForwardPath>();
        self.afford(session, octets)
    }

    /// Charges the budget for the reply to a recipient, because the record keeps a copy. If the
    /// budget is exhausted, the reply is kept anyway: it is already in memory, and its length is
    /// bounded.
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

/// Returns the octets used for a path and its parameters, including their containers.
fn kept_of_path(path: &SmtpPath, parameters: &[u8]) -> usize {
    2 * size_of::<usize>() + path.written().len() + parameters.len()
}

/// The number of recipients in a session that were refused with 5yz.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refused {
    /// The number of recipients refused since the last accepted one.
    pub(super) in_a_row: u32,
    all: u32,
}

impl Session {
    /// Counts a recipient refused with 5yz. Returns whether there are too many. Many refusals
    /// suggest guessed addresses or an outdated list. Recipients from our own networks and from
    /// clients named by XFORWARD do not count.
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
