//! DNS lookups of client names, made before the session begins.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::FutureExt;

use crate::breaker::{Breaker, State};
use crate::deadline::{Awaiting, Deadline};
use crate::dns::{Resolver, ReverseName, Turns, reverse_name};
use crate::network::Network;
use crate::peer::{NameLookup, Peer};
use crate::runtime::{Runtime, within};
use crate::unwind::Guarded;

#[cfg(test)]
mod tests;

/// Maximum number of concurrent lookups for the clients of one network ([`Network::around`]).
const AT_ONCE: usize = 4;
/// A lookup that takes longer than this counts as slow, whatever its answer.
const SLOW: Duration = Duration::from_secs(2);
/// Number of slow lookups in a row after which lookups for the network pause.
const SLOW_IN_A_ROW: u32 = 3;
/// First and longest pause (RFC 9520 section 3.2: failures are cached for at most 5 minutes).
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Maximum number of networks that are remembered.
const NETWORKS: usize = 4_096;
/// Number of networks that one eviction leaves. The gap to [`NETWORKS`] spreads the cost of the scan
/// over many new networks.
const NETWORKS_LEFT: usize = NETWORKS / 8 * 7;

/// The lookup of client names. The owner of an address decides how long its name server takes. A
/// network with a slow name server must therefore not use up the queries that other networks need.
///
/// The limits are for an IPv4 /24 or an IPv6 /48. One customer can have a /48. With a limit for each
/// /64, this customer would have the limit 65,536 times.
pub(crate) struct Naming {
    resolver: Box<dyn Resolver>,
    patience: Duration,
    networks: Mutex<HashMap<Network, Arc<Zone>>>,
}

/// The lookups of one network. Its addresses are usually in one reverse zone.
struct Zone {
    turns: Turns,
    breaker: Breaker,
}

impl Naming {
    /// Creates a `Naming` that queries `resolver` and waits at most `patience` for a name.
    pub(crate) fn new(resolver: Box<dyn Resolver>, patience: Duration) -> Self {
        Self { resolver, patience, networks: Mutex::default() }
    }

    /// Looks up the name of the client with this address.
    pub(crate) async fn name<R: Runtime>(&self, runtime: &R, peer: &mut Peer, address: IpAddr) {
        let deadline = Deadline::after(runtime.now(), self.patience, Awaiting::Verdict);
        let zone = self.zone(Network::around(address));
        let answer = within(runtime, Some(deadline), self.ask(runtime, &zone, address)).await;
        peer.name_lookup = NameLookup::Answered;
        match answer.flatten() {
            Some(ReverseName::Confirmed(name)) => {
                peer.name = Some((*name).into());
                peer.reverse_name = Some((*name).into());
            }
            Some(ReverseName::Unconfirmed(name)) => peer.reverse_name = Some((*name).into()),
            Some(ReverseName::Nameless) => {}
            None => peer.name_lookup = NameLookup::Failed,
        }
    }

    /// Returns `None` if there is no answer. If this future is dropped during the query, the
    /// lookup counts as slow.
    async fn ask<R: Runtime>(
        &self,
        runtime: &R,
        zone: &Zone,
        address: IpAddr,
    ) -> Option<ReverseName> {
        let _turn = zone.turns.take().await;
        let began = runtime.now();
        let pass = zone.breaker.admit(began).ok()?;
        let lookup = || reverse_name(&*self.resolver, address).boxed();
        let answer = Guarded::begin(lookup).await;
        let now = runtime.now();
        match now.saturating_duration_since(began) < SLOW {
            true => pass.succeed(now),
            false => pass.fail(now, &"slow"),
        }
        // A resolver that panics is treated as one that fails.
        answer.ok()?.ok()
    }

    fn zone(&self, network: Network) -> Arc<Zone> {
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if networks.len() >= NETWORKS && !networks.contains_key(&network) {
            make_room(&mut networks);
        }
        networks.entry(network).or_default().clone()
    }
}

/// Evicts idle networks: all whose breaker is closed, then open ones until [`NETWORKS_LEFT`] remain.
/// Among open ones, the one whose pause ends first is evicted first. Networks with a lookup are
/// kept. There are at most as many of them as connections.
fn make_room(networks: &mut HashMap<Network, Arc<Zone>>) {
    let mut open = Vec::new();
    networks.retain(|network, zone| {
        if Arc::strong_count(zone) > 1 {
            return true;
        }
        // A probe of an idle network has ended, so its breaker is open or closed.
        let State::Open { until } = zone.breaker.state() else { return false };
        open.push((until, *network));
        true
    });
    let excess = networks.len().saturating_sub(NETWORKS_LEFT);
    open.sort_unstable_by_key(|(until, _)| *until);
    for (_, network) in open.iter().take(excess) {
        networks.remove(network);
    }
}

impl Default for Zone {
    fn default() -> Self {
        let breaker = Breaker::new().failures(SLOW_IN_A_ROW).pause(FIRST_PAUSE, LONGEST_PAUSE);
        Self { turns: Turns::new(AT_ONCE), breaker }
    }
}
