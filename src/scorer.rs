//! Scorers: what one implements to have a say.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::envelope::Envelope;
use crate::header::HeaderField;
use crate::message::Message;
use crate::peer::Peer;
use crate::score::{Finding, Score};
use crate::unwind::{caught, drop_caught};
use crate::verdict::Refusal;
use crate::wire::mailbox::ForwardPath;
use crate::wire::text::Printable;

/// What a scorer says: nothing, evidence, or no. It cannot say yes, and it cannot discard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Opinion {
    /// Nothing.
    #[default]
    Silent,
    /// Reasons, weighed. The panel adds them up.
    Evidence(Vec<Finding>),
    /// Reasons, and header fields that stand before the message if it goes onward. Before there is a
    /// message the fields are nothing.
    Annotate(Vec<Finding>, Vec<HeaderField>),
    /// No, whatever the others say.
    Refuse(Refusal),
    /// No, whatever the others say, for these reasons: they count, and stand in the record.
    RefuseWith(Refusal, Vec<Finding>),
}

impl From<Finding> for Opinion {
    fn from(finding: Finding) -> Self {
        Self::Evidence(vec![finding])
    }
}

impl From<Refusal> for Opinion {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// Why a scorer has no opinion although it was asked, or only part of one. What it says is told to
/// observers, never to a client.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct ScorerError {
    reason: Reason,
    /// What it could say all the same.
    opinion: Box<Opinion>,
    /// What it could not say could only have spoken against the mail.
    adds_only: bool,
}

impl ScorerError {
    /// The scorer failed for this reason.
    pub fn new(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            reason: Reason(Some(Arc::from(reason.into()))),
            opinion: Box::default(),
            adds_only: false,
        }
    }

    /// Part of what it asks has answered: that counts, beside what its failure policy does.
    ///
    /// ```
    /// use nobounce::{Finding, Score, ScorerError};
    ///
    /// let listed = Finding::new("ONE_LIST", Score::points(3));
    /// let error = ScorerError::new("the other list does not answer").but_says(listed.into());
    /// assert_eq!(error.to_string(), "the other list does not answer");
    /// ```
    #[must_use]
    pub fn but_says(mut self, opinion: Opinion) -> Self {
        self.opinion = opinion.into();
        self
    }

    /// States that what is missing could only have spoken against the mail. Where the rest is enough
    /// for a permanent refusal, the failure could not have changed that, and the panel refuses instead
    /// of deferring ([`FailurePolicy::Defer`]).
    ///
    /// ```
    /// use nobounce::ScorerError;
    ///
    /// let error = ScorerError::new("a list of bad senders does not answer").adds_only();
    /// assert!(error.could_only_add());
    /// ```
    #[must_use]
    pub fn adds_only(mut self) -> Self {
        self.adds_only = true;
        self
    }

    /// Whether what is missing could only have spoken against the mail.
    pub fn could_only_add(&self) -> bool {
        self.adds_only
    }

    /// What it could say all the same.
    pub fn opinion(&self) -> &Opinion {
        &self.opinion
    }
}

/// The error of a scorer's own type. A panic while it is displayed or dropped is caught.
#[derive(Debug, Clone)]
struct Reason(Option<Arc<dyn std::error::Error + Send + Sync>>);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = caught(|| self.0.as_ref().map(ToString::to_string));
        let text = text.ok().flatten();
        // It may quote a daemon, or a sender.
        Printable(text.as_deref().unwrap_or("an error that cannot be displayed")).fmt(f)
    }
}

impl Drop for Reason {
    fn drop(&mut self) {
        drop_caught(self.0.take());
    }
}

/// What is done when a scorer that was asked fails, panics or is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FailurePolicy {
    /// As if it had said nothing: its silence is taken for consent.
    Ignore,
    /// As if it had found something of this weight.
    Score(Score),
    /// The client is asked to try again later (`451 4.3.0`, before the greeting `421 4.3.0`). This
    /// is the default: nobody has said that what this scorer would have refused may pass unseen,
    /// and a delayed message is not lost.
    #[default]
    Defer,
}

/// Has a say in whether mail is taken. Every hook is silent unless written; hooks of all scorers at
/// one stage run side by side, each within its own time budget.
///
/// They run in one task: a hook that blocks its thread blocks the others, and no budget ends it. A
/// hook that panics has failed; one that is late is dropped where it waits.
#[async_trait]
pub trait Scorer: Send + Sync {
    /// How it is called in records: a short word without spaces.
    fn name(&self) -> &str;

    /// A client has connected; it has not been greeted.
    async fn on_connect(&self, peer: &Peer) -> Result<Opinion, ScorerError> {
        let _ = peer;
        Ok(Opinion::Silent)
    }

    /// A recipient was named; the relay target has not been asked about it. `envelope` holds sender
    /// and client and the recipients that were accepted before; if other policies apply to those, this
    /// one is to [come again](Refusal::come_again).
    async fn on_rcpt(
        &self,
        envelope: &Envelope,
        recipient: &ForwardPath,
    ) -> Result<Opinion, ScorerError> {
        let _ = (envelope, recipient);
        Ok(Opinion::Silent)
    }

    /// The whole message is there; nothing of it has gone onward.
    async fn on_data(
        &self,
        envelope: &Envelope,
        message: &Message,
    ) -> Result<Opinion, ScorerError> {
        let _ = (envelope, message);
        Ok(Opinion::Silent)
    }
}
