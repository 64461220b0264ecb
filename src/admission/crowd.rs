//! The admitted clients by network. Selects the client to evict when all places are taken.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures::task::AtomicWaker;

/// The time in which a live client answers a reply. A client that is silent for longer may also
/// lose its place to a client of a network of the same size.
const PROMPT: Duration = Duration::from_secs(2);
/// Number of networks that are searched for an idle client, the largest first.
const SEARCHED: usize = 16;

/// One admitted client, shared by its session and the admission.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) address: IpAddr,
    /// The time since which the session waits for a command outside a transaction, or 0 if it does
    /// not. In milliseconds since the admission began, plus one.
    idle_since: AtomicU64,
    /// Whether its place was given to another client.
    revoked: AtomicBool,
    waker: AtomicWaker,
}

impl Slot {
    pub(super) fn set_idle(&self, since: Option<Duration>) {
        let since = since.map_or(0, |since| millis(since) + 1);
        self.idle_since.store(since, Ordering::Relaxed);
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Returns the time for which the session has been idle; `None` if it is not idle.
    fn idle_for(&self, now: u64) -> Option<Duration> {
        let since = self.idle_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(now.saturating_sub(since)))
    }
}

/// The slots of all admitted clients.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// The clients of each network, the newest last.
    networks: HashMap<IpAddr, Vec<Arc<Slot>>>,
    by_size: BTreeSet<(usize, IpAddr)>,
    inside: usize,
}

impl Crowd {
    pub(super) fn enter(&mut self, address: IpAddr, network: IpAddr) -> Arc<Slot> {
        let slot = Arc::new(Slot {
            address,
            idle_since: AtomicU64::new(0),
            revoked: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        self.resize(network, |slots| {
            // Most networks have one client. By default, a list would allocate four elements.
            slots.reserve_exact(usize::from(slots.is_empty()));
            slots.push(slot.clone());
        });
        self.inside += 1;
        slot
    }

    pub(super) fn leave(&mut self, network: IpAddr, slot: &Arc<Slot>) {
        self.resize(network, |slots| slots.retain(|other| !Arc::ptr_eq(other, slot)));
        self.inside -= 1;
    }

    /// Takes away the place of this client. The caller must wake it.
    pub(super) fn revoke(&mut self, network: IpAddr, slot: &Arc<Slot>) {
        self.leave(network, slot);
        slot.revoked.store(true, Ordering::Release);
    }

    /// Returns whether the network, with one more client, has no more clients than the average
    /// network.
    pub(super) fn has_share_left(&self, network: IpAddr) -> bool {
        let size = self.size(network);
        let networks = self.networks.len() + usize::from(size == 0);
        size < (self.inside + 1).div_ceil(networks)
    }

    /// Returns the client that loses its place to a client of network `newcomer`, or to one without
    /// a network. The client is idle. It is in the largest network, and there at the address with
    /// the most places, and is the newest of those. Clients that have been silent for a while are
    /// selected first. A client is not selected if its network would become smaller than the
    /// network of the newcomer.
    pub(super) fn idler(
        &self,
        newcomer: Option<IpAddr>,
        now: Duration,
        places: impl Fn(IpAddr) -> usize,
    ) -> Option<Arc<Slot>> {
        let own = newcomer.map_or(0, |network| self.size(network));
        let now = millis(now);
        for (size, network) in self.by_size.iter().rev().take(SEARCHED) {
            let level = *size == own + 1 || newcomer == Some(*network);
            if *size <= own && !level {
                continue;
            }
            let idle = self.networks.get(network)?.iter().enumerate().filter_map(|(age, slot)| {
                let silent = slot.idle_for(now)? >= PROMPT;
                (silent || !level).then_some((silent, age, slot))
            });
            let idler =
                idle.max_by_key(|(silent, age, slot)| (*silent, places(slot.address), *age));
            if let Some((_, _, slot)) = idler {
                return Some(slot.clone());
            }
        }
        None
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.networks.values().flatten()
    }

    fn size(&self, network: IpAddr) -> usize {
        self.networks.get(&network).map_or(0, Vec::len)
    }

    fn resize(&mut self, network: IpAddr, change: impl FnOnce(&mut Vec<Arc<Slot>>)) {
        let slots = self.networks.entry(network).or_default();
        self.by_size.remove(&(slots.len(), network));
        change(slots);
        match slots.len() {
            0 => drop(self.networks.remove(&network)),
            size => drop(self.by_size.insert((size, network))),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX - 1)
}
