//! Canonicalization of header fields (RFC 6376 section 3.4).

use super::tags::{is_space, trim};

/// A canonicalization algorithm. The body has the same two.
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

/// Appends a field whose name is in lower case, and whose value is unfolded, has no white space at
/// its ends and single spaces for other white space (RFC 6376 section 3.4.2).
fn relaxed(field: &[u8], colon: usize, to: &mut Vec<u8>) {
    let (name, value) = field.split_at(colon);
    let name = name.trim_ascii_end();
    to.reserve(field.len());
    to.extend(name.iter().map(u8::to_ascii_lowercase));
    to.push(b':');
    let value = trim(&value[1..]);
    let begin = to.len();
    to.resize(begin + value.len(), 0);
    let mut written = begin;
    // The value ends with an octet that is not white space. Without a branch, long runs of words and
    // spaces cost the same for every octet.
    for (at, octet) in value.iter().enumerate() {
        let next = value.get(at + 1).copied().unwrap_or(0);
        let space = is_space(octet);
        to[written] = if space { b' ' } else { *octet };
        written += usize::from(!(space && is_space(&next)));
    }
    to.truncate(written);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_canonicalized() {
        for (field, form) in [
            ("A: X", "a:X"),
            ("B : Y\t\r\n\tZ  ", "b:Y Z"),
            ("Subject:", "subject:"),
            ("Subject: \r\n ", "subject:"),
            ("SUBJect:AbC", "subject:AbC"),
            ("x-a:\t one \t two\r\n \r\n three: ", "x-a:one two three:"),
            ("x:\x0b", "x:\x0b"),
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
}
