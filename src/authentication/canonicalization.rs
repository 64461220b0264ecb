//! Canonicalization of header fields (RFC 6376 section 3.4).

use std::array;

use super::tags::{is_space, trim};

/// Number of octets that are examined together for white space to change.
pub(super) const GLANCE: usize = 64;
/// [`GLANCE`] octets, and the octet after them.
pub(super) type Block = [u8; GLANCE + 1];

/// A canonicalization algorithm, for the header or the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Canonicalization {
    Simple,
    Relaxed,
}

impl Canonicalization {
    /// Parses the value of `c=`: the algorithms for the header and for the body.
    pub(super) fn parse(value: &[u8]) -> Option<(Self, Self)> {
        let mut names = value.splitn(2, |octet| *octet == b'/');
        let header = Self::named(names.next()?)?;
        Some((header, names.next().map_or(Some(Self::Simple), Self::named)?))
    }

    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"simple" => Some(Self::Simple),
            b"relaxed" => Some(Self::Relaxed),
            _ => None,
        }
    }

    /// Appends a header field in canonical form, without its final CRLF. `field` is the field without
    /// its final CRLF, and its colon is at `colon`.
    pub(super) fn append_field(self, field: &[u8], colon: usize, to: &mut Vec<u8>) {
        match self {
            Self::Simple => to.extend_from_slice(field),
            Self::Relaxed => relaxed(field, colon, to),
        }
    }
}

/// Appends a field in relaxed form (RFC 6376 section 3.4.2). The name is in lower case. The value
/// is unfolded, without white space at its ends, and with one space for each other run of white
/// space.
fn relaxed(field: &[u8], colon: usize, to: &mut Vec<u8>) {
    let (name, value) = field.split_at(colon);
    let name = name.trim_ascii_end();
    to.reserve(field.len());
    to.extend(name.iter().map(u8::to_ascii_lowercase));
    to.push(b':');
    squeeze(trim(&value[1..]), to);
}

/// Appends text with a single space for each run of white space. The first and the last octet are
/// not white space.
fn squeeze(text: &[u8], to: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(block) = rest.first_chunk() {
        squeeze_block(block, GLANCE, to);
        rest = &rest[GLANCE..];
    }
    let mut block = [0; GLANCE + 1];
    block[..rest.len()].copy_from_slice(rest);
    squeeze_block(&block, rest.len(), to);
}

/// Appends the first octets of a block. The next octet decides whether the last one changes.
fn squeeze_block(block: &Block, length: usize, to: &mut Vec<u8>) {
    let pairs = block.iter().zip(&block[1..]);
    let changes = pairs.fold(false, |any, (octet, next)| {
        any | (is_space(octet) & ((*octet != b' ') | is_space(next)))
    });
    if !changes {
        return to.extend_from_slice(&block[..length]);
    }
    let (squeezed, count) = squeezed(block, length, is_space, is_space);
    to.extend_from_slice(&squeezed[..count]);
}

/// Returns the first `length` octets of a block, squeezed, and the number of octets that remain.
/// White space becomes spaces, and is removed before an octet for which `ends_space` is true.
///
/// All octets are classified before any is copied. The compiler vectorizes the classification, and
/// the copying has no branches.
pub(super) fn squeezed(
    block: &Block,
    length: usize,
    is_space: impl Fn(&u8) -> bool,
    ends_space: impl Fn(&u8) -> bool,
) -> ([u8; GLANCE], usize) {
    let octets: [u8; GLANCE] =
        array::from_fn(|at| if is_space(&block[at]) { b' ' } else { block[at] });
    let kept: [bool; GLANCE] =
        array::from_fn(|at| !(is_space(&block[at]) & ends_space(&block[at + 1])));
    let mut squeezed = [0; GLANCE];
    let mut count = 0;
    for (octet, kept) in octets.iter().zip(&kept).take(length) {
        // Never more than 63. Without the remainder, each octet has a bounds check.
        squeezed[count % GLANCE] = *octet;
        count += usize::from(*kept);
    }
    (squeezed, count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_canonicalized() {
        let long = "x".repeat(63);
        for (field, form) in [
            ("A: X", "a:X"),
            ("B : Y\t\r\n\tZ  ", "b:Y Z"),
            ("Subject:", "subject:"),
            ("Subject: \r\n ", "subject:"),
            ("SUBJect:AbC", "subject:AbC"),
            ("x-a:\t one \t two\r\n \r\n three: ", "x-a:one two three:"),
            ("x:\x0b", "x:\x0b"),
            (&format!("x: {long} {long} {long}"), &format!("x:{long} {long} {long}")),
            (
                &format!("x:{long}  {long}\t{long} \r\n {long}"),
                &format!("x:{long} {long} {long} {long}"),
            ),
        ] {
            let colon = field.find(':').unwrap();
            let canonical = |canonicalization: Canonicalization| {
                let mut octets = b"before".to_vec();
                canonicalization.append_field(field.as_bytes(), colon, &mut octets);
                String::from_utf8(octets).unwrap().split_off(6)
            };
            assert_eq!(canonical(Canonicalization::Relaxed), form);
            assert_eq!(canonical(Canonicalization::Simple), field);
        }
    }

    #[test]
    fn the_body_is_simple_if_only_the_header_is_named() {
        use Canonicalization::{Relaxed, Simple};
        for (value, algorithms) in [
            ("simple", Some((Simple, Simple))),
            ("relaxed", Some((Relaxed, Simple))),
            ("simple/relaxed", Some((Simple, Relaxed))),
            ("relaxed/relaxed", Some((Relaxed, Relaxed))),
            ("Relaxed", None),
            ("relaxed/", None),
            ("/simple", None),
            ("relaxed /simple", None),
            ("relaxed/simple/simple", None),
            ("nofws", None),
            ("", None),
        ] {
            assert_eq!(Canonicalization::parse(value.as_bytes()), algorithms, "{value}");
        }
    }

    proptest! {
        /// Blocks begin and end anywhere in words and white space.
        #[test]
        fn white_space_of_any_length_is_a_single_space(
            words in prop::collection::vec("[a-c]{1,70}", 1..6),
            spaces in prop::collection::vec("[ \t\r\n]{1,70}|  ?", 7),
        ) {
            let parts = words.iter().zip(&spaces).map(|(word, space)| format!("{space}{word}"));
            let field = format!("X:{}{}", parts.collect::<String>(), spaces[6]);
            let mut octets = Vec::new();
            Canonicalization::Relaxed.append_field(field.as_bytes(), 1, &mut octets);
            prop_assert_eq!(String::from_utf8(octets).unwrap(), format!("x:{}", words.join(" ")));
        }
    }
}
