//! Moments: times of day as numbers that every store can hold, Lua's among them, exactly.

use std::time::{Duration, SystemTime};

/// Longest time that is counted: a hundred years. In microseconds since 1970 a moment within it is
/// below 2⁵³, up to which a double is exact.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Milliseconds since 1970; before it is then.
pub(super) fn milliseconds(now: SystemTime) -> u64 {
    length(since_epoch(now))
}

/// Microseconds since 1970; before it is then.
pub(super) fn microseconds(now: SystemTime) -> u64 {
    fine_length(since_epoch(now))
}

/// A length of time in milliseconds.
pub(super) fn length(time: Duration) -> u64 {
    u64::try_from(time.min(LONGEST).as_millis()).unwrap_or(u64::MAX)
}

/// A length of time in microseconds.
pub(super) fn fine_length(time: Duration) -> u64 {
    u64::try_from(time.min(LONGEST).as_micros()).unwrap_or(u64::MAX)
}

/// The time of day, from milliseconds since 1970.
pub(super) fn time_of_day(milliseconds: u64) -> SystemTime {
    let time = Duration::from_millis(milliseconds).min(LONGEST);
    SystemTime::UNIX_EPOCH + time
}

fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
