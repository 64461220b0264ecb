//! Contexts: the arguments of a scorer's hooks.

use crate::envelope::{Envelope, SessionId};
use crate::message::Message;
use crate::peer::Peer;
use crate::tally::Tally;
use crate::wire::mailbox::ForwardPath;

static NOTHING_YET: Tally = Tally::new();

/// The argument of [`Scorer::on_connect`](crate::Scorer::on_connect).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ConnectContext<'a> {
    /// The session.
    pub session: &'a SessionId,
    /// The client.
    pub peer: &'a Peer,
    /// Findings made earlier in this session. Empty unless the panel asks about the client again.
    pub tally: &'a Tally,
}

/// The argument of [`Scorer::on_rcpt`](crate::Scorer::on_rcpt).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RcptContext<'a> {
    /// The session.
    pub session: &'a SessionId,
    /// The client: [`Envelope::peer`].
    pub peer: &'a Peer,
    /// The sender, the client and the recipients accepted before.
    pub envelope: &'a Envelope,
    /// The recipient in question.
    pub recipient: &'a ForwardPath,
    /// Findings made at the connect stage and on earlier recipients.
    pub tally: &'a Tally,
}

/// The argument of [`Scorer::on_data`](crate::Scorer::on_data).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct DataContext<'a> {
    /// The session.
    pub session: &'a SessionId,
    /// The client: [`Envelope::peer`].
    pub peer: &'a Peer,
    /// The sender, the client and the recipients.
    pub envelope: &'a Envelope,
    /// The message, with our trace header prepended.
    pub message: &'a Message,
    /// Findings made at the earlier stages.
    pub tally: &'a Tally,
}

impl<'a> ConnectContext<'a> {
    /// Returns the context of a new session, with an empty tally.
    pub fn new(session: &'a SessionId, peer: &'a Peer) -> Self {
        Self { session, peer, tally: &NOTHING_YET }
    }

    /// Sets the findings made earlier.
    #[must_use]
    pub fn tally(self, tally: &'a Tally) -> Self {
        Self { tally, ..self }
    }
}

impl<'a> RcptContext<'a> {
    /// Returns the context for a recipient of this envelope, with an empty tally.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use nobounce::{Envelope, ForwardPath, Peer, RcptContext, ReversePath};
    /// use nobounce::envelope::SessionId;
    ///
    /// let id = SessionId::new("test").transaction(1);
    /// let sender = ReversePath::parse("<alice@example.org>")?;
    /// let envelope = Envelope::new(id, Arc::new(Peer::local()), sender);
    /// let recipient = ForwardPath::parse("<bob@example.net>")?;
    /// let at = RcptContext::new(&envelope, &recipient);
    /// assert_eq!(at.session.to_string(), "test");
    /// # Ok::<(), nobounce::mailbox::PathError>(())
    /// ```
    pub fn new(envelope: &'a Envelope, recipient: &'a ForwardPath) -> Self {
        let (session, peer) = (envelope.id.session(), &*envelope.peer);
        Self { session, peer, envelope, recipient, tally: &NOTHING_YET }
    }

    /// Sets the findings made earlier.
    #[must_use]
    pub fn tally(self, tally: &'a Tally) -> Self {
        Self { tally, ..self }
    }
}

impl<'a> DataContext<'a> {
    /// Returns the context for this message, with an empty tally.
    pub fn new(envelope: &'a Envelope, message: &'a Message) -> Self {
        let (session, peer) = (envelope.id.session(), &*envelope.peer);
        Self { session, peer, envelope, message, tally: &NOTHING_YET }
    }

    /// Sets the findings made earlier.
    #[must_use]
    pub fn tally(self, tally: &'a Tally) -> Self {
        Self { tally, ..self }
    }
}
