//! The effect of each command on the state (RFC 5321 section 4.1.1).

use std::sync::Arc;
use std::time::Instant;

use bytes::Buf;

use super::receiving::Receiving;
use super::replies::Answer;
use super::state::{AfterCommand, Phase, State};
use super::transaction::Transaction;
use super::{EarlyInput, EndCause, Session, replies};
use crate::conduct::Misconduct;
use crate::envelope::Envelope;
use crate::peer::{Helo, Voucher};
use crate::wire::command::{Body, Command, CommandFault, announces_chunk, spaced};
use crate::wire::line::LineError;
use crate::wire::mailbox::{ForwardPath, ReversePath};
use crate::wire::reply::{Reply, ReplyCode};

impl Session {
    /// Reads and executes one command, if the input contains one. Returns whether any input was
    /// used.
    pub(super) fn next_command(&mut self, now: Instant) -> bool {
        if matches!(self.machine.state(), State::Command(Phase::Connected))
            && self.lines.at_line_start()
            && self.input.first() == Some(&0x16)
        {
            // A TLS handshake record contains no line end, so waiting for one would not help.
            self.note(Misconduct::AnotherProtocol);
            self.hang_up(replies::ANOTHER_PROTOCOL, EndCause::Closed);
            return true;
        }
        let (length, line) = self.lines.next(&self.input);
        let line = line.map(|line| line.map(spaced));
        let told = line.as_ref().and_then(|line| self.read_told(line.as_deref().ok()?));
        let command = match line {
            None => {
                self.input.advance(length);
                return length > 0;
            }
            Some(Ok(line)) => Ok(Command::parse(&line)),
            Some(Err(fault))
                if announces_chunk(&self.input[..length], fault == LineError::TooLong) =>
            {
                Ok(Err(CommandFault::ChunkSize))
            }
            Some(Err(fault)) => Err(fault),
        };
        self.input.advance(length);
        self.deadline = None;
        self.command(|session, phase| match told {
            Some(told) => session.be_told(told, phase),
            None => session.execute_line(command, phase, now),
        });
        true
    }

    fn execute_line(&mut self, line: Line, phase: Phase, now: Instant) -> AfterCommand {
        let is_command = matches!(line, Ok(Ok(_) | Err(CommandFault::ChunkSize)));
        if matches!(phase, Phase::DataRefused(_)) && !is_command {
            self.note(Misconduct::EarlyData);
            return hang_up(phase, replies::OUT_OF_TURN);
        }
        match line {
            Ok(Ok(command)) => {
                self.note_haste_behind(&command);
                self.execute(command, phase, now)
            }
            Ok(Err(CommandFault::Foreign)) => {
                self.note(Misconduct::AnotherProtocol);
                hang_up(phase, replies::ANOTHER_PROTOCOL)
            }
            Ok(Err(CommandFault::ChunkSize)) => {
                self.note(Misconduct::CommandSyntax);
                hang_up(phase, replies::command_fault(CommandFault::ChunkSize))
            }
            Ok(Err(fault)) => fault_in(phase, replies::command_fault(fault)),
            Err(fault @ (LineError::BareLf | LineError::Endless)) => {
                self.note(Misconduct::MalformedCommand);
                hang_up(phase, replies::line_fault(fault))
            }
            Err(fault) => fault_in(phase, replies::line_fault(fault)),
        }
    }

    fn execute(&mut self, command: Command, phase: Phase, now: Instant) -> AfterCommand {
        match command {
            Command::Ehlo(name) => self.hello(true, name, phase),
            Command::Helo(name) => self.hello(false, name, phase),
            Command::Mail(reverse_path) => self.mail(reverse_path, phase, now),
            Command::Rcpt(forward_path) => self.rcpt(forward_path, phase),
            Command::Data => self.data(phase),
            Command::Bdat { size, last } => self.bdat(size, last, phase),
            Command::StartTls => self.start_tls(phase),
            Command::Rset => {
                let next = match phase {
                    Phase::Connected => Phase::Connected,
                    _ => Phase::Ready,
                };
                AfterCommand::Reset(phase.into_transaction(), next, Answer::Junk(replies::OK))
            }
            Command::Quit => {
                AfterCommand::Command(phase, Answer::HangUp(replies::BYE, EndCause::Reset))
            }
            Command::Noop => junk_in(phase, replies::OK),
            Command::Vrfy => junk_in(phase, replies::CANNOT_VERIFY),
            Command::Help => junk_in(phase, replies::HELP),
            Command::Expn => junk_in(phase, replies::NOT_IMPLEMENTED),
        }
    }

    /// Executes EHLO or HELO (RFC 5321 section 4.1.1.1). A running transaction ends.
    fn hello(&mut self, extended: bool, name: Box<str>, phase: Phase) -> AfterCommand {
        let again = !matches!(phase, Phase::Connected);
        let mut peer = (*self.peer).clone();
        peer.helo = Some(Helo { extended, name });
        peer.vouched.helo = Voucher::Socket;
        self.peer = peer.into();
        let reply = self.hello_reply(extended);
        let answer = if again { Answer::Junk(reply) } else { Answer::Reply(reply) };
        AfterCommand::Reset(phase.into_transaction(), Phase::Ready, answer)
    }

    fn hello_reply(&self, extended: bool) -> Reply {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(256);
        text.push_str(&self.settings.host);
        let offered = &self.offered;
        let limit = self.size_limit();
        if extended {
            let keywords = [
                (offered.pipelining, "PIPELINING"),
                (offered.eight_bit_mime, "8BITMIME"),
                (offered.smtp_utf8, "SMTPUTF8"),
                (offered.chunking, "CHUNKING"),
                (offered.dsn, "DSN"),
                (offered.enhanced_status_codes, "ENHANCEDSTATUSCODES"),
                (offered.prdr, "PRDR"),
                (
                    offered.start_tls && self.peer.tls.is_none() && self.xclient.is_none(),
                    "STARTTLS",
                ),
            ];
            for (_, keyword) in keywords.iter().filter(|(offered, _)| *offered) {
                text.push('\n');
                text.push_str(keyword);
            }
            if offered.size.is_some() {
                let _ = write!(text, "\nSIZE {limit}");
            }
            let for_each = offered.prdr && offered.recipients_max.is_some();
            let recipients = (!for_each).then(|| self.recipients_limit(false).to_string());
            let transactions = self.transactions_limit().map(|limit| limit.to_string());
            let limits = [("RCPTMAX", recipients), ("MAILMAX", transactions)];
            if limits.iter().any(|(_, limit)| limit.is_some()) {
                text.push_str("\nLIMITS");
            }
            for (name, limit) in limits {
                let _ = limit.map(|limit| write!(text, " {name}={limit}"));
            }
            self.ask_to_be_told(&mut text);
        }
        Reply::plain(ReplyCode::OK, &text)
    }

    /// Executes MAIL (section 4.1.1.2).
    fn mail(&mut self, reverse_path: ReversePath, phase: Phase, now: Instant) -> AfterCommand {
        let refusal = match &phase {
            Phase::Ready => self.mail_refusal(&reverse_path),
            Phase::Connected => Some(replies::HELLO_FIRST),
            _ => Some(replies::IN_TRANSACTION),
        };
        match refusal {
            Some(refusal) => fault_in(phase, refusal),
            None if self.going_down => hang_up(phase, replies::GOING_DOWN),
            None if self.transactions_limit().is_some_and(|limit| self.transactions >= limit) => {
                hang_up(phase, replies::TOO_MANY_TRANSACTIONS)
            }
            None => {
                self.transactions += 1;
                let id = self.id.transaction(self.transactions);
                let peer = self.forwarded().map_or_else(|| self.peer.clone(), Arc::new);
                let mut envelope = Envelope::new(id, peer, reverse_path);
                envelope.xforward = self.xforward.as_deref().cloned().map(Arc::new);
                let refused = Vec::new();
                let transaction = Transaction {
                    envelope,
                    refused,
                    surplus: 0,
                    size: 0,
                    kept: 0,
                    charge: None,
                    began: now,
                    in_doubt: false,
                    outcome: None,
                };
                let phase = Phase::Mail(Box::new(transaction));
                AfterCommand::Command(phase, Answer::Reply(replies::SENDER_OK))
            }
        }
    }

    /// Returns the refusal of the MAIL parameters, if there is one. Parameters that were not
    /// offered are refused, never dropped.
    fn mail_refusal(&self, reverse_path: &ReversePath) -> Option<Reply> {
        let parameters = &reverse_path.parameters;
        let offered = &self.offered;
        let missing = (parameters.size.is_some() && offered.size.is_none())
            || (parameters.body == Some(Body::EightBitMime) && !offered.eight_bit_mime)
            || (parameters.smtp_utf8 && !offered.smtp_utf8)
            || (parameters.dsn && !offered.dsn)
            || (parameters.prdr && !offered.prdr);
        let too_big = parameters.size.is_some_and(|size| size > self.size_limit());
        missing.then_some(replies::PARAMETER_NOT_OFFERED).or(too_big.then_some(replies::TOO_BIG))
    }

    /// Executes RCPT (section 4.1.1.3). The panel is asked first, then the relay target. Then the
    /// client gets the reply.
    fn rcpt(&mut self, forward_path: ForwardPath, phase: Phase) -> AfterCommand {
        let mut transaction = match phase {
            Phase::Mail(transaction) | Phase::DataRefused(transaction) => transaction,
            Phase::Connected | Phase::Ready => return fault_in(phase, replies::MAIL_FIRST),
            Phase::Chunks(..) | Phase::Spoiled(_) => return fault_in(phase, replies::IN_CHUNKS),
        };
        let prdr = transaction.envelope.reverse_path.parameters.prdr;
        let refusal = if forward_path.parameters.dsn && !self.offered.dsn {
            return fault_in(Phase::Mail(transaction), replies::PARAMETER_NOT_OFFERED);
        } else if transaction.attempts() >= self.recipients_limit(prdr) {
            replies::TOO_MANY_RECIPIENTS
        } else if self.has_come_back(&transaction.envelope) {
            let refused = (replies::OWN_LOOP, EndCause::RefusedBySession);
            let (transaction, answer) =
                self.refuse_recipient(transaction, forward_path, refused, false);
            return AfterCommand::Command(Phase::Mail(transaction), answer);
        } else if !transaction.afford_recipient(self, &forward_path) {
            replies::NO_MEMORY
        } else {
            return AfterCommand::AskRecipient(transaction, forward_path);
        };
        transaction.surplus += 1;
        // The first surplus recipients do not count as errors: the client sends to them in another
        // transaction.
        let is_fault = transaction.surplus > self.settings.limits.recipients_overshoot;
        let answer = if is_fault { Answer::Fault(refusal) } else { Answer::Reply(refusal) };
        AfterCommand::Command(Phase::Mail(transaction), answer)
    }

    /// Executes DATA (section 4.1.1.4).
    fn data(&mut self, phase: Phase) -> AfterCommand {
        let (phase, refusal) = match phase {
            Phase::Mail(transaction) | Phase::DataRefused(transaction) => {
                if !transaction.envelope.forward_paths.is_empty() {
                    if transaction.in_doubt {
                        return AfterCommand::Renew(transaction);
                    }
                    return AfterCommand::GoAhead(transaction);
                }
                (Phase::DataRefused(transaction), replies::NO_RECIPIENT)
            }
            Phase::Connected | Phase::Ready => (phase, replies::MAIL_FIRST),
            Phase::Chunks(..) | Phase::Spoiled(_) => (phase, replies::IN_CHUNKS),
        };
        if !self.input.is_empty() {
            self.note(Misconduct::EarlyData);
            if self.settings.early_input == EarlyInput::Refuse {
                return hang_up(phase, replies::OUT_OF_TURN);
            }
        }
        fault_in(phase, refusal)
    }

    /// Executes BDAT (RFC 3030 section 2). The client sends the chunk even if BDAT is refused.
    fn bdat(&mut self, size: u64, last: bool, phase: Phase) -> AfterCommand {
        let (phase, refusal) = match phase {
            Phase::Mail(transaction) | Phase::DataRefused(transaction) => {
                if transaction.envelope.forward_paths.is_empty() {
                    (Phase::Mail(transaction), replies::NO_RECIPIENT)
                } else if !self.offered.chunking {
                    (Phase::Mail(transaction), replies::NOT_IMPLEMENTED)
                } else {
                    let decoder = self.decoder(&transaction);
                    let chunk = Receiving::chunk(transaction, decoder, size, last);
                    return AfterCommand::Content(chunk);
                }
            }
            Phase::Chunks(transaction, decoder) => {
                let chunk = Receiving::chunk(transaction, decoder, size, last);
                return AfterCommand::Content(chunk);
            }
            Phase::Connected | Phase::Ready => (phase, replies::MAIL_FIRST),
            Phase::Spoiled(_) => (phase, replies::CHUNK_LOST),
        };
        AfterCommand::Skip { size, phase, refusal }
    }

    /// Executes STARTTLS (RFC 3207). Input that follows it before TLS is a violation, not a
    /// command.
    fn start_tls(&mut self, phase: Phase) -> AfterCommand {
        if !matches!(phase, Phase::Connected | Phase::Ready) {
            fault_in(phase, replies::IN_TRANSACTION)
        } else if !self.offered.start_tls {
            fault_in(phase, replies::NOT_IMPLEMENTED)
        } else if self.peer.tls.is_some() {
            fault_in(phase, replies::TLS_ALREADY)
        } else if self.xclient.is_some() || self.xforward.is_some() {
            // TLS discards everything received before it, including XCLIENT and XFORWARD. The
            // session would then take the forwarding server for the client.
            fault_in(phase, replies::TLS_FIRST)
        } else if self.tls_held {
            hang_up(phase, replies::TLS_BUSY)
        } else if self.input.is_empty() {
            AfterCommand::StartTls
        } else {
            self.note(Misconduct::Pipelining);
            hang_up(phase, replies::OUT_OF_TURN)
        }
    }
}

/// The result of reading a line.
type Line = Result<Result<Command, CommandFault>, LineError>;

/// Answers a junk command.
fn junk_in(phase: Phase, reply: Reply) -> AfterCommand {
    AfterCommand::Command(phase, Answer::Junk(reply))
}

/// Answers a faulty command.
fn fault_in(phase: Phase, refusal: Reply) -> AfterCommand {
    AfterCommand::Command(phase, Answer::Fault(refusal))
}

fn hang_up(phase: Phase, reply: Reply) -> AfterCommand {
    AfterCommand::Command(phase, Answer::HangUp(reply, EndCause::Closed))
}
