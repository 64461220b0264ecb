//! Token buckets: how much of a resource is available, and when more will be.

use std::time::{Duration, SystemTime};

use super::moment::{fine_length, microseconds};
use super::table::Record;

/// Longest time in which a bucket fills up: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Rate of a token bucket: its capacity, and the time in which it fills up evenly from empty.
///
/// A full bucket can be emptied at once. In the long run, no caller gets more than the rate. The
/// time per token is rounded up to whole microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    tokens: u32,
    /// Microseconds per token.
    each: u64,
}

/// The error for a rate without tokens, or with a time of zero or more than ten years. Caller
/// fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a rate: expected at least one token, in a period above 0 and at most ten years")]
pub struct RateError;

/// Result of taking tokens from a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The requested tokens were taken.
    Granted {
        /// Number of whole tokens left.
        left: u32,
    },
    /// Nothing was taken: the bucket holds fewer tokens than requested.
    Exhausted {
        /// Time until the bucket holds enough tokens, if nobody else takes any.
        wait: Duration,
    },
}

impl Rate {
    /// Creates a rate of `tokens` per `time`.
    ///
    /// # Errors
    ///
    /// [`RateError`] if `tokens` is zero, or if `time` is zero or more than ten years.
    pub fn new(tokens: u32, time: Duration) -> Result<Self, RateError> {
        if tokens == 0 || time.is_zero() || time > LONGEST {
            return Err(RateError);
        }
        Ok(Self { tokens, each: fine_length(time).max(1).div_ceil(tokens.into()) })
    }

    /// Returns the capacity of the bucket in tokens. A request for more is treated as a request for
    /// all.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Returns the microseconds per token.
    pub(super) fn each(&self) -> u64 {
        self.each
    }

    /// Returns the microseconds in which an empty bucket fills up.
    pub(super) fn whole(&self) -> u64 {
        self.each * u64::from(self.tokens)
    }
}

/// Stored form of a bucket: the time at which it will be full, in Unix microseconds. This is the
/// theoretical arrival time of the generic cell rate algorithm (GCRA).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) full: u64,
}

impl Bucket {
    /// Takes tokens from the stored bucket. The new record is `None` if the bucket is full.
    /// A request for 0 tokens leaves the record as it is. `take.lua` does the same.
    pub(super) fn take(
        before: Option<Self>,
        rate: Rate,
        tokens: u32,
        now: SystemTime,
    ) -> (Option<Self>, Taken) {
        let (now, whole) = (microseconds(now), rate.whole());
        // Clamp: another gate's clock may have written a time too far in the future.
        let full = before.map_or(now, |bucket| bucket.full.clamp(now, now + whole));
        let taken = full + rate.each * u64::from(tokens.min(rate.tokens));
        let (full, answer) = match (now + whole).checked_sub(taken) {
            Some(rest) => (taken, Taken::granted(rest, rate)),
            None => (full, Taken::exhausted(taken - now - whole)),
        };
        // A trial asks for 0 tokens, with a clock that may be wrong: it must not correct the record.
        let after = if tokens == 0 { before } else { (full > now).then_some(Self { full }) };
        (after, answer)
    }
}

impl Taken {
    /// Returns the result for tokens worth `rest` microseconds left.
    pub(super) fn granted(rest: u64, rate: Rate) -> Self {
        Self::Granted { left: u32::try_from(rest / rate.each).unwrap_or(u32::MAX) }
    }

    /// Returns the result for a wait of `wait` microseconds.
    pub(super) fn exhausted(wait: u64) -> Self {
        Self::Exhausted { wait: Duration::from_micros(wait) }
    }
}

impl Record for Bucket {
    fn is_over(&self, now: SystemTime) -> bool {
        microseconds(now) >= self.full
    }

    /// Returns the time at which the bucket is full. The later it is, the more tokens were taken.
    fn worth(&self) -> (u64, u64) {
        (self.full, 0)
    }
}
