//! A store that fails for some keys, for tests.

use std::time::SystemTime;

use async_trait::async_trait;

use super::{
    Balance, HalfLife, Key, Memory, Pace, Page, Rate, Retention, Sighting, Store, StoreError, Taken,
};

/// A store in memory that returns an error for keys that contain `declines`.
pub(crate) struct Faulty {
    memory: Memory,
    declines: &'static str,
}

impl Faulty {
    pub(crate) fn new(declines: &'static str) -> Self {
        Self { memory: Memory::with_capacity(448), declines }
    }

    fn look(&self, key: &Key) -> Result<(), StoreError> {
        match key.to_string().contains(self.declines) {
            true => Err(StoreError::Declined("no".into())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Faulty {
    async fn see(&self, key: &Key, pace: Pace, now: SystemTime) -> Result<Sighting, StoreError> {
        self.look(key)?;
        self.memory.see(key, pace, now).await
    }

    async fn recall(&self, key: &Key, now: SystemTime) -> Result<Option<Sighting>, StoreError> {
        self.look(key)?;
        self.memory.recall(key, now).await
    }

    async fn take(
        &self,
        key: &Key,
        rate: Rate,
        tokens: u32,
        now: SystemTime,
    ) -> Result<Taken, StoreError> {
        self.look(key)?;
        self.memory.take(key, rate, tokens, now).await
    }

    async fn weigh(
        &self,
        key: &Key,
        add: Balance,
        half_life: HalfLife,
        now: SystemTime,
    ) -> Result<Balance, StoreError> {
        self.look(key)?;
        self.memory.weigh(key, add, half_life, now).await
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        until: SystemTime,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        self.look(key)?;
        self.memory.put(key, value, until, now).await
    }

    async fn get(&self, key: &Key, now: SystemTime) -> Result<Option<Vec<u8>>, StoreError> {
        self.look(key)?;
        self.memory.get(key, now).await
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.look(key)?;
        self.memory.remove(key).await
    }

    async fn append(
        &self,
        log: &Key,
        record: &[u8],
        retention: Retention,
        now: SystemTime,
    ) -> Result<u64, StoreError> {
        self.look(log)?;
        self.memory.append(log, record, retention, now).await
    }

    async fn read(&self, log: &Key, from: u64, now: SystemTime) -> Result<Page, StoreError> {
        self.look(log)?;
        self.memory.read(log, from, now).await
    }
}
