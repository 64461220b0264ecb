//! Hosts of links: domain names and IP addresses, as browsers read them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use idna::AsciiDenyList;

use super::percent;

/// Maximum length of a host that is read, in octets. Only the end of a longer host is read. A
/// domain name has at most 253 octets.
const HOST: usize = 1_024;
/// Maximum length of a label that is converted, in octets. Conversion takes quadratic time. A label
/// has at most 63 octets as an A-label, and 567 as percent-encoded UTF-8.
const LABEL: usize = 600;

/// The host of a link: a domain name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkHost {
    /// A domain name.
    Domain(LinkDomain),
    /// An IP address. An IPv4-mapped IPv6 address is an IPv4 address here.
    Address(IpAddr),
}

/// The domain name of a link: A-labels in lower case (UTS 46), without a trailing dot.
///
/// It may contain empty labels and characters that DNS does not allow, because browsers accept them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinkDomain {
    name: Box<str>,
    /// Offset of the registered domain in the name.
    registered: Option<usize>,
}

impl LinkDomain {
    fn new(name: &str) -> Option<Self> {
        let name = name.trim_matches('.').to_ascii_lowercase();
        if name.is_empty() {
            return None;
        }
        let registered = psl::domain(name.as_bytes())
            .filter(|domain| domain.suffix().is_known() && !domain.as_bytes().starts_with(b"."))
            .map(|domain| name.len() - domain.as_bytes().len());
        Some(Self { name: name.into(), registered })
    }

    /// Returns the whole name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the registered domain by the Public Suffix List: `example.co.uk` for
    /// `www.example.co.uk`. Returns `None` if the name is a public suffix, or is not below one.
    pub fn registered(&self) -> Option<&str> {
        self.name.get(self.registered?..)
    }
}

impl LinkHost {
    /// Returns the registered domain. Returns `None` for an address, and for a name without one.
    pub fn registered(&self) -> Option<&str> {
        match self {
            Self::Domain(domain) => domain.registered(),
            Self::Address(_) => None,
        }
    }

    /// Returns whether the host exists on the internet: an address, or a name with a registered
    /// domain.
    pub(super) fn is_known(&self) -> bool {
        matches!(self, Self::Address(_)) || self.registered().is_some()
    }

    /// Returns whether both are the same address, or belong to the same registered domain. Names
    /// without a registered domain are compared as a whole.
    pub(super) fn is_near(&self, other: &Self) -> bool {
        match (self.registered(), other.registered()) {
            (None, None) => self == other,
            (one, two) => one == two,
        }
    }

    /// Converts the host of a URL whose scheme the URL standard knows.
    pub(super) fn of(host: url::Host<&str>) -> Option<Self> {
        match host {
            url::Host::Domain(name) => LinkDomain::new(name).map(Self::Domain),
            url::Host::Ipv4(address) => Some(Self::Address(address.into())),
            url::Host::Ipv6(address) => Some(Self::Address(address.to_canonical())),
        }
    }

    /// Parses the part of a URL between the slashes and the path, also if the URL standard rejects
    /// it. An invalid label and the labels before it are removed.
    pub(super) fn lenient(authority: &str) -> Option<Self> {
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if let Some((literal, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            let literal = literal.split('%').next()?;
            return literal.parse().ok().map(|it: Ipv6Addr| Self::Address(it.to_canonical()));
        }
        let host = host.split(':').next()?;
        let host = percent::decoded(tail(host));
        let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        if last.starts_with(|c: char| c.is_ascii_digit())
            && let Ok(url::Host::Ipv4(address)) = url::Host::parse(&host)
        {
            return Some(Self::Address(address.into()));
        }
        let host = host.trim_matches(|c: char| !(c.is_alphanumeric() || ".-_".contains(c)));
        let host = host.trim_matches(is_dot);
        let mut labels: Vec<String> = host.rsplit(is_dot).map_while(label).collect();
        labels.reverse();
        LinkDomain::new(&labels.join(".")).map(Self::Domain)
    }
}

/// Returns whether the host has labels that are too long to be converted.
pub(super) fn is_costly(authority: &str) -> bool {
    let is_plain = authority.is_ascii() && !authority.contains('%');
    !is_plain && authority.split(is_dot).any(|label| label.len() > LABEL)
}

/// Converts a label to an A-label.
fn label(label: &str) -> Option<String> {
    if label.len() > LABEL {
        return None;
    }
    let ascii = |label: &str| {
        let label = idna::domain_to_ascii_cow(label.as_bytes(), AsciiDenyList::URL).ok()?;
        Some(label.into_owned())
    };
    ascii(label).or_else(|| {
        // Joiners are invalid in most places. Some programs ignore them everywhere.
        let visible: String = label.chars().filter(|c| !is_ignored(*c)).collect();
        (visible.len() < label.len()).then(|| ascii(&visible)).flatten()
    })
}

/// Returns whether the character separates labels (UTS 46 section 4), or looks like such a
/// character.
pub(super) fn is_dot(c: char) -> bool {
    matches!(c, '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}' | '\u{2024}' | '\u{fe52}')
}

/// Returns whether the character is not displayed: soft hyphen, zero-width characters, joiners and
/// direction marks.
pub(super) fn is_ignored(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Returns the end of a long host.
fn tail(host: &str) -> &str {
    let mut start = host.len().saturating_sub(HOST);
    while !host.is_char_boundary(start) {
        start += 1;
    }
    &host[start..]
}

impl fmt::Display for LinkHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => domain.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for LinkDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
