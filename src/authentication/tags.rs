//! Tag lists: `name=value; name=value` (RFC 6376 section 3.2).

use std::ops::Range;

use memchr::memchr;

/// Maximum number of tags in a list. RFC 6376 and its extensions define 14.
pub(super) const TAGS: usize = 100;

/// A tag list. Names are unique and case-sensitive.
#[derive(Debug)]
pub(super) struct Tags<'v> {
    text: &'v [u8],
    /// At most [`TAGS`], usually about ten. A search from the first one on is faster than an index.
    tags: Vec<Tag<'v>>,
}

#[derive(Debug)]
struct Tag<'v> {
    name: &'v [u8],
    /// Place of the value in the text, with the white space around it.
    value: Range<usize>,
}

/// Reason why a tag list is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TagFault {
    #[error("malformed tag list")]
    Malformed,
    #[error("duplicate tag")]
    Duplicate,
    #[error("more than {TAGS} tags")]
    TooMany,
}

impl<'v> Tags<'v> {
    /// Parses a tag list. Unknown tags are kept. UTF-8 is allowed in values (RFC 8616).
    pub(super) fn parse(text: &'v [u8]) -> Result<Self, TagFault> {
        let mut tags: Vec<Tag<'v>> = Vec::with_capacity(16);
        let mut has_duplicate = false;
        let mut at = 0;
        loop {
            let rest = &text[at..];
            let end = memchr(b';', rest);
            let spec = &rest[..end.unwrap_or(rest.len())];
            // A semicolon after the last tag is allowed.
            if end.is_none() && !tags.is_empty() && spec.iter().all(is_space) {
                break;
            }
            if tags.len() == TAGS {
                return Err(TagFault::TooMany);
            }
            let equals = memchr(b'=', spec).ok_or(TagFault::Malformed)?;
            let (name, value) = (trim(&spec[..equals]), at + equals + 1..at + spec.len());
            if !is_name(name) || !is_value(trim(&text[value.clone()])) {
                return Err(TagFault::Malformed);
            }
            has_duplicate |= tags.iter().any(|tag| tag.name == name);
            tags.push(Tag { name, value });
            let Some(end) = end else { break };
            at += end + 1;
        }
        // A list that is also malformed is malformed.
        if has_duplicate { Err(TagFault::Duplicate) } else { Ok(Self { text, tags }) }
    }

    /// Returns the value of a tag without the white space around it.
    pub(super) fn get(&self, name: &str) -> Option<&'v [u8]> {
        self.place(name).map(|place| trim(&self.text[place]))
    }

    /// Returns the place of a value, including the white space around it.
    pub(super) fn place(&self, name: &str) -> Option<Range<usize>> {
        let (name, first) = (name.as_bytes(), name.bytes().next());
        let is_found = |tag: &&Tag<'_>| tag.name.first().copied() == first && tag.name == name;
        let found = self.tags.iter().find(is_found);
        found.map(|tag| tag.value.clone())
    }
}

/// Returns the elements of a list that is separated by colons, without the white space around them.
pub(super) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|octet| *octet == b':').map(trim)
}

/// Parses an unsigned decimal number. Numbers that are too large become the largest one.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let append =
        |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, append))
}

/// Removes folding white space at both ends.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let begin = text.iter().position(|octet| !is_space(octet)).unwrap_or(text.len());
    let end = text.iter().rposition(|octet| !is_space(octet)).map_or(begin, |at| at + 1);
    &text[begin..end]
}

/// Returns whether this is folding white space.
pub(super) fn is_space(octet: &u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_name(name: &[u8]) -> bool {
    let is_first = |first: &u8| first.is_ascii_alphabetic();
    name.first().is_some_and(is_first)
        && name.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'_')
}

fn is_value(value: &[u8]) -> bool {
    // Examines all octets, because that is faster than a branch for each.
    let is_allowed = |octet: &u8| octet.is_ascii_graphic() | is_space(octet) | !octet.is_ascii();
    value.iter().fold(true, |all, octet| all & is_allowed(octet))
        && (value.is_ascii() || str::from_utf8(value).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_by_name() {
        let tags = Tags::parse(b" v = 1 ; a=\r\n\tx y\r\n ;bh== =;b=;T_1=\xc3\xbc; ").unwrap();
        for (name, value) in [
            ("v", Some("1")),
            ("a", Some("x y")),
            ("bh", Some("= =")),
            ("b", Some("")),
            ("T_1", Some("\u{fc}")),
            ("t_1", None),
            ("c", None),
        ] {
            assert_eq!(tags.get(name), value.map(str::as_bytes), "{name}");
        }
        assert_eq!(tags.place("a"), Some(11..20));
    }

    #[test]
    fn malformed_lists_are_refused() {
        use TagFault::*;
        let tags = |count: usize| (0..count).map(|at| format!("t{at}=;")).collect::<String>();
        assert!(Tags::parse(tags(TAGS).as_bytes()).is_ok());
        let many = tags(TAGS + 1);
        let cases: [(&[u8], TagFault); 18] = [
            (b"", Malformed),
            (b" ", Malformed),
            (b";", Malformed),
            (b"a", Malformed),
            (b"a=1;b", Malformed),
            (b"a=1;;", Malformed),
            (b"a=1;;b=2", Malformed),
            (b";a=1", Malformed),
            (b"=1", Malformed),
            (b"1a=1", Malformed),
            (b"a b=1", Malformed),
            (b"a-b=1", Malformed),
            (b"a=\x0b1", Malformed),
            (b"a=1\0", Malformed),
            (b"a=\xff", Malformed),
            (b"a=1;b=2;a=1", Duplicate),
            (b"a=1; a =1", Duplicate),
            (many.as_bytes(), TooMany),
        ];
        for (text, fault) in cases {
            assert_eq!(Tags::parse(text).unwrap_err(), fault, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn numbers_of_any_length_are_read() {
        for (digits, value) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("99999999999999999999999999999999", Some(u64::MAX)),
            ("", None),
            ("-1", None),
            ("1 2", None),
            ("1x", None),
        ] {
            assert_eq!(number(digits.as_bytes()), value, "{digits}");
        }
    }
}
