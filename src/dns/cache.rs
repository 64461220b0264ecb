//! A cache of DNS answers that respects their time to live.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};
use crate::runtime::Runtime;
use crate::unwind::caught;

/// Default number of cached answers.
const CAPACITY: usize = 10_000;
/// Maximum size of a cached answer in octets. Over TCP, a server can send 1,000 compressed names
/// with up to 1,012 octets of text each.
const ANSWER: usize = 64 << 10;
/// Longest time for which an answer is cached, regardless of its TTL (unbound: `cache-max-ttl`),
/// and longest time for a negative answer (RFC 2308 section 5: one to three hours).
const LONGEST: Duration = Duration::from_secs(86_400);
const LONGEST_ABSENCE: Duration = Duration::from_secs(3_600);
/// Time for which a failure is cached (RFC 9520 section 3.2: one second to five minutes; unbound: 5
/// s).
const FAILURE: Duration = Duration::from_secs(5);

/// A caching resolver. It caches the answers of another resolver for their time to live, at most
/// one day. It caches negative answers for as long as the zone says (RFC 2308), at most one hour.
/// It caches failures of the servers that are responsible for the name for 5 seconds (RFC 9520): an
/// error response, no answer in time, or a malformed answer. A failure does not replace an answer
/// that is still valid. Errors of this machine and lost connections are not cached. A network that
/// drops datagrams cannot be told from a silent server, so that failure is cached.
///
/// The capacity is 10,000 answers and failures. An answer whose records take more than 64 KiB is not
/// cached. When the cache is full, expired ones are removed
/// first. If none has expired, the half that expires first is removed, which includes failures. All
/// clones share one cache.
#[derive(Debug)]
pub struct Cache<D, R> {
    shared: Arc<Shared<D, R>>,
}

#[derive(Debug)]
struct Shared<D, R> {
    resolver: D,
    runtime: R,
    capacity: usize,
    answers: Mutex<HashMap<Key, (Known, Instant)>>,
    told: OnceLock<Told>,
}

/// A lookup that has ended, for [`Cache::on_lookup`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Lookup<'l> {
    /// The type of the records.
    pub kind: RecordKind,
    /// Whether the answer or failure came from the cache.
    pub is_cached: bool,
    /// The time that the servers took. Zero if the answer came from the cache.
    pub took: Duration,
    /// The reason why the lookup failed, or `None` if it succeeded.
    pub error: Option<&'l ResolveError>,
}

struct Told(Box<dyn Fn(&Lookup<'_>) + Send + Sync>);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

type Key = (DomainName, RecordKind);
type Known = Result<Answer, ResolveError>;

impl<D, R> Clone for Cache<D, R> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<D: Resolver, R: Runtime> Cache<D, R> {
    /// Creates a cache for the answers of `resolver`, with the clock of `runtime`.
    pub fn new(runtime: R, resolver: D) -> Self {
        Self::with_capacity(runtime, resolver, CAPACITY)
    }

    /// Creates a cache with this capacity, at least one answer.
    pub fn with_capacity(runtime: R, resolver: D, capacity: usize) -> Self {
        let (capacity, answers) = (capacity.max(1), Mutex::default());
        let told = OnceLock::new();
        Self { shared: Arc::new(Shared { resolver, runtime, capacity, answers, told }) }
    }

    /// Calls `told` after each lookup of this cache and its clones: for metrics. The lookup waits for
    /// the call, so it must not block. A panic of `told` is caught. A lookup whose future is dropped
    /// before it is ready is not reported. Only the first call of this method has an effect.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use std::sync::Arc;
    /// use nobounce::dns::{Cache, RecordKind, Resolver};
    /// use nobounce::testing::{VirtualRuntime, Zone};
    ///
    /// let hits = Arc::new(AtomicU64::new(0));
    /// let counter = hits.clone();
    /// let runtime = VirtualRuntime::new();
    /// let resolver = Zone::new("mx.example A fails");
    /// let cache = Cache::new(runtime.clone(), resolver).on_lookup(move |lookup| {
    ///     counter.fetch_add(u64::from(lookup.is_cached), Ordering::Relaxed);
    /// });
    /// let name = "mx.example".parse()?;
    /// for _ in 0..3 {
    ///     runtime.run(cache.lookup(&name, RecordKind::A)).unwrap_err();
    /// }
    /// assert_eq!(hits.load(Ordering::Relaxed), 2);
    /// # Ok::<(), nobounce::dns::DomainNameError>(())
    /// ```
    #[must_use]
    pub fn on_lookup(self, told: impl Fn(&Lookup<'_>) + Send + Sync + 'static) -> Self {
        let _ = self.shared.told.set(Told(Box::new(told)));
        self
    }

    /// Returns the number of cached answers and failures, including expired ones.
    pub fn len(&self) -> usize {
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<D, R: Runtime> Shared<D, R> {
    fn tell(&self, kind: RecordKind, known: &Known, asked: Option<Duration>) {
        if let Some(Told(told)) = self.told.get() {
            let (is_cached, took) = (asked.is_none(), asked.unwrap_or_default());
            let lookup = Lookup { kind, is_cached, took, error: known.as_ref().err() };
            let _ = caught(|| told(&lookup));
        }
    }

    fn recall(&self, key: &Key, now: Instant) -> Option<Known> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, until) = answers.get(key)?;
        if *until <= now {
            answers.remove(key);
            return None;
        }
        let ttl = *until - now;
        Some(known.clone().map(|answer| Answer { ttl, ..answer }))
    }

    fn remember(&self, key: Key, known: &Known, now: Instant) {
        let until = now + lifetime(known);
        let is_large = known.as_ref().is_ok_and(|answer| octets(&answer.records) > ANSWER);
        if until <= now || is_large {
            return;
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        // A concurrent lookup of the same name may have had an answer.
        let is_valid = |(old, until): &(Known, Instant)| old.is_ok() && *until > now;
        if known.is_err() && answers.get(&key).is_some_and(is_valid) {
            return;
        }
        if answers.len() >= self.capacity && !answers.contains_key(&key) {
            answers.retain(|_, (_, until)| *until > now);
        }
        if answers.len() >= self.capacity && !answers.contains_key(&key) {
            let mut ends: Vec<_> = answers.values().map(|(_, until)| *until).collect();
            let half = (ends.len() - 1) / 2;
            let (_, median, _) = ends.select_nth_unstable(half);
            // Answers that expire at the median are removed too, because many answers may expire at
            // the same time.
            answers.retain(|_, (_, until)| *until > *median);
        }
        answers.insert(key, (known.clone(), until));
    }
}

/// Returns the size of records in memory, with their names and texts.
fn octets(records: &[Record]) -> usize {
    let outside = |record: &Record| match record {
        Record::A(_) | Record::Aaaa(_) => 0,
        Record::Mx { exchange, .. } => exchange.as_ref().map_or(0, |name| name.len()),
        Record::Ptr(name) => name.len(),
        Record::Txt(text) => text.len(),
    };
    size_of_val(records) + records.iter().map(outside).sum::<usize>()
}

/// Returns the time for which an answer or a failure is cached.
fn lifetime(known: &Known) -> Duration {
    use ResolveError::{Declined, Late, Malformed, Network, NoServer, Other};
    match known {
        Ok(answer) if answer.records.is_empty() => answer.ttl.min(LONGEST_ABSENCE),
        Ok(answer) => answer.ttl.min(LONGEST),
        Err(Declined(_) | Late | Malformed(_)) => FAILURE,
        Err(Network(_) | NoServer | Other(_)) => Duration::ZERO,
    }
}

#[async_trait]
impl<D: Resolver, R: Runtime> Resolver for Cache<D, R> {
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
        let key = (name.clone(), kind);
        let shared = &*self.shared;
        let began = shared.runtime.now();
        if let Some(known) = shared.recall(&key, began) {
            shared.tell(kind, &known, None);
            return known;
        }
        let known = shared.resolver.lookup(name, kind).await;
        let now = shared.runtime.now();
        shared.remember(key, &known, now);
        shared.tell(kind, &known, Some(now.saturating_duration_since(began)));
        known
    }
}

#[cfg(test)]
mod tests;
