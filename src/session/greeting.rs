//! The greeting, and the wait for those who cannot wait for it.

use std::time::{Duration, Instant};

use super::state::{Phase, State};
use super::{EarlyInput, EndCause, Session, replies};
use crate::conduct::Misconduct;
use crate::deadline::{Awaiting, Deadline};
use crate::wire::reply::{Reply, ReplyCode};

/// The longest delay of the greeting: a client waits five minutes for it (RFC 5321 section
/// 4.5.3.2.1), and the panel and the relay target may have taken some of them.
const LONGEST: Duration = Duration::from_secs(60);

impl Session {
    /// Greets the client, or says that it is too soon for that.
    pub(super) fn greet(&mut self, now: Instant) -> bool {
        // XCLIENT may be pipelined.
        let early = !self.input.is_empty() && self.xclient.is_none();
        if early {
            self.note(Misconduct::EarlyTalker);
            if self.settings.early_input == EarlyInput::Refuse {
                self.hang_up(replies::OUT_OF_TURN, EndCause::Closed);
                return true;
            }
        } else if let Some(at) = self.greeting_due().filter(|at| now < *at) {
            self.deadline = Some(Deadline { at, awaiting: Awaiting::EarlyInput });
            return false;
        }
        self.deadline = None;
        if self.going_down {
            self.hang_up(replies::GOING_DOWN, EndCause::Closed);
            return true;
        }
        self.state = State::Command(Phase::Connected);
        let mut text = format!("{} {}", self.settings.host, self.settings.greeting);
        // By this word the other half of the gate finds out that it has connected to itself.
        if let Some(gate) = self.id.gate() {
            text.extend([" ", gate]);
        }
        self.reply(&Reply::plain(ReplyCode::GREETING, &text));
        true
    }

    /// When the greeting is due, if it is not at once. The time that the panel took counts.
    fn greeting_due(&self) -> Option<Instant> {
        let delay = self.settings.greeting_delay.min(LONGEST);
        let at_once = delay.is_zero()
            || self.going_down
            || self.input_ended
            || self.trusted.is_some()
            || self.peer.own;
        (!at_once).then(|| self.began.0 + delay)
    }
}
