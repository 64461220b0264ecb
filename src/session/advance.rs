//! The session's next step, and its timeouts.

use std::time::Instant;

use bytes::BytesMut;

use super::renewal::RENEWAL;
use super::state::{Asking, Forwarding, Phase, State};
use super::{EarlyInput, EndCause, Next, Session, replies};
use crate::conduct::Misconduct;
use crate::deadline::Awaiting;
use crate::outcome::{Outcome, RelayError};
use crate::verdict::Verdict;

/// The maximum size of the input buffer that is kept while the client is idle.
pub(super) const IDLE_BUFFER: usize = 512;

impl Session {
    /// Advances the session until the caller must act.
    pub(super) fn advance(&mut self, now: Instant) -> Next {
        if self.deadline.is_some_and(|deadline| deadline.awaiting == Awaiting::Transmission) {
            self.deadline = None;
        }
        loop {
            if let Some((mut end, began)) = self.ended.take() {
                end.duration = now.saturating_duration_since(began);
                self.settings.budget.tidy(now);
                return Next::Ended(end);
            }
            if self.urgent && !self.output.is_empty() {
                return Next::Transmit;
            }
            let timeouts = &self.settings.timeouts;
            match self.machine.state() {
                State::Asking(_) => {
                    let wait = timeouts.verdict;
                    self.enclose_conduct();
                    self.asked.get_or_insert(now);
                    return self.hold_or(Next::Ask, Awaiting::Verdict, wait, now, now);
                }
                State::Forwarding(Forwarding::Recipient(..)) => {
                    let (wait, since) = (timeouts.recipient, self.asked.unwrap_or(now));
                    let awaiting = Awaiting::RecipientOutcome;
                    return self.hold_or(Next::Forward, awaiting, wait, since, now);
                }
                State::Forwarding(Forwarding::Renewal(_)) => {
                    let since = *self.asked.get_or_insert(now);
                    let awaiting = Awaiting::RecipientOutcome;
                    return self.hold_or(Next::Forward, awaiting, RENEWAL, since, now);
                }
                State::Forwarding(Forwarding::Content(..) | Forwarding::Answer(..)) => {
                    let (wait, since) = (timeouts.outcome, self.asked.unwrap_or(now));
                    let awaiting = Awaiting::ContentOutcome;
                    return self.hold_or(Next::Forward, awaiting, wait, since, now);
                }
                State::Greeting => {
                    if !self.greet(now) {
                        return Next::Receive;
                    }
                }
                State::Command(_) => {
                    if let Some(asked) = self.asked.take() {
                        self.be_patient(asked, now);
                        self.note_haste_before_answer();
                    }
                    if self.next_command(now) {
                        continue;
                    }
                    if !self.output.is_empty() {
                        return Next::Transmit;
                    }
                    if self.input_ended {
                        self.lose_client();
                        continue;
                    }
                    if self.going_down && self.is_between_transactions() {
                        self.hang_up(replies::GOING_DOWN, EndCause::Closed);
                        continue;
                    }
                    if self.input.is_empty() && self.input.try_reclaim(IDLE_BUFFER + 1) {
                        self.input = BytesMut::new();
                    }
                    self.arm_command(now);
                    return Next::Receive;
                }
                State::GoAhead(..) => {
                    if let Some(asked) = self.asked.take() {
                        self.be_patient(asked, now);
                    }
                    if !self.input.is_empty() {
                        self.note(Misconduct::EarlyData);
                        if self.settings.early_input == EarlyInput::Refuse {
                            self.hang_up(replies::OUT_OF_TURN, EndCause::Closed);
                            continue;
                        }
                    }
                    self.go_ahead();
                    return Next::Transmit;
                }
                State::Content(_) | State::Skipping { .. } => {
                    if let Some(receiving) = self.machine.receiving() {
                        receiving.tell_time(now);
                    }
                    self.decode_buffered();
                    if self.complete_content(now) {
                        continue;
                    }
                    if !self.output.is_empty() {
                        return Next::Transmit;
                    }
                    if self.input_ended {
                        self.lose_client();
                        continue;
                    }
                    self.await_mail_data(now);
                    return Next::Receive;
                }
                State::StartTls => {
                    if !self.output.is_empty() {
                        return Next::Transmit;
                    }
                    let wait = self.wait(self.settings.timeouts.tls);
                    self.arm(Awaiting::Tls, wait, now);
                    return Next::StartTls;
                }
                State::Closing => {
                    if !self.output.is_empty() {
                        return Next::Transmit;
                    }
                    self.close(EndCause::Closed);
                }
                State::Closed => return Next::Close,
            }
        }
    }

    /// Handles a timeout of this kind now, whatever the deadline.
    #[cfg(feature = "recording")]
    pub(crate) fn time_out(&mut self, awaiting: Awaiting) {
        self.settle();
        self.expire(awaiting);
    }

    /// Handles the timeout of `awaiting`.
    pub(super) fn expire(&mut self, awaiting: Awaiting) {
        match awaiting {
            // The client has correctly sent nothing before the greeting.
            Awaiting::EarlyInput => self.deadline = None,
            Awaiting::DataRate => self.hang_up(replies::TOO_SLOW, EndCause::TimedOut),
            Awaiting::Verdict
                if matches!(self.machine.state(), State::Asking(Asking::Connection)) =>
            {
                self.hang_up(replies::NOT_CHECKED, EndCause::TimedOut);
            }
            Awaiting::Verdict => self.judge(Verdict::late()),
            Awaiting::RecipientOutcome | Awaiting::ContentOutcome => {
                self.conclude(Outcome::Failed(RelayError::Late(awaiting)));
            }
            Awaiting::Transmission | Awaiting::Tls => self.close(EndCause::TimedOut),
            _ => self.hang_up(replies::TIMED_OUT, EndCause::TimedOut),
        }
    }

    pub(super) fn is_between_transactions(&self) -> bool {
        matches!(self.machine.state(), State::Command(Phase::Connected | Phase::Ready))
    }
}
