//! Reports clients that were turned away without a session, with a rate limit, so that a flood of
//! clients does not flood the log.

use std::fmt::{self, Display};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nobounce::Event;

use crate::output::Output;

/// Lines that may be written at once, and the interval after which one more is allowed.
const BURST: u32 = 20;
const INTERVAL: Duration = Duration::from_secs(5);

/// Reporter of clients that were turned away. It has a rate limit, and counts the clients over it.
pub(crate) struct Strangers {
    errors: Output,
    lines: Mutex<Lines>,
}

struct Lines {
    left: u32,
    /// Last time at which the token bucket was refilled.
    added: Instant,
    /// Clients that were not reported.
    omitted: u64,
}

impl Strangers {
    pub(crate) fn new(errors: Output) -> Self {
        let lines = Mutex::new(Lines { left: BURST, added: now(), omitted: 0 });
        Self { errors, lines }
    }

    pub(crate) fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Unproxied { peer, error } => self.report(format_args!("{peer}: {error}")),
            Event::TurnedAway { peer, reason } => {
                self.report(format_args!("{peer}: turned away: {reason}"));
            }
            _ => {}
        }
    }

    fn report(&self, text: fmt::Arguments<'_>) {
        let omitted = {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            match lines.take(now()) {
                Some(omitted) => omitted,
                None => return,
            }
        };
        let more: &dyn Display = match omitted {
            0 => &"",
            _ => {
                &format_args!(" ({omitted} more clients were turned away since the last such line)")
            }
        };
        self.errors.report(format_args!("{text}{more}"));
    }
}

impl Lines {
    /// Takes a token and returns the number of clients omitted since the last line; `None` if the
    /// bucket is empty.
    fn take(&mut self, now: Instant) -> Option<u64> {
        while self.left < BURST && now >= self.added + INTERVAL {
            (self.left, self.added) = (self.left + 1, self.added + INTERVAL);
        }
        if self.left == BURST {
            self.added = now;
        }
        if self.left == 0 {
            self.omitted += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.omitted))
    }
}

fn now() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "the clock of an edge")]
    Instant::now()
}
