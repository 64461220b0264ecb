//! Return codes of DNS lists, in the notation of the configuration.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A pattern for return codes of a DNS list, in the notation of Postfix (`postscreen_dnsbl_sites`).
/// It has four octets. Each is a number, or a list of numbers and ranges in brackets:
/// `127.0.0.[2;4..7]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes([Vec<RangeInclusive<u8>>; 4]);

/// The error for an invalid rule for return codes of a DNS list. Fault of the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// The text is not in the notation of [`Codes`].
    #[error("`{0}` is not a return code such as 127.0.0.2 or 127.0.[0..255].[1;3]")]
    Malformed(Box<str>),
    /// No listing can have a matching code. Only 127.0.0.0/8 holds listings. 127.0.0.1,
    /// 127.255.255.0/24 and the codes by which the list refuses to answer are not listings.
    #[error(
        "no listing can have the code `{0}`: expected codes of 127.0.0.0/8 other than 127.0.0.1, \
             127.255.255.* and those in `refusing`"
    )]
    Unreachable(Box<str>),
    /// The mask has no bit of the last three octets, or has a bit of the first octet.
    #[error("no listing can have a bit of the mask {0:#x}: expected a mask from 1 to 0xffffff")]
    Mask(u32),
    /// A rule with the same codes or bits and the same symbol exists already.
    #[error("two rules have the symbol `{0}` and the same codes or bits; expected each rule once")]
    Duplicate(Box<str>),
}

impl Codes {
    /// Returns whether this code matches the pattern.
    pub fn include(&self, code: Ipv4Addr) -> bool {
        let octets = code.octets();
        self.0.iter().zip(octets).all(|(ranges, octet)| ranges.iter().any(|it| it.contains(&octet)))
    }

    /// Returns whether a listing can have a matching code, on a list that refuses to answer with
    /// the codes in `refusals`.
    pub(super) fn are_met(&self, refusals: &[Self]) -> bool {
        /// Decides the same for the remaining octets. `left` holds the refusals that match the
        /// octets before.
        fn met(codes: &[Vec<RangeInclusive<u8>>], left: &[&[Vec<RangeInclusive<u8>>]]) -> bool {
            let ([first, rest @ ..], false) = (codes, left.is_empty()) else {
                return left.is_empty();
            };
            let holds = |ranges: &[RangeInclusive<u8>], octet: u8| {
                ranges.iter().any(|range| range.contains(&octet))
            };
            (0..=u8::MAX).filter(|octet| holds(first, *octet)).any(|octet| {
                let left = left.iter().filter(|codes| holds(&codes[0], octet));
                met(rest, &left.map(|codes| &codes[1..]).collect::<Vec<_>>())
            })
        }
        let left: Vec<_> = refusals.iter().map(|codes| &codes.0[1..]).collect();
        self.0[0].iter().any(|it| it.contains(&127)) && met(&self.0[1..], &left)
    }

    /// Returns the codes by which well-known lists refuse to answer: 127.255.255.0/24 (Spamhaus)
    /// and 127.0.0.1 (URIBL, SURBL).
    pub(super) fn refusals() -> Vec<Self> {
        let just = |octet| vec![octet..=octet];
        vec![
            Self([just(127), just(255), just(255), vec![0..=255]]),
            Self([just(127), just(0), just(0), just(1)]),
        ]
    }
}

impl FromStr for Codes {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let mut rest = text;
        let mut octets = [const { Vec::new() }; 4];
        for (place, octet) in octets.iter_mut().enumerate() {
            let dot = if place == 0 { Some(rest) } else { rest.strip_prefix('.') };
            let read = dot.and_then(read_octet).ok_or_else(|| CodeError::Malformed(text.into()))?;
            (*octet, rest) = read;
        }
        if rest.is_empty() { Ok(Self(octets)) } else { Err(CodeError::Malformed(text.into())) }
    }
}

/// Parses the octet at the start of `text` and returns it with the rest of the text.
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
    fn codes_match_their_ranges() {
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
            assert_eq!(bad.parse::<Codes>(), Err(CodeError::Malformed(bad.into())), "{bad:?}");
        }
    }

    #[test]
    fn impossible_codes_are_detected() {
        for (codes, refusing, expected) in [
            ("127.0.0.2", "127.0.0.255", true),
            ("127.0.[0..255].[1..3]", "127.0.0.255", true),
            ("127.[0;255].[0;255].[1;255]", "127.0.0.255", true),
            ("[0..255].0.0.2", "127.0.0.255", true),
            ("127.[0..255].[0..255].[0..255]", "127.[0..254].[0..255].[0..255]", true),
            ("127.0.0.1", "127.0.0.255", false),
            ("127.0.0.[1;255]", "127.0.0.255", false),
            ("127.255.255.[0..255]", "127.0.0.255", false),
            ("127.[0..255].[0..255].2", "127.[0..255].[0..255].[2;4]", false),
            ("126.0.0.2", "127.0.0.255", false),
            ("[0..126].0.0.2", "127.0.0.255", false),
        ] {
            let refusals = [Codes::refusals(), vec![refusing.parse().unwrap()]].concat();
            assert_eq!(codes.parse::<Codes>().unwrap().are_met(&refusals), expected, "{codes}");
        }
    }

    #[test]
    fn refusal_codes_are_not_listings() {
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
