//! The states of an onward connection and all its transitions.
//!
//! ```text
//!   Disconnected ──request──► Connecting ──► Awaiting(Greeting) ──220──► Awaiting(Hello) ──250──┐
//!        ▲                                                                                      │
//!        │                                           Upgrading ◄──220── Awaiting(StartTls) ◄──┤
//!        │                                               └────────► Awaiting(Hello), again      │
//!        │           lost, late, nonsense                 ┌──────── Ready ◄─────────────────────┤
//!      Broken ◄────────────────────────────────────┐      │ RSET? XFORWARD? MAIL? RCPT,         │
//!        ▲                                         │      ▼ or content                          │
//!        └─────────────── 221 ──── Awaiting(Quit)  └─ Awaiting(…) ──the last reply owed─────────┘
//! ```
//!
//! A server that answers the content per recipient (LMTP) owes more behind the first answer:
//! `Awaiting(Content) ──► Answering ──request──► Awaiting(Content)`, until the last.
//!
//! Where the server shall take the connection for the client's, a PROXY header goes before the
//! greeting is awaited, or `Ready ──► Awaiting(Xclient) ──220──► Awaiting(Hello) ──250──► Ready`
//! comes before the first MAIL; and EHLO again before a MAIL whenever the client has changed its name.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::owed::Owed;
use super::recipients::names_amavisd;
use super::{Onward, OnwardStep, Protocol, TlsPolicy};
use crate::capabilities::Capabilities;
use crate::deadline::{Awaiting, Deadline};
use crate::envelope::TransactionId;
use crate::outcome::{Granted, Outcome, Receipt, RelayError, TlsFault};
use crate::peer::Helo;
use crate::verdict::Refusal;
use crate::wire::attributes::ClientAttributes;
use crate::wire::content::Dots;
use crate::wire::mailbox::{ForwardPath, ReversePath};
use crate::wire::reply::{Reply, ReplyClass, ReplyFault};

/// A transaction that the onward server has open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: TransactionId,
    /// Recipients that the server has accepted in it.
    pub(super) accepted: usize,
    /// Recipients for whom the server has answered the content.
    pub(super) answered: usize,
    /// Which these are, on a connection that has a history: they may have to be named again on another.
    pub(super) recipients: Vec<ForwardPath>,
    /// What it said to DATA, if that was no.
    pub(super) refused: Option<Refusal>,
}

/// What has been asked and not been answered.
#[derive(Debug)]
pub(super) enum Asked {
    /// What the server offers.
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
    /// Whether recipients of an earlier connection are still accepted.
    Renewal {
        transaction: Box<Transaction>,
    },
    /// The content's answer for the next recipient.
    Answer(TransactionId),
}

/// The transaction that a request belongs to.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) id: TransactionId,
    pub(super) reverse_path: ReversePath,
    /// What we were told of the client by XFORWARD.
    pub(super) xforward: Option<Arc<ClientAttributes>>,
    /// Recipients that the client counts on and that the server has forgotten, with the connection
    /// on which it had accepted them. They are named again before anything else is asked; unless
    /// it accepts them all again, the transaction is lost.
    pub(super) again: Vec<ForwardPath>,
}

/// For whose reply we wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Xclient,
    Xforward,
    Rset,
    Mail,
    /// RCPT for a recipient that had been accepted before.
    RcptAgain,
    Rcpt,
    Data,
    Content,
    Quit,
}

/// What has become of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privacy {
    /// Nothing yet, on this connection.
    Untried,
    /// The connection is private.
    Private,
    /// It was tried in vain, and the policy lets it be: the next connection is in the clear.
    InVain,
    /// The connection stays in the clear.
    Waived,
}

#[derive(Debug)]
pub(super) enum State {
    Disconnected,
    Connecting,
    /// For these replies, in this order.
    Awaiting(Owed),
    /// For the caller to upgrade the connection.
    Upgrading,
    /// For a request.
    Ready,
    /// For a request for the next answer to the content, which the server owes.
    Answering,
    /// For the caller to close the connection.
    Broken,
}

impl Onward {
    /// The server's reply to what `awaited` names.
    pub(super) fn hear(&mut self, awaited: Awaited, reply: Reply) {
        self.deadline = None;
        if reply.code().value() == 421 && self.stale {
            return self.fail(RelayError::Lost);
        }
        self.stale = false;
        if let State::Awaiting(owed) = &mut self.state {
            owed.settle();
        }
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
            Awaited::Greeting if reply.code().value() == 220 => self.say_hello(self.hello()),
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
            // What the server says behind its 220 and in the clear was perhaps said by another; it
            // must not be taken for what it says in private.
            Awaited::StartTls if reply.code().value() == 220 && self.reader.is_empty() => {
                self.state = State::Upgrading;
            }
            Awaited::StartTls if reply.code().value() == 220 => {
                self.fail(RelayError::Garbled(ReplyFault::OutOfTurn));
            }
            Awaited::StartTls => self.go_without_tls(TlsFault::Refused(reply)),
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
                // The client has been told yes; a no that comes now is for nobody's ears.
                self.fail(RelayError::TransactionLost);
            }
            Awaited::RcptAgain => {}
            Awaited::Mail => self.refuse(reply),
            Awaited::Rcpt if self.asked.is_none() || self.outcome.is_some() => {
                // MAIL was refused; this is the reply to the RCPT behind it.
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
            // It has said why; half of a command or a message lies before whatever comes next.
            self.break_off();
        }
    }

    /// The connection is private now, and as good as new (RFC 3207 section 4.2): nothing that was
    /// heard in the clear is believed.
    pub(super) fn upgrade(&mut self) {
        self.privacy = Privacy::Private;
        self.reader.clear();
        self.deadline = None;
        self.introduced_as = None;
        self.say_hello(self.hello());
    }

    /// TLS was tried in vain. After that the connection is of no use; whether another is, in the
    /// clear, is the policy's to say.
    pub(super) fn go_without_tls(&mut self, fault: TlsFault) {
        if self.settings.tls == TlsPolicy::May {
            self.privacy = Privacy::InVain;
            self.break_off();
        } else {
            self.fail(RelayError::NoTls(fault));
        }
    }

    /// Sends a command, unless the server has answered it already: then it does not listen.
    pub(super) fn send(&mut self, awaited: Awaited, command: Bytes) {
        if !self.reader.is_empty() {
            return self.fail(RelayError::Garbled(ReplyFault::OutOfTurn));
        }
        self.output.push(command);
        self.state = State::Awaiting(Owed::new([awaited]));
    }

    /// Behind an answer to the content comes another, or the transaction is over.
    fn next_answer(&mut self) {
        if let Some(held) = &mut self.open {
            held.answered += 1;
            if self.settings.protocol == Protocol::Lmtp && held.answered < held.accepted {
                self.state = State::Answering;
            } else {
                self.open = None;
            }
        }
    }

    /// The server's answer to what was asked.
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

    /// Whether one answer to the content has to do for several recipients.
    fn answers_once(&self) -> bool {
        let several = self.open.as_ref().is_some_and(|held| held.accepted > 1);
        several && self.settings.protocol == Protocol::Smtp
    }

    /// The server's refusal is the answer.
    pub(super) fn refuse(&mut self, reply: Reply) {
        self.commands.clear();
        let wants_tls = self.offered.as_ref().is_some_and(|offered| offered.start_tls)
            && self.privacy != Privacy::Private
            && reply.code().value() == 530;
        if wants_tls {
            // A refusal of us and not of the client (RFC 3207 section 4), who may come again.
            return self.fail(RelayError::NoTls(TlsFault::Required(reply)));
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

    /// A reply to nothing: a server that closes an idle connection says 421; anything else is
    /// nonsense. Either way the connection is of no more use. Returns `false` while the reply is not
    /// complete and may be the client's.
    pub(super) fn speaks_out_of_turn(&mut self) -> bool {
        let is_heard = self.part() || self.asked.is_some();
        if is_heard {
            self.fail(RelayError::Garbled(ReplyFault::OutOfTurn));
        }
        is_heard
    }

    /// What is asked cannot be answered on this connection: the answer is 451, unless the
    /// connection had been dead before and another may be tried.
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

    /// The connection is given up.
    pub(super) fn break_off(&mut self) {
        self.open = None;
        self.commands.clear();
        self.output.clear();
        self.content = None;
        self.deadline = None;
        self.state = match self.state {
            State::Disconnected | State::Connecting => State::Disconnected,
            State::Awaiting(_)
            | State::Upgrading
            | State::Ready
            | State::Answering
            | State::Broken => State::Broken,
        };
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
        self.content = None;
        self.deadline = None;
    }

    pub(super) fn is_owed_replies(&self) -> bool {
        matches!(&self.state, State::Awaiting(owed) if !owed.is_empty())
    }

    pub(super) fn rest(&mut self) -> OnwardStep {
        self.deadline = None;
        OnwardStep::Idle
    }

    /// Sets the deadline of what is waited for, once.
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

impl Open {
    fn new(id: TransactionId) -> Self {
        Self { id, accepted: 0, answered: 0, recipients: Vec::new(), refused: None }
    }
}

impl Awaited {
    pub(super) fn reason(self) -> Awaiting {
        match self {
            Self::Greeting => Awaiting::Greeting,
            Self::Ehlo | Self::Helo => Awaiting::Hello,
            Self::StartTls => Awaiting::Tls,
            Self::Xclient | Self::Xforward => Awaiting::Identification,
            Self::Rset => Awaiting::Reset,
            Self::Mail => Awaiting::Mail,
            Self::Rcpt | Self::RcptAgain => Awaiting::Recipient,
            Self::Data => Awaiting::DataInitiation,
            Self::Content => Awaiting::DataTermination,
            Self::Quit => Awaiting::Quit,
        }
    }
}
