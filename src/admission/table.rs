//! Counts and rates by address, in bounded memory.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use super::Rate;

/// Entries that one new client may clear away which have nothing to tell any more.
const CLEARED: usize = 16;

/// How many connections each address has, and how full its bucket of tokens is.
///
/// A bucket is one moment: when it will be full again. An entry goes when nobody is inside and its
/// bucket is full: it would be made anew as it was. If there is no room before that, the entry goes
/// whose bucket is the fullest. So to get rid of an empty bucket, one has to fill the table with
/// others that are emptier, each paid for with connections of its own: that costs more than it gains.
#[derive(Debug)]
pub(super) struct Table {
    limit: usize,
    rate: Option<Rate>,
    /// Entries at the most, if no more than so many have somebody inside.
    room: usize,
    entries: HashMap<IpAddr, Entry>,
    /// Those with nobody inside, by when their buckets are full.
    left: BTreeSet<(Instant, IpAddr)>,
}

#[derive(Debug, Default)]
struct Entry {
    inside: usize,
    /// When the bucket is full again; `None` if none is kept.
    full_at: Option<Instant>,
}

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Count,
    Rate,
}

impl Table {
    pub(super) fn new(limit: usize, rate: Option<Rate>, room: usize) -> Self {
        // Tokens that come back at once are never short.
        let rate = rate.filter(|rate| !rate.interval().is_zero());
        Self { limit, rate, room, entries: HashMap::new(), left: BTreeSet::new() }
    }

    /// How many are inside.
    pub(super) fn inside(&self, key: IpAddr) -> usize {
        self.entries.get(&key).map_or(0, |entry| entry.inside)
    }

    /// Whether one more may come. Nothing changes.
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

    /// One more comes in.
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

    /// One leaves.
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
