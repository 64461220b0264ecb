//! Pseudonyms: replace addresses, names and IP addresses so that equal values stay equal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ring::hmac;
use ring::rand::SystemRandom;

use super::ClientForm;
use crate::network::Network;
use crate::wire::canonical::canonical_domain;

/// The domain of pseudonyms (RFC 2606 section 2).
const INVALID: &str = ".invalid";
/// The number of octets of a pseudonym before base 32: 80 bits.
const OCTETS: usize = 10;

/// A key of which pseudonyms are made. It is random, and it is never written.
pub(crate) struct Pseudonyms(hmac::Key);

impl Pseudonyms {
    /// Creates a key. `None` if the system has no random numbers.
    pub(crate) fn new() -> Option<Self> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok().map(Self)
    }

    fn hash(&self, kind: &[u8], text: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, &[kind, b"\0", text].concat())
    }

    fn name(&self, kind: &[u8], text: &[u8]) -> String {
        let digits = b"abcdefghijklmnopqrstuvwxyz234567";
        let hash = self.hash(kind, text);
        let octets = hash.as_ref()[..OCTETS].iter();
        let bits = octets.fold(0_u128, |bits, octet| bits << 8 | u128::from(*octet));
        let places = (0..OCTETS * 8 / 5).rev();
        places.map(|place| char::from(digits[(bits >> (5 * place) & 31) as usize])).collect()
    }

    /// Returns the pseudonym of a local part. `postmaster` is no personal data, and servers treat it
    /// in another way, so it stays.
    pub(super) fn local_part(&self, local_part: &str) -> String {
        match local_part.eq_ignore_ascii_case("postmaster") {
            true => local_part.to_owned(),
            false => self.name(b"local", local_part.to_lowercase().as_bytes()),
        }
    }

    /// Returns the pseudonym of a domain or host name. A name without a dot gets one without a dot.
    pub(super) fn domain(&self, domain: &str) -> String {
        let canonical = canonical_domain(domain);
        let suffix = if canonical.contains('.') { INVALID } else { "" };
        self.name(b"domain", canonical.as_bytes()) + suffix
    }

    /// Returns an IP address in this form.
    pub(super) fn address(&self, address: IpAddr, form: ClientForm) -> IpAddr {
        match (form, address) {
            (ClientForm::Plain, _) => address,
            (ClientForm::Network, IpAddr::V4(_)) => Network::of(address, 24).first(),
            (ClientForm::Network, IpAddr::V6(_)) => Network::of(address, 48).first(),
            (ClientForm::Pseudonym, IpAddr::V4(it)) => {
                let bits = self.prefixes(u128::from(it.to_bits()) << 96, 32) >> 96;
                Ipv4Addr::from_bits(bits as u32).into()
            }
            (ClientForm::Pseudonym, IpAddr::V6(it)) => {
                Ipv6Addr::from_bits(self.prefixes(it.to_bits(), 128)).into()
            }
        }
    }

    /// Flips each of the first `width` bits or not, depending on the key and the bits before it, so
    /// that two addresses share a prefix if and only if their pseudonyms share one of that length
    /// (Crypto-PAn).
    fn prefixes(&self, bits: u128, width: u32) -> u128 {
        let mut flips = 0;
        for length in 0..width {
            let before = if length == 0 { 0 } else { bits >> (128 - length) };
            let kind = [width as u8, length as u8];
            let hash = self.hash(&kind, &before.to_be_bytes());
            flips |= u128::from(hash.as_ref()[0] & 1) << (127 - length);
        }
        bits ^ flips
    }
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonyms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_get_equal_pseudonyms() {
        let names = Pseudonyms::new().unwrap();
        assert_eq!(names.domain("Example.ORG."), names.domain("example.org"));
        assert_eq!(names.local_part("Alice"), names.local_part("alice"));
        assert_ne!(names.domain("example.org"), names.domain("example.com"));
        assert_ne!(names.local_part("alice"), Pseudonyms::new().unwrap().local_part("alice"));
        assert_eq!(names.local_part("alice").len(), 16);
        assert_eq!(names.local_part("Postmaster"), "Postmaster");
        assert!(names.domain("example.org").ends_with(".invalid"));
        assert!(!names.domain("localhost").contains('.'));
    }

    #[test]
    fn pseudonyms_of_addresses_keep_common_prefixes() {
        let names = Pseudonyms::new().unwrap();
        let common = |one: u32, other: u32| (one ^ other).leading_zeros();
        let addresses: Vec<u32> = (0..200).map(|n: u32| n.wrapping_mul(0x9e37_79b9)).collect();
        let form = ClientForm::Pseudonym;
        let hidden: Vec<u32> = addresses
            .iter()
            .map(|bits| match names.address(Ipv4Addr::from_bits(*bits).into(), form) {
                IpAddr::V4(it) => it.to_bits(),
                IpAddr::V6(it) => panic!("{it}"),
            })
            .collect();
        for one in 0..addresses.len() {
            for other in 0..addresses.len() {
                let before = common(addresses[one], addresses[other]);
                assert_eq!(common(hidden[one], hidden[other]), before);
            }
        }
        let network = names.address("2001:db8:1:2::3".parse().unwrap(), ClientForm::Network);
        assert_eq!(network.to_string(), "2001:db8:1::");
    }
}
