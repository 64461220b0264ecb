//! The end of a transaction and of a session, for the record.

use std::time::Duration;

use super::Session;
use crate::envelope::Envelope;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::Reply;

/// The end of a transaction, for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactionEnd {
    /// The envelope, with the recipients that were accepted.
    pub envelope: Envelope,
    /// The recipients that were refused.
    pub refused: Vec<RefusedRecipient>,
    /// Octets of content received, counted as for SIZE.
    pub size: u64,
    /// The reason for the end.
    pub cause: EndCause,
    /// The reply to the content, if it ended the transaction.
    pub reply: Option<Reply>,
    /// The duration since MAIL.
    pub duration: Duration,
}

/// A recipient that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedRecipient {
    /// The recipient.
    pub recipient: ForwardPath,
    /// The reply to RCPT, or with PRDR the reply to the content.
    pub reply: Reply,
    /// The party that refused it: [`EndCause::RefusedByPanel`], [`EndCause::RefusedByRelay`],
    /// [`EndCause::RelayFailed`] or [`EndCause::RefusedBySession`].
    pub cause: EndCause,
}

/// The reason why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionEnd {
    /// The client sent QUIT.
    Quit,
    /// The client disconnected without QUIT.
    ClientLost,
    /// A wait for the client or for the panel's verdict on the client timed out.
    TimedOut,
    /// The panel refused the client, before the greeting or after XCLIENT.
    RefusedByPanel,
    /// The TLS handshake after STARTTLS failed.
    HandshakeFailed,
    /// The server closed the session because of errors, limits or shutdown.
    Closed,
}

impl SessionEnd {
    /// Returns the word used in records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::ClientLost => "client-lost",
            Self::TimedOut => "timed-out",
            Self::RefusedByPanel => "refused-by-panel",
            Self::HandshakeFailed => "handshake-failed",
            Self::Closed => "closed",
        }
    }
}

impl From<EndCause> for SessionEnd {
    /// Returns the end of the session whose transaction ended, or would have ended, for this reason.
    fn from(cause: EndCause) -> Self {
        match cause {
            EndCause::Reset => Self::Quit,
            EndCause::ClientLost => Self::ClientLost,
            EndCause::TimedOut => Self::TimedOut,
            EndCause::RefusedByPanel => Self::RefusedByPanel,
            _ => Self::Closed,
        }
    }
}

/// The reason why a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndCause {
    /// The relay target accepted the message.
    Accepted,
    /// The panel refused the content.
    RefusedByPanel,
    /// The relay target refused the content.
    RefusedByRelay,
    /// The relay target could not be asked or did not answer.
    RelayFailed,
    /// The session refused the content: too big, or bare line ends.
    RefusedBySession,
    /// The client ended it with RSET, EHLO or QUIT.
    Reset,
    /// The client disconnected.
    ClientLost,
    /// A wait for the client timed out.
    TimedOut,
    /// The server closed the session because of errors, limits or shutdown.
    Closed,
}

impl EndCause {
    /// Returns the word used in records.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::RefusedByPanel => "refused-by-panel",
            Self::RefusedByRelay => "refused-by-relay",
            Self::RelayFailed => "relay-failed",
            Self::RefusedBySession => "refused-by-session",
            Self::Reset => "reset",
            Self::ClientLost => "client-lost",
            Self::TimedOut => "timed-out",
            Self::Closed => "closed",
        }
    }
}

impl std::fmt::Display for EndCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl Session {
    /// Returns the reason for the end of the session, and the reply with which the server ended it.
    /// `None` before the end.
    pub fn end(&self) -> Option<(SessionEnd, Option<&Reply>)> {
        self.end.as_ref().map(|(end, reply)| (*end, reply.as_ref()))
    }

    /// Records the reason for the end of the session. The first reason stays.
    pub(super) fn note_end(&mut self, cause: EndCause, reply: Option<&Reply>) {
        self.end.get_or_insert_with(|| (cause.into(), reply.cloned()));
    }
}
