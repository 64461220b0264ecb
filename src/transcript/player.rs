//! Plays a dialogue: whoever is not the gate is in the script, time included.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::script::{Event, Expected, Ruling, Script, Sent};
use super::server::{Automatic, Heard};
use super::{Chunking, TranscriptError};
use crate::envelope::SessionId;
use crate::onward::{Onward, OnwardStep};
use crate::outcome::Outcome;
use crate::peer::{Peer, Tls};
use crate::session::{Session, Step, TransactionEnd};
use crate::verdict::{Subject, Verdict};

/// The time of day when a dialogue begins: 2026-01-01 00:00:00 UTC.
const BEGINNING: Duration = Duration::from_secs(1_767_225_600);

pub(super) struct Player<'p> {
    script: &'p Script,
    /// Which entries of the script have come true.
    met: Vec<bool>,
    /// The line of the entry that did so last.
    line: usize,
    panel: &'p mut dyn FnMut(Subject<'_>) -> Verdict,
    session: Session,
    onward: Onward,
    server: Automatic,
    now: Instant,
    /// Time is passing until then.
    until: Option<Instant>,
    cutter: Cutter,
    from_client: Flight,
    from_server: Flight,
    waits: Waits,
    /// The onward machine has been asked what the session asks.
    requested: bool,
    /// The panel has been asked, and keeps silent.
    silent: bool,
    outcome: Option<Outcome>,
    connecting: bool,
    handshaking: bool,
    quit: bool,
    /// An expected `Received` field may go on.
    in_trace: bool,
    ends: Vec<TransactionEnd>,
}

/// For whom the session waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Client,
    Tls,
    Panel,
    Relay,
    Closed,
}

/// Octets on their way.
#[derive(Debug, Default)]
struct Flight {
    /// Lines, each with whether it arrives in one piece.
    lines: VecDeque<(Vec<u8>, bool)>,
    /// Octets of all lines.
    length: usize,
    eof: bool,
}

impl<'p> Player<'p> {
    #[allow(
        clippy::disallowed_methods,
        reason = "any moment will do; from here on time is in the dialogue"
    )]
    pub(super) fn new(
        script: &'p Script,
        chunking: Chunking,
        panel: &'p mut dyn FnMut(Subject<'_>) -> Verdict,
    ) -> Self {
        let now = Instant::now();
        let mut session = Session::new(
            Arc::new(script.settings.clone()),
            SessionId::new("play"),
            Peer::new(([192, 0, 2, 1], 4321).into()),
            now,
            SystemTime::UNIX_EPOCH + BEGINNING,
        );
        if let Some(through) = &script.through {
            session.offer(through);
        }
        Self {
            script,
            met: vec![false; script.entries.len()],
            line: 0,
            panel,
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
            silent: false,
            outcome: None,
            connecting: false,
            handshaking: false,
            quit: false,
            in_trace: false,
            ends: Vec::new(),
        }
    }

    pub(super) fn play(mut self) -> Result<Vec<TransactionEnd>, TranscriptError> {
        let first = self.next_in_turn().map(|at| &self.script.entries[at].event);
        if let Some(Event::Client(Sent::Octets { at_once: true, .. })) = first {
            self.next_event()?;
        }
        while self.poll_session()? || self.poll_onward()? || self.next_event()? {}
        match self.waits {
            Waits::Panel => Err(self.unexpected("an answer by the panel", "nothing")),
            Waits::Relay => Err(self.unexpected("an answer by the onward server", "nothing")),
            Waits::Tls => Err(self.unexpected("the handshake", "nothing")),
            Waits::Client if !self.from_client.is_empty() => {
                Err(self.unexpected("a session that reads", "nothing"))
            }
            Waits::Client | Waits::Closed => Ok(self.ends),
        }
    }

    // --- the machines: `true` if something was done ---

    fn poll_session(&mut self) -> Result<bool, TranscriptError> {
        let step = self.session.poll(self.now);
        if matches!(step, Step::Receive | Step::Ask(_) | Step::Close) {
            self.requested = false;
            self.outcome = None;
        }
        match step {
            Step::Transmit(octets) => {
                for line in whole_lines(&octets).map_err(|rest| self.unexpected("CRLF", rest))? {
                    self.session_said(Came::Line(line))?;
                }
            }
            Step::Receive => {
                self.waits = Waits::Client;
                return Ok(self.client_arrives());
            }
            Step::StartTls => {
                self.waits = Waits::Tls;
                if !std::mem::replace(&mut self.handshaking, true) {
                    self.session_said(Came::StartTls)?;
                }
                if self.is_left_waiting() {
                    return Ok(false);
                }
                self.handshaking = false;
                let tls = Tls::new("TLSv1.3", "TLS_AES_256_GCM_SHA384");
                self.session.tls_started(tls);
            }
            Step::Ask(question) => {
                if self.silent {
                    self.waits = Waits::Panel;
                    return Ok(false);
                }
                let next = turn(self.script, &self.met);
                let verdict = match next.map(|at| (at, &self.script.entries[at])) {
                    Some((at, entry)) if let Event::Panel(ruling) = &entry.event => {
                        self.met[at] = true;
                        self.line = entry.line;
                        match ruling {
                            Ruling::Verdict(verdict) => verdict.clone(),
                            Ruling::Silent => {
                                self.silent = true;
                                return Ok(true);
                            }
                        }
                    }
                    _ => (self.panel)(question.subject()),
                };
                question.answer(verdict);
            }
            Step::Forward(forward) => {
                if let Some(outcome) = self.outcome.take() {
                    self.requested = false;
                    forward.complete(outcome);
                } else if !std::mem::replace(&mut self.requested, true) {
                    self.onward.request(forward.request());
                } else {
                    self.waits = Waits::Relay;
                    return Ok(false);
                }
            }
            Step::Ended(end) => self.ends.push(*end),
            Step::Close => {
                if self.waits == Waits::Closed {
                    return Ok(false);
                }
                self.waits = Waits::Closed;
                self.from_client = Flight::default();
                self.session_said(Came::Close)?;
            }
        }
        Ok(true)
    }

    fn poll_onward(&mut self) -> Result<bool, TranscriptError> {
        let step = self.onward.poll(self.now);
        if !matches!(step, OnwardStep::Connect) {
            self.connecting = false;
        }
        match step {
            OnwardStep::Connect => return self.connect(),
            OnwardStep::Transmit(segments) => {
                if let Some((at, Event::Onward(Sent::Deaf))) = self.in_turn() {
                    self.meet(at);
                    self.onward.transmit_failed();
                    return Ok(true);
                }
                let octets = segments.concat();
                for line in whole_lines(&octets).map_err(|rest| self.unexpected("CRLF", rest))? {
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
                    self.heard(Lane::Relay, Came::Close)?;
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
            self.heard(Lane::Relay, Came::Connect)?;
        }
        if self.is_left_waiting() {
            return Ok(false);
        }
        match self.in_turn() {
            Some((at, Event::Onward(Sent::Refused))) => {
                self.meet(at);
                self.onward.disconnected();
            }
            _ => self.onward.connected(),
        }
        Ok(true)
    }

    fn client_arrives(&mut self) -> bool {
        if let Some(piece) = self.from_client.take(&mut self.cutter) {
            self.session.receive(&piece);
        } else if !self.from_client.eof {
            return false;
        }
        if self.from_client.lines.is_empty() && std::mem::take(&mut self.from_client.eof) {
            self.session.receive_eof();
        }
        true
    }

    // --- the script ---

    /// Nobody can go on: the script does.
    fn next_event(&mut self) -> Result<bool, TranscriptError> {
        if let Some(until) = self.until {
            self.pass_time(until);
            return Ok(true);
        }
        let owed = self.met.iter().position(|met| !met);
        let Some((at, event)) = self.in_turn() else {
            return owed.map_or(Ok(false), |owed| Err(self.missing(owed)));
        };
        // Replies to a group may be held while somebody is waited for.
        let held = matches!(self.waits, Waits::Panel | Waits::Relay)
            && !matches!(event, Event::Client(Sent::Octets { .. } | Sent::Eof));
        if let Some(owed) = owed.filter(|owed| *owed < at && !held) {
            return Err(self.missing(owed));
        }
        match event {
            Event::Client(Sent::Reset) => {
                self.meet(at);
                self.session.lose_client();
            }
            Event::Client(Sent::Octets { at_once, .. })
                if *at_once || self.waits == Waits::Client =>
            {
                self.take_off(at);
                if *at_once && let Some(piece) = self.from_client.take(&mut self.cutter) {
                    self.session.receive(&piece);
                }
            }
            Event::Client(Sent::Eof) if self.waits == Waits::Client => self.take_off(at),
            Event::Onward(Sent::Octets { .. }) if self.onward.deadline().is_some() => {
                self.take_off(at);
            }
            Event::Onward(Sent::Octets { .. }) if self.onward.is_idle() => self.take_off(at),
            Event::Onward(Sent::Eof) => {
                self.meet(at);
                self.onward.disconnected();
            }
            Event::Time(span) => {
                self.meet(at);
                self.until = Some(self.now + *span);
            }
            Event::ShutDown => {
                self.meet(at);
                self.session.shut_down();
            }
            Event::Relay(_) if self.waits == Waits::Closed && !self.quit => {
                self.quit = true;
                self.onward.quit();
            }
            _ => return Err(self.missing(at)),
        }
        Ok(true)
    }

    /// Puts the flight that begins here on its way.
    fn take_off(&mut self, at: usize) {
        let script = self.script;
        for (index, entry) in script.entries.iter().enumerate().skip(at) {
            match (&script.entries[at].event, &entry.event) {
                (Event::Client(_), Event::Client(Sent::Octets { octets, at_once })) => {
                    self.from_client.push(octets, *at_once);
                }
                (Event::Client(_), Event::Client(Sent::Eof)) => {
                    self.from_client.eof = true;
                    self.meet(index);
                    break;
                }
                (Event::Onward(_), Event::Onward(Sent::Octets { octets, at_once })) => {
                    self.from_server.push(octets, *at_once);
                }
                _ => break,
            }
            self.meet(index);
        }
    }

    fn pass_time(&mut self, until: Instant) {
        let deadlines = [self.session.deadline(), self.onward.deadline()];
        let due = deadlines.iter().flatten().map(|deadline| deadline.at).min();
        match due.filter(|at| *at <= until) {
            Some(at) => {
                self.now = self.now.max(at);
                if deadlines[0].is_some_and(|deadline| deadline.at <= self.now) {
                    self.requested = false;
                    self.silent = false;
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

    fn session_said(&mut self, came: Came<'_>) -> Result<(), TranscriptError> {
        self.heard(Lane::Session, came)
    }

    fn relay_said(&mut self, line: &[u8]) -> Result<(), TranscriptError> {
        match self.server.hear(line) {
            Heard::Says(reply) => {
                self.from_server.push(&reply, false);
                Ok(())
            }
            Heard::Scripted => {
                let goes_on = matches!(line.first(), Some(b' ' | b'\t'));
                if self.in_trace && goes_on {
                    return Ok(());
                }
                self.in_trace = false;
                self.heard(Lane::Relay, Came::Line(line))
            }
        }
    }

    /// Compares what came with what the script says.
    fn heard(&mut self, lane: Lane, came: Came<'_>) -> Result<(), TranscriptError> {
        let script = self.script;
        let mut open = (0..self.met.len()).filter(|at| !self.met[*at]);
        let said = open.find_map(|at| match (lane, &script.entries[at].event) {
            (Lane::Session, Event::Session(expected)) | (Lane::Relay, Event::Relay(expected)) => {
                Some((at, expected))
            }
            _ => None,
        });
        let Some((at, expected)) = said else {
            return Err(self.unexpected("nothing more", came.by(lane)));
        };
        let matching = match (&came, expected) {
            (Came::Line(line), expected) => expected.matches(line),
            (Came::Connect, Expected::Connect)
            | (Came::StartTls, Expected::StartTls)
            | (Came::Close, Expected::Close) => true,
            _ => false,
        };
        let entry = &script.entries[at];
        if !matching {
            return Err(TranscriptError::new(entry.line, &entry.event, came.by(lane)));
        }
        if let Some((before, _)) = self.in_turn().filter(|(before, _)| *before < at) {
            let before = &script.entries[before];
            let came = format!("{} of line {} too soon", came.by(lane), entry.line);
            return Err(TranscriptError::new(before.line, &before.event, came));
        }
        self.in_trace = matches!(expected, Expected::Trace);
        self.meet(at);
        Ok(())
    }

    /// The first entry that has not come true, `S:` lines aside, since they may be late.
    fn in_turn(&self) -> Option<(usize, &'p Event)> {
        self.next_in_turn().map(|at| (at, &self.script.entries[at].event))
    }

    fn next_in_turn(&self) -> Option<usize> {
        turn(self.script, &self.met)
    }

    /// Whether the script lets time pass, or the client leave, instead of going on.
    fn is_left_waiting(&self) -> bool {
        let leaves = |event: &Event| {
            matches!(event, Event::Time(_) | Event::Client(Sent::Reset) | Event::Client(Sent::Eof))
        };
        self.until.is_some() || self.in_turn().is_some_and(|(_, event)| leaves(event))
    }

    fn meet(&mut self, at: usize) {
        self.met[at] = true;
        self.line = self.script.entries[at].line;
    }

    fn missing(&self, at: usize) -> TranscriptError {
        let entry = &self.script.entries[at];
        TranscriptError::new(entry.line, &entry.event, "nothing")
    }

    fn unexpected(&self, expected: &str, came: impl std::fmt::Display) -> TranscriptError {
        TranscriptError::new(self.line, expected, came)
    }
}

/// Who of us speaks.
#[derive(Debug, Clone, Copy)]
enum Lane {
    Session,
    Relay,
}

/// What one of us did.
#[derive(Debug, Clone, Copy)]
enum Came<'c> {
    Line(&'c [u8]),
    Connect,
    StartTls,
    Close,
}

impl Came<'_> {
    fn by(self, lane: Lane) -> String {
        let speaker = match lane {
            Lane::Session => "S",
            Lane::Relay => "R",
        };
        match self {
            Self::Line(line) => format!("`{speaker}: {}`", line.escape_ascii()),
            Self::Connect => format!("`{speaker}: <connect>`"),
            Self::StartTls => format!("`{speaker}: <starttls>`"),
            Self::Close => format!("`{speaker}: <close>`"),
        }
    }
}

impl Flight {
    /// A line behind those that are on their way; `glued`: in one piece with the line before.
    fn push(&mut self, octets: &[u8], glued: bool) {
        self.length += octets.len();
        match self.lines.back_mut() {
            Some((line, whole)) if glued => {
                line.extend_from_slice(octets);
                *whole = true;
            }
            _ => self.lines.push_back((octets.to_vec(), glued)),
        }
    }

    /// What arrives next.
    fn take(&mut self, cutter: &mut Cutter) -> Option<Vec<u8>> {
        let mut left = if self.length > 0 { cutter.cut(self.length) } else { 0 };
        let mut piece = Vec::with_capacity(left);
        while left > 0
            && let Some((mut line, whole)) = self.lines.pop_front()
        {
            if !whole && line.len() > left {
                let rest = line.split_off(left);
                self.lines.push_front((rest, false));
            }
            left = left.saturating_sub(line.len());
            self.length -= line.len();
            piece.append(&mut line);
        }
        (!piece.is_empty()).then_some(piece)
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && !self.eof
    }
}

/// The first entry that has not come true, `S:` lines aside.
fn turn(script: &Script, met: &[bool]) -> Option<usize> {
    let open = |(at, met): (usize, &bool)| {
        let late = matches!(script.entries[at].event, Event::Session(_));
        (!met && !late).then_some(at)
    };
    met.iter().enumerate().find_map(open)
}

/// The lines of these octets without their CRLF, or what stands behind the last.
fn whole_lines(octets: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut lines = Vec::new();
    let mut rest = octets;
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    if rest.is_empty() { Ok(lines) } else { Err(format!("`{}`", rest.escape_ascii())) }
}

/// Cuts what arrives into pieces.
struct Cutter {
    chunking: Chunking,
    state: u64,
}

impl Cutter {
    fn new(chunking: Chunking) -> Self {
        let state = match chunking {
            Chunking::Random(seed) => seed,
            Chunking::Whole | Chunking::Octets => 0,
        };
        Self { chunking, state }
    }

    /// How many of `length` octets arrive now: at least one.
    fn cut(&mut self, length: usize) -> usize {
        match self.chunking {
            Chunking::Whole => length,
            Chunking::Octets => 1,
            Chunking::Random(_) => {
                // Short and long pieces alike: a bound of a random order of magnitude, then a
                // random length below it.
                let bound = 1 << (self.random() % 8);
                1 + self.random() as usize % length.min(bound)
            }
        }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
