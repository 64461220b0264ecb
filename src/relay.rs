//! Relay targets: the components that accept recipients and messages.

mod mailboxes;
#[cfg(unix)]
mod maildir;
mod smtp;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::capabilities::Capabilities;
use crate::envelope::Envelope;
use crate::message::Message;
use crate::outcome::{Outcome, Receipt, Request};
use crate::peer::Peer;
use crate::wire::mailbox::ForwardPath;

#[cfg(unix)]
pub use self::maildir::Maildir;
pub use mailboxes::{MailboxError, Mailboxes, Match};
pub use smtp::{ConnectAttempt, SelfTestError, Smtp};

/// A relay target: creates a [`Relay`] for each client session.
///
/// ```
/// use nobounce::testing::peer;
/// use nobounce::{Peer, Relay, Target};
///
/// /// Sends the mail of IPv6 clients to another server.
/// struct ByNetwork<V4, V6>(V4, V6);
///
/// impl<V4: Target, V6: Target> Target for ByNetwork<V4, V6> {
///     fn open(&self, peer: &Peer) -> Box<dyn Relay> {
///         match peer.address {
///             Some(address) if address.is_ipv6() => self.1.open(peer),
///             _ => self.0.open(peer),
///         }
///     }
/// }
///
/// let target = ByNetwork(nobounce::relay::Maildir::new("four"), nobounce::relay::Maildir::new("six"));
/// let _relay = target.open(&peer());
/// ```
pub trait Target: Send + Sync {
    /// Returns a relay for the session of this client. It does no I/O before the first request. If
    /// this method panics, every recipient of the session gets a 451 reply.
    ///
    /// A trusted peer can announce another client later in the session (XCLIENT, XFORWARD). Use
    /// [`Envelope::peer`] for the client of a transaction, not `peer`.
    fn open(&self, peer: &Peer) -> Box<dyn Relay>;
}

impl<T: Target + ?Sized> Target for Box<T> {
    fn open(&self, peer: &Peer) -> Box<dyn Relay> {
        (**self).open(peer)
    }
}

impl<T: Target + ?Sized> Target for Arc<T> {
    fn open(&self, peer: &Peer) -> Box<dyn Relay> {
        (**self).open(peer)
    }
}

/// The relay target as seen by one client session. The session asks it about each recipient before
/// it replies to RCPT, and then about the content. Its answer becomes the reply to the client.
///
/// A future that is dropped before it is ready counts as "no answer", and the client gets 451. If a
/// method panics under [`serve`](crate::serve), the relay is dropped. The client then gets 451 for
/// this request and for every later request of the session. See [`Observer`](crate::Observer) for
/// programs that are built with `panic = "abort"`.
///
/// The page [relay targets](crate::docs::relay_targets) has a target that stores mail. This one is
/// for maintenance; all mail stays with the clients:
///
/// ```
/// use nobounce::reply::EnhancedStatus;
/// use nobounce::{Envelope, ForwardPath, Message, Outcome, Refusal, Relay, async_trait};
///
/// struct Closed;
///
/// #[async_trait]
/// impl Relay for Closed {
///     async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
///         let status = EnhancedStatus::new(3, 2);
///         Outcome::Refused(Refusal::transient(450, status, "Closed for maintenance until 06:00 UTC"))
///     }
///
///     async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
///         Outcome::failed("content without a recipient")
///     }
/// }
///
/// # use nobounce::testing::{envelope, recipient};
/// let outcome = pollster::block_on(Closed.rcpt(&envelope("<>"), &recipient("<b@example.com>")));
/// assert_eq!(outcome.reply().to_string(), "450 4.3.2 Closed for maintenance until 06:00 UTC");
/// ```
#[async_trait]
pub trait Relay: Send {
    /// Returns the ESMTP extensions that the target supports. The client is offered no others.
    ///
    /// The default is [`Capabilities::basic`]: no DSN and no SMTPUTF8. A target that offers DSN
    /// must write the reports that [`MailParameters`](crate::command::MailParameters) and
    /// [`RcptParameters`](crate::command::RcptParameters) request, or pass the parameters on to a server
    /// that does.
    ///
    /// The session calls this once, before it replies to EHLO. A target that must query a server
    /// should cache the answer.
    async fn capabilities(&mut self) -> Capabilities {
        Capabilities::basic()
    }

    /// Returns whether the target accepts mail for this recipient. `envelope` holds the recipients
    /// accepted before. A new [`Envelope::id`] means a new transaction; requests of older
    /// transactions are void.
    async fn rcpt(&mut self, envelope: &Envelope, recipient: &ForwardPath) -> Outcome;

    /// Returns whether the target accepts the message, for all recipients of the envelope. If the
    /// target [answers per recipient](Capabilities::prdr) and the client supports that
    /// ([`MailParameters::prdr`](crate::command::MailParameters::prdr)), the answer is for the first
    /// recipient only.
    ///
    /// The target owns the message, so it can free or reuse its memory.
    async fn content(&mut self, envelope: &Envelope, message: Message) -> Outcome;

    /// Returns the answer for one further recipient. After `content`, the session calls this for
    /// each further recipient of the envelope, in order, if target and client support answers per
    /// recipient (PRDR).
    async fn answer(&mut self, envelope: &Envelope, recipient: &ForwardPath) -> Outcome {
        let _ = (envelope, recipient);
        Outcome::failed("a relay target that offers PRDR and has one answer")
    }

    /// Returns whether the target has released its resources for the current transaction on its own
    /// initiative. For example, a server with few connections takes back the connection of an idle
    /// client. The session then calls [`renew`](Self::renew) at DATA.
    fn has_given_up(&self) -> bool {
        false
    }

    /// Returns whether the target still accepts mail for the recipients of the envelope. Any
    /// outcome other than [`Outcome::Accepted`] becomes the reply to DATA.
    async fn renew(&mut self, envelope: &Envelope) -> Outcome {
        let _ = envelope;
        Outcome::Accepted(Receipt::recipient())
    }

    /// Handles any request that a session [forwards](crate::Forward::take). A target that treats
    /// all requests alike can implement this method instead of one method for each kind.
    ///
    /// ```
    /// use nobounce::{Forward, Relay};
    ///
    /// async fn ask(relay: &mut dyn Relay, forward: Forward<'_>) {
    ///     let (request, pending) = forward.take();
    ///     pending.complete(relay.ask(request).await);
    /// }
    /// ```
    fn ask<'a>(&'a mut self, request: Request<'a>) -> BoxFuture<'a, Outcome> {
        match request {
            Request::Recipient(envelope, recipient) => self.rcpt(envelope, recipient),
            Request::Content(envelope, message) => self.content(envelope, message),
            Request::Answer(envelope, recipient) => self.answer(envelope, recipient),
            Request::Renewal(envelope) => self.renew(envelope),
        }
    }

    /// Closes the relay after the client has disconnected. The call is not guaranteed.
    async fn close(&mut self) {}
}

/// Replacement for a relay that has panicked: every request fails with 451.
pub(crate) struct Panicked;

#[async_trait]
impl Relay for Panicked {
    async fn capabilities(&mut self) -> Capabilities {
        Capabilities::none()
    }

    async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
        Outcome::failed(AFTER_PANIC)
    }

    async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
        Outcome::failed(AFTER_PANIC)
    }
}

const AFTER_PANIC: &str = "the relay target panicked earlier in this session";
