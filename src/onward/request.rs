//! Sending a request to the server: first the commands for its transaction, then the request
//! itself.

use std::sync::Arc;

use bytes::Bytes;

use super::Onward;
use super::identify::{self, Identify};
use super::owed::{Awaited, Commands, GROUP, Owed};
use super::state::{Event, State};
use crate::capabilities::Capabilities;
use crate::envelope::TransactionId;
use crate::outcome::{Outcome, Receipt, RelayError};
use crate::verdict::Refusal;
use crate::wire::attributes::{AttributeCommand, ClientAttributes};
use crate::wire::command::Body;
use crate::wire::content::{DataWriter, Dots};
use crate::wire::mailbox::{ForwardPath, ReversePath, SmtpPath};
use crate::wire::reply::ReplyError;

/// An open transaction on the onward server.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: TransactionId,
    /// The number of recipients that the server has accepted.
    pub(super) accepted: usize,
    /// The number of replies to the content so far, one for each recipient.
    pub(super) answered: usize,
    /// The accepted recipients, if the connection has served an earlier transaction. They may have
    /// to be repeated on a new connection.
    pub(super) recipients: Vec<ForwardPath>,
    /// The server's refusal of DATA, if there was one.
    pub(super) refused: Option<Refusal>,
}

/// A request without an outcome so far.
#[derive(Debug)]
pub(super) enum Asked {
    /// A request for the server's extensions.
    Introduction,
    Recipient {
        transaction: Box<Transaction>,
        recipient: ForwardPath,
    },
    Content {
        transaction: Box<Transaction>,
        segments: Vec<Bytes>,
        dots: Dots,
    },
    /// A request to accept the recipients of an earlier connection again.
    Renewal {
        transaction: Box<Transaction>,
    },
    /// A request for the reply to the content for the next recipient.
    Answer(TransactionId),
}

/// The transaction that a request belongs to.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) id: TransactionId,
    pub(super) reverse_path: ReversePath,
    /// The client's attributes received by XFORWARD.
    pub(super) xforward: Option<Arc<ClientAttributes>>,
    /// Recipients that the client counts on, but that the server forgot with an earlier connection.
    /// They are repeated before the request is sent. Unless the server accepts all of them again,
    /// the transaction is lost.
    pub(super) again: Vec<ForwardPath>,
}

impl Open {
    pub(super) fn new(id: TransactionId) -> Self {
        Self { id, accepted: 0, answered: 0, recipients: Vec::new(), refused: None }
    }
}

impl Onward {
    /// Starts the request on an idle connection.
    pub(super) fn begin(&mut self) {
        let offered = self.offered.clone().unwrap_or_else(|| Arc::new(Capabilities::none()));
        let continued = self.transaction().is_none_or(|transaction| {
            self.open.as_ref().is_some_and(|held| held.id == transaction.id)
        });
        if !continued && self.is_spent() {
            return self.replace();
        }
        if !continued && self.settings.identify == Identify::XClient && self.told.is_none() {
            return self.send_xclient();
        }
        if !continued && !self.is_introduced() {
            return self.say_hello(self.hello());
        }
        if self.is_lacking(&offered) {
            const LACKING: Refusal = Refusal::fixed(
                451,
                3,
                5,
                "The next server does not offer a required extension, send EHLO again",
            );
            self.outcome = Some(Outcome::Refused(LACKING));
            return;
        }
        if !continued && !self.open_transaction(&offered) {
            return self.fail(RelayError::NotOffered(AttributeCommand::Xforward));
        }
        match &self.asked {
            Some(Asked::Recipient { recipient, .. }) => {
                push_rcpt(&mut self.commands, Awaited::Rcpt, recipient);
            }
            Some(Asked::Content { .. } | Asked::Renewal { .. }) if !continued => {}
            // The server has accepted each repeated recipient.
            Some(Asked::Renewal { .. }) => {
                self.outcome = Some(Outcome::Accepted(Receipt::recipient()));
            }
            Some(Asked::Content { .. }) if offered.chunking => self.send_chunk(),
            Some(Asked::Content { .. }) => {
                self.send(Awaited::Data, Bytes::from_static(b"DATA\r\n"));
            }
            Some(Asked::Answer(_) | Asked::Introduction) | None => self.asked = None,
        }
    }

    /// Requests the reply to content that was already sent, for its next recipient.
    pub(super) fn request_answer(&mut self, transaction: &TransactionId) {
        let held = self.open.as_ref().filter(|held| held.id == *transaction);
        match (self.machine.state(), held) {
            (State::Answering, Some(_)) => {
                self.asked = Some(Asked::Answer(transaction.clone()));
                self.machine.apply(Event::AnswerAsked);
            }
            // DATA was refused, so the content was not sent.
            (_, Some(Open { refused: Some(refusal), .. })) => {
                self.outcome = Some(Outcome::Refused(refusal.clone()));
            }
            _ => self.outcome = Some(Outcome::Failed(RelayError::Lost)),
        }
    }

    /// Queues the commands before the request in a new transaction. Returns `false` if the client
    /// cannot be named by XFORWARD.
    fn open_transaction(&mut self, offered: &Capabilities) -> bool {
        // Reuses the queue's memory.
        let mut commands = std::mem::take(&mut self.commands);
        if self.dirty || self.open.is_some() {
            commands.push(Awaited::Rset, &[b"RSET\r\n"]);
        }
        let Some(Transaction { id, reverse_path, xforward, again }) = self.transaction() else {
            return true;
        };
        if self.settings.identify == Identify::XForward {
            let offered = offered.xforward.as_deref().unwrap_or_default();
            let client = self.client.as_deref();
            let client = client.map(|it| identify::xforward(it, id, xforward.as_deref()));
            let told = client.map_or_else(Vec::new, |client| client.xforward(offered));
            if told.is_empty() {
                return false;
            }
            told.iter().for_each(|command| commands.push(Awaited::Xforward, &[command]));
        }
        let ReversePath { path, parameters } = reverse_path;
        push(&mut commands, Awaited::Mail, path, &parameters.raw);
        again.iter().for_each(|it| push_rcpt(&mut commands, Awaited::RcptAgain, it));
        let first = self.first_transaction.is_none().then(|| id.clone());
        self.first_transaction = self.first_transaction.take().or(first);
        self.commands = commands;
        self.transactions += 1;
        true
    }

    pub(super) fn transaction(&self) -> Option<&Transaction> {
        match &self.asked {
            Some(
                Asked::Recipient { transaction, .. }
                | Asked::Renewal { transaction }
                | Asked::Content { transaction, .. },
            ) => Some(transaction),
            Some(Asked::Answer(_) | Asked::Introduction) | None => None,
        }
    }

    /// Returns whether the request repeats recipients.
    pub(super) fn is_again(&self) -> bool {
        self.transaction().is_some_and(|transaction| !transaction.again.is_empty())
    }

    /// Returns whether the transaction uses a parameter that was offered to the client but is not
    /// offered by this server.
    fn is_lacking(&self, offered: &Capabilities) -> bool {
        let Some(Transaction { reverse_path, again, .. }) = self.transaction() else {
            return false;
        };
        let asked = match &self.asked {
            Some(Asked::Recipient { recipient, .. }) => Some(recipient),
            _ => None,
        };
        let mail = &reverse_path.parameters;
        let dsn = mail.dsn || again.iter().chain(asked).any(|recipient| recipient.parameters.dsn);
        (mail.size.is_some() && offered.size.is_none())
            || (mail.body == Some(Body::EightBitMime) && !offered.eight_bit_mime)
            || (mail.smtp_utf8 && !offered.smtp_utf8)
            || (dsn && !offered.dsn)
    }

    /// Sends the queued commands: a whole group if the server offers PIPELINING, otherwise one.
    pub(super) fn send_commands(&mut self) {
        let pipelining = self.offered.as_ref().is_some_and(|offered| offered.pipelining);
        if let Some((group, owed)) = self.commands.take(if pipelining { GROUP } else { 1 }) {
            self.output.push(group);
            self.machine.apply(Event::Sent(owed));
        }
    }

    /// Sends the whole message as one chunk (RFC 3030).
    fn send_chunk(&mut self) {
        if let Some(Asked::Content { segments, .. }) = &mut self.asked {
            let octets: usize = segments.iter().map(Bytes::len).sum();
            self.output.push(format!("BDAT {octets} LAST\r\n").into());
            self.output.extend(segments.drain(..).filter(|segment| !segment.is_empty()));
            self.machine.apply(Event::Sent(Owed::one(Awaited::Content)));
        }
    }

    /// Sends the message after 354. If more input follows the 354, the message is not sent, because
    /// the server is out of step.
    pub(super) fn send_data(&mut self) {
        match &mut self.asked {
            Some(Asked::Content { segments, dots, .. }) if self.reader.is_empty() => {
                let writer = DataWriter::new(std::mem::take(segments), *dots);
                self.machine.apply(Event::GoAhead(Box::new(writer)));
            }
            _ => self.fail(RelayError::Garbled(ReplyError::OutOfTurn)),
        }
    }
}

/// Queues MAIL or RCPT with its path and parameters exactly as the client wrote them.
fn push(commands: &mut Commands, awaited: Awaited, path: &SmtpPath, parameters: &[u8]) {
    let verb: &[u8] = if awaited == Awaited::Mail { b"MAIL FROM:" } else { b"RCPT TO:" };
    let space: &[u8] = if parameters.is_empty() { b"" } else { b" " };
    commands.push(awaited, &[verb, path.written(), space, parameters, b"\r\n"]);
}

fn push_rcpt(commands: &mut Commands, awaited: Awaited, recipient: &ForwardPath) {
    push(commands, awaited, &recipient.path, &recipient.parameters.raw);
}
