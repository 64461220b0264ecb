//! How many recipients a transaction with the onward server may have.

use memchr::memchr2_iter;

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
    /// If the server's greeting or its reply to EHLO names `amavis` or `amavisd`, otherwise than as its host.
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

/// How often recipients are named again to a server that has forgotten them with a connection, until it
/// takes a message.
pub(super) const RENEWALS: u8 = 5;

impl Onward {
    /// Hears the server's 421 to nothing, if it leaves because of what it has refused this client:
    /// Postfix `smtpd_hard_error_limit`, Exim `smtp_max_synprot_errors`. It is the answer to what the
    /// client asks next. On another connection the same client would go on to be refused.
    ///
    /// Returns `false` while the reply may still become that.
    pub(super) fn part(&mut self) -> bool {
        if self.refusals == 0 {
            return true;
        }
        match self.reader.next(self.settings.replies) {
            Ok(None) => return false,
            Ok(Some(reply)) if reply.code().value() == 421 => {
                self.farewell = Refusal::try_from(reply).ok();
            }
            Ok(Some(_)) | Err(_) => {}
        }
        true
    }

    /// How often recipients were named again since the server last took a message: for a connection
    /// that takes the place of another.
    #[cfg(feature = "serve")]
    pub(crate) fn renewals(&mut self) -> &mut u8 {
        &mut self.renewals
    }
}

/// Whether the server says in its greeting or in its reply to EHLO that it is amavisd: `220 [127.0.0.1] ESMTP
/// amavis service ready`, before 2.12 `amavisd-new`. The first word is the server's host name, and the host of
/// another server may be called so.
pub(super) fn names_amavisd(reply: &Reply) -> bool {
    let text = reply.text().as_bytes();
    // A word with a letter that is rare in replies; the first word is the name of the host.
    memchr2_iter(b'v', b'V', text).any(|letter| {
        let before = letter.checked_sub(4).and_then(|before| text.get(before));
        before.is_some_and(u8::is_ascii_whitespace)
            && text[letter - 3..].get(..6).is_some_and(|it| it.eq_ignore_ascii_case(b"amavis"))
    })
}
