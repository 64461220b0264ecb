//! Scorers: the trait that has a say in whether mail is taken.

mod context;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

pub use self::context::{ConnectContext, DataContext, RcptContext};
use crate::opinion::{Opinion, ScorerError};
use crate::session::TransactionEnd;

/// Has a say in whether mail is taken. Every hook is silent by default. At one stage the hooks of all
/// scorers run side by side, each within its own time budget.
///
/// They run in one task: a hook that blocks its thread blocks the others, and no budget ends it. A
/// hook that panics has failed. A hook that is late is dropped.
///
/// `Box<S>` and `Arc<S>` are scorers too, so that a panel can be built from a configuration:
///
/// ```
/// use nobounce::scorers::{Behaviour, Gtube};
/// use nobounce::{Panel, Scorer};
///
/// let configured = ["gtube", "behaviour"];
/// let scorer = |name: &str| -> Option<Box<dyn Scorer>> {
///     match name {
///         "gtube" => Some(Box::new(Gtube)),
///         "behaviour" => Some(Box::new(Behaviour::new())),
///         _ => None,
///     }
/// };
/// let scorers = configured.into_iter().filter_map(scorer);
/// let panel = scorers.fold(Panel::new(), Panel::scorer);
/// assert_eq!(panel.names().collect::<Vec<_>>(), configured);
/// ```
#[async_trait]
pub trait Scorer: Send + Sync {
    /// Returns its name in records: a short word without spaces.
    fn name(&self) -> &str;

    /// Returns all symbols that it can find, if they are known: weights for others are errors of the
    /// configuration ([`Panel::unknown_weights`](crate::Panel::unknown_weights)). `None`, the default, for
    /// a scorer whose symbols are a daemon's to choose.
    fn symbols(&self) -> Option<Vec<&str>> {
        None
    }

    /// Opens the scorer of one session, for a scorer that keeps state per session: a dialogue with a
    /// daemon, a milter. The hooks of what it returns are called in place of this scorer's own.
    ///
    /// Called before the first question of the session, and again when the client changes (XCLIENT). The
    /// default has no such state, which costs nothing.
    fn open(&self, at: &ConnectContext<'_>) -> Option<Box<dyn SessionScorer>> {
        let _ = at;
        None
    }

    /// A client has connected; it has not been greeted.
    async fn on_connect(&self, at: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        let _ = at;
        Ok(Opinion::silent())
    }

    /// The client named a recipient; the relay target has not been asked about it. The envelope holds
    /// sender, client and the recipients accepted before. If other policies apply to those, refuse
    /// this one with [`Refusal::come_again`](crate::Refusal::come_again).
    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let _ = at;
        Ok(Opinion::silent())
    }

    /// The message is complete; nothing of it has gone onward.
    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let _ = at;
        Ok(Opinion::silent())
    }
}

/// The scorer of one session: its hooks may change what it keeps. See [`Scorer::open`].
///
/// It is dropped when the session ends. It is also dropped when one of its hooks panics, is late, or is
/// given up with its question, since its state is unknown then. Every later hook of the session fails
/// ([`FailureCause::StateLost`](crate::FailureCause::StateLost)), with the failure policy of its seat.
///
/// ```
/// use async_trait::async_trait;
/// use nobounce::{ConnectContext, Finding, Opinion, RcptContext, Score, Scorer, ScorerError};
/// use nobounce::{SessionScorer, TransactionEnd};
///
/// /// Dislikes clients that begin many transactions and finish none.
/// struct Probes;
///
/// #[derive(Default)]
/// struct Unfinished(i32);
///
/// impl Scorer for Probes {
///     fn name(&self) -> &str {
///         "probes"
///     }
///
///     fn open(&self, _: &ConnectContext<'_>) -> Option<Box<dyn SessionScorer>> {
///         Some(Box::new(Unfinished::default()))
///     }
/// }
///
/// #[async_trait]
/// impl SessionScorer for Unfinished {
///     async fn on_rcpt(&mut self, _: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
///         Ok(Finding::new("PROBES", Score::points(self.0)).into())
///     }
///
///     fn transaction_ended(&mut self, end: &TransactionEnd) {
///         self.0 += i32::from(end.reply.is_none());
///     }
/// }
/// ```
#[async_trait]
pub trait SessionScorer: Send {
    /// See [`Scorer::on_connect`].
    async fn on_connect(&mut self, at: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        let _ = at;
        Ok(Opinion::silent())
    }

    /// See [`Scorer::on_rcpt`].
    async fn on_rcpt(&mut self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let _ = at;
        Ok(Opinion::silent())
    }

    /// See [`Scorer::on_data`].
    async fn on_data(&mut self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let _ = at;
        Ok(Opinion::silent())
    }

    /// A transaction has ended. Called once the client has its reply, and before the next question. It
    /// must not block.
    fn transaction_ended(&mut self, end: &TransactionEnd) {
        let _ = end;
    }
}

/// Forwards every hook to what the pointer points to, without a future of its own around that of the
/// hook.
macro_rules! forward_scorer {
    (hook $hook:ident $context:ident) => {
        fn $hook<'s, 'a, 'c, 'f>(
            &'s self,
            at: &'a $context<'c>,
        ) -> BoxFuture<'f, Result<Opinion, ScorerError>>
        where
            Self: 'f,
            's: 'f,
            'a: 'f,
            'c: 'f,
        {
            (**self).$hook(at)
        }
    };
    ($($pointer:ident)*) => {$(
        impl<S: Scorer + ?Sized> Scorer for $pointer<S> {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn symbols(&self) -> Option<Vec<&str>> {
                (**self).symbols()
            }

            fn open(&self, at: &ConnectContext<'_>) -> Option<Box<dyn SessionScorer>> {
                (**self).open(at)
            }

            forward_scorer!(hook on_connect ConnectContext);
            forward_scorer!(hook on_rcpt RcptContext);
            forward_scorer!(hook on_data DataContext);
        }
    )*};
}

forward_scorer!(Box Arc);
