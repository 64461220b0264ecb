//! The outcomes of sessions, transactions and recipients, and who decided them.

use serde::{Deserialize, Serialize};

use crate::session::{EndCause, SessionEnd};
use crate::wire::reply::{Reply, ReplyClass};

/// The outcome of a session, a transaction or a recipient, who decided it, and the reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The result.
    pub result: Word,
    /// The party that decided it.
    pub by: Option<Party>,
    /// The reply to the client, as sent, with LF between lines. `None` if no reply was sent.
    pub reply: Option<String>,
}

/// The result of a session, a transaction or a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Word {
    /// The onward server accepted it (2yz).
    Accepted,
    /// It was refused permanently (5yz).
    Refused,
    /// It was refused temporarily, and the client may retry (4yz).
    Deferred,
    /// The client ended the transaction with RSET, EHLO or QUIT.
    Reset,
    /// The client ended the session with QUIT and began no transaction.
    Quit,
    /// The client disconnected.
    Lost,
    /// The session timed out while waiting for the client.
    TimedOut,
    /// The TLS handshake failed.
    HandshakeFailed,
}

/// The party that decided an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Party {
    /// The panel: its scorers and thresholds.
    Panel,
    /// The onward server, or a failure to ask it.
    Onward,
    /// The session: limits, protocol errors, shutdown.
    Session,
    /// Admission: connection limits, and proxies without a PROXY header.
    Admission,
    /// The client.
    Client,
}

impl Word {
    /// Returns the word for a reply that refuses.
    pub(super) fn of_refusal(reply: Option<&Reply>) -> Self {
        match reply.map(Reply::class) {
            Some(ReplyClass::Permanent) => Self::Refused,
            _ => Self::Deferred,
        }
    }
}

impl Outcome {
    pub(super) fn new(result: Word, by: Party, reply: Option<&Reply>) -> Self {
        Self { result, by: Some(by), reply: reply.map(ToString::to_string) }
    }

    /// Returns the outcome of a transaction or recipient that ended for this reason.
    pub(super) fn of(cause: EndCause, reply: Option<&Reply>) -> Self {
        let refusal = Word::of_refusal(reply);
        let (result, by) = match cause {
            EndCause::Accepted => (Word::Accepted, Party::Onward),
            EndCause::RefusedByPanel => (refusal, Party::Panel),
            EndCause::RefusedByRelay => (refusal, Party::Onward),
            EndCause::RelayFailed => (Word::Deferred, Party::Onward),
            EndCause::RefusedBySession => (refusal, Party::Session),
            EndCause::Reset => (Word::Reset, Party::Client),
            EndCause::ClientLost => (Word::Lost, Party::Client),
            EndCause::TimedOut => (Word::TimedOut, Party::Client),
            EndCause::Closed => (refusal, Party::Session),
        };
        Self::new(result, by, reply)
    }

    /// Returns the outcome of a session without a transaction.
    pub(super) fn of_session(end: SessionEnd, reply: Option<&Reply>) -> Self {
        let (result, by) = match end {
            SessionEnd::Quit => (Word::Quit, Party::Client),
            SessionEnd::ClientLost => (Word::Lost, Party::Client),
            SessionEnd::TimedOut => (Word::TimedOut, Party::Client),
            SessionEnd::HandshakeFailed => (Word::HandshakeFailed, Party::Client),
            SessionEnd::RefusedByPanel => (Word::of_refusal(reply), Party::Panel),
            SessionEnd::Closed => (Word::of_refusal(reply), Party::Session),
        };
        Self::new(result, by, reply)
    }
}
