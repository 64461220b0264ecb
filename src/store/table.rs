//! Bounded tables in memory, with one lock per shard (`corner` in the code) and fair eviction.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::key::Key;

/// Maximum number of records in a shard: the capacity of a hash map with 512 slots.
pub(super) const CORNER: usize = 448;
/// Number of shards that hold the records of one owner.
pub(super) const SPREAD: usize = 4;

/// A stored record.
pub(super) trait Record: Copy + PartialEq {
    /// Returns whether the record has expired, so that it means the same as no record.
    fn is_over(&self, now: SystemTime) -> bool;

    /// Returns the value of the record. The least valuable record is evicted first. The value must
    /// grow with the cost for an attacker to create such a record.
    fn worth(&self) -> (u64, u64);
}

/// Name of a record: a keyed hash of its key, with 32 bits for the owner and 96 for the whole key.
/// Without the secret, nobody can make two keys collide or choose which shard to fill.
pub(super) type Name = u128;

/// The secret key of the hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secret(pub(super) u128);

impl Secret {
    /// Creates a new secret from the random numbers of the operating system.
    pub(super) fn random() -> Self {
        // Each `RandomState` has a different key from the same random source.
        let [high, low] = [(); 2].map(|()| RandomState::new().hash_one(()));
        Self(u128::from(high) << 64 | u128::from(low))
    }

    pub(super) fn name(self, key: &Key) -> Name {
        let [owner, all] = [key.owner(), key.text()].map(|text| self.hash(text));
        owner >> 96 << 96 | all >> 32
    }

    fn hash(self, text: &str) -> u128 {
        let mut hasher = SipHasher13::new_with_key(&self.0.to_ne_bytes());
        hasher.write(text.as_bytes());
        hasher.finish128().as_u128()
    }
}

/// Records of one kind. The records of each owner are in a few shards, which it shares with
/// randomly assigned other owners. When a shard is full, its least valuable record is evicted.
///
/// An owner with ever more records therefore evicts only records in its own shards that are less
/// valuable than the new ones. Each shard has its own lock.
#[derive(Debug)]
pub(super) struct Table<T> {
    corners: Box<[Mutex<HashMap<Name, T, Named>>]>,
}

impl<T: Record> Table<T> {
    /// Creates a table for `records` records, rounded up to whole shards.
    pub(super) fn new(records: usize) -> Self {
        let corners = records.div_ceil(CORNER).max(SPREAD);
        Self { corners: (0..corners).map(|_| Mutex::default()).collect() }
    }

    /// Changes the record of this name. `change` gets the current record and returns the new one
    /// and an answer. `journal` gets each record that was set or removed, in the order of the
    /// changes.
    pub(super) fn change<A>(
        &self,
        name: Name,
        now: SystemTime,
        change: impl FnOnce(Option<T>) -> (Option<T>, A),
        journal: impl FnMut(Name, Option<T>),
    ) -> A {
        let mut corner = self.corner(name);
        let before = corner.get(&name).copied();
        let (after, answer) = change(before);
        if before != after {
            put(&mut corner, name, before.is_some(), after, |it| it.is_over(now), journal);
        }
        answer
    }

    /// Returns the record of this name.
    pub(super) fn get(&self, name: Name) -> Option<T> {
        self.corner(name).get(&name).copied()
    }

    /// Adds a record from the file. `journal` gets the name of an evicted record.
    #[cfg(feature = "redb")]
    pub(super) fn load(&self, name: Name, record: T, mut journal: impl FnMut(Name)) {
        let mut corner = self.corner(name);
        put(
            &mut corner,
            name,
            false,
            Some(record),
            |_| false,
            |name, now_there| {
                if now_there.is_none() {
                    journal(name);
                }
            },
        );
    }

    /// Returns the number of records.
    pub(super) fn len(&self) -> usize {
        self.corners.iter().map(|corner| lock(corner).len()).sum()
    }

    fn corner(&self, name: Name) -> MutexGuard<'_, HashMap<Name, T, Named>> {
        lock(&self.corners[place(name, self.corners.len())])
    }
}

/// Returns the shard of this name.
pub(super) fn place(name: Name, corners: usize) -> usize {
    let owner = (name >> 96) as usize;
    (owner * SPREAD + name as usize % SPREAD) % corners
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // After a panic the records are still consistent, because each is inserted or removed as a
    // whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Inserts or removes a record. Evicts another record if the shard is full.
fn put<T: Record>(
    corner: &mut HashMap<Name, T, Named>,
    name: Name,
    is_there: bool,
    record: Option<T>,
    is_over: impl Fn(&T) -> bool,
    mut journal: impl FnMut(Name, Option<T>),
) {
    let Some(new) = record else {
        if corner.remove(&name).is_some() {
            journal(name, None);
        }
        return;
    };
    if !is_there && corner.len() >= CORNER {
        let worth = |record: &T| (!is_over(record)).then(|| record.worth());
        let least = corner.iter().min_by_key(|(_, record)| worth(record));
        if let Some((&least, _)) = least {
            corner.remove(&least);
            journal(least, None);
        }
    }
    corner.insert(name, new);
    journal(name, Some(new));
}

/// Hasher for names. Names are already hashes, so it only selects bits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Named(u64);

impl BuildHasher for Named {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for Named {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        octets.iter().for_each(|octet| self.0 = self.0.rotate_left(8) ^ u64::from(*octet));
    }

    fn write_u128(&mut self, name: u128) {
        self.0 = (name >> 2) as u64;
    }
}
