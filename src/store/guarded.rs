//! A store with a timeout and a circuit breaker around it.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::balance::{Balance, HalfLife};
use super::bucket::{Rate, Taken};
use super::key::Key;
use super::log::{Page, Retention};
use super::sighting::{Pace, Sighting};
use super::{Store, StoreError, sized};
use crate::breaker::{Breaker, State};
use crate::deadline::{Awaiting, Deadline};
use crate::runtime::{Address, Runtime, within};

/// Default timeout of one operation.
const PATIENCE: Duration = Duration::from_secs(5);

/// A store with a timeout and a circuit [`Breaker`] around it. If the store hangs, a few messages
/// wait for the timeout, and all others continue without delay.
///
/// Use it for stores that do I/O and have neither: `Embedded` (feature `redb`), whose disk may
/// hang, and your own stores. [`Redis`](super::Redis) has both built in.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use nobounce::Runtime;
/// use nobounce::breaker::{Breaker, Change};
/// use nobounce::store::{Guarded, Store};
///
/// fn guarded<R: Runtime>(runtime: R, store: impl Store + 'static) -> Arc<dyn Store> {
///     let breaker = Breaker::new().on_change(|change| match change {
///         Change::Failed { error } => eprintln!("store: has failed: {error}"),
///         Change::Recovered { after } => eprintln!("store: is back after {} s", after.as_secs()),
///         _ => {}
///     });
///     Arc::new(Guarded::new(runtime, store).patience(Duration::from_secs(2)).breaker(breaker))
/// }
/// ```
pub struct Guarded<S, R> {
    runtime: R,
    store: S,
    patience: Duration,
    breaker: Breaker,
}

impl<S: Store, R: Runtime> Guarded<S, R> {
    /// Creates a guard for `store`, with a timeout of 5 seconds and a [`Breaker::new`].
    pub fn new(runtime: R, store: S) -> Self {
        Self { runtime, store, patience: PATIENCE, breaker: Breaker::new() }
    }

    /// Sets the timeout of an operation. The budget of the [`Seat`](crate::panel::Seat) applies in
    /// addition.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets the breaker, including its callback for failure and recovery.
    #[must_use]
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.breaker = breaker;
        self
    }

    /// Returns the state of the breaker. While it is open, the store is not asked.
    pub fn state(&self) -> State {
        self.breaker.state()
    }

    async fn run<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let deadline = Deadline::after(self.runtime.now(), self.patience, Awaiting::Connection);
        let timed = async {
            let answer = within(&self.runtime, Some(deadline), work).await;
            answer.unwrap_or(Err(StoreError::Late(self.patience)))
        };
        self.breaker.run(&self.runtime, timed).await?
    }
}

#[async_trait]
impl<S: Store, R: Runtime> Store for Guarded<S, R> {
    fn server(&self) -> Option<&Address> {
        self.store.server()
    }

    fn breaker_state(&self) -> Option<State> {
        Some(self.breaker.state())
    }

    async fn see(&self, key: &Key, pace: Pace, now: SystemTime) -> Result<Sighting, StoreError> {
        self.run(self.store.see(key, pace, now)).await
    }

    async fn recall(&self, key: &Key, now: SystemTime) -> Result<Option<Sighting>, StoreError> {
        self.run(self.store.recall(key, now)).await
    }

    async fn take(
        &self,
        key: &Key,
        rate: Rate,
        tokens: u32,
        now: SystemTime,
    ) -> Result<Taken, StoreError> {
        self.run(self.store.take(key, rate, tokens, now)).await
    }

    async fn weigh(
        &self,
        key: &Key,
        add: Balance,
        half_life: HalfLife,
        now: SystemTime,
    ) -> Result<Balance, StoreError> {
        self.run(self.store.weigh(key, add, half_life, now)).await
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        until: SystemTime,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        sized(value)?;
        self.run(self.store.put(key, value, until, now)).await
    }

    async fn get(&self, key: &Key, now: SystemTime) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(self.store.get(key, now)).await
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.run(self.store.remove(key)).await
    }

    async fn append(
        &self,
        log: &Key,
        record: &[u8],
        retention: Retention,
        now: SystemTime,
    ) -> Result<u64, StoreError> {
        sized(record)?;
        self.run(self.store.append(log, record, retention, now)).await
    }

    async fn read(&self, log: &Key, from: u64, now: SystemTime) -> Result<Page, StoreError> {
        self.run(self.store.read(log, from, now)).await
    }
}

impl<S, R> fmt::Debug for Guarded<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::breaker::Change;
    use crate::rehearsal::Rehearsal;

    /// A store that hangs on request and counts its operations.
    #[derive(Default)]
    struct Disk {
        hangs: AtomicBool,
        asked: AtomicU32,
    }

    #[async_trait]
    impl Store for Arc<Disk> {
        async fn see(&self, _: &Key, _: Pace, _: SystemTime) -> Result<Sighting, StoreError> {
            unreachable!()
        }

        async fn recall(&self, _: &Key, _: SystemTime) -> Result<Option<Sighting>, StoreError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.hangs.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            Ok(None)
        }

        async fn take(&self, _: &Key, _: Rate, _: u32, _: SystemTime) -> Result<Taken, StoreError> {
            unreachable!()
        }

        async fn weigh(
            &self,
            _: &Key,
            _: Balance,
            _: HalfLife,
            _: SystemTime,
        ) -> Result<Balance, StoreError> {
            unreachable!()
        }

        async fn put(
            &self,
            _: &Key,
            _: &[u8],
            _: SystemTime,
            _: SystemTime,
        ) -> Result<(), StoreError> {
            unreachable!()
        }

        async fn get(&self, _: &Key, _: SystemTime) -> Result<Option<Vec<u8>>, StoreError> {
            unreachable!()
        }

        async fn remove(&self, _: &Key) -> Result<(), StoreError> {
            unreachable!()
        }

        async fn append(
            &self,
            _: &Key,
            _: &[u8],
            _: Retention,
            _: SystemTime,
        ) -> Result<u64, StoreError> {
            unreachable!()
        }

        async fn read(&self, _: &Key, _: u64, _: SystemTime) -> Result<Page, StoreError> {
            unreachable!()
        }
    }

    /// A hundred messages, one per second: the disk hangs at the tenth and works again at the
    /// sixtieth.
    #[test]
    fn hanging_store_delays_only_a_few_messages() {
        let (clock, disk) = (Rehearsal::new(), Arc::new(Disk::default()));
        let changes = Arc::new(Mutex::new(Vec::new()));
        let told = changes.clone();
        let breaker =
            Breaker::new().on_change(move |change| told.lock().unwrap().push(change.clone()));
        let store = Guarded::new(clock.clone(), disk.clone()).breaker(breaker);
        let (key, second) = (Key::new("k", ""), Duration::from_secs(1));
        let (mut waited, mut failed_at_once, mut failed_late) = (Duration::ZERO, 0, 0);
        for message in 0..100 {
            disk.hangs.store((10..60).contains(&message), Ordering::Relaxed);
            let began = clock.elapsed();
            let answer = clock.run(store.recall(&key, SystemTime::UNIX_EPOCH));
            let took = clock.elapsed() - began;
            waited += took;
            match answer {
                Ok(_) => assert_eq!(took, Duration::ZERO),
                Err(StoreError::Suspended(_)) => {
                    assert_eq!(took, Duration::ZERO);
                    failed_at_once += 1;
                }
                Err(error) => {
                    assert_eq!(error.to_string(), "store: no answer within 5s");
                    assert_eq!(took, PATIENCE);
                    failed_late += 1;
                }
            }
            clock.run(clock.sleep(second));
        }
        assert!(failed_late < 12, "{failed_late} waited");
        assert_eq!(waited, PATIENCE * failed_late);
        assert!(failed_at_once > 40, "{failed_at_once} failed at once");
        let told = changes.lock().unwrap();
        assert!(
            matches!(&told[..], [Change::Failed { error }, Change::Recovered { .. }]
                if &**error == "store: no answer within 5s"),
            "{told:?}"
        );
        assert_eq!(store.state(), State::Closed);
        assert!(disk.asked.load(Ordering::Relaxed) < 60);
    }
}
