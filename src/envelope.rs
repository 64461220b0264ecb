//! The envelope of a transaction (RFC 5321 section 2.3.1).

use std::fmt::{self, Write};
use std::sync::Arc;

use crate::conduct::Conduct;
use crate::peer::Peer;
use crate::wire::attributes::ClientAttributes;
use crate::wire::mailbox::{ForwardPath, ReversePath};
use crate::wire::text::Written;

/// Name of a client session, used in logs and replies.
///
/// The caller chooses the name and ensures that it is unique. The name holds up to 32 printable
/// ASCII characters. Longer names are truncated. Other characters, and the specials `()<>@,;:\"`,
/// are replaced with `-`.
#[allow(clippy::derived_hash_with_manual_eq, reason = "names are equal if their texts are")]
#[derive(Debug, Clone, Eq, Hash)]
pub struct SessionId(Arc<str>);

impl PartialEq for SessionId {
    fn eq(&self, other: &Self) -> bool {
        // Nearly always, both are clones of the same name.
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl SessionId {
    /// Creates a session name.
    pub fn new(name: &str) -> Self {
        let is_plain = |c: char| {
            let is_special =
                matches!(c, '(' | ')' | '<' | '>' | '@' | ',' | ';' | ':' | '\\' | '"');
            c.is_ascii_graphic() && !is_special
        };
        if name.len() <= 32 && name.chars().all(is_plain) {
            return Self(name.into());
        }
        let plain = name.chars().take(32).map(|c| if is_plain(c) { c } else { '-' });
        Self(plain.collect::<String>().into())
    }

    #[cfg(feature = "recording")]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of the gate: everything before the last hyphen.
    pub(crate) fn gate(&self) -> Option<&str> {
        self.0.rsplit_once('-').map(|(gate, _)| gate)
    }

    /// Returns whether `name` is the same gate, or one of its sessions or transactions. If this
    /// session's name contains no gate name, only the session itself and its transactions match.
    pub(crate) fn is_of_the_gate(&self, name: &str) -> bool {
        // Fast path: most names differ in the first octet.
        if name.as_bytes().first() != self.0.as_bytes().first() {
            return false;
        }
        let session = name.rsplit_once('.').map_or(name, |(session, _)| session);
        match self.gate() {
            Some(own) => {
                let rest = session.strip_prefix(own);
                rest.is_some_and(|rest| {
                    rest.is_empty() || rest.strip_prefix('-').is_some_and(|n| !n.contains('-'))
                })
            }
            None => *self.0 == *session,
        }
    }

    /// Returns the name of the `n`th transaction of this session.
    pub fn transaction(&self, n: u32) -> TransactionId {
        TransactionId { session: self.clone(), n }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a transaction: `SESSION.N`.
///
/// It appears in the trace header, in the record and in every refusal that the gate writes. A
/// postmaster can therefore find the record that belongs to a complaint. `SESSION.0` is the session
/// itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TransactionId {
    session: SessionId,
    n: u32,
}

impl TransactionId {
    #[cfg(feature = "recording")]
    pub(crate) fn number(&self) -> u32 {
        self.n
    }

    /// Returns the session of this transaction.
    pub fn session(&self) -> &SessionId {
        &self.session
    }
}

impl Written for TransactionId {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        to.write_str(&self.session.0)?;
        to.write_char('.')?;
        u64::from(self.n).write_to(to)
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

/// The envelope of a transaction: sender, recipients and the client that submits the message.
///
/// ```
/// use std::sync::Arc;
/// use nobounce::envelope::SessionId;
/// use nobounce::{Envelope, ForwardPath, Peer, ReversePath};
///
/// let id = SessionId::new("example").transaction(1);
/// let client = Arc::new(Peer::new(([192, 0, 2, 1], 4711).into()));
/// let mut envelope = Envelope::new(id, client, ReversePath::parse("<alice@example.org>")?);
/// envelope.forward_paths.push(ForwardPath::parse("<bob@example.com>")?);
/// assert_eq!(envelope.id.to_string(), "example.1");
/// assert!(!envelope.reverse_path.path.is_null());
/// # Ok::<(), nobounce::mailbox::PathError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope {
    /// Name of the transaction.
    pub id: TransactionId,
    /// The client: the peer of the session, or the client that XFORWARD described.
    pub peer: Arc<Peer>,
    /// All XFORWARD attributes of the client and the message. `None` without XFORWARD.
    pub xforward: Option<Arc<ClientAttributes>>,
    /// Protocol violations by the client that were observed so far.
    pub conduct: Conduct,
    /// The reverse-path from MAIL, with its parameters.
    pub reverse_path: ReversePath,
    /// The recipients accepted so far, in order, each with its parameters.
    pub forward_paths: Vec<ForwardPath>,
}

impl Envelope {
    /// Creates an envelope without recipients.
    pub fn new(id: TransactionId, peer: Arc<Peer>, reverse_path: ReversePath) -> Self {
        let (conduct, forward_paths) = (Conduct::default(), Vec::new());
        Self { id, peer, xforward: None, conduct, reverse_path, forward_paths }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_uses_the_scorer_names_of_its_gate() {
        let session = SessionId::new("06g1k-1a-3");
        assert_eq!(session.gate(), Some("06g1k-1a"));
        for own in ["06g1k-1a", "06g1k-1a-7", "06g1k-1a-7.2"] {
            assert!(session.is_of_the_gate(own), "{own}");
        }
        for other in ["", "06g1k", "06g1k-1ab", "06g1k-1ab-7.2", "06g1k-1a-7-2", "x06g1k-1a-7.2"] {
            assert!(!session.is_of_the_gate(other), "{other}");
        }
        let alone = SessionId::new("play");
        assert_eq!(alone.gate(), None);
        assert!(alone.is_of_the_gate("play.7") && !alone.is_of_the_gate("player"));
    }
}
