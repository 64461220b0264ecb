//! The subject of an evaluation: the client, its HELO name and the sender.

use std::net::IpAddr;

use crate::dns::{DomainName, a_labels};

/// The values that macros expand to (RFC 7208 section 7.2) and that do not change during an
/// evaluation.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// An IPv4-mapped address is an IPv4 address.
    pub(super) client: IpAddr,
    /// The address as text: four decimal numbers, or 32 nibbles, separated by dots.
    pub(super) address: Box<[u8]>,
    pub(super) helo: Box<[u8]>,
    /// Local part and domain with `@` between them.
    pub(super) sender: Box<[u8]>,
    /// Length of the local part.
    local_part: usize,
    /// The domain that is checked. `None` if it cannot be checked.
    pub(super) domain: Option<DomainName>,
}

impl Subject {
    /// Creates the subject for the HELO identity: `postmaster` at the HELO name.
    pub(super) fn helo(client: IpAddr, helo: &[u8]) -> Self {
        Self::new(client, helo, b"postmaster", helo)
    }

    /// Creates the subject for the MAIL FROM identity. An empty local part becomes `postmaster`
    /// (RFC 7208 section 4.3).
    pub(super) fn mail_from(client: IpAddr, helo: &[u8], sender: &[u8]) -> Self {
        let at = sender.iter().rposition(|octet| *octet == b'@');
        let (local_part, domain) = match at {
            Some(at) => (&sender[..at], &sender[at + 1..]),
            None => (sender, &b""[..]),
        };
        let local_part = if local_part.is_empty() { b"postmaster" } else { local_part };
        Self::new(client, helo, local_part, domain)
    }

    fn new(client: IpAddr, helo: &[u8], local_part: &[u8], domain: &[u8]) -> Self {
        let client = client.to_canonical();
        let address = match client {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let nibbles = address.octets().into_iter().flat_map(|it| [it >> 4, it & 15]);
                let nibbles: Vec<_> = nibbles.map(|it| format!("{it:x}")).collect();
                nibbles.join(".")
            }
        };
        let domain_text = with_a_labels(domain);
        Self {
            client,
            address: address.into_bytes().into(),
            helo: with_a_labels(helo),
            sender: [local_part, b"@", &domain_text].concat().into(),
            local_part: local_part.len(),
            domain: checkable(&domain_text),
        }
    }

    pub(super) fn local_part(&self) -> &[u8] {
        &self.sender[..self.local_part]
    }

    /// Returns the domain of the sender, as text.
    pub(super) fn sender_domain(&self) -> &[u8] {
        &self.sender[self.local_part + 1..]
    }
}

/// Returns the name of a domain, or `None` if it cannot have a policy, such as an address literal.
fn checkable(text: &[u8]) -> Option<DomainName> {
    if text.starts_with(b"[") || !text.is_ascii() {
        return None;
    }
    DomainName::from_octets(text).ok().filter(is_checkable)
}

/// Returns whether a name can have a policy: it has several labels (RFC 7208 section 4.3).
pub(super) fn is_checkable(name: &DomainName) -> bool {
    name.labels().nth(1).is_some()
}

/// Converts U-labels to A-labels. Text that is not a valid name is unchanged.
fn with_a_labels(domain: &[u8]) -> Box<[u8]> {
    a_labels(domain).map_or_else(|| domain.into(), |it| it.into_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_that_can_be_checked_is_a_name_of_several_labels() {
        let client = "192.0.2.1".parse().unwrap();
        let domain = |sender: &[u8]| {
            let subject = Subject::mail_from(client, b"", sender);
            subject.domain.map(|it| it.to_string())
        };
        for (sender, expected) in [
            (&b"a@Example.ORG"[..], "example.org"),
            (b"a@example.org.", "example.org"),
            (b"a@b@example.org", "example.org"),
            (b"\"a@b\"@example.org", "example.org"),
            (b"@example.org", "example.org"),
            (b"\xff@_a-.example.org", "_a-.example.org"),
            ("ü@Bücher.example".as_bytes(), "xn--bcher-kva.example"),
            ("ü@bu\u{308}cher.example".as_bytes(), "xn--bcher-kva.example"),
            ("ü@例え。テスト".as_bytes(), "xn--r8jz45g.xn--zckzah"),
        ] {
            assert_eq!(domain(sender).as_deref(), Some(expected), "{}", sender.escape_ascii());
        }
        let long = format!("a@{}.example", "x".repeat(64));
        for sender in [
            &b"a"[..],
            b"a@",
            b"a@localhost",
            b"a@localhost.",
            b"a@[192.0.2.1]",
            b"a@[IPv6:2001:db8::1]",
            b"a@example..org",
            b"a@.example.org",
            b"a@b\xfccher.example",
            "a@\u{200b}\u{fffd}.example".as_bytes(),
            long.as_bytes(),
        ] {
            assert_eq!(domain(sender), None, "{}", sender.escape_ascii());
        }
    }

    #[test]
    fn values_of_macros() {
        let of = |client: &str, sender: &str| {
            let subject = Subject::mail_from(client.parse().unwrap(), b"h\xfc", sender.as_bytes());
            let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
            [&*subject.address, subject.local_part(), &subject.sender, subject.sender_domain()]
                .map(text)
        };
        assert_eq!(of("192.0.2.1", "@A.B"), ["192.0.2.1", "postmaster", "postmaster@A.B", "A.B"]);
        assert_eq!(of("::ffff:192.0.2.1", "a.b"), ["192.0.2.1", "a.b", "a.b@", ""]);
        let nibbles = "2.0.0.1.0.d.b.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.c.b.0.1";
        assert_eq!(of("2001:db8::cb01", "x@ü.b"), [nibbles, "x", "x@xn--tda.b", "xn--tda.b"]);
        let subject = Subject::helo("192.0.2.1".parse().unwrap(), b"mx.example.org");
        assert_eq!(&*subject.sender, b"postmaster@mx.example.org");
    }
}
