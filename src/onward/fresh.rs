//! Retries of a request on a new connection. The failure on the old connection may be caused by its
//! earlier transactions, of this client or another one.

use bytes::Bytes;

use super::Onward;
use super::owed::Awaited;
use super::request::Asked;
use super::state::State;
use crate::wire::reply::{Reply, ReplyClass};

impl Onward {
    /// Returns whether the server accepts no more transactions on this connection (RFC 9422
    /// `MAILMAX`).
    pub(super) fn is_spent(&self) -> bool {
        let most = self.offered.as_ref().and_then(|offered| offered.transactions_max);
        self.transactions > 0 && most.is_some_and(|most| self.transactions >= most)
    }

    /// Sends QUIT on a connection that is spent. The current request then uses another connection.
    pub(super) fn replace(&mut self) {
        self.send(Awaited::Quit, Bytes::from_static(b"QUIT\r\n"));
        // The request is retried regardless of the reply to QUIT.
        self.stale = true;
    }

    /// Retries a refused request on a new connection, if earlier transactions on this connection
    /// may have caused the refusal. Returns whether it does. The reply on the new connection is
    /// final.
    pub(super) fn goes_elsewhere(&mut self, awaited: Awaited, reply: &Reply) -> bool {
        let concerns_session = match awaited {
            Awaited::Rcpt => recipient_concerns_session(reply),
            Awaited::RcptAgain => false,
            _ => concerns_session(reply),
        };
        concerns_session && !self.deaf && self.begins_elsewhere(awaited)
    }

    /// Retries the request on a new connection after this one was lost, if this one has served an
    /// earlier transaction. The server may have closed it while it was idle (RFC 5321 section 3.8).
    /// Returns whether it does.
    pub(super) fn was_lost_before(&mut self) -> bool {
        let State::Awaiting(owed) = self.machine.state() else { return false };
        let awaited = owed.first();
        self.begins_elsewhere(awaited)
    }

    /// Retries the request on a new connection, if possible. Returns whether it does. This
    /// connection must have served an earlier transaction, and all accepted recipients must be
    /// known so that RCPT can be repeated. Content that was already sent is never sent again.
    fn begins_elsewhere(&mut self, awaited: Awaited) -> bool {
        let first = self.first_transaction.as_ref();
        let is_first = self.transaction().is_none_or(|asked| first == Some(&asked.id));
        if is_first || self.outcome.is_some() {
            return false;
        }
        let accepted = self.open.as_ref().map_or(0, |held| held.accepted);
        match (awaited, &mut self.asked) {
            (
                Awaited::Mail | Awaited::RcptAgain,
                Some(Asked::Recipient { .. } | Asked::Content { .. } | Asked::Renewal { .. }),
            ) => {}
            (Awaited::Rcpt, Some(Asked::Recipient { .. })) if accepted == 0 => {}
            (Awaited::Data, Some(Asked::Content { transaction, .. })) => {
                let held = self.open.as_mut().map(|held| std::mem::take(&mut held.recipients));
                let recipients = held.unwrap_or_default();
                // If RCPT was repeated on this connection, `again` still lists the recipients.
                if transaction.again.is_empty() {
                    transaction.again = recipients;
                }
                if transaction.again.len() != accepted {
                    return false;
                }
            }
            _ => return false,
        }
        self.stale = false;
        self.break_off();
        true
    }
}

/// Returns whether the refusal of a recipient may concern the session. Most such refusals concern
/// the recipient or the sender (greylisting).
fn recipient_concerns_session(reply: &Reply) -> bool {
    let is_network = reply.status().is_some_and(|status| status.subject() == 4);
    let is_named = matches!(reply.code().value(), 421 | 452 | 503);
    let is_transient = reply.class() == ReplyClass::Transient;
    concerns_session(reply) && (is_named || is_transient && (is_network || blames_session(reply)))
}

/// Returns whether a refusal may concern the session, for example too many messages, too many
/// errors, or commands out of sequence. A refusal that concerns an address does not count, and
/// neither does a permanent refusal that concerns the sender or a policy.
fn concerns_session(reply: &Reply) -> bool {
    let subject = reply.status().map(|status| status.subject());
    match reply.class() {
        ReplyClass::Transient => subject != Some(1),
        ReplyClass::Permanent => match subject {
            Some(1) => false,
            Some(subject) => matches!(subject, 0 | 3 | 4 | 5) || blames_session(reply),
            None => matches!(reply.code().value(), 500..=504 | 521 | 554) || blames_session(reply),
        },
        ReplyClass::Completion | ReplyClass::Intermediate => false,
    }
}

/// Returns whether the text blames the session: `550 5.7.0 Too many messages in this session`.
fn blames_session(reply: &Reply) -> bool {
    let text = reply.to_string().to_ascii_lowercase();
    ["too many", "session", "connection", "timeout", "timed out", "idle"]
        .iter()
        .any(|word| text.contains(word))
}
