//! A store with a circuit breaker that hangs from a given time on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use nobounce::store::{
    Balance, Guarded, HalfLife, Key, Memory, Pace, Page, Rate, Retention, Sighting, Store,
    StoreError, Taken,
};

use super::clock::Sleep;
use super::runtime::Simulated;
use super::world::World;

/// Timeout of an operation.
const PATIENCE: Duration = Duration::from_secs(1);

/// Number of operations that hang.
pub type Hung = Arc<AtomicUsize>;

struct Hanging {
    world: World,
    memory: Memory,
    hangs_from: Instant,
    hung: Hung,
}

/// Returns a store that hangs from `hangs_from` on, and its counter of hanging operations.
pub fn hanging(world: &World, hangs_from: Instant) -> (Arc<dyn Store>, Hung) {
    let hung = Hung::default();
    let memory = Memory::new();
    let store = Hanging { world: world.clone(), memory, hangs_from, hung: hung.clone() };
    let guarded = Guarded::new(Simulated(world.clone()), store).patience(PATIENCE);
    (Arc::new(guarded), hung)
}

/// Returns how many operations may hang in this time, with this many concurrent sessions: five in a
/// row and those concurrent with them, then one for each pause. The pause starts at one second and
/// doubles to half a minute.
pub fn may_hang(sessions: usize, time: Duration) -> usize {
    5 + sessions + 6 + usize::try_from(time.as_secs() / 30).unwrap_or(usize::MAX)
}

impl Hanging {
    async fn hang(&self) {
        if self.world.now() >= self.hangs_from {
            self.hung.fetch_add(1, Ordering::Relaxed);
            Sleep::of(&self.world, Duration::from_secs(1_000_000)).await;
        }
    }
}

#[async_trait]
impl Store for Hanging {
    async fn see(&self, key: &Key, pace: Pace, now: SystemTime) -> Result<Sighting, StoreError> {
        self.hang().await;
        self.memory.see(key, pace, now).await
    }

    async fn recall(&self, key: &Key, now: SystemTime) -> Result<Option<Sighting>, StoreError> {
        self.hang().await;
        self.memory.recall(key, now).await
    }

    async fn take(
        &self,
        key: &Key,
        rate: Rate,
        tokens: u32,
        now: SystemTime,
    ) -> Result<Taken, StoreError> {
        self.hang().await;
        self.memory.take(key, rate, tokens, now).await
    }

    async fn weigh(
        &self,
        key: &Key,
        add: Balance,
        half_life: HalfLife,
        now: SystemTime,
    ) -> Result<Balance, StoreError> {
        self.hang().await;
        self.memory.weigh(key, add, half_life, now).await
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        until: SystemTime,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        self.hang().await;
        self.memory.put(key, value, until, now).await
    }

    async fn get(&self, key: &Key, now: SystemTime) -> Result<Option<Vec<u8>>, StoreError> {
        self.hang().await;
        self.memory.get(key, now).await
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.hang().await;
        self.memory.remove(key).await
    }

    async fn append(
        &self,
        log: &Key,
        record: &[u8],
        retention: Retention,
        now: SystemTime,
    ) -> Result<u64, StoreError> {
        self.hang().await;
        self.memory.append(log, record, retention, now).await
    }

    async fn read(&self, log: &Key, from: u64, now: SystemTime) -> Result<Page, StoreError> {
        self.hang().await;
        self.memory.read(log, from, now).await
    }
}
