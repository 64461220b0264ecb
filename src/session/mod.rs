//! The SMTP server: a state machine for one client session, without I/O and without a clock.

mod advance;
mod commands;
mod conduct;
mod ending;
mod forward;
mod greeting;
mod loops;
mod mail_data;
mod output;
mod pace;
mod prdr;
mod receiving;
mod recipients;
mod renewal;
mod replies;
mod settings;
mod state;
mod stress;
mod tls;
mod transaction;
mod verdicts;
mod vouching;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::{Bytes, BytesMut};

pub use crate::capabilities::Capabilities;
pub use crate::conduct::{Conduct, Misconduct};
pub use crate::deadline::{Awaiting, Deadline, SessionTimeouts};
use crate::envelope::{SessionId, TransactionId};
use crate::peer::Peer;
use crate::verdict::{Subject, Verdict};
use crate::wire::attributes::ClientAttributes;
use crate::wire::budget::BLOCK;
use crate::wire::line::LineReader;
use crate::wire::reply::Reply;

pub use ending::{EndCause, RefusedRecipient, SessionEnd, TransactionEnd};
pub use forward::{Forward, Pending};
use pace::Pace;
use receiving::Receiving;
use recipients::Refused;
pub use settings::{EarlyInput, Limits, Settings, Stress};
use state::{Asking, Machine, State};

/// A session with one SMTP client (RFC 5321), from connection to close.
///
/// It does no I/O. Call [`poll`](Self::poll), do the returned [`Step`], and repeat until
/// [`Step::Close`]. Pass octets read from the client to [`receive`](Self::receive). When
/// [`deadline`](Self::deadline) has passed, call [`handle_timeout`](Self::handle_timeout). Calls
/// that are too early or repeated have no effect.
///
/// The [front page](crate#the-run-loop) has the whole loop. Its beginning, step by step:
///
/// ```
/// use std::time::{Instant, SystemTime};
/// use nobounce::envelope::SessionId;
/// use nobounce::{Peer, Session, Settings, Step, Verdict};
///
/// let (settings, id) = (Settings::new("mx.example").into(), SessionId::new("example"));
/// let now = Instant::now();
/// let mut session = Session::new(settings, id, Peer::local(), now, SystemTime::now());
/// let Step::Ask(question) = session.poll(now) else { panic!("the panel is asked first") };
/// question.answer(Verdict::Pass);
/// let Step::Transmit(greeting) = session.poll(now) else { panic!("then the client is greeted") };
/// assert!(greeting.starts_with(b"220 mx.example ESMTP"));
/// assert!(matches!(session.poll(now), Step::Receive));
/// session.receive(b"HELO client.example\r\n");
/// let Step::Transmit(reply) = session.poll(now) else { panic!("HELO has a reply") };
/// assert_eq!(*reply, *b"250 mx.example\r\n");
/// ```
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    id: SessionId,
    peer: Arc<Peer>,
    /// The peer at the start of the session, if it may use XCLIENT or XFORWARD.
    trusted: Option<Arc<Peer>>,
    /// The client's attributes received by XCLIENT.
    xclient: Option<Box<ClientAttributes>>,
    /// The client's attributes received by XFORWARD, for the next or the current transaction.
    xforward: Option<Box<ClientAttributes>>,
    /// The extensions offered to the client, which both the settings and the relay target support.
    offered: Capabilities,
    machine: Machine,
    /// Input that was received and not yet processed.
    input: BytesMut,
    lines: LineReader,
    /// Replies not yet returned by `poll`.
    output: BytesMut,
    /// The time since which `output` holds replies back.
    held: Option<Instant>,
    deadline: Option<Deadline>,
    /// The time since which the client waits for the reply to its RCPT or its content. The panel
    /// and the relay target share the time that the client will wait.
    asked: Option<Instant>,
    /// The deadlines of the content that is being received.
    pace: Option<Pace>,
    /// The deadline for the client in total ([`SessionTimeouts::commands`]). An accepted message
    /// resets it. `None` until the first wait for a command.
    ///
    /// [`SessionTimeouts::commands`]: crate::session::SessionTimeouts::commands
    patience: Option<Instant>,
    /// The end of a transaction, with the time at which the transaction began.
    ended: Option<(Box<TransactionEnd>, Instant)>,
    conduct: Conduct,
    errors: u32,
    junk_commands: u32,
    transactions: u32,
    refused: Refused,
    /// The reason for the end of the session, and the reply with which the server ended it.
    end: Option<(SessionEnd, Option<Reply>)>,
    input_ended: bool,
    going_down: bool,
    /// Whether the gate is under stress.
    stressed: bool,
    /// Whether no TLS handshake can begin now.
    tls_held: bool,
    /// `output` holds the reply to a content. The earlier the client gets it, the rarer are
    /// duplicates (RFC 1047).
    urgent: bool,
    /// A pair of times, to compute the time of day at any point in the session.
    began: (Instant, SystemTime),
}

/// The next action for the caller of a [`Session`]. Until the caller has done it, `poll` returns
/// the same step. [`Step::Transmit`] and [`Step::Ended`] are returned only once.
#[derive(Debug)]
#[must_use = "the session stands still until the step is done"]
pub enum Step<'s> {
    /// Write all these octets to the client before the next `poll`.
    Transmit(Bytes),
    /// Read from the client, then call [`Session::receive`] or [`Session::receive_eof`]. Read only
    /// when this step is returned: this gives back-pressure.
    Receive,
    /// Do the TLS handshake (RFC 3207), then call [`Session::tls_started`]. Discard all buffered
    /// input that was read before TLS.
    StartTls,
    /// Ask the panel, then call [`Question::answer`].
    Ask(Question<'s>),
    /// Ask the relay target, then call [`Forward::complete`]. After [`Forward::take`], call
    /// [`Pending::complete`] instead.
    Forward(Forward<'s>),
    /// A transaction has ended. This step is for the record and requires no action.
    Ended(Box<TransactionEnd>),
    /// Close the connection. The session is over.
    Close,
}

/// A question to the panel. It must be answered. If it is dropped, the session asks it again.
///
/// ```compile_fail,E0382
/// fn twice(question: nobounce::Question<'_>) {
///     question.answer(nobounce::Verdict::Pass);
///     question.answer(nobounce::Verdict::Pass);
/// }
/// ```
#[derive(Debug)]
#[must_use = "the session asks again until the question is answered"]
pub struct Question<'s>(&'s mut Session);

impl Question<'_> {
    /// Returns the deadline for the answer.
    pub fn deadline(&self) -> Option<Deadline> {
        self.0.deadline()
    }

    /// Returns the subject of the question.
    pub fn subject(&self) -> Subject<'_> {
        match self.0.machine.state() {
            State::Asking(Asking::Recipient(transaction, recipient)) => {
                Subject::Recipient(&transaction.envelope, recipient)
            }
            State::Asking(Asking::Content(transaction, message)) => {
                Subject::Content(&transaction.envelope, message)
            }
            _ => Subject::Connection(&self.0.id, &self.0.peer),
        }
    }

    /// Returns the ID of the question's transaction, or `SESSION.0` for the connection.
    pub fn id(&self) -> TransactionId {
        self.subject().id()
    }

    /// Answers the question with this verdict.
    pub fn answer(self, verdict: Verdict) {
        self.0.judge(verdict);
    }
}

impl Session {
    /// Creates a session with a client that has just connected. `time_of_day` is the wall-clock
    /// time at `now`; the trace header field contains it.
    pub fn new(
        settings: Arc<Settings>,
        id: SessionId,
        peer: Peer,
        now: Instant,
        time_of_day: SystemTime,
    ) -> Self {
        settings.budget.tidy(now);
        let own = settings.own_networks.include(&peer);
        let peer = Arc::new(Peer { own, ..peer });
        let may = settings.xclient_from.include(&peer) || settings.xforward_from.include(&peer);
        Self {
            offered: Capabilities {
                start_tls: settings.capabilities.start_tls,
                ..settings.capabilities.intersection(&Capabilities::basic())
            },
            lines: LineReader::new(settings.limits.command_line),
            settings,
            id,
            trusted: may.then(|| peer.clone()),
            peer,
            xclient: None,
            xforward: None,
            machine: Machine::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            held: None,
            deadline: None,
            asked: None,
            pace: None,
            patience: None,
            ended: None,
            conduct: Conduct::default(),
            errors: 0,
            junk_commands: 0,
            transactions: 0,
            refused: Refused::default(),
            end: None,
            input_ended: false,
            going_down: false,
            stressed: false,
            tls_held: false,
            urgent: false,
            began: (now, time_of_day),
        }
    }

    /// Sets the extensions that the relay target supports. The client is offered the extensions
    /// that the settings and the target have in common. Without this call, the session assumes
    /// [`Capabilities::basic`]: no DSN and no SMTPUTF8. Call it before the session replies to EHLO.
    ///
    /// The offered SIZE is smaller than the target's, to leave room for added header fields. The
    /// difference is 2 KiB plus [`Limits::added_fields`], but at most half of the target's size.
    pub fn offer(&mut self, through: &Capabilities) {
        const TRACE: u64 = 2_048;
        let added = TRACE.saturating_add(self.settings.limits.added_fields as u64);
        let size = through.size.map(|size| size - added.min(size / 2));
        let through = &Capabilities { size, ..through.clone() };
        let own = &self.settings.capabilities;
        self.offered = Capabilities {
            pipelining: own.pipelining,
            chunking: own.chunking,
            start_tls: own.start_tls,
            ..own.intersection(through)
        };
    }

    /// Takes octets that were read from the client.
    pub fn receive(&mut self, octets: &[u8]) {
        if octets.is_empty() || matches!(self.machine.state(), State::Closing | State::Closed) {
            return;
        }
        let taken = if self.input.is_empty() { self.machine.decode(octets) } else { 0 };
        self.gain(taken);
        self.input.extend_from_slice(&octets[taken..]);
    }

    /// Returns a buffer for mail data, so that it need not be copied. Read from the client into it,
    /// then call [`receive_in_room`](Self::receive_in_room) with the number of octets.
    ///
    /// The buffer is empty while commands are expected, before the first octets of a message, and
    /// if no used memory block is free. In these cases, use [`receive`](Self::receive). It works at
    /// any other time as well. The initial contents of the buffer have no meaning.
    pub fn room(&mut self) -> &mut [u8] {
        let receiving = self.machine.receiving().filter(|_| self.input.is_empty());
        receiving.map_or(&mut [], Receiving::room)
    }

    /// Takes octets that were read from the client into the start of the [`room`](Self::room)
    /// buffer.
    pub fn receive_in_room(&mut self, length: usize) {
        let length = length.min(self.room().len());
        if length == 0 {
            return;
        }
        let Some(receiving) = self.machine.receiving() else { return };
        let (taken, rest) = receiving.decode_in_place(length);
        self.gain(taken);
        self.receive(&rest);
    }

    /// Reports EOF from the client. The client may still read replies (half-close).
    pub fn receive_eof(&mut self) {
        self.input_ended = true;
    }

    /// Reports that the client is gone: the connection was reset, or a write failed. Nothing more
    /// is sent to the relay target.
    pub fn lose_client(&mut self) {
        self.settle();
        self.close(EndCause::ClientLost);
    }

    /// Starts the shutdown: no new transaction begins. A running transaction can finish, then the
    /// client gets `421 4.3.2`.
    pub fn shut_down(&mut self) {
        self.going_down = true;
    }

    /// Returns whether [`shut_down`](Self::shut_down) was called.
    pub fn is_going_down(&self) -> bool {
        self.going_down
    }

    /// Like [`poll`](Self::poll), without a borrow of the session in the step.
    #[cfg(feature = "serve")]
    pub(crate) fn next(&mut self, now: Instant) -> Next {
        self.settle();
        self.advance(now)
    }

    /// Returns the question of [`Next::Ask`].
    #[cfg(feature = "serve")]
    pub(crate) fn question(&mut self) -> Question<'_> {
        Question(self)
    }

    /// Returns the request of [`Next::Forward`].
    #[cfg(feature = "serve")]
    pub(crate) fn request(&mut self) -> Forward<'_> {
        Forward::new(self)
    }

    /// Does all work that needs no I/O and returns the next step.
    pub fn poll(&mut self, now: Instant) -> Step<'_> {
        self.settle();
        match self.advance(now) {
            Next::Transmit => Step::Transmit(self.hand_out(now)),
            Next::Receive => Step::Receive,
            Next::StartTls => Step::StartTls,
            Next::Ask => Step::Ask(Question(self)),
            Next::Forward => Step::Forward(Forward::new(self)),
            Next::Ended(end) => Step::Ended(end),
            Next::Close => Step::Close,
        }
    }

    /// Returns the deadline of the step that [`poll`](Self::poll) returned, with its reason. `None`
    /// before the first `poll` and after the last.
    pub fn deadline(&self) -> Option<Deadline> {
        let wait = self.deadline?;
        if wait.awaiting != Awaiting::MailData {
            return Some(wait);
        }
        Some(self.pace.map_or(wait, Pace::deadline))
    }

    /// Handles the timeout when [`deadline`](Self::deadline) has passed. Does nothing before.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.settle();
        if let Some(deadline) = self.deadline().filter(|deadline| deadline.at <= now) {
            self.expire(deadline.awaiting);
        }
    }

    /// Returns the client, with everything known about it so far.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Returns the number of transactions that have begun: of MAIL commands that were accepted.
    pub fn transactions(&self) -> u32 {
        self.transactions
    }

    /// Returns the session ID.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Returns the number of octets that were received and not yet processed.
    #[cfg(feature = "serve")]
    pub(crate) fn buffered(&self) -> usize {
        self.input.len()
    }

    /// Returns whether the session waits for an answer of the panel or of the relay target.
    #[cfg(feature = "serve")]
    pub(crate) fn awaits_answer(&self) -> bool {
        match self.machine.state() {
            State::Asking(_) => true,
            State::Forwarding(forwarding) => forwarding.is_open(),
            _ => false,
        }
    }

    /// Returns the maximum size of one message in octets. It is the smallest of our limit, the
    /// onward server's limit, and the size that fits into the empty memory budget.
    fn size_limit(&self) -> u64 {
        let room = self.settings.budget.limit().saturating_sub(BLOCK).max(BLOCK);
        let own = self.settings.limits.content.min(room as u64);
        self.offered.size.filter(|size| *size > 0).map_or(own, |size| size.min(own))
    }

    /// Returns the maximum number of recipients in one transaction.
    fn recipients_limit(&self, prdr: bool) -> usize {
        let own = self.settings.limits.recipients;
        let limit = self.offered.recipients_max.filter(|_| !prdr);
        limit.map_or(own, |limit| limit.min(own))
    }

    /// Returns the maximum number of transactions in the session, if there is one.
    fn transactions_limit(&self) -> Option<u32> {
        let own = (!self.peer.own).then_some(self.settings.limits.transactions);
        let limit = self.offered.transactions_max.and_then(|limit| u32::try_from(limit).ok());
        own.into_iter().chain(limit).min()
    }

    /// Returns whether the session is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.machine.state(), State::Closed)
    }
}

/// A [`Step`] that does not borrow the session yet.
pub(crate) enum Next {
    Transmit,
    Receive,
    StartTls,
    Ask,
    Forward,
    Ended(Box<TransactionEnd>),
    Close,
}

#[cfg(test)]
mod tests;
