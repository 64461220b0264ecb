//! A rate limit for log lines.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A rate limit for log lines that clients can cause at no cost, such as lines about sessions
/// without a transaction. It counts the lines that it omits.
///
/// ```
/// use std::time::{Duration, Instant};
/// use nobounce::observer::LineLimit;
///
/// let (limit, second) = (LineLimit::new(2, Duration::from_secs(1)), Duration::from_secs(1));
/// let now = Instant::now();
/// assert_eq!([limit.admit(now), limit.admit(now)], [Some(0), Some(0)]);
/// assert_eq!([limit.admit(now), limit.admit(now)], [None, None]);
/// assert_eq!(limit.admit(now + second), Some(2));
/// ```
#[derive(Debug)]
pub struct LineLimit {
    burst: u32,
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: u32,
    /// Time from which on the next line is added. `None` while no line is missing.
    since: Option<Instant>,
    omitted: u64,
}

impl LineLimit {
    /// Creates a limit that allows `burst` lines at once, and then one more after each `interval`.
    pub fn new(burst: u32, interval: Duration) -> Self {
        let state = Mutex::new(State { left: burst, since: None, omitted: 0 });
        Self { burst, interval, state }
    }

    /// Admits a line and returns the number of lines omitted since the last admitted one. Returns
    /// `None` if this line must be omitted.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = state.since {
            let passed = now.saturating_duration_since(since).as_nanos();
            let added = passed.checked_div(self.interval.as_nanos()).unwrap_or(u128::MAX);
            let missing = self.burst - state.left;
            state.since = match u32::try_from(added).ok().filter(|added| *added < missing) {
                Some(added) => {
                    state.left += added;
                    Some(since + self.interval * added)
                }
                None => {
                    state.left = self.burst;
                    None
                }
            };
        }
        if state.left == 0 {
            state.omitted += 1;
            return None;
        }
        state.left -= 1;
        state.since.get_or_insert(now);
        Some(std::mem::take(&mut state.omitted))
    }

    /// Returns the number of lines omitted since the last admitted one, and resets this number.
    pub fn take_omitted(&self) -> u64 {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).omitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_burst_and_rate_are_omitted_and_counted() {
        let second = Duration::from_secs(1);
        let limit = LineLimit::new(200, second / 5);
        #[allow(clippy::disallowed_methods, reason = "a test")]
        let mut now = Instant::now();
        let admitted = |now| (0..10_000).filter(|_| limit.admit(now).is_some()).count();
        assert_eq!(admitted(now), 200);
        now += second / 5 - Duration::from_millis(1);
        assert_eq!(admitted(now), 0);
        now += Duration::from_millis(1);
        assert_eq!(limit.admit(now), Some(9_800 + 10_000));
        for _ in 0..60 {
            now += second;
            assert_eq!(admitted(now), 5);
        }
        now += second * 3_600;
        assert_eq!(admitted(now), 200, "no more than the burst is saved up");
        assert_eq!(limit.take_omitted(), 9_800);
        assert_eq!(limit.take_omitted(), 0);
    }
}
