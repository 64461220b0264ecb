//! Judges: the trait that a gate asks for its verdicts.

use async_trait::async_trait;

use super::thresholds::unchecked;
use super::{Panel, Sitting};
use crate::opinion::FailurePolicy;
use crate::runtime::Runtime;
use crate::tally::{Failure, FailureCause, Tally};
use crate::unwind::Guarded;
use crate::verdict::{Subject, Verdict};

/// The decision logic for clients, recipients and messages. [`Panel`] implements it. Your own
/// decision logic can replace the panel ([`Gate::judge`](crate::Gate::judge)) or wrap one:
///
/// ```
/// use async_trait::async_trait;
/// use nobounce::{ForwardPath, Panel, Refusal, Runtime, Verdict};
/// use nobounce::panel::{Judge, Sitting};
/// use nobounce::tally::Tally;
/// use nobounce::verdict::Subject;
///
/// /// Never refuses mail to postmaster (RFC 5321 section 4.5.1).
/// struct ReachablePostmaster(Panel);
///
/// #[async_trait]
/// impl<R: Runtime> Judge<R> for ReachablePostmaster {
///     async fn judge(
///         &self,
///         runtime: &R,
///         subject: Subject<'_>,
///         tally: &mut Tally,
///         sitting: &mut Sitting,
///     ) -> Verdict {
///         let verdict = self.0.ask(runtime, subject, tally, sitting).await;
///         match subject {
///             Subject::Recipient(_, to) if is_postmaster(to) => Verdict::Pass,
///             _ => verdict,
///         }
///     }
/// }
///
/// fn is_postmaster(to: &ForwardPath) -> bool {
///     to.path.canonical().local_part.eq_ignore_ascii_case("postmaster")
/// }
/// assert!(is_postmaster(&ForwardPath::parse("<Postmaster>")?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[async_trait]
pub trait Judge<R: Runtime>: Send + Sync {
    /// Decides about the subject. The gate records the verdict in the tally; findings come from the
    /// scorers of a panel that the judge asks.
    ///
    /// If the judge panics, the client is deferred, as with [`FailurePolicy::Defer`] for a scorer.
    async fn judge(
        &self,
        runtime: &R,
        subject: Subject<'_>,
        tally: &mut Tally,
        sitting: &mut Sitting,
    ) -> Verdict;
}

#[async_trait]
impl<R: Runtime> Judge<R> for Panel {
    async fn judge(
        &self,
        runtime: &R,
        subject: Subject<'_>,
        tally: &mut Tally,
        sitting: &mut Sitting,
    ) -> Verdict {
        self.ask(runtime, subject, tally, sitting).await
    }
}

/// The judge of a gate. Asking a panel allocates no future on the heap.
pub(crate) enum Bench<R> {
    Panel(Panel),
    Own(Box<dyn Judge<R>>),
}

impl<R: Runtime> Bench<R> {
    pub(crate) async fn ask(
        &self,
        runtime: &R,
        subject: Subject<'_>,
        tally: &mut Tally,
        sitting: &mut Sitting,
    ) -> Verdict {
        let judge = match self {
            Self::Panel(panel) => return panel.ask(runtime, subject, tally, sitting).await,
            Self::Own(judge) => judge,
        };
        let stage = subject.stage();
        // A panel prepares tally and sitting itself, but a judge need not ask a panel.
        tally.ask();
        sitting.forget_answers();
        let decided = tally.decisions().count();
        let judged = Guarded::begin(|| judge.judge(runtime, subject, tally, sitting)).await;
        let verdict = judged.unwrap_or_else(|panic| {
            let (cause, policy) = (FailureCause::Panic(panic), FailurePolicy::Defer);
            tally.fail(Failure {
                scorer: "judge".into(),
                stage,
                cause,
                policy,
                monitored: false,
                server: None,
            });
            Verdict::Refuse(unchecked(stage))
        });
        tally.overrule(stage, &verdict, decided);
        verdict
    }
}
