//! A store that is only read.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::sighting::Seen;
use super::{
    Balance, HalfLife, Key, Pace, Page, Rate, Retention, Sighting, Store, StoreError, Taken,
};
use crate::breaker::State;
use crate::runtime::Address;

/// A view of a store that changes nothing: for a trial of a message, which must not count.
///
/// Every operation returns what the store would return, and its effect is forgotten. A second
/// sighting of a key therefore gets the same answer as the first. Balances and buckets are queried
/// by operations of the store that add and take nothing.
///
/// ```
/// use std::sync::Arc;
/// use std::time::{Duration, SystemTime};
/// use nobounce::store::{Key, Memory, Rate, ReadOnly, Store, Taken};
///
/// # pollster::block_on(async {
/// let store = Arc::new(Memory::new());
/// let view = ReadOnly::new(store.clone());
/// let (key, now) = (Key::new("rcpt", "192.0.2.1"), SystemTime::now());
/// let two_a_minute = Rate::new(2, Duration::from_secs(60))?;
/// for _ in 0..3 {
///     assert_eq!(view.take(&key, two_a_minute, 1, now).await?, Taken::Granted { left: 1 });
/// }
/// store.take(&key, two_a_minute, 2, now).await?;
/// let wait = Duration::from_secs(30);
/// assert_eq!(view.take(&key, two_a_minute, 1, now).await?, Taken::Exhausted { wait });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReadOnly<S>(Arc<S>);

impl<S: Store> ReadOnly<S> {
    /// Creates a view of the store.
    pub fn new(store: Arc<S>) -> Self {
        Self(store)
    }
}

#[async_trait]
impl<S: Store> Store for ReadOnly<S> {
    fn server(&self) -> Option<&Address> {
        self.0.server()
    }

    fn breaker_state(&self) -> Option<State> {
        self.0.breaker_state()
    }

    async fn see(&self, key: &Key, pace: Pace, now: SystemTime) -> Result<Sighting, StoreError> {
        let before = self.0.recall(key, now).await?.map(Seen::of);
        Ok(Seen::see(before, pace, now).1)
    }

    async fn recall(&self, key: &Key, now: SystemTime) -> Result<Option<Sighting>, StoreError> {
        self.0.recall(key, now).await
    }

    async fn take(
        &self,
        key: &Key,
        rate: Rate,
        tokens: u32,
        now: SystemTime,
    ) -> Result<Taken, StoreError> {
        let tokens = tokens.min(rate.tokens());
        Ok(match self.0.take(key, rate, 0, now).await? {
            Taken::Granted { left } => match left.checked_sub(tokens) {
                Some(left) => Taken::Granted { left },
                None => {
                    let missing = u64::from(tokens - left);
                    Taken::Exhausted { wait: Duration::from_micros(rate.each() * missing) }
                }
            },
            exhausted => exhausted,
        })
    }

    async fn weigh(
        &self,
        key: &Key,
        add: Balance,
        half_life: HalfLife,
        now: SystemTime,
    ) -> Result<Balance, StoreError> {
        Ok(self.0.weigh(key, Balance::ZERO, half_life, now).await? + add)
    }

    /// Does nothing.
    async fn put(&self, _: &Key, _: &[u8], _: SystemTime, _: SystemTime) -> Result<(), StoreError> {
        Ok(())
    }

    async fn get(&self, key: &Key, now: SystemTime) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key, now).await
    }

    /// Does nothing.
    async fn remove(&self, _: &Key) -> Result<(), StoreError> {
        Ok(())
    }

    /// Does nothing, and returns the position after the last record that a read would return.
    async fn append(
        &self,
        log: &Key,
        _: &[u8],
        _: Retention,
        now: SystemTime,
    ) -> Result<u64, StoreError> {
        Ok(self.0.read(log, 0, now).await?.next)
    }

    async fn read(&self, log: &Key, from: u64, now: SystemTime) -> Result<Page, StoreError> {
        self.0.read(log, from, now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    #[test]
    fn a_read_only_store_answers_as_the_store_and_changes_nothing() {
        const MINUTE: Duration = Duration::from_secs(60);
        let now = SystemTime::UNIX_EPOCH + MINUTE * 1_000_000;
        let (key, rate) = (Key::new("k", "v"), Rate::new(3, MINUTE).unwrap());
        let pace = Pace { apart: MINUTE, once: MINUTE * 60, again: MINUTE * 600 };
        let half_life = HalfLife::new(MINUTE * 60);
        let retention = Retention::new(10, MINUTE);
        pollster::block_on(async {
            // What each of the two stores answers after the same past.
            for past in 0..3_u32 {
                let [store, twin] = [Memory::new(), Memory::new()].map(Arc::new);
                for past in 0..past {
                    let at = now - MINUTE * 2 + MINUTE * past;
                    for store in [&store, &twin] {
                        store.see(&key, pace, at).await.unwrap();
                        store.take(&key, rate, 2, at).await.unwrap();
                        store.weigh(&key, Balance::new(1.0, 2.0), half_life, at).await.unwrap();
                        store.put(&key, b"old", now + MINUTE, at).await.unwrap();
                        store.append(&key, b"old", retention, at).await.unwrap();
                    }
                }
                let view = ReadOnly::new(store.clone());
                let add = Balance::new(0.5, 0.0);
                for _ in 0..2 {
                    assert_eq!(
                        view.recall(&key, now).await.unwrap(),
                        twin.recall(&key, now).await.unwrap()
                    );
                    view.see(&key, pace, now).await.unwrap();
                    view.take(&key, rate, 2, now).await.unwrap();
                    view.weigh(&key, add, half_life, now).await.unwrap();
                    view.put(&key, b"new", now + MINUTE, now).await.unwrap();
                    view.remove(&key).await.unwrap();
                    view.append(&key, b"new", retention, now).await.unwrap();
                }
                let seen = view.see(&key, pace, now).await.unwrap();
                assert_eq!(seen, twin.see(&key, pace, now).await.unwrap());
                let taken = view.take(&key, rate, 2, now).await.unwrap();
                assert_eq!(taken, twin.take(&key, rate, 2, now).await.unwrap());
                let weighed = view.weigh(&key, add, half_life, now).await.unwrap();
                assert_eq!(weighed, twin.weigh(&key, add, half_life, now).await.unwrap());
                assert_eq!(view.get(&key, now).await.unwrap(), twin.get(&key, now).await.unwrap());
                let [page, expected] =
                    [view.read(&key, 0, now).await, twin.read(&key, 0, now).await];
                assert_eq!(page.unwrap().records, expected.unwrap().records);
            }
        });
    }
}
