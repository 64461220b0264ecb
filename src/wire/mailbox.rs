//! Reverse-paths and forward-paths (RFC 5321 section 4.1.2): the octets as the client wrote them,
//! with a parsed view.

use std::fmt::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use memchr::{memchr, memchr3};

use super::line::has_control;
use super::parameters::{MailParameters, ParameterError, RcptParameters, trim_start};
use super::text::{Printable, Written, is_printable};

#[cfg(test)]
mod tests;

/// A path as the client wrote it. It is not checked against the address grammar: servers disagree
/// about it, so the onward server decides. A path contains no control octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpPath {
    /// Everything between the colon and the parameters, including brackets if there are any. It is
    /// reference-counted, since the session, the onward server and the record use the same path.
    written: Arc<[u8]>,
}

/// The sender of a transaction: the argument of MAIL with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReversePath {
    /// The path. `<>` is the null reverse-path of notifications.
    pub path: SmtpPath,
    /// The ESMTP parameters of MAIL.
    pub parameters: MailParameters,
}

/// A recipient: the argument of RCPT with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardPath {
    /// The path.
    pub path: SmtpPath,
    /// The ESMTP parameters of RCPT.
    pub parameters: RcptParameters,
}

/// Reason why octets are not a path with parameters. Fault of the caller of [`ReversePath::parse`]
/// or [`ForwardPath::parse`], or of the client of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The octets contain CR, LF, NUL or another control octet.
    #[error("control character")]
    Control,
    /// The octets do not begin with a path.
    #[error("missing or malformed path")]
    NoPath,
    /// A parameter after the path is invalid.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
}

/// A mailbox, as views into a path: local part and domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mailbox<'p> {
    /// The local part before the `@`, as written, including quotes.
    pub local_part: &'p str,
    /// The domain name or address literal after the `@`. `None` for `<postmaster>`.
    pub domain: Option<&'p str>,
}

impl ReversePath {
    /// Parses the argument after `MAIL FROM:`.
    ///
    /// ```
    /// let sender = nobounce::ReversePath::parse("<\"a b\"@example.org> SIZE=3")?;
    /// assert_eq!(sender.parameters.size, Some(3));
    /// assert_eq!(sender.path.mailbox().and_then(|it| it.domain), Some("example.org"));
    /// # Ok::<(), nobounce::mailbox::PathError>(())
    /// ```
    pub fn parse(argument: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let (path, parameters) = split(argument.as_ref())?;
        Ok(Self { path, parameters: MailParameters::parse(parameters)? })
    }
}

impl ForwardPath {
    /// Parses the argument after `RCPT TO:`, for example `<a@example.org> NOTIFY=NEVER`.
    pub fn parse(argument: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let (path, parameters) = split(argument.as_ref())?;
        Ok(Self { path, parameters: RcptParameters::parse(parameters)? })
    }
}

fn split(argument: &[u8]) -> Result<(SmtpPath, &[u8]), PathError> {
    let scanned = SmtpPath::scan(argument).filter(|(_, parameters)| !has_control(parameters));
    scanned.ok_or_else(|| match has_control(argument) {
        true => PathError::Control,
        false => PathError::NoPath,
    })
}

impl SmtpPath {
    /// Splits a path from the front of `argument`, which is the text after the colon of MAIL or
    /// RCPT. Returns the path and the rest, without the spaces between them.
    pub(crate) fn scan(argument: &[u8]) -> Option<(Self, &[u8])> {
        let (written, rest) = argument.split_at_checked(written_length(argument)?)?;
        if has_control(written) {
            return None;
        }
        let path = Self { written: written.into() };
        Some((path, trim_start(rest)))
    }

    /// Returns the path as sent on the wire after the colon, including spaces before the path.
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// Returns whether the path is the null reverse-path `<>`.
    pub fn is_null(&self) -> bool {
        self.address().is_empty()
    }

    /// Returns the text between the brackets, including a source route. Without brackets, returns
    /// the whole path.
    pub fn address(&self) -> &[u8] {
        let path = self.path();
        path.strip_prefix(b"<").and_then(|inner| inner.strip_suffix(b">")).unwrap_or(path)
    }

    /// Returns the mailbox without the source route, if the path follows the grammar of RFC 5321
    /// (extended by RFC 6531).
    pub fn mailbox(&self) -> Option<Mailbox<'_>> {
        let address = without_route(str::from_utf8(self.address()).ok()?)?;
        let (local_part, rest) = split_local_part(address)?;
        match rest.strip_prefix('@') {
            Some(domain) => (is_domain(domain) || is_address_literal(domain))
                .then_some(Mailbox { local_part, domain: Some(domain) }),
            // RFC 5321 section 2.3.5: only `postmaster` may have no domain.
            None => (rest.is_empty() && local_part.eq_ignore_ascii_case("postmaster"))
                .then_some(Mailbox { local_part, domain: None }),
        }
    }

    fn path(&self) -> &[u8] {
        trim_start(&self.written)
    }
}

impl Written for SmtpPath {
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

impl fmt::Display for SmtpPath {
    /// Writes the path for a log, on one line. Octets that are not UTF-8 and characters that are
    /// not printable become `?`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

impl fmt::Display for Mailbox<'_> {
    /// Writes the mailbox with non-printable characters escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable(self.local_part).fmt(f)?;
        self.domain.map_or(Ok(()), |domain| write!(f, "@{}", Printable(domain)))
    }
}

/// Returns the length in octets of the path at the front of `argument`, including spaces before it.
///
/// In brackets, `>` ends the path unless it is quoted or escaped. A backslash escapes outside of
/// quotes, too. RFC 821 specified this and Postfix reads it so. The gate and the onward server must
/// agree on where a path ends.
fn written_length(argument: &[u8]) -> Option<usize> {
    let path = trim_start(argument);
    let start = argument.len() - path.len();
    if path.first() != Some(&b'<') {
        let length = memchr(b' ', path).unwrap_or(path.len());
        return (length > 0).then_some(start + length);
    }
    // A search is much faster than reading octet by octet, and in most paths the first hit is the
    // end.
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

/// Returns the mailbox after a source route. RFC 5321 section 4.1.2 requires source routes to be
/// accepted and ignored.
fn without_route(address: &str) -> Option<&str> {
    if !address.starts_with('@') {
        return Some(address);
    }
    let (route, mailbox) = address.split_once(':')?;
    let is_hop = |hop: &str| hop.strip_prefix('@').is_some_and(is_domain);
    route.split(',').all(is_hop).then_some(mailbox)
}

/// Splits an address after its `Dot-string` or `Quoted-string`.
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

/// Returns whether `domain` is a `Domain`. U-labels (RFC 6531) are accepted without further checks.
fn is_domain(domain: &str) -> bool {
    let is_let_dig = |octet: u8| octet.is_ascii_alphanumeric() || !octet.is_ascii();
    domain.split('.').all(|label| {
        label.bytes().next().is_some_and(is_let_dig)
            && label.bytes().next_back().is_some_and(is_let_dig)
            && label.bytes().all(|octet| is_let_dig(octet) || octet == b'-')
    })
}

/// Returns whether `domain` is an `address-literal` (RFC 5321 section 4.1.3). `IPv6` is the only
/// tag that has ever been registered.
fn is_address_literal(domain: &str) -> bool {
    let inner = domain.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    match inner.and_then(|inner| inner.split_once(':')) {
        Some((tag, address)) => {
            tag.eq_ignore_ascii_case("IPv6") && address.parse::<Ipv6Addr>().is_ok()
        }
        None => inner.is_some_and(|address| address.parse::<Ipv4Addr>().is_ok()),
    }
}
