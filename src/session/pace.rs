//! The least rate at which mail data must come.

use std::time::{Duration, Instant};

use super::Session;
use crate::deadline::{Awaiting, Deadline};

/// How far ahead of the least data rate a client is. Each octet gives it time, as much as the rate
/// allows for one, up to a fixed credit; so a burst makes up for a pause before it and earns one
/// behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// When the credit is spent if nothing more comes.
    until: Instant,
    /// Octets that have come since that was reckoned.
    octets: usize,
}

impl Pace {
    pub(super) fn deadline(self) -> Deadline {
        Deadline { at: self.until, awaiting: Awaiting::DataRate }
    }
}

impl Session {
    /// Mail data has come.
    pub(super) fn gain(&mut self, octets: usize) {
        if let Some(pace) = &mut self.pace {
            pace.octets = pace.octets.saturating_add(octets);
        }
    }

    /// More mail data is waited for.
    pub(super) fn keep_pace(&mut self, now: Instant) {
        let rate = self.settings.limits.data_rate;
        let credit = self.settings.timeouts.data_rate;
        let most = Deadline::after(now, credit, Awaiting::DataRate).at;
        let until = self.pace.map_or(most, |Pace { until, octets }| {
            most.min(until.checked_add(time_for(octets, rate)).unwrap_or(most))
        });
        self.pace = (rate > 0).then_some(Pace { until, octets: 0 });
    }
}

/// How long so many octets may take.
fn time_for(octets: usize, rate: u32) -> Duration {
    let nanoseconds = (octets as u64).saturating_mul(1_000_000_000);
    Duration::from_nanos(nanoseconds / u64::from(rate.max(1)))
}
