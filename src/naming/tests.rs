use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::future::join_all;

use super::*;
use crate::dns::{Answer, DomainName, RecordKind, ResolveError};
use crate::rehearsal::Rehearsal;

const PATIENCE: Duration = Duration::from_secs(5);

/// A resolver that never answers about 198.51.100.0/24 and 2001:db8::/48. It answers at once that
/// other addresses have no name.
struct Names {
    runtime: Rehearsal,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Resolver for Names {
    async fn lookup(&self, name: &DomainName, _: RecordKind) -> Result<Answer, ResolveError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let silent = ["100.51.198.in-addr.arpa", "0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"];
        if silent.iter().any(|zone| name.ends_with(zone)) {
            self.runtime.sleep(Duration::from_secs(3_600)).await;
        }
        Ok(Answer::new([], Duration::ZERO))
    }
}

fn naming(runtime: &Rehearsal) -> (Naming, Arc<AtomicUsize>) {
    let asked = Arc::<AtomicUsize>::default();
    let names = Names { runtime: runtime.clone(), asked: asked.clone() };
    (Naming::new(Box::new(names), PATIENCE), asked)
}

/// Looks up the name of a client. Returns the result and the time it took.
async fn named(
    naming: &Naming,
    runtime: &Rehearsal,
    address: impl Into<IpAddr>,
) -> (NameLookup, Duration) {
    let (began, address) = (runtime.now(), address.into());
    let mut peer = Peer::new((address, 4711).into());
    naming.name(runtime, &mut peer, address).await;
    (peer.name_lookup, runtime.now() - began)
}

#[test]
fn a_network_with_a_silent_name_server_has_four_lookups_and_is_then_served_without_names() {
    let runtime = Rehearsal::new();
    let (naming, asked) = naming(&runtime);
    let crowd = (0..100).map(|n| named(&naming, &runtime, [198, 51, 100, n]));
    let heard = runtime.run(join_all(crowd));
    assert!(heard.iter().all(|it| *it == (NameLookup::Failed, PATIENCE)), "{heard:?}");
    assert_eq!(asked.load(Ordering::Relaxed), AT_ONCE);

    // Further clients of the network do not wait at all.
    let crowd = (0..100).map(|n| named(&naming, &runtime, [198, 51, 100, n]));
    let heard = runtime.run(join_all(crowd));
    assert!(heard.iter().all(|it| *it == (NameLookup::Failed, Duration::ZERO)), "{heard:?}");
    assert_eq!(asked.load(Ordering::Relaxed), AT_ONCE);

    // After a pause, one client tries again; the others do not wait.
    runtime.run(runtime.sleep(FIRST_PAUSE));
    let crowd = (0..100).map(|n| named(&naming, &runtime, [198, 51, 100, n]));
    let late = runtime.run(join_all(crowd)).iter().filter(|it| it.1 == PATIENCE).count();
    assert!(late <= AT_ONCE, "{late}");
    assert_eq!(asked.load(Ordering::Relaxed), AT_ONCE + 1);
}

#[test]
fn other_networks_do_not_wait_for_a_silent_name_server() {
    let runtime = Rehearsal::new();
    let (naming, _) = naming(&runtime);
    let slow = (0..100).map(|n| named(&naming, &runtime, [198, 51, 100, n]));
    let prompt = (0..100).map(|n| named(&naming, &runtime, [192, 0, 2, n]));
    let heard = runtime.run(join_all(slow.chain(prompt)));
    let answered = (NameLookup::Answered, Duration::ZERO);
    assert!(heard[100..].iter().all(|it| *it == answered), "{heard:?}");
}

#[test]
fn networks_over_the_bound_evict_networks_without_lookups() {
    let runtime = Rehearsal::new();
    let (naming, _) = naming(&runtime);
    for n in 0..3 * NETWORKS {
        let [_, _, high, low] = (n as u32).to_be_bytes();
        runtime.run(named(&naming, &runtime, [10, high, low, 1]));
        assert!(naming.networks.lock().unwrap().len() <= NETWORKS);
    }
}

/// Returns an address in the given /64 of 2001:db8::/48.
fn in_subnet(subnet: u16) -> [u16; 8] {
    [0x2001, 0xdb8, 0, subnet, 0, 0, 0, 1]
}

#[test]
fn the_subnets_of_an_ipv6_48_share_four_lookups() {
    let runtime = Rehearsal::new();
    let (naming, asked) = naming(&runtime);
    let crowd = (0..100).map(|subnet| named(&naming, &runtime, in_subnet(subnet)));
    let heard = runtime.run(join_all(crowd));
    assert!(heard.iter().all(|it| *it == (NameLookup::Failed, PATIENCE)), "{heard:?}");
    assert_eq!(asked.load(Ordering::Relaxed), AT_ONCE);
    assert_eq!(naming.networks.lock().unwrap().len(), 1);
}

#[test]
fn an_open_breaker_survives_a_flood_of_other_networks() {
    let runtime = Rehearsal::new();
    let (naming, asked) = naming(&runtime);
    let crowd = (0..10).map(|subnet| named(&naming, &runtime, in_subnet(subnet)));
    runtime.run(join_all(crowd));
    for n in 0..2 * NETWORKS {
        let [_, _, high, low] = (n as u32).to_be_bytes();
        runtime.run(named(&naming, &runtime, [10, high, low, 1]));
    }
    let before = asked.load(Ordering::Relaxed);
    let heard = runtime.run(named(&naming, &runtime, in_subnet(10)));
    assert_eq!(heard, (NameLookup::Failed, Duration::ZERO));
    assert_eq!(asked.load(Ordering::Relaxed), before);
}

#[test]
fn open_breakers_whose_pause_ends_first_are_evicted_first() {
    let runtime = Rehearsal::new();
    let (naming, _) = naming(&runtime);
    let network = |n: usize| Network::around([10, (n >> 8) as u8, n as u8, 1].into());
    for n in 0..NETWORKS {
        let zone = naming.zone(network(n));
        let at = runtime.now() + Duration::from_secs(n as u64);
        for _ in 0..SLOW_IN_A_ROW {
            zone.breaker.admit(at).unwrap().fail(at, &"slow");
        }
    }
    let busy = naming.zone(network(0));
    naming.zone(network(NETWORKS));
    let networks = naming.networks.lock().unwrap();
    assert_eq!(networks.len(), NETWORKS_LEFT + 1);
    assert!(Arc::ptr_eq(&networks[&network(0)], &busy));
    let evicted = NETWORKS - NETWORKS_LEFT;
    assert!((1..=evicted).all(|n| !networks.contains_key(&network(n))));
    assert!((evicted + 1..=NETWORKS).all(|n| networks.contains_key(&network(n))));
}
