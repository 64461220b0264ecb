//! Return codes of lists, as whoever configures them writes them.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Return codes of a DNS list, in the notation of Postfix (`postscreen_dnsbl_sites`): four octets, each
/// a number, or numbers and ranges in brackets: `127.0.0.[2;4..7]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes([Vec<RangeInclusive<u8>>; 4]);

/// Not return codes. The fault is that of whoever wrote them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a return code like 127.0.0.2 or 127.0.[0..255].[1;3]")]
pub struct BadCodes(Box<str>);

impl Codes {
    /// Whether this is one of them.
    pub fn include(&self, code: Ipv4Addr) -> bool {
        let octets = code.octets();
        self.0.iter().zip(octets).all(|(ranges, octet)| ranges.iter().any(|it| it.contains(&octet)))
    }

    /// By which lists that are known say that they do not answer: 127.255.255.0/24 (Spamhaus), and
    /// 127.0.0.1 (URIBL, SURBL).
    pub(super) fn refusals() -> Vec<Self> {
        let just = |octet| vec![octet..=octet];
        vec![
            Self([just(127), just(255), just(255), vec![0..=255]]),
            Self([just(127), just(0), just(0), just(1)]),
        ]
    }
}

impl FromStr for Codes {
    type Err = BadCodes;

    fn from_str(text: &str) -> Result<Self, BadCodes> {
        let mut rest = text;
        let mut octets = [const { Vec::new() }; 4];
        for (place, octet) in octets.iter_mut().enumerate() {
            let dot = if place == 0 { Some(rest) } else { rest.strip_prefix('.') };
            let read = dot.and_then(read_octet).ok_or_else(|| BadCodes(text.into()))?;
            (*octet, rest) = read;
        }
        if rest.is_empty() { Ok(Self(octets)) } else { Err(BadCodes(text.into())) }
    }
}

/// An octet at the front of `text`, and what stands behind it.
fn read_octet(text: &str) -> Option<(Vec<RangeInclusive<u8>>, &str)> {
    if let Some((inner, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let range = |part: &str| match part.split_once("..") {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(first..=last)
            }
            None => number(part).map(|octet| octet..=octet),
        };
        return Some((inner.split(';').map(range).collect::<Option<_>>()?, rest));
    }
    let (octet, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let octet = number(octet)?;
    Some((vec![octet..=octet], rest))
}

fn number(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_include_what_they_say() {
        for (codes, inside, outside) in [
            ("127.0.0.2", &["127.0.0.2"][..], &["127.0.0.3", "127.0.1.2", "126.0.0.2"][..]),
            ("127.0.0.[4..7]", &["127.0.0.4", "127.0.0.7"], &["127.0.0.3", "127.0.0.8"]),
            ("127.0.0.[2;9..11]", &["127.0.0.2", "127.0.0.10"], &["127.0.0.3", "127.0.0.12"]),
            ("127.0.[0..255].3", &["127.0.0.3", "127.0.255.3"], &["127.0.9.2", "127.1.0.3"]),
            ("[127].0.0.[0..255]", &["127.0.0.0", "127.0.0.255"], &["127.0.1.0"]),
        ] {
            let codes: Codes = codes.parse().unwrap();
            assert!(inside.iter().all(|code| codes.include(code.parse().unwrap())), "{codes:?}");
            assert!(!outside.iter().any(|code| codes.include(code.parse().unwrap())), "{codes:?}");
        }
        for bad in [
            "",
            "2",
            "127.0.0",
            "127.0.0.2.1",
            "127.0.0.256",
            "127.0.0.+2",
            "127.0.0.",
            "127.0.0.[]",
            "127.0.0.[4..]",
            "127.0.0.[7..4]",
            "127.0.0.[4",
            "127.0.0.[4]x",
            "127.0.0.4]",
            "127.0.0.2 ",
        ] {
            assert_eq!(bad.parse::<Codes>(), Err(BadCodes(bad.into())), "{bad:?}");
        }
    }

    #[test]
    fn refusals_are_no_listings() {
        let refused =
            |code: &str| Codes::refusals().iter().any(|it| it.include(code.parse().unwrap()));
        for code in ["127.255.255.252", "127.255.255.254", "127.255.255.255", "127.0.0.1"] {
            assert!(refused(code), "{code}");
        }
        for code in ["127.0.0.2", "127.0.1.1", "127.255.254.255", "127.0.0.255"] {
            assert!(!refused(code), "{code}");
        }
    }
}
