//! A hearing: all scorers asked at once, in one task, each until it answers, fails or is late.

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

/// One scorer that is being heard.
pub(super) enum Hearing<'a> {
    /// Until its budget is spent; `until` is `None` for a budget beyond the end of time.
    Waiting { answer: Answer<'a>, budget: Duration, until: Option<Instant> },
    Heard {
        answer: Result<Opinion, FailureCause>,
        /// How long it took, if it is known.
        took: Option<Duration>,
    },
}

/// Hears each scorer within its budget.
///
/// One timer is armed at a time, and none if nobody waits for anything. If `timed`, notes how long each
/// answer took since then.
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
            // An armed timer is never too late: deadlines are met or pass, none is added.
            let (at, sleep) = timer.get_or_insert_with(|| (next, runtime.sleep_until(next)));
            ready!(sleep.as_mut().poll(context));
            let now = runtime.now().max(*at);
            timer = None;
            hearings.iter_mut().for_each(|hearing| hearing.expire(now));
        }
    })
    .await;
}

/// What the hooks of one stage are told.
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

    /// The answer, if there is one, has taken this long at most.
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

    /// Returns the answer and how long it took, unless it is still waited for.
    pub(super) fn answer(self) -> Option<(Result<Opinion, FailureCause>, Duration)> {
        match self {
            Self::Waiting { .. } => None,
            Self::Heard { answer, took } => Some((answer, took.unwrap_or_default())),
        }
    }
}
