//! Reverse- and forward-paths (RFC 5321 section 4.1.2): octets as the client wrote them, with a
//! parsed view beside them.

use bytes::Bytes;

use super::command::{MailParameters, RcptParameters};

/// A path as the client wrote it. No address grammar is imposed: servers disagree, and the one
/// behind us decides. It holds no control octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Everything between the colon and the parameters, brackets (if any) included.
    written: Bytes,
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

/// A mailbox: local part and domain, as views into a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mailbox<'p> {
    /// Before the `@`, as written, quotes included.
    pub local_part: &'p str,
    /// Behind the `@`: a domain name or an address literal. `None` for `<postmaster>`.
    pub domain: Option<&'p str>,
}

impl Path {
    /// Scans a path off the front of `argument` (what stands behind the colon of MAIL FROM: or RCPT
    /// TO:); gives back what stands behind it.
    pub(crate) fn scan(argument: &[u8]) -> Option<(Self, &[u8])> {
        let end = argument.iter().position(|octet| *octet == b'>')? + 1;
        let (path, rest) = argument.split_at(end);
        Some((Self { written: Bytes::copy_from_slice(path) }, rest))
    }

    /// As it stands on the wire behind the colon.
    pub fn written(&self) -> &Bytes {
        &self.written
    }

    /// Whether it is `<>`.
    pub fn is_null(&self) -> bool {
        self.address().is_empty()
    }

    /// What stands between the brackets (all of it where there are none), source route included.
    pub fn address(&self) -> &[u8] {
        let written = &self.written;
        written.strip_prefix(b"<").and_then(|path| path.strip_suffix(b">")).unwrap_or(written)
    }

    /// The mailbox, if the path is one by the grammar of RFC 5321 (and RFC 6531), source route
    /// left out.
    pub fn mailbox(&self) -> Option<Mailbox<'_>> {
        todo!("helper")
    }
}
