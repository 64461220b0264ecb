//! Domain names, including the names for reverse lookups.

use std::borrow::Borrow;
#[cfg(feature = "sender-authentication")]
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

/// A domain name that can be looked up: lower case, without a trailing dot. Labels have 1 to 63
/// octets, and the whole name at most 253 (RFC 1035 section 2.3.4).
///
/// Parsing accepts letters, digits, hyphens and underscores. Non-ASCII names must be in A-label form
/// (`xn--…`, RFC 5890). Names that come from DNS or from [`from_octets`](Self::from_octets) may
/// contain any octet (RFC 2181 section 11). In their text form, special characters have a backslash
/// in front, and octets that are not printable are decimal numbers (`\.`, `\032`; RFC 1035 section
/// 5.1). A clone shares the text.
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
pub struct DomainName(Arc<str>);

/// The error for a text that is not a valid domain name. Fault of the source of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a domain name: expected at most 253 octets, with labels of 1 to 63 octets")]
pub struct DomainNameError;

/// Maximum length of a name, in octets of its text form.
const NAME: usize = 253;
/// Maximum length of a label.
const LABEL: usize = 63;

impl DomainName {
    /// Creates a name from octets in which each dot separates two labels. All other octets are taken
    /// as they are, without escapes. A trailing dot is removed.
    ///
    /// ```
    /// use nobounce::dns::DomainName;
    ///
    /// let name = DomainName::from_octets(b"0/25.2.0.192.IN-ADDR.arpa.")?;
    /// assert_eq!(&*name, "0/25.2.0.192.in-addr.arpa");
    /// assert_eq!(&*DomainName::from_octets(b"a b.example")?, r"a\032b.example");
    /// assert!(DomainName::from_octets(b"a..example").is_err());
    /// # Ok::<(), nobounce::dns::DomainNameError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if a label or the whole name is empty or too long.
    pub fn from_octets(text: &[u8]) -> Result<Self, DomainNameError> {
        let name = text.strip_suffix(b".").unwrap_or(text);
        if let Some(plain) = str::from_utf8(text).ok().and_then(|name| name.parse().ok()) {
            return Ok(plain);
        }
        Self::from_labels(name.split(|octet| *octet == b'.'))
    }

    /// Creates a name from labels with any octets, including dots.
    pub(crate) fn from_labels<'l>(
        labels: impl IntoIterator<Item = &'l [u8]>,
    ) -> Result<Self, DomainNameError> {
        let (mut text, mut length) = (String::new(), 0);
        for label in labels {
            if length > 0 {
                text.push('.');
            }
            length += label.len() + 1;
            if !(1..=LABEL).contains(&label.len()) || length > NAME + 1 {
                return Err(DomainNameError);
            }
            label.iter().for_each(|octet| escape(*octet, &mut text));
        }
        if text.is_empty() { Err(DomainNameError) } else { Ok(Self(text.into())) }
    }

    /// Returns the octets of each label, without escapes.
    pub(crate) fn labels(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut rest = self.0.bytes().peekable();
        std::iter::from_fn(move || {
            rest.peek()?;
            let mut label = Vec::new();
            while let Some(octet) = rest.next() {
                match octet {
                    b'.' => break,
                    b'\\' => label.push(unescape(&mut rest)),
                    _ => label.push(octet),
                }
            }
            Some(label)
        })
    }

    /// Returns whether the name consists of letters, digits, hyphens and underscores. Only such
    /// names are written into header fields and commands.
    ///
    /// ```
    /// use nobounce::dns::DomainName;
    ///
    /// assert!(DomainName::from_octets(b"mx.example.org")?.is_plain());
    /// assert!(!DomainName::from_octets(b"mx(.example.org")?.is_plain());
    /// # Ok::<(), nobounce::dns::DomainNameError>(())
    /// ```
    pub fn is_plain(&self) -> bool {
        self.0.bytes().all(|octet| is_plain(octet) || octet == b'.')
    }

    /// Returns whether the name is this domain or below it.
    #[cfg(any(test, feature = "sender-authentication", feature = "testing"))]
    pub(crate) fn is_within(&self, domain: &Self) -> bool {
        let Some(above) = self.0.strip_suffix(&*domain.0) else { return false };
        // An escaped dot in a label does not separate labels.
        let separated = above.strip_suffix('.').is_some_and(|labels| {
            let backslashes = labels.bytes().rev().take_while(|octet| *octet == b'\\').count();
            backslashes % 2 == 0
        });
        above.is_empty() || separated
    }

    /// Returns the name of the PTR record of an address: `1.2.0.192.in-addr.arpa` (RFC 1035 section
    /// 3.5), or 32 nibbles and `ip6.arpa` (RFC 3596 section 2.5).
    pub fn reverse(address: IpAddr) -> Self {
        let zone = if address.to_canonical().is_ipv4() { "in-addr.arpa" } else { "ip6.arpa" };
        Self(format!("{}.{zone}", reversed(address)).into())
    }

    /// Returns this name with labels in front, as for a blocklist query. Fails if the result is too
    /// long.
    pub(crate) fn below(&self, labels: &str) -> Result<Self, DomainNameError> {
        let is_name = labels.split('.').all(is_label) && labels.len() + 1 + self.len() <= NAME;
        if !is_name || !self.is_plain() {
            return Err(DomainNameError);
        }
        let mut name = String::with_capacity(labels.len() + 1 + self.len());
        name.push_str(labels);
        name.make_ascii_lowercase();
        name.push('.');
        name.push_str(self);
        Ok(Self(name.into()))
    }

    /// Returns the name without its first label, or `None` if it has only one.
    #[cfg(feature = "sender-authentication")]
    pub(crate) fn parent(&self) -> Option<Self> {
        let mut escaped = false;
        let dot = self.0.bytes().position(|octet| {
            let ends = octet == b'.' && !escaped;
            escaped = octet == b'\\' && !escaped;
            ends
        })?;
        Some(Self(self.0[dot + 1..].into()))
    }

    /// Returns whether the name has more than one label.
    pub(crate) fn has_dot(&self) -> bool {
        self.0.contains('.')
    }
}

/// Converts U-labels to A-labels (RFC 8616 section 4). Returns `None` for text that is not a valid
/// name. ASCII text is unchanged.
#[cfg(feature = "sender-authentication")]
pub(crate) fn a_labels(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if text.is_ascii() {
        return Some(text.into());
    }
    let converted = idna::domain_to_ascii_cow(text, idna::AsciiDenyList::EMPTY).ok()?;
    Some(converted.into_owned().into_bytes().into())
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

/// Returns whether this is a label of a plain name.
fn is_label(text: &str) -> bool {
    (1..=LABEL).contains(&text.len()) && text.bytes().all(is_plain)
}

fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_')
}

/// Writes an octet of a label as in a master file (RFC 1035 section 5.1, RFC 4343 section 2.1).
fn escape(octet: u8, text: &mut String) {
    match octet {
        b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
            text.push('\\');
            text.push(octet.into());
        }
        0x21..=0x7e => text.push(octet.to_ascii_lowercase().into()),
        _ => {
            text.push('\\');
            // Digits of the decimal number, without an allocation for each octet.
            text.extend([octet / 100, octet / 10 % 10, octet % 10].map(|it| char::from(b'0' + it)));
        }
    }
}

/// Reads an escape after its backslash.
fn unescape(rest: &mut impl Iterator<Item = u8>) -> u8 {
    let digit = |octet: Option<u8>| octet.unwrap_or(b'0').wrapping_sub(b'0');
    match rest.next() {
        Some(hundreds @ b'0'..=b'2') => {
            let (tens, ones) = (digit(rest.next()), digit(rest.next()));
            digit(Some(hundreds))
                .wrapping_mul(100)
                .wrapping_add(tens.wrapping_mul(10))
                .wrapping_add(ones)
        }
        other => other.unwrap_or(b'\\'),
    }
}

impl FromStr for DomainName {
    type Err = DomainNameError;

    fn from_str(text: &str) -> Result<Self, DomainNameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_name = name.len() <= NAME && name.split('.').all(is_label);
        if !is_name {
            return Err(DomainNameError);
        }
        // Nearly all names are in lower case.
        match name.bytes().any(|octet| octet.is_ascii_uppercase()) {
            true => Ok(Self(name.to_ascii_lowercase().into())),
            false => Ok(Self(name.into())),
        }
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
    fn labels_keep_every_octet_but_the_case_of_letters() {
        let all: Vec<u8> = (0..=255).collect();
        let labels: Vec<Vec<u8>> = all.chunks(50).map(<[u8]>::to_vec).collect();
        for labels in labels.chunks(4) {
            let name = DomainName::from_labels(labels.iter().map(|it| &**it)).unwrap();
            let lower: Vec<_> = labels.iter().map(|it| it.to_ascii_lowercase()).collect();
            assert_eq!(name.labels().collect::<Vec<_>>(), lower, "{name}");
            assert!(name.bytes().all(|octet| octet.is_ascii_graphic()), "{name}");
            assert!(!name.is_plain());
        }
        for (octets, text) in [
            (&b"0/25.2.0.192.in-addr.arpa"[..], "0/25.2.0.192.in-addr.arpa"),
            (b"A.B.", "a.b"),
            (b"a b", r"a\032b"),
            (b"a\\.(b)", r"a\\.\(b\)"),
            (b"\xff\0", r"\255\000"),
            (b"\x09\x7f\xc8", r"\009\127\200"),
        ] {
            assert_eq!(&*DomainName::from_octets(octets).unwrap(), text);
        }
        assert_eq!(&*DomainName::from_labels([&b"a.b"[..], b"c"]).unwrap(), r"a\.b.c");
        let longest = format!("{0}.{0}.{0}.{1}", "x".repeat(63), "x".repeat(61));
        assert!(DomainName::from_octets(longest.as_bytes()).is_ok());
        for octets in
            [&b""[..], b".", b"a..b", b".a", &[b'x'; 64], format!("{longest}x").as_bytes()]
        {
            assert_eq!(DomainName::from_octets(octets), Err(DomainNameError));
        }
    }

    #[test]
    fn a_name_is_within_its_own_domain_and_those_above() {
        let name = |octets: &[u8]| DomainName::from_octets(octets).unwrap();
        let within = |one: &[u8], two: &[u8]| name(one).is_within(&name(two));
        assert!(within(b"a.example", b"a.example"));
        assert!(within(b"b.A.example", b"a.example"));
        assert!(!within(b"ba.example", b"a.example"));
        assert!(!within(b"example", b"a.example"));
        assert!(within(b"b\\.a.example", b"a.example"));
        let dotted = DomainName::from_labels([&b"b.a"[..], b"example"]).unwrap();
        assert!(!dotted.is_within(&name(b"a.example")) && dotted.is_within(&name(b"example")));
    }

    #[cfg(feature = "sender-authentication")]
    #[test]
    fn parent_lacks_the_first_label() {
        let name = DomainName::from_labels([&b"a.b\\"[..], b"Example", b"org"]).unwrap();
        let parents = std::iter::successors(name.parent(), DomainName::parent);
        assert_eq!(parents.map(|it| it.to_string()).collect::<Vec<_>>(), ["example.org", "org"]);
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
