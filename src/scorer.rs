//! Scorers: the traits for components that judge connections, recipients and messages.

mod context;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

pub use self::context::{ConnectContext, DataContext, RcptContext};
use crate::opinion::{Opinion, ScorerError};
use crate::runtime::Address;
use crate::session::TransactionEnd;

/// A component that judges connections, recipients and messages. By default every hook returns
/// [`Opinion::silent`].
///
/// At one stage the hooks of all scorers run concurrently, each with its own time budget. They run
/// in one task. A hook that blocks its thread therefore blocks the others, and no budget interrupts
/// it. A hook that panics counts as failed. A hook that exceeds its budget is dropped.
///
/// `Box<S>` and `Arc<S>` implement `Scorer` too, so that a panel can be built from a configuration:
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
    /// Returns the scorer's name for records: a short word without spaces.
    fn name(&self) -> &str;

    /// Returns all symbols that the scorer can find, if they are known in advance. A weight for any
    /// other symbol is a configuration error
    /// ([`Panel::unknown_weights`](crate::Panel::unknown_weights)).
    ///
    /// Returns `None` by default. That is correct for a scorer whose symbols are chosen by a
    /// daemon.
    fn symbols(&self) -> Option<Vec<&str>> {
        None
    }

    /// Returns the server that the scorer asks, such as a daemon or a store. Records of a failure
    /// contain it. The default is `None`.
    fn server(&self) -> Option<&Address> {
        None
    }

    /// Opens the scorer of one session. Implement it for a scorer that keeps state per session,
    /// such as a dialogue with a daemon or a milter. The hooks of the returned value are called
    /// instead of the hooks of `self`.
    ///
    /// The panel calls it before the first question of the session, and again when the client
    /// changes (XCLIENT). The default returns `None`: the scorer has no per-session state, which
    /// costs nothing.
    fn open(&self, at: &ConnectContext<'_>) -> Option<Box<dyn SessionScorer>> {
        let _ = at;
        None
    }

    /// Judges a client that has connected and has not been greeted yet.
    async fn on_connect(&self, at: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        let _ = at;
        Ok(Opinion::silent())
    }

    /// Judges a recipient before the relay target is asked about it. The envelope holds the sender,
    /// the client and the recipients accepted before. If other policies apply to those recipients,
    /// refuse this one with [`Refusal::come_again`](crate::Refusal::come_again).
    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let _ = at;
        Ok(Opinion::silent())
    }

    /// Judges the complete message before any part of it is sent to the relay target.
    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let _ = at;
        Ok(Opinion::silent())
    }
}

/// The scorer of one session. Its hooks take `&mut self` and can keep state. See [`Scorer::open`].
///
/// It is dropped when the session ends. It is also dropped when one of its hooks panics, exceeds
/// its budget or is cancelled together with its question. Its state is then unknown, so every
/// later hook of the session fails with
/// [`FailureCause::StateLost`](crate::tally::FailureCause::StateLost), and the failure policy of the seat
/// applies.
///
/// ```
/// use async_trait::async_trait;
/// use nobounce::{ConnectContext, Finding, Opinion, RcptContext, Score, Scorer, ScorerError};
/// use nobounce::SessionScorer;
/// use nobounce::session::TransactionEnd;
///
/// /// Scores clients that begin many transactions and finish none.
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
    /// Judges the client as [`Scorer::on_connect`] does.
    async fn on_connect(&mut self, at: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        let _ = at;
        Ok(Opinion::silent())
    }

    /// Judges a recipient as [`Scorer::on_rcpt`] does.
    async fn on_rcpt(&mut self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let _ = at;
        Ok(Opinion::silent())
    }

    /// Judges the content as [`Scorer::on_data`] does.
    async fn on_data(&mut self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let _ = at;
        Ok(Opinion::silent())
    }

    /// Reports that a transaction has ended. The panel calls it after the reply was sent to the
    /// client and before the next question. It must not block.
    fn transaction_ended(&mut self, end: &TransactionEnd) {
        let _ = end;
    }
}

/// Forwards every hook to the scorer that the pointer refers to, without wrapping its future in
/// another one.
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

            fn server(&self) -> Option<&Address> {
                (**self).server()
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
