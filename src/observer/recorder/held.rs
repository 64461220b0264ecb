//! The buffer of a running session.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::extent::{Extent, Piece};
use crate::envelope::SessionId;
use crate::observer::During;
use crate::peer::Peer;
use crate::recording::{ContentForm, Element, Fact, RecordedSession, RecorderSettings};

/// The unit in which sessions take memory from the total, in octets.
const BLOCK: usize = 4 << 10;
/// Room for octets and for marks that a session takes with its first event. Without it, they grow
/// several times during the first transaction.
const OCTETS: usize = 1 << 10;
const MARKS: usize = 32;
/// Maximum length of the begin of a command line that is kept for its verb, in octets.
const COMMAND: usize = 1_024;

/// What is known of a running session. Octets stand together, so that most events need no
/// allocation.
#[derive(Debug)]
pub(super) struct Held {
    began: Instant,
    time: SystemTime,
    client: Peer,
    /// The policy of the gate when the session began.
    policy: Arc<str>,
    octets: Vec<u8>,
    marks: Vec<(Instant, Mark)>,
    facts: Vec<Fact>,
    /// The octets in `octets`, the marks and the facts, and the memory taken from the total.
    size: usize,
    taken: usize,
    extent: Extent,
    /// The begin of a command line that is not complete.
    begun: Vec<u8>,
    /// Octets behind DATA, before its reply.
    early: Vec<u8>,
    /// What the session was doing when the mail data that is being received began.
    data_during: Option<During>,
    /// The scorers that said nothing to the last question.
    pub(super) silent: Arc<[Arc<str>]>,
    /// Whether the session belongs to the sample.
    pub(super) is_wanted: bool,
    is_cut: bool,
}

/// An element of the session: octets behind those before, or the next other fact.
#[derive(Debug)]
enum Mark {
    Received { length: u32, during: During },
    Transmitted { length: u32 },
    Other,
}

/// The bounds of a buffer.
pub(super) struct Bounds<'b> {
    pub(super) settings: &'b RecorderSettings,
    /// The memory taken by all sessions.
    pub(super) memory: &'b AtomicUsize,
}

impl Held {
    pub(super) fn new(
        client: &Peer,
        (now, time): (Instant, SystemTime),
        policy: Arc<str>,
        is_wanted: bool,
    ) -> Self {
        Self {
            began: now,
            time,
            client: client.clone(),
            policy,
            octets: Vec::new(),
            marks: Vec::new(),
            facts: Vec::new(),
            size: 0,
            taken: 0,
            extent: Extent::new(),
            begun: Vec::new(),
            early: Vec::new(),
            data_during: None,
            silent: Arc::default(),
            is_wanted,
            is_cut: false,
        }
    }

    /// Adds a fact. `size` is an estimate of its memory on the heap.
    #[inline]
    pub(super) fn add(&mut self, fact: Fact, size: usize, now: Instant, bounds: &Bounds<'_>) {
        if self.push(Mark::Other, size + size_of::<Fact>(), now, bounds) {
            self.facts.push(fact);
        }
    }

    /// Adds a mark, and returns whether there is memory for it.
    #[inline]
    fn push(&mut self, mark: Mark, size: usize, now: Instant, bounds: &Bounds<'_>) -> bool {
        let is_in = self.afford(size + size_of::<(Instant, Mark)>(), bounds);
        if is_in {
            if self.marks.is_empty() {
                self.marks.reserve_exact(MARKS);
                self.octets.reserve_exact(OCTETS);
            }
            self.marks.push((now, mark));
        }
        is_in
    }

    /// Takes memory. Returns `false` if the session is cut, which it is from then on.
    #[inline]
    fn afford(&mut self, size: usize, bounds: &Bounds<'_>) -> bool {
        if self.is_cut {
            return false;
        }
        self.size += size;
        if self.size > self.taken {
            let wanted = (self.size - self.taken).next_multiple_of(BLOCK);
            let before = bounds.memory.fetch_add(wanted, Ordering::Relaxed);
            let settings = bounds.settings;
            self.is_cut = self.size > settings.max_session
                || before.saturating_add(wanted) > settings.max_memory;
            match self.is_cut {
                true => drop(bounds.memory.fetch_sub(wanted, Ordering::Relaxed)),
                false => self.taken += wanted,
            }
        }
        !self.is_cut
    }

    /// Adds input.
    pub(super) fn receive(
        &mut self,
        octets: &[u8],
        during: During,
        now: Instant,
        bounds: &Bounds<'_>,
    ) {
        if self.is_cut {
            return;
        }
        if bounds.settings.content == ContentForm::Whole {
            return self.received(octets, during, now, bounds);
        }
        if self.begun.is_empty() && self.extent.is_command(octets) {
            return self.received(octets, during, now, bounds);
        }
        let mut input = octets;
        // The begin of the commands that have not been added.
        let mut from = 0;
        while !input.is_empty() {
            let at = octets.len() - input.len();
            let begun = self.begun.len();
            let piece = self.extent.next(&mut input, &self.begun);
            if let Some(Piece::Commands(line, ends)) = piece {
                match ends {
                    true if begun == 0 => {}
                    true => self.begun.clear(),
                    // Longer lines are no commands that lead to mail data.
                    false if begun < COMMAND => self.begun.extend_from_slice(line),
                    false => {}
                }
                continue;
            }
            self.received(&octets[from..at], first(during, from), now, bounds);
            let begin = first(during, at);
            from = octets.len() - input.len();
            match piece {
                Some(Piece::MailData(length, ends)) => {
                    let during = self.data_during.take().unwrap_or(begin);
                    self.mail_data(length, ends, during, now, bounds);
                }
                Some(Piece::Early(early)) if self.afford(early.len(), bounds) => {
                    self.early.extend_from_slice(early);
                }
                Some(_) => {}
                None => {
                    self.data_during.get_or_insert(begin);
                }
            }
        }
        self.received(&octets[from..], first(during, from), now, bounds);
    }

    #[inline]
    fn received(&mut self, octets: &[u8], during: During, now: Instant, bounds: &Bounds<'_>) {
        if !octets.is_empty() {
            self.add_octets(octets, |length| Mark::Received { length, during }, now, bounds);
        }
    }

    #[inline]
    fn add_octets(
        &mut self,
        octets: &[u8],
        mark: impl FnOnce(u32) -> Mark,
        now: Instant,
        bounds: &Bounds<'_>,
    ) {
        // More than 4 GiB are cut.
        let length = u32::try_from(octets.len());
        self.is_cut |= length.is_err();
        if self.push(mark(length.unwrap_or_default()), octets.len(), now, bounds) {
            self.octets.extend_from_slice(octets);
        }
    }

    fn mail_data(
        &mut self,
        octets: u64,
        ends: bool,
        during: During,
        now: Instant,
        bounds: &Bounds<'_>,
    ) {
        self.add(Fact::MailData { octets, ends, during }, 0, now, bounds);
    }

    /// Adds mail data that is over, although its end was not seen, or that broke off.
    pub(super) fn stop_mail_data(&mut self, ends: bool, now: Instant, bounds: &Bounds<'_>) {
        if let Some(Piece::MailData(length, ends)) = self.extent.stop(ends) {
            let during = self.data_during.take().unwrap_or(During::Work);
            self.mail_data(length, ends, during, now, bounds);
        }
    }

    /// Adds replies.
    pub(super) fn transmit(&mut self, octets: &[u8], now: Instant, bounds: &Bounds<'_>) {
        if bounds.settings.content != ContentForm::Whole && self.extent.replied(octets) {
            let early = std::mem::take(&mut self.early);
            self.receive(&early, During::Work, now, bounds);
        }
        self.add_octets(octets, |length| Mark::Transmitted { length }, now, bounds);
    }

    /// Returns the memory taken from the total.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Returns the session as it is recorded.
    pub(super) fn into_session(self, id: &SessionId) -> RecordedSession {
        let mut octets = &self.octets[..];
        let mut take = |length: u32| {
            let (taken, rest) = octets.split_at_checked(length as usize).unwrap_or((octets, &[]));
            octets = rest;
            taken.to_vec()
        };
        let mut facts = self.facts.into_iter();
        let elements = self.marks.into_iter().filter_map(|(at, mark)| {
            let fact = match mark {
                Mark::Received { length, during } => {
                    Fact::Received { octets: take(length), during }
                }
                Mark::Transmitted { length } => Fact::Transmitted(take(length)),
                Mark::Other => facts.next()?,
            };
            Some(Element { at: at.saturating_duration_since(self.began), fact })
        });
        let mut elements: Vec<_> = elements.collect();
        if self.is_cut {
            let at = elements.last().map_or(Duration::ZERO, |last| last.at);
            elements.push(Element { at, fact: Fact::Cut });
        }
        RecordedSession {
            session: id.clone(),
            time: self.time,
            client: self.client,
            version: env!("CARGO_PKG_VERSION").into(),
            policy: self.policy.as_ref().into(),
            elements,
        }
    }
}

/// Returns what the session was doing when a piece at this place of an input came. Only the first
/// piece of an input is waited for.
fn first(during: During, at: usize) -> During {
    if during == During::Receive && at > 0 { During::Work } else { during }
}
