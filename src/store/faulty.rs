//! A store that fails for some keys, for tests.

use std::time::SystemTime;

use async_trait::async_trait;

use super::{Balance, HalfLife, Key, Memory, Pace, Rate, Sighting, Store, StoreError, Taken};

/// A store in memory that declines keys in which this stands.
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
}
