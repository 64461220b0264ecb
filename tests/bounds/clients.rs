//! Bounds on how many clients there are and how often they come.
#![allow(clippy::disallowed_methods, reason = "any moment: all times are counted from it")]

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nobounce::{Admission, AdmissionLimits, Rate};

const MINUTE: Duration = Duration::from_secs(60);

/// Two clients are let in and stay; what the third is told instead of the greeting.
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

fn two_in_a_minute() -> Option<Rate> {
    NonZeroU32::new(2).map(|burst| Rate::new(burst, MINUTE))
}

#[test]
fn connections() {
    let told = third(STRANGERS, |limits| limits.connections = 2);
    assert_eq!(told, "421 4.3.2 Too many connections, try again later");
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
    assert_eq!(told, "421 4.7.0 Too many connections from your address, slow down");
}

#[test]
fn rate_of_a_network() {
    let told = third(NEIGHBOURS, |limits| limits.network_rate = two_in_a_minute());
    assert_eq!(told, "421 4.7.0 Too many connections from your network, slow down");
}
