//! A sitting: the state of a panel for one session.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::Seat;
use crate::opinion::Opinion;
use crate::scorer::{ConnectContext, SessionScorer};
use crate::session::TransactionEnd;
use crate::tally::FailureCause;
use crate::unwind::{caught, drop_caught};
use crate::verdict::Subject;

/// The state of a panel for one session: the scorers that keep state per session. Create one for
/// each session. Dropping it ends the session for its scorers. A [`Gate`](crate::Gate) does this
/// itself.
///
/// It holds the state for one panel. When another panel is asked, the scorers of the first lose
/// their state.
///
/// It allocates nothing for scorers without such state.
#[derive(Default)]
pub struct Sitting {
    /// The state of each seat. Empty while no seat has state.
    places: Vec<Place>,
    /// The panel whose state this is, once it has been asked.
    panel: Option<Arc<()>>,
    /// Ended transactions that have not been reported to the scorers yet.
    ended: Vec<TransactionEnd>,
    /// Each scorer's answer to the latest question. `None` if answers are not kept.
    answers: Option<Answers>,
}

/// The answers to a question: the first `count` elements. The others belong to earlier questions. Most
/// answers are silent, and a silent one is reused.
#[derive(Debug, Default)]
struct Answers {
    all: Vec<Answer>,
    count: usize,
}

/// One scorer's answer to one question.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// The scorer's name.
    pub scorer: Arc<str>,
    /// The answer, before weights and scale are applied.
    pub result: Result<Opinion, FailureCause>,
    /// The time that the answer took.
    pub took: Duration,
}

/// The state of one seat for the session.
pub(super) enum Place {
    Stateless,
    Open {
        scorer: Box<dyn SessionScorer>,
        /// Whether the scorer has been asked and has not answered. If the question is cancelled,
        /// the state of the scorer is unknown.
        is_asked: bool,
    },
    /// The state is lost. Every further hook of the session fails with this cause.
    Lost(FailureCause),
}

impl Sitting {
    /// Returns the sitting of a new session.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the [answers](Self::answers) of all scorers to the latest question, with the time each
    /// one took. This costs a copy of each answer and some calls of
    /// [`Runtime::now`](crate::Runtime::now).
    #[must_use]
    pub fn report_answers(mut self) -> Self {
        self.answers.get_or_insert_default();
        self
    }

    /// Returns the answers of all scorers to the latest question, in the order of the seats. The
    /// slice is empty unless [`report_answers`](Self::report_answers) was called.
    pub fn answers(&self) -> &[Answer] {
        self.answers.as_ref().map_or(&[], |answers| &answers.all[..answers.count])
    }

    /// Records that a transaction has ended. The scorers are notified at the next
    /// [`settle`](Self::settle), or before their next question.
    pub fn transaction_ended(&mut self, end: &TransactionEnd) {
        if !self.places.is_empty() {
            self.ended.push(end.clone());
        }
    }

    /// Notifies the scorers of the transactions that ended. Call it after the reply was sent to the
    /// client, so that the reply does not wait for the scorers.
    pub fn settle(&mut self) {
        if self.ended.is_empty() {
            return;
        }
        for end in mem::take(&mut self.ended) {
            for place in &mut self.places {
                if let Place::Open { scorer, is_asked: false } = place
                    && let Err(panic) = caught(|| scorer.transaction_ended(&end))
                {
                    place.lose(FailureCause::Panic(panic));
                }
            }
        }
    }

    /// Opens the scorers of the session if this is its first question or if the client has changed.
    pub(super) fn prepare(&mut self, panel: &Arc<()>, seats: &[Seat], subject: Subject<'_>) {
        self.settle();
        self.forget_answers();
        let is_open = self.panel.as_ref().is_some_and(|open| Arc::ptr_eq(open, panel));
        if !is_open || matches!(subject, Subject::Connection(..)) {
            self.open(seats, &ConnectContext::new(subject.session(), subject.peer()));
            self.panel = Some(panel.clone());
        }
        for place in &mut self.places {
            if let Place::Open { is_asked: true, .. } = place {
                place.lose(FailureCause::StateLost);
            }
        }
    }

    /// Forgets the answers to the previous question.
    pub(super) fn forget_answers(&mut self) {
        if let Some(answers) = &mut self.answers {
            answers.count = 0;
        }
    }

    fn open(&mut self, seats: &[Seat], at: &ConnectContext<'_>) {
        self.close();
        for (number, seat) in seats.iter().enumerate() {
            let place = match caught(|| seat.scorer.open(at)) {
                Ok(None) => continue,
                Ok(Some(scorer)) => Place::Open { scorer, is_asked: false },
                Err(panic) => Place::Lost(FailureCause::Panic(panic)),
            };
            self.places.resize_with(seats.len(), || Place::Stateless);
            self.places[number] = place;
        }
    }

    fn close(&mut self) {
        self.settle();
        self.places.drain(..).for_each(drop_caught);
    }

    /// Returns the state of each seat, or an empty iterator if no seat has state. The flag says
    /// whether answers are kept.
    pub(super) fn places(&mut self) -> (impl Iterator<Item = &mut Place>, bool) {
        (self.places.iter_mut(), self.answers.is_some())
    }

    /// Records the answer of a scorer.
    pub(super) fn note(
        &mut self,
        seat: &Seat,
        number: usize,
        answer: &Result<Opinion, FailureCause>,
        took: Duration,
    ) {
        if let Some(Place::Open { is_asked, .. }) = self.places.get_mut(number) {
            match answer {
                Ok(_) | Err(FailureCause::Error(_)) => *is_asked = false,
                Err(_) => self.places[number].lose(FailureCause::StateLost),
            }
        }
        if let Some(answers) = &mut self.answers {
            answers.add(&seat.name, answer, took);
        }
    }
}

impl Answers {
    fn add(&mut self, scorer: &Arc<str>, result: &Result<Opinion, FailureCause>, took: Duration) {
        let is_silent = |result: &Result<Opinion, _>| result.as_ref().is_ok_and(Opinion::is_silent);
        match self.all.get_mut(self.count) {
            Some(old)
                if is_silent(result)
                    && is_silent(&old.result)
                    && Arc::ptr_eq(&old.scorer, scorer) =>
            {
                old.took = took;
            }
            _ => {
                self.all.truncate(self.count);
                self.all.push(Answer { scorer: scorer.clone(), result: result.clone(), took });
            }
        }
        self.count += 1;
    }
}

impl Place {
    fn lose(&mut self, cause: FailureCause) {
        drop_caught(mem::replace(self, Self::Lost(cause)));
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Sitting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sitting").field("answers", &self.answers).finish_non_exhaustive()
    }
}
