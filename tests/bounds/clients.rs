//! Limits on the number of clients and on their connection rate.
#![allow(clippy::disallowed_methods, reason = "any moment: all times are counted from it")]

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nobounce::admission::{
    Admission, AdmissionError, AdmissionGuard, AdmissionLimits, ConnectionRate,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Admits two clients that stay. Returns the reply that the third gets instead of the greeting.
fn third(clients: [&str; 3], set: impl FnOnce(&mut AdmissionLimits)) -> String {
    let mut limits = AdmissionLimits::default();
    set(&mut limits);
    let (admission, now) = (Arc::new(Admission::new(limits)), Instant::now());
    let admit = |client: &str| admission.admit(Some(client.parse::<IpAddr>().unwrap()), now);
    let _inside = [admit(clients[0]).unwrap(), admit(clients[1]).unwrap()];
    admit(clients[2]).unwrap_err().reply().to_string()
}

const STRANGERS: [&str; 3] = ["192.0.2.1", "198.51.100.1", "203.0.113.1"];
const NEIGHBOURS: [&str; 3] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
const ONE: [&str; 3] = ["192.0.2.1"; 3];

fn two_in_a_minute() -> Option<ConnectionRate> {
    NonZeroU32::new(2).map(|burst| ConnectionRate::new(burst, MINUTE))
}

#[test]
fn connections() {
    let told = third(STRANGERS, |limits| limits.connections = 2);
    assert_eq!(told, "421 4.3.2 Too many connections, try again later");
}

#[test]
fn stress() {
    let admission = |connections: usize| {
        let mut limits = AdmissionLimits::default();
        limits.connections = connections;
        Arc::new(Admission::new(limits))
    };
    let (gate, now) = (admission(10), Instant::now());
    let admit = |n: u8| gate.admit(Some([198, 51, n, 1].into()), now);
    let mut inside: Vec<_> = (0..7).map(|n| admit(n).unwrap()).collect();
    assert!(!gate.is_stressed(), "7 of 10");
    inside.push(admit(7).unwrap());
    assert!(gate.is_stressed(), "8 of 10");
    inside.push(admit(7).unwrap());
    // A network above the average (10 clients in 8 networks) gets no further place. Other networks
    // do.
    assert_eq!(admit(7).unwrap_err().reply().code().value(), 421);
    let other = admit(8).unwrap();
    drop(other);
    inside.truncate(7);
    assert!(gate.is_stressed(), "7 of 10, from above");
    inside.truncate(6);
    assert!(!gate.is_stressed(), "6 of 10");
}

#[test]
fn connections_before_the_proxy_header() {
    let mut limits = AdmissionLimits::default();
    limits.connections = 16;
    let (gate, now) = (Arc::new(Admission::new(limits)), Instant::now());
    let inside = |n: u8| gate.admit(Some([198, 51, n, 1].into()), now);
    let mut inside: Vec<_> = (0..16).map(|n| inside(n).unwrap()).collect();
    let mut unsettled: Vec<_> = (0..16).map(|_| gate.enter().unwrap()).collect();
    assert_eq!(gate.connections(), 32);
    // Another one takes the place of the oldest, which can then no longer be admitted.
    unsettled.push(gate.enter().unwrap());
    assert_eq!(gate.connections(), 32);
    drop(inside.pop());
    let late = |place: &mut AdmissionGuard| place.count_for([192, 0, 2, 1].into(), now);
    assert_eq!(late(&mut unsettled[0]), Err(AdmissionError::Full), "it has waited longest");
    assert_eq!(late(&mut unsettled[1]), Ok(()));
    assert_eq!(late(&mut unsettled[2]), Err(AdmissionError::Full), "no session idles");
}

#[test]
fn connections_of_an_address() {
    let told = third(ONE, |limits| limits.per_address = 2);
    assert_eq!(told, "421 4.7.0 Too many connections from your address");
}

#[test]
fn connections_of_a_network() {
    let told = third(NEIGHBOURS, |limits| limits.per_network = 2);
    assert_eq!(told, "421 4.7.0 Too many connections from your network");
}

#[test]
fn rate_of_an_address() {
    let told = third(ONE, |limits| limits.address_rate = two_in_a_minute());
    assert_eq!(told, "421 4.7.0 Too many new connections from your address, try again later");
}

#[test]
fn rate_of_a_network() {
    let told = third(NEIGHBOURS, |limits| limits.network_rate = two_in_a_minute());
    assert_eq!(told, "421 4.7.0 Too many new connections from your network, try again later");
}
