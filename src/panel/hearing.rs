//! A hearing: all scorers asked at once, in one task, each until it answers, fails or is late.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::runtime::Runtime;
use crate::scorer::{Opinion, Scorer, ScorerError};
use crate::tally::FailureCause;
use crate::verdict::Subject;

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Opinion, ScorerError>> + Send + 'a>>;

/// One scorer that is being heard.
pub(super) enum Hearing<'a> {
    /// Until its budget is spent; `until` is `None` for a budget beyond the end of time.
    Waiting {
        answer: Answer<'a>,
        budget: Duration,
        until: Option<Instant>,
    },
    Heard(Result<Opinion, FailureCause>),
}

/// Hears each scorer within its budget; the answers stand in the order of the scorers.
///
/// One timer is armed at a time, and none if nobody waits for anything.
pub(super) async fn hear<'a, R: Runtime, H>(
    runtime: &R,
    mut all: H,
) -> impl Iterator<Item = Result<Opinion, FailureCause>> + use<'a, R, H>
where
    H: AsMut<[Hearing<'a>]> + IntoIterator<Item = Hearing<'a>>,
{
    let mut timer = None;
    poll_fn(|context| {
        let hearings = all.as_mut();
        hearings.iter_mut().for_each(|hearing| hearing.poll(context));
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
    all.into_iter().filter_map(Hearing::answer)
}

impl<'a> Hearing<'a> {
    pub(super) fn begin(
        scorer: &'a dyn Scorer,
        subject: Subject<'a>,
        budget: Duration,
        began: Instant,
    ) -> Self {
        // A hook written without `async_trait` may panic before there is a future.
        let answer = catch_unwind(AssertUnwindSafe(|| match subject {
            Subject::Connection(peer) => scorer.on_connect(peer),
            Subject::Recipient(envelope, recipient) => scorer.on_rcpt(envelope, recipient),
            Subject::Content(envelope, message) => scorer.on_data(envelope, message),
        }));
        match answer {
            Ok(answer) => Self::Waiting { answer, budget, until: began.checked_add(budget) },
            Err(panic) => Self::Heard(Err(cause(panic))),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) {
        let Self::Waiting { answer, .. } = self else {
            return;
        };
        match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(answer)) => self.end(answer.map_err(FailureCause::Error)),
            Err(panic) => self.end(Err(cause(panic))),
        }
    }

    fn expire(&mut self, now: Instant) {
        if let Self::Waiting { budget, until: Some(until), .. } = *self
            && until <= now
        {
            self.end(Err(FailureCause::Late(budget)));
        }
    }

    fn is_over(&self) -> bool {
        matches!(self, Self::Heard(_))
    }

    fn until(&self) -> Option<Instant> {
        match self {
            Self::Waiting { until, .. } => *until,
            Self::Heard(_) => None,
        }
    }

    fn answer(self) -> Option<Result<Opinion, FailureCause>> {
        match self {
            Self::Waiting { .. } => None,
            Self::Heard(answer) => Some(answer),
        }
    }

    fn end(&mut self, answer: Result<Opinion, FailureCause>) {
        let before = std::mem::replace(self, Self::Heard(answer));
        // What the hook leaves behind may panic as well; its answer is known by now.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(before)));
    }
}

/// What a panic said.
fn cause(panic: Box<dyn Any + Send>) -> FailureCause {
    let text = match panic.downcast::<String>() {
        Ok(text) => text.into_boxed_str(),
        Err(other) => other.downcast_ref::<&str>().copied().unwrap_or("without a word").into(),
    };
    FailureCause::Panic(text)
}
