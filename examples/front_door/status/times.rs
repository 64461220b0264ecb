//! Numbers and times of requests, for the status page.

use std::collections::VecDeque;
use std::time::Duration;

/// Number of requests from which percentiles are computed.
const RECENT: usize = 256;

/// The number of requests of one kind, their failures, and the times of the last ones.
#[derive(Default, Clone)]
pub(super) struct Times {
    pub(super) requests: u64,
    pub(super) failures: u64,
    recent: VecDeque<Duration>,
}

impl Times {
    pub(super) fn record(&mut self, took: Duration, has_failed: bool) {
        self.requests += 1;
        self.failures += u64::from(has_failed);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(took);
    }

    /// Returns the times within which these percents of the last requests were answered.
    pub(super) fn percentiles<const N: usize>(&self, percents: [usize; N]) -> [Duration; N] {
        let mut times: Vec<_> = self.recent.iter().copied().collect();
        times.sort_unstable();
        percents.map(|percent| {
            let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(place).copied().unwrap_or_default()
        })
    }
}
