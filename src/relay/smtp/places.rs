//! Places for connections to the onward server: so many at once, and a queue that is fair to networks.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::channel::oneshot;

use super::connection::Line;
use crate::deadline::{Awaiting, Deadline};
use crate::network::Network;
use crate::peer::Peer;
use crate::runtime::{Runtime, within};

/// How long a client waits for a place: as long as for a connection (Postfix `smtp_connect_timeout`).
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a client keeps its place without a command if others wait.
const GRACE: Duration = Duration::from_secs(1);

/// A network of clients: an IPv4 /24, an IPv6 /64.
type Key = IpAddr;

/// The places of one onward server.
pub(super) struct Places<R: Runtime> {
    most: usize,
    /// How often a place was taken back.
    taken_back: AtomicU64,
    held: Mutex<Held<R>>,
}

struct Held<R: Runtime> {
    taken: usize,
    /// Lines of clients that idle, in the order in which they began to.
    parked: VecDeque<Parked<R>>,
    tickets: u64,
    /// Clients that wait, by network, and whose turn it is.
    waiting: HashMap<Key, VecDeque<oneshot::Sender<Place<R>>>>,
    turns: VecDeque<Key>,
}

struct Parked<R: Runtime> {
    /// Larger than those before it.
    ticket: u64,
    line: Box<Line<R>>,
    network: Key,
}

/// A place that is taken, until this is dropped.
pub(super) struct Place<R: Runtime>(Option<Arc<Places<R>>>);

/// Where a parked line is found again, unless its place was taken back.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    /// How often a place had been taken back when it was parked.
    taken_back: u64,
}

impl<R: Runtime> Places<R> {
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

    /// A place for a connection that this client needs. It waits for one for up to 30 s, in a queue in
    /// which the networks of clients take turns; meanwhile a client that has idled for a second loses
    /// its place, first of all one of the network that has the most.
    pub(super) async fn take(self: &Arc<Self>, runtime: &R, client: &Peer) -> Option<Place<R>> {
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

    /// Whether somebody waits for a place.
    pub(super) fn are_short(&self) -> bool {
        !self.lock().turns.is_empty()
    }

    /// Leaves the line of a client that idles where its place can be taken back.
    pub(super) fn park(&self, line: Box<Line<R>>, client: &Peer) -> Ticket {
        let network = network(client);
        let mut held = self.lock();
        held.tickets += 1;
        let ticket = held.tickets;
        held.parked.push_back(Parked { ticket, line, network });
        Ticket { number: ticket, taken_back: self.taken_back.load(Ordering::Acquire) }
    }

    /// Gives the line back; `None` if its place was taken back.
    pub(super) fn unpark(&self, ticket: &Ticket) -> Option<Box<Line<R>>> {
        let mut held = self.lock();
        let at = held.parked(ticket)?;
        held.parked.remove(at).map(|parked| parked.line)
    }

    /// Whether the line's place was taken back.
    pub(super) fn is_lost(&self, ticket: &Ticket) -> bool {
        self.taken_back.load(Ordering::Acquire) != ticket.taken_back
            && self.lock().parked(ticket).is_none()
    }

    /// Takes back the place of one client that has idled long enough. The place goes to whose turn it is.
    fn take_back(&self, now: Instant) {
        let mut held = self.lock();
        let mut of_network: HashMap<Key, usize> = HashMap::new();
        for parked in &held.parked {
            *of_network.entry(parked.network).or_default() += 1;
        }
        let has_idled = |it: &Parked<R>| it.line.rested.is_none_or(|since| since + GRACE <= now);
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

    /// A place is free: it is handed on, or there is one more.
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
                // It has gone meanwhile.
                Err(mut place) => place.0 = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held<R>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Runtime> Held<R> {
    /// Where the line lies that has this ticket.
    fn parked(&self, ticket: &Ticket) -> Option<usize> {
        self.parked.binary_search_by_key(&ticket.number, |parked| parked.ticket).ok()
    }

    /// Queues a client of this network.
    fn wait(&mut self, network: Key) -> oneshot::Receiver<Place<R>> {
        let (sender, receiver) = oneshot::channel();
        let queue = self.waiting.entry(network).or_insert_with(|| {
            self.turns.push_back(network);
            VecDeque::new()
        });
        // Those who have gone would be kept until their turn.
        while queue.front().is_some_and(oneshot::Sender::is_canceled) {
            queue.pop_front();
        }
        queue.push_back(sender);
        receiver
    }

    /// Whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Place<R>>> {
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

impl<R: Runtime> Place<R> {
    /// A place that is not counted.
    pub(super) fn beyond_the_bound() -> Self {
        Self(None)
    }
}

impl<R: Runtime> Drop for Place<R> {
    fn drop(&mut self) {
        if let Some(places) = self.0.take() {
            places.release();
        }
    }
}

impl<R: Runtime> fmt::Debug for Places<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.lock().taken;
        f.debug_struct("Places").field("most", &self.most).field("taken", &taken).finish()
    }
}

/// The network of a client; clients without an address are one.
fn network(client: &Peer) -> Key {
    let address = client.address.map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip());
    let address = address.to_canonical();
    Network::of(address, if address.is_ipv4() { 24 } else { 64 }).first()
}

#[cfg(test)]
mod tests;
