//! What the relay target answered. A yes can be read off the wire or vouched for; it cannot be
//! made up.

pub(crate) mod partial;

use std::sync::Arc;

use memchr::memchr_iter;

use crate::deadline::Awaiting;
use crate::envelope::{Envelope, TransactionId};
use crate::message::Message;
use crate::verdict::Refusal;
use crate::wire::attributes::AttributeCommand;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::{EnhancedStatus, Reply, ReplyClass, ReplyCode, ReplyFault};
use crate::wire::text::Printable;

/// The relay target's answer to a recipient or to the content.
#[derive(Debug)]
#[must_use = "the client waits for this answer"]
pub enum Outcome {
    /// The target said 2xx.
    Accepted(Receipt),
    /// The target said 4yz or 5yz.
    Refused(Refusal),
    /// The target could not be asked, or has not answered: the client is told 451 and comes again.
    Failed(RelayError),
}

/// Why a relay target could not be asked or has not answered. Observers are told; the client is told
/// 451 and nothing of this.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// There is no connection to the onward server.
    #[error("not connected: {}", Printable(&.0.to_string()))]
    Unreachable(Arc<dyn std::error::Error + Send + Sync>),
    /// The connection to the onward server ended before the answer.
    #[error("connection lost")]
    Lost,
    /// The onward server did not do this in time.
    #[error("late: {0:?}")]
    Late(Awaiting),
    /// The onward server sent something that is no reply. The fault is its own.
    #[error("no reply: {0}")]
    Garbled(#[from] ReplyFault),
    /// The onward server replied what no server replies to this. The fault is its own.
    #[error("unexpected reply: {}", Printable(&.0.to_string()))]
    Unexpected(Reply),
    /// The onward server took the message for some of its recipients only, and answered once for all of
    /// them: amavisd over SMTP, directly or behind a Postfix with `smtpd_proxy_filter`. The client is told
    /// 451, and the retry has to go onward with one recipient in each transaction; otherwise it is answered
    /// the same. [`Smtp`](crate::relay::Smtp) sees to that for twelve hours.
    #[error("taken for some recipients only: {}", Printable(&.0.to_string()))]
    Partial(Reply),
    /// The onward server had recipients of this transaction on a connection that was lost.
    #[error("transaction lost with an earlier connection")]
    TransactionLost,
    /// There is no TLS with the onward server, and it or the policy asks for it. The fault is its
    /// own, the caller's, or an attacker's who stands between.
    #[error("no TLS: {0}")]
    NoTls(TlsFault),
    /// The onward server is to be told who the client is by this command, and does not offer it to
    /// us. The fault is its configuration's, or ours.
    #[error("{} is not offered to us", .0.verb())]
    NotOffered(AttributeCommand),
    /// The onward server was told who the client is and does not take our word for it. The fault is
    /// its configuration's, or ours.
    #[error("not believed who the client is: {}", Printable(&.0.to_string()))]
    NotBelieved(Reply),
    /// The onward server has as many of our connections as it may have, and none was free in time.
    #[error("no connection is free")]
    Busy,
    /// The onward server has not been tested yet.
    #[error("the onward server has not been tested yet")]
    Untested,
    /// The onward server relays for strangers, as the self-test has found. The fault is its
    /// configuration's.
    #[error("the onward server is an open relay behind us")]
    OpenRelay,
    /// The relay target leads back to this gate. The configuration is at fault, ours or that of the
    /// onward server.
    #[error("mail loop: the relay target leads back to this gate")]
    Loop,
    /// The client has no address that the onward server could be told.
    #[error("the client has no address to tell")]
    NoAddress,
    /// The receipt answers another question. The fault is the relay target's.
    #[error("a receipt for something else")]
    Mismatch,
    /// A relay target of one's own failed.
    #[error("{}", Printable(&.0.to_string()))]
    Own(Arc<dyn std::error::Error + Send + Sync>),
}

/// Why there is no TLS with an onward server.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// The server does not offer STARTTLS.
    #[error("not offered")]
    NotOffered,
    /// The server offers STARTTLS and replied this to it.
    #[error("refused: {}", Printable(&.0.to_string()))]
    Refused(Reply),
    /// The handshake failed: no version or cipher in common, a certificate that proves nothing, a
    /// connection lost on the way.
    #[error("handshake: {}", Printable(&.0.to_string()))]
    Handshake(Arc<dyn std::error::Error + Send + Sync>),
    /// The server did not reply to STARTTLS, or not finish the handshake, in time.
    #[error("late")]
    Late,
    /// The server wants TLS, and the policy was to do without, or TLS was tried in vain.
    #[error("required: {}", Printable(&.0.to_string()))]
    Required(Reply),
}

impl Outcome {
    /// The target failed for this reason. The client is told 451 and none of it.
    pub fn failed(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(RelayError::Own(Arc::from(reason.into())))
    }

    /// Returns a copy for an event that is observed after the session has consumed the outcome. It
    /// never reaches a session, so a receipt still answers one question.
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

    /// The outcome, if its receipt is for this question; otherwise the relay target's author is at
    /// fault and the client is told to come again.
    pub(crate) fn covering(self, granted: Granted, transaction: &TransactionId) -> Self {
        match self {
            Self::Accepted(receipt) if !receipt.covers(granted, transaction) => {
                Self::Failed(RelayError::Mismatch)
            }
            outcome => outcome,
        }
    }

    /// The reply that the client gets.
    pub fn reply(&self) -> &Reply {
        match self {
            Self::Accepted(receipt) => &receipt.reply,
            Self::Refused(refusal) => refusal.reply(),
            Self::Failed(error) => error.reply(),
        }
    }
}

impl RelayError {
    /// The reply that the client gets.
    pub(crate) fn reply(&self) -> &'static Reply {
        static LATE: Reply = Reply::fixed(
            451,
            Some((4, 7)),
            "The next server has not answered in time, try again later",
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
            "The next server has given no usable answer, try again later",
        );
        static UNIDENTIFIED: Reply = Reply::fixed(
            451,
            Some((3, 5)),
            "The next server cannot be told who you are, try again later",
        );
        static PARTIAL: Reply = Reply::fixed(
            451,
            Some((5, 0)),
            "The next server has taken it for some recipients only, try again later",
        );
        static NOT_PRIVATE: Reply = Reply::fixed(
            451,
            Some((7, 5)),
            "There is no privacy with the next server, try again later",
        );
        static BUSY: Reply = Reply::fixed(
            451,
            Some((3, 2)),
            "The next server has too many connections, try again later",
        );
        static LOOP: Reply =
            Reply::fixed(451, Some((4, 6)), "Mail loop behind this server, try again later");
        static OWN: Reply =
            Reply::fixed(451, Some((3, 0)), "Mail cannot be taken now, try again later");
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

/// What a receipt was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Granted {
    Recipient,
    /// The content; with an answer for each recipient, for the first.
    Content,
    /// The content, for a further recipient, counted from 0.
    Answer(usize),
}

/// Proof that the relay target took a recipient or the content of a message.
///
/// It is read off the wire by [`Onward`](crate::Onward), or stated by a relay target of one's own.
/// It cannot be cloned: one yes answers one question.
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
    /// The transaction it was given in; `None` for targets that do not say.
    transaction: Option<TransactionId>,
    reply: Reply,
    /// What the message is called, where the reply does not tell.
    called: Option<Box<str>>,
}

impl Receipt {
    /// States that this recipient's mail would be taken.
    pub fn recipient() -> Self {
        const OK: Reply = Reply::fixed(250, Some((1, 5)), "Recipient OK");
        Self { granted: Granted::Recipient, transaction: None, reply: OK, called: None }
    }

    /// States that the message is durably kept, under `queue_id`: it survives a crash of this
    /// process and of this machine.
    ///
    /// Who calls this takes the responsibility of RFC 5321 section 6.1: to deliver the message or
    /// to report that it could not. nobounce never calls it for anything but a Maildir that has
    /// been synchronised to disk.
    pub fn kept(queue_id: &str) -> Self {
        let text = ["Ok: queued as ", queue_id].concat();
        let reply = Reply::new(ReplyCode::OK, EnhancedStatus::new(0, 0), &text);
        let called = (self::queue_id(&reply) != Some(queue_id)).then(|| queue_id.into());
        Self { granted: Granted::Content, transaction: None, reply, called }
    }

    /// A 2xx that a dialogue states.
    #[cfg(feature = "testing")]
    pub(crate) fn stated(granted: Granted, reply: Reply) -> Self {
        Self { granted, transaction: None, reply, called: None }
    }

    /// A 2xx that the onward server gave for this very request; the reply itself if it is none.
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

    /// The 2xx reply that the client gets.
    pub fn reply(&self) -> &Reply {
        &self.reply
    }

    pub(crate) fn into_reply(self) -> Reply {
        self.reply
    }

    /// What the onward server calls the message, as far as its reply tells.
    pub fn queue_id(&self) -> Option<&str> {
        match self.granted {
            Granted::Recipient => None,
            Granted::Content | Granted::Answer(_) => {
                self.called.as_deref().or_else(|| queue_id(&self.reply))
            }
        }
    }

    /// Whether the onward server took the message and says that it goes no further: `250 2.7.0 Ok,
    /// discarded` (amavisd with `D_DISCARD`), or that it writes a bounce. The client hears this 2xx; whether
    /// mail is lost so is the onward server's configuration to say, and worth a warning to its operator.
    pub fn is_discarded(&self) -> bool {
        self.granted != Granted::Recipient && partial::is_discarded(&self.reply)
    }

    /// Whether it says that some recipients of the message get nothing.
    pub(crate) fn is_partial(&self) -> bool {
        self.granted == Granted::Content && partial::is_partial(&self.reply)
    }

    /// Whether it answers this question of this transaction.
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

/// The queue id in a reply to the content: `queued as ID` (Postfix, chasquid), `id=ID` (Exim),
/// `ID Message accepted for delivery` (sendmail, OpenSMTPD).
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

/// What stands before and behind a mark. Looking for its first octet takes no preparation, unlike
/// [`str::split_once`], for which a reply is too short to be worth it.
fn split<'t>(text: &'t str, mark: &str) -> Option<(&'t str, &'t str)> {
    let mut places = memchr_iter(*mark.as_bytes().first()?, text.as_bytes());
    places.find_map(|at| {
        let (before, rest) = text.split_at_checked(at)?;
        Some((before, rest.strip_prefix(mark)?))
    })
}

/// What the relay target is asked.
#[derive(Debug)]
pub enum Request<'a> {
    /// Would it take mail for this recipient?
    Recipient(&'a Envelope, &'a ForwardPath),
    /// Does it take this message, for the recipients of the envelope? In a transaction with PRDR and
    /// several recipients: for the first of them?
    Content(&'a Envelope, Message),
    /// And for this one, the next of the envelope's recipients? Asked in transactions with PRDR.
    Answer(&'a Envelope, &'a ForwardPath),
    /// Does it still take mail for the recipients of the envelope? Asked at DATA, before 354, if the
    /// target [has given up](crate::Session::doubt_recipients) what it held of the transaction.
    Renewal(&'a Envelope),
}

/// What a relay target is asked about, without the message.
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
    /// Returns what is asked.
    pub fn kind(&self) -> RequestKind {
        match self {
            Self::Recipient(..) => RequestKind::Recipient,
            Self::Content(..) => RequestKind::Content,
            Self::Answer(..) => RequestKind::Answer,
            Self::Renewal(_) => RequestKind::Renewal,
        }
    }

    /// Returns the recipient that the relay target is asked about; `None` if it is asked about the
    /// whole envelope.
    pub fn recipient(&self) -> Option<&'a ForwardPath> {
        match self {
            Self::Recipient(_, recipient) | Self::Answer(_, recipient) => Some(recipient),
            Self::Content(..) | Self::Renewal(_) => None,
        }
    }

    /// The envelope it is about.
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
