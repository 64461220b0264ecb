//! Reverse- and forward-paths (RFC 5321 section 4.1.2): octets as the client wrote them, with a
//! parsed view beside them.

use std::fmt::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use memchr::{memchr, memchr3};

use super::line::has_control;
use super::parameters::{MailParameters, ParameterFault, RcptParameters, trim_start};
use super::text::{Printable, Written, is_printable};

#[cfg(test)]
mod tests;

/// A path as the client wrote it. No address grammar is imposed: servers disagree, and the one
/// behind us decides. It holds no control octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Everything between the colon and the parameters, brackets (if any) included. Shared, since the
    /// session, the onward server and the record have the same.
    written: Arc<[u8]>,
}

/// The sender of a transaction: the argument of MAIL with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReversePath {
    /// The path. `<>` is the null reverse-path of notifications.
    pub path: Path,
    /// The ESMTP parameters it came with.
    pub parameters: MailParameters,
}

/// A recipient: the argument of RCPT with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardPath {
    /// The path.
    pub path: Path,
    /// The ESMTP parameters it came with.
    pub parameters: RcptParameters,
}

/// Why something is not a path with its parameters. The fault is of whoever wrote it: the caller of
/// [`ReversePath::parse`] and [`ForwardPath::parse`], or the client of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathFault {
    /// It holds CR, LF, NUL or another control octet.
    #[error("control character")]
    Control,
    /// It does not begin with a path.
    #[error("no path")]
    NoPath,
    /// What follows the path is wrong.
    #[error(transparent)]
    Parameter(#[from] ParameterFault),
}

/// A mailbox: local part and domain, as views into a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mailbox<'p> {
    /// Before the `@`, as written, quotes included.
    pub local_part: &'p str,
    /// Behind the `@`: a domain name or an address literal. `None` for `<postmaster>`.
    pub domain: Option<&'p str>,
}

impl ReversePath {
    /// Reads what may stand behind `MAIL FROM:`.
    ///
    /// ```
    /// let sender = nobounce::ReversePath::parse("<\"a b\"@example.org> SIZE=3")?;
    /// assert_eq!(sender.parameters.size, Some(3));
    /// assert_eq!(sender.path.mailbox().and_then(|it| it.domain), Some("example.org"));
    /// # Ok::<(), nobounce::PathFault>(())
    /// ```
    pub fn parse(argument: impl AsRef<[u8]>) -> Result<Self, PathFault> {
        let (path, parameters) = split(argument.as_ref())?;
        Ok(Self { path, parameters: MailParameters::parse(parameters)? })
    }
}

impl ForwardPath {
    /// Reads what may stand behind `RCPT TO:`, for example `<a@example.org> NOTIFY=NEVER`.
    pub fn parse(argument: impl AsRef<[u8]>) -> Result<Self, PathFault> {
        let (path, parameters) = split(argument.as_ref())?;
        Ok(Self { path, parameters: RcptParameters::parse(parameters)? })
    }
}

fn split(argument: &[u8]) -> Result<(Path, &[u8]), PathFault> {
    let scanned = Path::scan(argument).filter(|(_, parameters)| !has_control(parameters));
    scanned.ok_or_else(|| match has_control(argument) {
        true => PathFault::Control,
        false => PathFault::NoPath,
    })
}

impl Path {
    /// Scans a path off the front of `argument` (what stands behind the colon of MAIL FROM: or RCPT
    /// TO:); gives back what stands behind it and behind the spaces that follow it.
    pub(crate) fn scan(argument: &[u8]) -> Option<(Self, &[u8])> {
        let (written, rest) = argument.split_at_checked(written_length(argument)?)?;
        if has_control(written) {
            return None;
        }
        let path = Self { written: written.into() };
        Some((path, trim_start(rest)))
    }

    /// As it stands on the wire behind the colon, spaces before the path included.
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// Whether it is `<>`.
    pub fn is_null(&self) -> bool {
        self.address().is_empty()
    }

    /// What stands between the brackets (all of it where there are none), source route included.
    pub fn address(&self) -> &[u8] {
        let path = self.path();
        path.strip_prefix(b"<").and_then(|inner| inner.strip_suffix(b">")).unwrap_or(path)
    }

    /// The mailbox, if the path is one by the grammar of RFC 5321 (and RFC 6531), source route
    /// left out.
    pub fn mailbox(&self) -> Option<Mailbox<'_>> {
        let address = without_route(str::from_utf8(self.address()).ok()?)?;
        let (local_part, rest) = split_local_part(address)?;
        match rest.strip_prefix('@') {
            Some(domain) => (is_domain(domain) || is_address_literal(domain))
                .then_some(Mailbox { local_part, domain: Some(domain) }),
            // RFC 5321 section 2.3.5: the one mailbox that needs no domain.
            None => (rest.is_empty() && local_part.eq_ignore_ascii_case("postmaster"))
                .then_some(Mailbox { local_part, domain: None }),
        }
    }

    fn path(&self) -> &[u8] {
        trim_start(&self.written)
    }
}

impl Written for Path {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        let is_plain = |octet: &u8| (b' '..=b'~').contains(octet);
        if self.path().iter().fold(true, |all, octet| all & is_plain(octet)) {
            return to.write_str(str::from_utf8(self.path()).unwrap_or_default());
        }
        for chunk in self.path().utf8_chunks() {
            let deceives = |c: char| !is_printable(c);
            for part in chunk.valid().split_inclusive(deceives) {
                match part.strip_suffix(deceives) {
                    Some(plain) => {
                        to.write_str(plain)?;
                        to.write_char('?')?;
                    }
                    None => to.write_str(part)?,
                }
            }
            if !chunk.invalid().is_empty() {
                to.write_char('?')?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Path {
    /// The path for a log: on one line, `?` for what is neither UTF-8 nor printable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

impl fmt::Display for Mailbox<'_> {
    /// The mailbox as written, but for characters that are not printable, which are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable(self.local_part).fmt(f)?;
        self.domain.map_or(Ok(()), |domain| write!(f, "@{}", Printable(domain)))
    }
}

/// How many octets the path at the front of `argument` takes, spaces before it included.
///
/// In brackets, `>` ends the path unless it is quoted or escaped. A backslash escapes outside of
/// quotes, too: RFC 821 had it so and Postfix reads it so, and where a path ends is not a matter
/// to disagree on with the server behind.
fn written_length(argument: &[u8]) -> Option<usize> {
    let path = trim_start(argument);
    let start = argument.len() - path.len();
    if path.first() != Some(&b'<') {
        let length = memchr(b' ', path).unwrap_or(path.len());
        return (length > 0).then_some(start + length);
    }
    // Found much faster than read, and mostly all that there is.
    let first = memchr3(b'>', b'"', b'\\', path)?;
    let mut quoted = false;
    let mut octets = path.iter().zip(1..).skip(first);
    while let Some((octet, length)) = octets.next() {
        match octet {
            b'\\' => {
                octets.next()?;
            }
            b'"' => quoted = !quoted,
            b'>' if !quoted => {
                let ends = matches!(path.get(length), None | Some(b' '));
                return ends.then_some(start + length);
            }
            _ => {}
        }
    }
    None
}

/// The mailbox behind a source route, which RFC 5321 section 4.1.2 wants accepted and ignored.
fn without_route(address: &str) -> Option<&str> {
    if !address.starts_with('@') {
        return Some(address);
    }
    let (route, mailbox) = address.split_once(':')?;
    let is_hop = |hop: &str| hop.strip_prefix('@').is_some_and(is_domain);
    route.split(',').all(is_hop).then_some(mailbox)
}

/// Splits behind a `Dot-string` or a `Quoted-string`.
fn split_local_part(address: &str) -> Option<(&str, &str)> {
    let Some(quoted) = address.strip_prefix('"') else {
        let length = address.find('@').unwrap_or(address.len());
        let (local_part, rest) = address.split_at_checked(length)?;
        let is_atom = |atom: &str| !atom.is_empty() && atom.bytes().all(is_atext);
        return local_part.split('.').all(is_atom).then_some((local_part, rest));
    };
    let mut octets = quoted.bytes().zip(2..);
    while let Some((octet, length)) = octets.next() {
        match octet {
            b'"' => return address.split_at_checked(length),
            b'\\' => {
                octets.next().filter(|(escaped, _)| (b' '..=b'~').contains(escaped))?;
            }
            _ => {}
        }
    }
    None
}

fn is_atext(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || !octet.is_ascii() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

/// `Domain`, with U-labels (RFC 6531) taken for what they claim to be.
fn is_domain(domain: &str) -> bool {
    let is_let_dig = |octet: u8| octet.is_ascii_alphanumeric() || !octet.is_ascii();
    domain.split('.').all(|label| {
        label.bytes().next().is_some_and(is_let_dig)
            && label.bytes().next_back().is_some_and(is_let_dig)
            && label.bytes().all(|octet| is_let_dig(octet) || octet == b'-')
    })
}

/// `address-literal` (RFC 5321 section 4.1.3). Of its tags, only `IPv6` has ever been registered.
fn is_address_literal(domain: &str) -> bool {
    let inner = domain.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    match inner.and_then(|inner| inner.split_once(':')) {
        Some((tag, address)) => {
            tag.eq_ignore_ascii_case("IPv6") && address.parse::<Ipv6Addr>().is_ok()
        }
        None => inner.is_some_and(|address| address.parse::<Ipv4Addr>().is_ok()),
    }
}
