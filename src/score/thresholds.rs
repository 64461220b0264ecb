//! The total scores at which mail is tagged, deferred or refused.

use super::Score;

/// The total scores at which mail is tagged, deferred or refused. A total equal to a threshold
/// reaches it. The strictest threshold reached applies.
///
/// By default, mail is tagged at 5.00 (SpamAssassin's `required_score`), never deferred, and
/// refused at 6.31 (amavisd-new's `$sa_kill_level_deflt`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    tag: Option<Score>,
    defer: Option<Score>,
    refuse: Option<Score>,
}

/// The error for a milder threshold above a stricter one: the milder one would never apply. Fault
/// of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the threshold {0} is above the stricter threshold {1}; expected tag, defer and refuse in ascending order"
)]
pub struct ThresholdError(Score, Score);

impl Thresholds {
    /// Creates thresholds. They must be in ascending order: `tag` ≤ `defer` ≤ `refuse`. `None`
    /// disables a threshold.
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

    /// Returns thresholds that are all disabled. Refusals by the scorers themselves still apply.
    pub const fn none() -> Self {
        Self { tag: None, defer: None, refuse: None }
    }

    /// Returns the total at which messages are tagged.
    pub const fn tag(&self) -> Option<Score> {
        self.tag
    }

    /// Returns the total at which mail is deferred.
    pub const fn defer(&self) -> Option<Score> {
        self.defer
    }

    /// Returns the total at which mail is refused.
    pub const fn refuse(&self) -> Option<Score> {
        self.refuse
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { tag: Some(Score::points(5)), defer: None, refuse: Some(Score::hundredths(631)) }
    }
}
