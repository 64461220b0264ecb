//! Counts of a client's protocol violations, as evidence for scorers.

use std::fmt;

use crate::wire::text::Written;

/// A violation of the SMTP rules, or behaviour that is more common among senders of spam.
///
/// Violations that depend on timing are counted only when they are certain. Input is certainly
/// early if it arrived before the session wrote the reply that the client should have waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Misconduct {
    /// The client sent input before the greeting (RFC 5321 section 3.1).
    EarlyTalker,
    /// The client sent mail data before 354, or before DATA was refused (section 4.1.1.4).
    EarlyData,
    /// The client did not wait for a reply that it had to wait for. Either PIPELINING was not
    /// offered, or the client had sent HELO, or the command ends a group (RFC 2920 section 3.1).
    Pipelining,
    /// The content contained a bare CR or LF (RFC 5321 section 2.3.8). Some legitimate clients do
    /// this too.
    BareLineEnd,
    /// A command line contained a bare CR or LF, NUL or another control octet, or was too long
    /// (section 4.1).
    MalformedCommand,
    /// An unknown command.
    UnknownCommand,
    /// A command with invalid arguments, or with parameters that were not offered.
    CommandSyntax,
    /// A command out of sequence (section 4.1.4).
    CommandSequence,
    /// The panel or the relay target refused a recipient with 5yz. This suggests guessed addresses
    /// or an outdated list.
    RecipientRefused,
    /// The client sent HTTP or TLS instead of SMTP. The session was closed at once, so only
    /// observers see this violation.
    AnotherProtocol,
    /// The TLS handshake after STARTTLS failed or timed out. This ends the session, so only
    /// observers see this violation.
    HandshakeFailed,
}

impl Misconduct {
    /// All variants.
    pub const ALL: [Self; 11] = [
        Self::EarlyTalker,
        Self::EarlyData,
        Self::Pipelining,
        Self::BareLineEnd,
        Self::MalformedCommand,
        Self::UnknownCommand,
        Self::CommandSyntax,
        Self::CommandSequence,
        Self::RecipientRefused,
        Self::AnotherProtocol,
        Self::HandshakeFailed,
    ];

    /// Returns the symbol used in scores and records.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::EarlyTalker => "EARLY_TALKER",
            Self::EarlyData => "EARLY_DATA",
            Self::Pipelining => "UNAUTH_PIPELINING",
            Self::BareLineEnd => "BARE_LINE_END",
            Self::MalformedCommand => "MALFORMED_COMMAND",
            Self::UnknownCommand => "UNKNOWN_COMMAND",
            Self::CommandSyntax => "COMMAND_SYNTAX",
            Self::CommandSequence => "COMMAND_SEQUENCE",
            Self::RecipientRefused => "RCPT_REFUSED",
            Self::AnotherProtocol => "ANOTHER_PROTOCOL",
            Self::HandshakeFailed => "TLS_HANDSHAKE_FAILED",
        }
    }
}

/// The number of violations of each kind by one client since its session began.
///
/// ```
/// let conduct = nobounce::session::Conduct::default();
/// assert!(conduct.is_clean());
/// assert_eq!(conduct.count(nobounce::session::Misconduct::EarlyTalker), 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conduct {
    counts: [u16; Misconduct::ALL.len()],
}

impl Conduct {
    /// Returns the number of violations of this kind. The count saturates at 65,535.
    pub fn count(&self, what: Misconduct) -> u16 {
        self.counts[what as usize]
    }

    /// Returns whether the client has not violated the protocol.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Adds one violation of this kind. The session counts the violations that it detects; callers
    /// may add others.
    pub fn note(&mut self, what: Misconduct) {
        let count = &mut self.counts[what as usize];
        *count = count.saturating_add(1);
    }
}

impl fmt::Display for Conduct {
    /// Formats the kinds with a count above zero: `EARLY_TALKER=1,UNKNOWN_COMMAND=3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noted = Misconduct::ALL.into_iter().filter(|what| self.count(*what) > 0);
        for (index, what) in noted.enumerate() {
            f.write_str(if index > 0 { "," } else { "" })?;
            f.write_str(what.symbol())?;
            f.write_str("=")?;
            u64::from(self.count(what)).write_to(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breakers_are_counted_separately_and_bounded() {
        for (index, what) in Misconduct::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, index, "{what:?}");
            let mut conduct = Conduct::default();
            (0..70_000).for_each(|_| conduct.note(what));
            for other in Misconduct::ALL {
                assert_eq!(conduct.count(other), if other == what { 65_535 } else { 0 });
            }
            assert_eq!(conduct.to_string(), format!("{}=65535", what.symbol()));
        }
    }
}
