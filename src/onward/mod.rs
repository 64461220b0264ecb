//! The SMTP and LMTP client half: asks an onward server, without I/O and without a clock.

mod connection;
mod fresh;
mod identify;
mod introduction;
mod owed;
mod recipients;
mod replies;
mod request;
mod state;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::capabilities::Capabilities;
use crate::deadline::{Awaiting, Deadline, OnwardTimeouts};
use crate::envelope::TransactionId;
use crate::host::HostName;
use crate::outcome::{Outcome, RelayError, Request, TlsFault};
use crate::peer::{Helo, Peer};
use crate::verdict::Refusal;
use crate::wire::reply::{ReplyLimits, ReplyReader};
pub use identify::{Identify, ProxyVersion};
use introduction::Privacy;
use owed::{Awaited, Commands};
#[cfg(feature = "serve")]
pub(crate) use recipients::ONE_BY_ONE;
pub use recipients::OneRecipient;
use recipients::RENEWALS;
use request::{Asked, Open, Transaction};
use state::{Event, Machine, State};

/// How an [`Onward`] speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnwardSettings {
    /// The name it gives in EHLO or LHLO.
    pub host: HostName,
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// Whether the connection is upgraded with STARTTLS.
    pub tls: TlsPolicy,
    /// Whether each transaction has one recipient.
    pub one_recipient: OneRecipient,
    /// How the server is told who the client is.
    pub identify: Identify,
    /// How long it waits for what.
    pub timeouts: OnwardTimeouts,
    /// How much the server may say in one reply.
    pub replies: ReplyLimits,
}

impl OnwardSettings {
    /// SMTP with the default time-outs, introducing itself by this name.
    pub fn new(host: &str) -> Self {
        Self {
            host: HostName::new(host),
            protocol: Protocol::Smtp,
            tls: TlsPolicy::Never,
            one_recipient: OneRecipient::default(),
            identify: Identify::None,
            timeouts: OnwardTimeouts::default(),
            replies: ReplyLimits::default(),
        }
    }
}

/// What the onward server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// RFC 5321.
    #[default]
    Smtp,
    /// RFC 2033. It answers the content per recipient, so it is offered one recipient in each
    /// transaction; the rest is told `452 4.5.3` and comes again. It is offered several if the client
    /// understands so many answers (PRDR).
    Lmtp,
}

/// Whether an onward server is spoken to over TLS (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsPolicy {
    /// In the clear: for a server on the same machine.
    #[default]
    Never,
    /// Over TLS if the server offers it; in the clear if it does not, or if it was tried in vain,
    /// on another connection made for that (opportunistic security, RFC 7435; Postfix `may`). Who
    /// can alter what is sent can also hide the offer, so this is a guard against listeners only.
    May,
    /// Over TLS or not at all: without it every answer is 451. Whether the server must prove who it
    /// is, is the caller's to decide where it does the handshake.
    Must,
}

/// What the caller does next. Until it is done the same step is said again, save for what is handed
/// over: `Transmit`, `Done` and `Disconnect`.
#[derive(Debug)]
#[must_use = "the request stands still until the step is done"]
pub enum OnwardStep {
    /// Connect to the server, then [`Onward::connected`] or [`Onward::unreachable`].
    Connect,
    /// Write these octets, one after the other, all of them, before the next `poll`. If that fails:
    /// [`Onward::transmit_failed`].
    Transmit(Vec<Bytes>),
    /// Read, then [`Onward::receive`], or [`Onward::disconnected`] at the end of input.
    Receive,
    /// Upgrade the connection (RFC 3207), then [`Onward::tls_started`] or [`Onward::tls_failed`].
    /// Nothing that was read in the clear is kept.
    StartTls,
    /// The request is answered.
    Done(Outcome),
    /// Close the connection.
    Disconnect,
    /// Nothing is asked. The connection, if there is one, may stay for the next request.
    Idle,
}

/// The client half of SMTP and LMTP: one connection to an onward server, used for one request at a
/// time.
///
/// It is lazy (nothing is connected before something is asked), it fails closed (whatever is lost,
/// late or nonsense is `451`), and greeting, EHLO, MAIL, RSET, DATA or BDAT, QUIT and reconnection
/// are its own affair. Use it as a [`Session`](crate::Session): `poll`, do what the step says.
#[derive(Debug)]
pub struct Onward {
    settings: Arc<OnwardSettings>,
    machine: Machine,
    reader: ReplyReader,
    /// What the server offers on this connection.
    offered: Option<Arc<Capabilities>>,
    /// It said so since that was asked last.
    is_offer_new: bool,
    /// The server on this connection calls itself amavisd.
    is_amavisd: bool,
    privacy: Privacy,
    /// For whom is asked.
    client: Option<Arc<Peer>>,
    /// Whom the server takes the connection for; `None`: for us.
    told: Option<Arc<Peer>>,
    /// What was last said in EHLO or HELO.
    introduced_as: Option<Helo>,
    /// What the server refused on this connection since it last took a message.
    refusals: usize,
    /// How often recipients were named again since the server last took a message.
    renewals: u8,
    /// What the server said when it left because of refusals, until the client is told.
    farewell: Option<Refusal>,
    /// MAIL commands that were sent on this connection.
    transactions: usize,
    /// The first transaction on this connection.
    first_transaction: Option<TransactionId>,
    open: Option<Open>,
    /// The server may hold more than `open` says; RSET comes before the next MAIL.
    dirty: bool,
    asked: Option<Asked>,
    /// Commands of the request that wait for the replies to those before.
    commands: Commands,
    output: Vec<Bytes>,
    outcome: Option<Outcome>,
    /// The connection was idle before this request, and nothing has been heard on it since: if it
    /// turns out to be dead, that was so before, and another is tried.
    stale: bool,
    /// The server has stopped reading; only a refusal that it said before is believed.
    deaf: bool,
    deadline: Option<Deadline>,
}

impl Onward {
    /// A connection that is not there yet.
    pub fn new(settings: Arc<OnwardSettings>) -> Self {
        Self {
            settings,
            machine: Machine::new(),
            reader: ReplyReader::default(),
            offered: None,
            is_offer_new: false,
            is_amavisd: false,
            privacy: Privacy::Untried,
            client: None,
            told: None,
            introduced_as: None,
            refusals: 0,
            renewals: 0,
            farewell: None,
            transactions: 0,
            first_transaction: None,
            open: None,
            dirty: false,
            asked: None,
            commands: Commands::default(),
            output: Vec::new(),
            outcome: None,
            stale: false,
            deaf: false,
            deadline: None,
        }
    }

    // --- requests ---

    /// Says for whom it will be asked. The envelope of each request says so, too; this is for a
    /// server that must know before there is a request, which is so with a PROXY header. What has
    /// been asked for another client and not been answered fails.
    pub fn speak_for(&mut self, client: Arc<Peer>) {
        let is_other = |known: &Arc<Peer>| !identify::is_same(known, &client);
        if self.asks() && self.client.as_ref().is_some_and(is_other) {
            // It would be asked in this client's name, on this connection or on another.
            self.stale = false;
            self.fail(RelayError::Lost);
        } else if self.told.as_ref().is_some_and(is_other) {
            self.break_off();
        }
        if self.farewell.is_some() && self.client.as_ref().is_some_and(is_other) {
            self.farewell = None;
        }
        self.client = Some(client);
    }

    /// Asks about a recipient or the content. A request that was not waited for is given up, and
    /// the connection with it.
    pub fn request(&mut self, request: Request<'_>) {
        self.give_up();
        let envelope = request.envelope();
        if let Request::Answer(envelope, _) = request {
            return self.request_answer(&envelope.id);
        }
        if matches!(self.machine.state(), State::Answering) {
            self.break_off();
        }
        if matches!(self.machine.state(), State::Ready) && !self.reader.is_empty() {
            // It says good-bye, most likely: the client was slow.
            self.part();
            self.break_off();
        }
        self.speak_for(envelope.peer.clone());
        if let Some(farewell) = self.farewell.take() {
            self.outcome = Some(Outcome::Refused(farewell));
            return;
        }
        // Recipients that the client counts on must be those that the server has: otherwise the
        // transaction was lost with a connection, and mail for some of them would be, too.
        let known = match &self.open {
            Some(held) if held.id == envelope.id => held.accepted,
            _ => 0,
        };
        let counted_on = &envelope.forward_paths;
        let again = if known == counted_on.len() {
            Vec::new()
        } else {
            self.dirty |= self.open.take().is_some();
            if self.renewals >= RENEWALS {
                self.outcome = Some(Outcome::Failed(RelayError::TransactionLost));
                return;
            }
            self.renewals += 1;
            counted_on.clone()
        };
        let transaction = Box::new(Transaction {
            id: envelope.id.clone(),
            reverse_path: envelope.reverse_path.clone(),
            xforward: envelope.xforward.clone(),
            again,
        });
        let surplus = self.surplus(counted_on.len(), envelope.reverse_path.parameters.prdr);
        match request {
            Request::Recipient(..) if surplus.is_some() => {
                self.outcome = surplus.map(Outcome::Refused);
                return;
            }
            Request::Recipient(_, recipient) => {
                self.asked = Some(Asked::Recipient { transaction, recipient: recipient.clone() });
            }
            Request::Content(_, message) => {
                let (dots, segments) = (message.dots(), message.into_segments());
                self.asked = Some(Asked::Content { transaction, segments, dots });
            }
            Request::Renewal(_) => self.asked = Some(Asked::Renewal { transaction }),
            // Above.
            Request::Answer(..) => {}
        }
        self.stale = matches!(self.machine.state(), State::Ready) && self.open.is_none();
    }

    /// Asks what the server offers: connects if need be. There is no outcome; when it is done, the
    /// step is [`OnwardStep::Idle`] and [`capabilities`](Self::capabilities) knows, or not.
    pub fn introduce(&mut self) {
        self.give_up();
        if self.offered.is_none() {
            self.asked = Some(Asked::Introduction);
        }
    }

    /// Takes leave: QUIT, if a connection is there and idle.
    pub fn quit(&mut self) {
        self.give_up();
        if matches!(self.machine.state(), State::Ready) {
            self.open = None;
            self.send(Awaited::Quit, Bytes::from_static(b"QUIT\r\n"));
        }
    }

    /// Leaves nothing of this client behind: RSET, if a connection is there that may serve another
    /// client and the server holds something.
    pub fn reset(&mut self) {
        self.give_up();
        if matches!(self.machine.state(), State::Ready) && (self.dirty || self.open.is_some()) {
            self.send(Awaited::Rset, Bytes::from_static(b"RSET\r\n"));
        }
    }

    /// A request that nobody waits for any more: what its answer would be is not known, so the
    /// connection is of no use.
    fn give_up(&mut self) {
        let answered = self.asked.take().is_none();
        self.outcome = None;
        if !answered || self.machine.is_owed_replies() {
            self.break_off();
        }
    }

    // --- what arrives ---

    /// The connection is there.
    pub fn connected(&mut self) {
        if matches!(self.machine.state(), State::Connecting) {
            self.machine.apply(Event::Connected);
            self.deadline = None;
            if self.privacy == Privacy::InVain {
                self.privacy = Privacy::Waived;
            }
            self.send_proxy_header();
        }
    }

    /// The connection could not be made, for this reason.
    pub fn unreachable(&mut self, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) {
        if matches!(self.machine.state(), State::Connecting) {
            self.fail(RelayError::Unreachable(Arc::from(reason.into())));
        }
    }

    /// The TLS handshake is done. Whatever was said before is void.
    pub fn tls_started(&mut self) {
        if matches!(self.machine.state(), State::Upgrading) {
            self.upgrade();
        }
    }

    /// The TLS handshake has failed, for this reason: the connection is of no use.
    pub fn tls_failed(&mut self, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) {
        if matches!(self.machine.state(), State::Upgrading) {
            self.go_without_tls(TlsFault::Handshake(Arc::from(reason.into())));
        }
    }

    /// The connection has ended.
    pub fn disconnected(&mut self) {
        if !self.was_lost_before() {
            match self.machine.state() {
                State::Upgrading => self.tls_failed("connection lost"),
                State::Broken => {}
                _ => self.fail(RelayError::Lost),
            }
        }
        self.forget_connection();
        self.machine.apply(Event::Disconnected);
    }

    /// What was to be transmitted could not be, or not all of it. The server may have said before
    /// why it no longer listens; only a refusal is believed from here on.
    pub fn transmit_failed(&mut self) {
        self.deaf = true;
        self.output.clear();
        self.machine.apply(Event::Written);
    }

    /// Takes octets that were read from the server; none once the connection is given up.
    pub fn receive(&mut self, octets: &[u8]) {
        let is_open = matches!(self.machine.state(), State::Ready | State::Answering);
        if is_open || self.machine.is_owed_replies() {
            self.reader.receive(octets);
        }
    }

    // --- what is to be done ---

    /// Does what can be done without I/O and says what is to be done next.
    pub fn poll(&mut self, now: Instant) -> OnwardStep {
        if self.deadline.is_some_and(|deadline| deadline.awaiting == Awaiting::Transmission) {
            self.deadline = None;
        }
        loop {
            if !self.machine.is_owed_replies()
                && let Some(outcome) = self.outcome.take()
            {
                self.asked = None;
                return OnwardStep::Done(outcome);
            }
            if !self.output.is_empty() {
                self.arm(Awaiting::Transmission, now);
                return OnwardStep::Transmit(std::mem::take(&mut self.output));
            }
            match self.machine.state() {
                State::Disconnected if self.asked.is_some() => self.start(),
                State::Disconnected => return self.rest(),
                State::Connecting => {
                    self.arm(Awaiting::Connection, now);
                    return OnwardStep::Connect;
                }
                State::Sending(_) => self.machine.write_content(&mut self.output),
                State::Awaiting(owed) => {
                    let awaited = owed.first();
                    match self.reader.next(self.settings.replies) {
                        Ok(Some(reply)) => self.hear(awaited, reply),
                        Ok(None) => {
                            self.arm(awaited.reason(), now);
                            return OnwardStep::Receive;
                        }
                        Err(fault) => self.fail(fault.into()),
                    }
                }
                State::Upgrading => {
                    self.arm(Awaiting::Tls, now);
                    return OnwardStep::StartTls;
                }
                State::Ready if !self.reader.is_empty() => {
                    if !self.speaks_out_of_turn() {
                        return self.rest();
                    }
                }
                State::Ready if !self.commands.is_empty() => self.send_commands(),
                State::Ready if self.asked.is_some() => self.begin(),
                State::Ready | State::Answering => return self.rest(),
                State::Broken => {
                    self.forget_connection();
                    self.machine.apply(Event::Disconnected);
                    return OnwardStep::Disconnect;
                }
            }
        }
    }

    /// Until when the step that [`poll`](Self::poll) named is waited for, and what that is.
    pub fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Does what is due when [`deadline`](Self::deadline) has passed; nothing before.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(Deadline { awaiting, .. }) = self.deadline.filter(|it| it.at <= now) {
            self.deadline = None;
            // A server that says no good-bye is left without.
            self.stale &= awaiting == Awaiting::Quit;
            match awaiting {
                Awaiting::Tls => self.go_without_tls(TlsFault::Late),
                _ => self.fail(RelayError::Late(awaiting)),
            }
        }
    }

    /// What the server offers on the connection that is there; `None` without one.
    pub fn capabilities(&self) -> Option<&Capabilities> {
        self.offered.as_deref()
    }

    /// What the server offers, if it said so since this was asked last.
    #[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "for relay targets alone"))]
    pub(crate) fn new_offer(&mut self) -> Option<&Capabilities> {
        let is_new = std::mem::take(&mut self.is_offer_new);
        self.capabilities().filter(|_| is_new)
    }

    /// Whether a connection is there that waits for a request.
    pub fn is_idle(&self) -> bool {
        matches!(self.machine.state(), State::Ready) && self.asked.is_none()
    }

    /// Whether the connection may serve another client: it is idle, the server holds nothing, does
    /// not take it for this client's, takes more transactions (RFC 9422 `MAILMAX`), and has refused nothing since it last took a message. (Servers
    /// count errors, slow down and leave: Postfix `smtpd_soft_error_limit`.)
    pub fn is_reusable(&self) -> bool {
        let holds_nothing = self.open.is_none() && !self.dirty && !self.deaf && !self.is_spent();
        let clean = holds_nothing && self.refusals == 0;
        self.is_idle() && clean && !self.settings.identify.impersonates()
    }
}
