//! The panel: asks scorers, adds up what they found, and turns the sum into a verdict.

mod hearing;
mod judge;
mod sitting;
mod thresholds;
mod weights;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::header::HeaderField;
use crate::opinion::{FailurePolicy, Opinion};
use crate::runtime::Runtime;
use crate::score::{Finding, Score, word};
use crate::scorer::Scorer;
use crate::tally::{Decision, Entry, Failure, FailureCause, Objection, Tally};
use crate::unwind::caught;
use crate::verdict::{Refusal, Stage, Subject, Verdict};

use hearing::{At, Hearing, hear};
pub(crate) use judge::Bench;
pub use judge::Judge;
use sitting::Place;
pub use sitting::{Answer, Sitting};
pub use thresholds::{ThresholdError, Thresholds};
pub use weights::Weights;

/// How long one scorer may take at one stage, if its seat says nothing else (Haraka's
/// `plugin_timeout`).
const SEAT_BUDGET: Duration = Duration::from_secs(30);
/// How long all of them may take. Postfix waits 100 s for a filter (`smtpd_proxy_timeout`), and the
/// relay target is still to be asked.
const STAGE_BUDGET: Duration = Duration::from_secs(60);
/// The name of a scorer that panics when it is asked for its name.
const UNNAMED: &str = "unnamed";

/// Scorers, what they may cost, and at which sums something is done.
///
/// The empty panel has no objection to anything: `()` is a panel, and the relay is transparent.
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
/// use nobounce::{ConnectContext, Disclosure, Finding, Opinion, Panel, Peer, Score, Scorer, ScorerError};
/// use nobounce::{SessionId, Sitting, Subject, Tally, Verdict};
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
/// 1. A scorer's own refusal ([`Opinion::refusal`]), and the 451 for a scorer that failed under
///    [`FailurePolicy::Defer`]: a permanent refusal goes before a transient one, then the earlier
///    seat before the later. A failure goes before the thresholds, since the scorer that failed
///    might have spoken for the mail; our trouble is nobody's 550. Only if it could not have
///    ([`ScorerError::adds_only`](crate::ScorerError::adds_only)), and the sum is enough for a permanent
///    refusal without it, that refusal stands.
/// 2. The [`Thresholds`], over [`Tally::total`] of this stage and those before it.
///
/// The reply names findings that are [`Disclosure::Public`](crate::Disclosure) and speak against the mail:
/// `550 5.7.1 Message refused: GTUBE`. Without any it says `Message refused as unwanted`. Before
/// the greeting a refusal is 554 (RFC 5321 section 3.1) and a deferral 421 (section 3.8).
///
/// The same answers make the same verdict and the same tally, in whichever order they come.
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
/// It says what `X-Spam-Status` says with SpamAssassin: a filter of mailboxes may sort by `Yes,`. The
/// findings are those that count, private ones included, in the order of the record. A message that
/// is not tagged has no such field; one that a client sends does not go onward.
#[derive(Default)]
pub struct Panel {
    seats: Vec<Seat>,
    thresholds: Thresholds,
    weights: Weights,
    stage_budget: Option<Duration>,
    monitor: bool,
}

/// A scorer's place in a panel: what it may cost and what is done when it fails.
pub struct Seat {
    scorer: Box<dyn Scorer>,
    name: Arc<str>,
    budget: Duration,
    on_failure: FailurePolicy,
    /// In percent.
    scale: u16,
    monitored: bool,
}

impl Seat {
    /// A seat with 30 seconds for each answer, which defers when the scorer fails.
    ///
    /// The scorer is asked for its name here, and never again. When that panics, it is called `unnamed`.
    pub fn new(scorer: impl Scorer + 'static) -> Self {
        // A panic here would be one of the program that builds the panel.
        let name = caught(|| word(scorer.name()).into()).unwrap_or_else(|_| UNNAMED.into());
        let on_failure = FailurePolicy::default();
        let scorer = Box::new(scorer);
        Self { scorer, name, budget: SEAT_BUDGET, on_failure, scale: 100, monitored: false }
    }

    /// How long it may take for each answer. The budget of the stage holds beside it.
    #[must_use]
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// What is done when it fails, panics or is late.
    #[must_use]
    pub fn on_failure(mut self, policy: FailurePolicy) -> Self {
        self.on_failure = policy;
        self
    }

    /// What it finds weighs this many hundredths of what it says, each finding rounded to the
    /// nearest hundredth of a point: a scorer whose scale is another than the panel's. [`Weights`]
    /// go before it.
    #[must_use]
    pub fn scale(mut self, percent: u16) -> Self {
        self.scale = percent;
        self
    }

    /// Only looks on: what it says is recorded, nothing acts, not even its failure.
    #[must_use]
    pub fn monitor(mut self) -> Self {
        self.monitored = true;
        self
    }
}

impl From<()> for Panel {
    fn from((): ()) -> Self {
        Self::new()
    }
}

impl Panel {
    /// A panel without scorers, with the default thresholds and 60 seconds for each stage.
    pub fn new() -> Self {
        Self::default()
    }

    /// Seats a scorer, with the default budget and failure policy.
    #[must_use]
    pub fn scorer(self, scorer: impl Scorer + 'static) -> Self {
        self.seat(Seat::new(scorer))
    }

    /// Adds a seat. A scorer of a name that is taken is called `name-2` in records, and so on.
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

    /// Returns the names of its scorers in records, in the order of the seats.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.seats.iter().map(|seat| &*seat.name)
    }

    /// The sums at which something is done.
    #[must_use]
    pub fn thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// What findings weigh here, whatever scorers say.
    #[must_use]
    pub fn weights(mut self, weights: Weights) -> Self {
        self.weights = weights;
        self
    }

    /// Returns the weights. A clone of them tells later which have [matched
    /// nothing](Weights::unmatched).
    pub fn site_weights(&self) -> &Weights {
        &self.weights
    }

    /// Returns scorer and symbol of [`Weights`] that can never match: the panel has no scorer of this
    /// name, or the scorer [lists its symbols](Scorer::symbols) and this is none of them. Treat them as
    /// errors of the configuration.
    pub fn unknown_weights(&self) -> impl Iterator<Item = (&str, &str)> {
        self.weights.symbols().filter(|(scorer, symbol)| {
            !self.seats.iter().any(|seat| *seat.name == **scorer && seat.can_find(symbol))
        })
    }

    /// How long all scorers together may take at one stage.
    #[must_use]
    pub fn stage_budget(mut self, budget: Duration) -> Self {
        self.stage_budget = Some(budget);
        self
    }

    /// Only looks on: every verdict is noted in the tally, and [`Verdict::Pass`] is given.
    #[must_use]
    pub fn monitor(mut self) -> Self {
        self.monitor = true;
        self
    }

    /// Asks all scorers about `subject`, side by side, and notes in `tally` what they said and what
    /// follows from it. `sitting` is that of the session.
    ///
    /// It never fails. It takes no longer than the stage's budget, provided that no scorer blocks
    /// its thread; dropped before it is ready, it leaves the tally as it was.
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
        let (budget, began) = (self.stage_budget.unwrap_or(STAGE_BUDGET), runtime.now());
        sitting.prepare(&self.seats, subject);
        let at = At::new(subject, tally);
        let (mut places, timed) = sitting.places();
        let timed = timed.then_some(began);
        match &self.seats[..] {
            // Many a panel has one, which takes no list.
            [seat] => {
                let mut hearings = [seat.begin(places.next(), &at, budget, began)];
                drop(places);
                hear(runtime, &mut hearings, timed).await;
                let answers = hearings.map(Hearing::answer);
                self.weigh(answers.into_iter().flatten(), subject, tally, sitting)
            }
            seats => {
                let mut hearings = Vec::with_capacity(seats.len());
                for seat in seats {
                    hearings.push(seat.begin(places.next(), &at, budget, began));
                }
                drop(places);
                hear(runtime, &mut hearings, timed).await;
                let answers: Vec<_> = hearings.into_iter().map(Hearing::answer).collect();
                self.weigh(answers.into_iter().flatten(), subject, tally, sitting)
            }
        }
    }

    /// Notes what the scorers answered, in the order of the seats, and what follows from it.
    fn weigh(
        &self,
        answers: impl Iterator<Item = (Result<Opinion, FailureCause>, Duration)>,
        subject: Subject<'_>,
        tally: &mut Tally,
        sitting: &mut Sitting,
    ) -> Verdict {
        let stage = subject.stage();
        let (mut refusals, mut fields) = (Vec::new(), Vec::new());
        // What is said for scorers that failed and could only have spoken against the mail.
        let mut deferral = None;
        for ((number, seat), (answer, took)) in self.seats.iter().enumerate().zip(answers) {
            sitting.note(seat, number, &answer, took);
            let adds_only = matches!(&answer, Err(FailureCause::Error(error))
                if error.could_only_add() && error.opinion().refusal.is_none())
                && !self.weights.speak_for();
            let refusal = seat.take(answer, subject, &self.weights, tally, &mut fields);
            if adds_only {
                deferral = deferral.or(refusal);
            } else {
                refusals.extend(refusal);
            }
        }
        // Stable: among equals the earlier seat stays first.
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

    /// Adds the header fields of scorers to a verdict that lets a message pass.
    fn annotate(&self, verdict: Verdict, stage: Stage, fields: Vec<HeaderField>) -> Verdict {
        match verdict {
            _ if stage != Stage::Data || fields.is_empty() || self.monitor => verdict,
            Verdict::Pass => Verdict::Tag(fields),
            Verdict::Tag(tag) => Verdict::Tag(tag.into_iter().chain(fields).collect()),
            Verdict::Refuse(_) => verdict,
        }
    }

    /// Notes the verdict and gives it, if this panel gives any.
    fn conclude(&self, verdict: Verdict, stage: Stage, tally: &mut Tally) -> Verdict {
        if verdict == Verdict::Pass {
            return verdict;
        }
        let (total, acted) = (tally.total(), !self.monitor);
        tally.decide(Decision { stage, total, verdict: verdict.clone(), acted });
        if !acted {
            return Verdict::Pass;
        }
        if stage == Stage::Rcpt {
            tally.refuse_recipient();
        }
        verdict
    }
}

impl Seat {
    /// Asks the scorer.
    fn begin<'a>(
        &'a self,
        place: Option<&'a mut Place>,
        at: &'a At<'a>,
        stage: Duration,
        began: Instant,
    ) -> Hearing<'a> {
        Hearing::begin(&*self.scorer, place, at, self.budget.min(stage), began)
    }

    /// Notes what the scorer said, with the fields that it writes; its refusal, if it acts.
    fn take(
        &self,
        answer: Result<Opinion, FailureCause>,
        subject: Subject<'_>,
        weights: &Weights,
        tally: &mut Tally,
        fields: &mut Vec<HeaderField>,
    ) -> Option<Refusal> {
        let stage = subject.stage();
        let Opinion { findings, fields: written, refusal } = match answer {
            Ok(opinion) => opinion,
            Err(cause) => {
                let said = match &cause {
                    FailureCause::Error(error) => error.opinion().clone(),
                    FailureCause::Panic(_) | FailureCause::Late(_) | FailureCause::StateLost => {
                        Opinion::silent()
                    }
                };
                let said = self.take(Ok(said), subject, weights, tally, fields);
                return said.or(self.fail(cause, subject, weights, tally));
            }
        };
        fields.extend(written.into_iter().filter(|_| !self.monitored));
        for finding in findings {
            let given = finding.score();
            let finding = finding.with_score(given.percent(self.scale));
            self.enter(weights.apply(&self.name, finding), given, subject, tally);
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

    /// Notes that it failed, and does what was said for that.
    fn fail(
        &self,
        cause: FailureCause,
        subject: Subject<'_>,
        weights: &Weights,
        tally: &mut Tally,
    ) -> Option<Refusal> {
        let (scorer, stage, policy) = (self.name.clone(), subject.stage(), self.on_failure);
        tally.fail(Failure { scorer, stage, cause, policy, monitored: self.monitored });
        match policy {
            FailurePolicy::Ignore => None,
            FailurePolicy::Score(score) => {
                let finding = Finding::new(&self.failed(), score);
                self.enter(weights.apply(&self.name, finding), score, subject, tally);
                None
            }
            FailurePolicy::Defer => (!self.monitored).then(|| thresholds::unchecked(stage)),
        }
    }

    /// The symbol of its failure.
    fn failed(&self) -> String {
        format!("{}_FAILED", self.name.to_ascii_uppercase())
    }

    /// Whether it can find this symbol, as far as it is known.
    fn can_find(&self, symbol: &str) -> bool {
        let listed = caught(|| {
            let mut all = self.scorer.symbols()?.into_iter();
            Some(all.any(|known| *word(known) == *symbol))
        });
        listed.ok().flatten().unwrap_or(true) || self.failed() == symbol
    }

    fn enter(&self, finding: Finding, given: Score, subject: Subject<'_>, tally: &mut Tally) {
        tally.enter(Entry {
            scorer: self.name.clone(),
            stage: subject.stage(),
            finding,
            given,
            recipient: subject.recipient().map(|recipient| recipient.path.clone()),
            monitored: self.monitored,
            aside: false,
        });
    }
}

#[cfg(test)]
mod tests;
