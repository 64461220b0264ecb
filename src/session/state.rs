//! The states of a session and all its transitions, and nothing else.
//!
//! ```text
//!              Asking(Connection)
//!                     │ pass                       a refusal, anywhere: reply, then back to Command
//!                 Greeting                         (421, 521 and faults past a limit: Closing, Closed)
//!                     │ 220
//!   StartTls ◄── Command(Connected) ──EHLO──► Command(Ready) ◄──────────────────────────────┐
//!                                                │ MAIL           RSET, EHLO, or the end of │
//!                                                ▼                 the content's reply      │
//!       ┌──────────────────────────────► Command(Mail) ──────────────────────────────────►  │
//!       │ 2xx or a refusal    RCPT │          │ DATA    │ BDAT                              │
//!  Forwarding(Recipient) ◄── Asking(Recipient)│         ▼                                   │
//!                      pass                   │   Content(Chunk) ◄──BDAT── Command(Chunks)  │
//!                                          GoAhead      │ LAST  └──── size octets ───►      │
//!                                             │ 354     │                                   │
//!                                             ▼         ▼                                   │
//!                                       Content(Data)─► Asking(Content) ─pass─► Forwarding(Content)
//! ```
//!
//! - `Forwarding(Renewal)` comes before `GoAhead` if the relay target has given up the recipients.
//! - With PRDR, `Forwarding(Answer)` follows `Forwarding(Content)` for each further recipient.
//! - A chunk that is refused is read to its end in `Skipping`.
//! - XCLIENT leads from `Command(Connected)` and `Command(Ready)` back to `Asking(Connection)`.
//!
//! Each state is named for the event that it waits for. A transaction is stored in the state's
//! variant, so it is in one state only.
//!
//! The field of [`Machine`] is private, so only this file writes it. The other files receive the
//! contents of the state. They return the reply to the client and one of the state's transitions.

use std::time::Instant;

use bytes::BytesMut;

use super::prdr::Answers;
use super::receiving::{Completed, Receiving};
use super::replies::Answer;
use super::transaction::Transaction;
use super::{EndCause, Session, replies};
use crate::message::Message;
use crate::outcome::{Outcome, Request};
use crate::verdict::Verdict;
use crate::wire::content::ContentDecoder;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::Reply;

/// The state machine of one session.
#[derive(Debug)]
pub(super) struct Machine {
    state: State,
}

#[derive(Debug)]
pub(super) enum State {
    /// The verdict of the panel.
    Asking(Asking),
    /// The outcome from the relay target.
    Forwarding(Forwarding),
    /// Nothing: the greeting is sent next.
    Greeting,
    /// The client's next command.
    Command(Phase),
    /// Nothing: 354 is sent next.
    GoAhead(Box<Transaction>, Box<ContentDecoder>),
    /// Mail data from the client.
    Content(Receiving),
    /// The rest of a refused chunk. The client sends it in any case.
    Skipping {
        remaining: u64,
        phase: Phase,
        refusal: Reply,
    },
    /// The TLS handshake, which the caller does.
    StartTls,
    /// The transmission of the last reply.
    Closing,
    Closed,
}

#[derive(Debug)]
pub(super) enum Asking {
    Connection,
    Recipient(Box<Transaction>, ForwardPath),
    Content(Box<Transaction>, Message),
}

#[derive(Debug)]
pub(super) enum Forwarding {
    Recipient(Box<Transaction>, ForwardPath),
    /// Repetition of the transaction after DATA, because the relay target has given it up.
    Renewal(Box<Transaction>),
    /// The content, with the message until the relay target takes it.
    Content(Box<Transaction>, Option<Message>),
    /// The answer to the content for this recipient, after the answers for others (PRDR).
    Answer(Box<Transaction>, ForwardPath, Answers),
}

/// The commands so far. They decide which commands are allowed next.
#[derive(Debug)]
pub(super) enum Phase {
    /// No EHLO or HELO yet.
    Connected,
    /// No transaction.
    Ready,
    /// MAIL, and possibly recipients.
    Mail(Box<Transaction>),
    /// BDAT, with more chunks to come.
    Chunks(Box<Transaction>, Box<ContentDecoder>),
    /// A chunk was refused. Only RSET is allowed (RFC 3030 section 2).
    Spoiled(Box<Transaction>),
    /// DATA was refused. If the next input is not a command, it is mail data from a client that did
    /// not wait for the reply. It must not be read as commands.
    DataRefused(Box<Transaction>),
}

// --- decisions of the other files ---

/// The transitions from `Command`.
#[derive(Debug)]
pub(super) enum AfterCommand {
    /// Waits for the next command.
    Command(Phase, Answer),
    /// RSET, EHLO and HELO: this transaction has ended.
    Reset(Option<Box<Transaction>>, Phase, Answer),
    /// XCLIENT: the session starts again.
    AskConnection,
    /// RCPT.
    AskRecipient(Box<Transaction>, ForwardPath),
    /// DATA, with recipients that the relay target has given up.
    Renew(Box<Transaction>),
    /// DATA.
    GoAhead(Box<Transaction>),
    /// BDAT.
    Content(Receiving),
    /// BDAT, refused.
    Skip {
        size: u64,
        phase: Phase,
        refusal: Reply,
    },
    StartTls,
}

/// The transitions from `Content`, when the mail data or the chunk is complete.
#[derive(Debug)]
pub(super) enum AfterContent {
    /// Waits for the next command, after a chunk that is not the last or that is refused.
    Command(Phase, Answer),
    AskContent(Box<Transaction>, Message),
    Finish(Finish),
}

/// The end of a transaction: the reply to its content.
#[derive(Debug)]
pub(super) struct Finish {
    pub(super) transaction: Box<Transaction>,
    pub(super) cause: EndCause,
    pub(super) reply: Reply,
    /// Whether the session ends with this reply.
    pub(super) closes: bool,
}

// --- transitions ---

impl Session {
    /// Handles the panel's verdict: `Asking` → `Forwarding`, or a refusal.
    pub(super) fn judge(&mut self, verdict: Verdict) {
        self.deadline = None;
        let asking = match self.machine.take() {
            State::Asking(asking) => asking,
            other => return self.machine.state = other,
        };
        match asking {
            Asking::Connection => {
                self.machine.state = State::Greeting;
                if let Err(refusal) = self.judge_connection(&verdict) {
                    self.hang_up(refusal, EndCause::RefusedByPanel);
                }
            }
            Asking::Recipient(transaction, path) => {
                match self.judge_recipient(transaction, path, &verdict) {
                    Ok((transaction, path)) => {
                        self.forward(Forwarding::Recipient(transaction, path));
                    }
                    Err((transaction, answer)) => {
                        self.await_command(Phase::Mail(transaction), answer);
                    }
                }
            }
            Asking::Content(transaction, message) => {
                match self.judge_content(transaction, message, verdict) {
                    Ok((transaction, message)) => {
                        self.forward(Forwarding::Content(transaction, Some(message)));
                    }
                    Err(finish) => self.finish(finish),
                }
            }
        }
    }

    /// Handles the relay target's outcome: `Forwarding` → `Command` or `GoAhead`.
    pub(super) fn conclude(&mut self, outcome: Outcome) {
        self.deadline = None;
        let forwarding = match self.machine.take() {
            State::Forwarding(forwarding) => forwarding,
            other => return self.machine.state = other,
        };
        match forwarding {
            Forwarding::Recipient(transaction, path) => {
                let (transaction, answer) = self.conclude_recipient(transaction, path, outcome);
                self.await_command(Phase::Mail(transaction), answer);
            }
            Forwarding::Renewal(transaction) => match self.conclude_renewal(transaction, outcome) {
                Ok(transaction) => self.machine.state = self.permit_data(transaction),
                Err((transaction, answer)) => {
                    self.await_command(Phase::DataRefused(transaction), answer);
                }
            },
            Forwarding::Content(transaction, _) if transaction.is_answered_for_each() => {
                self.conclude_answer(transaction, Answers::default(), outcome);
            }
            Forwarding::Content(transaction, _) => {
                let finish = self.conclude_content(transaction, outcome);
                self.finish(finish);
            }
            Forwarding::Answer(transaction, _, answers) => {
                self.conclude_answer(transaction, answers, outcome);
            }
        }
    }

    /// Changes to `Forwarding(Answer)` for the next recipient, or ends the transaction (PRDR).
    fn conclude_answer(
        &mut self,
        transaction: Box<Transaction>,
        answers: Answers,
        outcome: Outcome,
    ) {
        match self.answered(transaction, answers, outcome) {
            Ok((transaction, recipient, answers)) => {
                self.forward(Forwarding::Answer(transaction, recipient, answers));
            }
            Err(finish) => self.finish(finish),
        }
    }

    fn forward(&mut self, forwarding: Forwarding) {
        self.machine.state = State::Forwarding(forwarding);
    }

    /// Sends the greeting if it is due: `Greeting` → `Command(Connected)`. Returns whether it was.
    pub(super) fn greet(&mut self, now: Instant) -> bool {
        let is_due = matches!(self.machine.state, State::Greeting);
        let Some(answer) = self.greeting(now).filter(|_| is_due) else { return false };
        self.await_command(Phase::Connected, answer);
        true
    }

    /// Executes a command: changes from `Command` to the state that the command leads to.
    pub(super) fn command(&mut self, execute: impl FnOnce(&mut Self, Phase) -> AfterCommand) {
        let phase = match self.machine.take() {
            State::Command(phase) => phase,
            other => return self.machine.state = other,
        };
        self.machine.state = match execute(self, phase) {
            AfterCommand::Command(phase, answer) => return self.await_command(phase, answer),
            AfterCommand::Reset(transaction, phase, answer) => {
                if let Some(transaction) = transaction {
                    self.record(*transaction, EndCause::Reset, None);
                }
                self.xforward = None;
                return self.await_command(phase, answer);
            }
            AfterCommand::AskConnection => State::Asking(Asking::Connection),
            AfterCommand::AskRecipient(transaction, path) => {
                State::Asking(Asking::Recipient(transaction, path))
            }
            AfterCommand::Renew(transaction) => State::Forwarding(Forwarding::Renewal(transaction)),
            AfterCommand::GoAhead(transaction) => self.permit_data(transaction),
            AfterCommand::Content(receiving) => State::Content(receiving),
            AfterCommand::Skip { size, phase, refusal } => {
                State::Skipping { remaining: size, phase, refusal }
            }
            AfterCommand::StartTls => {
                self.reply(&replies::READY_FOR_TLS);
                State::StartTls
            }
        };
    }

    fn permit_data(&self, transaction: Box<Transaction>) -> State {
        let decoder = self.decoder(&transaction);
        State::GoAhead(transaction, decoder)
    }

    /// Sends 354: `GoAhead` → `Content`.
    pub(super) fn go_ahead(&mut self) {
        match self.machine.take() {
            State::GoAhead(transaction, decoder) => {
                self.machine.state = State::Content(Receiving::data(transaction, decoder));
                self.reply(&replies::GO_AHEAD);
            }
            other => self.machine.state = other,
        }
    }

    /// Leaves `Content` or `Skipping` if the mail data or the chunk is complete. Returns whether it
    /// is.
    pub(super) fn complete_content(&mut self, now: Instant) -> bool {
        // The state is checked before it is moved out, because moving it out and back costs more.
        match &self.machine.state {
            State::Content(receiving) if receiving.is_complete() => {}
            State::Skipping { remaining: 0, .. } => {}
            _ => return false,
        }
        self.note_line_ends();
        let next = match self.machine.take() {
            State::Content(receiving) => match receiving.complete() {
                Completed::All(transaction, decoder) => {
                    self.take_content(transaction, decoder, now)
                }
                Completed::Chunk(transaction, decoder, size) => {
                    Self::take_chunk(transaction, decoder, size)
                }
            },
            State::Skipping { phase, refusal, .. } => self.skipped(phase, refusal),
            other => {
                self.machine.state = other;
                return false;
            }
        };
        match next {
            AfterContent::Command(phase, answer) => self.await_command(phase, answer),
            AfterContent::AskContent(transaction, message) => {
                self.machine.state = State::Asking(Asking::Content(transaction, message));
            }
            AfterContent::Finish(finish) => self.finish(finish),
        }
        self.deadline = None;
        true
    }

    /// Restarts after TLS: `StartTls` → `Command(Connected)`. Returns `false` in any other state.
    pub(super) fn upgrade(&mut self) -> bool {
        let is_due = matches!(self.machine.state, State::StartTls);
        if is_due {
            self.machine.state = State::Command(Phase::Connected);
        }
        is_due
    }

    /// Changes to `Command`, with the reply to the last command or content.
    fn await_command(&mut self, phase: Phase, answer: Answer) {
        self.machine.state = State::Command(phase);
        self.answer(answer);
    }

    /// Ends the transaction with a reply to its content. Changes to `Command(Ready)` or `Closing`.
    fn finish(&mut self, finish: Finish) {
        let Finish { transaction, cause, reply, closes } = finish;
        self.machine.state = if closes { State::Closing } else { State::Command(Phase::Ready) };
        self.reply(&reply);
        closes.then(|| self.note_end(cause, Some(&reply)));
        self.urgent = true;
        self.record(*transaction, cause, Some(reply));
    }

    /// Sends the last reply: any state except `Closed` → `Closing`. A running transaction ends.
    pub(super) fn hang_up(&mut self, reply: Reply, cause: EndCause) {
        if matches!(self.machine.state, State::Closed) {
            return;
        }
        self.end_transaction(cause, Some(&reply));
        self.machine.state = State::Closing;
        self.deadline = None;
        self.input.clear();
        self.reply(&reply);
    }

    /// Changes to `Closed`, from any state. A running transaction ends.
    pub(super) fn close(&mut self, cause: EndCause) {
        self.end_transaction(cause, None);
        (self.deadline, self.pace) = (None, None);
        (self.input, self.output) = (BytesMut::new(), BytesMut::new());
    }

    /// Changes to `Closed`. A running transaction ends without a reply to its content.
    fn end_transaction(&mut self, cause: EndCause, reply: Option<&Reply>) {
        self.note_end(cause, reply);
        let state = self.machine.take();
        let cause = if state.is_taken() { EndCause::Accepted } else { cause };
        if let Some(transaction) = state.into_transaction() {
            self.record(*transaction, cause, None);
        }
        self.xforward = None;
    }
}

// --- contents of a state ---

impl Machine {
    pub(super) fn new() -> Self {
        Self { state: State::Asking(Asking::Connection) }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Takes the state, so that the next one can be stored. Until then the state is `Closed`, so
    /// the old state's transaction cannot get 2xx.
    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Closed)
    }

    /// Decodes octets of mail data. Returns the number of octets that belong to it.
    pub(super) fn decode(&mut self, octets: &[u8]) -> usize {
        match &mut self.state {
            State::Content(receiving) => receiving.decode(octets),
            State::Skipping { remaining, .. } => {
                let left = usize::try_from(*remaining).unwrap_or(usize::MAX);
                let skipped = octets.len().min(left);
                *remaining -= skipped as u64;
                skipped
            }
            _ => 0,
        }
    }

    /// Returns the mail data that is being received.
    pub(super) fn receiving(&mut self) -> Option<&mut Receiving> {
        match &mut self.state {
            State::Content(receiving) => Some(receiving),
            _ => None,
        }
    }

    /// Returns the transaction that the panel is asked about, or that waits for the next command.
    pub(super) fn transaction(&mut self) -> Option<&mut Transaction> {
        match &mut self.state {
            State::Asking(Asking::Recipient(transaction, _) | Asking::Content(transaction, _))
            | State::Command(Phase::Mail(transaction)) => Some(transaction),
            _ => None,
        }
    }

    /// Returns the request to the relay target, and the slot for its outcome.
    pub(super) fn take_request(&mut self) -> Option<(Request<'_>, &mut Option<Outcome>)> {
        let State::Forwarding(forwarding) = &mut self.state else { return None };
        Some(forwarding.take())
    }

    /// Takes the relay target's outcome, if there is one.
    pub(super) fn take_outcome(&mut self) -> Option<Outcome> {
        let State::Forwarding(forwarding) = &mut self.state else { return None };
        forwarding.take_outcome()
    }
}

impl State {
    /// Returns whether the relay target has accepted the content for at least one recipient.
    fn is_taken(&self) -> bool {
        matches!(self, Self::Forwarding(Forwarding::Answer(.., answers)) if answers.is_taken())
    }

    fn into_transaction(self) -> Option<Box<Transaction>> {
        match self {
            Self::Asking(Asking::Recipient(transaction, _) | Asking::Content(transaction, _))
            | Self::Forwarding(
                Forwarding::Recipient(transaction, _)
                | Forwarding::Renewal(transaction)
                | Forwarding::Content(transaction, _),
            )
            | Self::GoAhead(transaction, _) => Some(transaction),
            Self::Forwarding(Forwarding::Answer(transaction, _, answers)) => {
                Some(transaction.settle(answers))
            }
            Self::Content(receiving) => Some(receiving.into_transaction()),
            Self::Command(phase) | Self::Skipping { phase, .. } => phase.into_transaction(),
            Self::Asking(Asking::Connection)
            | Self::Greeting
            | Self::StartTls
            | Self::Closing
            | Self::Closed => None,
        }
    }
}

impl Phase {
    pub(super) fn into_transaction(self) -> Option<Box<Transaction>> {
        match self {
            Self::Mail(transaction)
            | Self::Chunks(transaction, _)
            | Self::Spoiled(transaction)
            | Self::DataRefused(transaction) => Some(transaction),
            Self::Connected | Self::Ready => None,
        }
    }
}
