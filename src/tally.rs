//! The tally: what was found in a session, and what came of it.

mod distinct;
mod settled;

use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};
use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use crate::opinion::{FailurePolicy, ScorerError};
use crate::score::{Finding, Score};
use crate::verdict::{Refusal, Stage, Verdict};
use crate::wire::mailbox::Path;
use crate::wire::text::{Printable, Written};

use distinct::{Distinct, Element};
use settled::{Counted, Settled};

/// All that scorers said in a session or a transaction, and what the panel made of it.
///
/// A session has one tally, filled when the client connects; the tally of each transaction begins
/// as a clone of it. A symbol of one scorer counts once, with its highest score, however often it
/// is given: what speaks against a sender is not worse for being said of each of ten recipients.
/// What is said again word by word is kept once.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    entries: Distinct<Entry>,
    objections: Distinct<Objection>,
    failures: Distinct<Failure>,
    decisions: Distinct<Decision>,
    settled: Option<Box<Settled>>,
    /// Where the entries of the latest question begin.
    latest: usize,
    /// The panel refused the recipient of the latest question, and what was found on it still counts.
    refused: bool,
}

/// A finding, who made it and when, and whether it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The scorer's name.
    pub scorer: Arc<str>,
    /// When it was asked.
    pub stage: Stage,
    /// What it found, with the score that counts.
    pub finding: Finding,
    /// The score that the scorer gave, before scale and weights.
    pub given: Score,
    /// The recipient that it was asked about first; `None` at the other stages. The same finding on
    /// further recipients is kept once.
    pub recipient: Option<Path>,
    /// Whether the scorer is only monitored. Its findings never count.
    pub monitored: bool,
    /// Whether it concerns a recipient that was refused. It no longer counts.
    pub aside: bool,
}

impl Entry {
    fn acts(&self) -> bool {
        !self.monitored && !self.aside
    }
}

/// A scorer's no.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Objection {
    /// The scorer's name.
    pub scorer: Arc<str>,
    /// When it was asked.
    pub stage: Stage,
    /// What it would have the client told.
    pub refusal: Refusal,
    /// Whether the scorer is only monitored. Its objections have no effect.
    pub monitored: bool,
}

/// A scorer that was asked and has not answered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// The scorer's name.
    pub scorer: Arc<str>,
    /// When it was asked.
    pub stage: Stage,
    /// What went wrong. For records only.
    pub cause: FailureCause,
    /// What was done about it.
    pub policy: FailurePolicy,
    /// Whether the scorer is only monitored, so that nothing was done.
    pub monitored: bool,
}

/// Why there is no answer. The fault is the scorer's, or that of what it asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FailureCause {
    /// It said that it failed.
    #[error("failed: {0}")]
    Error(#[from] ScorerError),
    /// It panicked, with this message.
    #[error("panicked: {}", Printable(.0))]
    Panic(Box<str>),
    /// It had not answered within this time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The state that it kept for this session was lost, since an earlier answer was late, panicked, or
    /// was given up ([`SessionScorer`](crate::SessionScorer)).
    #[error("its state for this session is lost")]
    StateLost,
}

/// What the panel made of the tally, where that was anything but [`Verdict::Pass`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// When it was asked.
    pub stage: Stage,
    /// The sum of what counted by then.
    pub total: Score,
    /// What it said, or would have said.
    pub verdict: Verdict,
    /// Whether it did say so; `false` in a panel that only monitors.
    pub acted: bool,
}

impl Tally {
    /// An empty tally.
    pub const fn new() -> Self {
        Self {
            entries: Distinct::new(),
            objections: Distinct::new(),
            failures: Distinct::new(),
            decisions: Distinct::new(),
            settled: None,
            latest: 0,
            refused: false,
        }
    }

    /// The recipient that the panel was asked about last was refused, by the panel or by the relay
    /// target: what was found on it stays in the record and no longer counts.
    pub fn recipient_refused(&mut self) {
        let latest = self.entries.split_off(self.latest);
        for mut entry in latest {
            entry.aside |= entry.stage == Stage::Rcpt;
            self.enter(entry);
        }
        self.latest = self.entries.as_slice().len();
        self.refused = false;
    }

    /// A transaction has ended: what was found on the connection stays, for the next one.
    pub fn end_transaction(&mut self) {
        self.entries.retain(|entry| entry.stage == Stage::Connect);
        self.objections.retain(|objection| objection.stage == Stage::Connect);
        self.failures.retain(|failure| failure.stage == Stage::Connect);
        self.decisions.retain(|decision| decision.stage == Stage::Connect);
        self.settled = None;
        self.ask();
    }

    /// The sum of what counts.
    pub fn total(&self) -> Score {
        // Of most mail there is nothing to say, and that is asked often.
        match self.entries.as_slice() {
            [] => Score::ZERO,
            entries => Counted::new(entries, self.settled.as_deref()).total(),
        }
    }

    /// The findings that count, in the order of the questions and, within one, of the seats.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.counted().map(|entry| &entry.finding)
    }

    /// The entries whose findings count, in the same order.
    pub fn counted(&self) -> impl Iterator<Item = &Entry> {
        self.highest().into_iter().map(|(_, entry)| entry)
    }

    /// What counts, with the place of each.
    fn highest(&self) -> Vec<(usize, &Entry)> {
        match self.entries.as_slice() {
            [] => Vec::new(),
            entries => Counted::new(entries, self.settled.as_deref()).entries(),
        }
    }

    /// Every finding, whether it counts or not.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.as_slice().iter()
    }

    /// Every no of a scorer.
    pub fn objections(&self) -> impl Iterator<Item = &Objection> {
        self.objections.as_slice().iter()
    }

    /// Every failure of a scorer.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.failures.as_slice().iter()
    }

    /// What the panel made of it, from stage to stage.
    pub fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.as_slice().iter()
    }

    /// The panel is asked something new.
    pub(crate) fn ask(&mut self) {
        self.settle();
        let entries = self.entries.as_slice();
        Settled::settle(&mut self.settled, entries);
        self.latest = entries.len();
    }

    /// Sets aside what was found on a recipient that the panel refused. Until then it counts, so that
    /// observers of the verdict see what led to it.
    pub(crate) fn settle(&mut self) {
        if self.refused {
            self.recipient_refused();
        }
    }

    /// The panel refuses the recipient that it was asked about.
    pub(crate) fn refuse_recipient(&mut self) {
        self.refused = true;
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
    /// Returns whether it is the same finding, perhaps on another recipient.
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
    /// The finding, qualified by its scorer: `dnsbl:ZEN=4.00`.
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
    /// The total and what counts: `score=6.10 dnsbl:ZEN=4.00 authentication:SPF_FAIL=2.10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

#[cfg(test)]
mod tests;
