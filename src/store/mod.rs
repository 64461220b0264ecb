//! Shared storage for scorers: the trait, and the three stores of this crate.

mod balance;
mod bucket;
#[cfg(feature = "redb")]
mod embedded;
#[cfg(test)]
pub(crate) mod faulty;
mod guarded;
mod key;
mod log;
mod memory;
mod moment;
mod observed;
mod read_only;
mod redis;
mod sighting;
mod table;
mod value;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::breaker::{State, SuspendedError};
use crate::runtime::Address;

pub use balance::{Balance, HalfLife};
pub use bucket::{Rate, RateError, Taken};
#[cfg(feature = "redb")]
pub use embedded::{Embedded, OpenError};
pub use guarded::Guarded;
pub use key::Key;
pub use log::{Page, Retention};
pub use memory::Memory;
pub use observed::{Call, Observed, Operation};
pub use read_only::ReadOnly;
pub use redis::Redis;
pub use sighting::{Pace, Sighting};

/// Maximum size of a value or of a log record, in octets.
pub const MAX_OCTETS: usize = 65_536;

/// Storage shared by scorers: sightings, token buckets, balances, values and logs, each under a
/// [`Key`].
///
/// There are three stores. [`Memory`] is bounded and loses its records when the process ends.
/// `Embedded` (feature `redb`) adds a file to it, for one gate. [`Redis`] is shared by many gates.
/// All three give the same answers to the same operations.
///
/// A store that hangs must not delay every message by a timeout. [`Redis`] therefore has a circuit
/// [`Breaker`](crate::breaker::Breaker). Wrap `Embedded`, and your own stores that do I/O, in a
/// [`Guarded`].
///
/// # Every operation is atomic
///
/// Two concurrent operations, from one gate or from two, have the same result as one after the
/// other. An operation that fails, or whose future is dropped before it is ready, may have taken
/// effect or not. It never takes effect twice.
///
/// # Time
///
/// `now` is the caller's time of day: stores have no clock. The clocks of gates that share a store
/// may differ slightly. A record with a time in the future, from another gate's clock, is treated
/// as written now. If the clock of a gate is one second slow, a wait ends one second early and a
/// bucket fills up one second late. If a clock was wrong by years, the damage lasts only until the
/// next change of the record. Keep clocks within a few seconds, for example with NTP. If they
/// differ by more than the whole period of a rate, the rate is no longer enforced.
///
/// # No listing
///
/// Keys cannot be listed, neither all of them nor by prefix. `Memory` and `Embedded` store only
/// hashes of keys. A Redis server would have to scan all its keys. Use a log for records that must
/// be found without their key.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use nobounce::store::{Key, Memory, Rate, Store, Taken};
///
/// # pollster::block_on(async {
/// let store = Memory::new();
/// let key = Key::new("rcpt", "192.0.2.1");
/// let two_a_minute = Rate::new(2, Duration::from_secs(60))?;
/// let now = SystemTime::now();
/// assert_eq!(store.take(&key, two_a_minute, 1, now).await?, Taken::Granted { left: 1 });
/// assert_eq!(store.take(&key, two_a_minute, 1, now).await?, Taken::Granted { left: 0 });
/// let wait = Duration::from_secs(30);
/// assert_eq!(store.take(&key, two_a_minute, 1, now).await?, Taken::Exhausted { wait });
/// assert_eq!(store.take(&key, two_a_minute, 1, now + wait).await?, Taken::Granted { left: 0 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[async_trait]
pub trait Store: Send + Sync {
    /// Returns the server of the store. Records of a failure contain it. The default is `None`.
    fn server(&self) -> Option<&Address> {
        None
    }

    /// Returns the state of the store's circuit breaker. The default is `None`: the store has none.
    fn breaker_state(&self) -> Option<State> {
        None
    }

    /// Records a sighting, and returns everything known about the key including this sighting.
    async fn see(&self, key: &Key, pace: Pace, now: SystemTime) -> Result<Sighting, StoreError>;

    /// Returns the current record of the key, without recording a sighting. `None` if there is no
    /// record, or if it has expired.
    async fn recall(&self, key: &Key, now: SystemTime) -> Result<Option<Sighting>, StoreError>;

    /// Takes tokens from a bucket: all of them or none. A new bucket is full.
    ///
    /// Use the same rate for every operation on a bucket. Otherwise the rate is not enforced.
    async fn take(
        &self,
        key: &Key,
        rate: Rate,
        tokens: u32,
        now: SystemTime,
    ) -> Result<Taken, StoreError>;

    /// Adds to a balance and returns the result. With [`Balance::ZERO`] it only returns the current
    /// balance.
    async fn weigh(
        &self,
        key: &Key,
        add: Balance,
        half_life: HalfLife,
        now: SystemTime,
    ) -> Result<Balance, StoreError>;

    /// Stores a value until `until`, replacing any current value. If `until` has passed, the
    /// current value is removed.
    ///
    /// A bounded store may evict the value earlier. Values that expire first are evicted first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Oversized`] for more than [`MAX_OCTETS`].
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use nobounce::store::{Key, Memory, Store};
    ///
    /// # pollster::block_on(async {
    /// let store = Memory::new();
    /// let (key, now) = (Key::new("policy", "alice@example.org"), SystemTime::now());
    /// let hour = Duration::from_secs(3600);
    /// store.put(&key, b"refuse at 6.31", now + hour, now).await?;
    /// assert_eq!(store.get(&key, now).await?, Some(b"refuse at 6.31".to_vec()));
    /// assert_eq!(store.get(&key, now + hour).await?, None);
    /// # Ok::<(), nobounce::store::StoreError>(())
    /// # })?;
    /// # Ok::<(), nobounce::store::StoreError>(())
    /// ```
    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        until: SystemTime,
        now: SystemTime,
    ) -> Result<(), StoreError>;

    /// Returns the value of this key, or `None` if it does not exist or has expired.
    async fn get(&self, key: &Key, now: SystemTime) -> Result<Option<Vec<u8>>, StoreError>;

    /// Removes the value of this key, if there is one.
    async fn remove(&self, key: &Key) -> Result<(), StoreError>;

    /// Appends a record to a log and returns its position. The first append creates the log.
    ///
    /// Positions in a log are consecutive. When an evicted or expired log is created again, its
    /// positions start after the old ones, as long as the clocks of its writers agree. The first
    /// position of a new log is the current time in Unix microseconds.
    ///
    /// A store in memory or in a file drops records before `retention` does if all logs together
    /// exceed its bound in octets. The largest log of several records loses its oldest record. When
    /// each log has only one record, the log that expires first is removed. The record just
    /// appended always stays, also when it alone exceeds the bound. The store has at most 256 logs.
    /// When one more is created, the log that expires first is removed. A Redis server limits a log
    /// only by the number of its records.
    ///
    /// # Errors
    ///
    /// [`StoreError::Oversized`] for more than [`MAX_OCTETS`]. After any other error it is unknown
    /// whether the record is in the log. Appending it again may duplicate it.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use nobounce::store::{Key, Memory, Retention, Store};
    ///
    /// # pollster::block_on(async {
    /// let store = Memory::new();
    /// let (log, now) = (Key::new("examples", ""), SystemTime::now());
    /// let retention = Retention::new(1_000, Duration::from_secs(86_400));
    /// store.append(&log, b"spam", retention, now).await?;
    /// store.append(&log, b"ham", retention, now).await?;
    ///
    /// // The reader keeps the position of the next record.
    /// let page = store.read(&log, 0, now).await?;
    /// assert_eq!(page.records, [b"spam".to_vec(), b"ham".to_vec()]);
    /// assert!(store.read(&log, page.next, now).await?.records.is_empty());
    /// # Ok::<(), nobounce::store::StoreError>(())
    /// # })?;
    /// # Ok::<(), nobounce::store::StoreError>(())
    /// ```
    async fn append(
        &self,
        log: &Key,
        record: &[u8],
        retention: Retention,
        now: SystemTime,
    ) -> Result<u64, StoreError>;

    /// Reads a page of a log from this position on: up to 1,024 records, and up to [`MAX_OCTETS`]
    /// in total. Position 0 stands for the oldest record.
    ///
    /// Reading changes nothing. A position that is not in the log is treated as 0, and
    /// [`Page::missed`] is set.
    async fn read(&self, log: &Key, from: u64, now: SystemTime) -> Result<Page, StoreError>;
}

/// Returns the octets unless there are too many.
fn sized(octets: &[u8]) -> Result<&[u8], StoreError> {
    match octets.len() {
        ..=MAX_OCTETS => Ok(octets),
        more => Err(StoreError::Oversized(more)),
    }
}

/// Reason why a store did not answer. It is unknown whether the operation took effect.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The connection to the store failed or was lost. Fault of the network or of the store.
    #[error("store: {0}")]
    Unreachable(Arc<io::Error>),
    /// The store did not answer within this time.
    #[error("store: no answer within {0:?}")]
    Late(Duration),
    /// The store sent an invalid answer. Store fault.
    #[error("store: malformed response: {0}")]
    Garbled(&'static str),
    /// The store refused the operation with this message. Usually its configuration or ours is
    /// wrong.
    #[error("store: operation refused: {0:?}")]
    Declined(Box<str>),
    /// The file could not be written. Disk fault.
    #[error("store: {0}")]
    Disk(Arc<dyn std::error::Error + Send + Sync>),
    /// The store was not asked, because earlier operations failed: its circuit
    /// [`Breaker`](crate::breaker::Breaker) is open. Fault of the store or of the network.
    #[error("store: {0}")]
    Suspended(#[from] SuspendedError),
    /// The size of a value or record in octets, which exceeds [`MAX_OCTETS`]. Caller fault.
    #[error("store: {0} octets exceed the limit of {MAX_OCTETS}")]
    Oversized(usize),
    /// Too many changes wait for the disk.
    #[error("store: too many changes are waiting for the disk")]
    Behind,
}
