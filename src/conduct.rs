//! What a client did against the rules, counted: evidence for scorers.

use std::fmt;

use crate::wire::text::Written;

/// Something that a client did against the rules of SMTP, or that those who send spam do more often.
///
/// What depends on who was faster is noted only where it is certain: what had come before we wrote
/// the reply to it was sent without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Misconduct {
    /// It spoke before the greeting (RFC 5321 section 3.1).
    EarlyTalker,
    /// It sent mail data before 354, or before DATA was refused (section 4.1.1.4).
    EarlyData,
    /// It went on without waiting for a reply that it had to wait for: PIPELINING was not offered,
    /// it had said HELO, or the command ends a group (RFC 2920 section 3.1).
    Pipelining,
    /// A content held CR or LF alone (RFC 5321 section 2.3.8). Some clients that are no spammers do
    /// so too.
    BareLineEnd,
    /// A command line held CR, LF, NUL or another control octet, or was too long (section 4.1).
    MalformedCommand,
    /// A command that SMTP does not know.
    UnknownCommand,
    /// A command with arguments that it cannot have, or that were not offered.
    CommandSyntax,
    /// A command out of its order (section 4.1.4).
    CommandSequence,
    /// A recipient was refused for good, by the panel or by the relay target: addresses are guessed,
    /// or a list is old.
    RecipientRefused,
    /// It spoke HTTP or TLS. The session was closed at once; observers can see it.
    AnotherProtocol,
    /// A TLS handshake behind STARTTLS failed, or was not finished in time. The session ended with it;
    /// observers can see it.
    HandshakeFailed,
}

impl Misconduct {
    /// All of them.
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

    /// The symbol under which it is scored and recorded.
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

/// How often a client did what, since its session began.
///
/// ```
/// let conduct = nobounce::Conduct::default();
/// assert!(conduct.is_clean());
/// assert_eq!(conduct.count(nobounce::Misconduct::EarlyTalker), 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conduct {
    counts: [u16; Misconduct::ALL.len()],
}

impl Conduct {
    /// How often the client did this; what is more than 65,535 stays there.
    pub fn count(&self, what: Misconduct) -> u16 {
        self.counts[what as usize]
    }

    /// Whether nothing was noted.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// The client did this once more. The session notes what it sees; callers may add what they
    /// have seen themselves.
    pub fn note(&mut self, what: Misconduct) {
        let count = &mut self.counts[what as usize];
        *count = count.saturating_add(1);
    }
}

impl fmt::Display for Conduct {
    /// What was noted: `EARLY_TALKER=1,UNKNOWN_COMMAND=3`.
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
    fn each_is_counted_for_itself_and_no_further_than_there_is_room() {
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
