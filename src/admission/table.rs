//! Connection counts and rates by address, in bounded memory.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use super::ConnectionRate;

/// Maximum number of obsolete entries that one new client may remove.
const CLEARED: usize = 16;

/// The number of connections of each address, and the level of its token bucket.
///
/// A bucket is stored as the time at which it is full again. An entry is removed when the address
/// has no connections and its bucket is full, because a new entry would be identical. If the table
/// is full before that, the entry with the fullest bucket is removed. To get rid of an empty
/// bucket, an attacker must fill the table with entries whose buckets are emptier. Each of these
/// costs connections, so this costs more than it gains.
#[derive(Debug)]
pub(super) struct Table {
    limit: usize,
    rate: Option<ConnectionRate>,
    /// Maximum number of entries. It is exceeded only if more addresses have connections.
    room: usize,
    entries: HashMap<IpAddr, Entry>,
    /// Entries without connections, ordered by the time at which their buckets are full.
    left: BTreeSet<(Instant, IpAddr)>,
}

#[derive(Debug, Default)]
struct Entry {
    inside: usize,
    /// The time at which the bucket is full again; `None` without a bucket.
    full_at: Option<Instant>,
}

/// The limit that is exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Count,
    Rate,
}

impl Table {
    pub(super) fn new(limit: usize, rate: Option<ConnectionRate>, room: usize) -> Self {
        let (entries, left) = (HashMap::new(), BTreeSet::new());
        let mut table = Self { limit, rate: None, room, entries, left };
        table.limit(limit, rate, room);
        table
    }

    /// Sets the limits of each address, and the maximum number of entries. If the rate changes, all
    /// buckets are full.
    pub(super) fn limit(&mut self, limit: usize, rate: Option<ConnectionRate>, room: usize) {
        // Tokens that are refilled at once never run out.
        let rate = rate.filter(|rate| !rate.interval().is_zero());
        if rate != self.rate {
            self.left.clear();
            self.entries.retain(|_, entry| {
                entry.full_at = None;
                entry.inside > 0
            });
        }
        (self.limit, self.rate, self.room) = (limit, rate, room);
        while self.entries.len() > room && !self.left.is_empty() {
            self.forget_fullest();
        }
    }

    /// Returns the number of connections of this address or network.
    pub(super) fn inside(&self, key: IpAddr) -> usize {
        self.entries.get(&key).map_or(0, |entry| entry.inside)
    }

    /// Checks whether one more connection is allowed. Changes nothing.
    pub(super) fn check(&self, key: IpAddr, now: Instant) -> Result<(), Fault> {
        let entry = self.entries.get(&key);
        if entry.map_or(0, |entry| entry.inside) >= self.limit {
            return Err(Fault::Count);
        }
        let full_at = entry.and_then(|entry| entry.full_at).unwrap_or(now);
        let empty = self.rate.is_some_and(|rate| {
            full_at.saturating_duration_since(now) + rate.interval() > rate.span()
        });
        if empty { Err(Fault::Rate) } else { Ok(()) }
    }

    /// Adds a connection.
    pub(super) fn take(&mut self, key: IpAddr, now: Instant) {
        self.make_room(&key, now);
        let entry = self.entries.entry(key).or_default();
        if let (0, Some(full_at)) = (entry.inside, entry.full_at) {
            self.left.remove(&(full_at, key));
        }
        entry.inside += 1;
        entry.full_at =
            self.rate.map(|rate| entry.full_at.map_or(now, |at| at.max(now)) + rate.interval());
    }

    /// Removes a connection.
    pub(super) fn give_back(&mut self, key: IpAddr) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.inside = entry.inside.saturating_sub(1);
        match (entry.inside, entry.full_at) {
            (0, Some(full_at)) => {
                self.left.insert((full_at, key));
            }
            (0, None) => {
                self.entries.remove(&key);
            }
            _ => {}
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn make_room(&mut self, key: &IpAddr, now: Instant) {
        for _ in 0..CLEARED {
            if self.left.first().is_none_or(|(full_at, _)| *full_at > now) {
                break;
            }
            self.forget_fullest();
        }
        if self.entries.len() >= self.room && !self.entries.contains_key(key) {
            self.forget_fullest();
        }
    }

    fn forget_fullest(&mut self) {
        if let Some((_, key)) = self.left.pop_first() {
            self.entries.remove(&key);
        }
    }
}
