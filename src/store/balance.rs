//! Balances: good and bad, weighed, both of which fade.

use std::ops::Add;
use std::time::{Duration, SystemTime};

use super::moment::{length, milliseconds};
use super::table::Record;

/// A balance is forgotten when nothing was added to it for so many half-lives: of a thousand there
/// is a hundredth left.
pub(super) const HALF_LIVES: u64 = 17;
/// The most that either side of a balance holds.
pub(super) const MOST: f64 = 1e12;

/// What speaks for something and what against it, in units of the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Balance {
    /// What speaks for it, from zero to 10¹².
    pub good: f64,
    /// What speaks against it, likewise.
    pub bad: f64,
}

impl Balance {
    /// Nothing either way.
    pub const ZERO: Self = Self { good: 0.0, bad: 0.0 };

    /// What is not a number, or below zero, is zero.
    pub fn new(good: f64, bad: f64) -> Self {
        let bounded = |weight: f64| if weight.is_nan() { 0.0 } else { weight.clamp(0.0, MOST) };
        Self { good: bounded(good), bad: bounded(bad) }
    }

    /// Both together: how much is known.
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

/// The time in which a balance fades to half; from a second to a year, what is beyond is brought
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HalfLife(u64);

impl HalfLife {
    /// This half-life.
    pub fn new(time: Duration) -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self(length(time.clamp(Duration::from_secs(1), Duration::from_secs(365 * DAY))))
    }

    pub(super) fn milliseconds(self) -> u64 {
        self.0
    }
}

/// A balance as it is kept; times in milliseconds, since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weighed {
    pub(super) balance: Balance,
    /// When it stood so.
    pub(super) at: u64,
    pub(super) expires: u64,
}

impl Weighed {
    /// What was there, faded, and what was added. `weigh.lua` says the same.
    pub(super) fn weigh(
        before: Option<Self>,
        add: Balance,
        HalfLife(half_life): HalfLife,
        now: SystemTime,
    ) -> (Option<Self>, Balance) {
        let now = milliseconds(now);
        let alive = before.filter(|weighed| now < weighed.expires);
        // A little in the future was put there by a clock that is a little ahead.
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

    /// How much there was to be known. (Doubles that are not negative compare as their bits do.)
    fn worth(&self) -> (u64, u64) {
        (self.balance.weight().to_bits(), self.at)
    }
}
