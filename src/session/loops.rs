//! Mail that goes round in a circle: marks of this gate that come back to it.

use super::transaction::Transaction;
use super::{Session, replies};
use crate::envelope::Envelope;
use crate::message::hops::{TraceReader, word_behind};
use crate::wire::attributes::Attribute;
use crate::wire::mailbox::ForwardPath;
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

    /// Returns whether this gate wrote the trace field. The name of the host alone does not tell: the
    /// server behind may have the same name.
    fn is_own_trace(&self, value: &[u8]) -> bool {
        let is_ours = |id: &[u8]| str::from_utf8(id).is_ok_and(|id| self.id.is_of_the_gate(id));
        word_behind(value, "id").is_some_and(is_ours)
            && word_behind(value, "by") == Some(self.settings.host.as_bytes())
    }
}

/// Looks for loops in the header section of a content.
pub(super) struct LoopWatch<'s> {
    session: &'s Session,
    recipients: &'s [ForwardPath],
    trace: TraceReader,
    /// Trace fields so far, the one that we write included.
    hops: usize,
    /// Those of this gate.
    returns: usize,
    is_own_loop: bool,
}

impl<'s> LoopWatch<'s> {
    pub(super) fn new(session: &'s Session, transaction: &'s Transaction) -> Self {
        let recipients = &transaction.envelope.forward_paths;
        let trace = TraceReader::default();
        Self { session, recipients, trace, hops: 1, returns: 0, is_own_loop: false }
    }

    /// Takes the next line of the header section.
    pub(super) fn line(&mut self, line: &[u8]) {
        if let Some(value) = self.trace.next(line) {
            self.hop(&value);
        }
    }

    /// Returns the refusal of content that goes round in a circle. This gate's own trace field for
    /// one of the same recipients, or three of them, are our own loop and refused for now. 100 trace
    /// fields are a loop somewhere else (RFC 5321 section 6.3).
    pub(super) fn refusal(mut self) -> Option<Reply> {
        if let Some(value) = std::mem::take(&mut self.trace).finish() {
            self.hop(&value);
        }
        match self.is_own_loop {
            true => Some(replies::OWN_LOOP),
            false if self.hops > self.session.settings.limits.hops => Some(replies::TOO_MANY_HOPS),
            false => None,
        }
    }

    fn hop(&mut self, value: &[u8]) {
        self.hops += 1;
        if self.session.is_own_trace(value) {
            self.returns += 1;
            let path = word_behind(value, "for");
            let same = self.recipients.iter().any(|it| path == Some(it.path.written()));
            self.is_own_loop |= same || self.returns > RETURNS;
        }
    }
}
