//! Processing of the onward server's replies: the next state, and the outcome of the request.

use super::introduction::Privacy;
use super::owed::Awaited;
use super::recipients::names_amavisd;
use super::request::{Asked, Open};
use super::state::Event;
use super::{Onward, Protocol};
use crate::capabilities::Capabilities;
use crate::outcome::{Granted, Outcome, Receipt, RelayError, TlsError};
use crate::peer::Helo;
use crate::verdict::Refusal;
use crate::wire::reply::{Reply, ReplyClass, ReplyError};

impl Onward {
    /// Processes the server's reply to `awaited`.
    pub(super) fn hear(&mut self, awaited: Awaited, reply: Reply) {
        self.deadline = None;
        if reply.code().value() == 421 && self.stale {
            return self.fail(RelayError::Lost);
        }
        self.stale = false;
        self.machine.apply(Event::Heard);
        let class = reply.class();
        let done = class == ReplyClass::Completion;
        self.refusals += usize::from(class >= ReplyClass::Transient);
        if self.deaf && class < ReplyClass::Transient {
            return self.fail(RelayError::Lost);
        }
        if matches!(awaited, Awaited::Greeting | Awaited::Xclient | Awaited::Ehlo) {
            self.is_amavisd |= names_amavisd(&reply);
        }
        if class >= ReplyClass::Transient && self.goes_elsewhere(awaited, &reply) {
            return;
        }
        match awaited {
            Awaited::Greeting if self.leads_back(&reply) => self.fail(RelayError::Loop),
            Awaited::Greeting if done => self.say_hello(self.hello()),
            Awaited::Xclient if reply.code().value() == 220 => {
                self.told = self.client.clone();
                self.say_hello(self.hello());
            }
            Awaited::Xclient => self.client_refused(reply),
            Awaited::Greeting if self.told.is_some() => self.client_refused(reply),
            Awaited::Xforward if done => {}
            Awaited::Xforward => self.fail(RelayError::NotBelieved(reply)),
            Awaited::Ehlo if done => self.introduced(Capabilities::read(&reply)),
            Awaited::Ehlo if self.is_ehlo_unknown(&reply) => {
                self.say_hello(Helo { extended: false, ..self.hello() });
            }
            Awaited::Helo if done => self.introduced(Capabilities::none()),
            // Input after the 220 came before TLS, and an attacker may have inserted it. It must
            // not be processed as if it came through TLS.
            Awaited::StartTls if done && self.reader.is_empty() => {
                self.machine.apply(Event::StartTls);
            }
            Awaited::StartTls if done => {
                self.fail(RelayError::Garbled(ReplyError::OutOfTurn));
            }
            Awaited::StartTls => self.go_without_tls(TlsError::Refused(reply)),
            Awaited::Ehlo | Awaited::Helo if self.told.is_some() && self.asks() => {
                self.hello_refused(reply);
            }
            Awaited::Rset if done => {
                self.open = None;
                self.dirty = false;
            }
            Awaited::Mail if done => {
                if let Some(transaction) = self.transaction() {
                    self.open = Some(Open::new(transaction.id.clone()));
                }
            }
            Awaited::RcptAgain if done => {
                if let Some(held) = &mut self.open {
                    held.accepted += 1;
                }
            }
            Awaited::Mail | Awaited::RcptAgain if self.is_again() => {
                // The client already got 2xx for this recipient, so this refusal cannot be passed
                // on.
                self.fail(RelayError::TransactionLost);
            }
            Awaited::RcptAgain => {}
            Awaited::Mail => self.refuse(reply),
            Awaited::Rcpt if self.asked.is_none() || self.outcome.is_some() => {
                // MAIL was refused. This is the reply to the pipelined RCPT.
                self.dirty |= done;
            }
            Awaited::Rcpt => self.answer(Granted::Recipient, reply),
            Awaited::Data if class == ReplyClass::Intermediate => self.send_data(),
            Awaited::Data => {
                self.dirty = true;
                if let Some(held) = &mut self.open {
                    held.refused = Refusal::try_from(reply.clone()).ok();
                }
                self.refuse(reply);
            }
            Awaited::Content => {
                let refused = class >= ReplyClass::Transient;
                self.dirty |= refused;
                if !refused {
                    (self.refusals, self.renewals) = (0, 0);
                }
                let granted = match self.open.as_ref().map_or(0, |held| held.answered) {
                    0 => Granted::Content,
                    index => Granted::Answer(index),
                };
                self.answer(granted, reply);
                self.next_answer();
            }
            Awaited::Quit => self.break_off(),
            Awaited::Greeting | Awaited::Ehlo | Awaited::Helo | Awaited::Rset => {
                self.fail(RelayError::Unexpected(reply));
            }
        }
        if self.deaf {
            // The refusal has arrived. The server has received only part of a command or message,
            // so nothing more can be sent.
            self.break_off();
        }
    }

    /// Waits for the next reply to the content (LMTP), or ends the transaction after the last one.
    fn next_answer(&mut self) {
        if let Some(held) = &mut self.open {
            held.answered += 1;
            if self.settings.protocol == Protocol::Lmtp && held.answered < held.accepted {
                self.machine.apply(Event::OwesAnswer);
            } else {
                self.open = None;
            }
        }
    }

    /// Converts the server's reply to a request into its outcome.
    fn answer(&mut self, granted: Granted, reply: Reply) {
        let id = match &self.asked {
            Some(Asked::Answer(id)) => id,
            _ => match self.transaction() {
                Some(transaction) => &transaction.id,
                None => return,
            },
        };
        match Receipt::read(granted, id, reply) {
            Ok(receipt) if self.answers_once() && receipt.is_partial() => {
                let reply = receipt.reply().clone();
                self.outcome = Some(Outcome::Failed(RelayError::Partial(reply)));
            }
            Ok(receipt) => {
                if let (Granted::Recipient, Some(held)) = (granted, &mut self.open) {
                    held.accepted += 1;
                    if self.transactions > 1
                        && let Some(Asked::Recipient { recipient, .. }) = self.asked.take()
                    {
                        held.recipients.push(recipient);
                    }
                }
                self.outcome = Some(Outcome::Accepted(receipt));
            }
            Err(reply) => self.refuse(reply),
        }
    }

    /// Returns whether there is one reply to the content for several recipients.
    fn answers_once(&self) -> bool {
        let several = self.open.as_ref().is_some_and(|held| held.accepted > 1);
        several && self.settings.protocol == Protocol::Smtp
    }

    /// Makes the server's refusal the outcome.
    pub(super) fn refuse(&mut self, reply: Reply) {
        self.commands.clear();
        let wants_tls = self.offered.as_ref().is_some_and(|offered| offered.start_tls)
            && self.privacy != Privacy::Private
            && reply.code().value() == 530;
        if wants_tls {
            // The server refuses the gate, not the client (RFC 3207 section 4). The client may try
            // again.
            return self.fail(RelayError::NoTls(TlsError::Required(reply)));
        }
        match Refusal::try_from(reply) {
            Ok(refusal) => {
                let closes = refusal.closes();
                self.outcome = Some(Outcome::Refused(refusal));
                if closes {
                    self.break_off();
                }
            }
            Err(reply) => self.fail(RelayError::Unexpected(reply)),
        }
    }
}
