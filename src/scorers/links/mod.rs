//! Where the links of a message lead.

mod reference;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use linkify::{LinkFinder, LinkKind};

use crate::dns::DomainName;
use crate::message::MessageView;

/// Most text that is read in one message, in octets.
const TEXT: usize = 1 << 20;
/// Longest part of a link that may hold a host, in octets: a name of 253, escaped, and who logs in.
const AUTHORITY: usize = 2_048;

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Host {
    /// The registered domain, by the Public Suffix List.
    Domain(DomainName),
    Address(IpAddr),
}

/// The hosts of all links in a message, each once, in the order in which they stand.
pub(super) fn hosts(message: &MessageView) -> Vec<Host> {
    let mut found = Found::default();
    let mut room = TEXT;
    for part in message.parts() {
        if room == 0 {
            break;
        }
        let Some(text) = part.text_head(room) else {
            continue;
        };
        let text = head(&text, room);
        room -= text.len();
        if part.content_type() == "text/html" {
            found.look_through(&reference::resolve(text));
        } else {
            found.look_through(text);
        }
    }
    found.hosts
}

#[derive(Default)]
struct Found {
    hosts: Vec<Host>,
    known: HashSet<Host>,
}

impl Found {
    fn look_through(&mut self, text: &str) {
        let mut at: Vec<(usize, Option<Host>)> = with_slashes(text).collect();
        let mut finder = LinkFinder::new();
        finder.url_must_have_scheme(false).url_can_be_iri(false);
        for link in finder.links(text) {
            at.push((link.start(), plain(link.as_str(), link.kind())));
        }
        at.sort_by_key(|(at, _)| *at);
        for host in at.into_iter().filter_map(|(_, host)| host) {
            if self.known.insert(host.clone()) {
                self.hosts.push(host);
            }
        }
    }
}

/// As much of `text` as fits.
fn head(text: &str, room: usize) -> &str {
    let mut end = text.len().min(room);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What follows two slashes, or `http:` and one: browsers take a backslash for a slash, and do not mind
/// how many there are.
fn with_slashes(text: &str) -> impl Iterator<Item = (usize, Option<Host>)> {
    let octets = text.as_bytes();
    let slash = |octet: u8| octet == b'/' || octet == b'\\';
    let begins = (1..octets.len()).filter(move |&at| {
        let after_slash = slash(octets[at - 1]);
        !slash(octets[at]) && after_slash && {
            let run = octets[..at].iter().rev().take_while(|octet| slash(**octet)).count();
            run > 1 || ends_in_scheme(&octets[..at - 1])
        }
    });
    begins.map(|at| (at, authority(&text[at..]).and_then(host)))
}

fn ends_in_scheme(octets: &[u8]) -> bool {
    [&b"http:"[..], b"https:"].iter().any(|scheme| {
        let begin = octets.len().checked_sub(scheme.len());
        begin.is_some_and(|begin| octets[begin..].eq_ignore_ascii_case(scheme))
    })
}

/// The host at the front of what follows the slashes (RFC 3986 section 3.2): who logs in before it and
/// the port behind it are left out.
fn authority(text: &str) -> Option<&str> {
    let ends = |c: char| "/?#\\<>\"'`".contains(c) || c.is_whitespace() || c.is_control();
    let text = head(text, AUTHORITY);
    let text = &text[..text.find(ends).unwrap_or(text.len())];
    let text = text.rsplit_once('@').map_or(text, |(_, host)| host);
    match text.strip_prefix('[') {
        Some(literal) => literal.split_once(']').map(|(literal, _)| literal),
        None => text.split(':').next(),
    }
}

/// A host behind slashes: a name, or an address in any spelling that browsers take.
fn host(text: &str) -> Option<Host> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(Host::Address(address.to_canonical()));
    }
    let text = unescape(text)?;
    // A sentence may end behind a link.
    let text = text.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    match number_address(text) {
        Some(address) => Some(Host::Address(address.into())),
        None => registered(text),
    }
}

/// A link without slashes, as `www.example.com/x`, and a mail address.
fn plain(link: &str, kind: &LinkKind) -> Option<Host> {
    let name = match kind {
        LinkKind::Email => link.rsplit_once('@')?.1,
        _ if link.contains("//") => return None,
        _ => link.split(['/', '?', '#', ':']).next()?,
    };
    registered(name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()))
}

/// The registered domain of a name, if it is below a suffix that exists. Addresses are none.
fn registered(name: &str) -> Option<Host> {
    let name: DomainName = name.parse().ok()?;
    if number_address(&name).is_some() {
        return None;
    }
    let domain = psl::domain(name.as_bytes()).filter(|domain| domain.suffix().is_known())?;
    Some(Host::Domain(str::from_utf8(domain.as_bytes()).ok()?.parse().ok()?))
}

/// Resolves `%2e`.
fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut octets = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let escaped = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        octets.push(escaped?);
        octets.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(octets).ok()
}

/// An IPv4 address as browsers read it (WHATWG URL, "IPv4 parser"): up to four numbers, decimal, octal
/// behind `0` or hexadecimal behind `0x`, of which the last fills what is left.
fn number_address(text: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| {
        let lower = part.to_ascii_lowercase();
        match (lower.strip_prefix("0x"), lower.strip_prefix('0')) {
            (Some(""), _) | (_, Some("")) => Some(0),
            (Some(hexadecimal), _) => digits(hexadecimal, 16),
            (_, Some(octal)) => digits(octal, 8),
            _ => digits(&lower, 10),
        }
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    let numbers = text.split('.').map(number).collect::<Option<Vec<u64>>>()?;
    let (last, others) = numbers.split_last()?;
    let left = 4_usize.checked_sub(others.len()).filter(|left| *left > 0)?;
    if others.iter().any(|octet| *octet > 255) || *last >= 1 << (8 * left) {
        return None;
    }
    let others = others.iter().zip([24, 16, 8]).map(|(octet, shift)| octet << shift);
    u32::try_from(others.sum::<u64>() + last).ok().map(Ipv4Addr::from)
}

/// A number without a sign.
fn digits(text: &str, radix: u32) -> Option<u64> {
    let plain = text.chars().all(|c| c.is_digit(radix));
    plain.then(|| u64::from_str_radix(text, radix).ok()).flatten()
}

#[cfg(test)]
mod tests;
