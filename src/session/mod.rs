//! The SMTP server half: a session with one client, without I/O and without a clock.

mod advance;
mod commands;
mod conduct;
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
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};

use crate::capabilities::Capabilities;
use crate::conduct::Conduct;
use crate::deadline::{Awaiting, Deadline};
use crate::envelope::{Envelope, SessionId, TransactionId};
use crate::peer::Peer;
use crate::verdict::{Subject, Verdict};
use crate::wire::attributes::ClientAttributes;
use crate::wire::budget::BLOCK;
use crate::wire::line::LineReader;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::Reply;

pub use forward::{Forward, Pending};
use pace::Pace;
use receiving::Receiving;
use recipients::Refused;
pub use settings::{EarlyInput, Limits, Settings, Stress};
use state::{Asking, Machine, State};

/// A session with one SMTP client (RFC 5321), from its connection to its end.
///
/// It does no I/O. Call [`poll`](Self::poll), do what the [`Step`] says, repeat until
/// [`Step::Close`]. Octets read from the client go into [`receive`](Self::receive); when
/// [`deadline`](Self::deadline) has passed, [`handle_timeout`](Self::handle_timeout) is due. Calls
/// that come too early or too often change nothing.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    id: SessionId,
    peer: Arc<Peer>,
    /// Whom the session began with, if it may speak for others.
    trusted: Option<Arc<Peer>>,
    /// What XCLIENT has said of the client.
    xclient: Option<Box<ClientAttributes>>,
    /// What XFORWARD has said of the client of the next transaction, or of the one that runs.
    xforward: Option<Box<ClientAttributes>>,
    /// What the relay target lets through.
    offered: Capabilities,
    machine: Machine,
    /// Received and not yet read.
    input: BytesMut,
    lines: LineReader,
    /// Replies not yet handed out.
    output: BytesMut,
    /// Since when `output` holds something.
    held: Option<Instant>,
    deadline: Option<Deadline>,
    /// Since when the client waits for the answer to its RCPT or its content: the panel and the
    /// relay target share its patience.
    asked: Option<Instant>,
    /// How long the content that is being received may take.
    pace: Option<Pace>,
    /// Until when the client may let us wait before a message of it is taken. `None` before it is
    /// waited for.
    patience: Option<Instant>,
    /// With the moment its transaction began.
    ended: Option<(Box<TransactionEnd>, Instant)>,
    conduct: Conduct,
    errors: u32,
    junk_commands: u32,
    transactions: u32,
    refused: Refused,
    input_ended: bool,
    going_down: bool,
    /// Whether the gate is under stress.
    stressed: bool,
    /// Whether no TLS handshake can begin now.
    tls_held: bool,
    /// `output` holds the answer to a content: the sooner the client has it, the rarer are
    /// duplicates (RFC 1047).
    urgent: bool,
    /// A pair of times, to tell the time of day at any moment of the session.
    began: (Instant, SystemTime),
}

/// What the caller does next. Until it is done, the same step is said again, save for what is
/// handed over: [`Step::Transmit`] and [`Step::Ended`].
#[derive(Debug)]
#[must_use = "the session stands still until the step is done"]
pub enum Step<'s> {
    /// Write these octets to the client, all of them, before the next `poll`.
    Transmit(Bytes),
    /// Read from the client, then [`Session::receive`] or [`Session::receive_eof`]. Read only when
    /// this is asked: that is the back-pressure.
    Receive,
    /// Upgrade the connection (RFC 3207), then [`Session::tls_started`]. Nothing that was read in
    /// the clear is kept.
    StartTls,
    /// Ask the panel, then [`Question::answer`].
    Ask(Question<'s>),
    /// Ask the relay target, then [`Forward::complete`], or [`Pending::complete`] after
    /// [`Forward::take`].
    Forward(Forward<'s>),
    /// A transaction has ended; this is for the record. There is nothing to do.
    Ended(Box<TransactionEnd>),
    /// Close the connection. The session is over.
    Close,
}

/// A question to the panel. It must be answered; one that is dropped is asked again.
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
    /// Until when it is waited for the answer.
    pub fn deadline(&self) -> Option<Deadline> {
        self.0.deadline()
    }

    /// What is asked about.
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

    /// The transaction it belongs to; `SESSION.0` for the connection.
    pub fn id(&self) -> TransactionId {
        self.subject().id()
    }

    /// Answers it.
    pub fn answer(self, verdict: Verdict) {
        self.0.judge(verdict);
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactionEnd {
    /// The envelope, with the recipients that were accepted.
    pub envelope: Envelope,
    /// The recipients that were refused, with the reply that each got: to RCPT, or with PRDR to the
    /// content.
    pub refused: Vec<(ForwardPath, Reply)>,
    /// Octets of content received, as SIZE counts them.
    pub size: u64,
    /// Why it ended.
    pub cause: EndCause,
    /// The reply that ended it, if it was one to the content.
    pub reply: Option<Reply>,
    /// How long it took, from MAIL.
    pub duration: Duration,
}

/// Why a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndCause {
    /// The relay target has taken the message.
    Accepted,
    /// The panel said no to the content.
    RefusedByPanel,
    /// The relay target said no to the content.
    RefusedByRelay,
    /// The relay target could not be asked, or has not answered.
    RelayFailed,
    /// The session said no to the content: too big, bare line ends.
    RefusedBySession,
    /// The client gave it up: RSET, EHLO, QUIT.
    Reset,
    /// The client went away.
    ClientLost,
    /// Waiting for the client took too long.
    TimedOut,
    /// The session was closed by us: errors, limits, shutdown.
    Closed,
}

impl EndCause {
    /// The word for it in records.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::RefusedByPanel => "refused-by-panel",
            Self::RefusedByRelay => "refused-by-relay",
            Self::RelayFailed => "relay-failed",
            Self::RefusedBySession => "refused-by-session",
            Self::Reset => "reset",
            Self::ClientLost => "client-lost",
            Self::TimedOut => "timed-out",
            Self::Closed => "closed",
        }
    }
}

impl std::fmt::Display for EndCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl Session {
    /// A session with a client that has just connected. `time_of_day` is the wall clock's view of
    /// `now`; the trace header needs it.
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
            input_ended: false,
            going_down: false,
            stressed: false,
            tls_held: false,
            urgent: false,
            began: (now, time_of_day),
        }
    }

    /// Sets what the relay target honours: the client is offered what the settings and the target have
    /// in common. Without this call the target is taken for one that honours
    /// [`Capabilities::basic`]: no DSN and no SMTPUTF8. Call it before the client's EHLO is answered.
    ///
    /// The size that is offered is smaller than that of the target, to leave room for the header fields
    /// that are added to a message: 2 KiB and [`Limits::added_fields`], but no more than half of it.
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

    /// Room for octets of mail data where they will stay, so that nothing has to copy them: read into
    /// it from the client, then say with [`receive_in_room`](Self::receive_in_room) how many there
    /// are. There is none (it is empty) for commands, nor before a message has begun, nor in memory
    /// that no message has used before; then, or instead, [`receive`](Self::receive) takes octets
    /// from anywhere. What stands in it means nothing.
    pub fn room(&mut self) -> &mut [u8] {
        let receiving = self.machine.receiving().filter(|_| self.input.is_empty());
        receiving.map_or(&mut [], Receiving::room)
    }

    /// Takes octets that were read from the client into the first part of the [`room`](Self::room).
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

    /// The client will send nothing more. That is no sign that it has gone: it may still read.
    pub fn receive_eof(&mut self) {
        self.input_ended = true;
    }

    /// The client has gone: the connection was reset, or a write to it failed. Nothing that is not
    /// yet onward goes onward.
    pub fn lose_client(&mut self) {
        self.settle();
        self.close(EndCause::ClientLost);
    }

    /// No new transaction is to begin: one that runs may end, then the client is told `421 4.3.2`.
    pub fn shut_down(&mut self) {
        self.going_down = true;
    }

    /// Whether [`shut_down`](Self::shut_down) was called.
    pub fn is_going_down(&self) -> bool {
        self.going_down
    }

    /// Does what can be done without I/O and says what is to be done next.
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

    /// Until when the step that [`poll`](Self::poll) named is waited for, and what that is. `None`
    /// before the first `poll` and after the last.
    pub fn deadline(&self) -> Option<Deadline> {
        let wait = self.deadline?;
        if wait.awaiting != Awaiting::MailData {
            return Some(wait);
        }
        Some(self.pace.map_or(wait, Pace::deadline))
    }

    /// Does what is due when [`deadline`](Self::deadline) has passed; nothing before.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.settle();
        if let Some(deadline) = self.deadline().filter(|deadline| deadline.at <= now) {
            self.expire(deadline.awaiting);
        }
    }

    /// The client, as far as it is known by now.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The name of the session.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Octets that were received and not yet read.
    #[cfg(feature = "serve")]
    pub(crate) fn buffered(&self) -> usize {
        self.input.len()
    }

    /// Octets of content that one message may have: the smallest of our limit, the onward server's, and what
    /// the budget has room for if nothing else is there.
    fn size_limit(&self) -> u64 {
        let room = self.settings.budget.limit().saturating_sub(BLOCK).max(BLOCK);
        let own = self.settings.limits.content.min(room as u64);
        self.offered.size.filter(|size| *size > 0).map_or(own, |size| size.min(own))
    }

    /// Recipients that one transaction may have.
    fn recipients_limit(&self, prdr: bool) -> usize {
        let own = self.settings.limits.recipients;
        let limit = self.offered.recipients_max.filter(|_| !prdr);
        limit.map_or(own, |limit| limit.min(own))
    }

    /// Transactions that the session may have, if there is a limit to them.
    fn transactions_limit(&self) -> Option<u32> {
        let own = (!self.peer.own).then_some(self.settings.limits.transactions);
        let limit = self.offered.transactions_max.and_then(|limit| u32::try_from(limit).ok());
        own.into_iter().chain(limit).min()
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.machine.state(), State::Closed)
    }
}

/// [`Step`] before it borrows the session.
enum Next {
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
