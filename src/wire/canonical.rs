//! The canonical form of addresses and domains, used for lookups and counters.
//!
//! Servers accept more spellings of an address than RFC 5321 allows. If a scorer accepts fewer, it
//! finds no domain where the onward server finds one, or counts one mailbox under several names. So
//! this module reads addresses as Postfix does (`smtpd`, `trivial-rewrite` and `resolve`), and it
//! never fails.

mod a_label;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::mailbox::SmtpPath;

#[cfg(test)]
mod tests;

/// A mailbox in canonical form, as returned by [`SmtpPath::canonical`].
///
/// Two spellings that Postfix delivers to one mailbox have one canonical form. The exception is the
/// case of the local part, which is kept here. Code that counts mailboxes also folds the case.
///
/// The canonical form is for lookups and counters. The onward server gets [`SmtpPath::written`], octet
/// by octet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct CanonicalMailbox {
    /// The local part with its case, without quotes, escapes, comments and source route. Octets
    /// that are not UTF-8 are read as ISO 8859-1. Empty for the null reverse-path.
    pub local_part: Box<str>,
    /// The domain as [`canonical_domain`] returns it, without empty labels. If brackets contain a
    /// name that is not an address literal, the brackets are removed. (Postfix refuses such
    /// domains; Sendmail and others look them up.) `None` if the path has no domain
    /// (`<postmaster>`): the onward server adds its own.
    pub domain: Option<Box<str>>,
}

impl SmtpPath {
    /// Returns the canonical form of the path: all spellings that Postfix reads as one mailbox have
    /// the same form.
    ///
    /// Quotes, backslashes, comments and white space outside of quotes are removed. A source route
    /// is removed. The domain is the text after the last `@`. Without `@`, it is the front of
    /// `host!user` or the end of `user%host` (Postfix `swap_bangpath`, `allow_percent_hack`). If
    /// the local part repeats the domain (`user%example.org@example.org`), only the user remains.
    ///
    /// ```
    /// let table = [
    ///     ("<a@bad.example>", "a@bad.example"),
    ///     ("<a@BAD.Example.>", "a@bad.example"),
    ///     ("<\"a\"@bad.example>", "a@bad.example"),
    ///     ("<@x,@y:a@bad.example>", "a@bad.example"),
    ///     ("<a@b@bad.example>", "a@b@bad.example"),
    ///     ("<a..b@b\u{fc}cher.example>", "a..b@xn--bcher-kva.example"),
    /// ];
    /// for (written, canonical) in table {
    ///     let sender = nobounce::ReversePath::parse(written)?;
    ///     assert_eq!(sender.path.canonical().to_string(), canonical);
    /// }
    /// # Ok::<(), nobounce::mailbox::PathError>(())
    /// ```
    pub fn canonical(&self) -> CanonicalMailbox {
        CanonicalMailbox::read(self.address())
    }
}

impl CanonicalMailbox {
    fn read(address: &[u8]) -> Self {
        let plain = without_quotes(address);
        let plain = without_route(&plain);
        // An empty domain counts as no domain, and the `@` before it is ignored.
        let text = Some(plain.trim_end_matches('@')).filter(|it| !it.is_empty()).unwrap_or(plain);
        let (mut local_part, domain) = match text.rsplit_once('@') {
            Some((_, "")) => (text, None),
            Some((local_part, domain)) => (local_part, Some(domain)),
            None => match (text.split_once('!'), text.rsplit_once('%')) {
                (Some((host, user)), _) => (user, Some(host)),
                (None, Some((user, host))) => (user, Some(host)),
                (None, None) => (text, None),
            },
        };
        let domain = domain.map(lenient_domain).filter(|domain| !domain.is_empty());
        if let Some(domain) = &domain {
            while let Some(user) = user_of_domain(local_part, domain) {
                local_part = user;
            }
        }
        Self { local_part: local_part.into(), domain: domain.map(String::into_boxed_str) }
    }

    /// Returns whether the mailbox is the null reverse-path: `<>`, or a spelling that Postfix reads
    /// as such (`< >`, `<"">`).
    pub fn is_null(&self) -> bool {
        self.local_part.is_empty() && self.domain.is_none()
    }
}

impl fmt::Display for CanonicalMailbox {
    /// Writes the local part and the domain with `@` between them. The local part may contain any
    /// character.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.local_part)?;
        self.domain.as_ref().map_or(Ok(()), |domain| write!(f, "@{domain}"))
    }
}

/// Returns the form of a domain that is used for lookups and comparisons. It is in lower case,
/// without a trailing dot. U-labels become A-labels (RFC 5890), and an address literal gets one
/// spelling (`[2001:db8::1]`).
///
/// Other characters are kept, so the result is not always a name that DNS can hold. U-labels are
/// mapped by case and width. A name that is not in Normalization Form C is not composed.
///
/// ```
/// use nobounce::mailbox::canonical_domain;
///
/// assert_eq!(canonical_domain("MX.Example.ORG."), "mx.example.org");
/// assert_eq!(canonical_domain("B\u{dc}CHER.example"), "xn--bcher-kva.example");
/// assert_eq!(canonical_domain("[IPv6:2001:DB8:0::1]"), "[2001:db8::1]");
/// ```
pub fn canonical_domain(domain: &str) -> String {
    if let Some(address) = address_literal(domain) {
        return format!("[{address}]");
    }
    if domain.is_ascii() {
        return domain.trim_end_matches('.').to_ascii_lowercase();
    }
    let mapped: String = domain.chars().flat_map(a_label::mapped).collect();
    let labels: Vec<_> = mapped.trim_end_matches('.').split('.').map(a_label::of).collect();
    labels.join(".")
}

/// Returns the canonical form of the domain that a lenient server would look up: without empty
/// labels, and without brackets around a name.
pub(crate) fn lenient_domain(mut domain: &str) -> String {
    loop {
        // Most domains have neither dots nor brackets at their ends.
        domain = domain.trim_matches('.');
        let inner = domain.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let Some(inner) = inner.filter(|_| address_literal(domain).is_none()) else { break };
        domain = inner;
    }
    let domain = canonical_domain(domain);
    if !domain.contains("..") {
        return domain;
    }
    domain.split('.').filter(|label| !label.is_empty()).collect::<Vec<_>>().join(".")
}

/// Returns the address in an address literal (RFC 5321 section 4.1.3), or `None` if `domain` is not
/// one.
pub(crate) fn address_literal(domain: &str) -> Option<IpAddr> {
    let inner = domain.strip_prefix('[')?.strip_suffix(']')?;
    let tagged = inner.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    Some(match tagged {
        true => inner[5..].parse::<Ipv6Addr>().ok()?.to_canonical(),
        false => inner.parse::<Ipv4Addr>().ok()?.into(),
    })
}

/// Returns the address without the parts that RFC 822 allows but that have no meaning: quotes,
/// backslashes, comments, white space, and the list or group that ends in `,` or `;`.
fn without_quotes(address: &[u8]) -> String {
    let mut plain = Vec::with_capacity(address.len());
    let mut octets = address.iter().copied();
    let (mut quoted, mut comments) = (false, 0_usize);
    // The position of the separator that ends a list or group, as long as no other text follows it.
    let mut end = None;
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' if comments == 0 => plain.extend(octets.next()),
            b'\\' => {
                octets.next();
                continue;
            }
            b'(' if !quoted => {
                comments += 1;
                continue;
            }
            b')' if comments > 0 => {
                comments -= 1;
                continue;
            }
            _ if comments > 0 => continue,
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => continue,
            b',' | b';' if !quoted => {
                end.get_or_insert((plain.len(), octet));
                plain.push(octet);
                continue;
            }
            _ => plain.push(octet),
        }
        end = None;
    }
    if let Some((length, octet)) = end {
        plain.truncate(length);
        let front = plain.iter().rposition(|it| *it == b'@').unwrap_or(plain.len());
        if let Some(name) = plain[..front].iter().rposition(|it| *it == b':' && octet == b';') {
            plain.drain(..=name);
        }
    }
    read(&plain)
}

/// Decodes octets as UTF-8, and octets that are not UTF-8 as ISO 8859-1.
fn read(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().copied().map(char::from));
    }
    text
}

/// Returns the address after source routes. RFC 5321 section 4.1.2 requires them to be accepted and
/// ignored.
fn without_route(mut address: &str) -> &str {
    while address.starts_with('@')
        && let Some((_, behind)) = address.split_once(':')
    {
        address = behind;
    }
    address
}

/// Returns the user, if the local part repeats this domain: `user@domain`, `user%domain` or
/// `domain!user`. Postfix resolves the user in this way if the domain is one of those it serves.
fn user_of_domain<'l>(local_part: &'l str, domain: &str) -> Option<&'l str> {
    let same = |host: &&str| canonical_domain(host) == domain;
    let behind = local_part.rsplit_once(['@', '%']).filter(|(_, host)| same(host));
    let before = || local_part.split_once('!').filter(|(host, _)| same(host));
    behind.map(|(user, _)| user).or_else(|| before().map(|(_, user)| user))
}
