//! Scorers: the trait that has a say in whether mail is taken.

mod context;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

pub use self::context::{ConnectContext, DataContext, RcptContext};
use crate::opinion::{Opinion, ScorerError};

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

            forward_scorer!(hook on_connect ConnectContext);
            forward_scorer!(hook on_rcpt RcptContext);
            forward_scorer!(hook on_data DataContext);
        }
    )*};
}

forward_scorer!(Box Arc);
