//! The recorder: an observer that writes recordings.

mod extent;
mod held;
mod judging;

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use ring::digest;

use super::{During, Event, Observer};
use crate::conduct::Misconduct;
use crate::envelope::SessionId;
use crate::outcome::Outcome;
use crate::peer::Peer;
use crate::recording::{
    Closed, ContentForm, Ended, Fact, Pseudonyms, RecordedSession, RecorderSettings, Relayed,
    Sample, SettingsError, conceal,
};
use crate::runtime::Runtime;
use crate::session::EndCause;
use held::{Bounds, Held};

/// The number of tables that share the sessions.
const TABLES: usize = 1_024;

/// An observer that records sessions, for [`replay`](crate::replay).
///
/// Each session is buffered while it runs, and written whole when it ends, with one call of
/// [`Write::write_all`]. The [settings](RecorderSettings) say which sessions are written, and what of
/// them. A session that is too large, or that begins when the memory for all sessions is used up, is
/// cut: the rest is missing.
///
/// Add it to a gate that [reports answers](crate::Gate::report_answers). Otherwise a recording
/// contains verdicts without the findings that led to them, and cannot be replayed with another
/// policy. The writer is called in the task of the session, so it should not block.
///
/// ```
/// use nobounce::observer::Recorder;
/// use nobounce::recording::{Fact, RecorderSettings, Recording, Sample};
/// # use nobounce::scorers::Gtube;
/// # use nobounce::testing::{Script, VirtualRuntime, peer};
/// # use nobounce::{Gate, Panel, Settings, relay::Smtp, serve};
/// # let runtime = VirtualRuntime::with(Script::smtp_server());
/// # let target = Smtp::new(runtime.clone(), "192.0.2.25:25".parse()?, "mx.example");
/// # let gate = Gate::new(runtime.clone(), Settings::new("mx.example"), target);
/// # let commands = ["HELO c.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", "Subject: x\r\n\r\n.", "QUIT"];
///
/// let mut settings = RecorderSettings::default();
/// settings.sample = Sample::All;
/// let recorder = std::sync::Arc::new(Recorder::new(runtime.clone(), Vec::new(), settings)?);
/// let gate = gate.panel(Panel::new().scorer(Gtube)).report_answers().observed_by(recorder.clone());
/// # runtime.run(serve(runtime.client(Script::smtp_client(commands)), peer(), &gate))?;
///
/// // After a session:
/// let written = recorder.with_writer(|written| written.clone());
/// let session = Recording::new(&written[..]).next().unwrap()?;
/// assert!(session.is_complete());
/// assert!(!String::from_utf8(written)?.contains("example.org"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Recorder<R, W> {
    runtime: R,
    settings: RecorderSettings,
    /// The policy of sessions that begin now.
    policy: RwLock<Arc<str>>,
    names: Pseudonyms,
    tables: Box<[Mutex<Table>]>,
    memory: AtomicUsize,
    writer: Mutex<W>,
    lost: AtomicU64,
}

/// The buffers of some sessions. With so many tables, most have one session at most, so that searching
/// is faster than hashing.
#[derive(Debug, Default)]
struct Table(Vec<(SessionId, Box<Held>)>);

impl Table {
    #[inline]
    fn get_mut(&mut self, session: &SessionId) -> Option<&mut Held> {
        self.0.iter_mut().find(|(known, _)| known == session).map(|(_, held)| &mut **held)
    }

    fn remove(&mut self, session: &SessionId) -> Option<Box<Held>> {
        let place = self.0.iter().position(|(known, _)| known == session)?;
        Some(self.0.swap_remove(place).1)
    }
}

impl<R: Runtime, W: Write + Send> Recorder<R, W> {
    /// Creates a recorder that writes to `writer`. The runtime is that of the gate; only its clocks
    /// are used.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if the settings contradict each other, or if the system has no random
    /// numbers.
    pub fn new(runtime: R, writer: W, settings: RecorderSettings) -> Result<Self, SettingsError> {
        settings.check()?;
        let names = Pseudonyms::new().ok_or(SettingsError::NoKey)?;
        Ok(Self {
            runtime,
            policy: RwLock::new(settings.policy.clone()),
            settings,
            names,
            tables: (0..TABLES).map(|_| Mutex::default()).collect(),
            memory: AtomicUsize::new(0),
            writer: Mutex::new(writer),
            lost: AtomicU64::new(0),
        })
    }

    /// Replaces [`RecorderSettings::policy`] in sessions that begin from now on. Call it after
    /// [`Gate::replace`](crate::Gate::replace).
    pub fn set_policy(&self, policy: impl Into<Arc<str>>) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy.into();
    }

    /// Calls `work` with the writer, between two sessions.
    pub fn with_writer<T>(&self, work: impl FnOnce(&mut W) -> T) -> T {
        work(&mut self.writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the number of sessions that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Returns the memory that running sessions take, in octets.
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    fn table(&self, session: &SessionId) -> MutexGuard<'_, Table> {
        // A number at the end of the name counts the sessions.
        let name = session.as_str().as_bytes();
        let end = match name.last_chunk() {
            Some(last) => u64::from_le_bytes(*last),
            None => name.iter().fold(0, |end, octet| end << 8 | u64::from(*octet)),
        };
        let mixed = end.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let table = &self.tables[mixed as usize % TABLES];
        table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `work` with the buffer of a session, if it is recorded.
    #[inline]
    fn with(&self, session: &SessionId, work: impl FnOnce(&mut Held, Instant, &Bounds<'_>)) {
        let now = self.runtime.now();
        if let Some(held) = self.table(session).get_mut(session) {
            work(held, now, &Bounds { settings: &self.settings, memory: &self.memory });
        }
    }

    /// Adds a fact without memory on the heap.
    fn add(&self, session: &SessionId, fact: Fact) {
        self.with(session, |held, now, bounds| held.add(fact, 0, now, bounds));
    }

    fn open(&self, session: &SessionId, client: &Peer) {
        let is_wanted = match &self.settings.sample {
            Sample::None => return,
            Sample::Share(share) if !is_in_share(session, *share) => return,
            Sample::All | Sample::Share(_) => true,
            Sample::Refused | Sample::Symbols(_) => false,
        };
        let (now, time) = (self.runtime.now(), self.runtime.time_of_day());
        let policy = self.policy.read().unwrap_or_else(PoisonError::into_inner).clone();
        let held = Box::new(Held::new(client, (now, time), policy, is_wanted));
        self.table(session).0.push((session.clone(), held));
    }

    /// Notes that something was refused.
    fn refused(&self, held: &mut Held) {
        held.is_wanted |= self.settings.sample == Sample::Refused;
    }

    fn close(&self, session: &SessionId, closed: Closed) {
        self.with(session, |held, now, bounds| {
            held.stop_mail_data(false, now, bounds);
            held.add(Fact::Closed(closed), 0, now, bounds);
        });
        let Some(held) = self.table(session).remove(session) else { return };
        self.memory.fetch_sub(held.taken(), Ordering::Relaxed);
        if held.is_wanted {
            let recorded = held.into_session(session);
            self.write(recorded);
        }
    }

    fn write(&self, mut session: RecordedSession) {
        conceal(&mut session, &self.settings, &self.names);
        let lines = session.to_string();
        if self.with_writer(|writer| writer.write_all(lines.as_bytes())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn relayed(&self, event: &Event<'_>) {
        let Event::Relayed { id, request, outcome, .. } = event else { return };
        self.with(id.session(), |held, now, bounds| {
            if !matches!(outcome, Outcome::Accepted(_)) {
                self.refused(held);
            }
            let failure = match outcome {
                Outcome::Failed(error) => Some(error.to_string().into()),
                _ => None,
            };
            let (transaction, request) = (id.number(), *request);
            let reply = outcome.reply().clone();
            let fact = Fact::Relayed(Relayed { transaction, request, reply, failure });
            held.add(fact, 128, now, bounds);
        });
    }

    #[inline(never)]
    fn received(&self, session: &SessionId, octets: &[u8], during: During) {
        self.with(session, |held, now, bounds| held.receive(octets, during, now, bounds));
    }

    #[inline(never)]
    fn transmitted(&self, session: &SessionId, octets: &[u8]) {
        self.with(session, |held, now, bounds| held.transmit(octets, now, bounds));
    }

    /// Records an event that is not frequent.
    #[inline(never)]
    fn record(&self, event: &Event<'_>) {
        match event {
            Event::Connected { session, peer } => self.open(session, peer),
            Event::Offered { session, extensions } => {
                self.add(session, Fact::Offered((*extensions).clone()));
            }
            Event::Judged { .. } => self.judged(event),
            Event::Relayed { .. } => self.relayed(event),
            Event::Ended(record) => {
                let end = &record.end;
                let (id, cause) = (&end.envelope.id, end.cause);
                let transaction = id.number();
                self.with(id.session(), |held, now, bounds| {
                    if cause == EndCause::RefusedBySession {
                        self.refused(held);
                    }
                    let reply = end.reply.clone();
                    held.add(Fact::Ended(Ended { transaction, cause, reply }), 0, now, bounds);
                });
            }
            Event::Unacknowledged(record) => {
                let id = &record.end.envelope.id;
                self.add(id.session(), Fact::Unacknowledged(id.number()));
            }
            Event::Late { session, awaiting } => {
                self.with(session, |held, now, bounds| {
                    held.stop_mail_data(false, now, bounds);
                    held.add(Fact::Late(*awaiting), 0, now, bounds);
                });
            }
            Event::ClientLost { session, during } => {
                let fact = Fact::ClientLost { during: *during };
                self.with(session, |held, now, bounds| {
                    held.stop_mail_data(false, now, bounds);
                    held.add(fact, 0, now, bounds);
                });
            }
            Event::InputEnded { session, during } => {
                self.with(session, |held, now, bounds| {
                    held.stop_mail_data(false, now, bounds);
                    held.add(Fact::InputEnded { during: *during }, 0, now, bounds);
                });
            }
            Event::ClientChanged { session, peer } => {
                self.add(session, Fact::ClientChanged(Box::new((*peer).clone())));
            }
            Event::Secured { session, tls } => self.add(session, Fact::Secured((*tls).clone())),
            Event::NotSecured { session } => self.add(session, Fact::NotSecured),
            Event::Stressed { session, on } => self.add(session, Fact::Stressed(*on)),
            Event::ShuttingDown { session } => self.add(session, Fact::ShuttingDown),
            Event::Evicted { session, .. } => self.add(session, Fact::Evicted),
            Event::Tarpitted { session, .. } => self.add(session, Fact::Tarpitted),
            Event::Disconnected(record) => {
                let counts = Misconduct::ALL.into_iter();
                let counts = counts.map(|what| (what.symbol().into(), record.conduct.count(what)));
                let conduct = counts.filter(|(_, count)| *count > 0).collect();
                self.close(record.session, Closed { end: record.end, conduct });
            }
            _ => {}
        }
    }
}

impl<R: Runtime, W: Write + Send> Observer for Recorder<R, W> {
    fn observe(&self, event: &Event<'_>) {
        // The most frequent events do not need the registers and the stack that the others do.
        match event {
            // The verdict comes with the same answers.
            Event::Scored { .. } => {}
            Event::Received { session, octets, during } => self.received(session, octets, *during),
            Event::Transmitted { session, octets } => self.transmitted(session, octets),
            _ => self.record(event),
        }
    }

    fn uses_octets(&self) -> bool {
        self.settings.sample != Sample::None
    }
}

impl<R, W> fmt::Debug for Recorder<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Returns whether a session belongs to a share of all sessions.
fn is_in_share(session: &SessionId, share: f64) -> bool {
    let hash = digest::digest(&digest::SHA256, session.as_str().as_bytes());
    let place = hash.as_ref().iter().take(4).fold(0, |all, octet| all << 8 | u32::from(*octet));
    f64::from(place) < share * 2_f64.powi(32)
}
