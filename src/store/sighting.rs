//! Sightings: when something was first and last seen, and how often.

use std::time::{Duration, SystemTime};

use super::moment::{length, milliseconds, time_of_day};
use super::table::Record;

/// The rules that decide which sightings count, and how long they are remembered. Times have a
/// resolution of one millisecond and a maximum of a hundred years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Minimum interval between two sightings that count.
    pub apart: Duration,
    /// Time for which something seen once is remembered.
    pub once: Duration,
    /// Time for which something seen several times is remembered, after the last sighting that
    /// counts.
    pub again: Duration,
}

/// Everything known about something that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sighting {
    /// Time of the first sighting.
    pub first: SystemTime,
    /// Time of the last sighting that counted.
    pub last: SystemTime,
    /// Number of sightings that counted, including the first.
    pub times: u32,
    /// Number of sightings that came too early to count.
    pub early: u32,
    /// Whether this sighting counted. Always `false` for [`recall`](super::Store::recall).
    pub counted: bool,
}

/// Stored form of a sighting. Times are Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) expires: u64,
    pub(super) times: u32,
    pub(super) early: u32,
}

impl Seen {
    /// Adds a sighting to the stored record. `see.lua` does the same.
    pub(super) fn see(before: Option<Self>, pace: Pace, now: SystemTime) -> (Self, Sighting) {
        let now = milliseconds(now);
        let [apart, once, again] = [pace.apart, pace.once, pace.again].map(length);
        let Some(mut seen) = before.filter(|seen| now < seen.expires) else {
            let seen = Self { first: now, last: now, expires: now + once, times: 1, early: 0 };
            return (seen, seen.told(true));
        };
        // A time in the future comes from a gate with another clock.
        seen.first = seen.first.min(now);
        seen.last = seen.last.min(now);
        let counted = now - seen.last >= apart;
        if counted {
            seen.times = seen.times.saturating_add(1);
            seen.last = now;
            seen.expires = now + again;
        } else {
            seen.early = seen.early.saturating_add(1);
            seen.expires = seen.expires.min(now + once.max(again));
        }
        (seen, seen.told(counted))
    }

    /// Returns the sighting unless it has expired.
    pub(super) fn recall(before: Option<Self>, now: SystemTime) -> Option<Sighting> {
        let now = milliseconds(now);
        before.filter(|seen| now < seen.expires).map(|seen| seen.told(false))
    }

    /// Returns the record of a sighting that has not expired.
    pub(super) fn of(sighting: Sighting) -> Self {
        let Sighting { first, last, times, early, .. } = sighting;
        let [first, last] = [first, last].map(milliseconds);
        Self { first, last, expires: u64::MAX, times, early }
    }

    pub(super) fn told(self, counted: bool) -> Sighting {
        let Self { first, last, times, early, .. } = self;
        let [first, last] = [first, last].map(time_of_day);
        Sighting { first, last, times, early, counted }
    }
}

impl Record for Seen {
    fn is_over(&self, now: SystemTime) -> bool {
        milliseconds(now) >= self.expires
    }

    /// Evicts things seen once before things seen several times; among equals, the one seen least
    /// recently.
    fn worth(&self) -> (u64, u64) {
        (self.times.into(), self.last)
    }
}
