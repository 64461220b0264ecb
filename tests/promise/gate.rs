//! The whole gate in memory: a `Session` and an `Onward` in lock-step, as in a driver, in virtual
//! time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nobounce::envelope::SessionId;
use nobounce::message::HeaderField;
use nobounce::onward::{OnwardSettings, OnwardStep};
use nobounce::peer::TlsInfo;
use nobounce::session::{Deadline, TransactionEnd};
use nobounce::{Onward, Outcome, Peer, Refusal, Request, Session, Settings, Step, Verdict};

use super::oracle::{Reply, read_replies};
use super::server::{Connect, OnwardServer, Read};

/// Sizes of the chunks into which octets are cut in transit.
#[derive(Debug, Clone)]
pub enum Chunks {
    Whole,
    /// Chunks of these sizes, repeated.
    Of(Vec<usize>),
}

impl Chunks {
    fn next(&mut self) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::Of(sizes) => {
                sizes.rotate_left(1);
                *sizes.last().unwrap()
            }
        }
    }
}

/// The panel's answer, or an event while it is asked.
#[derive(Debug, Clone)]
pub enum Judgement {
    Pass,
    Tag,
    Refuse(Refusal),
    Late,
    /// The client's connection was reset.
    ClientGone,
}

pub struct Gate<S> {
    pub session: Session,
    pub server: S,
    pub to_client: Vec<u8>,
    pub ends: Vec<TransactionEnd>,
    /// Deadlines of the session that have passed.
    pub late: Vec<Deadline>,
    pub now: Instant,
    onward: Onward,
    connection: Option<usize>,
    judgements: VecDeque<Judgement>,
    from_client: VecDeque<u8>,
    client_chunks: Chunks,
    server_chunks: Chunks,
    read_by_client: usize,
    closed: bool,
    polls: usize,
    /// Whether premature and repeated calls are made at every step.
    restless: bool,
    /// Whether the current step was dropped once.
    dropped: bool,
    /// Octets read from client and server, and waits: each allows further polls.
    paid: usize,
}

impl<S: OnwardServer> Gate<S> {
    pub fn new(
        settings: Settings,
        onward: OnwardSettings,
        server: S,
        judgements: Vec<Judgement>,
        chunks: (Chunks, Chunks),
    ) -> Self {
        let now = epoch();
        let time_of_day = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let id = SessionId::new("S");
        Self {
            session: Session::new(Arc::new(settings), id, Peer::local(), now, time_of_day),
            onward: Onward::new(Arc::new(onward)),
            server,
            to_client: Vec::new(),
            ends: Vec::new(),
            late: Vec::new(),
            now,
            connection: None,
            judgements: judgements.into(),
            from_client: VecDeque::new(),
            client_chunks: chunks.0,
            server_chunks: chunks.1,
            read_by_client: 0,
            closed: false,
            polls: 0,
            restless: false,
            dropped: false,
            paid: 0,
        }
    }

    /// Makes calls that must have no effect, wherever possible.
    pub fn restless(mut self) -> Self {
        self.restless = true;
        self
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Sends the client's octets and runs until the gate waits for the client. Returns the replies.
    pub fn say(&mut self, octets: &[u8]) -> Vec<Reply> {
        self.from_client.extend(octets);
        self.run();
        self.hear()
    }

    /// Resets the client's connection.
    pub fn reset(&mut self) {
        self.session.lose_client();
        self.run();
    }

    /// Ends the client's input.
    pub fn end_input(&mut self) -> Vec<Reply> {
        self.session.receive_eof();
        self.run();
        self.hear()
    }

    /// Lets the client stay silent until the gate gives up.
    pub fn stall(&mut self) -> Vec<Reply> {
        if let Some(deadline) = self.session.deadline() {
            self.expire(deadline);
        }
        self.run();
        self.hear()
    }

    /// Waits for everything that is left.
    pub fn finish(&mut self) {
        for _ in 0..100 {
            if self.closed {
                return;
            }
            self.stall();
        }
        panic!("the session does not end: {:?}", self.session);
    }

    fn hear(&mut self) -> Vec<Reply> {
        let (replies, rest) = read_replies(&self.to_client[self.read_by_client..]);
        assert!(rest.is_empty(), "half a reply: {:?}", String::from_utf8_lossy(rest));
        self.read_by_client = self.to_client.len();
        replies
    }

    fn expire(&mut self, deadline: Deadline) {
        self.now = self.now.max(deadline.at);
        self.late.push(deadline);
        self.paid += 1;
        self.session.handle_timeout(self.now);
    }

    fn run(&mut self) {
        loop {
            self.polls += 1;
            assert!(self.polls < 200 + 40 * self.paid, "no progress: {:?}", self.session);
            if self.restless {
                self.session.handle_timeout(self.now);
                self.session.tls_started(TlsInfo::new("TLSv1.3", "none"));
                let early: Vec<u8> =
                    self.from_client.drain(..self.from_client.len().min(7)).collect();
                self.paid += early.len();
                self.session.receive(&early);
                self.session.receive(b"");
                self.dropped = !self.dropped;
            }
            match self.session.poll(self.now) {
                Step::Ask(_) | Step::Forward(_) | Step::Receive if self.dropped => {}
                Step::Transmit(octets) => {
                    assert!(!octets.is_empty(), "nothing to transmit");
                    self.to_client.extend_from_slice(&octets);
                }
                Step::Receive => {
                    let chunk = self.client_chunks.next().min(self.from_client.len());
                    if chunk == 0 {
                        return;
                    }
                    let octets: Vec<u8> = self.from_client.drain(..chunk).collect();
                    self.paid += chunk;
                    self.session.receive(&octets);
                }
                Step::Ask(question) => {
                    let deadline = question.deadline().expect("a question has a deadline");
                    self.paid += 1;
                    match self.judgements.pop_front().unwrap_or(Judgement::Pass) {
                        Judgement::Pass => question.answer(Verdict::Pass),
                        Judgement::Tag => {
                            let field = HeaderField::new("X-Tag", "a\r\n.\r\nb").unwrap();
                            question.answer(Verdict::Tag(vec![field]));
                        }
                        Judgement::Refuse(refusal) => question.answer(Verdict::Refuse(refusal)),
                        Judgement::Late => self.expire(deadline),
                        Judgement::ClientGone => self.session.lose_client(),
                    }
                }
                Step::Forward(forward) => {
                    let deadline = forward.deadline().expect("a request has a deadline");
                    self.paid += 1;
                    let mut link = Link {
                        onward: &mut self.onward,
                        server: &mut self.server,
                        connection: &mut self.connection,
                        chunks: &mut self.server_chunks,
                        now: &mut self.now,
                        restless: self.restless,
                        paid: &mut self.paid,
                    };
                    let (request, pending) = forward.take();
                    match link.ask(request, deadline) {
                        Some(outcome) => pending.complete(outcome),
                        None => self.expire(deadline),
                    }
                }
                Step::Ended(end) => self.ends.push(*end),
                Step::StartTls => self.session.lose_client(),
                Step::Close => {
                    self.closed = true;
                    self.from_client.clear();
                    return;
                }
            }
        }
    }
}

/// The onward side of a gate.
struct Link<'g, S> {
    onward: &'g mut Onward,
    server: &'g mut S,
    connection: &'g mut Option<usize>,
    chunks: &'g mut Chunks,
    now: &'g mut Instant,
    restless: bool,
    paid: &'g mut usize,
}

impl<S: OnwardServer> Link<'_, S> {
    /// Returns the outcome; `None` if the session's deadline passes first.
    fn ask(&mut self, request: Request<'_>, limit: Deadline) -> Option<Outcome> {
        self.onward.request(request);
        let mut polls = 0;
        let paid = *self.paid;
        loop {
            polls += 1;
            assert!(polls < 100 + 10 * (*self.paid - paid), "no progress: {:?}", self.onward);
            if self.restless && polls > 1 {
                self.onward.handle_timeout(*self.now);
                self.onward.receive(b"");
            }
            let step = self.onward.poll(*self.now);
            let deadline = self.onward.deadline();
            match step {
                OnwardStep::Connect => match self.server.connect() {
                    Connect::Made(at) => {
                        *self.connection = Some(at);
                        self.onward.connected();
                    }
                    Connect::Refused => self.onward.unreachable("refused"),
                    Connect::Silence => self.wait(deadline, limit)?,
                },
                OnwardStep::Transmit(segments) => {
                    let octets = segments.concat();
                    assert!(!octets.is_empty(), "nothing to transmit");
                    let at = self.connection.expect("octets without a connection");
                    if !self.server.write(at, &octets) {
                        self.onward.transmit_failed();
                    }
                }
                OnwardStep::Receive => {
                    if self.restless {
                        self.onward.connected();
                    }
                    let at = self.connection.expect("reading without a connection");
                    match self.server.read(at, self.chunks.next()) {
                        Read::Octets(octets) => {
                            *self.paid += octets.len();
                            self.onward.receive(&octets);
                        }
                        Read::Later(time) => {
                            let then = *self.now + time;
                            match deadline.filter(|deadline| deadline.at <= then) {
                                Some(_) => self.wait(deadline, limit)?,
                                None if limit.at <= then => return None,
                                None => *self.now = then,
                            }
                        }
                        Read::Eof => {
                            *self.connection = None;
                            self.onward.disconnected();
                        }
                        Read::Silence => self.wait(deadline, limit)?,
                    }
                }
                OnwardStep::StartTls => panic!("TLS without being asked for it"),
                OnwardStep::Done(outcome) => return Some(outcome),
                OnwardStep::Disconnect => {
                    let at = self.connection.take().expect("a connection to close");
                    self.server.closed(at);
                    if self.restless {
                        self.onward.connected();
                        self.onward.receive(b"250 too late\r\n");
                    }
                }
                OnwardStep::Idle => panic!("a request without an outcome: {:?}", self.onward),
            }
        }
    }

    /// Waits without input. Returns `None` if the session's deadline passes first.
    fn wait(&mut self, deadline: Option<Deadline>, limit: Deadline) -> Option<()> {
        let deadline = deadline.expect("every wait has a deadline");
        if limit.at <= deadline.at {
            return None;
        }
        *self.now = deadline.at.max(*self.now);
        self.onward.handle_timeout(*self.now);
        Some(())
    }
}

/// Returns the start of the virtual time.
#[expect(clippy::disallowed_methods, reason = "an `Instant` cannot be created otherwise")]
pub fn epoch() -> Instant {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}
