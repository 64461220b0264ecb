use proptest::prelude::*;

use super::*;

fn tcp(source: &str, destination: &str) -> ProxyHeader {
    ProxyHeader::tcp(source.parse().unwrap(), destination.parse().unwrap())
}

fn v1(header: &ProxyHeader) -> BytesMut {
    let mut output = BytesMut::new();
    header.write_v1(&mut output);
    output
}

fn v2(header: &ProxyHeader) -> BytesMut {
    let mut output = BytesMut::new();
    header.write_v2(&mut output);
    output
}

/// Builds a header of version 2 from its last four fields.
fn v2_from(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
    [V2_SIGNATURE, &[command, family], &length.to_be_bytes(), rest].concat()
}

#[test]
fn version_1() {
    for (line, header) in [
        ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 25\r\n", tcp("192.0.2.1:56324", "192.0.2.2:25")),
        (
            "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
            tcp("0.0.0.0:0", "255.255.255.255:65535"),
        ),
        ("PROXY TCP6 2001:db8::1 ::1 56324 25\r\n", tcp("[2001:db8::1]:56324", "[::1]:25")),
        ("PROXY UNKNOWN\r\n", ProxyHeader::Unspecified),
        ("PROXY UNKNOWN \r\n", ProxyHeader::Unspecified),
        ("PROXY UNKNOWN ffff::1 what ever\r\n", ProxyHeader::Unspecified),
    ] {
        let input = format!("{line}EHLO a\r\n");
        assert_eq!(ProxyHeader::read(input.as_bytes()), Ok(Some((header, line.len()))), "{line}");
    }
}

#[test]
fn the_longest_header_of_version_1_fits() {
    let address = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let unknown = format!("PROXY UNKNOWN {address} {address} 65535 65535\r\n");
    assert_eq!(unknown.len(), 107);
    assert_eq!(ProxyHeader::read(unknown.as_bytes()), Ok(Some((ProxyHeader::Unspecified, 107))));
    let longer = unknown.replace("UNKNOWN ", "UNKNOWN  ");
    assert_eq!(ProxyHeader::read(longer.as_bytes()), Err(ProxyHeaderError::Malformed));
    assert_eq!(ProxyHeader::read(&longer.as_bytes()[..106]), Ok(None));
    assert_eq!(ProxyHeader::read(&longer.as_bytes()[..107]), Err(ProxyHeaderError::Malformed));
    let tcp6 = unknown.replace("UNKNOWN", "TCP6");
    assert!(matches!(
        ProxyHeader::read(tcp6.as_bytes()),
        Ok(Some((ProxyHeader::Tcp6 { .. }, 104)))
    ));
}

#[test]
fn malformed_headers_of_version_1() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 00 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 [::1] [::1] 1 2\r\n",
        "PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n",
        "PROXY UNKNOWN a\rb\r\n",
        "PROXY UNKNOWN a\nb\r\n",
        "PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n",
    ] {
        assert_eq!(
            ProxyHeader::read(line.as_bytes()),
            Err(ProxyHeaderError::Malformed),
            "{line:?}"
        );
    }
}

#[test]
fn input_without_a_proxy_signature_is_absent() {
    for input in
        ["EHLO a\r\n", "proxy TCP4", "PROXYTCP4", " PROXY", "\r\n\r\n\0\r\nquit\n", "\n", "Q"]
    {
        assert_eq!(ProxyHeader::read(input.as_bytes()), Err(ProxyHeaderError::Absent), "{input:?}");
    }
    assert_eq!(ProxyHeader::read(b""), Ok(None));
}

#[test]
fn version_2() {
    let addresses = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 0, 25];
    let header = tcp("192.0.2.1:56324", "192.0.2.2:25");
    let octets = v2_from(0x21, 0x11, 12, &addresses);
    assert_eq!(v2(&header), octets);
    assert_eq!(ProxyHeader::read(&octets), Ok(Some((header.clone(), 28))));

    // Extensions, well-formed or not, belong to the header and are skipped.
    let extended = [&addresses[..], b"\x04\0\x01xWHATEVER"].concat();
    let octets = v2_from(0x21, 0x11, extended.len() as u16, &extended);
    let more = [&octets, b"EHLO a\r\n".as_slice()].concat();
    assert_eq!(ProxyHeader::read(&more), Ok(Some((header, octets.len()))));

    // The addresses of a LOCAL header are skipped, in any family.
    for family in [0x00, 0x11, 0x21, 0xff] {
        let octets = v2_from(0x20, family, 3, b"abcEHLO");
        assert_eq!(ProxyHeader::read(&octets), Ok(Some((ProxyHeader::Local, 19))));
    }
    for family in [0x00, 0x01, 0x02] {
        let octets = v2_from(0x21, family, 5, b"abcdeEHLO");
        assert_eq!(ProxyHeader::read(&octets), Ok(Some((ProxyHeader::Unspecified, 21))));
    }
    let longest = v2_from(0x21, 0x00, u16::MAX, &vec![0; 65_535]);
    assert_eq!(ProxyHeader::read(&longest), Ok(Some((ProxyHeader::Unspecified, 65_551))));
}

#[test]
fn malformed_headers_of_version_2() {
    for (command, family, length) in [
        (0x11, 0x11, 12),
        (0x31, 0x11, 12),
        (0x01, 0x11, 12),
        (0x22, 0x11, 12),
        (0x2f, 0x11, 12),
        (0x21, 0x11, 11),
        (0x21, 0x11, 0),
        (0x21, 0x21, 35),
        (0x21, 0x31, 215),
        (0x21, 0x12, 12),
        (0x21, 0x22, 36),
        (0x21, 0x32, 216),
        (0x21, 0x10, 12),
        (0x21, 0x03, 12),
        (0x21, 0x41, 216),
    ] {
        let octets = v2_from(command, family, length, &[0; 216]);
        let read = ProxyHeader::read(&octets);
        assert_eq!(read, Err(ProxyHeaderError::Malformed), "{command:x} {family:x} {length}");
    }
}

#[test]
fn addresses_of_two_families_become_ipv6() {
    let mixed = tcp("192.0.2.1:1", "[2001:db8::1]:25");
    assert_eq!(v1(&mixed), "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 25\r\n");
    assert_eq!(mixed.source(), Some("[::ffff:192.0.2.1]:1".parse().unwrap()));
    assert_eq!(mixed.destination(), Some("[2001:db8::1]:25".parse().unwrap()));
}

#[test]
fn version_1_knows_tcp_only() {
    let unix = ProxyHeader::Unix { source: Box::new([7; 108]), destination: Box::new([0; 108]) };
    for header in [ProxyHeader::Local, ProxyHeader::Unspecified, unix] {
        assert_eq!(v1(&header), "PROXY UNKNOWN\r\n");
        assert_eq!((header.source(), header.destination()), (None, None));
    }
}

fn header() -> impl Strategy<Value = ProxyHeader> {
    let v4 = || any::<(Ipv4Addr, u16)>().prop_map(|(ip, port)| SocketAddrV4::new(ip, port));
    let v6 = || any::<(Ipv6Addr, u16)>().prop_map(|(ip, port)| SocketAddrV6::new(ip, port, 0, 0));
    let unix = || {
        any::<[u8; 32]>().prop_map(|name| {
            let mut path = Box::new([0; 108]);
            path[..32].copy_from_slice(&name);
            path
        })
    };
    prop_oneof![
        Just(ProxyHeader::Local),
        Just(ProxyHeader::Unspecified),
        (v4(), v4()).prop_map(|(source, destination)| ProxyHeader::Tcp4 { source, destination }),
        (v6(), v6()).prop_map(|(source, destination)| ProxyHeader::Tcp6 { source, destination }),
        (unix(), unix())
            .prop_map(|(source, destination)| ProxyHeader::Unix { source, destination }),
    ]
}

/// Asserts that a header is read as soon as its last octet has arrived, and that no octets after it
/// are taken.
fn comes_back(written: &[u8], header: &ProxyHeader) -> Result<(), TestCaseError> {
    for end in 0..written.len() {
        prop_assert_eq!(ProxyHeader::read(&written[..end]), Ok(None), "at {}", end);
    }
    for tail in ["", "\n", "EHLO a\r\n", "PROXY UNKNOWN\r\n"] {
        let input = [written, tail.as_bytes()].concat();
        prop_assert_eq!(ProxyHeader::read(&input), Ok(Some((header.clone(), written.len()))));
    }
    Ok(())
}

proptest! {
    #[test]
    fn proxy_headers_round_trip(header in header()) {
        comes_back(&v2(&header), &header)?;
        let in_v1 = match header {
            ProxyHeader::Tcp4 { .. } | ProxyHeader::Tcp6 { .. } => header.clone(),
            _ => ProxyHeader::Unspecified,
        };
        prop_assert!(v1(&header).len() <= 107);
        comes_back(&v1(&header), &in_v1)?;
    }

    #[test]
    fn arbitrary_input_does_not_panic(
        start in prop::sample::select(vec![b"".as_slice(), V1_START, b"PROXY TCP4 ", V2_SIGNATURE]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let input = [start, &rest].concat();
        if let Ok(Some((header, length))) = ProxyHeader::read(&input) {
            prop_assert!(length <= input.len());
            prop_assert_eq!(ProxyHeader::read(&input[..length]), Ok(Some((header, length))));
            prop_assert_eq!(ProxyHeader::read(&input[..length - 1]), Ok(None));
        }
    }

    /// With one octet changed, the parser neither panics nor takes more octets than there are.
    #[test]
    fn damaged_headers_are_judged(header in header(), at in any::<prop::sample::Index>(), octet: u8) {
        for mut written in [v1(&header), v2(&header)] {
            let at = at.index(written.len());
            written[at] = octet;
            if let Ok(Some((_, length))) = ProxyHeader::read(&written) {
                prop_assert!(length <= written.len());
            }
        }
    }
}
