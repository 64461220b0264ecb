//! Limits the connections to the onward server, with a queue that is fair to client networks.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::channel::oneshot;

use crate::deadline::{Awaiting, Deadline};
use crate::network::Network;
use crate::peer::Peer;
use crate::runtime::{Runtime, within};

/// Maximum time that a client waits for a place: as long as for a connection (Postfix
/// `smtp_connect_timeout`).
const PATIENCE: Duration = Duration::from_secs(30);
/// Time for which an idle client keeps its place while others wait.
const GRACE: Duration = Duration::from_secs(1);

/// A network of clients: an IPv4 /24 or an IPv6 /64.
type Key = IpAddr;

/// The places of one onward server. Each connection (`L`) occupies a place.
pub(super) struct Places<L> {
    most: usize,
    /// Number of places that were taken back so far.
    taken_back: AtomicU64,
    held: Mutex<Held<L>>,
}

struct Held<L> {
    taken: usize,
    /// Connections of idle clients, in the order in which they became idle.
    parked: VecDeque<Parked<L>>,
    tickets: u64,
    /// The waiting clients of each network. `turns` holds the order of the networks.
    waiting: HashMap<Key, VecDeque<oneshot::Sender<Place<L>>>>,
    turns: VecDeque<Key>,
}

struct Parked<L> {
    /// Identifier of the parked connection. Connections parked later have greater tickets.
    ticket: u64,
    line: Box<L>,
    /// The time since which the connection is idle.
    since: Option<Instant>,
    network: Key,
}

/// An occupied place. Dropping it frees the place.
pub(super) struct Place<L>(Option<Arc<Places<L>>>);

/// Identifier of a parked connection, valid until its place is taken back.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    /// Number of places that had been taken back when the connection was parked.
    taken_back: u64,
}

impl<L> Places<L> {
    pub(super) fn new(most: usize) -> Self {
        let held = Held {
            taken: 0,
            parked: VecDeque::new(),
            tickets: 0,
            waiting: HashMap::new(),
            turns: VecDeque::new(),
        };
        Self { most: most.max(1), taken_back: AtomicU64::new(0), held: Mutex::new(held) }
    }

    /// Returns a place for a connection of this client. If none is free, waits up to 30 s in a
    /// queue that serves client networks round-robin. While it waits, a client that has been idle
    /// for a second loses its place. Clients of the network with the most idle connections lose
    /// theirs first.
    pub(super) async fn take<R: Runtime>(
        self: &Arc<Self>,
        runtime: &R,
        client: &Peer,
    ) -> Option<Place<L>> {
        let network = network(client);
        let mut receiver = {
            let mut held = self.lock();
            if held.taken < self.most && held.turns.is_empty() {
                held.taken += 1;
                return Some(Place(Some(self.clone())));
            }
            held.wait(network)
        };
        let began = runtime.now();
        loop {
            let now = runtime.now();
            self.take_back(now);
            let at = (now + GRACE).min(began + PATIENCE);
            let limit = Some(Deadline { at, awaiting: Awaiting::Connection });
            match within(runtime, limit, &mut receiver).await {
                Some(place) => return place.ok(),
                None if runtime.now() >= began + PATIENCE => return None,
                None => {}
            }
        }
    }

    /// Returns whether any client waits for a place.
    pub(super) fn are_short(&self) -> bool {
        !self.lock().turns.is_empty()
    }

    /// Parks the connection of an idle client. While it is parked, its place can be taken back.
    pub(super) fn park(&self, line: Box<L>, since: Option<Instant>, client: &Peer) -> Ticket {
        let network = network(client);
        let mut held = self.lock();
        held.tickets += 1;
        let ticket = held.tickets;
        held.parked.push_back(Parked { ticket, line, since, network });
        Ticket { number: ticket, taken_back: self.taken_back.load(Ordering::Acquire) }
    }

    /// Returns the parked connection; `None` if its place was taken back.
    pub(super) fn unpark(&self, ticket: &Ticket) -> Option<Box<L>> {
        let mut held = self.lock();
        let at = held.parked(ticket)?;
        held.parked.remove(at).map(|parked| parked.line)
    }

    /// Returns whether the place of the parked connection was taken back.
    pub(super) fn is_lost(&self, ticket: &Ticket) -> bool {
        self.taken_back.load(Ordering::Acquire) != ticket.taken_back
            && self.lock().parked(ticket).is_none()
    }

    /// Takes back the place of one client that has been idle long enough. The next client in the
    /// queue gets it.
    fn take_back(&self, now: Instant) {
        let mut held = self.lock();
        let mut of_network: HashMap<Key, usize> = HashMap::new();
        for parked in &held.parked {
            *of_network.entry(parked.network).or_default() += 1;
        }
        let has_idled = |it: &Parked<L>| it.since.is_none_or(|since| since + GRACE <= now);
        let idle = held.parked.iter().enumerate().filter(|(_, it)| has_idled(it));
        let victim =
            idle.max_by_key(|(at, it)| (of_network.get(&it.network).copied(), Reverse(*at)));
        let victim = victim.map(|(at, _)| at);
        let parked = victim.and_then(|at| held.parked.remove(at));
        if parked.is_some() {
            self.taken_back.fetch_add(1, Ordering::AcqRel);
        }
        drop(held);
        drop(parked);
    }

    /// Passes a free place to the next client in the queue, if there is one.
    fn release(self: &Arc<Self>) {
        loop {
            let next = {
                let mut held = self.lock();
                let next = held.next();
                held.taken -= usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            match next.send(Place(Some(self.clone()))) {
                Ok(()) => return,
                // The client has left the queue meanwhile.
                Err(mut place) => place.0 = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held<L>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L> Held<L> {
    /// Returns the index of the parked connection with this ticket.
    fn parked(&self, ticket: &Ticket) -> Option<usize> {
        self.parked.binary_search_by_key(&ticket.number, |parked| parked.ticket).ok()
    }

    /// Adds a client of this network to the queue.
    fn wait(&mut self, network: Key) -> oneshot::Receiver<Place<L>> {
        let (sender, receiver) = oneshot::channel();
        let queue = self.waiting.entry(network).or_insert_with(|| {
            self.turns.push_back(network);
            VecDeque::new()
        });
        // Removes cancelled entries at the front, which would otherwise stay until the turn of this
        // network.
        while queue.front().is_some_and(oneshot::Sender::is_canceled) {
            queue.pop_front();
        }
        queue.push_back(sender);
        receiver
    }

    /// Returns the next client in the queue.
    fn next(&mut self) -> Option<oneshot::Sender<Place<L>>> {
        loop {
            let network = self.turns.pop_front()?;
            let Some(queue) = self.waiting.get_mut(&network) else { continue };
            let next = loop {
                match queue.pop_front() {
                    Some(waiting) if waiting.is_canceled() => {}
                    next => break next,
                }
            };
            if queue.is_empty() {
                self.waiting.remove(&network);
            } else {
                self.turns.push_back(network);
            }
            if next.is_some() {
                return next;
            }
        }
    }
}

impl<L> Place<L> {
    /// Returns a place that is not counted.
    pub(super) fn beyond_the_bound() -> Self {
        Self(None)
    }
}

impl<L> Drop for Place<L> {
    fn drop(&mut self) {
        if let Some(places) = self.0.take() {
            places.release();
        }
    }
}

impl<L> fmt::Debug for Places<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.lock().taken;
        f.debug_struct("Places").field("most", &self.most).field("taken", &taken).finish()
    }
}

/// Returns the network of a client. All clients without an address are in one network.
fn network(client: &Peer) -> Key {
    let address = client.address.map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip());
    let address = address.to_canonical();
    Network::of(address, if address.is_ipv4() { 24 } else { 64 }).first()
}

#[cfg(test)]
mod tests;
