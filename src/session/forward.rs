//! Requests to the relay target.

use super::Session;
use super::state::{Forwarding, State};
use super::transaction::Transaction;
use crate::deadline::Deadline;
use crate::envelope::Envelope;
use crate::outcome::{Outcome, Request, RequestKind};
use crate::wire::mailbox::ForwardPath;

/// A request to the relay target, to inspect and to take.
///
/// It must be completed. If it is dropped, the session makes the request again.
///
/// ```compile_fail,E0382
/// fn twice(forward: nobounce::Forward<'_>, a: nobounce::Outcome, b: nobounce::Outcome) {
///     forward.complete(a);
///     forward.complete(b);
/// }
/// ```
///
/// The message can be taken only once:
///
/// ```compile_fail,E0382
/// fn twice(forward: nobounce::Forward<'_>) {
///     let (_request, pending) = forward.take();
///     let (_again, pending) = forward.take();
/// }
/// ```
#[derive(Debug)]
#[must_use = "the session asks again until the request is completed"]
pub struct Forward<'s>(&'s mut Session);

/// A request to the relay target that was taken and has no outcome yet.
///
/// If it is dropped, the session makes the request again, but without the message. The new request
/// then asks for the [answer](RequestKind::Answer) to the message that was taken. If the relay
/// target does not know that message, it answers 451, and the client sends the message again.
#[derive(Debug)]
#[must_use = "the session asks again until the request is completed"]
pub struct Pending<'s>(&'s mut Option<Outcome>);

impl<'s> Forward<'s> {
    /// Creates the request of a session. The session must be in a state of [`Forwarding`].
    pub(super) fn new(session: &'s mut Session) -> Self {
        Self(session)
    }

    /// Returns the time until which the session waits for the outcome.
    pub fn deadline(&self) -> Option<Deadline> {
        self.0.deadline()
    }

    /// Returns the kind of the request.
    pub fn kind(&self) -> RequestKind {
        match self.forwarding() {
            Forwarding::Recipient(..) => RequestKind::Recipient,
            Forwarding::Content(_, Some(_)) => RequestKind::Content,
            Forwarding::Content(_, None) | Forwarding::Answer(..) => RequestKind::Answer,
            Forwarding::Renewal(_) => RequestKind::Renewal,
        }
    }

    /// Returns the envelope that the request is about.
    pub fn envelope(&self) -> &Envelope {
        let (Forwarding::Recipient(transaction, _)
        | Forwarding::Renewal(transaction)
        | Forwarding::Content(transaction, _)
        | Forwarding::Answer(transaction, ..)) = self.forwarding();
        &transaction.envelope
    }

    /// Returns the recipient that the relay target is asked about; `None` if it is asked about the
    /// whole envelope.
    pub fn recipient(&self) -> Option<&ForwardPath> {
        match self.forwarding() {
            Forwarding::Recipient(_, recipient) | Forwarding::Answer(_, recipient, _) => {
                Some(recipient)
            }
            Forwarding::Content(transaction, None) => transaction.envelope.forward_paths.first(),
            Forwarding::Content(_, Some(_)) | Forwarding::Renewal(_) => None,
        }
    }

    /// Takes the request for the relay target. Complete the returned [`Pending`] with the target's
    /// answer.
    ///
    /// The session keeps no copy of the message. A target that writes the message to another server
    /// can free its memory while it writes.
    ///
    /// ```
    /// use nobounce::{Forward, Outcome, Receipt, Request};
    ///
    /// fn take_all(forward: Forward<'_>) {
    ///     let (request, pending) = forward.take();
    ///     pending.complete(Outcome::Accepted(match request {
    ///         Request::Recipient(..) | Request::Renewal(_) => Receipt::recipient(),
    ///         Request::Content(..) | Request::Answer(..) => Receipt::kept("4711"),
    ///     }));
    /// }
    /// ```
    pub fn take(self) -> (Request<'s>, Pending<'s>) {
        let Some((request, outcome)) = self.0.machine.take_request() else {
            unreachable!("{STATE}")
        };
        (request, Pending(outcome))
    }

    /// Completes the request without taking it. The client gets the reply from `outcome`.
    pub fn complete(self, outcome: Outcome) {
        self.0.conclude(outcome);
    }

    fn forwarding(&self) -> &Forwarding {
        let State::Forwarding(forwarding) = self.0.machine.state() else { unreachable!("{STATE}") };
        forwarding
    }
}

/// Only `poll` creates a [`Forward`], in this state, and the `Forward` borrows the session.
const STATE: &str = "a Forward outside of its state";

impl Pending<'_> {
    /// Completes the request. The client gets the reply from `outcome`.
    pub fn complete(self, outcome: Outcome) {
        *self.0 = Some(outcome);
    }
}

impl Forwarding {
    /// Returns the request and the slot for its outcome. The message is included only in the first
    /// call.
    pub(super) fn take(&mut self) -> (Request<'_>, &mut Option<Outcome>) {
        match self {
            Self::Recipient(transaction, recipient) => {
                let Transaction { envelope, outcome, .. } = &mut **transaction;
                (Request::Recipient(envelope, recipient), outcome)
            }
            Self::Content(transaction, message) => {
                let Transaction { envelope, outcome, .. } = &mut **transaction;
                let request = match (message.take(), envelope.forward_paths.first()) {
                    (Some(message), _) => Request::Content(envelope, message),
                    (None, Some(first)) => Request::Answer(envelope, first),
                    (None, None) => unreachable!("content without recipients"),
                };
                (request, outcome)
            }
            Self::Renewal(transaction) => {
                let Transaction { envelope, outcome, .. } = &mut **transaction;
                (Request::Renewal(envelope), outcome)
            }
            Self::Answer(transaction, recipient, _) => {
                let Transaction { envelope, outcome, .. } = &mut **transaction;
                (Request::Answer(envelope, recipient), outcome)
            }
        }
    }

    /// Returns whether there is no outcome.
    #[cfg(feature = "serve")]
    pub(super) fn is_open(&self) -> bool {
        let (Self::Recipient(transaction, _)
        | Self::Renewal(transaction)
        | Self::Content(transaction, _)
        | Self::Answer(transaction, ..)) = self;
        transaction.outcome.is_none()
    }

    /// Takes the outcome, if there is one.
    pub(super) fn take_outcome(&mut self) -> Option<Outcome> {
        let (Self::Recipient(transaction, _)
        | Self::Renewal(transaction)
        | Self::Content(transaction, _)
        | Self::Answer(transaction, ..)) = self;
        transaction.outcome.take()
    }
}

impl Session {
    /// Acts on the outcome of a [`Pending`]. Must be called before anything that could leave the
    /// state.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if let Some(outcome) = self.machine.take_outcome() {
            self.conclude(outcome);
        }
    }
}
