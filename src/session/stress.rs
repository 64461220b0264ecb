//! A session while the gate is under stress: it waits less long and forgives less.

use std::time::{Duration, Instant};

use super::{EndCause, Session, replies};
use crate::deadline::{Awaiting, Deadline};

impl Session {
    /// The gate is under stress, or is no longer: [`Settings::stress`](crate::Settings::stress) holds
    /// while it is. A wait for the client that has begun is shortened; none is prolonged.
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

    /// Whether [`Settings::stress`](crate::Settings::stress) holds.
    pub fn is_stressed(&self) -> bool {
        self.stressed
    }

    /// Since when the session waits for a command, if it does so outside of a transaction. Octets that
    /// trickle in change nothing.
    pub fn idle_since(&self) -> Option<Instant> {
        let wait = self.wait(self.settings.timeouts.command);
        let deadline = self.deadline.filter(|deadline| deadline.awaiting == Awaiting::Command)?;
        self.is_between_transactions().then(|| deadline.at.checked_sub(wait))?
    }

    /// Closes a session that [is idle](Self::idle_since) with `421 4.3.2`, so that another client has its
    /// place. Any other session goes on.
    pub fn evict(&mut self) {
        if self.idle_since().is_some() {
            self.hang_up(replies::EVICTED, EndCause::Closed);
        }
    }

    /// How long the client is waited for, of `wait`.
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
