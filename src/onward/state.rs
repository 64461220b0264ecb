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
//! Where the server shall take the connection for the client's, a PROXY header goes before the
//! greeting is awaited, or `Ready ──► Awaiting(Xclient) ──220──► Awaiting(Hello) ──250──► Ready`
//! comes before the first MAIL; and EHLO again before a MAIL whenever the client has changed its name.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::identify::{self, Identify};
use super::{Onward, OnwardStep, TlsPolicy};
use crate::capabilities::Capabilities;
use crate::deadline::{Awaiting, Deadline};
use crate::envelope::TransactionId;
use crate::outcome::{Granted, Outcome, Receipt, RelayError, TlsFault};
use crate::peer::Helo;
use crate::verdict::Refusal;
use crate::wire::attributes::{AttributeCommand, ClientAttributes};
use crate::wire::command::Body;
use crate::wire::content::write_data;
use crate::wire::mailbox::{ForwardPath, ReversePath};
use crate::wire::reply::{Reply, ReplyClass, ReplyFault};

/// A transaction that the onward server has open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: TransactionId,
    /// Recipients that the server has accepted in it.
    pub(super) accepted: usize,
}

/// What has been asked and not been answered.
#[derive(Debug)]
pub(super) enum Asked {
    /// What the server offers.
    Introduction,
    Recipient {
        open: Open,
        reverse_path: ReversePath,
        recipient: ForwardPath,
        /// What we were told of the client by XFORWARD.
        xforward: Option<Arc<ClientAttributes>>,
    },
    Content {
        open: Open,
        segments: Vec<Bytes>,
    },
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
    Awaiting(VecDeque<Awaited>),
    /// For the caller to upgrade the connection.
    Upgrading,
    /// For a request.
    Ready,
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
            owed.pop_front();
        }
        let class = reply.class();
        let done = class == ReplyClass::Completion;
        self.refusals += usize::from(class >= ReplyClass::Transient);
        if self.deaf && class < ReplyClass::Transient {
            return self.fail(RelayError::Lost);
        }
        match awaited {
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
                if let Some(Asked::Recipient { open, .. }) = &self.asked {
                    self.open = Some(Open { id: open.id.clone(), accepted: 0 });
                }
            }
            Awaited::Mail => self.refuse(reply),
            Awaited::Rcpt if self.asked.is_none() || self.outcome.is_some() => {
                // MAIL was refused; this is the reply to the RCPT behind it.
                self.dirty |= done;
            }
            Awaited::Rcpt => self.answer(Granted::Recipient, reply),
            Awaited::Data if reply.code().value() == 354 => self.send_data(),
            Awaited::Data if done => self.fail(RelayError::Unexpected(reply)),
            Awaited::Data => {
                self.dirty = true;
                self.refuse(reply);
            }
            Awaited::Content => {
                let refused = class >= ReplyClass::Transient;
                self.dirty |= refused;
                self.answer(Granted::Content, reply);
                self.open = None;
                self.refusals = if refused { self.refusals } else { 0 };
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

    /// Begins the request on a connection that is ready for it.
    pub(super) fn begin(&mut self) {
        let offered = self.offered.clone().unwrap_or_else(Capabilities::none);
        let continued = match &self.asked {
            Some(Asked::Recipient { open, .. }) => {
                self.open.as_ref().is_some_and(|held| held.id == open.id)
            }
            _ => true,
        };
        if !continued && self.settings.identify == Identify::XClient && self.told.is_none() {
            return self.send_xclient();
        }
        if !continued && self.introduced_as != Some(self.hello()) {
            return self.say_hello(self.hello());
        }
        match &self.asked {
            Some(Asked::Recipient { reverse_path, recipient, .. })
                if lacks(&offered, reverse_path, recipient) =>
            {
                const LACKING: Refusal = Refusal::fixed(
                    451,
                    3,
                    5,
                    "The next server does not offer what this transaction needs, say EHLO again",
                );
                self.outcome = Some(Outcome::Refused(LACKING));
            }
            Some(Asked::Recipient { open, reverse_path, recipient, xforward }) => {
                if !continued {
                    if self.dirty || self.open.is_some() {
                        let rset = Bytes::from_static(b"RSET\r\n");
                        self.commands.push_back((Awaited::Rset, rset));
                    }
                    if self.settings.identify == Identify::XForward {
                        let offered = offered.xforward.as_deref().unwrap_or_default();
                        let client = self.client.as_deref();
                        let client = client.map(|client| {
                            identify::xforward(client, &open.id, xforward.as_deref())
                        });
                        let told = client.map_or_else(Vec::new, |it| it.xforward(offered));
                        if told.is_empty() {
                            return self.fail(RelayError::NotOffered(AttributeCommand::Xforward));
                        }
                        self.commands.extend(told.into_iter().map(|it| (Awaited::Xforward, it)));
                    }
                    let ReversePath { path, parameters } = reverse_path;
                    let mail = command("MAIL FROM:", path.written(), &parameters.raw);
                    self.commands.push_back((Awaited::Mail, mail));
                }
                let ForwardPath { path, parameters } = recipient;
                let rcpt = command("RCPT TO:", path.written(), &parameters.raw);
                self.commands.push_back((Awaited::Rcpt, rcpt));
            }
            Some(Asked::Content { .. }) if offered.chunking => self.send_chunk(),
            Some(Asked::Content { .. }) => {
                self.send(Awaited::Data, Bytes::from_static(b"DATA\r\n"));
            }
            Some(Asked::Introduction) | None => self.asked = None,
        }
    }

    /// Sends the commands that may be sent now: all, if the server offers to take them so.
    pub(super) fn send_commands(&mut self) {
        let pipelining = self.offered.as_ref().is_some_and(|offered| offered.pipelining);
        let group = if pipelining { self.commands.len() } else { 1 };
        let mut octets = Vec::new();
        let mut owed = VecDeque::with_capacity(group);
        for (awaited, command) in self.commands.drain(..group.min(self.commands.len())) {
            octets.extend_from_slice(&command);
            owed.push_back(awaited);
        }
        self.output.push(octets.into());
        self.state = State::Awaiting(owed);
    }

    /// The whole message as one chunk (RFC 3030).
    fn send_chunk(&mut self) {
        if let Some(Asked::Content { segments, .. }) = &self.asked {
            let octets: usize = segments.iter().map(Bytes::len).sum();
            self.output.push(format!("BDAT {octets} LAST\r\n").into());
            self.output.extend(segments.iter().filter(|segment| !segment.is_empty()).cloned());
            self.state = State::Awaiting(VecDeque::from([Awaited::Content]));
        }
    }

    /// The message behind 354. A server that has more to say before it heard anything is not
    /// trusted with it.
    fn send_data(&mut self) {
        match &self.asked {
            Some(Asked::Content { segments, .. }) if self.reader.is_empty() => {
                write_data(segments, &mut self.output);
                self.state = State::Awaiting(VecDeque::from([Awaited::Content]));
            }
            _ => self.fail(RelayError::Garbled(ReplyFault::OutOfTurn)),
        }
    }

    /// Sends a command, unless the server has answered it already: then it does not listen.
    pub(super) fn send(&mut self, awaited: Awaited, command: Bytes) {
        if !self.reader.is_empty() {
            return self.fail(RelayError::Garbled(ReplyFault::OutOfTurn));
        }
        self.output.push(command);
        self.state = State::Awaiting(VecDeque::from([awaited]));
    }

    /// The server's answer to what was asked.
    fn answer(&mut self, granted: Granted, reply: Reply) {
        let Some(Asked::Recipient { open, .. } | Asked::Content { open, .. }) = &self.asked else {
            return;
        };
        match Receipt::read(granted, &open.id, reply) {
            Ok(receipt) => {
                if let (Granted::Recipient, Some(held)) = (granted, &mut self.open) {
                    held.accepted += 1;
                }
                self.outcome = Some(Outcome::Accepted(receipt));
            }
            Err(reply) => self.refuse(reply),
        }
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
    /// nonsense. Either way the connection is of no more use.
    pub(super) fn speaks_out_of_turn(&mut self) {
        self.fail(RelayError::Garbled(ReplyFault::OutOfTurn));
    }

    /// What is asked cannot be answered on this connection: the answer is 451, unless the
    /// connection had been dead before and another may be tried.
    pub(super) fn fail(&mut self, error: RelayError) {
        let again = std::mem::take(&mut self.stale);
        if !again && self.outcome.is_none() {
            match self.asked.take() {
                Some(Asked::Recipient { .. } | Asked::Content { .. }) => {
                    self.outcome = Some(Outcome::Failed(error));
                }
                Some(Asked::Introduction) | None => {}
            }
        }
        self.break_off();
    }

    /// The connection is given up.
    pub(super) fn break_off(&mut self) {
        self.open = None;
        self.commands.clear();
        self.output.clear();
        self.deadline = None;
        self.state = match self.state {
            State::Disconnected | State::Connecting => State::Disconnected,
            State::Awaiting(_) | State::Upgrading | State::Ready | State::Broken => State::Broken,
        };
    }

    pub(super) fn forget_connection(&mut self) {
        self.reader.clear();
        self.offered = None;
        if self.privacy != Privacy::InVain {
            self.privacy = Privacy::Untried;
        }
        self.told = None;
        self.introduced_as = None;
        self.refusals = 0;
        self.open = None;
        self.dirty = false;
        self.deaf = false;
        self.commands.clear();
        self.output.clear();
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

impl Awaited {
    pub(super) fn reason(self) -> Awaiting {
        match self {
            Self::Greeting => Awaiting::Greeting,
            Self::Ehlo | Self::Helo => Awaiting::Hello,
            Self::StartTls => Awaiting::Tls,
            Self::Xclient | Self::Xforward => Awaiting::Identification,
            Self::Rset => Awaiting::Reset,
            Self::Mail => Awaiting::Mail,
            Self::Rcpt => Awaiting::Recipient,
            Self::Data => Awaiting::DataInitiation,
            Self::Content => Awaiting::DataTermination,
            Self::Quit => Awaiting::Quit,
        }
    }
}

/// A command with a path and its parameters, both in full and as the client wrote them.
fn command(verb: &str, path: &[u8], parameters: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(verb.len() + path.len() + parameters.len() + 3);
    line.extend_from_slice(verb.as_bytes());
    line.extend_from_slice(path);
    if !parameters.is_empty() {
        line.push(b' ');
        line.extend_from_slice(parameters);
    }
    line.extend_from_slice(b"\r\n");
    line.into()
}

/// Whether the server would have to drop or refuse a parameter that the client was promised.
fn lacks(offered: &Capabilities, reverse_path: &ReversePath, recipient: &ForwardPath) -> bool {
    let mail = &reverse_path.parameters;
    (mail.size.is_some() && offered.size.is_none())
        || (mail.body == Some(Body::EightBitMime) && !offered.eight_bit_mime)
        || (mail.smtp_utf8 && !offered.smtp_utf8)
        || ((mail.dsn || recipient.parameters.dsn) && !offered.dsn)
}
