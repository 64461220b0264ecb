use super::*;

#[test]
fn key_records_are_read() {
    use KeyFault::{Malformed, UnknownType, Version};
    let ed25519 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    for (record, fault) in [
        ("p=", None),
        ("v=DKIM1; p=", None),
        ("v=DKIM1 ; k=rsa ; t=y:s ; s=email ; h=sha1:sha256 ; n=note ; x-y=1", Some(Malformed)),
        ("p=;", None),
        ("n=a note; g=*; future=1; p=", None),
        ("k=rsa", Some(Malformed)),
        ("", Some(Malformed)),
        ("v=DKIM1", Some(Malformed)),
        ("v=DKIM2; p=", Some(Version)),
        ("v=dkim1; p=", Some(Version)),
        ("v=spf1 -all", Some(Version)),
        ("p=; p=", Some(Malformed)),
        ("p=!", Some(Malformed)),
        ("p=TWFu", Some(Malformed)),
        ("k=ed25519; p=TWFu", Some(Malformed)),
        ("k=ecdsa; p=TWFu", Some(UnknownType)),
        (&format!("k=ed25519; p={ed25519}"), None),
        (&format!("k=ed25519; p={ed25519}AAAA"), Some(Malformed)),
    ] {
        assert_eq!(KeyRecord::parse(record.as_bytes()).err(), fault, "{record}");
    }
}

#[test]
fn flags_are_read() {
    for (record, [sha256, email, testing, strict]) in [
        ("p=", [true, true, false, false]),
        ("t=y; p=", [true, true, true, false]),
        ("t= s : y :z; p=", [true, true, true, true]),
        ("t=Y; p=", [true, true, false, false]),
        ("h=sha1; p=", [false, true, false, false]),
        ("h=sha512 : sha256; p=", [true, true, false, false]),
        ("h=; p=", [false, true, false, false]),
        ("s=email; p=", [true, true, false, false]),
        ("s=tlsrpt:*; p=", [true, true, false, false]),
        ("s=tlsrpt; p=", [true, false, false, false]),
    ] {
        let key = KeyRecord::parse(record.as_bytes()).unwrap();
        let found = [key.sha256, key.email, key.testing, key.strict];
        assert_eq!(found, [sha256, email, testing, strict], "{record}");
    }
}

#[test]
fn malformed_der_is_refused() {
    // A sequence of the integers 0xff and 3.
    let key = b"\x30\x07\x02\x02\x00\xff\x02\x01\x03";
    assert!(rsa(key).is_some());
    for (der, why) in [
        (&key[..8], "truncated"),
        (&[&key[..], b"\0"].concat(), "something follows"),
        (b"\x30\x06\x02\x01\xff\x02\x01\x03", "negative"),
        (b"\x30\x06\x02\x01\x00\x02\x01\x03", "zero"),
        (b"\x30\x05\x02\x00\x02\x01\x03", "no digits"),
        (b"\x30\x0a\x02\x02\x00\xff\x02\x01\x03\x02\x01\x03", "three integers"),
        (b"\x30\x84\x00\x00\x00\x07\x02\x02\x00\xff\x02\x01\x03", "a length of four octets"),
        (b"\x31\x07\x02\x02\x00\xff\x02\x01\x03", "no sequence"),
        (b"", "empty"),
    ] {
        assert!(rsa(der).is_none(), "{why}");
    }
}

#[test]
fn rsa_key_of_1024_to_4096_bits_is_used() {
    use KeyFault::{Mismatch, Size};
    for (bits, fault) in [
        // ring accepts these: it rounds the size up to whole octets.
        (1_017, Size(1_017)),
        (1_023, Size(1_023)),
        (1_024, Mismatch),
        (4_096, Mismatch),
        (4_097, Size(4_097)),
        (8_192, Size(8_192)),
    ] {
        let mut modulus = vec![0_u8; usize::div_ceil(bits, 8)];
        modulus[0] = 1 << ((bits - 1) % 8);
        *modulus.last_mut().unwrap() |= 1;
        let signature = vec![0; modulus.len()];
        let key = KeyRecord {
            key: PublicKey::Rsa { modulus, exponent: vec![1, 0, 1] },
            sha256: true,
            email: true,
            testing: false,
            strict: false,
        };
        let found = key.verify(Algorithm::RsaSha256, &Signed::new(b"x"), &signature);
        assert_eq!(found, Err(fault));
    }
}
