//! What the panel says: nothing against it, or no.

use crate::envelope::{Envelope, SessionId, TransactionId};
use crate::header::HeaderField;
use crate::message::Message;
use crate::peer::Peer;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::{EnhancedStatus, Reply, ReplyClass, ReplyCode};

/// What the panel says of a client, a recipient or a message. It cannot say yes: a message that
/// passes is answered with the relay target's answer. It cannot discard.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// No objection.
    Pass,
    /// No objection, and these header fields stand before the message that goes onward. Before
    /// there is a message it is [`Verdict::Pass`].
    Tag(Vec<HeaderField>),
    /// The client gets this reply, and nothing goes onward.
    Refuse(Refusal),
}

impl Verdict {
    /// The panel has not answered in time: no objection is not what that means.
    pub(crate) fn late() -> Self {
        const LATE: Refusal = Refusal::fixed(451, 3, 0, "Not checked in time, try again later");
        Self::Refuse(LATE)
    }
}

/// A reply that says no: `4yz` or `5yz`, by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(Reply);

impl Refusal {
    /// For now: the client may try again. `code` is brought into `400..=459` (451 if it is not).
    pub fn transient(code: u16, status: EnhancedStatus, text: &str) -> Self {
        const OTHERWISE: ReplyCode = ReplyCode::refusal(451);
        Self::of_class(OTHERWISE, code, status, text)
    }

    /// For good. `code` is brought into `500..=559` (550 if it is not).
    pub fn permanent(code: u16, status: EnhancedStatus, text: &str) -> Self {
        const OTHERWISE: ReplyCode = ReplyCode::refusal(550);
        Self::of_class(OTHERWISE, code, status, text)
    }

    /// For this recipient's policies are others than those of the recipients accepted before, and
    /// one message gets one answer: `452 4.5.3`, on which clients send to the recipient in another
    /// transaction (RFC 5321 section 4.5.3.1.10).
    ///
    /// A scorer or a relay target says it of a recipient, with [`Envelope::forward_paths`] before
    /// its eyes. Never of the first: a client that is always told to come again gives up.
    pub fn come_again() -> Self {
        Self::fixed(
            452,
            5,
            3,
            "Other policies apply, send to this recipient in another transaction",
        )
    }

    fn of_class(otherwise: ReplyCode, code: u16, status: EnhancedStatus, text: &str) -> Self {
        let of_class = |code: &ReplyCode| code.class() == otherwise.class();
        Self(Reply::new(ReplyCode::new(code).filter(of_class).unwrap_or(otherwise), status, text))
    }

    /// A fixed refusal of ours: its class is checked when the crate is compiled.
    pub(crate) const fn fixed(code: u16, subject: u16, detail: u16, text: &'static str) -> Self {
        assert!(code >= 400);
        Self(Reply::fixed(code, Some((subject, detail)), text))
    }

    /// The reply.
    pub fn reply(&self) -> &Reply {
        &self.0
    }

    /// Whether the client may try again.
    pub fn is_transient(&self) -> bool {
        self.0.class() == ReplyClass::Transient
    }

    /// Whether the server that says it closes the connection (421, and 521 of RFC 7504).
    pub(crate) fn closes(&self) -> bool {
        matches!(self.0.code().value(), 421 | 521)
    }
}

impl TryFrom<Reply> for Refusal {
    /// The reply, which says something else than no.
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

/// What the panel is asked about.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A client that connected and has not been greeted.
    Connection(&'a SessionId, &'a Peer),
    /// A recipient, before the relay target is asked about it. The envelope holds the recipients
    /// that were accepted before.
    Recipient(&'a Envelope, &'a ForwardPath),
    /// The message, before anything of it goes onward.
    Content(&'a Envelope, &'a Message),
}

impl Subject<'_> {
    /// At which stage of the session it comes up.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Connection(..) => Stage::Connect,
            Self::Recipient(..) => Stage::Rcpt,
            Self::Content(..) => Stage::Data,
        }
    }

    /// The transaction; `SESSION.0` for the connection.
    pub fn id(&self) -> TransactionId {
        match self {
            Self::Connection(session, _) => session.transaction(0),
            Self::Recipient(envelope, _) | Self::Content(envelope, _) => envelope.id.clone(),
        }
    }

    /// The recipient, if it is about one.
    pub fn recipient(&self) -> Option<&ForwardPath> {
        match self {
            Self::Recipient(_, recipient) => Some(recipient),
            Self::Connection(..) | Self::Content(..) => None,
        }
    }

    /// The session.
    pub fn session(&self) -> &SessionId {
        match self {
            Self::Connection(session, _) => session,
            Self::Recipient(envelope, _) | Self::Content(envelope, _) => envelope.id.session(),
        }
    }

    /// The client.
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
    /// A recipient was named.
    Rcpt,
    /// The content is there.
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
