//! What each command does to the state (RFC 5321 section 4.1.1).

use std::sync::Arc;
use std::time::Instant;

use bytes::Buf;

use super::state::{Asking, Fate, Forwarding, Phase, Receiving, State, Transaction};
use super::{EarlyInput, EndCause, Session, replies};
use crate::conduct::Misconduct;
use crate::envelope::Envelope;
use crate::peer::{Helo, Voucher};
use crate::wire::command::{Body, Command, CommandFault, announces_chunk, spaced};
use crate::wire::line::LineFault;
use crate::wire::mailbox::{ForwardPath, ReversePath};
use crate::wire::reply::{Reply, ReplyCode};

impl Session {
    /// Reads and executes one command, if one is there.
    pub(super) fn next_command(&mut self, now: Instant) -> bool {
        if matches!(self.state, State::Command(Phase::Connected))
            && self.lines.at_line_start()
            && self.input.first() == Some(&0x16)
        {
            // A TLS handshake record holds no line end that could be waited for.
            self.note(Misconduct::AnotherProtocol);
            self.hang_up(replies::ANOTHER_PROTOCOL, EndCause::Closed);
            return true;
        }
        let (length, line) = self.lines.next(&self.input);
        let line = line.map(|line| line.map(spaced));
        let told = line.as_ref().and_then(|line| self.read_told(line.as_deref().ok()?));
        let command = match line {
            Some(Err(fault))
                if announces_chunk(&self.input[..length], fault == LineFault::TooLong) =>
            {
                Some(Ok(Err(CommandFault::ChunkSize)))
            }
            line => line.map(|line| line.map(|line| Command::parse(&line))),
        };
        self.input.advance(length);
        let Some(command) = command else {
            return length > 0;
        };
        self.deadline = None;
        let State::Command(phase) = std::mem::replace(&mut self.state, State::Closing) else {
            return false;
        };
        if let Some(told) = told {
            self.be_told(told, phase);
            return true;
        }
        let no_command = !matches!(command, Ok(Ok(_) | Err(CommandFault::ChunkSize)));
        if let (Phase::DataRefused(_), true) = (&phase, no_command) {
            self.note(Misconduct::EarlyData);
            self.state = State::Command(phase);
            self.hang_up(replies::OUT_OF_TURN, EndCause::Closed);
            return true;
        }
        match command {
            Ok(Ok(command)) => {
                self.note_haste_behind(&command);
                self.execute(command, phase, now);
            }
            Ok(Err(fault)) => {
                self.state = State::Command(phase);
                match fault {
                    CommandFault::Foreign => {
                        self.note(Misconduct::AnotherProtocol);
                        self.hang_up(replies::ANOTHER_PROTOCOL, EndCause::Closed);
                    }
                    CommandFault::ChunkSize => {
                        self.note(Misconduct::CommandSyntax);
                        self.hang_up(replies::command_fault(fault), EndCause::Closed);
                    }
                    _ => self.fault(replies::command_fault(fault)),
                }
            }
            Err(fault @ (LineFault::BareLf | LineFault::Endless)) => {
                self.state = State::Command(phase);
                self.note(Misconduct::MalformedCommand);
                self.hang_up(replies::line_fault(fault), EndCause::Closed);
            }
            Err(fault) => {
                self.state = State::Command(phase);
                self.fault(replies::line_fault(fault));
            }
        }
        true
    }

    fn execute(&mut self, command: Command, phase: Phase, now: Instant) {
        match command {
            Command::Ehlo(name) => self.hello(true, name, phase),
            Command::Helo(name) => self.hello(false, name, phase),
            Command::Mail(reverse_path) => self.mail(reverse_path, phase, now),
            Command::Rcpt(forward_path) => self.rcpt(forward_path, phase),
            Command::Data => self.data(phase),
            Command::Bdat { size, last } => self.bdat(size, last, phase),
            Command::StartTls => self.start_tls(phase),
            Command::Rset => {
                let hello = matches!(phase, Phase::Connected);
                self.state = State::Command(phase);
                self.end_transaction(EndCause::Reset);
                self.state = State::Command(if hello { Phase::Connected } else { Phase::Ready });
                self.junk(&replies::OK);
            }
            Command::Quit => {
                self.state = State::Command(phase);
                self.hang_up(replies::BYE, EndCause::Reset);
            }
            Command::Noop => self.junk_in(phase, &replies::OK),
            Command::Vrfy => self.junk_in(phase, &replies::CANNOT_VERIFY),
            Command::Help => self.junk_in(phase, &replies::HELP),
            Command::Expn => self.junk_in(phase, &replies::NOT_IMPLEMENTED),
        }
    }

    /// A command that moves nothing.
    fn junk_in(&mut self, phase: Phase, reply: &Reply) {
        self.state = State::Command(phase);
        self.junk(reply);
    }

    /// EHLO and HELO (RFC 5321 section 4.1.1.1): a transaction that runs is over.
    fn hello(&mut self, extended: bool, name: Box<str>, phase: Phase) {
        let again = !matches!(phase, Phase::Connected);
        self.state = State::Command(phase);
        self.end_transaction(EndCause::Reset);
        self.state = State::Command(Phase::Ready);
        let mut peer = (*self.peer).clone();
        peer.helo = Some(Helo { extended, name });
        peer.vouched.helo = Voucher::Socket;
        self.peer = peer.into();
        let reply = self.hello_reply(extended);
        if again { self.junk(&reply) } else { self.reply(&reply) }
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

    /// MAIL (section 4.1.1.2).
    fn mail(&mut self, reverse_path: ReversePath, phase: Phase, now: Instant) {
        let refusal = match &phase {
            Phase::Ready => self.mail_refusal(&reverse_path),
            Phase::Connected => Some(replies::HELLO_FIRST),
            _ => Some(replies::IN_TRANSACTION),
        };
        self.state = State::Command(phase);
        match refusal {
            Some(refusal) => self.fault(refusal),
            None if self.going_down => self.hang_up(replies::GOING_DOWN, EndCause::Closed),
            None if self.transactions_limit().is_some_and(|limit| self.transactions >= limit) => {
                self.hang_up(replies::TOO_MANY_TRANSACTIONS, EndCause::Closed);
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
                };
                self.state = State::Command(Phase::Mail(Box::new(transaction)));
                self.reply(&replies::SENDER_OK);
            }
        }
    }

    /// Why these parameters cannot be: what was not offered is refused, never dropped.
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

    /// RCPT (section 4.1.1.3): the panel is asked, then the relay target, then the client is
    /// answered.
    fn rcpt(&mut self, forward_path: ForwardPath, phase: Phase) {
        let refusal = match phase {
            Phase::Mail(mut transaction) | Phase::DataRefused(mut transaction) => {
                let prdr = transaction.envelope.reverse_path.parameters.prdr;
                let refusal = if forward_path.parameters.dsn && !self.offered.dsn {
                    Err(replies::PARAMETER_NOT_OFFERED)
                } else if transaction.attempts() >= self.recipients_limit(prdr) {
                    Ok(replies::TOO_MANY_RECIPIENTS)
                } else if self.has_come_back(&transaction.envelope) {
                    let reply = replies::OWN_LOOP;
                    return self.refuse_recipient(transaction, forward_path, reply, false);
                } else if !transaction.afford_recipient(self, &forward_path) {
                    Ok(replies::NO_MEMORY)
                } else {
                    self.state = State::Asking(Asking::Recipient(transaction, forward_path));
                    return;
                };
                let surplus = transaction.surplus;
                transaction.surplus += usize::from(refusal.is_ok());
                self.state = State::Command(Phase::Mail(transaction));
                match refusal {
                    // No fault: the client sends the rest in another transaction.
                    Ok(refusal) if surplus < self.settings.limits.recipients_overshoot => {
                        return self.reply(&refusal);
                    }
                    Ok(refusal) | Err(refusal) => refusal,
                }
            }
            Phase::Connected | Phase::Ready => {
                self.state = State::Command(phase);
                replies::MAIL_FIRST
            }
            Phase::Chunks(..) | Phase::Spoiled(_) => {
                self.state = State::Command(phase);
                replies::IN_CHUNKS
            }
        };
        self.fault(refusal);
    }

    /// DATA (section 4.1.1.4).
    fn data(&mut self, phase: Phase) {
        let (phase, refusal) = match phase {
            Phase::Mail(transaction) | Phase::DataRefused(transaction) => {
                if !transaction.envelope.forward_paths.is_empty() {
                    if transaction.in_doubt {
                        self.state = State::Forwarding(Forwarding::Renewal(transaction));
                        return;
                    }
                    self.await_data(transaction);
                    return;
                }
                (Phase::DataRefused(transaction), replies::NO_RECIPIENT)
            }
            Phase::Connected | Phase::Ready => (phase, replies::MAIL_FIRST),
            Phase::Chunks(..) | Phase::Spoiled(_) => (phase, replies::IN_CHUNKS),
        };
        self.state = State::Command(phase);
        if !self.input.is_empty() {
            self.note(Misconduct::EarlyData);
            if self.settings.early_input == EarlyInput::Refuse {
                return self.hang_up(replies::OUT_OF_TURN, EndCause::Closed);
            }
        }
        self.fault(refusal);
    }

    /// BDAT (RFC 3030 section 2): the chunk follows in any case.
    fn bdat(&mut self, size: u64, last: bool, phase: Phase) {
        let fate = match phase {
            Phase::Mail(transaction) | Phase::DataRefused(transaction) => {
                if transaction.envelope.forward_paths.is_empty() {
                    Fate::Refuse(Phase::Mail(transaction), replies::NO_RECIPIENT)
                } else if !self.offered.chunking {
                    Fate::Refuse(Phase::Mail(transaction), replies::NOT_IMPLEMENTED)
                } else {
                    let decoder = self.decoder(&transaction);
                    Fate::Keep(transaction, decoder)
                }
            }
            Phase::Chunks(transaction, decoder) => Fate::Keep(transaction, decoder),
            Phase::Connected | Phase::Ready => Fate::Refuse(phase, replies::MAIL_FIRST),
            Phase::Spoiled(_) => Fate::Refuse(phase, replies::CHUNK_LOST),
        };
        self.state = State::Content(Receiving::Chunk { size, remaining: size, last, fate });
    }

    /// STARTTLS (RFC 3207): what follows it in the clear is a violation, not a command.
    fn start_tls(&mut self, phase: Phase) {
        let refusal = match &phase {
            Phase::Connected | Phase::Ready if !self.offered.start_tls => replies::NOT_IMPLEMENTED,
            Phase::Connected | Phase::Ready if self.peer.tls.is_some() => replies::TLS_ALREADY,
            // What was said in the clear must be forgotten, and then the client would be the server
            // that speaks for it.
            Phase::Connected | Phase::Ready
                if self.xclient.is_some() || self.xforward.is_some() =>
            {
                replies::TLS_FIRST
            }
            Phase::Connected | Phase::Ready if self.tls_held => {
                self.state = State::Command(phase);
                return self.hang_up(replies::TLS_BUSY, EndCause::Closed);
            }
            Phase::Connected | Phase::Ready if self.input.is_empty() => {
                self.state = State::StartTls;
                return self.reply(&replies::READY_FOR_TLS);
            }
            Phase::Connected | Phase::Ready => {
                self.state = State::Command(phase);
                self.note(Misconduct::Pipelining);
                return self.hang_up(replies::OUT_OF_TURN, EndCause::Closed);
            }
            _ => replies::IN_TRANSACTION,
        };
        self.state = State::Command(phase);
        self.fault(refusal);
    }
}
