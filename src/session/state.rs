//! The states of a session and all its transitions, and nothing else.
//!
//! ```text
//!              Asking(Connection)
//!                     │ pass                       no, anywhere: reply, then back to Command
//!                 Greeting                         (421, 521 and faults past a limit: Closing)
//!                     │ 220
//!   StartTls ◄── Command(Connected) ──EHLO──► Command(Ready) ◄──────────────────────────────┐
//!                                                │ MAIL           RSET, EHLO, or the end of │
//!                                                ▼                 the content's reply      │
//!       ┌──────────────────────────────► Command(Mail) ──────────────────────────────────►  │
//!       │ 2xx or no           RCPT │          │ DATA    │ BDAT                              │
//!  Forwarding(Recipient) ◄── Asking(Recipient)│         ▼                                   │
//!                      pass                   │   Content(Chunk) ◄──BDAT── Command(Chunks)  │
//!                                             ▼         │ LAST  └──── size octets ───►      │
//!                                       Content(Data)   ▼                                   │
//!                                             └─► Asking(Content) ─pass─► Forwarding(Content)
//! ```
//!
//! With PRDR Forwarding(Answer) follows Forwarding(Content), for each further recipient.
//!
//! XCLIENT, from Command(Connected) or Command(Ready), leads back to Asking(Connection).
//!
//! States are named for whom we wait for. A transaction lives in the variant that has one.

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::prdr::Answers;
use super::renewal::RENEWAL;
pub(super) use super::transaction::Transaction;
use super::{EarlyInput, EndCause, Next, Session, TransactionEnd, replies};
use crate::conduct::Misconduct;
use crate::deadline::Awaiting;
use crate::message::Message;
use crate::outcome::{Granted, Outcome, RelayError};
use crate::peer::Tls;
use crate::verdict::Verdict;
use crate::wire::content::ContentDecoder;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::{Reply, ReplyClass};

/// An input buffer larger than this is not kept while the client is idle.
pub(super) const IDLE_BUFFER: usize = 512;

#[derive(Debug)]
pub(super) enum State {
    /// For the panel.
    Asking(Asking),
    /// For the relay target.
    Forwarding(Forwarding),
    /// For nobody: the greeting is due.
    Greeting,
    /// For the client's next command.
    Command(Phase),
    /// For mail data from the client.
    Content(Receiving),
    /// For the caller to upgrade the connection.
    StartTls,
    /// For the client to take the last reply.
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
    /// DATA was said, and the relay target has given up what it held of the transaction.
    Renewal(Box<Transaction>),
    /// With the message, until it is handed over.
    Content(Box<Transaction>, Option<Message>),
    /// The content was forwarded; its answer for this recipient, behind those for others (PRDR).
    Answer(Box<Transaction>, ForwardPath, Answers),
}

/// What the client has said so far, which is what decides what it may say next.
#[derive(Debug)]
pub(super) enum Phase {
    /// It has not introduced itself.
    Connected,
    /// No transaction.
    Ready,
    /// MAIL, perhaps recipients.
    Mail(Box<Transaction>),
    /// BDAT, and more chunks to come.
    Chunks(Box<Transaction>, Box<ContentDecoder>),
    /// A chunk was refused; only RSET helps (RFC 3030 section 2).
    Spoiled(Box<Transaction>),
    /// DATA was refused. What comes now and is no command is mail data of a client that did not
    /// wait for the answer: it must not be read as commands.
    DataRefused(Box<Transaction>),
}

#[derive(Debug)]
pub(super) enum Receiving {
    /// Behind DATA.
    Data { transaction: Box<Transaction>, decoder: Box<ContentDecoder>, progress: DataProgress },
    /// Behind BDAT: `remaining` octets of `size` are to come.
    Chunk { size: u64, remaining: u64, last: bool, fate: Fate },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum DataProgress {
    /// 354 has not been handed out.
    Unannounced,
    /// Mail data is read.
    Running,
    /// The end of data was read; nothing behind it belongs to the mail data.
    Ended,
}

/// What becomes of a chunk.
#[derive(Debug)]
pub(super) enum Fate {
    Keep(Box<Transaction>, Box<ContentDecoder>),
    /// It is read to its end, since the client sends it in any case; then it is refused.
    Refuse(Phase, Reply),
}

impl State {
    fn into_transaction(self) -> Option<Box<Transaction>> {
        match self {
            Self::Asking(Asking::Recipient(transaction, _) | Asking::Content(transaction, _))
            | Self::Forwarding(
                Forwarding::Recipient(transaction, _)
                | Forwarding::Renewal(transaction)
                | Forwarding::Content(transaction, _),
            )
            | Self::Content(
                Receiving::Data { transaction, .. }
                | Receiving::Chunk { fate: Fate::Keep(transaction, _), .. },
            ) => Some(transaction),
            Self::Forwarding(Forwarding::Answer(transaction, _, answers)) => {
                Some(transaction.settle(answers))
            }
            Self::Command(phase)
            | Self::Content(Receiving::Chunk { fate: Fate::Refuse(phase, _), .. }) => {
                phase.into_transaction()
            }
            Self::Asking(Asking::Connection)
            | Self::Greeting
            | Self::StartTls
            | Self::Closing
            | Self::Closed => None,
        }
    }
}

impl Phase {
    fn into_transaction(self) -> Option<Box<Transaction>> {
        match self {
            Self::Mail(transaction)
            | Self::Chunks(transaction, _)
            | Self::Spoiled(transaction)
            | Self::DataRefused(transaction) => Some(transaction),
            Self::Connected | Self::Ready => None,
        }
    }
}

impl Session {
    /// Goes on until somebody is waited for.
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
            match &mut self.state {
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
                    self.await_command(now);
                    return Next::Receive;
                }
                State::Content(Receiving::Data { progress, .. })
                    if *progress == DataProgress::Unannounced =>
                {
                    *progress = DataProgress::Running;
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
                    self.reply(&replies::GO_AHEAD);
                    return Next::Transmit;
                }
                State::Content(_) => {
                    self.tell_time(now);
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
                    self.close();
                }
                State::Closed => return Next::Close,
            }
        }
    }

    // --- the panel and the relay target ---

    /// The panel has answered.
    pub(super) fn judge(&mut self, verdict: Verdict) {
        self.deadline = None;
        let State::Asking(asking) = std::mem::replace(&mut self.state, State::Closed) else {
            return;
        };
        match (asking, verdict) {
            (Asking::Connection, Verdict::Refuse(refusal)) => {
                let reference = self.id.transaction(0).to_string();
                let reply = refusal.reply().with_reference(&reference);
                self.hang_up(reply, EndCause::Closed);
            }
            (Asking::Connection, Verdict::Pass | Verdict::Tag(_)) => self.state = State::Greeting,
            (Asking::Recipient(transaction, path), Verdict::Refuse(refusal)) => {
                let reference = transaction.envelope.id.to_string();
                let reply = refusal.reply().with_reference(&reference);
                self.refuse_recipient(transaction, path, reply, refusal.closes());
            }
            (Asking::Recipient(transaction, path), Verdict::Pass | Verdict::Tag(_)) => {
                self.state = State::Forwarding(Forwarding::Recipient(transaction, path));
            }
            (Asking::Content(transaction, _), Verdict::Refuse(refusal)) => {
                let reference = transaction.envelope.id.to_string();
                let reply = refusal.reply().with_reference(&reference);
                let closes = refusal.closes();
                self.finish(*transaction, EndCause::RefusedByPanel, reply, closes);
            }
            (Asking::Content(transaction, message), Verdict::Pass) => {
                self.state = State::Forwarding(Forwarding::Content(transaction, Some(message)));
            }
            (Asking::Content(transaction, mut message), Verdict::Tag(fields)) => {
                message.tag(self.within_limit(fields));
                self.state = State::Forwarding(Forwarding::Content(transaction, Some(message)));
            }
        }
    }

    /// The relay target has answered.
    pub(super) fn conclude(&mut self, outcome: Outcome) {
        self.deadline = None;
        let State::Forwarding(forwarding) = std::mem::replace(&mut self.state, State::Closed)
        else {
            return;
        };
        match forwarding {
            Forwarding::Recipient(mut transaction, path) => {
                match outcome.covering(Granted::Recipient, &transaction.envelope.id) {
                    Outcome::Accepted(receipt) => {
                        let accepted = &mut transaction.envelope.forward_paths;
                        if accepted.is_empty() {
                            // One recipient is the rule; a list would make room for four.
                            accepted.reserve_exact(1);
                        }
                        accepted.push(path);
                        transaction.pay_for_reply(self, receipt.reply());
                        self.refused.in_a_row = 0;
                        self.state = State::Command(Phase::Mail(transaction));
                        self.reply(receipt.reply());
                    }
                    Outcome::Failed(error) => {
                        let reply = error.reply().clone();
                        self.refuse_recipient(transaction, path, reply, false);
                    }
                    Outcome::Refused(refusal) => {
                        let reply = refusal.reply().clone();
                        self.refuse_recipient(transaction, path, reply, refusal.closes());
                    }
                }
            }
            Forwarding::Renewal(transaction) => self.renewed(transaction, outcome),
            Forwarding::Content(transaction, _) if transaction.is_answered_for_each() => {
                self.answered(transaction, Answers::default(), outcome);
            }
            Forwarding::Answer(transaction, _, answers) => {
                self.answered(transaction, answers, outcome);
            }
            Forwarding::Content(transaction, _) => {
                match outcome.covering(Granted::Content, &transaction.envelope.id) {
                    Outcome::Accepted(receipt) => {
                        self.note_use();
                        let reply = receipt.reply().clone();
                        self.finish(*transaction, EndCause::Accepted, reply, false);
                    }
                    Outcome::Failed(error) => {
                        let reply = error.reply().clone();
                        self.finish(*transaction, EndCause::RelayFailed, reply, false);
                    }
                    Outcome::Refused(refusal) => {
                        let reply = refusal.reply().clone();
                        let closes = refusal.closes();
                        self.finish(*transaction, EndCause::RefusedByRelay, reply, closes);
                    }
                }
            }
        }
    }

    pub(super) fn refuse_recipient(
        &mut self,
        mut transaction: Box<Transaction>,
        path: ForwardPath,
        reply: Reply,
        closes: bool,
    ) {
        let is_permanent = reply.class() == ReplyClass::Permanent;
        if is_permanent {
            self.note(Misconduct::RecipientRefused);
        }
        transaction.pay_for_reply(self, &reply);
        transaction.refused.push((path, reply.clone()));
        self.state = State::Command(Phase::Mail(transaction));
        if closes {
            self.hang_up(reply, EndCause::Closed);
        } else if is_permanent && self.has_too_many_refused() {
            self.hang_up(replies::TOO_MANY_REFUSED, EndCause::Closed);
        } else {
            self.reply(&reply);
        }
    }

    // --- endings ---

    /// The transaction ends with a reply to its content.
    pub(super) fn finish(
        &mut self,
        transaction: Transaction,
        cause: EndCause,
        reply: Reply,
        closes: bool,
    ) {
        self.state = if closes { State::Closing } else { State::Command(Phase::Ready) };
        self.reply(&reply);
        self.urgent = true;
        self.record(transaction, cause, Some(reply));
    }

    /// A transaction that runs is over, without a reply to its content.
    pub(super) fn end_transaction(&mut self, cause: EndCause) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        let cause = if state.is_taken() { EndCause::Accepted } else { cause };
        if let Some(transaction) = state.into_transaction() {
            self.record(*transaction, cause, None);
        }
        self.xforward = None;
    }

    fn record(&mut self, transaction: Transaction, cause: EndCause, reply: Option<Reply>) {
        self.pace = None;
        let Transaction { mut envelope, refused, size, began, .. } = transaction;
        envelope.conduct = self.conduct_of_client();
        let duration = Duration::ZERO;
        self.xforward = None;
        let end = TransactionEnd { envelope, refused, size, cause, reply, duration };
        self.ended = Some((Box::new(end), began));
    }

    /// Says this, then closes.
    pub(super) fn hang_up(&mut self, reply: Reply, cause: EndCause) {
        self.end_transaction(cause);
        self.state = State::Closing;
        self.deadline = None;
        self.input.clear();
        self.reply(&reply);
    }

    pub(super) fn close(&mut self) {
        self.state = State::Closed;
        self.deadline = None;
        self.pace = None;
        self.input = BytesMut::new();
        self.output = BytesMut::new();
    }

    /// The connection is private now; what is known of the client is what TLS says of it.
    pub(super) fn upgrade(&mut self, tls: Tls) {
        let mut peer = (*self.peer).clone();
        peer.tls = Some(tls);
        peer.helo = None;
        self.peer = peer.into();
        self.input.clear();
        self.lines.restart();
        self.deadline = None;
        self.state = State::Command(Phase::Connected);
    }

    pub(super) fn expire(&mut self, awaiting: Awaiting) {
        match awaiting {
            // The client has held its tongue as long as it had to.
            Awaiting::EarlyInput => self.deadline = None,
            Awaiting::DataRate => self.hang_up(replies::TOO_SLOW, EndCause::TimedOut),
            Awaiting::Verdict if matches!(self.state, State::Asking(Asking::Connection)) => {
                self.hang_up(replies::NOT_CHECKED, EndCause::TimedOut);
            }
            Awaiting::Verdict => self.judge(Verdict::late()),
            Awaiting::RecipientOutcome | Awaiting::ContentOutcome => {
                self.conclude(Outcome::Failed(RelayError::Late(awaiting)));
            }
            Awaiting::Transmission | Awaiting::Tls => {
                self.end_transaction(EndCause::TimedOut);
                self.close();
            }
            _ => self.hang_up(replies::TIMED_OUT, EndCause::TimedOut),
        }
    }

    pub(super) fn is_between_transactions(&self) -> bool {
        matches!(self.state, State::Command(Phase::Connected | Phase::Ready))
    }
}
