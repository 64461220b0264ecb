//! Domain names, including the names for reverse lookups.

use std::borrow::Borrow;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::str::FromStr;

/// A domain name that can be looked up: lower case, without a trailing dot. It consists of letters,
/// digits, hyphens and underscores. Labels have 1 to 63 octets, and the whole name at most 253 (RFC
/// 1035 section 2.3.4).
///
/// Non-ASCII names must be in A-label form (`xn--…`, RFC 5890).
///
/// ```
/// use nobounce::dns::DomainName;
///
/// let name: DomainName = "MX.Example.ORG.".parse()?;
/// assert_eq!(&*name, "mx.example.org");
/// assert!("mx..example.org".parse::<DomainName>().is_err());
/// # Ok::<(), nobounce::dns::DomainNameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(Box<str>);

/// The error for a text that is not a valid domain name. Fault of the source of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a domain name: expected at most 253 octets, with labels of 1 to 63 octets")]
pub struct DomainNameError;

/// Maximum length of a name, in octets of its text form.
const NAME: usize = 253;
/// Maximum length of a label.
const LABEL: usize = 63;

impl DomainName {
    /// Returns the name of the PTR record of an address: `1.2.0.192.in-addr.arpa` (RFC 1035 section
    /// 3.5), or 32 nibbles and `ip6.arpa` (RFC 3596 section 2.5).
    pub fn reverse(address: IpAddr) -> Self {
        let zone = if address.to_canonical().is_ipv4() { "in-addr.arpa" } else { "ip6.arpa" };
        Self(format!("{}.{zone}", reversed(address)).into())
    }

    /// Returns this name with labels in front, as for a blocklist query. Fails if the result is too
    /// long.
    pub(crate) fn below(&self, labels: &str) -> Result<Self, DomainNameError> {
        format!("{labels}.{self}").parse()
    }

    /// Returns whether the name has more than one label.
    pub(crate) fn has_dot(&self) -> bool {
        self.0.contains('.')
    }
}

/// Returns the octets of an IPv4 address or the nibbles of an IPv6 address in reverse order,
/// separated by dots (RFC 5782 sections 2.1 and 2.4).
pub(crate) fn reversed(address: IpAddr) -> String {
    let parts: Vec<String> = match address.to_canonical() {
        IpAddr::V4(address) => address.octets().iter().rev().map(u8::to_string).collect(),
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|it| [it & 15, it >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}")).collect()
        }
    };
    parts.join(".")
}

impl FromStr for DomainName {
    type Err = DomainNameError;

    fn from_str(text: &str) -> Result<Self, DomainNameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        let is_label = |label: &str| (1..=LABEL).contains(&label.len()) && label.bytes().all(plain);
        let is_name = name.len() <= NAME && name.split('.').all(is_label);
        if is_name { Ok(Self(name.to_ascii_lowercase().into())) } else { Err(DomainNameError) }
    }
}

impl Deref for DomainName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for DomainName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names() {
        let label = "x".repeat(LABEL);
        let longest = [&*label, &label, &label, &label[2..]].join(".");
        for (text, name) in [
            ("example", "example"),
            ("Example.ORG", "example.org"),
            ("example.org.", "example.org"),
            ("_dmarc.example.org", "_dmarc.example.org"),
            ("a-b.xn--mnchen-3ya.example", "a-b.xn--mnchen-3ya.example"),
            ("1.2.0.192.in-addr.arpa", "1.2.0.192.in-addr.arpa"),
            (&label, &label),
            (&longest, &longest),
        ] {
            assert_eq!(&*text.parse::<DomainName>().unwrap(), name);
        }
        for text in [
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            "a\\.b",
            "a@b",
            "[192.0.2.1]",
            "m\u{fc}nchen.example",
            "a\r\nb",
            "a\0",
            &format!("{label}x"),
            &format!("{longest}x"),
        ] {
            assert_eq!(text.parse::<DomainName>(), Err(DomainNameError), "{text:?}");
        }
    }

    #[test]
    fn addresses_are_reversed() {
        let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.f.e.d.c.8.b.d.0.1.0.0.2";
        for (address, labels, name) in [
            ("192.0.2.1", "1.2.0.192", "1.2.0.192.in-addr.arpa"),
            ("255.0.10.9", "9.10.0.255", "9.10.0.255.in-addr.arpa"),
            ("2001:db8:cdef::1", nibbles, &*format!("{nibbles}.ip6.arpa")),
            ("::ffff:192.0.2.1", "1.2.0.192", "1.2.0.192.in-addr.arpa"),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(reversed(address), labels);
            assert_eq!(&*DomainName::reverse(address), name);
        }
    }

    #[test]
    fn name_that_is_too_long_is_not_queried() {
        let zone: DomainName = "list.example".parse().unwrap();
        assert_eq!(&*zone.below("1.2.0.192").unwrap(), "1.2.0.192.list.example");
        assert!(zone.below("a.".repeat(121).trim_end_matches('.')).is_err());
        assert!(zone.below("").is_err());
    }
}
