//! Output of a session: pipelined replies in groups, and the session's deadlines.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::replies::Answer;
use super::state::{Phase, State};
use super::{EndCause, Next, Session, replies};
use crate::deadline::{Awaiting, Deadline};
use crate::wire::reply::Reply;

/// The maximum number of octets of replies that are held back.
pub(super) const HOLD_OCTETS: usize = 8_192;
/// The maximum time for which replies are held back for their group (RFC 2920) while scorers or the
/// relay target work.
pub(super) const HOLD: Duration = Duration::from_secs(1);

impl Session {
    pub(super) fn reply(&mut self, reply: &Reply) {
        reply.write(&mut self.output);
    }

    /// Sends the answer to the client, and ends the session if necessary.
    pub(super) fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Reply(reply) => self.reply(&reply),
            Answer::Fault(refusal) => self.fault(&refusal),
            Answer::Junk(reply) => self.junk(&reply),
            Answer::HangUp(reply, cause) => self.hang_up(reply, cause),
        }
    }

    /// Refuses a faulty command. Too many of them end the session.
    fn fault(&mut self, reply: &Reply) {
        self.note_fault(reply);
        self.errors += 1;
        if self.errors >= self.errors_limit() {
            self.hang_up(replies::TOO_MANY_ERRORS, EndCause::Closed);
        } else {
            self.reply(reply);
        }
    }

    /// Replies to a junk command. Too many of them end the session.
    fn junk(&mut self, reply: &Reply) {
        self.junk_commands += 1;
        if self.junk_commands > self.junk_limit() {
            self.hang_up(replies::TOO_MUCH_JUNK, EndCause::Closed);
        } else {
            self.reply(reply);
        }
    }

    /// Resets the limits on useless commands and total time after a message was accepted.
    pub(super) fn note_use(&mut self) {
        self.junk_commands = 0;
        self.patience = None;
    }

    /// Sets the deadline for the next command. Between chunks, it is the deadline for more mail
    /// data.
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

    /// Extends the client's total time by the time that the panel and the relay target took.
    pub(super) fn be_patient(&mut self, asked: Instant, now: Instant) {
        if let Some(patience) = &mut self.patience {
            let took = now.saturating_duration_since(asked);
            *patience = patience.checked_add(took).unwrap_or(*patience);
        }
    }

    pub(crate) fn hand_out(&mut self, now: Instant) -> Bytes {
        self.held = None;
        self.urgent = false;
        let wait = self.wait(self.settings.timeouts.transmission);
        self.deadline = Some(Deadline::after(now, wait, Awaiting::Transmission));
        self.output.split().freeze()
    }

    /// Returns `next`, and holds replies back for their group. If they were held back for too long,
    /// or if there are too many, transmits them first. The deadline for `awaiting` is `wait` after
    /// `since`.
    pub(super) fn hold_or(
        &mut self,
        next: Next,
        awaiting: Awaiting,
        wait: Duration,
        since: Instant,
        now: Instant,
    ) -> Next {
        // If the wait has begun, do not transmit now: that would restart the deadline.
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

    /// Sets the deadline for `awaiting`, unless it is already set.
    pub(super) fn arm(&mut self, awaiting: Awaiting, wait: Duration, since: Instant) {
        if self.deadline.is_none_or(|deadline| deadline.awaiting != awaiting) {
            self.deadline = Some(Deadline::after(since, wait, awaiting));
        }
    }
}
