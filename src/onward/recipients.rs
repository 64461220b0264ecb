//! How many recipients a transaction with the onward server may have.

use super::{Onward, Protocol};
use crate::verdict::Refusal;
use crate::wire::reply::Reply;

/// Whether an SMTP server is offered one recipient in each transaction; the others are told `452 4.5.3` and
/// the client sends to them in transactions of their own (RFC 5321 section 4.5.3.1.10).
///
/// For a server that takes every recipient and decides at the end of data, with one answer for all of them.
/// amavisd is one: a message that it passes for one recipient and rejects for another is answered `250 …
/// queued as …, but 1 REJECT`. Such an answer is never passed on ([`RelayError::Partial`](crate::RelayError::Partial)); with one recipient
/// it does not come up. A server for LMTP answers per recipient and needs none of this: see [`Protocol::Lmtp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OneRecipient {
    /// If the server's greeting or its reply to EHLO names `amavisd`.
    #[default]
    Amavisd,
    /// Always: for a server that hides what it is, or that has amavisd behind it (Postfix with
    /// `smtpd_proxy_filter`).
    Always,
    /// Never, whatever the server calls itself.
    Never,
}

impl OneRecipient {
    pub(super) fn applies(self, is_amavisd: bool) -> bool {
        match self {
            Self::Amavisd => is_amavisd,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// What a recipient is told who belongs in a transaction of its own.
pub(crate) const ONE_BY_ONE: Refusal =
    Refusal::fixed(452, 5, 3, "One recipient at a time, send the rest again");

impl Onward {
    /// What one more recipient is told, if the transaction has as many as it may have: as the server says
    /// (RFC 9422 `RCPTMAX`), or one, if the server answers the content for each recipient and the client does
    /// not understand so many answers.
    pub(super) fn surplus(&self, recipients: usize, prdr: bool) -> Option<Refusal> {
        const TOO_MANY: Refusal =
            Refusal::fixed(452, 5, 3, "Too many recipients, send the rest in another transaction");
        let for_each = self.settings.protocol == Protocol::Lmtp && !prdr;
        let most = match self.settings.one_recipient {
            OneRecipient::Always => Some(1),
            _ if for_each => Some(1),
            _ => self.offered.as_ref()?.recipients_max,
        };
        match most? {
            most if recipients < most => None,
            1 => Some(ONE_BY_ONE),
            _ => Some(TOO_MANY),
        }
    }
}

/// Whether the server says in its greeting or in its reply to EHLO that it is amavisd.
pub(super) fn names_amavisd(reply: &Reply) -> bool {
    let is_it = |word: &[u8]| word.eq_ignore_ascii_case(b"amavisd");
    reply.lines().any(|line| line.as_bytes().windows(7).any(is_it))
}
