//! Values: octets under a key, with an expiry time.

use std::collections::HashMap;
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

    /// Evicts values until there is room for `cost` octets.
    fn make_room(&mut self, cost: usize, mut forget: impl FnMut(Name)) {
        if self.octets + cost <= CORNER {
            return;
        }
        let mut ends: Vec<_> = self.values.iter().map(|(name, value)| (value.end, *name)).collect();
        ends.sort_unstable();
        for (_, name) in ends {
            if self.octets + cost <= CORNER {
                return;
            }
            self.take(name);
            forget(name);
        }
    }
}

fn lock(mutex: &Mutex<Corner>) -> MutexGuard<'_, Corner> {
    // Nothing here can panic between changing the values and updating `octets`.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
