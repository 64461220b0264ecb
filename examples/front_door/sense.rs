//! Checks options that are valid one by one but useless or dangerous: trusted networks that
//! contain strangers, a port that is opened twice, a server that is this program.

use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};

use nobounce::Address;
use nobounce::network::Networks;

use crate::config::Config;
use crate::options::Options;

/// Shortest prefix of a trusted IPv4 network: 10.0.0.0/8 is the largest private network.
const IPV4_WIDTH: u8 = 8;
/// Shortest prefix of a trusted public IPv6 network.
const IPV6_WIDTH: u8 = 16;

/// Returns one message for each fault, with the option, the value and the expected value.
pub(crate) fn faults(options: &Options, config: Option<&Config>) -> Vec<String> {
    let mut faults = Vec::new();
    for (option, networks, danger) in [
        ("--trust", &options.trust, "could choose its address and login with XCLIENT"),
        ("--proxy-from", &options.proxy_from, "could choose its address with a PROXY header"),
        ("--own-network", &options.own_network, "would be exempt from limits and delays"),
    ] {
        faults.extend(networks.iter().filter_map(too_wide).map(|network| {
            format!("{option} {network}: every host in this network {danger}; {EXPECTED}")
        }));
    }
    let all = [("--listen", &options.listen), ("--tls-listen", &options.tls_listen)];
    let doors = all.into_iter().flat_map(|(option, all)| all.iter().map(move |it| (option, *it)));
    let doors: Vec<(&str, SocketAddr)> = doors.collect();
    for (place, (option, address)) in doors.iter().enumerate() {
        let same = doors[..place].iter().find(|(_, other)| overlap(*address, *other));
        if let Some((other_option, other)) = same {
            faults.push(format!(
                "{option} {address}: already used by {other_option} {other}; expected each address and port \
                 once"
            ));
        }
    }
    let addresses = config.into_iter().flat_map(Config::addresses);
    for (name, address) in options.addresses().into_iter().chain(addresses) {
        let ours = doors.iter().find(|(_, door)| leads_to(&address, *door));
        if let Some((option, door)) = ours {
            faults.push(format!(
                "{name} {address}: this is {option} {door}, so front_door would connect to itself; expected \
                 the address of another server"
            ));
        }
    }
    faults
}

const EXPECTED: &str = "expected networks of known machines, with a prefix of at least 8 bits for IPv4 and 16 for public IPv6";

/// Returns the first network that is too wide to be trusted.
pub(crate) fn too_wide(networks: &Networks) -> Option<String> {
    let is_wide = |network: &&str| {
        let (address, width) = network.split_once('/').unwrap_or((network, "128"));
        let width: u8 = width.parse().unwrap_or(u8::MAX);
        match address.parse() {
            Ok(IpAddr::V4(_)) => width < IPV4_WIDTH,
            Ok(IpAddr::V6(address)) => {
                let private = address.is_unique_local() || address.is_unicast_link_local();
                width < IPV6_WIDTH && !(private && width >= 7)
            }
            Err(_) => false,
        }
    };
    networks.to_string().split(", ").find(is_wide).map(str::to_owned)
}

/// Returns whether the two addresses conflict. Port 0 never does, since the kernel chooses another
/// port each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Returns whether a connection to `address` arrives at this listener.
fn leads_to(address: &Address, door: SocketAddr) -> bool {
    let Address::Tcp(text) = address else { return false };
    let ends = |port: &str| port.parse() == Ok(door.port());
    // Look up names only if the port is the same.
    if door.port() == 0 || !text.rsplit_once(':').is_some_and(|(_, port)| ends(port)) {
        return false;
    }
    text.to_socket_addrs().into_iter().flatten().any(|address| {
        let same_family = address.is_ipv4() == door.is_ipv4();
        let here = || address.ip().is_unspecified() || is_of_this_machine(address.ip());
        same_family && (address.ip() == door.ip() || door.ip().is_unspecified() && here())
            || same_family && address.ip().is_unspecified() && door.ip().is_loopback()
    })
}

fn is_of_this_machine(address: IpAddr) -> bool {
    address.is_loopback() || TcpListener::bind((address, 0)).is_ok()
}
