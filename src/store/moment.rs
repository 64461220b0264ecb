//! Times of day as integers that every store can represent exactly, including Lua.

use std::time::{Duration, SystemTime};

/// Longest supported time: a hundred years. In Unix microseconds, a time within this range is below
/// 2⁵³, so a double represents it exactly.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Returns Unix milliseconds. Times before 1970 become 0.
pub(super) fn milliseconds(now: SystemTime) -> u64 {
    length(since_epoch(now))
}

/// Returns Unix microseconds. Times before 1970 become 0.
pub(super) fn microseconds(now: SystemTime) -> u64 {
    fine_length(since_epoch(now))
}

/// Returns a duration in milliseconds.
pub(super) fn length(time: Duration) -> u64 {
    u64::try_from(time.min(LONGEST).as_millis()).unwrap_or(u64::MAX)
}

/// Returns a duration in microseconds.
pub(super) fn fine_length(time: Duration) -> u64 {
    u64::try_from(time.min(LONGEST).as_micros()).unwrap_or(u64::MAX)
}

/// Returns the time of day for Unix milliseconds.
pub(super) fn time_of_day(milliseconds: u64) -> SystemTime {
    let time = Duration::from_millis(milliseconds).min(LONGEST);
    SystemTime::UNIX_EPOCH + time
}

fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
