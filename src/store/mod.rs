//! What scorers remember: the trait, and the three stores that ship.

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
mod redis;
mod sighting;
mod table;
mod value;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::breaker::Suspended;

pub use balance::{Balance, HalfLife};
pub use bucket::{BadRate, Rate, Taken};
#[cfg(feature = "redb")]
pub use embedded::{Embedded, OpenError};
pub use guarded::Guarded;
pub use key::Key;
pub use log::{Page, Retention};
pub use memory::Memory;
pub use redis::Redis;
pub use sighting::{Pace, Sighting};

/// Octets of a value, and of a record of a log, at most.
pub const MAX_OCTETS: usize = 65_536;

/// A memory that scorers share: sightings, token buckets, balances, values and logs, each under a [`Key`].
///
/// There are three. [`Memory`] is bounded, and forgets when the process ends. `Embedded` (feature
/// `redb`) is the same with a file behind it, for one gate. [`Redis`] is for many gates at once.
/// They say the same to the same questions.
///
/// A store that hangs must not cost every message a timeout. [`Redis`] therefore has a circuit
/// [`Breaker`](crate::breaker::Breaker); put `Embedded`, and stores of your own that do I/O, into a
/// [`Guarded`].
///
/// # Every operation is atomic
///
/// Two at the same time, from two gates or one, leave what one after the other would leave. An
/// operation that fails, or whose future is dropped before it is ready, was done or was not, and
/// is never done twice.
///
/// # Time
///
/// `now` is the caller's time of day: stores have no clock. Clocks of gates that share a store may
/// differ a little. A record that another clock has put into the future is read as made now; so a
/// gate whose clock is behind by a second sees a wait end a second earlier and a bucket filled a
/// second later, and a clock that was wrong by years does its harm until its record is touched
/// next, not for years. Keep clocks within a few seconds (NTP does): where they differ by
/// more than a rate's whole period, it is no longer held.
///
/// # No listing
///
/// Keys cannot be listed, neither all nor by a prefix. Memory and file keep hashes of keys, and a Redis
/// server would have to walk through all it has. What must be found again without its key goes to a log.
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
    /// Notes that this was seen, and says what is known of it from now on.
    async fn see(&self, key: &Key, pace: Pace, now: SystemTime) -> Result<Sighting, StoreError>;

    /// What is known of this without its being seen now; `None` if nothing is, or nothing any more.
    async fn recall(&self, key: &Key, now: SystemTime) -> Result<Option<Sighting>, StoreError>;

    /// Takes tokens out of a bucket, all of them or none. The bucket is full at first.
    ///
    /// A bucket keeps its rate by being asked with the same one each time.
    async fn take(
        &self,
        key: &Key,
        rate: Rate,
        tokens: u32,
        now: SystemTime,
    ) -> Result<Taken, StoreError>;

    /// Adds to a balance, and says how it stands then; with [`Balance::ZERO`] it only says so.
    async fn weigh(
        &self,
        key: &Key,
        add: Balance,
        half_life: HalfLife,
        now: SystemTime,
    ) -> Result<Balance, StoreError>;

    /// Keeps a value until `until`, in place of the one that is there. A value whose time is over is
    /// removed instead.
    ///
    /// A bounded store may forget it before: first those that end soonest.
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

    /// Returns the value of this key; `None` if there is none, or none any more.
    async fn get(&self, key: &Key, now: SystemTime) -> Result<Option<Vec<u8>>, StoreError>;

    /// Forgets the value of this key, if there is one.
    async fn remove(&self, key: &Key) -> Result<(), StoreError>;

    /// Appends a record to a log and returns its position. The first append makes the log.
    ///
    /// Positions of a log are consecutive. A log that was forgotten begins anew behind them, as far as the
    /// clocks of its writers go together: positions of a new log begin at the microseconds since 1970.
    /// A store in memory or in a file drops records before `retention` does when all logs together
    /// outgrow its bound in octets, and has at most 256 logs; beyond, the one that ends soonest is
    /// forgotten. A Redis server bounds a log by the number of its records alone.
    ///
    /// # Errors
    ///
    /// [`StoreError::Oversized`] for more than [`MAX_OCTETS`]. After any other error the record may be
    /// there or not; appended again, it may be there twice.
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

    /// Reads a page of a log from this position on: up to 1,024 records, and up to [`MAX_OCTETS`] in all.
    /// Position 0 stands for the oldest record that there is.
    ///
    /// Reading changes nothing. A position that is not in the log is read as 0, and
    /// [`Page::missed`] tells so.
    async fn read(&self, log: &Key, from: u64, now: SystemTime) -> Result<Page, StoreError>;
}

/// The octets, if they are not too many.
fn sized(octets: &[u8]) -> Result<&[u8], StoreError> {
    match octets.len() {
        ..=MAX_OCTETS => Ok(octets),
        more => Err(StoreError::Oversized(more)),
    }
}

/// Why a store has not answered. Whether it has done what it was asked is not known.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no connection to it, or there is none any more. The network or the store is at
    /// fault.
    #[error("store: {0}")]
    Unreachable(Arc<io::Error>),
    /// It had not answered within this time.
    #[error("store: no answer within {0:?}")]
    Late(Duration),
    /// It sent what is no answer to what it was asked. The fault is its own.
    #[error("store: not an answer: {0}")]
    Garbled(&'static str),
    /// It refuses to answer, in these words. Most often its configuration is at fault, or ours.
    #[error("store says {0:?}")]
    Declined(Box<str>),
    /// The file cannot be written. The disk is at fault.
    #[error("store: {0}")]
    Disk(Arc<dyn std::error::Error + Send + Sync>),
    /// It was not asked, since earlier operations have failed: its circuit
    /// [`Breaker`](crate::breaker::Breaker) is open. The store is at fault, or the network.
    #[error("store: {0}")]
    Suspended(#[from] Suspended),
    /// A value or a record has so many octets, more than [`MAX_OCTETS`]. The caller is at fault.
    #[error("store: {0} octets are more than {MAX_OCTETS}")]
    Oversized(usize),
    /// More wait for the disk than may.
    #[error("store: the disk does not keep up")]
    Behind,
}
