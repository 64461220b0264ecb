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

/// Records of each kind, unless said otherwise: 262,144.
pub(super) const RECORDS: usize = 1 << 18;

/// A store in the memory of the process: bounded, and empty when the process begins.
///
/// It holds sightings, buckets and balances, as many of each as it is made for, in about 60 octets
/// each. What does not fit makes it forget something else, which is arranged so that an attacker
/// gains little from it:
///
/// - A record is forgotten only for another of its kind, and of owners who share a corner with it
///   (1,792 records, corners dealt out by a secret). Who floods the store from one
///   network makes it forget what it knows of that network, and of one in some hundred others.
/// - In a corner, what is over goes first. Then goes what is cheap to make: things seen once before
///   things seen again, which took their time; fuller buckets before emptier ones; balances of
///   little weight. So a client that is over its rate does not get out of it by being
///   remembered for much else, nor a proven sender into oblivion by others that are not.
///
/// Values and logs have a bound in octets, 64 for each record of the other kinds: 16 MiB of values and
/// 16 MiB of logs unless said otherwise, with 64 octets charged for each. The values of an owner share
/// their corners with few others, and those that end soonest are forgotten first. The log that holds the
/// most octets loses its oldest records first.
///
/// Keys are kept as hashes, with a secret of the process's own: mail addresses are nowhere in it.
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
    /// For 262,144 records of each kind: 16 MB each when it is full.
    pub fn new() -> Self {
        Self::with_capacity(RECORDS)
    }

    /// For so many records of each kind, rounded up to whole corners of 448.
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

    /// How many records there are, of all kinds, those included that are over and have not been
    /// forgotten yet.
    pub fn len(&self) -> usize {
        let small = self.sightings.len() + self.buckets.len() + self.balances.len();
        small + self.values.len() + self.logs.len()
    }

    /// Returns how many octets values and logs are charged for.
    pub fn octets(&self) -> usize {
        self.values.octets() + self.logs.octets()
    }

    /// Whether there are none.
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
