//! The panel: asks the scorers, adds up their findings and derives a verdict from the sum.

mod hearing;
mod judge;
mod seat;
mod sitting;
mod thresholds;
mod weights;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::header::HeaderField;
pub use crate::opinion::FailurePolicy;
use crate::opinion::Opinion;
use crate::runtime::Runtime;
pub use crate::score::{ThresholdError, Thresholds};
use crate::scorer::Scorer;
use crate::tally::{Decision, FailureCause, Tally};
use crate::verdict::{Refusal, Stage, Subject, Verdict};

use hearing::{At, Hearing, hear};
pub(crate) use judge::Bench;
pub use judge::Judge;
use seat::About;
pub use seat::Seat;
pub use sitting::{Answer, Sitting};
pub use weights::Weights;

/// Default time budget of all scorers together at one stage. Postfix waits 100 s for a filter
/// (`smtpd_proxy_timeout`), and the relay target must still be asked in that time.
const STAGE_BUDGET: Duration = Duration::from_secs(60);

/// The scorers, their time budgets, and the thresholds for their total score.
///
/// The empty panel never objects. `()` converts to an empty panel, which makes the relay
/// transparent.
///
/// ```
/// # use std::{io, time::Instant};
/// # use async_trait::async_trait;
/// # use futures::io::Cursor;
/// # struct Still;
/// # #[async_trait]
/// # impl nobounce::Runtime for Still {
/// #     type Stream = Cursor<Vec<u8>>;
/// #     fn now(&self) -> Instant { Instant::now() }
/// #     async fn sleep_until(&self, _: Instant) { std::future::pending().await }
/// #     async fn connect(&self, _: &nobounce::Address) -> io::Result<Self::Stream> {
/// #         Err(io::ErrorKind::Unsupported.into())
/// #     }
/// # }
/// use nobounce::{ConnectContext, Finding, Opinion, Panel, Peer, Score, Scorer, ScorerError};
/// use nobounce::score::Disclosure;
/// use nobounce::Verdict;
/// use nobounce::envelope::SessionId;
/// use nobounce::panel::Sitting;
/// use nobounce::tally::Tally;
/// use nobounce::verdict::Subject;
///
/// struct Lists;
///
/// #[async_trait]
/// impl Scorer for Lists {
///     fn name(&self) -> &str {
///         "lists"
///     }
///
///     async fn on_connect(&self, at: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
///         let listed = at.peer.address.is_some_and(|address| address.to_string() == "192.0.2.1:4711");
///         let finding = Finding::new("LISTED", Score::points(7)).with_disclosure(Disclosure::Public);
///         Ok(listed.then_some(finding).into())
///     }
/// }
///
/// # let runtime = Still;
/// # pollster::block_on(async {
/// let panel = Panel::new().scorer(Lists);
/// let mut tally = Tally::new();
/// let session = SessionId::new("example");
/// let client = Peer::new(([192, 0, 2, 1], 4711).into());
/// let subject = Subject::Connection(&session, &client);
/// let verdict = panel.ask(&runtime, subject, &mut tally, &mut Sitting::new()).await;
/// let Verdict::Refuse(refusal) = verdict else { panic!("{verdict:?}") };
/// assert_eq!(refusal.to_string(), "554 5.7.1 Connection refused: LISTED");
/// assert_eq!(tally.to_string(), "score=7.00 lists:LISTED=7.00");
/// # });
/// ```
///
/// # From answers to a verdict
///
/// 1. Explicit refusals: a scorer's own refusal ([`Opinion::refusal`]), or the 451 for a scorer
///    that failed under [`FailurePolicy::Defer`]. A permanent refusal has priority over a transient
///    one, then the earlier seat over the later. A failure has priority over the thresholds,
///    because the failed scorer might have lowered the score. A fault on our side must not cause a
///    550. Exception: the failed scorer could only have raised the score
///    ([`ScorerError::adds_only`](crate::ScorerError::adds_only)), and the total already reaches
///    the threshold for a permanent refusal. Then the permanent refusal is used.
/// 2. The [`Thresholds`], compared with [`Tally::total`] of this stage and the stages before.
///
/// The reply names the [`Disclosure::Public`](crate::score::Disclosure) findings that count against the
/// mail: `550 5.7.1 Message refused: GTUBE`. Without such findings it says
/// `Message refused as unwanted`. Before the greeting, the code of a refusal is 554 (RFC 5321
/// section 3.1) and that of a deferral is 421 (section 3.8).
///
/// The verdict and the tally do not depend on the order in which the answers arrive.
///
/// # The header field of a tagged message
///
/// ```text
/// X-Nobounce-Status: Yes, score=6.10 required=5.00 symbols=dnsbl:ZEN=4.00,
///  authentication:SPF_FAIL=2.10
///
/// field   = "X-Nobounce-Status:" FWS "Yes," FWS "score=" score FWS "required=" score
///           FWS "symbols=" [finding *("," FWS finding)] CRLF
/// score   = ["-"] 1*DIGIT "." 2DIGIT                 ; points
/// finding = scorer ":" symbol "=" score               ; at most 128 of them, in 12 KiB
/// scorer  = word                                      ; as records name it
/// symbol  = word
/// word    = 1*100(ALPHA / DIGIT / "_" / "-" / ".")
/// FWS     = a space, or a fold (RFC 5322 section 3.2.2)
/// ```
///
/// The field has the meaning of SpamAssassin's `X-Spam-Status`: a mailbox filter can match `Yes,`.
/// It lists the findings that count, private ones included, in the order of the record. A message
/// that is not tagged has no such field. If the client sends one, it is removed.
#[derive(Default)]
pub struct Panel {
    /// The identity of the panel, by which a [`Sitting`] distinguishes panels.
    id: Arc<()>,
    seats: Vec<Seat>,
    thresholds: Thresholds,
    weights: Weights,
    stage_budget: Option<Duration>,
    monitor: bool,
}

impl From<()> for Panel {
    fn from((): ()) -> Self {
        Self::new()
    }
}

impl fmt::Debug for Panel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panel")
            .field("seats", &self.seats)
            .field("thresholds", &self.thresholds)
            .field("weights", &self.weights)
            .field("monitor", &self.monitor)
            .finish_non_exhaustive()
    }
}

impl Panel {
    /// Creates a panel without scorers, with the default thresholds and 60 seconds for each stage.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a scorer with the default budget and failure policy.
    #[must_use]
    pub fn scorer(self, scorer: impl Scorer + 'static) -> Self {
        self.seat(Seat::new(scorer))
    }

    /// Adds a seat. Duplicate scorer names get a numeric suffix in records (`name-2`).
    #[must_use]
    pub fn seat(mut self, mut seat: Seat) -> Self {
        let taken = |name: &str| self.seats.iter().any(|other| *other.name == *name);
        if taken(&seat.name) {
            let mut names = (2..).map(|n| format!("{}-{n}", seat.name));
            seat.name = names.find(|name| !taken(name)).unwrap_or_default().into();
        }
        self.seats.push(seat);
        self
    }

    /// Returns the names of the scorers as used in records, in the order of the seats.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.seats.iter().map(|seat| &*seat.name)
    }

    /// Sets the thresholds.
    #[must_use]
    pub fn thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// Sets the weights that replace the scores given by the scorers.
    #[must_use]
    pub fn weights(mut self, weights: Weights) -> Self {
        self.weights = weights;
        self
    }

    /// Returns the weights. Keep a clone of them to find out later which weights are
    /// [unmatched](Weights::unmatched).
    pub fn site_weights(&self) -> &Weights {
        &self.weights
    }

    /// Returns the scorer and symbol of each of the [`Weights`] that can never match. Either the
    /// panel has no scorer of this name, or the scorer [lists its symbols](Scorer::symbols) and
    /// this symbol is not in the list. Treat them as configuration errors.
    pub fn unknown_weights(&self) -> impl Iterator<Item = (&str, &str)> {
        self.weights.symbols().filter(|(scorer, symbol)| {
            !self.seats.iter().any(|seat| *seat.name == **scorer && seat.can_find(symbol))
        })
    }

    /// Sets the time budget of all scorers together at one stage.
    #[must_use]
    pub fn stage_budget(mut self, budget: Duration) -> Self {
        self.stage_budget = Some(budget);
        self
    }

    /// Enables monitor mode: every verdict is recorded in the tally, but [`Verdict::Pass`] is
    /// returned.
    #[must_use]
    pub fn monitor(mut self) -> Self {
        self.monitor = true;
        self
    }

    /// Asks all scorers about `subject` concurrently, records their answers and the decision in
    /// `tally`, and returns the verdict. `sitting` is the sitting of the session.
    ///
    /// It never fails. It returns within the stage's budget, provided that no scorer blocks its
    /// thread. If the future is dropped before it is ready, the tally is unchanged.
    pub async fn ask<R: Runtime>(
        &self,
        runtime: &R,
        subject: Subject<'_>,
        tally: &mut Tally,
        sitting: &mut Sitting,
    ) -> Verdict {
        tally.ask();
        if self.seats.is_empty() {
            return Verdict::Pass;
        }
        tally.measure(self.thresholds);
        let (budget, began) = (self.stage_budget.unwrap_or(STAGE_BUDGET), runtime.now());
        sitting.prepare(&self.id, &self.seats, subject);
        let at = At::new(subject, tally);
        let (mut places, timed) = sitting.places();
        let timed = timed.then_some(began);
        match &self.seats[..] {
            // Panels with a single scorer are common and need no `Vec`.
            [seat] => {
                let mut hearings = [seat.begin(places.next(), &at, budget, began)];
                drop(places);
                hear(runtime, &mut hearings, timed).await;
                let answers = hearings.map(Hearing::answer);
                self.weigh(answers.into_iter().flatten(), subject.into(), tally, sitting)
            }
            seats => {
                let mut hearings = Vec::with_capacity(seats.len());
                for seat in seats {
                    hearings.push(seat.begin(places.next(), &at, budget, began));
                }
                drop(places);
                hear(runtime, &mut hearings, timed).await;
                let answers: Vec<_> = hearings.into_iter().map(Hearing::answer).collect();
                self.weigh(answers.into_iter().flatten(), subject.into(), tally, sitting)
            }
        }
    }

    /// Judges answers that were given before, by scorer. A scorer without an answer is silent.
    #[cfg(feature = "recording")]
    pub(crate) fn judge_again(
        &self,
        stage: Stage,
        tally: &mut Tally,
        mut answer: impl FnMut(&str) -> Option<Result<Opinion, FailureCause>>,
    ) -> Verdict {
        tally.ask();
        if self.seats.is_empty() {
            return Verdict::Pass;
        }
        tally.measure(self.thresholds);
        let silent = || Ok(Opinion::silent());
        let answers = self.seats.iter().map(|seat| answer(&seat.name).unwrap_or_else(silent));
        let answers = answers.map(|answer| (answer, Duration::ZERO));
        self.weigh(answers, About { stage, recipient: None }, tally, &mut Sitting::new())
    }

    /// Records the answers in the order of the seats and derives the verdict.
    fn weigh(
        &self,
        answers: impl Iterator<Item = (Result<Opinion, FailureCause>, Duration)>,
        about: About<'_>,
        tally: &mut Tally,
        sitting: &mut Sitting,
    ) -> Verdict {
        let stage = about.stage;
        let (mut refusals, mut fields) = (Vec::new(), Vec::new());
        // The first deferral caused by a failed scorer that could only have raised the score.
        let mut deferral = None;
        for ((number, seat), (answer, took)) in self.seats.iter().enumerate().zip(answers) {
            sitting.note(seat, number, &answer, took);
            let adds_only = matches!(&answer, Err(FailureCause::Error(error))
                if error.could_only_add() && error.opinion().refusal.is_none())
                && !self.weights.speak_for();
            let refusal = seat.take(answer, about, &self.weights, tally, &mut fields);
            if adds_only {
                deferral = deferral.or(refusal);
            } else {
                refusals.extend(refusal);
            }
        }
        // The sort is stable: among equals the earlier seat stays first.
        refusals.sort_by_key(Refusal::is_transient);
        let refusal = refusals.into_iter().next().map(Verdict::Refuse);
        let verdict =
            refusal.unwrap_or_else(|| match (self.thresholds.judge(stage, tally), deferral) {
                (Verdict::Refuse(refusal), Some(_)) if !refusal.is_transient() => {
                    Verdict::Refuse(refusal)
                }
                (_, Some(deferral)) => Verdict::Refuse(deferral),
                (verdict, None) => verdict,
            });
        self.annotate(self.conclude(verdict, stage, tally), stage, fields)
    }

    /// Adds the header fields of scorers to a verdict that lets the message pass.
    fn annotate(&self, verdict: Verdict, stage: Stage, fields: Vec<HeaderField>) -> Verdict {
        match verdict {
            _ if stage != Stage::Data || fields.is_empty() || self.monitor => verdict,
            Verdict::Pass => Verdict::Tag(fields),
            Verdict::Tag(tag) => Verdict::Tag(tag.into_iter().chain(fields).collect()),
            Verdict::Refuse(_) => verdict,
        }
    }

    /// Records the verdict and returns it, or [`Verdict::Pass`] if the panel only monitors.
    fn conclude(&self, verdict: Verdict, stage: Stage, tally: &mut Tally) -> Verdict {
        if verdict == Verdict::Pass {
            return verdict;
        }
        let (total, acted) = (tally.total(), !self.monitor);
        tally.decide(Decision { stage, total, verdict: verdict.clone(), acted });
        if !acted {
            return Verdict::Pass;
        }
        tally.judged(stage, &verdict);
        verdict
    }
}

#[cfg(test)]
mod tests;
