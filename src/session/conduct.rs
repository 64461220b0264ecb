//! Violations that a session detects.

use super::Session;
use super::state::State;
use crate::conduct::{Conduct, Misconduct};
use crate::wire::command::Command;
use crate::wire::reply::Reply;

impl Session {
    /// Returns the client's violations so far.
    pub fn conduct(&self) -> &Conduct {
        &self.conduct
    }

    pub(super) fn note(&mut self, what: Misconduct) {
        self.conduct.note(what);
    }

    /// Returns the violations by the client of the transaction. If a trusted server forwards for
    /// that client, the server's violations do not count.
    pub(super) fn conduct_of_client(&self) -> Conduct {
        if self.xforward.is_some() { Conduct::default() } else { self.conduct }
    }

    /// Copies the violations so far into the envelope, for the scorers.
    pub(super) fn enclose_conduct(&mut self) {
        let conduct = self.conduct_of_client();
        if let Some(transaction) = self.machine.transaction() {
            transaction.envelope.conduct = conduct;
        }
    }

    /// Records the violation that this reply stands for.
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

    /// Records pipelined input after a command that must be the last of its group (RFC 2920 section
    /// 3.1), or without an offer of PIPELINING. DATA and STARTTLS check this themselves. BDAT is
    /// always followed by its chunk.
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

    /// Records pipelined input before the reply to a recipient or a content.
    pub(super) fn note_haste_before_answer(&mut self) {
        // A client that has sent no EHLO or HELO has received nothing but the greeting. Its
        // violation is recorded as [`Misconduct::EarlyTalker`].
        let answered = self.peer.helo.is_some();
        if answered && !self.input.is_empty() && !self.may_pipeline() {
            self.note(Misconduct::Pipelining);
        }
    }

    /// Records bare line ends when the mail data is complete.
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
