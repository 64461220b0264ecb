//! Logs: append-only sequences of records with many writers and few readers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::moment::{length, microseconds, milliseconds};
use super::table::{Name, Named};

/// Maximum number of records in a log, regardless of its [`Retention`].
const RECORDS: u32 = 65_536;
/// Maximum number of logs in a process. There is one log per purpose, not per client.
pub(super) const LOGS: usize = 256;
/// Memory charged for a record in addition to its octets.
const OVERHEAD: usize = 64;
/// Maximum total size of the records of one page, in octets. The largest possible record fits.
pub(super) const PAGE: usize = super::MAX_OCTETS;
/// Maximum number of records of one page.
pub(super) const PAGE_RECORDS: usize = 1_024;

/// Retention of a log: how many of the latest records are kept, and for how long after the last
/// append.
///
/// All writers of a log should use the same retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Retention {
    pub(super) records: u32,
    /// Time of the record in Unix milliseconds.
    pub(super) time: u64,
}

impl Retention {
    /// Creates a retention of `records` records, clamped to 1..=65,536, for `time` after the last
    /// append.
    pub fn new(records: u32, time: Duration) -> Self {
        Self { records: records.clamp(1, RECORDS), time: length(time) }
    }
}

/// Records read from a log, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Page {
    /// The records. Empty if the log has none from the position on.
    pub records: Vec<Vec<u8>>,
    /// Position at which to continue reading.
    pub next: u64,
    /// Whether records were dropped before they were read. The log has dropped old records, was
    /// evicted, or was started again.
    pub missed: bool,
}

/// A change of the logs, reported to a journal.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "redb"), allow(dead_code, reason = "for the file alone"))]
pub(super) enum LogChange {
    /// The record at this position. `None` if it was removed.
    Record(Name, u64, Option<Arc<[u8]>>),
    /// The expiry time of the log. `None` if the log was removed.
    End(Name, Option<u64>),
}

/// Logs in memory, bounded by their total size in octets. When the bound is exceeded, the largest
/// log of several records loses its oldest record. When each log has only one record, the log that
/// expires first is removed. The newest record always stays, also when it alone exceeds the bound.
/// Only the stores in memory and in a file have this bound and the limit of 256 logs.
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
    /// Position of the first record.
    first: u64,
    records: VecDeque<Arc<[u8]>>,
    octets: usize,
    /// Expiry time in Unix milliseconds.
    end: u64,
}

impl Logs {
    pub(super) fn new(octets: usize) -> Self {
        Self { most: octets, all: Mutex::default() }
    }

    /// Appends a record and returns its position. `append.lua` does the same, except for the bound
    /// in octets and the number of logs. A Redis server limits a log only by its [`Retention`].
    pub(super) fn append(
        &self,
        name: Name,
        record: &[u8],
        retention: Retention,
        now: SystemTime,
        mut journal: impl FnMut(LogChange),
    ) -> u64 {
        let all = &mut *self.lock();
        // A restarted log continues after all positions that a reader may have seen.
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
        all.shrink(self.most, name, &mut journal);
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

    /// Adds a record from the file after the records already loaded.
    #[cfg(feature = "redb")]
    pub(super) fn load(&self, name: Name, position: u64, record: Arc<[u8]>, end: u64) {
        let all = &mut *self.lock();
        let log = all.logs.entry(name).or_insert_with(|| Log { first: position, ..Log::default() });
        log.end = end;
        all.octets += log.push(record);
    }

    /// Drops the records that exceed the bound after loading. The newest record of the log that
    /// expires last stays.
    #[cfg(feature = "redb")]
    pub(super) fn tidy(&self, mut journal: impl FnMut(LogChange)) {
        let all = &mut *self.lock();
        if let Some((&last, _)) = all.logs.iter().max_by_key(|(_, log)| log.end) {
            all.shrink(self.most, last, &mut journal);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().logs.values().map(|log| log.records.len()).sum()
    }

    /// Returns the total cost of all records.
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

    /// Removes the log that expires first, if the limit for the number of logs is reached.
    fn make_place(&mut self, journal: &mut impl FnMut(LogChange)) {
        if self.logs.len() >= LOGS
            && let Some((&soonest, _)) = self.logs.iter().min_by_key(|(_, log)| log.end)
        {
            self.remove(soonest, journal);
        }
    }

    /// Drops records until the total size is at most `most`. Never drops the newest record of the
    /// log `kept`.
    fn shrink(&mut self, most: usize, kept: Name, journal: &mut impl FnMut(LogChange)) {
        while self.octets > most {
            let several = self.logs.iter_mut().filter(|(_, log)| log.records.len() > 1);
            if let Some((&name, log)) = several.max_by_key(|(_, log)| log.octets) {
                self.octets -= log.pop(name, journal);
                continue;
            }
            let others = self.logs.iter().filter(|(name, _)| **name != kept);
            let Some((&soonest, _)) = others.min_by_key(|(_, log)| log.end) else { return };
            self.remove(soonest, journal);
        }
    }
}

impl Log {
    /// Returns the position of the next record.
    fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// Adds a record and returns its cost.
    fn push(&mut self, record: Arc<[u8]>) -> usize {
        let cost = record.len() + OVERHEAD;
        self.octets += cost;
        self.records.push_back(record);
        cost
    }

    /// Drops the oldest record and returns its cost.
    fn pop(&mut self, name: Name, journal: &mut impl FnMut(LogChange)) -> usize {
        let Some(record) = self.records.pop_front() else { return 0 };
        let cost = record.len() + OVERHEAD;
        self.octets -= cost;
        journal(LogChange::Record(name, self.first, None));
        self.first += 1;
        cost
    }
}
