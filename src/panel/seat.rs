//! A seat: one scorer's place in the panel, with its budget, failure policy and scale.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::hearing::{At, Hearing};
use super::sitting::Place;
use super::thresholds;
use super::weights::Weights;
use crate::header::HeaderField;
use crate::opinion::{FailurePolicy, Opinion};
use crate::score::{Finding, Score, word};
use crate::scorer::Scorer;
use crate::tally::{Entry, Failure, FailureCause, Objection, Tally};
use crate::unwind::caught;
use crate::verdict::{Refusal, Stage, Subject};
use crate::wire::mailbox::SmtpPath;

/// Default time budget of one scorer at one stage (Haraka's `plugin_timeout`).
pub(super) const SEAT_BUDGET: Duration = Duration::from_secs(30);
/// The name of a scorer that panics when asked for its name.
const UNNAMED: &str = "unnamed";

/// What an answer is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) stage: Stage,
    pub(super) recipient: Option<&'a SmtpPath>,
}

impl<'a> From<Subject<'a>> for About<'a> {
    fn from(subject: Subject<'a>) -> Self {
        let recipient = match subject {
            Subject::Recipient(_, recipient) => Some(&recipient.path),
            Subject::Connection(..) | Subject::Content(..) => None,
        };
        Self { stage: subject.stage(), recipient }
    }
}

/// A scorer's place in a panel: its time budget, its failure policy, its scale.
pub struct Seat {
    pub(super) scorer: Box<dyn Scorer>,
    pub(super) name: Arc<str>,
    pub(super) budget: Duration,
    pub(super) on_failure: FailurePolicy,
    /// The factor for the scorer's weights, in percent.
    pub(super) scale: u16,
    pub(super) monitored: bool,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("name", &self.name)
            .field("budget", &self.budget)
            .field("on_failure", &self.on_failure)
            .field("scale", &self.scale)
            .field("monitored", &self.monitored)
            .finish_non_exhaustive()
    }
}

impl Seat {
    /// Creates a seat with a budget of 30 seconds for each answer and [`FailurePolicy::Defer`].
    ///
    /// The scorer is asked for its name here, and only here. If that panics, it is named `unnamed`.
    pub fn new(scorer: impl Scorer + 'static) -> Self {
        // A panic must not reach the program that builds the panel.
        let name = caught(|| word(scorer.name()).into()).unwrap_or_else(|_| UNNAMED.into());
        let on_failure = FailurePolicy::default();
        let scorer = Box::new(scorer);
        Self { scorer, name, budget: SEAT_BUDGET, on_failure, scale: 100, monitored: false }
    }

    /// Sets the time budget for each answer. The budget of the stage applies as well.
    #[must_use]
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// Sets the policy for an error, a panic or a timeout of the scorer.
    #[must_use]
    pub fn on_failure(mut self, policy: FailurePolicy) -> Self {
        self.on_failure = policy;
        self
    }

    /// Sets a scale in percent for the scores of the scorer, if its scale differs from the panel's.
    /// Each score is rounded to the nearest hundredth of a point. [`Weights`] have priority over
    /// the scale.
    #[must_use]
    pub fn scale(mut self, percent: u16) -> Self {
        self.scale = percent;
        self
    }

    /// Enables monitor mode: findings and failures are recorded but have no effect on the verdict.
    #[must_use]
    pub fn monitor(mut self) -> Self {
        self.monitored = true;
        self
    }
}

impl Seat {
    pub(super) fn begin<'a>(
        &'a self,
        place: Option<&'a mut Place>,
        at: &'a At<'a>,
        stage: Duration,
        began: Instant,
    ) -> Hearing<'a> {
        Hearing::begin(&*self.scorer, place, at, self.budget.min(stage), began)
    }

    /// Records the scorer's answer and collects its header fields. Returns its refusal unless the
    /// seat is only monitored.
    pub(super) fn take(
        &self,
        answer: Result<Opinion, FailureCause>,
        about: About<'_>,
        weights: &Weights,
        tally: &mut Tally,
        fields: &mut Vec<HeaderField>,
    ) -> Option<Refusal> {
        let stage = about.stage;
        let Opinion { findings, fields: written, refusal } = match answer {
            Ok(opinion) => opinion,
            Err(cause) => {
                let said = match &cause {
                    FailureCause::Error(error) => error.opinion().clone(),
                    FailureCause::Panic(_) | FailureCause::Late(_) | FailureCause::StateLost => {
                        Opinion::silent()
                    }
                };
                let said = self.take(Ok(said), about, weights, tally, fields);
                return said.or(self.fail(cause, about, weights, tally));
            }
        };
        fields.extend(written.into_iter().filter(|_| !self.monitored));
        for finding in findings {
            let given = finding.score();
            let finding = finding.with_score(given.percent(self.scale));
            self.enter(weights.apply(&self.name, finding), given, about, tally);
        }
        let refusal = refusal?;
        tally.object(Objection {
            scorer: self.name.clone(),
            stage,
            refusal: refusal.clone(),
            monitored: self.monitored,
        });
        (!self.monitored).then_some(refusal)
    }

    /// Records the failure and applies the failure policy.
    fn fail(
        &self,
        cause: FailureCause,
        about: About<'_>,
        weights: &Weights,
        tally: &mut Tally,
    ) -> Option<Refusal> {
        let (scorer, stage, policy) = (self.name.clone(), about.stage, self.on_failure);
        let server = caught(|| self.scorer.server().cloned()).ok().flatten();
        let monitored = self.monitored;
        tally.fail(Failure { scorer, stage, cause, policy, monitored, server });
        match policy {
            FailurePolicy::Ignore => None,
            FailurePolicy::Score(score) => {
                let finding = Finding::new(&self.failed(), score);
                self.enter(weights.apply(&self.name, finding), score, about, tally);
                None
            }
            FailurePolicy::Defer => (!self.monitored).then(|| thresholds::unchecked(stage)),
        }
    }

    /// Returns the symbol for a failure of the scorer.
    pub(super) fn failed(&self) -> String {
        format!("{}_FAILED", self.name.to_ascii_uppercase())
    }

    /// Returns whether the scorer can find this symbol. Returns true if its symbols are unknown.
    pub(super) fn can_find(&self, symbol: &str) -> bool {
        let listed = caught(|| {
            let mut all = self.scorer.symbols()?.into_iter();
            Some(all.any(|known| *word(known) == *symbol))
        });
        listed.ok().flatten().unwrap_or(true) || self.failed() == symbol
    }

    fn enter(&self, finding: Finding, given: Score, about: About<'_>, tally: &mut Tally) {
        tally.enter(Entry {
            scorer: self.name.clone(),
            stage: about.stage,
            finding,
            given,
            recipient: about.recipient.cloned(),
            monitored: self.monitored,
            aside: false,
        });
    }
}
