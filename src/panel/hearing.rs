//! Asks all scorers concurrently in one task, until each has answered, failed or timed out.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::future::FutureExt;

use super::sitting::Place;
use crate::opinion::{Opinion, ScorerError};
use crate::runtime::Runtime;
use crate::scorer::{ConnectContext, DataContext, RcptContext, Scorer};
use crate::tally::{FailureCause, Tally};
use crate::unwind::Guarded;
use crate::verdict::Subject;

type Answer<'a> = Guarded<'a, Result<Opinion, ScorerError>>;

/// The state of one scorer during a stage.
pub(super) enum Hearing<'a> {
    /// Waits for the answer until the deadline `until`. `None` means that the budget is longer than
    /// an [`Instant`] can represent, so the scorer never times out.
    Waiting { answer: Answer<'a>, budget: Duration, until: Option<Instant> },
    Heard {
        answer: Result<Opinion, FailureCause>,
        /// The time that the answer took, if known.
        took: Option<Duration>,
    },
}

/// Waits for the answer of each scorer within its budget.
///
/// At most one timer is armed at a time, and none when no scorer is pending. If `timed` is set, the
/// function records how long after that instant each answer came.
pub(super) async fn hear<R: Runtime>(
    runtime: &R,
    hearings: &mut [Hearing<'_>],
    timed: Option<Instant>,
) {
    let mut timer = None;
    poll_fn(|context| {
        hearings.iter_mut().for_each(|hearing| hearing.poll(context));
        if let Some(began) = timed {
            let passed = runtime.now().saturating_duration_since(began);
            hearings.iter_mut().for_each(|hearing| hearing.note_time(passed));
        }
        loop {
            if hearings.iter().all(Hearing::is_over) {
                return Poll::Ready(());
            }
            let Some(next) = hearings.iter().filter_map(Hearing::until).min() else {
                return Poll::Pending;
            };
            // An armed timer never fires too late: deadlines are only removed, never added.
            let (at, sleep) = timer.get_or_insert_with(|| (next, runtime.sleep_until(next)));
            ready!(sleep.as_mut().poll(context));
            let now = runtime.now().max(*at);
            timer = None;
            hearings.iter_mut().for_each(|hearing| hearing.expire(now));
        }
    })
    .await;
}

/// The context for the hooks of one stage.
pub(super) enum At<'a> {
    Connect(ConnectContext<'a>),
    Rcpt(RcptContext<'a>),
    Data(DataContext<'a>),
}

impl<'a> At<'a> {
    pub(super) fn new(subject: Subject<'a>, tally: &'a Tally) -> Self {
        match subject {
            Subject::Connection(session, peer) => {
                Self::Connect(ConnectContext::new(session, peer).tally(tally))
            }
            Subject::Recipient(envelope, recipient) => {
                Self::Rcpt(RcptContext::new(envelope, recipient).tally(tally))
            }
            Subject::Content(envelope, message) => {
                Self::Data(DataContext::new(envelope, message).tally(tally))
            }
        }
    }
}

impl<'a> Hearing<'a> {
    pub(super) fn begin(
        scorer: &'a dyn Scorer,
        place: Option<&'a mut Place>,
        at: &'a At<'a>,
        budget: Duration,
        began: Instant,
    ) -> Self {
        let answer = match place {
            None | Some(Place::Stateless) => Guarded::begin(|| match at {
                At::Connect(at) => scorer.on_connect(at),
                At::Rcpt(at) => scorer.on_rcpt(at),
                At::Data(at) => scorer.on_data(at),
            }),
            Some(Place::Open { scorer, is_asked }) => {
                *is_asked = true;
                Guarded::begin(|| match at {
                    At::Connect(at) => scorer.on_connect(at),
                    At::Rcpt(at) => scorer.on_rcpt(at),
                    At::Data(at) => scorer.on_data(at),
                })
            }
            Some(Place::Lost(cause)) => {
                return Self::Heard { answer: Err(cause.clone()), took: None };
            }
        };
        Self::Waiting { answer, budget, until: began.checked_add(budget) }
    }

    fn poll(&mut self, context: &mut Context<'_>) {
        if let Self::Waiting { answer, .. } = self
            && let Poll::Ready(answer) = answer.poll_unpin(context)
        {
            let answer = match answer {
                Ok(answer) => answer.map_err(FailureCause::Error),
                Err(panic) => Err(FailureCause::Panic(panic)),
            };
            *self = Self::Heard { answer, took: None };
        }
    }

    fn expire(&mut self, now: Instant) {
        if let Self::Waiting { budget, until: Some(until), .. } = *self
            && until <= now
        {
            *self = Self::Heard { answer: Err(FailureCause::Late(budget)), took: Some(budget) };
        }
    }

    /// Records the elapsed time if there is an answer without one. The value is an upper bound.
    fn note_time(&mut self, passed: Duration) {
        if let Self::Heard { took, .. } = self {
            took.get_or_insert(passed);
        }
    }

    fn is_over(&self) -> bool {
        matches!(self, Self::Heard { .. })
    }

    fn until(&self) -> Option<Instant> {
        match self {
            Self::Waiting { until, .. } => *until,
            Self::Heard { .. } => None,
        }
    }

    /// Returns the answer and the time it took, or `None` if the scorer is still pending.
    pub(super) fn answer(self) -> Option<(Result<Opinion, FailureCause>, Duration)> {
        match self {
            Self::Waiting { .. } => None,
            Self::Heard { answer, took } => Some((answer, took.unwrap_or_default())),
        }
    }
}
