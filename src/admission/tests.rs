use std::collections::HashMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn v4(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

/// Returns an arbitrary time from which all times are counted.
#[allow(clippy::disallowed_methods, reason = "an `Instant` cannot be created otherwise")]
fn beginning() -> Instant {
    Instant::now()
}

fn rate(burst: u32, per: Duration) -> Option<ConnectionRate> {
    NonZeroU32::new(burst).map(|burst| ConnectionRate::new(burst, per))
}

fn admission(set: impl FnOnce(&mut AdmissionLimits)) -> Arc<Admission> {
    let mut limits = AdmissionLimits::default();
    set(&mut limits);
    Arc::new(Admission::new(limits))
}

impl Admission {
    /// Returns the number of entries in the two tables.
    fn entries(&self) -> (usize, usize) {
        let inside = self.inside();
        (inside.addresses.len(), inside.networks.len())
    }
}

#[test]
fn connection_over_each_limit_is_refused_until_a_slot_is_free() {
    let now = beginning();
    let table = [
        // limit in total, per address, per network; admitted clients; new client; expected reason
        (2, 9, 9, [v4(1), [198, 51, 100, 1].into()], [203, 0, 113, 1].into(), AdmissionError::Full),
        (9, 2, 9, [v4(1), v4(1)], v4(1), AdmissionError::Address),
        (9, 9, 2, [v4(1), v4(2)], v4(3), AdmissionError::Network),
    ];
    for (connections, per_address, per_network, inside, comes, reason) in table {
        let admission = admission(|limits| {
            limits.connections = connections;
            limits.per_address = per_address;
            limits.per_network = per_network;
        });
        let mut places: Vec<_> =
            inside.iter().map(|it| admission.admit(Some(*it), now).unwrap()).collect();
        assert_eq!(admission.admit(Some(comes), now).unwrap_err(), reason);
        assert_eq!(admission.connections(), 2, "a refused client is not counted");
        places.pop();
        places.push(admission.admit(Some(comes), now).unwrap());
        assert_eq!(admission.admit(Some(comes), now).unwrap_err(), reason);
        drop(places);
        assert_eq!((admission.connections(), admission.entries()), (0, (0, 0)));
    }
}

#[test]
fn connection_over_the_default_limits_is_refused() {
    let now = beginning();
    let admission = Arc::new(Admission::default());
    let mut places = Vec::new();
    let mut fill = |address: IpAddr, count: usize| {
        places.extend((0..count).map(|_| admission.admit(Some(address), now).unwrap()));
        admission.admit(Some(address), now).unwrap_err()
    };
    assert_eq!(fill(v4(1), 50), AdmissionError::Address);
    for last in 2..5 {
        assert_eq!(fill(v4(last), 50), AdmissionError::Address);
    }
    assert_eq!(fill(v4(5), 50), AdmissionError::Address);
    assert_eq!(fill(v4(6), 0), AdmissionError::Network);
    for n in 1..80 {
        for last in 0..5 {
            fill([198, 51, n, last].into(), 50);
        }
    }
    assert_eq!(fill([203, 0, 113, 1].into(), 0), AdmissionError::Full);
}

#[test]
fn client_without_an_address_counts_only_towards_the_total() {
    let now = beginning();
    let admission = admission(|limits| {
        limits.connections = 3;
        limits.per_address = 0;
    });
    let places = [(); 3].map(|()| admission.admit(None, now));
    assert!(places.iter().all(Result::is_ok));
    assert_eq!(admission.admit(None, now).unwrap_err(), AdmissionError::Full);
    assert_eq!(admission.entries(), (0, 0));
}

#[test]
fn address_of_a_client_can_be_set_after_admission() {
    let now = beginning();
    let admission = admission(|limits| limits.per_address = 1);
    let mut first = admission.enter().unwrap();
    let mut second = admission.enter().unwrap();
    first.count_for(v4(1), now).unwrap();
    first.count_for(v4(1), now).unwrap();
    assert_eq!(second.count_for(v4(1), now).unwrap_err(), AdmissionError::Address);
    second.count_for(v4(2), now).unwrap();
    assert_eq!(admission.entries(), (2, 1));
}

#[test]
fn prefix_length_of_a_network_is_configurable() {
    let table: &[(u8, u8, &str, &str, bool)] = &[
        // IPv4 bits, IPv6 bits, two addresses, whether they are in one network
        (24, 64, "192.0.2.1", "192.0.2.254", true),
        (24, 64, "192.0.2.1", "192.0.3.1", false),
        (16, 64, "192.0.2.1", "192.0.3.1", true),
        (32, 64, "192.0.2.1", "192.0.2.2", false),
        (0, 64, "192.0.2.1", "203.0.113.1", true),
        (255, 255, "192.0.2.1", "192.0.2.1", true),
        (24, 64, "2001:db8::1", "2001:db8::ffff:1", true),
        (24, 64, "2001:db8::1", "2001:db8:0:1::1", false),
        (24, 48, "2001:db8::1", "2001:db8:0:1::1", true),
        (24, 128, "2001:db8::1", "2001:db8::2", false),
        (24, 0, "2001:db8::1", "fe80::1", true),
        (24, 64, "::ffff:192.0.2.1", "192.0.2.2", true),
        (0, 0, "192.0.2.1", "2001:db8::1", false),
    ];
    for (ipv4, ipv6, first, second, same) in table {
        let admission = admission(|limits| {
            (limits.ipv4_prefix, limits.ipv6_prefix) = (*ipv4, *ipv6);
            (limits.per_address, limits.per_network) = (9, 1);
        });
        let _first = admission.admit(Some(first.parse().unwrap()), beginning()).unwrap();
        let second = admission.admit(Some(second.parse().unwrap()), beginning());
        let expected = if *same { Err(AdmissionError::Network) } else { Ok(()) };
        assert_eq!(second.map(drop), expected, "{first}/{ipv4} {ipv6}");
    }
}

#[test]
fn token_bucket_admits_a_burst_and_then_one_at_a_time() {
    let now = beginning();
    let admission = admission(|limits| limits.address_rate = rate(3, 30 * SECOND));
    let mut let_in = Vec::new();
    for tenth in 0..400 {
        let at = now + tenth * SECOND / 10;
        if admission.admit(Some(v4(1)), at).is_ok() {
            let_in.push(tenth);
        }
    }
    assert_eq!(let_in, [0, 1, 2, 100, 200, 300]);
}

#[test]
fn early_retries_do_not_extend_the_wait() {
    let now = beginning();
    let admission = admission(|limits| {
        limits.address_rate = rate(1, 60 * SECOND);
        limits.network_rate = rate(10, 60 * SECOND);
    });
    let (hasty, patient) = (v4(1), [198, 51, 100, 1].into());
    for address in [hasty, patient] {
        let _ = admission.admit(Some(address), now).unwrap();
    }
    for millisecond in 1..60_000 {
        let refused = admission.admit(Some(hasty), now + Duration::from_millis(millisecond));
        assert_eq!(refused.unwrap_err(), AdmissionError::AddressRate);
    }
    for address in [hasty, patient] {
        assert!(admission.admit(Some(address), now + 60 * SECOND).is_ok(), "{address}");
    }
    // Refused attempts of the address have not used up its network's rate either.
    let at = now + 60 * SECOND;
    let neighbours = (2..20).map(|last| admission.admit(Some(v4(last)), at).map(drop));
    let let_in = neighbours.take_while(Result::is_ok).count();
    assert_eq!(let_in, 9);
    assert_eq!(admission.admit(Some(v4(99)), at).unwrap_err(), AdmissionError::NetworkRate);
}

#[test]
fn remembered_addresses_are_bounded() {
    let now = beginning();
    let admission = admission(|limits| {
        limits.connections = 10;
        limits.remembered = 100;
        limits.address_rate = rate(2, 3600 * SECOND);
        limits.network_rate = rate(2, 3600 * SECOND);
    });
    for n in 0..10_000_u32 {
        let address = Ipv4Addr::from_bits((10 << 24) + n * 256).into();
        let _ = admission.admit(Some(address), now + n * SECOND / 1_000).unwrap();
        let (addresses, networks) = admission.entries();
        assert!(addresses <= 100 && networks <= 100, "{addresses} {networks}");
    }
    // The entry is removed when it is obsolete.
    for n in 0..20 {
        let address = Ipv4Addr::from_bits((11 << 24) + n * 256).into();
        let _ = admission.admit(Some(address), now + 10_000 * SECOND).unwrap();
    }
    let (addresses, networks) = admission.entries();
    assert!(addresses <= 20 && networks <= 20, "{addresses} {networks}");
}

#[test]
fn empty_bucket_is_not_evicted_by_other_addresses() {
    let now = beginning();
    let admission = admission(|limits| {
        limits.remembered = 64;
        limits.connections = 64;
        limits.address_rate = rate(4, 3600 * SECOND);
        limits.network_rate = None;
        limits.per_network = 10_000;
    });
    for _ in 0..4 {
        let _ = admission.admit(Some(v4(1)), now).unwrap();
    }
    let spent = || admission.admit(Some(v4(1)), now).map(drop);
    assert_eq!(spent(), Err(AdmissionError::AddressRate));
    // Each of 10,000 others may connect three times, and its bucket is still fuller than this one.
    for n in 0..10_000_u32 {
        let other = Ipv4Addr::from_bits((10 << 24) + n).into();
        for _ in 0..3 {
            let _ = admission.admit(Some(other), now).unwrap();
        }
        assert_eq!(spent(), Err(AdmissionError::AddressRate), "forgotten after {n} others");
    }
}

#[test]
fn extreme_times_are_accepted() {
    let admission = admission(|limits| {
        limits.address_rate = rate(1, Duration::MAX);
        limits.network_rate = rate(1, Duration::ZERO);
    });
    let now = beginning();
    let _ = admission.admit(Some(v4(1)), now).unwrap();
    assert_eq!(admission.admit(Some(v4(1)), now).unwrap_err(), AdmissionError::AddressRate);
    // The clock of another thread may be slightly slow.
    let earlier = now.checked_sub(SECOND).unwrap();
    let _ = admission.admit(Some(v4(2)), earlier).unwrap();
}

/// A bucket that is refilled token by token, and a list of admitted clients.
#[derive(Default)]
struct Oracle {
    inside: Vec<u8>,
    buckets: HashMap<u8, u32>,
}

const BURST: u32 = 3;

impl Oracle {
    fn second_passes(&mut self) {
        for level in self.buckets.values_mut() {
            *level = (*level + 1).min(BURST);
        }
    }

    fn admit(&mut self, client: u8) -> Result<(), AdmissionError> {
        let of_address = self.inside.iter().filter(|it| **it == client).count();
        let of_network = self.inside.iter().filter(|it| **it / 2 == client / 2).count();
        let level = self.buckets.entry(client).or_insert(BURST);
        if self.inside.len() >= 8 {
            Err(AdmissionError::Full)
        } else if of_address >= 3 {
            Err(AdmissionError::Address)
        } else if *level == 0 {
            Err(AdmissionError::AddressRate)
        } else if of_network >= 4 {
            Err(AdmissionError::Network)
        } else {
            *level -= 1;
            self.inside.push(client);
            Ok(())
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Come(u8),
    /// One of the admitted clients leaves.
    Leave(usize),
    Wait,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..6_u8).prop_map(Act::Come),
        2 => (0..8_usize).prop_map(Act::Leave),
        1 => Just(Act::Wait),
    ];
    prop::collection::vec(act, 0..200)
}

proptest! {
    /// Clients 0 and 1 are in one network, 2 and 3 in another, and so on.
    #[test]
    fn admission_agrees_with_a_reference_implementation(acts in acts()) {
        let mut now = beginning();
        let admission = admission(|limits| {
            (limits.connections, limits.per_address, limits.per_network) = (8, 3, 4);
            limits.address_rate = rate(BURST, BURST * SECOND);
            limits.ipv4_prefix = 31;
            limits.stress_from = 101;
        });
        let mut oracle = Oracle::default();
        let mut places: Vec<AdmissionGuard> = Vec::new();
        for act in acts {
            match act {
                Act::Come(client) => {
                    let came = admission.admit(Some(v4(client)), now);
                    let expected = oracle.admit(client);
                    prop_assert_eq!(came.as_ref().err().copied(), expected.err());
                    places.extend(came);
                }
                Act::Leave(n) if n < places.len() => {
                    drop(places.remove(n));
                    oracle.inside.remove(n);
                }
                Act::Leave(_) => {}
                Act::Wait => {
                    now += SECOND;
                    oracle.second_passes();
                }
            }
            prop_assert_eq!(admission.connections(), places.len());
        }
    }
}

#[test]
fn new_limits_apply_to_the_next_connection() {
    let now = beginning();
    let admission = admission(|limits| limits.address_rate = rate(1, 3_600 * SECOND));
    let limits = |set: &dyn Fn(&mut AdmissionLimits)| {
        let mut limits = AdmissionLimits::default();
        set(&mut limits);
        admission.set_limits(limits);
    };
    let admit = || admission.admit(Some(v4(1)), now);
    let first = admit().unwrap();
    assert_eq!(admit().unwrap_err(), AdmissionError::AddressRate);
    limits(&|_| ());
    let second = admit().unwrap();
    // Connections over the new limit stay, and the next one is refused.
    limits(&|limits| limits.per_address = 1);
    assert_eq!(admit().unwrap_err(), AdmissionError::Address);
    assert_eq!(admission.connections(), 2);
    drop(first);
    assert_eq!(admit().unwrap_err(), AdmissionError::Address);
    drop(second);
    drop(admit().unwrap());
    limits(&|limits| limits.connections = 0);
    assert_eq!(admit().unwrap_err(), AdmissionError::Full);
    // Places of a network are freed as they were counted.
    limits(&|limits| limits.ipv4_prefix = 32);
    let place = admit().unwrap();
    limits(&|limits| limits.ipv4_prefix = 8);
    drop(place);
    assert_eq!(admission.entries(), (0, 0));
}

#[test]
fn lower_limit_of_connections_begins_stress() {
    let now = beginning();
    let admission = admission(|_| ());
    let _places: Vec<_> = (1..=8).map(|n| admission.admit(Some(v4(n)), now).unwrap()).collect();
    admission.set_limits(AdmissionLimits { connections: 10, ..AdmissionLimits::default() });
    assert!(admission.is_stressed());
    admission.set_limits(AdmissionLimits::default());
    assert!(!admission.is_stressed());
}
