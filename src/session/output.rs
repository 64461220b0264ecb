//! What goes out of a session: replies in their groups, and the deadlines of what is waited for.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::replies::Answer;
use super::state::{Phase, State};
use super::{EndCause, Next, Session, replies};
use crate::deadline::{Awaiting, Deadline};
use crate::wire::reply::Reply;

/// How many octets of replies are held at the most.
pub(super) const HOLD_OCTETS: usize = 8_192;
/// How long replies are held for the group they belong to (RFC 2920), while scorers or the relay
/// target take their time.
pub(super) const HOLD: Duration = Duration::from_secs(1);

impl Session {
    pub(super) fn reply(&mut self, reply: &Reply) {
        reply.write(&mut self.output);
    }

    /// Tells the client this, and ends the session if it is time for that.
    pub(super) fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Reply(reply) => self.reply(&reply),
            Answer::Fault(refusal) => self.fault(&refusal),
            Answer::Junk(reply) => self.junk(&reply),
            Answer::HangUp(reply, cause) => self.hang_up(reply, cause),
        }
    }

    /// A reply to a command that was wrong; too many of them end the session.
    fn fault(&mut self, reply: &Reply) {
        self.note_fault(reply);
        self.errors += 1;
        if self.errors >= self.errors_limit() {
            self.hang_up(replies::TOO_MANY_ERRORS, EndCause::Closed);
        } else {
            self.reply(reply);
        }
    }

    /// A reply to a command that moves nothing; too many of them end the session.
    fn junk(&mut self, reply: &Reply) {
        self.junk_commands += 1;
        if self.junk_commands > self.junk_limit() {
            self.hang_up(replies::TOO_MUCH_JUNK, EndCause::Closed);
        } else {
            self.reply(reply);
        }
    }

    /// A message was taken: the session is of use.
    pub(super) fn note_use(&mut self) {
        self.junk_commands = 0;
        self.patience = None;
    }

    /// Sets the deadline for the next command. Between chunks it is that for more mail data.
    pub(super) fn arm_command(&mut self, now: Instant) {
        if matches!(self.machine.state(), State::Command(Phase::Chunks(..))) {
            return self.await_mail_data(now);
        }
        if self.deadline.is_some_and(|deadline| deadline.awaiting == Awaiting::Command) {
            return;
        }
        let timeouts = &self.settings.timeouts;
        let after = |wait| Deadline::after(now, wait, Awaiting::Command);
        let commands = match self.stressed {
            true => timeouts.commands.min(self.settings.stress.commands),
            false => timeouts.commands,
        };
        let patience = *self.patience.get_or_insert_with(|| after(commands).at);
        let next = after(self.wait(timeouts.command));
        self.deadline = Some(Deadline { at: next.at.min(patience), ..next });
    }

    /// The time that the panel and the relay target took is none that the client let us wait.
    pub(super) fn be_patient(&mut self, asked: Instant, now: Instant) {
        if let Some(patience) = &mut self.patience {
            let took = now.saturating_duration_since(asked);
            *patience = patience.checked_add(took).unwrap_or(*patience);
        }
    }

    pub(super) fn hand_out(&mut self, now: Instant) -> Bytes {
        self.held = None;
        self.urgent = false;
        let wait = self.wait(self.settings.timeouts.transmission);
        self.deadline = Some(Deadline::after(now, wait, Awaiting::Transmission));
        self.output.split().freeze()
    }

    /// Holds replies back for their group, but not for long. What is waited for then is waited for
    /// until `wait` after `since`.
    pub(super) fn hold_or(
        &mut self,
        next: Next,
        awaiting: Awaiting,
        wait: Duration,
        since: Instant,
        now: Instant,
    ) -> Next {
        // A wait that has begun goes on: handing out replies now would begin its deadline anew.
        let begun = self.deadline.is_some_and(|deadline| deadline.awaiting == awaiting);
        if !begun && !self.output.is_empty() {
            let since = *self.held.get_or_insert(now);
            let long = now.saturating_duration_since(since) >= HOLD;
            if long || self.output.len() > HOLD_OCTETS {
                return Next::Transmit;
            }
        }
        self.arm(awaiting, wait, since);
        next
    }

    /// Sets the deadline of what is waited for, once.
    pub(super) fn arm(&mut self, awaiting: Awaiting, wait: Duration, since: Instant) {
        if self.deadline.is_none_or(|deadline| deadline.awaiting != awaiting) {
            self.deadline = Some(Deadline::after(since, wait, awaiting));
        }
    }
}
