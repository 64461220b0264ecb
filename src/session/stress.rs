//! Sessions while the gate is under stress: shorter timeouts and stricter limits.

use std::time::{Duration, Instant};

use super::{EndCause, Session, replies};
use crate::deadline::{Awaiting, Deadline};

impl Session {
    /// Turns stress on or off. While it is on, [`Settings::stress`](crate::Settings::stress)
    /// applies. A wait for the client that has already begun is shortened, but never extended.
    pub fn set_stress(&mut self, on: bool, now: Instant) {
        let exempt = self.trusted.is_some() || self.settings.own_networks.include(&self.peer);
        self.stressed = on && !exempt;
        let after = |wait| Deadline::after(now, wait, Awaiting::Command).at;
        let limit = after(self.settings.stress.wait);
        if self.stressed
            && let Some(patience) = &mut self.patience
        {
            *patience = after(self.settings.stress.commands).min(*patience);
        }
        if self.stressed
            && let Some(Deadline { at, awaiting }) = &mut self.deadline
            && let Awaiting::Command | Awaiting::MailData | Awaiting::Tls | Awaiting::Transmission =
                awaiting
        {
            *at = limit.min(*at);
            if let Some(pace) = &mut self.pace {
                pace.shorten(limit);
            }
        }
    }

    /// Returns whether [`Settings::stress`](crate::Settings::stress) applies.
    pub fn is_stressed(&self) -> bool {
        self.stressed
    }

    /// Returns the time since which the session waits for a command outside of a transaction.
    /// `None` if it does not. Receiving part of a command line does not change this time.
    pub fn idle_since(&self) -> Option<Instant> {
        let wait = self.wait(self.settings.timeouts.command);
        let deadline = self.deadline.filter(|deadline| deadline.awaiting == Awaiting::Command)?;
        self.is_between_transactions().then(|| deadline.at.checked_sub(wait))?
    }

    /// Closes an [idle](Self::idle_since) session with `421 4.3.2` to make room for another client.
    /// Has no effect on any other session.
    pub fn evict(&mut self) {
        if self.idle_since().is_some() {
            self.hang_up(replies::EVICTED, EndCause::Closed);
        }
    }

    /// Returns the timeout for the client: `wait`, or less under stress.
    pub(super) fn wait(&self, wait: Duration) -> Duration {
        if self.stressed { wait.min(self.settings.stress.wait) } else { wait }
    }

    pub(super) fn errors_limit(&self) -> u32 {
        let limit = self.settings.limits.errors;
        if self.stressed { limit.min(self.settings.stress.errors) } else { limit }
    }

    pub(super) fn junk_limit(&self) -> u32 {
        let limit = self.settings.limits.junk_commands;
        if self.stressed { limit.min(self.settings.stress.junk_commands) } else { limit }
    }
}
