//! A store whose operations are measured.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::balance::{Balance, HalfLife};
use super::bucket::{Rate, Taken};
use super::key::Key;
use super::log::{Page, Retention};
use super::sighting::{Pace, Sighting};
use super::{Store, StoreError};
use crate::breaker::State;
use crate::runtime::{Address, Runtime};
use crate::unwind::caught;

/// A store whose operations are measured and reported: for metrics.
///
/// Each operation costs two calls of [`Runtime::now`]. An operation whose future is dropped before
/// it is ready is not reported.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::sync::Arc;
/// use std::time::SystemTime;
/// use nobounce::store::{Key, Memory, Observed, Operation, Store};
/// use nobounce::testing::VirtualRuntime;
///
/// let gets = Arc::new(AtomicU64::new(0));
/// let counter = gets.clone();
/// let runtime = VirtualRuntime::new();
/// let store = Observed::new(runtime.clone(), Memory::new(), move |call| {
///     if let (Operation::Get, None) = (call.operation, call.error) {
///         counter.fetch_add(1, Ordering::Relaxed);
///     }
/// });
/// assert_eq!(runtime.run(store.get(&Key::new("k", ""), SystemTime::UNIX_EPOCH))?, None);
/// assert_eq!(gets.load(Ordering::Relaxed), 1);
/// # Ok::<(), nobounce::store::StoreError>(())
/// ```
pub struct Observed<S, R> {
    runtime: R,
    store: S,
    told: Box<Told>,
}

type Told = dyn Fn(&Call<'_>) + Send + Sync;

/// An operation of a store that has ended.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Call<'c> {
    /// The operation.
    pub operation: Operation,
    /// The time that it took.
    pub took: Duration,
    /// The reason why it failed, if it did.
    pub error: Option<&'c StoreError>,
    /// The state of the circuit breaker after the operation. `None` if the store has no breaker.
    pub breaker: Option<State>,
}

/// The operations of a [`Store`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// [`Store::see`].
    See,
    /// [`Store::recall`].
    Recall,
    /// [`Store::take`].
    Take,
    /// [`Store::weigh`].
    Weigh,
    /// [`Store::put`].
    Put,
    /// [`Store::get`].
    Get,
    /// [`Store::remove`].
    Remove,
    /// [`Store::append`].
    Append,
    /// [`Store::read`].
    Read,
}

impl<S: Store, R: Runtime> Observed<S, R> {
    /// Creates a store that calls `told` after each operation, with the clock of `runtime`. The
    /// operation waits for the call, so it must not block. A panic of `told` is caught.
    pub fn new(runtime: R, store: S, told: impl Fn(&Call<'_>) + Send + Sync + 'static) -> Self {
        Self { runtime, store, told: Box::new(told) }
    }

    async fn run<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let began = self.runtime.now();
        let result = work.await;
        let took = self.runtime.now().saturating_duration_since(began);
        let (error, breaker) = (result.as_ref().err(), self.store.breaker_state());
        let _ = caught(|| (self.told)(&Call { operation, took, error, breaker }));
        result
    }
}

#[async_trait]
impl<S: Store, R: Runtime> Store for Observed<S, R> {
    fn server(&self) -> Option<&Address> {
        self.store.server()
    }

    fn breaker_state(&self) -> Option<State> {
        self.store.breaker_state()
    }

    async fn see(&self, key: &Key, pace: Pace, now: SystemTime) -> Result<Sighting, StoreError> {
        self.run(Operation::See, self.store.see(key, pace, now)).await
    }

    async fn recall(&self, key: &Key, now: SystemTime) -> Result<Option<Sighting>, StoreError> {
        self.run(Operation::Recall, self.store.recall(key, now)).await
    }

    async fn take(
        &self,
        key: &Key,
        rate: Rate,
        tokens: u32,
        now: SystemTime,
    ) -> Result<Taken, StoreError> {
        self.run(Operation::Take, self.store.take(key, rate, tokens, now)).await
    }

    async fn weigh(
        &self,
        key: &Key,
        add: Balance,
        half_life: HalfLife,
        now: SystemTime,
    ) -> Result<Balance, StoreError> {
        self.run(Operation::Weigh, self.store.weigh(key, add, half_life, now)).await
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        until: SystemTime,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        self.run(Operation::Put, self.store.put(key, value, until, now)).await
    }

    async fn get(&self, key: &Key, now: SystemTime) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(Operation::Get, self.store.get(key, now)).await
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.run(Operation::Remove, self.store.remove(key)).await
    }

    async fn append(
        &self,
        log: &Key,
        record: &[u8],
        retention: Retention,
        now: SystemTime,
    ) -> Result<u64, StoreError> {
        self.run(Operation::Append, self.store.append(log, record, retention, now)).await
    }

    async fn read(&self, log: &Key, from: u64, now: SystemTime) -> Result<Page, StoreError> {
        self.run(Operation::Read, self.store.read(log, from, now)).await
    }
}

impl<S: fmt::Debug, R> fmt::Debug for Observed<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observed").field(&self.store).finish()
    }
}
