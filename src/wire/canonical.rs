//! The canonical form of addresses and domains: the form that is looked up and counted.
//!
//! A server reads more spellings of an address than RFC 5321 allows. A scorer that reads fewer finds
//! no domain where the onward server finds one, or counts one mailbox under several names. So the
//! reading here is that of Postfix (`smtpd`, `trivial-rewrite` and `resolve`), and it never fails.

mod a_label;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::mailbox::Path;

#[cfg(test)]
mod tests;

/// A mailbox in canonical form, as [`Path::canonical`] reads it.
///
/// Two spellings that Postfix delivers to one mailbox have one canonical form. Only local parts that
/// differ in case stay apart here; what counts mailboxes folds the case as well.
///
/// It is for looking up and counting. To the onward server goes [`Path::written`], octet by octet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct CanonicalMailbox {
    /// The local part in its case, without quotes, escapes, comments and source route. Octets that are
    /// not UTF-8 are read as ISO 8859-1. Empty for the null reverse-path.
    pub local_part: Box<str>,
    /// The domain as [`canonical_domain`] has it, without empty labels; a name in brackets that is no address
    /// literal is that name. (Postfix refuses such domains; Sendmail and others look them up.) `None` if the path has none (`<postmaster>`), which
    /// the onward server completes with its own.
    pub domain: Option<Box<str>>,
}

impl Path {
    /// Reads the path as Postfix reads it, into one form for all spellings of a mailbox.
    ///
    /// Quotes, backslashes, comments and white space outside of quotes are removed. A source route is
    /// left out. The domain is what follows the last `@`; without `@` it is the front of `host!user`
    /// or the end of `user%host` (Postfix `swap_bangpath`, `allow_percent_hack`). A local part that
    /// repeats the domain (`user%example.org@example.org`) is reduced to its user.
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
    /// # Ok::<(), nobounce::PathFault>(())
    /// ```
    pub fn canonical(&self) -> CanonicalMailbox {
        CanonicalMailbox::read(self.address())
    }
}

impl CanonicalMailbox {
    fn read(address: &[u8]) -> Self {
        let plain = without_quotes(address);
        let plain = without_route(&plain);
        // An empty domain is as good as none, and the `@` before it does not count.
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

    /// Whether it is the null reverse-path: `<>`, or a spelling that Postfix takes for it (`< >`,
    /// `<"">`).
    pub fn is_null(&self) -> bool {
        self.local_part.is_empty() && self.domain.is_none()
    }
}

impl fmt::Display for CanonicalMailbox {
    /// Local part and domain with `@` between them; the local part may hold any character.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.local_part)?;
        self.domain.as_ref().map_or(Ok(()), |domain| write!(f, "@{domain}"))
    }
}

/// Returns the form of a domain that is looked up and compared: in lower case, without a dot at its
/// end, U-labels as A-labels (RFC 5890), an address literal in one spelling (`[2001:db8::1]`).
///
/// Other characters stay: the result need not be a name that DNS can hold. U-labels are mapped by
/// case and width; a name that is not in Normalization Form C is not composed.
///
/// ```
/// use nobounce::canonical_domain;
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

/// Returns the canonical form of the domain that a lenient server looks up: without empty labels, and without
/// brackets around a name.
pub(crate) fn lenient_domain(mut domain: &str) -> String {
    loop {
        // The usual domain has neither dots nor brackets at its ends.
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

/// Returns the address of a literal (RFC 5321 section 4.1.3); `None` if it is none.
pub(crate) fn address_literal(domain: &str) -> Option<IpAddr> {
    let inner = domain.strip_prefix('[')?.strip_suffix(']')?;
    let tagged = inner.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    Some(match tagged {
        true => inner[5..].parse::<Ipv6Addr>().ok()?.to_canonical(),
        false => inner.parse::<Ipv4Addr>().ok()?.into(),
    })
}

/// The address without what RFC 822 lets stand in it and what means nothing: quotes, backslashes,
/// comments, white space, and the list or group that ends in `,` or `;`.
fn without_quotes(address: &[u8]) -> String {
    let mut plain = Vec::with_capacity(address.len());
    let mut octets = address.iter().copied();
    let (mut quoted, mut comments) = (false, 0_usize);
    // What ends a list or a group, as long as nothing follows it.
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

/// Octets as text: UTF-8, and what is not as ISO 8859-1.
fn read(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().copied().map(char::from));
    }
    text
}

/// The address behind source routes, which RFC 5321 section 4.1.2 wants accepted and ignored.
fn without_route(mut address: &str) -> &str {
    while address.starts_with('@')
        && let Some((_, behind)) = address.split_once(':')
    {
        address = behind;
    }
    address
}

/// The user, if the local part names this domain once more: `user@domain`, `user%domain` or
/// `domain!user`. Postfix goes on from there if the domain is its own.
fn user_of_domain<'l>(local_part: &'l str, domain: &str) -> Option<&'l str> {
    let same = |host: &&str| canonical_domain(host) == domain;
    let behind = local_part.rsplit_once(['@', '%']).filter(|(_, host)| same(host));
    let before = || local_part.split_once('!').filter(|(host, _)| same(host));
    behind.map(|(user, _)| user).or_else(|| before().map(|(_, user)| user))
}
