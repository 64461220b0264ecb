//! Memory of large messages that are being received: the share of each client, and the choice of
//! the message that gives up its memory when the budget is exhausted.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::blocks::Blocks;

/// Time that a message may take to fill a block while memory is short. A slower message gives up
/// its memory: it arrives at less than 6.5 KB/s, and other messages need the memory.
pub(crate) const SLOW: Duration = Duration::from_secs(10);

/// The client whose share of a budget is charged for large messages. The shares are in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) address: IpAddr,
    pub(crate) address_share: usize,
    /// The first address of the client's network.
    pub(crate) network: IpAddr,
    pub(crate) network_share: usize,
}

/// Octets that each owner holds.
#[derive(Debug, Default)]
pub(super) struct Owned {
    addresses: HashMap<IpAddr, usize>,
    networks: HashMap<IpAddr, usize>,
}

impl Owned {
    /// Charges octets to the owner. Returns `false` and charges nothing if that would exceed a
    /// share.
    pub(super) fn add(&mut self, owner: &Owner, octets: usize) -> bool {
        let address = self.addresses.entry(owner.address);
        let network = self.networks.entry(owner.network);
        let sum = |entry: &Entry<'_, IpAddr, usize>| match entry {
            Entry::Occupied(held) => held.get().saturating_add(octets),
            Entry::Vacant(_) => octets,
        };
        let (of_address, of_network) = (sum(&address), sum(&network));
        let may = of_address <= owner.address_share && of_network <= owner.network_share;
        if may {
            address.insert_entry(of_address);
            network.insert_entry(of_network);
        }
        may
    }

    pub(super) fn remove(&mut self, owner: &Owner, octets: usize) {
        for (held, key) in
            [(&mut self.addresses, owner.address), (&mut self.networks, owner.network)]
        {
            let Entry::Occupied(mut held) = held.entry(key) else { continue };
            match held.get().saturating_sub(octets) {
                0 => {
                    held.remove();
                }
                left => *held.get_mut() = left,
            }
        }
    }
}

/// The full blocks of a message that is being received. They can be taken away at any time, also
/// while the session waits for its client.
#[derive(Debug, Default)]
pub(super) struct Holding {
    blocks: Mutex<Blocks>,
    is_given_up: AtomicBool,
}

impl Holding {
    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a block, unless the message was given up.
    pub(super) fn push(&self, block: Bytes) {
        let mut blocks = self.blocks();
        if !self.is_given_up() {
            blocks.push(block);
        }
    }

    /// Removes and returns the blocks, or `None` if the message was given up.
    pub(super) fn take(&self) -> Option<Blocks> {
        let mut blocks = self.blocks();
        (!self.is_given_up()).then(|| std::mem::take(&mut *blocks))
    }

    /// Gives the message up and returns its blocks. The caller must hold no lock on the budget when
    /// it drops them.
    pub(super) fn give_up(&self) -> Blocks {
        let mut blocks = self.blocks();
        self.is_given_up.store(true, Ordering::Release);
        std::mem::take(&mut *blocks)
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire)
    }
}

/// Incomplete messages that hold full blocks.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Each message with the time at which it filled its last block.
    all: BTreeMap<u64, (Arc<Holding>, Instant)>,
    next: u64,
}

impl Holders {
    pub(super) fn add(&mut self, now: Instant) -> (u64, Arc<Holding>) {
        let (id, holding) = (self.next, Arc::<Holding>::default());
        self.next += 1;
        self.all.insert(id, (holding.clone(), now));
        (id, holding)
    }

    /// Records that the message has filled another block.
    pub(super) fn touch(&mut self, id: u64, now: Instant) {
        if let Some((_, last)) = self.all.get_mut(&id) {
            *last = now;
        }
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.all.remove(&id);
    }

    /// Removes and returns the message that has filled no block for the longest time, if that is at
    /// least [`SLOW`].
    pub(super) fn take_slowest(&mut self, now: Instant) -> Option<Arc<Holding>> {
        let (id, (_, last)) = self.all.iter().min_by_key(|(_, (_, last))| *last)?;
        let is_slow = now.saturating_duration_since(*last) >= SLOW;
        let id = *id;
        if is_slow { self.all.remove(&id).map(|(holding, _)| holding) } else { None }
    }
}
