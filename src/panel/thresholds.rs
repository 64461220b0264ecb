//! Thresholds: from a sum to a verdict, and what client and header are told.

use crate::header::{HeaderField, OURS};
use crate::score::{Disclosure, Finding, Score};
use crate::tally::Tally;
use crate::verdict::{Refusal, Stage, Verdict};
use crate::wire::reply::EnhancedStatus;

/// Most findings in the header field of a tagged message.
pub(super) const SYMBOLS: usize = 128;
/// Most octets of them: an eighth of what Postfix takes for one header (`header_size_limit`), and less
/// than the default [`Limits::added_fields`](crate::Limits::added_fields).
pub(super) const OCTETS: usize = 12 << 10;

/// The sums at which something is done; a sum that is equal counts as reached, the strictest one
/// reached acts. The default tags at 5.00 (SpamAssassin's `required_score`), defers never, and
/// refuses at 6.31 (amavisd-new's `$sa_kill_level_deflt`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    tag: Option<Score>,
    defer: Option<Score>,
    refuse: Option<Score>,
}

/// A milder threshold above a stricter one, which would never act. The fault is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a threshold of {0} lies above a stricter one of {1}")]
pub struct ThresholdError(Score, Score);

impl Thresholds {
    /// Thresholds in ascending order: `tag` ≤ `defer` ≤ `refuse`, as far as they are there.
    pub fn new(
        tag: Option<Score>,
        defer: Option<Score>,
        refuse: Option<Score>,
    ) -> Result<Self, ThresholdError> {
        for (milder, stricter) in [(tag, defer), (defer, refuse), (tag, refuse)] {
            if let (Some(milder), Some(stricter)) = (milder, stricter)
                && milder > stricter
            {
                return Err(ThresholdError(milder, stricter));
            }
        }
        Ok(Self { tag, defer, refuse })
    }

    /// No sum does anything. What scorers themselves refuse is refused nevertheless.
    pub const fn none() -> Self {
        Self { tag: None, defer: None, refuse: None }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { tag: Some(Score::points(5)), defer: None, refuse: Some(Score::hundredths(631)) }
    }
}

impl Thresholds {
    /// What the sum calls for.
    pub(super) fn judge(&self, stage: Stage, tally: &Tally) -> Verdict {
        const POLICY: EnhancedStatus = EnhancedStatus::new(7, 1);
        let total = tally.total();
        let reached = |threshold: Option<Score>| threshold.filter(|score| total >= *score);
        if reached(self.refuse).is_some() {
            let code = if stage == Stage::Connect { 554 } else { 550 };
            let text = reasons(stage, "refused", " as unwanted", tally);
            Verdict::Refuse(Refusal::permanent(code, POLICY, &text))
        } else if reached(self.defer).is_some() {
            let text = reasons(stage, "deferred", " as suspicious, try again later", tally);
            Verdict::Refuse(Refusal::transient(later(stage), POLICY, &text))
        } else if let Some(required) = reached(self.tag).filter(|_| stage == Stage::Data) {
            Verdict::Tag(vec![status(total, required, tally)])
        } else {
            Verdict::Pass
        }
    }
}

/// The reply for a scorer that failed. What failed is nobody's business outside.
pub(super) fn unchecked(stage: Stage) -> Refusal {
    let text = format!("{} cannot be checked now, try again later", noun(stage));
    Refusal::transient(later(stage), EnhancedStatus::new(3, 0), &text)
}

/// The code that says "later": before the greeting that is to close the channel.
fn later(stage: Stage) -> u16 {
    if stage == Stage::Connect { 421 } else { 451 }
}

/// What the client asked for.
fn noun(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "Connection",
        Stage::Rcpt => "Recipient",
        Stage::Data => "Message",
    }
}

/// What the client is told: the public findings that speak against it, or nothing in particular.
fn reasons(stage: Stage, done: &str, otherwise: &str, tally: &Tally) -> String {
    let told = |finding: &&Finding| {
        finding.disclosure() == Disclosure::Public && finding.score() > Score::ZERO
    };
    let reasons: Vec<String> = tally
        .findings()
        .filter(told)
        .map(|finding| match finding.detail() {
            "" => finding.symbol().to_owned(),
            detail => format!("{} ({detail})", finding.symbol()),
        })
        .collect();
    let noun = noun(stage);
    if reasons.is_empty() {
        format!("{noun} {done}{otherwise}")
    } else {
        format!("{noun} {done}: {}", reasons.join("; "))
    }
}

/// The header field of a tagged message. Its grammar is [`Panel`]'s to document.
fn status(total: Score, required: Score, tally: &Tally) -> HeaderField {
    let mut symbols = String::new();
    for entry in tally.counted().take(SYMBOLS) {
        let finding = entry.to_string();
        if symbols.len() + finding.len() + 2 > OCTETS {
            break;
        }
        let separator = if symbols.is_empty() { "" } else { ", " };
        symbols.extend([separator, &finding]);
    }
    let value = format!("Yes, score={total} required={required} symbols={symbols}");
    HeaderField::fold(&format!("{OURS}Status"), value.as_bytes())
}
