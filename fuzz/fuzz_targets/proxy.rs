//! PROXY headers, versions 1 and 2, from untrusted peers.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use nobounce::proxy::ProxyHeader;

fuzz_target!(|input: &[u8]| {
    let whole = ProxyHeader::read(input);
    // Every prefix is incomplete, or has the same fault as the whole input.
    let taken = match &whole {
        Ok(Some((_, taken))) => *taken,
        _ => input.len(),
    };
    assert!(taken <= input.len());
    for end in 0..taken {
        match ProxyHeader::read(&input[..end]) {
            Ok(None) => {}
            Ok(Some(_)) => panic!("accepted as complete after {end} octets"),
            Err(fault) => assert_eq!(whole, Err(fault)),
        }
    }
    if let Ok(Some((header, taken))) = &whole {
        // Octets after the header do not change the result.
        assert_eq!(ProxyHeader::read(&input[..*taken]), whole);
        if input.starts_with(b"PROXY ") {
            assert!(*taken <= 107 && input[..*taken].ends_with(b"\r\n"));
        } else {
            assert_eq!(*taken, 16 + usize::from(u16::from_be_bytes([input[14], input[15]])));
        }
        let mut octets = BytesMut::new();
        header.write_v2(&mut octets);
        assert_eq!(ProxyHeader::read(&octets), Ok(Some((header.clone(), octets.len()))));

        let mut octets = BytesMut::new();
        header.write_v1(&mut octets);
        let said = if header.source().is_some() { header } else { &ProxyHeader::Unspecified };
        assert_eq!(ProxyHeader::read(&octets), Ok(Some((said.clone(), octets.len()))));
    } else if whole == Ok(None) {
        let longest = if input.starts_with(b"PROXY ") { 107 } else { 65_551 };
        assert!(input.len() < longest, "{} octets and no end", input.len());
    }
});
