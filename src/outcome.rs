//! Answers of the relay target. A positive answer carries a [`Receipt`]. The receipt is read from
//! the wire or stated by a custom relay target, and cannot be cloned or altered.

pub(crate) mod partial;

use std::sync::Arc;

use memchr::memchr_iter;

use crate::deadline::Awaiting;
use crate::envelope::{Envelope, TransactionId};
use crate::message::Message;
use crate::verdict::Refusal;
use crate::wire::attributes::AttributeCommand;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::{EnhancedStatus, Reply, ReplyClass, ReplyCode, ReplyError};
use crate::wire::text::Printable;

/// The relay target's answer for a recipient or for the content.
#[derive(Debug)]
#[must_use = "the client waits for this answer"]
pub enum Outcome {
    /// The target replied 2xx.
    Accepted(Receipt),
    /// The target replied 4yz or 5yz.
    Refused(Refusal),
    /// The target could not be asked, or did not answer. The client gets a 451 reply and retries.
    Failed(RelayError),
}

/// Reason why a relay target could not be asked or did not answer. Observers get the reason. The
/// client gets a 451 reply without it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The connection to the onward server could not be established.
    #[error("connection failed: {}", Printable(&.0.to_string()))]
    Unreachable(Arc<dyn std::error::Error + Send + Sync>),
    /// The connection to the onward server was lost before the answer.
    #[error("connection lost")]
    Lost,
    /// The onward server exceeded this timeout.
    #[error("timeout: {0:?}")]
    Late(Awaiting),
    /// The onward server sent a malformed reply. Server fault.
    #[error("invalid reply: {0}")]
    Garbled(#[from] ReplyError),
    /// The onward server sent a reply that is not valid for this command. Server fault.
    #[error("unexpected reply: {}", Printable(&.0.to_string()))]
    Unexpected(Reply),
    /// The onward server accepted the message for only some recipients, and sent one reply for all
    /// of them. amavisd does this over SMTP, directly or after a Postfix with `smtpd_proxy_filter`.
    /// The client gets a 451 reply. The retry must be relayed with one recipient per transaction,
    /// or the result is the same. [`Smtp`](crate::relay::Smtp) does so for twelve hours.
    #[error("accepted for some recipients only: {}", Printable(&.0.to_string()))]
    Partial(Reply),
    /// The recipients of this transaction were accepted on a connection that was lost.
    #[error("the transaction was lost with an earlier connection")]
    TransactionLost,
    /// TLS with the onward server failed, and the server or the policy requires it. Fault of the
    /// server, of the caller, or of a man in the middle.
    #[error("TLS failed: {0}")]
    NoTls(TlsError),
    /// The client's identity must be sent with this command, but the onward server does not offer
    /// the command to us. Fault of its configuration or ours.
    #[error("the onward server does not offer us {}", .0.verb())]
    NotOffered(AttributeCommand),
    /// The onward server was sent the client's identity and refused it. Fault of its configuration
    /// or ours.
    #[error("the onward server refused the client's identity: {}", Printable(&.0.to_string()))]
    NotBelieved(Reply),
    /// The connection limit for the onward server is reached, and no connection became free in
    /// time.
    #[error("the limit of connections to the onward server is reached")]
    Busy,
    /// The self-test has not tested the onward server yet.
    #[error("the onward server has not been tested yet")]
    Untested,
    /// The self-test found that the onward server relays mail from unauthorised clients. Fault of
    /// its configuration.
    #[error("the onward server is an open relay behind this gate")]
    OpenRelay,
    /// The relay target leads back to this gate. Fault of our configuration or of the onward
    /// server's.
    #[error("mail loop: the relay target leads back to this gate")]
    Loop,
    /// The client has no address to send to the onward server.
    #[error("the client has no address to send to the onward server")]
    NoAddress,
    /// The receipt belongs to another request. Relay target fault.
    #[error("the receipt belongs to another request")]
    Mismatch,
    /// A custom relay target failed.
    #[error("{}", Printable(&.0.to_string()))]
    Own(Arc<dyn std::error::Error + Send + Sync>),
}

/// Reason why the connection to an onward server has no TLS.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The server does not offer STARTTLS.
    #[error("STARTTLS is not offered")]
    NotOffered,
    /// The server offers STARTTLS, but refused the command with this reply.
    #[error("STARTTLS was refused: {}", Printable(&.0.to_string()))]
    Refused(Reply),
    /// The handshake failed: no common version or cipher, the certificate is not trusted,
    /// or the connection was lost.
    #[error("handshake failed: {}", Printable(&.0.to_string()))]
    Handshake(Arc<dyn std::error::Error + Send + Sync>),
    /// The server did not reply to STARTTLS or did not finish the handshake in time.
    #[error("timeout")]
    Late,
    /// The server requires TLS, but the policy disables TLS or the TLS attempt failed.
    #[error("the onward server requires it: {}", Printable(&.0.to_string()))]
    Required(Reply),
}

impl Outcome {
    /// Creates the outcome of a target that failed for this reason. The client gets a 451 reply
    /// without the reason.
    pub fn failed(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(RelayError::Own(Arc::from(reason.into())))
    }

    /// Returns a copy for an event, which is observed after the session has consumed the outcome.
    /// The copy never reaches a session, so each receipt still answers exactly one request.
    #[cfg(feature = "serve")]
    pub(crate) fn copy_for_event(&self) -> Self {
        match self {
            Self::Accepted(receipt) => Self::Accepted(Receipt {
                granted: receipt.granted,
                transaction: receipt.transaction.clone(),
                reply: receipt.reply.clone(),
                called: receipt.called.clone(),
            }),
            Self::Refused(refusal) => Self::Refused(refusal.clone()),
            Self::Failed(error) => Self::Failed(error.clone()),
        }
    }

    /// Returns the outcome if its receipt is for this request. Otherwise returns a failure, since
    /// the relay target has a bug, and the client gets a 451 reply.
    pub(crate) fn covering(self, granted: Granted, transaction: &TransactionId) -> Self {
        match self {
            Self::Accepted(receipt) if !receipt.covers(granted, transaction) => {
                Self::Failed(RelayError::Mismatch)
            }
            outcome => outcome,
        }
    }

    /// Returns the reply for the client.
    pub fn reply(&self) -> &Reply {
        match self {
            Self::Accepted(receipt) => &receipt.reply,
            Self::Refused(refusal) => refusal.reply(),
            Self::Failed(error) => error.reply(),
        }
    }
}

impl RelayError {
    /// Returns the reply for the client.
    pub(crate) fn reply(&self) -> &'static Reply {
        static LATE: Reply = Reply::fixed(
            451,
            Some((4, 7)),
            "The next server did not answer in time, try again later",
        );
        static UNREACHABLE: Reply =
            Reply::fixed(451, Some((4, 1)), "The next server cannot be reached, try again later");
        static LOST: Reply = Reply::fixed(
            451,
            Some((4, 2)),
            "The connection to the next server was lost, try again later",
        );
        static NONSENSE: Reply = Reply::fixed(
            451,
            Some((3, 0)),
            "The next server sent an invalid reply, try again later",
        );
        static UNIDENTIFIED: Reply = Reply::fixed(
            451,
            Some((3, 5)),
            "The next server does not accept your identity, try again later",
        );
        static PARTIAL: Reply = Reply::fixed(
            451,
            Some((5, 0)),
            "The next server accepted it for some recipients only, try again later",
        );
        static NOT_PRIVATE: Reply = Reply::fixed(
            451,
            Some((7, 5)),
            "TLS is required but not available at the next server, try again later",
        );
        static BUSY: Reply = Reply::fixed(
            451,
            Some((3, 2)),
            "Too many connections to the next server, try again later",
        );
        static LOOP: Reply = Reply::fixed(451, Some((4, 6)), "Mail loop detected, try again later");
        static OWN: Reply =
            Reply::fixed(451, Some((3, 0)), "Mail cannot be accepted now, try again later");
        match self {
            Self::Late(_) => &LATE,
            Self::Unreachable(_) | Self::Untested => &UNREACHABLE,
            Self::Lost | Self::TransactionLost => &LOST,
            Self::Partial(_) => &PARTIAL,
            Self::Garbled(_) | Self::Unexpected(_) => &NONSENSE,
            Self::NotOffered(_) | Self::NotBelieved(_) | Self::NoAddress => &UNIDENTIFIED,
            Self::NoTls(_) => &NOT_PRIVATE,
            Self::Loop => &LOOP,
            Self::Busy => &BUSY,
            Self::Own(_) | Self::Mismatch | Self::OpenRelay => &OWN,
        }
    }
}

/// The request that a receipt answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Granted {
    Recipient,
    /// The content. With one answer per recipient: the content for the first recipient.
    Content,
    /// The content for a further recipient, counted from 0.
    Answer(usize),
}

/// Proof that the relay target accepted a recipient or the content of a message.
///
/// A receipt is read from the wire by [`Onward`](crate::Onward), or stated by a custom relay target.
/// It cannot be cloned, so each positive answer answers exactly one request.
///
/// ```compile_fail,E0451
/// use nobounce::{Receipt, Reply};
/// fn alter(receipt: Receipt, reply: Reply) -> Receipt {
///     Receipt { reply, ..receipt } // private fields
/// }
/// ```
///
/// ```compile_fail,E0599
/// fn twice(receipt: nobounce::Receipt) -> [nobounce::Receipt; 2] {
///     [receipt.clone(), receipt]
/// }
/// ```
#[derive(Debug)]
pub struct Receipt {
    granted: Granted,
    /// The transaction of the request. `None` if the target does not state it.
    transaction: Option<TransactionId>,
    reply: Reply,
    /// Queue ID of the message, if the reply does not contain it.
    called: Option<Box<str>>,
}

impl Receipt {
    /// Creates a receipt for a recipient: mail for it would be accepted.
    pub fn recipient() -> Self {
        const OK: Reply = Reply::fixed(250, Some((1, 5)), "Recipient OK");
        Self { granted: Granted::Recipient, transaction: None, reply: OK, called: None }
    }

    /// Creates a receipt for a content that is stored durably under `queue_id`: it survives a crash
    /// of this process and of this machine.
    ///
    /// The caller takes the responsibility of RFC 5321 section 6.1: to deliver the message or to
    /// report the failure. nobounce itself calls this function only after a Maildir delivery has
    /// been synchronised to disk.
    pub fn kept(queue_id: &str) -> Self {
        let text = ["Ok: queued as ", queue_id].concat();
        let reply = Reply::new(ReplyCode::OK, EnhancedStatus::new(0, 0), &text);
        let called = (self::queue_id(&reply) != Some(queue_id)).then(|| queue_id.into());
        Self { granted: Granted::Content, transaction: None, reply, called }
    }

    /// Creates a receipt from a 2xx reply in a dialogue or recording.
    #[cfg(any(feature = "recording", feature = "testing"))]
    pub(crate) fn stated(granted: Granted, reply: Reply) -> Self {
        Self { granted, transaction: None, reply, called: None }
    }

    /// Creates a receipt from the onward server's reply to this request. Returns the reply as an
    /// error if it is not 2xx.
    pub(crate) fn read(
        granted: Granted,
        transaction: &TransactionId,
        reply: Reply,
    ) -> Result<Self, Reply> {
        if reply.class() != ReplyClass::Completion {
            return Err(reply);
        }
        Ok(Self { granted, transaction: Some(transaction.clone()), reply, called: None })
    }

    /// Returns the 2xx reply for the client.
    pub fn reply(&self) -> &Reply {
        &self.reply
    }

    pub(crate) fn into_reply(self) -> Reply {
        self.reply
    }

    /// Returns the onward server's queue ID for the message, if the reply contains one.
    pub fn queue_id(&self) -> Option<&str> {
        match self.granted {
            Granted::Recipient => None,
            Granted::Content | Granted::Answer(_) => {
                self.called.as_deref().or_else(|| queue_id(&self.reply))
            }
        }
    }

    /// Returns whether the onward server accepted the message and says that it will not deliver it.
    ///
    /// The server says so with `250 2.7.0 Ok, discarded` (amavisd with `D_DISCARD`), or announces a
    /// bounce. The client gets this 2xx reply. Whether mail is lost this way depends on the
    /// configuration of the onward server. Its operator should be warned.
    pub fn is_discarded(&self) -> bool {
        self.granted != Granted::Recipient && partial::is_discarded(&self.reply)
    }

    /// Returns whether the reply says that some recipients do not get the message.
    pub(crate) fn is_partial(&self) -> bool {
        self.granted == Granted::Content && partial::is_partial(&self.reply)
    }

    /// Returns whether the receipt answers this request of this transaction.
    pub(crate) fn covers(&self, granted: Granted, transaction: &TransactionId) -> bool {
        match &self.transaction {
            Some(own) => own == transaction && self.granted == granted,
            None => matches!(
                (self.granted, granted),
                (Granted::Recipient, Granted::Recipient)
                    | (Granted::Content, Granted::Content | Granted::Answer(_))
            ),
        }
    }
}

/// Returns the queue ID from a reply to the content: `queued as ID` (Postfix, chasquid), `id=ID`
/// (Exim), or `ID Message accepted for delivery` (sendmail, OpenSMTPD).
fn queue_id(reply: &Reply) -> Option<&str> {
    let text = reply.lines().last()?;
    let after = |mark| split(text, mark).map(|(_, rest)| rest);
    let before = || {
        let (words, _) = split(text, " Message accepted for delivery")?;
        words.trim_end_matches(':').rsplit([' ', ':']).next()
    };
    let word = after("queued as ").or_else(|| after("id=")).or_else(before)?;
    let end = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let id = word.trim_start().split(end).next()?;
    (!id.is_empty() && id.len() <= 64).then_some(id)
}

/// Returns the text before and after a mark. It searches for the first octet of the mark.
/// [`str::split_once`] needs a setup that costs more than it saves in a text as short as a reply.
fn split<'t>(text: &'t str, mark: &str) -> Option<(&'t str, &'t str)> {
    let mut places = memchr_iter(*mark.as_bytes().first()?, text.as_bytes());
    places.find_map(|at| {
        let (before, rest) = text.split_at_checked(at)?;
        Some((before, rest.strip_prefix(mark)?))
    })
}

/// A request to the relay target.
#[derive(Debug)]
pub enum Request<'a> {
    /// The question whether the target accepts mail for this recipient.
    Recipient(&'a Envelope, &'a ForwardPath),
    /// The question whether the target accepts this message for all recipients of the envelope. In
    /// a PRDR transaction with several recipients, it concerns only the first of them.
    Content(&'a Envelope, Message),
    /// The question whether the target accepts the message for this further recipient of the
    /// envelope. Used in PRDR transactions.
    Answer(&'a Envelope, &'a ForwardPath),
    /// The question whether the target still accepts mail for the recipients of the envelope. It is
    /// asked at DATA, before 354, if the target [has dropped](crate::Session::doubt_recipients) its
    /// state of the transaction.
    Renewal(&'a Envelope),
}

/// Kind of a [`Request`], without the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// [`Request::Recipient`].
    Recipient,
    /// [`Request::Content`].
    Content,
    /// [`Request::Answer`].
    Answer,
    /// [`Request::Renewal`].
    Renewal,
}

impl<'a> Request<'a> {
    /// Returns the kind of the request.
    pub fn kind(&self) -> RequestKind {
        match self {
            Self::Recipient(..) => RequestKind::Recipient,
            Self::Content(..) => RequestKind::Content,
            Self::Answer(..) => RequestKind::Answer,
            Self::Renewal(_) => RequestKind::Renewal,
        }
    }

    /// Returns the recipient that the request is about, or `None` if it is about the whole
    /// envelope.
    pub fn recipient(&self) -> Option<&'a ForwardPath> {
        match self {
            Self::Recipient(_, recipient) | Self::Answer(_, recipient) => Some(recipient),
            Self::Content(..) | Self::Renewal(_) => None,
        }
    }

    /// Returns the envelope of the request.
    pub fn envelope(&self) -> &'a Envelope {
        match self {
            Self::Recipient(envelope, _)
            | Self::Content(envelope, _)
            | Self::Answer(envelope, _)
            | Self::Renewal(envelope) => envelope,
        }
    }
}

#[cfg(test)]
mod tests;
