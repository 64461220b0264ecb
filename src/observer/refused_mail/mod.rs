//! Copies of refused messages, for the review of false positives.

mod folder;
mod kept;
mod release;
mod writer;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::{Event, Observer};
use crate::envelope::{Envelope, TransactionId};
use crate::message::Message;
use crate::record::TransactionRecord;
use crate::session::EndCause;
use crate::verdict::{Subject, Verdict};
use crate::wire::reply::{Reply, ReplyClass};
use folder::Folder;
use kept::Sidecar;
pub use kept::{KeptMail, KeptMailError, Release};
pub use release::ReleaseAnswer;
pub use writer::{RefusedMailReport, RefusedMailWriter};

/// Maximum number of octets of copies that wait for the disk.
const WAITING: usize = 32 << 20;
/// Maximum number of copies that wait for the disk.
const COPIES: usize = 1_024;
/// Maximum number of octets of a header that is kept without its body.
const HEADER: usize = 64 << 10;

/// An observer that keeps a copy of messages that the panel refused with 5yz, for the review of false
/// positives. The client got the refusal; nothing is accepted. [`KeptMail`] reads the copies.
///
/// For each message there are two files with mode 0600 in the folder. `REFERENCE.eml` is the message
/// as it would have been relayed, with our trace field. `REFERENCE.json` has the envelope with all
/// parameters, and the [log line](super::json::Line) of the transaction.
///
/// The reply never depends on a copy. The session copies the message into memory, and the
/// [`RefusedMailWriter`] writes it after the reply. If the disk is slow or full, copies are lost and
/// counted. Messages that are not refused are not copied, and memory for mail data
/// ([`Settings::budget`](crate::Settings::budget)) is not used.
///
/// ```no_run
/// use std::thread;
/// use nobounce::observer::{RefusedMail, RefusedMailLimits};
/// # fn keep<R: nobounce::Runtime>(gate: nobounce::Gate<R>) -> std::io::Result<nobounce::Gate<R>> {
/// let limits = RefusedMailLimits::default();
/// let (refused, writer) = RefusedMail::new("/var/lib/gate/refused".as_ref(), limits)?;
/// thread::spawn(move || writer.run(|report| eprintln!("{report}")));
/// Ok(gate.observed_by(refused))
/// # }
/// ```
#[derive(Debug)]
pub struct RefusedMail(Arc<Shared>);

/// Limits of the copies of refused messages.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RefusedMailLimits {
    /// Whether only headers are kept. Such a copy cannot be released. Default: whole messages.
    pub header_only: bool,
    /// Share of the refused messages that is kept, from 0 to 1, chosen at random. Default: 1.
    pub share: f64,
    /// Maximum number of copies. The oldest is removed. Default: 1,000.
    pub messages: usize,
    /// Maximum size of all files in octets. The oldest copies are removed. Default: 256 MiB.
    pub octets: u64,
    /// Maximum age. Default: 14 days.
    pub age: Duration,
    /// Maximum size of a message that is kept whole, in octets. Of larger messages only the header is
    /// kept. Default: 10 MiB. At most 32 MiB have an effect.
    pub message_size: usize,
}

impl Default for RefusedMailLimits {
    fn default() -> Self {
        Self {
            header_only: false,
            share: 1.0,
            messages: 1_000,
            octets: 256 << 20,
            age: Duration::from_secs(14 * 86_400),
            message_size: 10 << 20,
        }
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
    /// The secret of the choice of a share.
    choice: RandomState,
}

#[derive(Debug)]
struct State {
    limits: RefusedMailLimits,
    /// Copies of messages whose transactions have not ended.
    judged: HashMap<TransactionId, Copy>,
    /// Copies for the disk.
    waiting: VecDeque<(Copy, Box<Sidecar>)>,
    /// Octets of both.
    octets: usize,
    /// Copies lost since the writer asked.
    lost: u64,
    /// Whether the observer was dropped.
    over: bool,
}

/// The octets of a message, or of its header.
#[derive(Debug)]
struct Copy {
    octets: Vec<u8>,
    is_whole: bool,
    received: SystemTime,
}

impl RefusedMail {
    /// Returns the observer, and the writer of the files. The writer blocks, so it needs its own thread.
    /// Creates the folder with mode 0700 if it does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error if the folder cannot be created or read.
    pub fn new(folder: &Path, limits: RefusedMailLimits) -> io::Result<(Self, RefusedMailWriter)> {
        let folder = Folder::open(folder)?;
        let state = State {
            limits,
            judged: HashMap::new(),
            waiting: VecDeque::new(),
            octets: 0,
            lost: 0,
            over: false,
        };
        let (state, arrived) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { state, arrived, choice: RandomState::new() });
        Ok((Self(shared.clone()), RefusedMailWriter::new(shared, folder)))
    }

    /// Replaces the limits. Copies that exceed them are removed when the next one is written.
    pub fn set_limits(&self, limits: RefusedMailLimits) {
        self.0.state().limits = limits;
    }

    /// Copies a message that is refused. Its transaction may end otherwise: the copy waits for that.
    fn judged(&self, envelope: &Envelope, message: &Message) {
        let mut state = self.0.state();
        let limits = &state.limits;
        let share = self.0.choice.hash_one(&envelope.id) as f64 / u64::MAX as f64;
        if limits.messages == 0 || share >= limits.share {
            return;
        }
        let is_whole = !limits.header_only && message.len() <= limits.message_size;
        let size = if is_whole { message.len() } else { message.len().min(HEADER) };
        let is_full = state.judged.len() + state.waiting.len() >= COPIES;
        if is_full || size > WAITING - state.octets {
            state.lost = state.lost.saturating_add(1);
            return;
        }
        // The room is taken first. The copy is made without the lock, which other sessions need.
        state.octets += size;
        drop(state);
        let octets = if is_whole { message.segments().concat() } else { header(message) };
        let mut state = self.0.state();
        state.octets -= size - octets.len();
        let copy = Copy { octets, is_whole, received: message.received() };
        if let Some(earlier) = state.judged.insert(envelope.id.clone(), copy) {
            state.octets -= earlier.octets.len();
        }
    }

    /// Passes the copy to the writer if the client got the refusal of the panel.
    fn ended(&self, record: &TransactionRecord) {
        let mut state = self.0.state();
        if state.judged.is_empty() {
            return;
        }
        let Some(copy) = state.judged.remove(&record.end.envelope.id) else { return };
        let is_permanent = |reply: &Reply| reply.class() == ReplyClass::Permanent;
        if record.end.cause != EndCause::RefusedByPanel
            || !record.end.reply.as_ref().is_some_and(is_permanent)
        {
            state.octets -= copy.octets.len();
            return;
        }
        drop(state);
        let sidecar = Box::new(Sidecar::of(record, copy.received, copy.is_whole));
        self.0.state().waiting.push_back((copy, sidecar));
        self.0.arrived.notify_one();
    }
}

/// Returns the header section of the message, up to a limit.
fn header(message: &Message) -> Vec<u8> {
    let mut octets = Vec::new();
    for segment in message.segments() {
        let room = HEADER - octets.len();
        octets.extend_from_slice(&segment[..segment.len().min(room)]);
        if octets.len() == HEADER {
            break;
        }
    }
    let end = octets.windows(4).position(|it| it == b"\r\n\r\n");
    octets.truncate(end.map_or(octets.len(), |end| end + 2));
    octets.shrink_to_fit();
    octets
}

impl Observer for RefusedMail {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Judged { subject: Subject::Content(envelope, message), verdict, .. } => {
                if let Verdict::Refuse(refusal) = verdict
                    && !refusal.is_transient()
                {
                    self.judged(envelope, message);
                }
            }
            Event::Ended(record) => self.ended(record),
            _ => {}
        }
    }
}

impl Drop for RefusedMail {
    /// Ends the writer after it has written what waits.
    fn drop(&mut self) {
        self.0.state().over = true;
        self.0.arrived.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for RefusedMailReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(
                f,
                "copies of refused messages are lost: {error}; replies and mail are not affected"
            ),
            Self::Recovered { lost } => {
                write!(f, "refused messages are copied again; {lost} copies were lost")
            }
        }
    }
}
