//! Token buckets: how much of something may be had, and when again.

use std::time::{Duration, SystemTime};

use super::moment::{fine_length, microseconds};
use super::table::Record;

/// Longest time in which a bucket fills up: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// So many tokens in so long: a bucket that holds them all, and fills up in that time, evenly.
///
/// Whoever has waited long enough may take all at once; in the long run nobody has more than the
/// rate. Fractions of a microsecond for each token are rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    tokens: u32,
    /// Microseconds in which one token comes.
    each: u64,
}

/// No tokens, or a time of none or of more than ten years. The fault is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a rate: at least one token, in more than no time and at most ten years")]
pub struct BadRate;

/// What a bucket gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// What was asked for.
    Granted {
        /// How many whole tokens are left.
        left: u32,
    },
    /// Nothing: there is less than was asked for.
    Exhausted {
        /// How long until there is enough, if nobody else takes any.
        wait: Duration,
    },
}

impl Rate {
    /// So many tokens in so long.
    pub fn new(tokens: u32, time: Duration) -> Result<Self, BadRate> {
        if tokens == 0 || time.is_zero() || time > LONGEST {
            return Err(BadRate);
        }
        Ok(Self { tokens, each: fine_length(time).max(1).div_ceil(tokens.into()) })
    }

    /// How many tokens the bucket holds. Who asks for more asks for all.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Microseconds in which a token comes.
    pub(super) fn each(&self) -> u64 {
        self.each
    }

    /// Microseconds in which an empty bucket fills up.
    pub(super) fn whole(&self) -> u64 {
        self.each * u64::from(self.tokens)
    }
}

/// A bucket as it is kept: when it will be full, in microseconds since 1970. (Known elsewhere as
/// the theoretical arrival time of the generic cell rate algorithm.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) full: u64,
}

impl Bucket {
    /// What was there, less what was taken; `None` if it is full. `take.lua` says the same.
    pub(super) fn take(
        before: Option<Self>,
        rate: Rate,
        tokens: u32,
        now: SystemTime,
    ) -> (Option<Self>, Taken) {
        let (now, whole) = (microseconds(now), rate.whole());
        // No bucket is emptier than empty, whatever another clock says.
        let full = before.map_or(now, |bucket| bucket.full.clamp(now, now + whole));
        let taken = full + rate.each * u64::from(tokens.min(rate.tokens));
        let (full, answer) = match (now + whole).checked_sub(taken) {
            Some(rest) => (taken, Taken::granted(rest, rate)),
            None => (full, Taken::exhausted(taken - now - whole)),
        };
        ((full > now).then_some(Self { full }), answer)
    }
}

impl Taken {
    /// With so many microseconds' worth of tokens left.
    pub(super) fn granted(rest: u64, rate: Rate) -> Self {
        Self::Granted { left: u32::try_from(rest / rate.each).unwrap_or(u32::MAX) }
    }

    /// For so many microseconds.
    pub(super) fn exhausted(wait: u64) -> Self {
        Self::Exhausted { wait: Duration::from_micros(wait) }
    }
}

impl Record for Bucket {
    fn is_over(&self, now: SystemTime) -> bool {
        microseconds(now) >= self.full
    }

    /// The longer a bucket takes to fill up, the more was taken out of it.
    fn worth(&self) -> (u64, u64) {
        (self.full, 0)
    }
}
