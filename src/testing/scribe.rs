//! An observer that writes sessions as transcripts.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::deadline::Awaiting;
use crate::envelope::SessionId;
use crate::observer::{Event, Observer};
use crate::outcome::Outcome;
use crate::peer::Peer;
use crate::runtime::Runtime;
use crate::session::EndCause;
use crate::verdict::{Stage, Verdict};
use crate::wire::reply::Reply;

/// An observer that writes each session as a [`Transcript`](super::Transcript), which can be read,
/// stored and played again.
///
/// The answers of the panel are in `J:` lines, and those of the relay target in `A:` lines. The
/// transcript can therefore be played without the original scorers and server. As in every
/// transcript, refusals name the session `play`. The greeting omits the name of the gate.
///
/// Some facts are not in the events and are inferred. A shutdown is inferred from its reply. The
/// end of the client's input is inferred if a session ends without a closing reply. Non-default
/// settings are in the head only if they were passed to [`setting`](Self::setting).
///
/// Use it only in tests: it keeps all sessions in memory with their full content.
///
/// ```
/// use nobounce::relay::Smtp;
/// use nobounce::testing::{Chunking, Scribe, Script, Transcript, VirtualRuntime, peer};
/// use nobounce::{Gate, Settings, serve};
/// use std::sync::Arc;
///
/// let runtime = VirtualRuntime::with(Script::smtp_server());
/// let target = Smtp::new(runtime.clone(), "192.0.2.25:25".parse()?, "mx.example");
/// let scribe = Arc::new(Scribe::new(runtime.clone()).setting("host mx.example"));
/// let gate = Gate::new(runtime.clone(), Settings::new("mx.example"), target).observed_by(scribe.clone());
///
/// let commands = ["HELO c.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "QUIT"];
/// runtime.run(serve(runtime.client(Script::smtp_client(commands)), peer(), &gate))?;
///
/// let text = scribe.transcripts().remove(0);
/// assert_eq!(
///     text,
///     "@ host mx.example
/// @ relay answers
/// @ client 192.0.2.1:4711
/// J: pass
/// S: 220 mx.example ESMTP nobounce
/// C: HELO c.example
/// S: 250 mx.example
/// C: MAIL FROM:<a@example.org>
/// S: 250 2.1.0 Sender ok
/// C: RCPT TO:<b@example.com>
/// J: pass
/// A: 250 2.1.5 Ok
/// S: 250 2.1.5 Ok
/// C: QUIT
/// S: 221 2.0.0 Bye
/// S: <close>
/// "
/// );
/// Transcript::parse(&text)?.play(Chunking::Octets)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Scribe<R> {
    runtime: R,
    head: String,
    sessions: Mutex<Vec<(SessionId, Notes)>>,
}

impl<R: Runtime> Scribe<R> {
    /// Creates a scribe with the clock of this runtime.
    pub fn new(runtime: R) -> Self {
        Self { runtime, head: String::new(), sessions: Mutex::default() }
    }

    /// Adds a setting to the head of every transcript, without the `@`: `host mx.example`.
    #[must_use]
    pub fn setting(mut self, setting: &str) -> Self {
        self.head.push_str("@ ");
        self.head.push_str(setting);
        self.head.push('\n');
        self
    }

    /// Returns the transcripts of all sessions so far, ordered by the start of the session.
    pub fn transcripts(&self) -> Vec<String> {
        self.lock().iter().map(|(_, notes)| notes.print(&self.head)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(SessionId, Notes)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the notes of this session.
    fn note(&self, session: &SessionId, write: impl FnOnce(&mut Notes)) {
        let now = self.runtime.now();
        let mut sessions = self.lock();
        let Some((_, notes)) = sessions.iter_mut().rev().find(|(id, _)| id == session) else {
            return;
        };
        notes.now = now;
        write(notes);
    }
}

impl<R: Runtime> Observer for Scribe<R> {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Connected { session, peer } => {
                let notes = Notes::new(session, peer, self.runtime.now());
                self.lock().push(((*session).clone(), notes));
            }
            Event::Received { session, octets, .. } => {
                self.note(session, |notes| notes.received(octets));
            }
            Event::Transmitted { session, octets } => {
                self.note(session, |notes| notes.transmitted(octets));
            }
            Event::Judged { id, stage, verdict, .. } => {
                self.note(id.session(), |notes| notes.judged(*stage, verdict));
            }
            Event::Relayed { id, outcome, .. } => {
                self.note(id.session(), |notes| notes.relayed(outcome));
            }
            Event::Late { session, awaiting } => {
                self.note(session, |notes| notes.late(*awaiting));
            }
            Event::Ended(record) if record.end.cause == EndCause::ClientLost => {
                self.note(record.end.envelope.id.session(), Notes::lost);
            }
            Event::Disconnected(record) => self.note(record.session, Notes::disconnected),
            _ => {}
        }
    }
}

impl<R> fmt::Debug for Scribe<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scribe").field("head", &self.head).finish_non_exhaustive()
    }
}

/// A reply that ends the session although its code does not say so.
const OUT_OF_TURN: &str = "554 5.5.0 SMTP protocol synchronization error";

/// Notes about one session.
struct Notes {
    /// Name of the session as it appears in refusals: `(NAME.`.
    name: String,
    /// Name of the gate, which ends its greeting.
    gate: Option<String>,
    client: Option<String>,
    /// Extensions offered to the client.
    offered: Option<String>,
    lines: Vec<String>,
    /// Received octets that do not yet form a complete line.
    rest: Vec<u8>,
    /// Time up to which the lines account for the time passed.
    written: Instant,
    now: Instant,
    progress: Progress,
    /// Whether the client's last line was STARTTLS.
    asks_for_tls: bool,
    in_mail_data: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    BeforeGreeting,
    Open,
    /// The TLS handshake has begun, and the client has not sent anything since.
    Handshaking,
    /// A reply that ends the session was sent.
    Closing,
    /// The connection to the client was lost.
    Lost,
}

impl Notes {
    fn new(session: &SessionId, peer: &Peer, now: Instant) -> Self {
        let named = |address: SocketAddr| match &peer.name {
            Some(name) => format!("{address} {name}"),
            None => address.to_string(),
        };
        Self {
            name: format!("({session}."),
            gate: session.gate().map(|gate| format!(" {gate}")),
            client: Some(peer.address.map_or_else(|| "local".into(), named)),
            offered: None,
            lines: Vec::new(),
            rest: Vec::new(),
            written: now,
            now,
            progress: Progress::BeforeGreeting,
            asks_for_tls: false,
            in_mail_data: false,
        }
    }

    fn print(&self, head: &str) -> String {
        let mut text = format!("{head}@ relay answers\n");
        for (setting, value) in [("client", &self.client), ("capabilities", &self.offered)] {
            if let Some(value) = value.as_ref().filter(|_| !head.contains(&format!("@ {setting} ")))
            {
                let _ = writeln!(text, "@ {setting} {value}");
            }
        }
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        if !self.rest.is_empty() {
            let _ = writeln!(text, "{}: {}\\", self.speaker(false), escaped(&self.rest, false));
        }
        text
    }

    fn received(&mut self, octets: &[u8]) {
        if self.progress == Progress::Handshaking {
            self.progress = Progress::Open;
        }
        if self.now.saturating_duration_since(self.written) >= Duration::from_millis(1) {
            self.flush();
            self.pass_time();
        }
        self.rest.extend_from_slice(octets);
        let mut glued = false;
        while let Some(end) = memchr::memmem::find(&self.rest, b"\r\n") {
            let line: Vec<u8> = self.rest.drain(..end + 2).collect();
            let line = &line[..end];
            let speaker = self.speaker(glued);
            self.write_client(format!("{speaker}: {}", escaped(line, false)));
            if self.in_mail_data {
                self.in_mail_data = line != b".";
            } else {
                self.asks_for_tls = line.eq_ignore_ascii_case(b"STARTTLS");
            }
            glued = true;
        }
    }

    /// Returns the label of a client line. It is `C!` if the client did not wait for its turn: it
    /// sent the line before the greeting, or several commands in one piece.
    fn speaker(&self, glued: bool) -> &'static str {
        let early = self.progress == Progress::BeforeGreeting;
        if early || (glued && !self.in_mail_data) { "C!" } else { "C" }
    }

    /// Adds a client line. A line sent before the greeting goes before the panel's answer, because
    /// it arrived before that answer.
    fn write_client(&mut self, line: String) {
        let before = match self.lines.last() {
            Some(last) if last.starts_with("J:") && line.starts_with("C!") => self.lines.len() - 1,
            _ => self.lines.len(),
        };
        self.lines.insert(before, line);
    }

    /// Writes pending client octets that have no line end.
    fn flush(&mut self) {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            let line = format!("{}: {}\\", self.speaker(false), escaped(&rest, false));
            self.write_client(line);
        }
    }

    fn transmitted(&mut self, octets: &[u8]) {
        self.flush();
        self.pass_time();
        let text = String::from_utf8_lossy(octets).replace(&self.name, "(play.");
        for line in text.split_terminator("\r\n") {
            if line.starts_with("421 4.3.2 Service shutting down") {
                // Insert at the very start, or after the `T:` line of the time before the shutdown.
                let early = self.progress == Progress::BeforeGreeting;
                let at_once = early && !self.lines.iter().any(|line| line.starts_with("T:"));
                let at = if at_once { 0 } else { self.lines.len() };
                self.lines.insert(at, "@ shutdown".into());
            }
            let unnamed = match &self.gate {
                Some(gate) if line.starts_with("220 ") => line.strip_suffix(&**gate),
                _ => None,
            };
            let said = unnamed.unwrap_or(line);
            self.lines.push(format!("S: {}", escaped(said.as_bytes(), true)));
            self.progress = match line.get(..4) {
                Some("221 " | "421 " | "521 ") => Progress::Closing,
                _ if self.progress == Progress::Closing => Progress::Closing,
                _ if line.starts_with(OUT_OF_TURN) => Progress::Closing,
                _ if self.progress == Progress::BeforeGreeting && !line.starts_with("220") => {
                    Progress::Closing
                }
                _ => Progress::Open,
            };
            if self.asks_for_tls && line.starts_with("220 ") {
                self.lines.push("S: <starttls>".into());
                self.progress = Progress::Handshaking;
            }
            self.in_mail_data |= line.starts_with("354 ");
        }
        self.asks_for_tls = false;
        self.read_offer(&text);
    }

    /// Stores the keywords of the first multi-line EHLO reply as the offered capabilities.
    fn read_offer(&mut self, text: &str) {
        let keywords: Option<Vec<_>> =
            text.split_terminator("\r\n").map(|line| line.strip_prefix("250")?.get(1..)).collect();
        if let Some([_, keywords @ ..]) = keywords.as_deref()
            && !keywords.is_empty()
            && text.starts_with("250-")
            && self.offered.is_none()
        {
            self.offered = Some(keywords.join(", "));
        }
    }

    fn judged(&mut self, stage: Stage, verdict: &Verdict) {
        if stage != Stage::Connect || self.rest.is_empty() {
            self.flush();
        }
        self.pass_time();
        if stage == Stage::Connect && matches!(verdict, Verdict::Refuse(_)) {
            self.progress = Progress::Closing;
        }
        self.lines.push(match verdict {
            Verdict::Pass => "J: pass".into(),
            Verdict::Tag(fields) => {
                let fields = fields.iter().map(|field| {
                    let unfolded = String::from_utf8_lossy(field.octets()).replace("\r\n", "");
                    escaped(unfolded.as_bytes(), false)
                });
                format!("J: tag {}", fields.collect::<Vec<_>>().join("\\n"))
            }
            Verdict::Refuse(refusal) => format!("J: refuse {}", reply(refusal.reply())),
        });
    }

    fn relayed(&mut self, outcome: &Outcome) {
        self.flush();
        self.pass_time();
        self.lines.push(format!("A: {}", reply(outcome.reply())));
    }

    /// Records a timeout as `silent`.
    fn late(&mut self, awaiting: Awaiting) {
        self.flush();
        match awaiting {
            Awaiting::Verdict => self.lines.push("J: silent".into()),
            Awaiting::RecipientOutcome | Awaiting::ContentOutcome => {
                self.lines.push("A: silent".into());
            }
            _ => {}
        }
        self.pass_time();
    }

    fn lost(&mut self) {
        self.flush();
        self.pass_time();
        if self.progress != Progress::Lost {
            self.progress = Progress::Lost;
            self.lines.push("C: <reset>".into());
        }
    }

    fn disconnected(&mut self) {
        self.flush();
        self.pass_time();
        if matches!(self.progress, Progress::Open | Progress::BeforeGreeting) {
            self.lines.push("C: <eof>".into());
        }
        self.lines.push("S: <close>".into());
    }

    fn pass_time(&mut self) {
        let passed = self.now.saturating_duration_since(self.written);
        let whole = Duration::from_millis(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
        if whole.is_zero() {
            return;
        }
        self.written += whole;
        let milliseconds = whole.as_millis();
        let time = match (milliseconds % 1_000, milliseconds / 1_000) {
            (0, seconds) => format!("T: {seconds}s"),
            _ => format!("T: {milliseconds}ms"),
        };
        self.lines.push(time);
    }
}

/// Formats a reply in one line: its code, and its text lines joined with `\n`.
fn reply(reply: &Reply) -> String {
    let text = reply.to_string();
    let lines: Vec<_> = text
        .split('\n')
        .map(|line| escaped(line.get(4..).unwrap_or_default().as_bytes(), false))
        .collect();
    format!("{} {}", reply.code(), lines.join("\\n"))
}

/// Escapes octets for a transcript. With `expected`, dots that would act as a wildcard are escaped
/// too.
fn escaped(octets: &[u8], expected: bool) -> String {
    let mut text = String::with_capacity(octets.len());
    let last = octets.len().saturating_sub(1);
    for (at, octet) in octets.iter().enumerate() {
        match octet {
            b'\\' => text.push_str("\\\\"),
            b'.' if expected && (octets.get(at + 1) == Some(&b'.')) => text.push_str("\\."),
            b'<' if at == 0 => text.push_str("\\x3c"),
            b' ' if at == 0 || at == last => text.push_str("\\x20"),
            b' '..=b'~' => text.push((*octet).into()),
            _ => {
                let _ = write!(text, "\\x{octet:02x}");
            }
        }
    }
    text
}
