//! Clocks, and the form of time stamps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns the time for intervals.
pub(crate) fn now() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "the clock of an edge")]
    Instant::now()
}

/// Returns the time of day.
pub(crate) fn today() -> SystemTime {
    #[allow(clippy::disallowed_methods, reason = "the clock of an edge")]
    SystemTime::now()
}

/// Formats a time as in RFC 3339, in UTC with milliseconds: `2026-11-30T22:17:51.042Z`.
pub(crate) fn stamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, millis) = (second / 3_600, second / 60 % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{millis:03}Z", second % 60)
}

/// Formats a Unix time in seconds.
pub(crate) fn stamp_of(seconds: f64) -> String {
    let since = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    stamp(UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH))
}

/// Returns year, month and day of a day since 1970. It counts in years that begin in March, so that
/// a leap day is the last day of its year.
fn date(days: u64) -> (u64, u64, u64) {
    const CYCLE: u64 = 146_097;
    let days = days + 719_468;
    let day = days % CYCLE;
    let year = (day - day / 1_460 + day / 36_524 - day / (CYCLE - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (month, day) = ((month + 2) % 12 + 1, day - (153 * month + 2) / 5 + 1);
    (days / CYCLE * 400 + year + u64::from(month <= 2), month, day)
}
