//! The limit on recipients in one transaction with the onward server.

use memchr::memchr2_iter;

use super::{Onward, Protocol};
use crate::verdict::Refusal;
use crate::wire::reply::Reply;

/// The policy for one recipient per transaction with an SMTP server. Further recipients get
/// `452 4.5.3`, and the client sends to them in other transactions (RFC 5321 section 4.5.3.1.10).
///
/// Use it for a server that accepts every recipient and then gives one reply to the content for all
/// of them. amavisd is such a server. If it passes a message for one recipient and rejects it for
/// another, it replies `250 … queued as …, but 1 REJECT`. Such a reply is never passed on
/// ([`RelayError::Partial`](crate::outcome::RelayError::Partial)). With one recipient it does not occur. An
/// LMTP server replies per recipient and does not need this policy: see [`Protocol::Lmtp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OneRecipient {
    /// One recipient if the server's greeting or EHLO reply contains the word `amavis` or
    /// `amavisd`. The host name in the reply does not count.
    #[default]
    Amavisd,
    /// Always one recipient. For a server that hides its name, or that passes mail to amavisd
    /// (Postfix with `smtpd_proxy_filter`).
    Always,
    /// No such limit, whatever the server calls itself.
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

/// The reply to a recipient that needs a separate transaction.
pub(crate) const ONE_BY_ONE: Refusal =
    Refusal::fixed(452, 5, 3, "Only one recipient per transaction, send to the others separately");

impl Onward {
    /// Returns the refusal for one more recipient, or `None` if the transaction can have it. The
    /// limit is the server's (RFC 9422 `RCPTMAX`). It is one if the server replies to the content
    /// for each recipient and the client does not support that.
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

/// The maximum number of times that recipients are repeated after a lost connection, until the
/// server accepts a message.
pub(super) const RENEWALS: u8 = 5;

impl Onward {
    /// Reads an unsolicited 421. A server sends it and disconnects when it has refused too many
    /// requests of this client: Postfix `smtpd_hard_error_limit`, Exim `smtp_max_synprot_errors`.
    /// The 421 becomes the outcome of the client's next request. Otherwise the client would
    /// continue on a new connection and be refused again.
    ///
    /// Returns `false` while the reply is incomplete.
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

    /// Returns the number of times that recipients were repeated since the server last accepted a
    /// message. The number belongs to the client and not to the connection. A caller that serves a
    /// client with several connections, or several clients with one, sets it before each request.
    #[cfg(feature = "serve")]
    pub(crate) fn renewals(&mut self) -> &mut u8 {
        &mut self.renewals
    }
}

/// Returns whether the greeting or the EHLO reply says that the server is amavisd:
/// `220 [127.0.0.1] ESMTP amavis service ready`, before 2.12 `amavisd-new`. The first word does not
/// count: it is the host name, and another server's host may have such a name.
pub(super) fn names_amavisd(reply: &Reply) -> bool {
    let text = reply.text().as_bytes();
    // Searches for `v`, the rarest letter of `amavis` in replies. Whitespace is required before
    // `amavis`: the host name is the first word and has none before it.
    memchr2_iter(b'v', b'V', text).any(|letter| {
        let before = letter.checked_sub(4).and_then(|before| text.get(before));
        before.is_some_and(u8::is_ascii_whitespace)
            && text[letter - 3..].get(..6).is_some_and(|it| it.eq_ignore_ascii_case(b"amavis"))
    })
}
