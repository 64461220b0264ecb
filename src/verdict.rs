//! Verdicts: the decisions of the panel.

use crate::envelope::{Envelope, SessionId, TransactionId};
use crate::header::HeaderField;
use crate::message::Message;
use crate::peer::Peer;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::{EnhancedStatus, Reply, ReplyClass, ReplyCode};

/// The decision of the panel about a client, a recipient or a message. The panel cannot accept
/// mail: if a message passes, the client gets the relay target's reply. The panel cannot discard
/// mail either.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// No objection.
    Pass,
    /// No objection. These header fields are prepended to the relayed message. Before the DATA
    /// stage this is equivalent to [`Verdict::Pass`].
    Tag(Vec<HeaderField>),
    /// The client gets this reply, and nothing is relayed.
    Refuse(Refusal),
}

impl Verdict {
    /// Returns whether both do the same to the mail, and both refusals read the same.
    #[cfg(feature = "serve")]
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Refuse(one), Self::Refuse(other)) => one == other,
            (Self::Refuse(_), _) | (_, Self::Refuse(_)) => false,
            (one, other) => matches!(one, Self::Tag(_)) == matches!(other, Self::Tag(_)),
        }
    }

    /// Returns the verdict for a panel that did not answer in time. A timeout must not count as
    /// [`Verdict::Pass`].
    pub(crate) fn late() -> Self {
        const LATE: Refusal = Refusal::fixed(451, 3, 0, "Checks timed out, try again later");
        Self::Refuse(LATE)
    }
}

/// A reply that refuses. Its code is always `4yz` or `5yz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(Reply);

impl Refusal {
    /// Creates a transient refusal: the client may retry. `code` must be in `400..=459`, otherwise
    /// 451 is used.
    pub fn transient(code: u16, status: EnhancedStatus, text: &str) -> Self {
        const OTHERWISE: ReplyCode = ReplyCode::refusal(451);
        Self::of_class(OTHERWISE, code, status, text)
    }

    /// Creates a permanent refusal. `code` must be in `500..=559`, otherwise 550 is used.
    pub fn permanent(code: u16, status: EnhancedStatus, text: &str) -> Self {
        const OTHERWISE: ReplyCode = ReplyCode::refusal(550);
        Self::of_class(OTHERWISE, code, status, text)
    }

    /// Returns `452 4.5.3` for a recipient whose policies differ from those of the recipients
    /// accepted before. One message gets one reply, so such recipients need separate transactions.
    /// On this code clients send to the recipient in another transaction (RFC 5321 section
    /// 4.5.3.1.10).
    ///
    /// A scorer or a relay target returns it for a recipient after comparing it with
    /// [`Envelope::forward_paths`]. Never return it for the first recipient: a client that gets it
    /// on every attempt gives up.
    pub fn come_again() -> Self {
        Self::fixed(
            452,
            5,
            3,
            "Different policies apply, send to this recipient in another transaction",
        )
    }

    fn of_class(otherwise: ReplyCode, code: u16, status: EnhancedStatus, text: &str) -> Self {
        let of_class = |code: &ReplyCode| code.class() == otherwise.class();
        Self(Reply::new(ReplyCode::new(code).filter(of_class).unwrap_or(otherwise), status, text))
    }

    /// Creates a fixed refusal of ours. Its class is checked at compile time.
    pub(crate) const fn fixed(code: u16, subject: u16, detail: u16, text: &'static str) -> Self {
        assert!(code >= 400);
        Self(Reply::fixed(code, Some((subject, detail)), text))
    }

    /// Returns the reply of the refusal.
    pub fn reply(&self) -> &Reply {
        &self.0
    }

    /// Returns whether the client may retry.
    pub fn is_transient(&self) -> bool {
        self.0.class() == ReplyClass::Transient
    }

    /// Returns whether a server that sends this reply closes the connection (421, and 521 of RFC
    /// 7504).
    pub(crate) fn closes(&self) -> bool {
        matches!(self.0.code().value(), 421 | 521)
    }
}

impl TryFrom<Reply> for Refusal {
    /// The reply, which is not a refusal.
    type Error = Reply;

    fn try_from(reply: Reply) -> Result<Self, Reply> {
        match reply.class() {
            ReplyClass::Transient | ReplyClass::Permanent => Ok(Self(reply)),
            ReplyClass::Completion | ReplyClass::Intermediate => Err(reply),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The subject of a question to the panel.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A client that connected and has not been greeted.
    Connection(&'a SessionId, &'a Peer),
    /// A recipient, before the relay target is asked about it. The envelope holds the recipients
    /// accepted before.
    Recipient(&'a Envelope, &'a ForwardPath),
    /// The message, before any part of it is relayed.
    Content(&'a Envelope, &'a Message),
}

impl Subject<'_> {
    /// Returns the stage of the session at which the panel is asked.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Connection(..) => Stage::Connect,
            Self::Recipient(..) => Stage::Rcpt,
            Self::Content(..) => Stage::Data,
        }
    }

    /// Returns the ID of the transaction, which is `SESSION.0` for the connection.
    pub fn id(&self) -> TransactionId {
        match self {
            Self::Connection(session, _) => session.transaction(0),
            Self::Recipient(envelope, _) | Self::Content(envelope, _) => envelope.id.clone(),
        }
    }

    /// Returns the recipient if the subject is one.
    pub fn recipient(&self) -> Option<&ForwardPath> {
        match self {
            Self::Recipient(_, recipient) => Some(recipient),
            Self::Connection(..) | Self::Content(..) => None,
        }
    }

    /// Returns the session of the subject.
    pub fn session(&self) -> &SessionId {
        match self {
            Self::Connection(session, _) => session,
            Self::Recipient(envelope, _) | Self::Content(envelope, _) => envelope.id.session(),
        }
    }

    /// Returns the client of the subject.
    pub fn peer(&self) -> &Peer {
        match self {
            Self::Connection(_, peer) => peer,
            Self::Recipient(envelope, _) | Self::Content(envelope, _) => &envelope.peer,
        }
    }
}

/// A stage of the session at which the panel is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The client has connected.
    Connect,
    /// The client has named a recipient.
    Rcpt,
    /// The content has been received.
    Data,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
        })
    }
}
