//! A store in the memory of the process.

use std::time::SystemTime;

use async_trait::async_trait;

use super::balance::{Balance, HalfLife, Weighed};
use super::bucket::{Bucket, Rate, Taken};
use super::key::Key;
use super::log::{Logs, Page, Retention};
use super::sighting::{Pace, Seen, Sighting};
use super::table::{Name, Secret, Table};
use super::value::{Value, Values};
use super::{Store, StoreError, sized};

/// Default capacity per kind of record: 262,144.
pub(super) const RECORDS: usize = 1 << 18;

/// A bounded store in the memory of the process. It is empty when the process starts.
///
/// The store holds a fixed number of sightings, buckets and balances. Each record takes about 60
/// octets. When a new record does not fit, another one is evicted. The eviction rules ensure that
/// an attacker gains little:
///
/// - A record is evicted only for a record of the same kind. Each owner is mapped to a few shards
///   by a secret, 1,792 records in total, and evicts only records in these shards. A client that
///   floods the store from one network therefore evicts records of that network, and of roughly
///   one in a hundred other networks.
/// - Within a shard, expired records are evicted first. Then come the records that are cheapest to
///   create again: sightings seen once before sightings seen several times, fuller buckets before
///   emptier ones, and balances of low weight before others. A client over its rate limit cannot
///   evict its own bucket by creating many other records. New senders cannot evict a sender with an
///   established reputation.
///
/// Values and logs are bounded in octets, at 64 octets for each record of the other kinds. The
/// default is 16 MiB of values and 16 MiB of logs. Each value or record is charged 64 octets in
/// addition to its size. Values use shards too, and the values that expire first are evicted first. The
/// largest log loses its oldest records first. When each log has only one record, the log that
/// expires first is removed. The newest record always stays, also when it alone exceeds the bound.
///
/// Keys are stored as hashes with a secret of the process. The store contains no mail addresses.
#[derive(Debug)]
pub struct Memory {
    secret: Secret,
    pub(super) sightings: Table<Seen>,
    pub(super) buckets: Table<Bucket>,
    pub(super) balances: Table<Weighed>,
    pub(super) values: Values,
    pub(super) logs: Logs,
}

impl Memory {
    /// Creates a store for 262,144 records of each kind. Each kind takes 16 MB when full.
    pub fn new() -> Self {
        Self::with_capacity(RECORDS)
    }

    /// Creates a store for `records` records of each kind, rounded up to whole shards of 448.
    pub fn with_capacity(records: usize) -> Self {
        Self::with_secret(records, Secret::random())
    }

    pub(super) fn with_secret(records: usize, secret: Secret) -> Self {
        const OCTETS: usize = 64;
        let octets = records.saturating_mul(OCTETS);
        let (sightings, buckets) = (Table::new(records), Table::new(records));
        let (values, logs) = (Values::new(octets), Logs::new(octets));
        Self { secret, sightings, buckets, balances: Table::new(records), values, logs }
    }

    /// Returns the number of records of all kinds. Includes expired records that were not evicted
    /// yet.
    pub fn len(&self) -> usize {
        let small = self.sightings.len() + self.buckets.len() + self.balances.len();
        small + self.values.len() + self.logs.len()
    }

    /// Returns the octets charged for values and logs.
    pub fn octets(&self) -> usize {
        self.values.octets() + self.logs.octets()
    }

    /// Returns whether the store is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn name(&self, key: &Key) -> Name {
        self.secret.name(key)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for Memory {
    async fn see(&self, key: &Key, pace: Pace, now: SystemTime) -> Result<Sighting, StoreError> {
        let see = |before| {
            let (seen, answer) = Seen::see(before, pace, now);
            (Some(seen), answer)
        };
        Ok(self.sightings.change(self.name(key), now, see, |_, _| {}))
    }

    async fn recall(&self, key: &Key, now: SystemTime) -> Result<Option<Sighting>, StoreError> {
        Ok(Seen::recall(self.sightings.get(self.name(key)), now))
    }

    async fn take(
        &self,
        key: &Key,
        rate: Rate,
        tokens: u32,
        now: SystemTime,
    ) -> Result<Taken, StoreError> {
        let take = |before| Bucket::take(before, rate, tokens, now);
        Ok(self.buckets.change(self.name(key), now, take, |_, _| {}))
    }

    async fn weigh(
        &self,
        key: &Key,
        add: Balance,
        half_life: HalfLife,
        now: SystemTime,
    ) -> Result<Balance, StoreError> {
        let weigh = |before| Weighed::weigh(before, add, half_life, now);
        Ok(self.balances.change(self.name(key), now, weigh, |_, _| {}))
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        until: SystemTime,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let value = Value::new(sized(value)?, until);
        self.values.put(self.name(key), Some(value), now, |_, _| {});
        Ok(())
    }

    async fn get(&self, key: &Key, now: SystemTime) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.values.get(self.name(key), now))
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.values.put(self.name(key), None, SystemTime::UNIX_EPOCH, |_, _| {});
        Ok(())
    }

    async fn append(
        &self,
        log: &Key,
        record: &[u8],
        retention: Retention,
        now: SystemTime,
    ) -> Result<u64, StoreError> {
        Ok(self.logs.append(self.name(log), sized(record)?, retention, now, |_| {}))
    }

    async fn read(&self, log: &Key, from: u64, now: SystemTime) -> Result<Page, StoreError> {
        Ok(self.logs.read(self.name(log), from, now))
    }
}
