//! Tables in memory: bounded, with many locks, and fair to those who would be forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::key::Key;

/// Records in one corner: as many as a hash map of 512 slots holds.
pub(super) const CORNER: usize = 448;
/// Corners over which the records of one owner are spread.
pub(super) const SPREAD: usize = 4;

/// Something that is remembered.
pub(super) trait Record: Copy + PartialEq {
    /// Whether it says no more than its absence would.
    fn is_over(&self, now: SystemTime) -> bool;

    /// What is worth least is forgotten first. Much must be worth what it costs an attacker to make
    /// the same.
    fn worth(&self) -> (u64, u64);
}

/// The name of a record: a hash of its key under a secret, 32 bits for the owner and 96 for all.
/// Who does not know the secret can neither make two keys collide nor choose whose corner to fill.
pub(super) type Name = u128;

/// The secret under which names are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secret(pub(super) u128);

impl Secret {
    /// A new one, from the operating system's random numbers.
    pub(super) fn random() -> Self {
        // Each state is another key from the same source.
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

/// Records of one kind. Each owner has a few corners, shared with those whom chance has put there;
/// when a corner is full, what is worth least in it is forgotten.
///
/// So an owner who is remembered for ever more things pushes out those of its own corners' records
/// that are worth less than what it makes, and nobody else's. There is a lock for each corner.
#[derive(Debug)]
pub(super) struct Table<T> {
    corners: Box<[Mutex<HashMap<Name, T, Named>>]>,
}

impl<T: Record> Table<T> {
    /// For so many records, rounded up to whole corners.
    pub(super) fn new(records: usize) -> Self {
        let corners = records.div_ceil(CORNER).max(SPREAD);
        Self { corners: (0..corners).map(|_| Mutex::default()).collect() }
    }

    /// Changes the record of this name: `change` gets what is there and gives what is to be there,
    /// and an answer. `journal` is told of what is now there and what was forgotten, in the order
    /// of the changes to each record.
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

    /// What is there under this name.
    pub(super) fn get(&self, name: Name) -> Option<T> {
        self.corner(name).get(&name).copied()
    }

    /// Puts a record there that comes from another table. `journal` is told of what was forgotten.
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

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.corners.iter().map(|corner| lock(corner).len()).sum()
    }

    fn corner(&self, name: Name) -> MutexGuard<'_, HashMap<Name, T, Named>> {
        lock(&self.corners[place(name, self.corners.len())])
    }
}

/// The corner of this name, of so many.
pub(super) fn place(name: Name, corners: usize) -> usize {
    let owner = (name >> 96) as usize;
    (owner * SPREAD + name as usize % SPREAD) % corners
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked left whole records: they are put and removed as such.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts or removes a record, and forgets another one if the corner is full.
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

/// Names are hashes, and need not be hashed again.
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
