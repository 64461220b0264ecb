//! Logs: records one behind another, which many append and few read.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::moment::{length, microseconds, milliseconds};
use super::table::{Name, Named};

/// Records of one log at most, whatever its [`Retention`] says.
const RECORDS: u32 = 65_536;
/// Logs in a process. There is one for each purpose, not for each client.
pub(super) const LOGS: usize = 256;
/// What a record costs beside its octets.
const OVERHEAD: usize = 64;
/// Octets of the records of one page. The largest record fits.
pub(super) const PAGE: usize = super::MAX_OCTETS;
/// Records of one page.
pub(super) const PAGE_RECORDS: usize = 1_024;

/// How much of a log is kept: the latest records, and for how long after the last one was appended.
///
/// All who append to a log should use the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Retention {
    pub(super) records: u32,
    /// In milliseconds.
    pub(super) time: u64,
}

impl Retention {
    /// Keeps up to `records` records, brought between 1 and 65,536, for `time` after the last one.
    pub fn new(records: u32, time: Duration) -> Self {
        Self { records: records.clamp(1, RECORDS), time: length(time) }
    }
}

/// Records that were read from a log, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Page {
    /// The records. Empty when the log has none from the position on.
    pub records: Vec<Vec<u8>>,
    /// The position to read from next.
    pub next: u64,
    /// Whether records were dropped before they were read: the log holds fewer than were appended, was
    /// forgotten, or began anew.
    pub missed: bool,
}

/// A change of the logs, for a journal.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "redb"), allow(dead_code, reason = "for the file alone"))]
pub(super) enum LogChange {
    /// What is at this position now.
    Record(Name, u64, Option<Arc<[u8]>>),
    /// When the log is over; `None` if it is no longer there.
    End(Name, Option<u64>),
}

/// Logs in memory: so many octets in all. Where there are more, the log that holds most of them loses its
/// oldest records.
#[derive(Debug)]
pub(super) struct Logs {
    most: usize,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    logs: HashMap<Name, Log, Named>,
    octets: usize,
}

#[derive(Debug, Default)]
struct Log {
    /// The position of the first record.
    first: u64,
    records: VecDeque<Arc<[u8]>>,
    octets: usize,
    /// In milliseconds since 1970.
    end: u64,
}

impl Logs {
    pub(super) fn new(octets: usize) -> Self {
        Self { most: octets, all: Mutex::default() }
    }

    /// Appends a record; returns its position. `append.lua` does the same.
    pub(super) fn append(
        &self,
        name: Name,
        record: &[u8],
        retention: Retention,
        now: SystemTime,
        mut journal: impl FnMut(LogChange),
    ) -> u64 {
        let all = &mut *self.lock();
        // A log that begins anew goes on behind what any reader has seen of it.
        let mut first = microseconds(now).max(1);
        if let Some(log) = all.logs.get(&name)
            && milliseconds(now) >= log.end
        {
            first = first.max(log.next());
            all.remove(name, &mut journal);
        }
        if !all.logs.contains_key(&name) {
            all.make_place(&mut journal);
        }
        let log = all.logs.entry(name).or_insert_with(|| Log { first, ..Log::default() });
        let position = log.next();
        let record: Arc<[u8]> = record.into();
        let end = milliseconds(now).saturating_add(retention.time);
        log.end = end;
        all.octets += log.push(record.clone());
        journal(LogChange::Record(name, position, Some(record)));
        journal(LogChange::End(name, Some(end)));
        while log.records.len() > retention.records as usize {
            all.octets -= log.pop(name, &mut journal);
        }
        all.shrink(self.most, &mut journal);
        position
    }

    /// Reads a page. `read.lua` does the same.
    pub(super) fn read(&self, name: Name, from: u64, now: SystemTime) -> Page {
        let all = self.lock();
        let Some(log) = all.logs.get(&name).filter(|log| milliseconds(now) < log.end) else {
            return Page { next: from, ..Page::default() };
        };
        let start = if (log.first..=log.next()).contains(&from) { from } else { log.first };
        let mut page = Page { next: start, missed: from != 0 && start != from, ..Page::default() };
        let mut octets = 0;
        let skip = usize::try_from(start - log.first).unwrap_or(usize::MAX);
        for record in log.records.iter().skip(skip).take(PAGE_RECORDS) {
            octets += record.len();
            if octets > PAGE {
                break;
            }
            page.records.push(record.to_vec());
            page.next += 1;
        }
        page
    }

    /// Puts a record there that comes from a file, behind those that did before.
    #[cfg(feature = "redb")]
    pub(super) fn load(&self, name: Name, position: u64, record: Arc<[u8]>, end: u64) {
        let all = &mut *self.lock();
        let log = all.logs.entry(name).or_insert_with(|| Log { first: position, ..Log::default() });
        log.end = end;
        all.octets += log.push(record);
    }

    /// Forgets what is too much after records were loaded.
    #[cfg(feature = "redb")]
    pub(super) fn tidy(&self, mut journal: impl FnMut(LogChange)) {
        self.lock().shrink(self.most, &mut journal);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().logs.values().map(|log| log.records.len()).sum()
    }

    /// What all records cost.
    pub(super) fn octets(&self) -> usize {
        self.lock().octets
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    fn remove(&mut self, name: Name, journal: &mut impl FnMut(LogChange)) {
        let Some(log) = self.logs.remove(&name) else { return };
        self.octets -= log.octets;
        for position in log.first..log.next() {
            journal(LogChange::Record(name, position, None));
        }
        journal(LogChange::End(name, None));
    }

    /// Forgets the log that ends soonest, if there is no place for another.
    fn make_place(&mut self, journal: &mut impl FnMut(LogChange)) {
        if self.logs.len() >= LOGS
            && let Some((&soonest, _)) = self.logs.iter().min_by_key(|(_, log)| log.end)
        {
            self.remove(soonest, journal);
        }
    }

    fn shrink(&mut self, most: usize, journal: &mut impl FnMut(LogChange)) {
        while self.octets > most
            && let Some((&name, log)) = self.logs.iter_mut().max_by_key(|(_, log)| log.octets)
            && log.records.len() > 1
        {
            self.octets -= log.pop(name, journal);
        }
    }
}

impl Log {
    /// The position of the next record.
    fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// Returns what the record costs.
    fn push(&mut self, record: Arc<[u8]>) -> usize {
        let cost = record.len() + OVERHEAD;
        self.octets += cost;
        self.records.push_back(record);
        cost
    }

    /// Drops the oldest record; returns what it cost.
    fn pop(&mut self, name: Name, journal: &mut impl FnMut(LogChange)) -> usize {
        let Some(record) = self.records.pop_front() else { return 0 };
        let cost = record.len() + OVERHEAD;
        self.octets -= cost;
        journal(LogChange::Record(name, self.first, None));
        self.first += 1;
        cost
    }
}
