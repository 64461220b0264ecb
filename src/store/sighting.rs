//! Sightings: when something was first seen, when last, and how often.

use std::time::{Duration, SystemTime};

use super::moment::{length, milliseconds, time_of_day};
use super::table::Record;

/// Which sightings count, and how long they are remembered. Times are kept to the millisecond, and
/// a hundred years are the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// A sighting counts if it comes at least so long after the last one that did.
    pub apart: Duration,
    /// How long something is remembered that was seen once.
    pub once: Duration,
    /// How long something is remembered that was seen again, from the last sighting that counts.
    pub again: Duration,
}

/// What is known of something that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sighting {
    /// When it was seen first.
    pub first: SystemTime,
    /// When it was last seen with that sighting counting.
    pub last: SystemTime,
    /// How many sightings counted, the first one among them.
    pub times: u32,
    /// How many came too early to count.
    pub early: u32,
    /// Whether this one counted; `false` of what is only recalled.
    pub counted: bool,
}

/// A sighting as it is kept; times in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) expires: u64,
    pub(super) times: u32,
    pub(super) early: u32,
}

impl Seen {
    /// What was there, as seen once more. `see.lua` says the same.
    pub(super) fn see(before: Option<Self>, pace: Pace, now: SystemTime) -> (Self, Sighting) {
        let now = milliseconds(now);
        let [apart, once, again] = [pace.apart, pace.once, pace.again].map(length);
        let Some(mut seen) = before.filter(|seen| now < seen.expires) else {
            let seen = Self { first: now, last: now, expires: now + once, times: 1, early: 0 };
            return (seen, seen.told(true));
        };
        // What is in the future was put there by another clock.
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

    /// What is known of it, if it is still.
    pub(super) fn recall(before: Option<Self>, now: SystemTime) -> Option<Sighting> {
        let now = milliseconds(now);
        before.filter(|seen| now < seen.expires).map(|seen| seen.told(false))
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

    /// What was seen again took its time to be. Among equals, what was seen lately.
    fn worth(&self) -> (u64, u64) {
        (self.times.into(), self.last)
    }
}
