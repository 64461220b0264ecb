//! Values: octets under a key, until their end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::moment::milliseconds;
use super::table::{Name, Named, SPREAD, place};

/// Octets of all values in one corner: room for four of the largest.
const CORNER: usize = 4 * super::MAX_OCTETS;
/// What a value costs beside its octets: its name, its end, its place in the table.
const OVERHEAD: usize = 64;

/// A value as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) octets: Arc<[u8]>,
    /// In milliseconds since 1970.
    pub(super) end: u64,
}

impl Value {
    pub(super) fn new(octets: &[u8], until: SystemTime) -> Self {
        Self { octets: octets.into(), end: milliseconds(until) }
    }

    /// Whether it says no more than its absence would.
    pub(super) fn is_over(&self, now: SystemTime) -> bool {
        milliseconds(now) >= self.end
    }

    fn cost(&self) -> usize {
        self.octets.len() + OVERHEAD
    }
}

/// Values in memory. As with [`Table`](super::table::Table), each owner has a few corners. A corner has
/// room for so many octets, and forgets the values that end soonest.
#[derive(Debug)]
pub(super) struct Values {
    corners: Box<[Mutex<Corner>]>,
}

#[derive(Debug, Default)]
struct Corner {
    values: HashMap<Name, Value, Named>,
    /// What all of them cost.
    octets: usize,
}

impl Values {
    /// For so many octets, rounded up to whole corners.
    pub(super) fn new(octets: usize) -> Self {
        let corners = octets.div_ceil(CORNER).max(SPREAD);
        Self { corners: (0..corners).map(|_| Mutex::default()).collect() }
    }

    /// Puts a value there, or removes it. `journal` is told of what is now there and what was forgotten.
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

    /// Puts a value there that comes from a file. `forget` is told of what was forgotten.
    #[cfg(feature = "redb")]
    pub(super) fn load(&self, name: Name, value: Value, forget: impl FnMut(Name)) {
        let mut corner = self.corner(name);
        corner.make_room(value.cost(), forget);
        corner.octets += value.cost();
        corner.values.insert(name, value);
    }

    /// The octets that are there under this name.
    pub(super) fn get(&self, name: Name, now: SystemTime) -> Option<Vec<u8>> {
        let corner = self.corner(name);
        let value = corner.values.get(&name).filter(|value| !value.is_over(now))?;
        Some(value.octets.to_vec())
    }

    pub(super) fn len(&self) -> usize {
        self.corners.iter().map(|corner| lock(corner).values.len()).sum()
    }

    /// What all values cost.
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

    /// Forgets values until there is room for `cost` octets.
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
    // Nothing in here panics between a value and what it costs.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
