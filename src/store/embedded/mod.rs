//! A store in memory that a separate thread writes to a file.

mod changes;
mod file;
mod octets;
mod writer;

use std::path::Path;
use std::time::SystemTime;

use async_trait::async_trait;

use super::balance::{Balance, HalfLife, Weighed};
use super::bucket::{Bucket, Rate, Taken};
use super::key::Key;
use super::log::{Page, Retention};
use super::memory::{Memory, RECORDS};
use super::sighting::{Pace, Seen, Sighting};
use super::value::Value;
use super::{Store, StoreError, sized};
use file::File;
use writer::Writer;

pub use file::OpenError;

/// A store in a file, for one gate: a [`Memory`] that writes each change to disk before it answers.
///
/// A change that was answered survives the death of the process. If disk and file system implement
/// `fdatasync` correctly, it also survives a crash of the machine. Without an answer, it is unknown
/// whether a change survives.
///
/// Only one process at a time can open the file. A separate thread writes it, so a slow disk delays
/// only operations that change something. All changes that arrive during one write go into the next
/// transaction. Reading never waits for the disk, because all records are also in memory. The
/// bounds of [`Memory`] apply to the file too. The file contains hashes of keys, no addresses. If
/// the disk fails, the waiting callers get an error. The failed changes are retried together with
/// the next change.
///
/// Opening and dropping block: opening reads the file, and dropping waits for the last write.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use nobounce::store::{Embedded, Key, Pace, Store};
///
/// # pollster::block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("nobounce.redb");
/// let hour = Duration::from_secs(3600);
/// let pace = Pace { apart: Duration::ZERO, once: hour, again: hour };
/// let (key, now) = (Key::new("example", "192.0.2.0/24"), SystemTime::now());
///
/// let store = Embedded::open(&path)?;
/// assert_eq!(store.see(&key, pace, now).await?.times, 1);
/// drop(store);
///
/// let store = Embedded::open(&path)?;
/// assert_eq!(store.see(&key, pace, now).await?.times, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Embedded {
    memory: Memory,
    writer: Writer,
}

impl Embedded {
    /// Opens the file, or creates it, for 262,144 records of each kind.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::with_capacity(path, RECORDS)
    }

    /// Opens the file for this number of records of each kind, with the bounds of
    /// [`Memory::with_capacity`]. If the file holds more, the least valuable records are removed.
    pub fn with_capacity(path: impl AsRef<Path>, records: usize) -> Result<Self, OpenError> {
        let path = path.as_ref().to_owned();
        Self::with_file(File::new(move || file::database(&path))?, records)
    }

    fn with_file(mut file: File, records: usize) -> Result<Self, OpenError> {
        let memory = Memory::with_secret(records, file.secret()?);
        let surplus = file.load(&memory)?;
        Ok(Self { memory, writer: Writer::start(file, surplus)? })
    }
}

#[async_trait]
impl Store for Embedded {
    async fn see(&self, key: &Key, pace: Pace, now: SystemTime) -> Result<Sighting, StoreError> {
        let see = |before| {
            let (seen, answer) = Seen::see(before, pace, now);
            (Some(seen), answer)
        };
        let (table, name) = (&self.memory.sightings, self.memory.name(key));
        let journaled = |note: &mut dyn FnMut(_)| {
            table.change(name, now, see, |name, record| note((name, record)))
        };
        self.writer.write(journaled).await
    }

    async fn recall(&self, key: &Key, now: SystemTime) -> Result<Option<Sighting>, StoreError> {
        self.memory.recall(key, now).await
    }

    async fn take(
        &self,
        key: &Key,
        rate: Rate,
        tokens: u32,
        now: SystemTime,
    ) -> Result<Taken, StoreError> {
        let take = |before| Bucket::take(before, rate, tokens, now);
        let (table, name) = (&self.memory.buckets, self.memory.name(key));
        let journaled = |note: &mut dyn FnMut(_)| {
            table.change(name, now, take, |name, record| note((name, record)))
        };
        self.writer.write(journaled).await
    }

    async fn weigh(
        &self,
        key: &Key,
        add: Balance,
        half_life: HalfLife,
        now: SystemTime,
    ) -> Result<Balance, StoreError> {
        let weigh = |before| Weighed::weigh(before, add, half_life, now);
        let (table, name) = (&self.memory.balances, self.memory.name(key));
        let journaled = |note: &mut dyn FnMut(_)| {
            table.change(name, now, weigh, |name, record| note((name, record)))
        };
        self.writer.write(journaled).await
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        until: SystemTime,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let (name, value) = (self.memory.name(key), Value::new(sized(value)?, until));
        let put = |note: &mut dyn FnMut(_)| {
            self.memory.values.put(name, Some(value), now, |name, value| note((name, value)));
        };
        self.writer.write_octets(put).await
    }

    async fn get(&self, key: &Key, now: SystemTime) -> Result<Option<Vec<u8>>, StoreError> {
        self.memory.get(key, now).await
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        let name = self.memory.name(key);
        let remove = |note: &mut dyn FnMut(_)| {
            let now = SystemTime::UNIX_EPOCH;
            self.memory.values.put(name, None, now, |name, value| note((name, value)));
        };
        self.writer.write(remove).await
    }

    async fn append(
        &self,
        log: &Key,
        record: &[u8],
        retention: Retention,
        now: SystemTime,
    ) -> Result<u64, StoreError> {
        let (name, record) = (self.memory.name(log), sized(record)?);
        let append =
            |note: &mut dyn FnMut(_)| self.memory.logs.append(name, record, retention, now, note);
        self.writer.write_octets(append).await
    }

    async fn read(&self, log: &Key, from: u64, now: SystemTime) -> Result<Page, StoreError> {
        self.memory.read(log, from, now).await
    }
}

#[cfg(test)]
mod tests;
