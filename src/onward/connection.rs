//! Sending commands on a connection, its deadlines, and its end.

use std::time::Instant;

use bytes::Bytes;

use super::introduction::Privacy;
use super::owed::{Awaited, Owed};
use super::request::Asked;
use super::state::Event;
use super::{Onward, OnwardStep};
use crate::deadline::{Awaiting, Deadline};
use crate::outcome::{Outcome, RelayError};
use crate::wire::reply::ReplyError;

impl Onward {
    /// Sends a command. Fails if the server has already sent input that could be taken for the
    /// reply.
    pub(super) fn send(&mut self, awaited: Awaited, command: Bytes) {
        if !self.reader.is_empty() {
            return self.fail(RelayError::Garbled(ReplyError::OutOfTurn));
        }
        self.output.push(command);
        self.machine.apply(Event::Sent(Owed::one(awaited)));
    }

    /// Handles an unsolicited reply on an idle connection. A server that closes an idle connection
    /// sends 421; any other reply is a protocol violation. In both cases, the connection can no
    /// longer be used. Returns `false` while the reply is incomplete and could still be a 421 that
    /// concerns the client.
    pub(super) fn speaks_out_of_turn(&mut self) -> bool {
        let is_heard = self.part() || self.asked.is_some();
        if is_heard {
            self.fail(RelayError::Garbled(ReplyError::OutOfTurn));
        }
        is_heard
    }

    /// Fails the current request on this connection. The outcome is 451, unless the connection was
    /// probably dead before the request. In that case, the request is retried on another
    /// connection.
    pub(super) fn fail(&mut self, error: RelayError) {
        let again = std::mem::take(&mut self.stale);
        if !again && self.outcome.is_none() {
            match self.asked.take() {
                Some(Asked::Introduction) | None => {}
                Some(_) => self.outcome = Some(Outcome::Failed(error)),
            }
        }
        self.break_off();
    }

    /// Gives up the connection.
    pub(super) fn break_off(&mut self) {
        self.open = None;
        self.commands.clear();
        self.output.clear();
        self.deadline = None;
        self.machine.apply(Event::BrokenOff);
    }

    pub(super) fn forget_connection(&mut self) {
        self.reader.clear();
        self.offered = None;
        if self.privacy != Privacy::InVain {
            self.privacy = Privacy::Untried;
        }
        self.told = None;
        self.is_amavisd = false;
        self.introduced_as = None;
        self.refusals = 0;
        self.transactions = 0;
        self.first_transaction = None;
        self.open = None;
        self.dirty = false;
        self.deaf = false;
        self.commands.clear();
        self.output.clear();
        self.deadline = None;
    }

    pub(super) fn rest(&mut self) -> OnwardStep {
        self.deadline = None;
        OnwardStep::Idle
    }

    /// Sets the deadline for `awaiting`, unless it is already set.
    pub(super) fn arm(&mut self, awaiting: Awaiting, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline.awaiting == awaiting) {
            return;
        }
        let timeouts = &self.settings.timeouts;
        let wait = match awaiting {
            Awaiting::Connection => timeouts.connect,
            Awaiting::Greeting => timeouts.greeting,
            Awaiting::Tls => timeouts.tls,
            Awaiting::DataInitiation => timeouts.data_initiation,
            Awaiting::Transmission => timeouts.data_block,
            Awaiting::DataTermination => timeouts.data_termination,
            Awaiting::Quit => timeouts.quit,
            _ => timeouts.command,
        };
        self.deadline = Some(Deadline::after(now, wait, awaiting));
    }
}
