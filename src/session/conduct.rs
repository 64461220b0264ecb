//! What a session notes of its client's conduct.

use super::Session;
use super::state::State;
use crate::conduct::{Conduct, Misconduct};
use crate::wire::command::Command;
use crate::wire::reply::Reply;

impl Session {
    /// What the client did against the rules so far.
    pub fn conduct(&self) -> &Conduct {
        &self.conduct
    }

    pub(super) fn note(&mut self, what: Misconduct) {
        self.conduct.note(what);
    }

    /// The conduct that belongs to the client of the transaction: what a server did that forwards
    /// for others is not that client's.
    pub(super) fn conduct_of_client(&self) -> Conduct {
        if self.xforward.is_some() { Conduct::default() } else { self.conduct }
    }

    /// Scorers see with the envelope what is known by now.
    pub(super) fn enclose_conduct(&mut self) {
        let conduct = self.conduct_of_client();
        if let Some(transaction) = self.machine.transaction() {
            transaction.envelope.conduct = conduct;
        }
    }

    /// The client has earned this answer.
    pub(super) fn note_fault(&mut self, reply: &Reply) {
        let detail = reply.status().map(|status| status.detail());
        self.note(match (reply.code().value(), detail) {
            (500, Some(2)) => Misconduct::MalformedCommand,
            (500, _) => Misconduct::UnknownCommand,
            (501 | 555, _) => Misconduct::CommandSyntax,
            (503, _) => Misconduct::CommandSequence,
            _ => return,
        });
    }

    /// This command is about to be executed: nothing may have come behind it if it ends a group
    /// (RFC 2920 section 3.1) or if there are no groups. DATA and STARTTLS see to that themselves;
    /// behind BDAT comes the chunk.
    pub(super) fn note_haste_behind(&mut self, command: &Command) {
        let waits = match command {
            Command::Ehlo(_) | Command::Helo(_) => true,
            Command::Noop | Command::Vrfy | Command::Expn | Command::Help => true,
            Command::Mail(_) | Command::Rset => !self.may_pipeline(),
            _ => false,
        };
        if waits && !self.input.is_empty() {
            self.note(Misconduct::Pipelining);
        }
    }

    /// A recipient or a content is about to be answered.
    pub(super) fn note_haste_before_answer(&mut self) {
        // Whoever has not said HELO was not answered but greeted: that is an early talker.
        let answered = self.peer.helo.is_some();
        if answered && !self.input.is_empty() && !self.may_pipeline() {
            self.note(Misconduct::Pipelining);
        }
    }

    /// The mail data is complete; whether its lines end as they should is known.
    pub(super) fn note_line_ends(&mut self) {
        let State::Content(receiving) = self.machine.state() else { return };
        if receiving.ends_lines_badly() {
            self.note(Misconduct::BareLineEnd);
        }
    }

    fn may_pipeline(&self) -> bool {
        let extended = self.peer.helo.as_ref().is_some_and(|helo| helo.extended);
        self.trusted.is_some() || self.offered.pipelining && extended
    }
}
