//! Mail that goes round in a circle: marks of this gate that come back to it.

use std::ops::ControlFlow;

use super::state::Transaction;
use super::{Session, replies};
use crate::envelope::Envelope;
use crate::message::hops::{visit_received, word_behind};
use crate::wire::attributes::Attribute;
use crate::wire::content::MailData;
use crate::wire::reply::Reply;

/// Trace fields of this gate that content may have without being in a loop: a mailing list or a
/// forwarding address behind us may lead to another recipient of ours.
const RETURNS: usize = 2;

impl Session {
    /// Returns whether a trusted server says by XFORWARD IDENT that this transaction is one of this
    /// gate, which has come back.
    pub(super) fn has_come_back(&self, envelope: &Envelope) -> bool {
        let ident = envelope.xforward.as_ref().map(|told| &told.ident);
        matches!(ident, Some(Attribute::Known(ident)) if self.id.is_of_the_gate(ident))
    }

    /// Returns the refusal of content that goes round in a circle. This gate's own trace field for
    /// one of the same recipients, or three of them, are our own loop and refused for now. 100 trace
    /// fields are a loop somewhere else (RFC 5321 section 6.3).
    pub(super) fn loop_refusal(
        &self,
        transaction: &Transaction,
        content: &MailData,
    ) -> Option<Reply> {
        let limit = self.settings.limits.hops;
        let recipients = &transaction.envelope.forward_paths;
        let (mut hops, mut returns, mut refusal) = (1, 0, None);
        visit_received(content.blocks(), |value| {
            hops += 1;
            if self.is_own_trace(value) {
                returns += 1;
                let path = word_behind(value, "for");
                if returns > RETURNS || recipients.iter().any(|it| path == Some(it.path.written()))
                {
                    refusal = Some(replies::OWN_LOOP);
                    return ControlFlow::Break(());
                }
            }
            if hops > limit {
                refusal = Some(replies::TOO_MANY_HOPS);
            }
            ControlFlow::Continue(())
        });
        refusal
    }

    /// Returns whether this gate wrote the trace field. The name of the host alone does not tell: the
    /// server behind may have the same name.
    fn is_own_trace(&self, value: &[u8]) -> bool {
        let is_ours = |id: &[u8]| str::from_utf8(id).is_ok_and(|id| self.id.is_of_the_gate(id));
        word_behind(value, "id").is_some_and(is_ours)
            && word_behind(value, "by") == Some(self.settings.host.as_bytes())
    }
}
