use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn networks_are_read_and_written() {
    let cases = [
        // input, output (none: refused)
        ("192.0.2.0/24", Some("192.0.2.0/24")),
        ("192.0.2.7", Some("192.0.2.7/32")),
        ("0.0.0.0/0", Some("0.0.0.0/0")),
        ("2001:DB8::/32", Some("2001:db8::/32")),
        ("::1", Some("::1/128")),
        ("::/0", Some("::/0")),
        ("::ffff:192.0.2.7", Some("192.0.2.7/32")),
        ("::ffff:192.0.2.0/120", Some("192.0.2.0/24")),
        ("::ffff:0:0/96", Some("0.0.0.0/0")),
        ("", None),
        ("/", None),
        ("/24", None),
        ("192.0.2.0/", None),
        ("192.0.2.0/33", None),
        ("192.0.2.0/-1", None),
        ("192.0.2.0/+8", None),
        ("192.0.2.0/ 24", None),
        ("192.0.2.0/24/24", None),
        ("192.0.2.0/255.255.255.0", None),
        ("192.0.2.0/4294967320", None),
        ("192.0.2.1/24", None),
        ("2001:db8::1/32", None),
        ("::ffff:192.0.2.1/120", None),
        ("::ffff:0:0/95", None),
        ("2001:db8::/129", None),
        ("192.0.2", None),
        ("192.0.2.07", None),
        ("[::1]", None),
        ("fe80::1%eth0", None),
        ("mx.example", None),
        ("any", None),
    ];
    for (read, written) in cases {
        let network = read.parse::<Network>();
        assert_eq!(network.as_ref().ok().map(Network::to_string).as_deref(), written, "{read}");
        if network.is_err() {
            assert_eq!(network, Err(NetworkError(read.into())));
        }
    }
}

#[test]
fn addresses_are_in_networks_of_their_family() {
    let cases = [
        // network, an address inside, an address outside
        (
            "192.0.2.0/24",
            "192.0.2.0 192.0.2.255 ::ffff:192.0.2.9",
            "192.0.1.255 192.0.3.0 ::192.0.2.9",
        ),
        ("192.0.2.7", "192.0.2.7 ::ffff:192.0.2.7", "192.0.2.6 192.0.2.8"),
        ("0.0.0.0/0", "0.0.0.0 255.255.255.255 ::ffff:8.8.8.8", ":: ::1"),
        ("::ffff:0:0/96", "8.8.8.8", "::1"),
        ("128.0.0.0/1", "128.0.0.0 255.0.0.0", "127.255.255.255"),
        ("::/0", ":: ::1 ffff::", "0.0.0.0 127.0.0.1 ::ffff:127.0.0.1"),
        ("::/64", "::1", "127.0.0.1 ::ffff:127.0.0.1"),
        ("2001:db8::/32", "2001:db8:ffff::", "2001:db7:: 2001:db9::"),
        ("::1", "::1", "::2 127.0.0.1 0.0.0.1"),
    ];
    for (network, inside, outside) in cases {
        let network: Network = network.parse().unwrap();
        for it in inside.split(' ') {
            assert!(network.contains(address(it)), "{it} in {network}");
        }
        for it in outside.split(' ') {
            assert!(!network.contains(address(it)), "{it} in {network}");
        }
    }
}

#[test]
fn lists_include_peers() {
    let peers = [
        Peer::new(([192, 0, 2, 7], 25).into()),
        Peer::new(([198, 51, 100, 7], 25).into()),
        Peer::local(),
        // A client whose address is unknown to the proxy is not local.
        Peer::local().behind(&crate::wire::proxy::ProxyHeader::Unspecified),
    ];
    let cases = [
        // list, its text form, the peers in it
        ("", "", [false, false, false, false]),
        (" , ,", "", [false, false, false, false]),
        ("192.0.2.0/24", "192.0.2.0/24", [true, false, false, false]),
        ("local", "local", [false, false, true, false]),
        ("local,192.0.2.7 ::1", "192.0.2.7/32, ::1/128, local", [true, false, true, false]),
        ("0.0.0.0/0\t::/0", "0.0.0.0/0, ::/0", [true, true, false, false]),
    ];
    for (text, written, included) in cases {
        let list: Networks = text.parse().unwrap();
        assert_eq!(list.to_string(), written);
        assert_eq!(list.is_empty(), written.is_empty());
        assert_eq!(peers.each_ref().map(|peer| list.include(peer)), included, "{text}");
    }
    for text in ["192.0.2.0/24;::1", "Local", "192.0.2.0/24, 10.0.0.0/", "10.0.0.0 /8"] {
        assert!(text.parse::<Networks>().is_err(), "{text}");
    }
    assert_eq!(Networks::none(), Networks::default());
    let both: Networks =
        ["192.0.2.0/24", "::1"].map(|it| it.parse().unwrap()).into_iter().collect();
    assert_eq!(both, "192.0.2.0/24 ::1".parse().unwrap());
}

/// Generates addresses of one family, often close to each other.
fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    let v4 = |bits: u128| IpAddr::V4(Ipv4Addr::from_bits(bits as u32));
    let v6 = |bits: u128| IpAddr::V6(Ipv6Addr::from_bits(bits));
    (any::<u128>(), any::<u128>(), 0_u32..128, 0..4).prop_map(move |(a, b, shift, kind)| {
        let near = a ^ (b >> shift);
        match kind {
            0 => (v4(a), v4(near)),
            1 => (v6(a), v6(near)),
            2 => (v6(0xffff_0000_0000 | a & 0xffff_ffff), v4(near)),
            _ => (v4(a), v6(near)),
        }
    })
}

/// Returns the bits of an address, first to last, computed in the simplest way.
fn spelled(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().map(|octet| format!("{octet:08b}")).concat(),
        IpAddr::V6(address) => address.octets().map(|octet| format!("{octet:08b}")).concat(),
    }
}

proptest! {
    /// An address is in a network if it lies between its first and last address.
    #[test]
    fn networks_are_ranges((base, other) in addresses(), prefix in 0_u32..=128) {
        let (value, width) = match base {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        prop_assume!(prefix <= width);
        let mut size = 1_u128;
        let mut all = false;
        for _ in prefix..width {
            (size, all) = (size.wrapping_mul(2), size > u128::MAX / 2);
        }
        let first = if all { 0 } else { value / size * size };
        let base = match base {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(first as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(first)),
        };
        let network = Network::new(base, prefix).unwrap();
        prop_assert_eq!(network.to_string().parse(), Ok(network));

        // Oracle: the same family, and the same bits up to the prefix.
        let (own, its) = (spelled(base), spelled(other));
        let folded = prefix.checked_sub(width - own.len() as u32);
        let expected = match folded {
            _ if own.len() != its.len() => false,
            Some(prefix) => own[..prefix as usize] == its[..prefix as usize],
            None => false,
        };
        prop_assert_eq!(network.contains(other), expected, "{} in {}", other, network);

        // Second oracle, by arithmetic, if no mapped address is involved.
        if let (IpAddr::V4(_), IpAddr::V4(it)) = (base, other) {
            let it = u128::from(u32::from(it));
            prop_assert_eq!(expected, it >= first && it - first < size);
        }
        // Bits set after the prefix are refused.
        if prefix < width {
            let slip = match base {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from((first | 1) as u32)),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(first | 1)),
            };
            prop_assert_eq!(Network::new(slip, prefix), None);
        }
    }
}

#[test]
fn an_address_is_in_its_network() {
    let table = [
        ("192.0.2.129", 24, "192.0.2.0/24"),
        ("192.0.2.129", 25, "192.0.2.128/25"),
        ("192.0.2.129", 32, "192.0.2.129/32"),
        ("192.0.2.129", 64, "192.0.2.129/32"),
        ("192.0.2.129", 0, "0.0.0.0/0"),
        ("::ffff:192.0.2.129", 24, "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6/128"),
        ("2001:db8:1:2:3:4:5:6", 0, "::/0"),
    ];
    for (address, prefix, expected) in table {
        let address = address.parse().unwrap();
        let network = Network::of(address, prefix);
        assert_eq!(network.to_string(), expected);
        assert!(network.contains(address), "{address} in {network}");
    }
}

#[test]
fn clients_and_the_networks_around_them_have_fixed_prefixes() {
    let table = [
        // address, client, network around it
        ("192.0.2.129", "192.0.2.129/32", "192.0.2.0/24"),
        ("::ffff:192.0.2.129", "192.0.2.129/32", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
    ];
    for (given, client, around) in table {
        assert_eq!(Network::of_client(address(given)).to_string(), client, "{given}");
        assert_eq!(Network::around(address(given)).to_string(), around, "{given}");
    }
}
