//! Mail loops: detects this gate's own marks in mail that it receives.

use super::transaction::Transaction;
use super::{Session, replies};
use crate::envelope::Envelope;
use crate::message::hops::{TraceReader, word_behind};
use crate::wire::attributes::Attribute;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::Reply;

/// The number of this gate's trace fields that are allowed in a message. Without a loop, a mailing
/// list or a forwarding address can send a message back to another recipient of this gate.
const RETURNS: usize = 2;

impl Session {
    /// Returns whether XFORWARD IDENT from a trusted server names a transaction of this gate. The
    /// message has then come back in a loop.
    pub(super) fn has_come_back(&self, envelope: &Envelope) -> bool {
        let ident = envelope.xforward.as_ref().map(|told| &told.ident);
        matches!(ident, Some(Attribute::Known(ident)) if self.id.is_of_the_gate(ident))
    }

    /// Returns whether this gate wrote the trace field. The host name alone is not enough, because
    /// the onward server may have the same name.
    fn is_own_trace(&self, value: &[u8]) -> bool {
        let is_ours = |id: &[u8]| str::from_utf8(id).is_ok_and(|id| self.id.is_of_the_gate(id));
        word_behind(value, "id").is_some_and(is_ours)
            && word_behind(value, "by") == Some(self.settings.host.as_bytes())
    }
}

/// A detector of mail loops in the header section of a content.
pub(super) struct LoopWatch<'s> {
    session: &'s Session,
    recipients: &'s [ForwardPath],
    trace: TraceReader,
    /// The number of trace fields so far, including the one that this gate adds.
    hops: usize,
    /// The number of trace fields that this gate wrote.
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

    /// Returns the refusal of a message in a mail loop. It is a loop of this gate if one of the
    /// gate's own trace fields names a recipient of this transaction, or if there are three of
    /// them. The refusal is then temporary. A message with more trace fields than the limit (100 by
    /// default) is in a loop elsewhere (RFC 5321 section 6.3).
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
