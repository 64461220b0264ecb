//! The SMTP and LMTP client: a state machine without I/O and without a clock.

mod connection;
mod fresh;
mod identify;
mod introduction;
mod owed;
mod recipients;
mod replies;
mod request;
mod settings;
mod state;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::capabilities::Capabilities;
pub use crate::deadline::OnwardTimeouts;
use crate::deadline::{Awaiting, Deadline};
use crate::envelope::TransactionId;
use crate::outcome::{Outcome, RelayError, Request, TlsError};
use crate::peer::{Helo, Peer};
use crate::verdict::Refusal;
use crate::wire::reply::ReplyReader;
pub use identify::{Identify, ProxyVersion};
use introduction::Privacy;
use owed::{Awaited, Commands};
#[cfg(feature = "serve")]
pub(crate) use recipients::ONE_BY_ONE;
pub use recipients::OneRecipient;
use recipients::RENEWALS;
use request::{Asked, Open, Transaction};
pub use settings::{OnwardSettings, Protocol, TlsPolicy};
use state::{Event, Machine, State};

/// The next action for the caller of an [`Onward`]. Until the caller has done it, `poll` returns
/// the same step. `Transmit`, `Done` and `Disconnect` are returned only once.
#[derive(Debug)]
#[must_use = "the request stands still until the step is done"]
pub enum OnwardStep {
    /// Connect to the server, then call [`Onward::connected`] or [`Onward::unreachable`].
    Connect,
    /// Write all these octets in order before the next `poll`. If that fails, call
    /// [`Onward::transmit_failed`].
    Transmit(Vec<Bytes>),
    /// Read from the server, then call [`Onward::receive`], or [`Onward::disconnected`] at EOF.
    Receive,
    /// Do the TLS handshake (RFC 3207), then call [`Onward::tls_started`] or
    /// [`Onward::tls_failed`]. Discard all buffered input that was read before TLS.
    StartTls,
    /// The outcome of the request.
    Done(Outcome),
    /// Close the connection.
    Disconnect,
    /// No request is pending. A connection can stay open for the next request.
    Idle,
}

/// The client side of SMTP and LMTP: one connection to an onward server. It handles one request at
/// a time.
///
/// It connects only when there is a request. It fails closed: lost connections, timeouts and
/// malformed replies all give `451`. It handles the greeting, EHLO, MAIL, RSET, DATA or BDAT, QUIT
/// and reconnection itself. Use it like a [`Session`](crate::Session): call `poll` and do the step
/// that it returns.
///
/// ```
/// use std::time::Instant;
/// use nobounce::onward::{OnwardSettings, OnwardStep};
/// use nobounce::testing::{envelope, recipient};
/// use nobounce::{Onward, Request};
///
/// // The server's replies, as they would come from a socket.
/// let mut replies = ["220 mx\r\n", "250 mx\r\n", "250 Ok\r\n", "550 5.1.1 No such user\r\n"].into_iter();
/// let mut written = Vec::new();
///
/// let mut onward = Onward::new(OnwardSettings::new("gate.example").into());
/// onward.request(Request::Recipient(&envelope("<a@example.org>"), &recipient("<b@example.com>")));
/// let outcome = loop {
///     match onward.poll(Instant::now()) {
///         OnwardStep::Connect => onward.connected(),
///         OnwardStep::Transmit(octets) => written.extend(octets.concat()),
///         OnwardStep::Receive => match replies.next() {
///             Some(octets) => onward.receive(octets.as_bytes()),
///             None => onward.disconnected(),
///         },
///         OnwardStep::StartTls => onward.tls_failed("no TLS here"),
///         OnwardStep::Disconnect | OnwardStep::Idle => {}
///         OnwardStep::Done(outcome) => break outcome,
///     }
/// };
/// assert_eq!(outcome.reply().to_string(), "550 5.1.1 No such user");
/// assert!(written.ends_with(b"RCPT TO:<b@example.com>\r\n"));
/// ```
#[derive(Debug)]
pub struct Onward {
    settings: Arc<OnwardSettings>,
    machine: Machine,
    reader: ReplyReader,
    /// The extensions that the server offers on this connection.
    offered: Option<Arc<Capabilities>>,
    /// Whether the server sent `offered` since the last call of `new_offer`.
    is_offer_new: bool,
    /// Whether the server on this connection calls itself amavisd.
    is_amavisd: bool,
    privacy: Privacy,
    /// The client of the requests.
    client: Option<Arc<Peer>>,
    /// The client that the server was told about. `None`: the server sees the gate as the client.
    told: Option<Arc<Peer>>,
    /// The last EHLO or HELO sent.
    introduced_as: Option<Helo>,
    /// The number of refusals on this connection since the server last accepted a message.
    refusals: usize,
    /// The number of times that recipients were repeated since the server last accepted a message.
    renewals: u8,
    /// The server's last reply when it left because of refusals. The client has not received it
    /// yet.
    farewell: Option<Refusal>,
    /// The number of MAIL commands sent on this connection.
    transactions: usize,
    /// The first transaction on this connection.
    first_transaction: Option<TransactionId>,
    open: Option<Open>,
    /// The server's transaction state is unknown, so RSET is sent before the next MAIL.
    dirty: bool,
    asked: Option<Asked>,
    /// The request's commands that wait for earlier replies.
    commands: Commands,
    output: Vec<Bytes>,
    outcome: Option<Outcome>,
    /// The connection was idle before this request, and no reply has arrived since. If the
    /// connection turns out to be dead, the request is retried on another one.
    stale: bool,
    /// Writing to the server has failed. Of the replies that it sent before, only a refusal is
    /// accepted.
    deaf: bool,
    deadline: Option<Deadline>,
}

impl Onward {
    /// Returns a client without a connection.
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

    /// Sets the client of the next requests. The envelope of each request sets it as well. Call
    /// this for a server that must know the client before the first request, as with a PROXY
    /// header. A pending request of another client fails.
    pub fn speak_for(&mut self, client: Arc<Peer>) {
        let is_other = |known: &Arc<Peer>| !identify::is_same(known, &client);
        if self.asks() && self.client.as_ref().is_some_and(is_other) {
            // The pending request fails. It would otherwise be sent in the name of the new client.
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

    /// Starts a request about a recipient or the content. A pending request is given up, together
    /// with its connection.
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
            // The buffered input is probably a 421, because the client was slow.
            self.part();
            self.break_off();
        }
        self.speak_for(envelope.peer.clone());
        if let Some(farewell) = self.farewell.take() {
            self.outcome = Some(Outcome::Refused(farewell));
            return;
        }
        // The accepted recipients of the session must be the same as those of the server. Otherwise
        // the transaction was lost with an earlier connection, and some recipients would not get
        // the mail.
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
            // Already handled at the start of this function.
            Request::Answer(..) => {}
        }
        self.stale = matches!(self.machine.state(), State::Ready) && self.open.is_none();
    }

    /// Requests the server's extensions, connecting if necessary. It has no outcome. The step is
    /// [`OnwardStep::Idle`] when it is done. [`capabilities`](Self::capabilities) then returns the
    /// extensions, or `None` after a failure.
    pub fn introduce(&mut self) {
        self.give_up();
        if self.offered.is_none() {
            self.asked = Some(Asked::Introduction);
        }
    }

    /// Sends QUIT, if there is an idle connection.
    pub fn quit(&mut self) {
        self.give_up();
        if matches!(self.machine.state(), State::Ready) {
            self.open = None;
            self.send(Awaited::Quit, Bytes::from_static(b"QUIT\r\n"));
        }
    }

    /// Clears the client's state on the server: sends RSET if there is an idle connection with an
    /// open transaction, or one whose transaction state is unknown.
    pub fn reset(&mut self) {
        self.give_up();
        if matches!(self.machine.state(), State::Ready) && (self.dirty || self.open.is_some()) {
            self.send(Awaited::Rset, Bytes::from_static(b"RSET\r\n"));
        }
    }

    /// Gives up a pending request. Its outcome is unknown, so the connection can no longer be used.
    fn give_up(&mut self) {
        let answered = self.asked.take().is_none();
        self.outcome = None;
        if !answered || self.machine.is_owed_replies() {
            self.break_off();
        }
    }

    // --- input ---

    /// Reports that the connection is established.
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

    /// Reports that the connection failed, with the reason.
    pub fn unreachable(&mut self, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) {
        if matches!(self.machine.state(), State::Connecting) {
            self.fail(RelayError::Unreachable(Arc::from(reason.into())));
        }
    }

    /// Reports that the TLS handshake is done. Everything received before it is discarded.
    pub fn tls_started(&mut self) {
        if matches!(self.machine.state(), State::Upgrading) {
            self.upgrade();
        }
    }

    /// Reports that the TLS handshake failed, with the reason. The connection can no longer be
    /// used.
    pub fn tls_failed(&mut self, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) {
        if matches!(self.machine.state(), State::Upgrading) {
            self.go_without_tls(TlsError::Handshake(Arc::from(reason.into())));
        }
    }

    /// Reports that the connection was closed or lost.
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

    /// Reports that a write failed, completely or in part. The server may have sent its reason
    /// before it stopped reading. From now on, only a refusal is accepted.
    pub fn transmit_failed(&mut self) {
        self.deaf = true;
        self.output.clear();
        self.machine.apply(Event::Written);
    }

    /// Takes octets that were read from the server. Ignores them if the connection was given up.
    pub fn receive(&mut self, octets: &[u8]) {
        let is_open = matches!(self.machine.state(), State::Ready | State::Answering);
        if is_open || self.machine.is_owed_replies() {
            self.reader.receive(octets);
        }
    }

    // --- next step ---

    /// Does all work that needs no I/O and returns the next step.
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

    /// Returns the deadline of the step that [`poll`](Self::poll) returned, with its reason.
    pub fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Handles the timeout when [`deadline`](Self::deadline) has passed. Does nothing before.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(Deadline { awaiting, .. }) = self.deadline.filter(|it| it.at <= now) {
            self.deadline = None;
            // If the server does not reply to QUIT, the retry still happens.
            self.stale &= awaiting == Awaiting::Quit;
            match awaiting {
                Awaiting::Tls => self.go_without_tls(TlsError::Late),
                _ => self.fail(RelayError::Late(awaiting)),
            }
        }
    }

    /// Returns the extensions that the server offers on the current connection, or `None` without
    /// one.
    pub fn capabilities(&self) -> Option<&Capabilities> {
        self.offered.as_deref()
    }

    /// Returns the extensions if the server sent them since the last call.
    #[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "for relay targets alone"))]
    pub(crate) fn new_offer(&mut self) -> Option<&Capabilities> {
        let is_new = std::mem::take(&mut self.is_offer_new);
        self.capabilities().filter(|_| is_new)
    }

    /// Returns whether there is a connection that waits for a request.
    pub fn is_idle(&self) -> bool {
        matches!(self.machine.state(), State::Ready) && self.asked.is_none()
    }

    /// Returns whether the connection can serve another client. It must be idle, have no open
    /// transaction and accept more transactions (RFC 9422 `MAILMAX`). The server must not treat it
    /// as this client's connection.
    ///
    /// The server must also have refused nothing since it last accepted a message. Servers count
    /// errors, then slow down and disconnect (Postfix `smtpd_soft_error_limit`).
    pub fn is_reusable(&self) -> bool {
        let holds_nothing = self.open.is_none() && !self.dirty && !self.deaf && !self.is_spent();
        let clean = holds_nothing && self.refusals == 0;
        self.is_idle() && clean && !self.settings.identify.impersonates()
    }
}
