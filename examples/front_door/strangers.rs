//! Reports clients that were turned away without a session, with a rate limit, so that a flood of
//! clients does not flood the log.

use std::fmt::{self, Display};
use std::time::Duration;

use nobounce::Event;
use nobounce::observer::LineLimit;

use crate::output::Output;
use crate::time::now;

/// Lines that may be written at once, and the interval after which one more is allowed.
const BURST: u32 = 20;
const INTERVAL: Duration = Duration::from_secs(5);

/// Reporter of clients that were turned away. It has a rate limit, and counts the clients over it.
pub(crate) struct Strangers {
    errors: Output,
    lines: LineLimit,
}

impl Strangers {
    pub(crate) fn new(errors: Output) -> Self {
        Self { errors, lines: LineLimit::new(BURST, INTERVAL) }
    }

    pub(crate) fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Unproxied { peer, error } => self.report(format_args!("{peer}: {error}")),
            Event::TurnedAway { peer, reason } => {
                self.report(format_args!("{peer}: turned away: {reason}"));
            }
            Event::HandshakeFailed { peer, error } => self.report(format_args!("{peer}: {error}")),
            _ => {}
        }
    }

    fn report(&self, text: fmt::Arguments<'_>) {
        let Some(omitted) = self.lines.admit(now()) else { return };
        let more: &dyn Display = match omitted {
            0 => &"",
            _ => {
                &format_args!(" ({omitted} more clients were turned away since the last such line)")
            }
        };
        self.errors.report(format_args!("{text}{more}"));
    }
}
