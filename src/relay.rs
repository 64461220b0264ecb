//! Relay targets: who is asked to take recipients and messages.

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
pub use mailboxes::{BadMailbox, Mailboxes, Match};
pub use smtp::{SelfTestError, Smtp};

/// Makes a [`Relay`] for each client.
pub trait Target: Send + Sync {
    /// A relay for the session of this client. It does no I/O before it is asked something. If it
    /// panics, every recipient of the session is answered with 451.
    ///
    /// Who may speak for others may do so later in the session (XCLIENT, XFORWARD): the client of a
    /// transaction is [`Envelope::peer`], and only that.
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

/// The relay target as one client session sees it. Asked about each recipient before the client is
/// answered, then for the content. Its answer is the client's answer.
///
/// A future that is dropped before it is ready counts as "no answer": the client was told 451. When
/// a hook panics under [`serve`](crate::serve), the client is told 451, and so is every later
/// request of that session; the relay is dropped. See [`Observer`](crate::Observer) for programs
/// that are built with `panic = "abort"`.
#[async_trait]
pub trait Relay: Send {
    /// Returns the ESMTP extensions that the target honours. The client is offered no others.
    ///
    /// By default [`Capabilities::basic`]: no DSN and no SMTPUTF8. A target that offers DSN must write
    /// the reports that [`MailParameters`](crate::MailParameters) and
    /// [`RcptParameters`](crate::RcptParameters) ask for, or hand the parameters on to a server that does.
    ///
    /// Asked once, before the client's EHLO is answered. A target that must ask a server remembers the
    /// answer.
    async fn capabilities(&mut self) -> Capabilities {
        Capabilities::basic()
    }

    /// Would it take mail for this recipient? `envelope` holds the recipients accepted before; a new
    /// [`Envelope::id`] is a new transaction, and what was asked in an older one is void.
    async fn rcpt(&mut self, envelope: &Envelope, recipient: &ForwardPath) -> Outcome;

    /// Does it take the message, for all recipients of the envelope? If it
    /// [answers per recipient](Capabilities::prdr) and the client understands that
    /// ([`MailParameters::prdr`](crate::MailParameters::prdr)): for the first of them?
    ///
    /// The message is the target's own: nobody else needs its memory any more.
    async fn content(&mut self, envelope: &Envelope, message: Message) -> Outcome;

    /// And for this one? Asked behind `content` for each further recipient of the envelope, in order,
    /// if the target answers per recipient and the client understands that.
    async fn answer(&mut self, envelope: &Envelope, recipient: &ForwardPath) -> Outcome {
        let _ = (envelope, recipient);
        Outcome::failed("a relay target that offers PRDR and has one answer")
    }

    /// Returns whether the target has given up, of its own accord, what it held of the transaction that
    /// runs: a server with few connections takes back that of a client that idles. Then it is
    /// [asked](Self::renew) at DATA.
    fn has_given_up(&self) -> bool {
        false
    }

    /// Does it still take mail for the recipients of the envelope? Anything but
    /// [`Outcome::Accepted`] is the answer to DATA.
    async fn renew(&mut self, envelope: &Envelope) -> Outcome {
        let _ = envelope;
        Outcome::Accepted(Receipt::recipient())
    }

    /// Asks what a session wants to be [asked](crate::Forward::take). A target that treats all
    /// requests alike implements this instead of handling each kind in a method of its own.
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

    /// The client has gone. Nothing depends on this being called.
    async fn close(&mut self) {}
}

/// Stands in for a relay that has panicked: every request fails with 451.
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
