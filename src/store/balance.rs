//! Reputation balances: weights for and against something, which decay over time.

use std::ops::Add;
use std::time::{Duration, SystemTime};

use super::moment::{length, milliseconds};
use super::table::Record;

/// A balance expires this many half-lives after the last addition. By then a weight of one thousand
/// has decayed to less than 0.01.
pub(super) const HALF_LIVES: u64 = 17;
/// Maximum weight of each side of a balance.
pub(super) const MOST: f64 = 1e12;

/// Weights for and against something, in units chosen by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Balance {
    /// Weight in favour, from 0 to 10¹².
    pub good: f64,
    /// Weight against, from 0 to 10¹².
    pub bad: f64,
}

impl Balance {
    /// The empty balance.
    pub const ZERO: Self = Self { good: 0.0, bad: 0.0 };

    /// Creates a balance. NaN and negative weights become zero. Weights over 10¹² become 10¹².
    pub fn new(good: f64, bad: f64) -> Self {
        let bounded = |weight: f64| if weight.is_nan() { 0.0 } else { weight.clamp(0.0, MOST) };
        Self { good: bounded(good), bad: bounded(bad) }
    }

    /// Returns the sum of both weights: how much evidence there is.
    pub fn weight(&self) -> f64 {
        self.good + self.bad
    }

    fn faded(self, factor: f64) -> Self {
        Self::new(self.good * factor, self.bad * factor)
    }
}

impl Add for Balance {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::new(self.good + other.good, self.bad + other.bad)
    }
}

/// Time in which a balance decays to half. Clamped to the range from one second to one year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HalfLife(u64);

impl HalfLife {
    /// Creates a half-life, clamped to the valid range.
    pub fn new(time: Duration) -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self(length(time.clamp(Duration::from_secs(1), Duration::from_secs(365 * DAY))))
    }

    pub(super) fn milliseconds(self) -> u64 {
        self.0
    }
}

/// Stored form of a reputation balance. Times are Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weighed {
    pub(super) balance: Balance,
    /// The time at which `balance` was computed.
    pub(super) at: u64,
    pub(super) expires: u64,
}

impl Weighed {
    /// Decays the stored balance and adds `add`. `weigh.lua` does the same.
    pub(super) fn weigh(
        before: Option<Self>,
        add: Balance,
        HalfLife(half_life): HalfLife,
        now: SystemTime,
    ) -> (Option<Self>, Balance) {
        let now = milliseconds(now);
        let alive = before.filter(|weighed| now < weighed.expires);
        // A time slightly in the future comes from a gate whose clock is slightly ahead.
        let at = alive.map(|it| it.at).filter(|at| *at <= now + half_life).unwrap_or(now);
        let elapsed = now.saturating_sub(at) as f64 / half_life as f64;
        let balance = alive.map_or(Balance::ZERO, |it| it.balance.faded(0.5_f64.powf(elapsed)));
        if add == Balance::ZERO {
            return (before, balance);
        }
        let (balance, at) = (balance + add, at.max(now));
        (Some(Self { balance, at, expires: at + HALF_LIVES * half_life }), balance)
    }
}

impl Record for Weighed {
    fn is_over(&self, now: SystemTime) -> bool {
        milliseconds(now) >= self.expires
    }

    /// Returns the total weight: how much evidence would be lost. Non-negative doubles compare like
    /// their bits.
    fn worth(&self) -> (u64, u64) {
        (self.balance.weight().to_bits(), self.at)
    }
}
