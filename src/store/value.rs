//! Values: octets under a key, with an expiry time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::moment::milliseconds;
use super::table::{Name, Named, SPREAD, place};

/// Maximum size of the values in one shard: room for four of the largest.
const CORNER: usize = 4 * super::MAX_OCTETS;
/// Memory charged for a value in addition to its octets: name, expiry time and table entry.
const OVERHEAD: usize = 64;

/// Stored form of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) octets: Arc<[u8]>,
    /// Expiry time in Unix milliseconds.
    pub(super) end: u64,
}

impl Value {
    pub(super) fn new(octets: &[u8], until: SystemTime) -> Self {
        Self { octets: octets.into(), end: milliseconds(until) }
    }

    /// Returns whether the value has expired.
    pub(super) fn is_over(&self, now: SystemTime) -> bool {
        milliseconds(now) >= self.end
    }

    fn cost(&self) -> usize {
        self.octets.len() + OVERHEAD
    }
}

/// Values in memory. As with [`Table`](super::table::Table), the values of each owner are in a few
/// shards. A shard is bounded in octets and evicts the values that expire first.
#[derive(Debug)]
pub(super) struct Values {
    corners: Box<[Mutex<Corner>]>,
}

#[derive(Debug, Default)]
struct Corner {
    values: HashMap<Name, Value, Named>,
    /// Total cost of the values.
    octets: usize,
}

impl Values {
    /// Creates a table for `octets` octets, rounded up to whole shards.
    pub(super) fn new(octets: usize) -> Self {
        let corners = octets.div_ceil(CORNER).max(SPREAD);
        Self { corners: (0..corners).map(|_| Mutex::default()).collect() }
    }

    /// Sets or removes a value. `journal` gets each value that was set or removed.
    pub(super) fn put(
        &self,
        name: Name,
        value: Option<Value>,
        now: SystemTime,
        mut journal: impl FnMut(Name, Option<Value>),
    ) {
        let mut corner = self.corner(name);
        let before = corner.take(name);
        let Some(value) = value.filter(|value| !value.is_over(now)) else {
            if before.is_some() {
                journal(name, None);
            }
            return;
        };
        corner.make_room(value.cost(), |name| journal(name, None));
        corner.octets += value.cost();
        corner.values.insert(name, value.clone());
        journal(name, Some(value));
    }

    /// Adds a value from the file. `forget` gets the names of evicted values.
    #[cfg(feature = "redb")]
    pub(super) fn load(&self, name: Name, value: Value, forget: impl FnMut(Name)) {
        let mut corner = self.corner(name);
        corner.make_room(value.cost(), forget);
        corner.octets += value.cost();
        corner.values.insert(name, value);
    }

    /// Returns the octets of this name, unless they have expired.
    pub(super) fn get(&self, name: Name, now: SystemTime) -> Option<Vec<u8>> {
        let corner = self.corner(name);
        let value = corner.values.get(&name).filter(|value| !value.is_over(now))?;
        Some(value.octets.to_vec())
    }

    pub(super) fn len(&self) -> usize {
        self.corners.iter().map(|corner| lock(corner).values.len()).sum()
    }

    /// Returns the total cost of all values.
    pub(super) fn octets(&self) -> usize {
        self.corners.iter().map(|corner| lock(corner).octets).sum()
    }

    fn corner(&self, name: Name) -> MutexGuard<'_, Corner> {
        lock(&self.corners[place(name, self.corners.len())])
    }
}

impl Corner {
    fn take(&mut self, name: Name) -> Option<Value> {
        let value = self.values.remove(&name)?;
        self.octets -= value.cost();
        Some(value)
    }

    /// Evicts the values that expire first until there is room for `cost` octets. `put.lua` evicts
    /// none: a Redis server is limited by its `maxmemory`.
    fn make_room(&mut self, cost: usize, mut forget: impl FnMut(Name)) {
        if self.octets + cost <= CORNER {
            return;
        }
        let ends: Vec<_> = self.values.iter().map(|(name, value)| (value.end, *name)).collect();
        for (_, name) in ascending(ends) {
            if self.octets + cost <= CORNER {
                return;
            }
            self.take(name);
            forget(name);
        }
    }
}

/// Returns the items in ascending order, for callers that need only the first few: n items take
/// O(n), each item returned O(log n).
fn ascending<T: Ord>(items: Vec<T>) -> impl Iterator<Item = T> {
    let mut heap: BinaryHeap<_> = items.into_iter().map(Reverse).collect();
    std::iter::from_fn(move || heap.pop().map(|Reverse(item)| item))
}

fn lock(mutex: &Mutex<Corner>) -> MutexGuard<'_, Corner> {
    // Nothing here can panic between changing the values and updating `octets`.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::cmp::Ordering;
    use std::time::Duration;

    use super::*;

    thread_local! {
        static COMPARISONS: Cell<usize> = const { Cell::new(0) };
    }

    /// A number that counts its comparisons.
    #[derive(Debug, PartialEq, Eq)]
    struct Counted(u64);

    impl Ord for Counted {
        fn cmp(&self, other: &Self) -> Ordering {
            COMPARISONS.set(COMPARISONS.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counted {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    /// Returns the numbers below 4,096 (the maximum number of values in a shard) in a mixed order.
    fn mixed() -> impl Iterator<Item = u64> {
        (0..4_096).map(|n| n * 2_731 % 4_096)
    }

    #[test]
    fn eviction_takes_few_comparisons() {
        let mut sorted = ascending(mixed().map(Counted).collect());
        assert_eq!(sorted.next(), Some(Counted(0)));
        let comparisons = COMPARISONS.get();
        assert!(comparisons < 3 * 4_096, "{comparisons}");
        assert!(sorted.map(|it| it.0).eq(1..4_096));
    }

    #[test]
    fn values_are_evicted_in_the_order_of_their_expiry() {
        let mut corner = Corner::default();
        for n in mixed() {
            let until = SystemTime::UNIX_EPOCH + Duration::from_secs(n);
            let value = Value::new(&[], until);
            corner.octets += value.cost();
            corner.values.insert(n.into(), value);
        }
        assert_eq!(corner.octets, CORNER);
        let mut evicted = Vec::new();
        corner.make_room(100 * OVERHEAD - 1, |name| evicted.push(name));
        assert!(evicted.into_iter().eq(0..100));
    }
}
