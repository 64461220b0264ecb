//! The tally: the findings of a session, and the decisions based on them.

mod distinct;
mod settled;

use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};
use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use crate::opinion::{FailurePolicy, ScorerError};
use crate::runtime::Address;
use crate::score::{Finding, Score, Thresholds};
use crate::verdict::{Refusal, Stage, Verdict};
use crate::wire::mailbox::SmtpPath;
use crate::wire::text::{Printable, Written};

use distinct::{Distinct, Element};
use settled::{Counted, Settled};

/// All answers of scorers in a session or a transaction, and the decisions of the panel.
///
/// A session has one tally, which is filled when the client connects. The tally of each transaction
/// starts as a clone of it. Each symbol of a scorer counts once, with its highest score. A finding
/// about the sender therefore does not count ten times for ten recipients. Identical entries are
/// kept once.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    entries: Distinct<Entry>,
    objections: Distinct<Objection>,
    failures: Distinct<Failure>,
    decisions: Distinct<Decision>,
    settled: Option<Box<Settled>>,
    /// The thresholds of the panel that was asked last.
    thresholds: Option<Thresholds>,
    /// Index of the first entry of the latest question.
    latest: usize,
    /// Whether the panel refused the recipient of the latest question. The findings on it count
    /// until [`Tally::settle`].
    refused: bool,
}

/// An entry of a [`Tally`]: a finding with its scorer and stage, and whether it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The scorer's name.
    pub scorer: Arc<str>,
    /// The stage at which the scorer was asked.
    pub stage: Stage,
    /// The finding, with the score that counts.
    pub finding: Finding,
    /// The score given by the scorer, before scale and weights.
    pub given: Score,
    /// The first recipient with this finding. `None` at the other stages. The same finding on
    /// further recipients is not stored again.
    pub recipient: Option<SmtpPath>,
    /// Whether the scorer is only monitored. Its findings never count.
    pub monitored: bool,
    /// Whether the finding is about a recipient that was refused. It then no longer counts.
    pub aside: bool,
}

impl Entry {
    fn acts(&self) -> bool {
        !self.monitored && !self.aside
    }
}

/// A refusal by a scorer, as recorded in a [`Tally`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Objection {
    /// The scorer's name.
    pub scorer: Arc<str>,
    /// The stage at which the scorer was asked.
    pub stage: Stage,
    /// The reply that the scorer asks for.
    pub refusal: Refusal,
    /// Whether the scorer is only monitored. Its objections have no effect.
    pub monitored: bool,
}

/// A failed scorer: it was asked and gave no complete answer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// The scorer's name.
    pub scorer: Arc<str>,
    /// The stage at which the scorer was asked.
    pub stage: Stage,
    /// The cause of the failure. For records only.
    pub cause: FailureCause,
    /// The failure policy that was applied.
    pub policy: FailurePolicy,
    /// Whether the scorer is only monitored. The failure policy then has no effect on the verdict.
    pub monitored: bool,
    /// The server that the scorer depends on ([`Scorer::server`](crate::Scorer::server)).
    pub server: Option<Address>,
}

/// The cause of a missing answer. Fault of the scorer or of a service that it uses.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FailureCause {
    /// The scorer returned an error.
    #[error("failed: {0}")]
    Error(#[from] ScorerError),
    /// The scorer panicked with this message.
    #[error("panicked: {}", Printable(.0))]
    Panic(Box<str>),
    /// The scorer did not answer within this time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The scorer's state for this session was lost, because an earlier answer was late, panicked
    /// or was cancelled ([`SessionScorer`](crate::SessionScorer)).
    #[error("its state for this session was lost")]
    StateLost,
}

/// A decision of the panel other than [`Verdict::Pass`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// The stage at which the panel was asked.
    pub stage: Stage,
    /// The total score at that time.
    pub total: Score,
    /// The verdict, whether it was acted on or not.
    pub verdict: Verdict,
    /// Whether the verdict was acted on. `false` in a panel that only monitors.
    pub acted: bool,
}

impl Tally {
    /// Creates an empty tally.
    pub const fn new() -> Self {
        Self {
            entries: Distinct::new(),
            objections: Distinct::new(),
            failures: Distinct::new(),
            decisions: Distinct::new(),
            settled: None,
            thresholds: None,
            latest: 0,
            refused: false,
        }
    }

    /// Records that the recipient of the latest question was refused, by the panel or by the relay
    /// target. The findings on it stay in the record and no longer count.
    pub fn recipient_refused(&mut self) {
        let latest = self.entries.split_off(self.latest);
        for mut entry in latest {
            entry.aside |= entry.stage == Stage::Rcpt;
            self.enter(entry);
        }
        self.latest = self.entries.as_slice().len();
        self.refused = false;
    }

    /// Ends a transaction. Only the entries of the connect stage are kept for the next transaction.
    pub fn end_transaction(&mut self) {
        self.entries.retain(|entry| entry.stage == Stage::Connect);
        self.objections.retain(|objection| objection.stage == Stage::Connect);
        self.failures.retain(|failure| failure.stage == Stage::Connect);
        self.decisions.retain(|decision| decision.stage == Stage::Connect);
        self.settled = None;
        self.ask();
    }

    /// Returns the sum of the findings that count.
    pub fn total(&self) -> Score {
        // Most mail has no findings, and the total is queried often.
        match self.entries.as_slice() {
            [] => Score::ZERO,
            entries => Counted::new(entries, self.settled.as_deref()).total(),
        }
    }

    /// Returns the findings that count, ordered by question and then by seat.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.counted().map(|entry| &entry.finding)
    }

    /// Returns the entries whose findings count, ordered by question and then by seat.
    pub fn counted(&self) -> impl Iterator<Item = &Entry> {
        self.highest().into_iter().map(|(_, entry)| entry)
    }

    /// Returns the entries that count, each with its index.
    fn highest(&self) -> Vec<(usize, &Entry)> {
        match self.entries.as_slice() {
            [] => Vec::new(),
            entries => Counted::new(entries, self.settled.as_deref()).entries(),
        }
    }

    /// Returns all findings, whether they count or not.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.as_slice().iter()
    }

    /// Returns all refusals by scorers.
    pub fn objections(&self) -> impl Iterator<Item = &Objection> {
        self.objections.as_slice().iter()
    }

    /// Returns all failures of scorers.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.failures.as_slice().iter()
    }

    /// Returns the decisions of the panel, in the order of the stages.
    pub fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.as_slice().iter()
    }

    /// Returns the thresholds of the panel that was asked last. `None` if none was asked, or if it
    /// has no scorers.
    pub fn thresholds(&self) -> Option<Thresholds> {
        self.thresholds
    }

    /// Records the thresholds of the panel that is asked.
    pub(crate) fn measure(&mut self, thresholds: Thresholds) {
        self.thresholds = Some(thresholds);
    }

    /// Prepares the tally for a new question to the panel.
    pub(crate) fn ask(&mut self) {
        self.settle();
        let entries = self.entries.as_slice();
        Settled::settle(&mut self.settled, entries);
        self.latest = entries.len();
    }

    /// Sets the findings on a refused recipient aside. They count until then, so that observers of
    /// the verdict see its reasons.
    pub(crate) fn settle(&mut self) {
        if self.refused {
            self.recipient_refused();
        }
    }

    /// Records the panel's verdict on the latest question. The findings on a recipient that it
    /// refuses do not count for the transaction.
    pub(crate) fn judged(&mut self, stage: Stage, verdict: &Verdict) {
        self.refused = stage == Stage::Rcpt && matches!(verdict, Verdict::Refuse(_));
    }

    /// Records the verdict of a judge, which replaces that of a panel which it may have asked.
    /// `decided` is the number of decisions before the question.
    pub(crate) fn overrule(&mut self, stage: Stage, verdict: &Verdict, decided: usize) {
        let mut is_decided = *verdict == Verdict::Pass;
        for mut decision in self.decisions.split_off(decided) {
            decision.acted &= decision.verdict.is_alike(verdict);
            is_decided |= decision.acted;
            self.decide(decision);
        }
        if !is_decided {
            let (total, verdict) = (self.total(), verdict.clone());
            self.decide(Decision { stage, total, verdict, acted: true });
        }
        self.judged(stage, verdict);
    }

    pub(crate) fn enter(&mut self, entry: Entry) {
        self.entries.insert(entry);
    }

    pub(crate) fn object(&mut self, objection: Objection) {
        self.objections.insert(objection);
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failures.insert(failure);
    }

    pub(crate) fn decide(&mut self, decision: Decision) {
        self.decisions.insert(decision);
    }
}

impl Element for Entry {
    /// Returns whether both are the same finding, possibly on different recipients.
    fn is_same(&self, other: &Self) -> bool {
        self.stage == other.stage
            && self.monitored == other.monitored
            && self.aside == other.aside
            && self.given == other.given
            && self.finding == other.finding
            && self.scorer == other.scorer
    }

    fn digest(&self, to: &mut impl Hasher) {
        let finding = &self.finding;
        (&self.scorer, discriminant(&self.stage), self.aside).hash(to);
        (finding.symbol(), finding.score(), finding.detail()).hash(to);
    }
}

impl Element for Objection {
    fn is_same(&self, other: &Self) -> bool {
        self == other
    }

    fn digest(&self, to: &mut impl Hasher) {
        (&self.scorer, discriminant(&self.stage), self.refusal.to_string()).hash(to);
    }
}

impl Element for Failure {
    fn is_same(&self, other: &Self) -> bool {
        self.scorer == other.scorer
            && self.stage == other.stage
            && self.cause.to_string() == other.cause.to_string()
    }

    fn digest(&self, to: &mut impl Hasher) {
        (&self.scorer, discriminant(&self.stage), self.cause.to_string()).hash(to);
    }
}

impl Element for Decision {
    fn is_same(&self, other: &Self) -> bool {
        self == other
    }

    fn digest(&self, to: &mut impl Hasher) {
        let refusal = match &self.verdict {
            Verdict::Refuse(refusal) => Some(refusal.to_string()),
            _ => None,
        };
        (discriminant(&self.stage), self.total, refusal).hash(to);
    }
}

impl Written for Entry {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        to.write_str(&self.scorer)?;
        to.write_char(':')?;
        to.write_str(self.finding.symbol())?;
        to.write_char('=')?;
        self.finding.score().write_to(to)
    }
}

impl fmt::Display for Entry {
    /// Formats the finding, qualified by its scorer: `dnsbl:ZEN=4.00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

impl Written for Tally {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        to.write_str("score=")?;
        self.total().write_to(to)?;
        self.counted().try_for_each(|entry| {
            to.write_char(' ')?;
            entry.write_to(to)
        })
    }
}

impl fmt::Display for Tally {
    /// Formats the total and the findings that count:
    /// `score=6.10 dnsbl:ZEN=4.00 authentication:SPF_FAIL=2.10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

#[cfg(test)]
mod tests;
