//! The findings of the panel and its decisions.

use serde::{Deserialize, Serialize};

use super::text::{perhaps_points, points, seconds};
use crate::panel::{FailurePolicy, Thresholds};
use crate::record;
use crate::score::{Disclosure, Score};
use crate::tally::{self, Tally};
use crate::verdict::{Stage, Verdict};

/// The answers of the scorers and the decisions of the panel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Judged {
    /// The sum of the scores of the findings that are [counted](Finding::counted).
    #[serde(with = "points")]
    pub score: Score,
    /// The thresholds of the panel; `None` if no panel was asked.
    pub thresholds: Option<Levels>,
    /// All findings, in order.
    pub findings: Vec<Finding>,
    /// Refusals that a scorer asked for, regardless of the score.
    pub objections: Vec<Objection>,
    /// Scorers that gave no answer, or only part of one.
    pub scorer_failures: Vec<ScorerFailure>,
    /// The verdicts other than `pass`, in order.
    pub decisions: Vec<Decision>,
    /// The times of the scorers, if they are recorded.
    pub scorers: Vec<Timing>,
}

/// The thresholds: the totals at which mail is tagged, deferred and refused. `None` means never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Levels {
    /// The minimum total at which messages are tagged.
    #[serde(with = "perhaps_points")]
    pub tag: Option<Score>,
    /// The minimum total at which mail is deferred.
    #[serde(with = "perhaps_points")]
    pub defer: Option<Score>,
    /// The minimum total at which mail is refused.
    #[serde(with = "perhaps_points")]
    pub refuse: Option<Score>,
}

/// A finding of a scorer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// The scorer.
    pub scorer: String,
    /// The symbol.
    pub symbol: String,
    /// The stage: `connect`, `rcpt` or `data`.
    pub stage: String,
    /// The score that the scorer gave.
    #[serde(with = "points")]
    pub given: Score,
    /// The score after scale and weights.
    #[serde(with = "points")]
    pub score: Score,
    /// Whether the score is part of the sum. If a scorer reports a symbol several times, only the
    /// highest score counts.
    pub counted: bool,
    /// The explanation.
    pub detail: String,
    /// Whether the client may see the finding.
    pub told: bool,
    /// The first recipient with this finding, at RCPT.
    pub recipient: Option<String>,
    /// Whether the scorer is in monitor mode, so that its findings do not count.
    pub monitored: bool,
    /// Whether the finding is about a recipient that was refused, so that it does not count.
    pub aside: bool,
}

/// A refusal that a scorer asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Objection {
    /// The scorer.
    pub scorer: String,
    /// The stage.
    pub stage: String,
    /// The reply.
    pub reply: String,
    /// Whether the scorer is in monitor mode, so that the objection has no effect.
    pub monitored: bool,
}

/// A scorer that gave no answer, or only part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScorerFailure {
    /// The scorer.
    pub scorer: String,
    /// The stage.
    pub stage: String,
    /// The cause.
    pub cause: String,
    /// The server that the scorer asks, if it is known.
    pub server: Option<String>,
    /// The failure policy that was applied.
    pub policy: Policy,
    /// The score of the failure, if the policy is `score`.
    #[serde(with = "perhaps_points")]
    pub score: Option<Score>,
    /// Whether the scorer is in monitor mode, so that the failure has no effect.
    pub monitored: bool,
}

/// The effect of a scorer's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Policy {
    /// No effect.
    Ignore,
    /// A finding with a score.
    Score,
    /// The client gets 451.
    Defer,
}

/// A verdict of the panel other than `pass`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// The stage.
    pub stage: String,
    /// The total at that time.
    #[serde(with = "points")]
    pub score: Score,
    /// The verdict.
    pub verdict: DecisionWord,
    /// The reply of a refusal or deferral, without the reference.
    pub reply: Option<String>,
    /// Whether the verdict was acted on: `false` in a panel in monitor mode.
    pub acted: bool,
}

/// A verdict other than `pass`. Verdicts are ordered by severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DecisionWord {
    /// Header fields are added.
    Tag,
    /// The client gets 4yz.
    Defer,
    /// The client gets 5yz.
    Refuse,
}

/// The time that a scorer took at one stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Timing {
    /// The scorer.
    pub scorer: String,
    /// The stage.
    pub stage: String,
    /// The number of its answers: at RCPT, one for each recipient.
    pub answers: u32,
    /// The total time of all answers.
    pub seconds: f64,
    /// The time of the slowest answer.
    pub slowest: f64,
}

impl Judged {
    pub(super) fn of(tally: &Tally, timings: &[record::Timing]) -> Self {
        let mut counted = tally.counted().peekable();
        Self {
            score: tally.total(),
            thresholds: tally.thresholds().map(Into::into),
            findings: tally
                .entries()
                .map(|entry| {
                    // Both iterators have the order of the tally.
                    let counts = counted.next_if(|it| std::ptr::eq(*it, entry)).is_some();
                    Finding::of(entry, counts)
                })
                .collect(),
            objections: tally.objections().map(Into::into).collect(),
            scorer_failures: tally.failures().map(Into::into).collect(),
            decisions: tally.decisions().map(Into::into).collect(),
            scorers: timings.iter().map(Into::into).collect(),
        }
    }
}

impl From<Thresholds> for Levels {
    fn from(thresholds: Thresholds) -> Self {
        Self { tag: thresholds.tag(), defer: thresholds.defer(), refuse: thresholds.refuse() }
    }
}

impl Finding {
    fn of(entry: &tally::Entry, counted: bool) -> Self {
        let finding = &entry.finding;
        Self {
            scorer: entry.scorer.to_string(),
            symbol: finding.symbol().to_owned(),
            stage: entry.stage.to_string(),
            given: entry.given,
            score: finding.score(),
            counted,
            detail: finding.detail().to_owned(),
            told: finding.disclosure() == Disclosure::Public,
            recipient: entry.recipient.as_ref().map(ToString::to_string),
            monitored: entry.monitored,
            aside: entry.aside,
        }
    }
}

impl From<&tally::Objection> for Objection {
    fn from(objection: &tally::Objection) -> Self {
        Self {
            scorer: objection.scorer.to_string(),
            stage: objection.stage.to_string(),
            reply: objection.refusal.to_string(),
            monitored: objection.monitored,
        }
    }
}

impl From<&tally::Failure> for ScorerFailure {
    fn from(failure: &tally::Failure) -> Self {
        let (policy, score) = match failure.policy {
            FailurePolicy::Ignore => (Policy::Ignore, None),
            FailurePolicy::Score(score) => (Policy::Score, Some(score)),
            FailurePolicy::Defer => (Policy::Defer, None),
        };
        Self {
            scorer: failure.scorer.to_string(),
            stage: failure.stage.to_string(),
            cause: failure.cause.to_string(),
            server: failure.server.as_ref().map(ToString::to_string),
            policy,
            score,
            monitored: failure.monitored,
        }
    }
}

impl From<&tally::Decision> for Decision {
    fn from(decision: &tally::Decision) -> Self {
        let (verdict, reply) = match &decision.verdict {
            Verdict::Refuse(refusal) if refusal.is_transient() => {
                (DecisionWord::Defer, Some(refusal.to_string()))
            }
            Verdict::Refuse(refusal) => (DecisionWord::Refuse, Some(refusal.to_string())),
            Verdict::Tag(_) | Verdict::Pass => (DecisionWord::Tag, None),
        };
        let stage = Stage::to_string(&decision.stage);
        Self { stage, score: decision.total, verdict, reply, acted: decision.acted }
    }
}

impl From<&record::Timing> for Timing {
    fn from(timing: &record::Timing) -> Self {
        Self {
            scorer: timing.scorer.to_string(),
            stage: timing.stage.to_string(),
            answers: timing.answers,
            seconds: seconds(timing.total),
            slowest: seconds(timing.slowest),
        }
    }
}
