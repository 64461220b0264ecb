//! The greeting, and its delay to detect clients that do not wait for it.

use std::time::{Duration, Instant};

use super::replies::Answer;
use super::{EarlyInput, EndCause, Session, replies};
use crate::conduct::Misconduct;
use crate::deadline::{Awaiting, Deadline};
use crate::wire::reply::{Reply, ReplyCode};

/// The maximum delay of the greeting. A client waits five minutes for it (RFC 5321 section
/// 4.5.3.2.1), and the panel and the relay target may have used part of this time.
const LONGEST: Duration = Duration::from_secs(60);

impl Session {
    /// Returns the greeting, or `None` if it is not due yet.
    pub(super) fn greeting(&mut self, now: Instant) -> Option<Answer> {
        // XCLIENT may be pipelined.
        let early = !self.input.is_empty() && self.xclient.is_none();
        if early {
            self.note(Misconduct::EarlyTalker);
            if self.settings.early_input == EarlyInput::Refuse {
                return Some(Answer::HangUp(replies::OUT_OF_TURN, EndCause::Closed));
            }
        } else if let Some(at) = self.greeting_due().filter(|at| now < *at) {
            self.deadline = Some(Deadline { at, awaiting: Awaiting::EarlyInput });
            return None;
        }
        self.deadline = None;
        if self.going_down {
            return Some(Answer::HangUp(replies::GOING_DOWN, EndCause::Closed));
        }
        let mut text = format!("{} {}", self.settings.host, self.settings.greeting);
        // The mark of the gate. It lets the onward side detect that the gate has connected to
        // itself.
        if let Some(gate) = self.id.gate() {
            text.extend([" ", gate]);
        }
        Some(Answer::Reply(Reply::plain(ReplyCode::GREETING, &text)))
    }

    /// Returns the time when the greeting is due, or `None` if it is due at once. The time that the
    /// panel took is included.
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
