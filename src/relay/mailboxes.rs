//! The mailboxes that a relay target accepts mail for.

use std::collections::{HashMap, HashSet};

use crate::wire::canonical::{CanonicalMailbox, address_literal, canonical_domain};
use crate::wire::mailbox::SmtpPath;

#[cfg(test)]
mod tests;

/// A set of mailboxes that your own relay target accepts mail for.
///
/// The path of a RCPT command is interpreted as Postfix does ([`SmtpPath::canonical`]), so all
/// spellings of a mailbox are found. Local parts are compared case-insensitively (RFC 5321 section
/// 2.4) and without their quotes and backslashes (section 4.1.2). Domains are compared
/// case-insensitively, without a final dot, and with U-labels converted to A-labels (RFC 5890).
/// Address literals are compared by the address they stand for (section 4.1.3).
///
/// The postmaster is always in the set: `<postmaster>` without a domain, and `postmaster` at each
/// domain of the set (RFC 5321 section 4.5.1).
///
/// ```
/// use nobounce::ForwardPath;
/// use nobounce::relay::{Mailboxes, Match};
///
/// let mailboxes = Mailboxes::new(["alice@example.org", "bob@bücher.example"])?.delimiter('+');
/// let table = [
///     ("<Alice@EXAMPLE.org>", Some(Match::Mailbox("alice@example.org"))),
///     ("<alice+lists@example.org>", Some(Match::Mailbox("alice@example.org"))),
///     ("<bob@xn--bcher-kva.example>", Some(Match::Mailbox("bob@bücher.example"))),
///     ("<Postmaster>", Some(Match::Postmaster)),
///     ("<postmaster@example.org>", Some(Match::Postmaster)),
///     ("<carol@example.org>", None),
///     ("<alice@example.net>", None),
/// ];
/// for (written, expected) in table {
///     let recipient = ForwardPath::parse(written)?;
///     assert_eq!(mailboxes.find(&recipient.path), expected);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Mailboxes {
    /// Each mailbox as the caller wrote it, by its domain and its lower-case local part.
    mailboxes: HashMap<CanonicalMailbox, Box<str>>,
    domains: HashSet<Box<str>>,
    delimiter: Option<char>,
}

/// The entry of a set of [`Mailboxes`] that a path matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Match<'m> {
    /// This mailbox, as written when the set was created.
    Mailbox(&'m str),
    /// The postmaster, which is not listed as a mailbox.
    Postmaster,
}

/// The error for a mailbox that is not of the form `local-part@domain`. Caller fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a mailbox: expected LOCAL-PART@DOMAIN")]
pub struct MailboxError(Box<str>);

impl Mailboxes {
    /// Creates a set of these mailboxes, each of the form `local-part@domain`.
    ///
    /// The local part may be quoted. The domain may be an address literal (`alice@[192.0.2.1]`).
    ///
    /// # Errors
    ///
    /// Returns the first mailbox whose local part is empty, or whose domain is neither a name nor an
    /// address literal.
    pub fn new<S: AsRef<str>>(
        mailboxes: impl IntoIterator<Item = S>,
    ) -> Result<Self, MailboxError> {
        let mut set = Self::default();
        for mailbox in mailboxes {
            let mailbox = mailbox.as_ref();
            let key = read(mailbox).ok_or_else(|| MailboxError(mailbox.into()))?;
            set.domains.extend(key.domain.clone());
            set.mailboxes.insert(key, mailbox.into());
        }
        Ok(set)
    }

    /// Sets the character that separates a mailbox from an extension in local parts, such as `+`
    /// (Postfix `recipient_delimiter`, subaddresses of RFC 5233). Not set by default.
    ///
    /// `alice+lists` is first looked up unchanged, then as `alice`.
    #[must_use]
    pub fn delimiter(mut self, delimiter: char) -> Self {
        self.delimiter = Some(delimiter);
        self
    }

    /// Returns the entry that the path matches.
    pub fn find(&self, path: &SmtpPath) -> Option<Match<'_>> {
        let mut wanted = path.canonical();
        fold(&mut wanted.local_part);
        if let Some(found) = self.look_up(&wanted) {
            return Some(found);
        }
        let (user, _) = wanted.local_part.split_once(self.delimiter?)?;
        if user.is_empty() {
            return None;
        }
        wanted.local_part = user.into();
        self.look_up(&wanted)
    }

    /// Returns whether the path matches an entry of the set.
    pub fn contains(&self, path: &SmtpPath) -> bool {
        self.find(path).is_some()
    }

    fn look_up(&self, wanted: &CanonicalMailbox) -> Option<Match<'_>> {
        if let Some(mailbox) = self.mailboxes.get(wanted) {
            return Some(Match::Mailbox(mailbox));
        }
        let of_us = wanted.domain.as_ref().is_none_or(|domain| self.domains.contains(domain));
        (of_us && &*wanted.local_part == "postmaster").then_some(Match::Postmaster)
    }
}

/// Parses a mailbox that the caller wrote. Unlike in a path, no part of it is dropped.
fn read(mailbox: &str) -> Option<CanonicalMailbox> {
    let (local_part, written) = mailbox.rsplit_once('@')?;
    let domain = canonical_domain(written);
    let is_name = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
    let is_domain = match address_literal(written) {
        Some(_) => true,
        None => !domain.is_empty() && domain.bytes().all(is_name),
    };
    let mut local_part = unquoted(local_part).into_boxed_str();
    fold(&mut local_part);
    let is_mailbox = is_domain && !local_part.is_empty();
    is_mailbox.then(|| CanonicalMailbox { local_part, domain: Some(domain.into()) })
}

/// Removes quotes and backslashes: `"a\b c"` becomes `ab c` (RFC 5321 section 4.1.2).
fn unquoted(local_part: &str) -> String {
    let inner = local_part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(inner) = inner else { return local_part.into() };
    let mut characters = inner.chars();
    let plain = std::iter::from_fn(|| match characters.next()? {
        '\\' => characters.next(),
        character => Some(character),
    });
    plain.collect()
}

fn fold(local_part: &mut Box<str>) {
    *local_part = local_part.to_lowercase().into();
}
