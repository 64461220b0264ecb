//! Keys with expiry times, bounded in number.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

/// Keys with the time at which each expires.
///
/// A new key beyond the maximum number removes the expired keys, and then the keys that expire first
/// until half of the maximum is left. So the time to remove keys is constant for each new key, on
/// average.
#[derive(Debug)]
pub(super) struct Expiring<K> {
    most: usize,
    until: HashMap<K, Instant>,
}

impl<K: Eq + Hash> Expiring<K> {
    /// Creates a collection of up to `most` keys.
    pub(super) fn new(most: usize) -> Self {
        Self { most, until: HashMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    /// Returns the expiry time of this key; `None` if the key is unknown or has expired.
    pub(super) fn get(&self, key: &K, now: Instant) -> Option<Instant> {
        self.until.get(key).copied().filter(|until| now < *until)
    }

    /// Adds a key, or changes its expiry time.
    pub(super) fn set(&mut self, key: K, until: Instant, now: Instant) {
        if let Some(known) = self.until.get_mut(&key) {
            *known = until;
            return;
        }
        if self.until.len() >= self.most {
            self.make_room(now);
        }
        self.until.insert(key, until);
    }

    fn make_room(&mut self, now: Instant) {
        self.until.retain(|_, until| now < *until);
        let mut surplus = self.until.len().saturating_sub(self.most / 2);
        if surplus == 0 {
            return;
        }
        let mut ends: Vec<Instant> = self.until.values().copied().collect();
        let (.., last, _) = ends.select_nth_unstable(surplus - 1);
        let last = *last;
        self.until.retain(|_, until| {
            let goes = surplus > 0 && *until <= last;
            surplus -= usize::from(goes);
            !goes
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.until.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rehearsal::Rehearsal;
    use crate::runtime::Runtime;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn keys_that_expire_first_are_evicted_down_to_half() {
        let now = Rehearsal::new().now();
        let mut keys = Expiring::new(10);
        for n in 1..=10 {
            keys.set(n, now + n * SECOND, now);
        }
        // A known key needs no room.
        keys.set(3, now + 30 * SECOND, now);
        assert_eq!(keys.len(), 10);
        keys.set(11, now + 11 * SECOND, now);
        let kept: Vec<u32> = (1..=11).filter(|n| keys.get(n, now).is_some()).collect();
        assert_eq!(kept, [3, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn keys_with_the_same_expiry_time_are_evicted() {
        let now = Rehearsal::new().now();
        let mut keys = Expiring::new(10);
        for n in 0..1_000 {
            keys.set(n, now + SECOND, now);
            assert!(keys.len() <= 10);
        }
        assert_eq!(keys.get(&999, now), Some(now + SECOND));
    }

    #[test]
    fn expired_keys_are_evicted_first() {
        let now = Rehearsal::new().now();
        let mut keys = Expiring::new(10);
        for n in 0..10 {
            keys.set(n, now + SECOND * (n % 2 + 1), now);
        }
        let later = now + SECOND;
        assert_eq!(keys.get(&0, later), None);
        keys.set(10, later + SECOND, later);
        let kept: Vec<u32> = (0..=10).filter(|n| keys.get(n, later).is_some()).collect();
        assert_eq!(kept, [1, 3, 5, 7, 9, 10]);
    }
}
