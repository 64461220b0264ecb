//! Player of dialogues: the script controls the time and everything except the gate.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::flight::{Cutter, Flight};
use super::ledger::{Came, Ledger, Speaker};
use super::script::{Event, Ruling, Script, Sent};
use super::{Chunking, Company, Happened, SESSION, TranscriptError};
use crate::capabilities::Capabilities;
use crate::envelope::{SessionId, TransactionId};
use crate::onward::{Onward, OnwardStep};
use crate::outcome::{Granted, Outcome, Receipt, RequestKind};
use crate::peer::TlsInfo;
use crate::rehearsal::automatic::{Automatic, Heard};
use crate::session::{Session, Step, TransactionEnd};
use crate::verdict::Refusal;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::Reply;

/// Time of day at the start of a dialogue: 2026-01-01 00:00:00 UTC.
const BEGINNING: Duration = Duration::from_secs(1_767_225_600);

pub(super) struct Player<'p> {
    script: &'p Script,
    ledger: Ledger<'p>,
    company: &'p mut dyn Company,
    session: Session,
    onward: Onward,
    server: Automatic,
    now: Instant,
    /// End of the current `T:` line, while its time passes.
    until: Option<Instant>,
    cutter: Cutter,
    from_client: Flight,
    from_server: Flight,
    waits: Waits,
    /// Whether the session's request was passed to the relay target.
    requested: bool,
    /// Whether the session's question was passed to the panel.
    questioned: bool,
    /// Whether the panel was asked and does not answer.
    silent: bool,
    outcome: Option<Outcome>,
    /// Transaction, kind and recipient of the relay target's current request.
    asked: Option<(TransactionId, RequestKind, Option<ForwardPath>)>,
    /// Whether the relay target was asked and does not answer.
    mute: bool,
    connecting: bool,
    handshaking: bool,
    quit: bool,
    ends: Vec<TransactionEnd>,
}

/// The party that the session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Client,
    Tls,
    Panel,
    Relay,
    Closed,
}

impl<'p> Player<'p> {
    pub(super) fn new(
        script: &'p Script,
        chunking: Chunking,
        company: &'p mut dyn Company,
        now: Instant,
    ) -> Self {
        let mut session = Session::new(
            Arc::new(script.settings.clone()),
            SessionId::new(SESSION),
            script.client.clone(),
            now,
            SystemTime::UNIX_EPOCH + BEGINNING,
        );
        session.offer(script.through.as_ref().unwrap_or(&Capabilities::all()));
        Self {
            script,
            ledger: Ledger::new(script),
            company,
            session,
            onward: Onward::new(Arc::new(script.onward.clone())),
            server: script.server.clone(),
            now,
            until: None,
            cutter: Cutter::new(chunking),
            from_client: Flight::default(),
            from_server: Flight::default(),
            waits: Waits::Client,
            requested: false,
            questioned: false,
            silent: false,
            outcome: None,
            asked: None,
            mute: false,
            connecting: false,
            handshaking: false,
            quit: false,
            ends: Vec::new(),
        }
    }

    pub(super) fn play(mut self) -> Result<Vec<TransactionEnd>, TranscriptError> {
        self.company.see(self.now, Happened::Connected(&self.session));
        if let Some((0, Event::ShutDown | Event::Client(Sent::Octets { at_once: true, .. }))) =
            self.ledger.turn()
        {
            self.next_event()?;
        }
        while self.poll_session()? || self.poll_onward()? || self.next_event()? {}
        match self.waits {
            Waits::Panel => Err(self.ledger.unexpected("an answer by the panel", "nothing")),
            Waits::Relay => {
                Err(self.ledger.unexpected("an answer by the onward server", "nothing"))
            }
            Waits::Tls => Err(self.ledger.unexpected("the handshake", "nothing")),
            Waits::Client if !self.from_client.is_empty() => {
                Err(self.ledger.unexpected("a session that reads", "nothing"))
            }
            Waits::Client | Waits::Closed => Ok(self.ends),
        }
    }

    // --- the state machines: `true` if there was progress ---

    fn poll_session(&mut self) -> Result<bool, TranscriptError> {
        let step = self.session.poll(self.now);
        if matches!(step, Step::Receive | Step::Ask(_) | Step::Close) {
            self.requested = false;
            self.outcome = None;
        }
        self.questioned &= matches!(step, Step::Ask(_));
        match step {
            Step::Transmit(octets) => {
                self.company.see(self.now, Happened::Transmitted(&octets));
                for line in
                    whole_lines(&octets).map_err(|rest| self.ledger.unexpected("CRLF", rest))?
                {
                    self.ledger.heard(Speaker::Session, Came::Line(line))?;
                }
            }
            Step::Receive => {
                self.waits = Waits::Client;
                return Ok(self.client_arrives());
            }
            Step::StartTls => {
                self.waits = Waits::Tls;
                if !std::mem::replace(&mut self.handshaking, true) {
                    self.ledger.heard(Speaker::Session, Came::StartTls)?;
                }
                if self.is_left_waiting() {
                    return Ok(false);
                }
                self.handshaking = false;
                let tls = TlsInfo::new("TLSv1.3", "TLS_AES_256_GCM_SHA384");
                self.session.tls_started(tls);
            }
            Step::Ask(question) => {
                if !std::mem::replace(&mut self.questioned, true) {
                    self.company.see(self.now, Happened::Asked(question.subject()));
                }
                if self.silent {
                    self.waits = Waits::Panel;
                    return Ok(false);
                }
                let verdict = match self.ledger.turn() {
                    Some((at, Event::Panel(ruling))) => {
                        if self.until.is_some() {
                            self.waits = Waits::Panel;
                            return Ok(false);
                        }
                        self.ledger.meet(at);
                        match ruling {
                            Ruling::Verdict(verdict) => verdict.clone(),
                            Ruling::Silent => {
                                self.silent = true;
                                return Ok(true);
                            }
                        }
                    }
                    Some((_, Event::Time(_))) if self.ledger.is_panel_next() => {
                        self.waits = Waits::Panel;
                        return Ok(false);
                    }
                    _ => self.company.judge(&question, &mut self.now),
                };
                self.company
                    .see(self.now, Happened::Judged(&question.id(), question.subject(), &verdict));
                self.questioned = false;
                question.answer(verdict);
            }
            Step::Forward(forward) => {
                if !std::mem::replace(&mut self.requested, true) {
                    let kind = forward.kind();
                    let recipient = forward.recipient().filter(|_| kind == RequestKind::Recipient);
                    self.asked = Some((forward.envelope().id.clone(), kind, recipient.cloned()));
                    self.mute = false;
                    self.company.see(self.now, Happened::Requested);
                    if !self.script.answers {
                        self.onward.request(forward.take().0);
                    }
                    return Ok(true);
                }
                if self.script.answers
                    && !self.mute
                    && self.until.is_none()
                    && let Some((at, Event::Answer(reply))) = self.ledger.turn()
                {
                    self.ledger.meet(at);
                    match reply {
                        Some(reply) => self.outcome = Some(answered(reply, forward.kind())),
                        None => self.mute = true,
                    }
                }
                if let Some(outcome) = self.outcome.take() {
                    self.requested = false;
                    if let Some((id, kind, recipient)) = self.asked.take() {
                        let answer = Happened::Relayed(&id, kind, recipient.as_ref(), &outcome);
                        self.company.see(self.now, answer);
                    }
                    forward.complete(outcome);
                } else {
                    self.waits = Waits::Relay;
                    return Ok(false);
                }
            }
            Step::Ended(end) => {
                self.company.see(self.now, Happened::Ended(&end));
                self.ends.push(*end);
            }
            Step::Close => {
                if self.waits == Waits::Closed {
                    return Ok(false);
                }
                self.waits = Waits::Closed;
                self.from_client = Flight::default();
                self.company.see(self.now, Happened::Closed(&self.session));
                self.ledger.heard(Speaker::Session, Came::Close)?;
            }
        }
        Ok(true)
    }

    fn poll_onward(&mut self) -> Result<bool, TranscriptError> {
        let step = self.onward.poll(self.now);
        if !matches!(step, OnwardStep::Connect | OnwardStep::StartTls) {
            self.connecting = false;
        }
        match step {
            OnwardStep::Connect => return self.connect(),
            OnwardStep::StartTls => return self.start_tls_onward(),
            OnwardStep::Transmit(segments) => {
                if let Some((at, Event::Onward(Sent::Deaf))) = self.ledger.turn() {
                    self.ledger.meet(at);
                    self.onward.transmit_failed();
                    return Ok(true);
                }
                let octets = segments.concat();
                for line in
                    whole_lines(&octets).map_err(|rest| self.ledger.unexpected("CRLF", rest))?
                {
                    self.relay_said(line)?;
                }
            }
            OnwardStep::Receive | OnwardStep::Idle => {
                let Some(piece) = self.from_server.take(&mut self.cutter) else {
                    return Ok(false);
                };
                self.onward.receive(&piece);
            }
            OnwardStep::Done(outcome) => self.outcome = Some(outcome),
            OnwardStep::Disconnect => {
                self.from_server = Flight::default();
                if !self.server.is_alone() {
                    self.ledger.heard(Speaker::Relay, Came::Close)?;
                }
            }
        }
        Ok(true)
    }

    fn connect(&mut self) -> Result<bool, TranscriptError> {
        self.from_server = Flight::default();
        if let Some(greeting) = self.server.greeting() {
            self.from_server.push(greeting, false);
            self.onward.connected();
            return Ok(true);
        }
        if !std::mem::replace(&mut self.connecting, true) {
            self.ledger.heard(Speaker::Relay, Came::Connect)?;
        }
        if self.is_left_waiting() {
            return Ok(false);
        }
        match self.ledger.turn() {
            Some((at, Event::Onward(Sent::Refused))) => {
                self.ledger.meet(at);
                self.onward.unreachable(ErrorKind::ConnectionRefused.to_string());
            }
            _ => self.onward.connected(),
        }
        Ok(true)
    }

    /// Starts TLS to the onward server. Unread plaintext after the 220 reply counts as an invalid
    /// handshake.
    fn start_tls_onward(&mut self) -> Result<bool, TranscriptError> {
        if !std::mem::replace(&mut self.connecting, true) {
            self.ledger.heard(Speaker::Relay, Came::StartTls)?;
        }
        if self.is_left_waiting() {
            return Ok(false);
        }
        let garbled = !std::mem::take(&mut self.from_server).is_empty();
        match self.ledger.turn() {
            Some((at, Event::Onward(Sent::Refused))) => {
                self.ledger.meet(at);
                self.onward.tls_failed("refused");
            }
            _ if garbled => self.onward.tls_failed("no handshake"),
            _ => self.onward.tls_started(),
        }
        Ok(true)
    }

    fn client_arrives(&mut self) -> bool {
        if self.from_client.is_empty() {
            return false;
        }
        if let Some(piece) = self.from_client.take(&mut self.cutter) {
            self.receive(&piece);
        }
        if self.from_client.ends() {
            self.session.receive_eof();
        }
        true
    }

    fn receive(&mut self, octets: &[u8]) {
        let in_turn = self.waits == Waits::Client;
        self.company.see(self.now, Happened::Received { octets, in_turn });
        self.session.receive(octets);
    }

    // --- the script ---

    /// Performs the next scripted event, because nothing else can make progress.
    fn next_event(&mut self) -> Result<bool, TranscriptError> {
        if let Some(until) = self.until {
            self.pass_time(until);
            return Ok(true);
        }
        let owed = self.ledger.owed();
        let Some((at, event)) = self.ledger.turn() else {
            return owed.map_or(Ok(false), |owed| Err(self.ledger.missing(owed)));
        };
        // Replies to a group of commands may be delayed while the session waits for the panel or
        // the relay target.
        let held = matches!(self.waits, Waits::Panel | Waits::Relay)
            && !matches!(event, Event::Client(Sent::Octets { .. } | Sent::Eof));
        if let Some(owed) = owed.filter(|owed| *owed < at && !held) {
            return Err(self.ledger.missing(owed));
        }
        match event {
            Event::Client(Sent::Reset) => {
                self.ledger.meet(at);
                self.company.see(self.now, Happened::Lost);
                self.session.lose_client();
            }
            Event::Client(Sent::Octets { at_once, .. })
                if *at_once || self.waits == Waits::Client =>
            {
                self.take_off(at);
                if *at_once && let Some(piece) = self.from_client.take(&mut self.cutter) {
                    self.receive(&piece);
                }
            }
            Event::Client(Sent::Eof) if self.waits == Waits::Client => self.take_off(at),
            Event::Onward(Sent::Octets { .. }) if self.onward.deadline().is_some() => {
                self.take_off(at);
            }
            Event::Onward(Sent::Octets { .. }) if self.onward.is_idle() => self.take_off(at),
            Event::Onward(Sent::Eof) => {
                self.ledger.meet(at);
                self.onward.disconnected();
            }
            Event::Time(span) => {
                self.ledger.meet(at);
                self.until = Some(self.now + *span);
            }
            Event::ShutDown => {
                self.ledger.meet(at);
                self.session.shut_down();
            }
            Event::Relay(_) if self.waits == Waits::Closed && !self.quit => {
                self.quit = true;
                self.onward.quit();
            }
            _ => return Err(self.ledger.missing(at)),
        }
        Ok(true)
    }

    /// Sends the flight that begins here.
    fn take_off(&mut self, at: usize) {
        let of_client = matches!(self.ledger.from(at).next(), Some((_, Event::Client(_))));
        for (at, event) in self.ledger.from(at) {
            match event {
                Event::Client(Sent::Octets { octets, at_once }) if of_client => {
                    self.from_client.push(octets, *at_once);
                }
                Event::Client(Sent::Eof) if of_client => {
                    self.from_client.eof = true;
                    return self.ledger.meet(at);
                }
                Event::Onward(Sent::Octets { octets, at_once }) if !of_client => {
                    self.from_server.push(octets, *at_once);
                }
                _ => return,
            }
            self.ledger.meet(at);
        }
    }

    fn pass_time(&mut self, until: Instant) {
        let deadlines = [self.session.deadline(), self.onward.deadline()];
        let due = deadlines.iter().flatten().map(|deadline| deadline.at).min();
        match due.filter(|at| *at <= until) {
            Some(at) => {
                self.now = self.now.max(at);
                if let Some(deadline) = deadlines[0].filter(|deadline| deadline.at <= self.now) {
                    self.requested = false;
                    self.silent = false;
                    self.company.see(self.now, Happened::Late(deadline.awaiting));
                }
                self.session.handle_timeout(self.now);
                self.onward.handle_timeout(self.now);
            }
            None => {
                self.now = until;
                self.until = None;
            }
        }
    }

    fn relay_said(&mut self, line: &[u8]) -> Result<(), TranscriptError> {
        match self.server.hear(line) {
            Heard::Says(reply) => {
                self.from_server.push(&reply, false);
                Ok(())
            }
            Heard::Scripted => self.ledger.heard(Speaker::Relay, Came::Line(line)),
        }
    }

    /// Returns whether, instead of an answer, time passes or the client leaves next.
    fn is_left_waiting(&self) -> bool {
        let leaves = |event: &Event| {
            matches!(event, Event::Time(_) | Event::Client(Sent::Reset) | Event::Client(Sent::Eof))
        };
        self.until.is_some() || self.ledger.turn().is_some_and(|(_, event)| leaves(event))
    }
}

/// Creates the outcome for this reply of the relay target.
fn answered(reply: &Reply, kind: RequestKind) -> Outcome {
    let granted = match kind {
        RequestKind::Recipient | RequestKind::Renewal => Granted::Recipient,
        RequestKind::Content | RequestKind::Answer => Granted::Content,
    };
    match Refusal::try_from(reply.clone()) {
        Ok(refusal) => Outcome::Refused(refusal),
        Err(reply) => Outcome::Accepted(Receipt::stated(granted, reply)),
    }
}

/// Splits octets into lines without CRLF. Returns the rest as an error if the last line is
/// incomplete.
fn whole_lines(octets: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut lines = Vec::new();
    let mut rest = octets;
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    if rest.is_empty() { Ok(lines) } else { Err(format!("`{}`", rest.escape_ascii())) }
}
