//! `From` fields of a header section, as lenient mail programs recognise them.
//!
//! Programs disagree about a line that is not a header field. Some begin the body there. Others
//! ignore it, or read an indented line after it as a field, or unfold it first. So all lines up to
//! the first empty line are searched, including lines that are not fields.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memchr;

use crate::message::section::{continues, split_field};

const NAME: &[u8] = b"from";
/// Maximum number of octets before the value of a field in a line that spans segments.
const NAME_AND_COLON: usize = 4_096;

/// A `From` field.
#[derive(Debug, Default)]
pub(super) struct From {
    /// The octets after the colon, still folded.
    pub(super) value: Vec<u8>,
    /// Whether all programs recognise it as a field of this name.
    pub(super) is_well_formed: bool,
    /// Whether the value is incomplete.
    pub(super) is_truncated: bool,
}

/// The field that a line belongs to.
enum Within {
    From(From),
    /// A line that is not a field, with the number of characters of the name `From` read so far.
    /// `None` if it cannot become this name.
    Junk(Option<usize>),
    OtherField,
}

/// Calls `visit` for each `From` field of a message. At most `most` octets of their values are read
/// in total.
pub(super) fn each(segments: &[Bytes], most: usize, mut visit: impl FnMut(From)) {
    let mut left = most;
    let mut within = Within::OtherField;
    for line in (Lines { segments, current: &[], most: most + NAME_AND_COLON }) {
        if *line == *b"\r\n" {
            break;
        }
        let next = match within {
            Within::From(mut from) if continues(&line) => {
                append(&mut from, &line, &mut left);
                Within::From(from)
            }
            Within::OtherField if continues(&line) => Within::OtherField,
            Within::Junk(name) if continues(&line) => junk(&line, name, &mut left),
            ended => {
                if let Within::From(from) = ended {
                    visit(from);
                }
                match split_field(&line) {
                    Some((name, value)) if name.eq_ignore_ascii_case("From") => {
                        let mut from = From { is_well_formed: true, ..From::default() };
                        append(&mut from, value, &mut left);
                        Within::From(from)
                    }
                    Some(_) => Within::OtherField,
                    None => junk(&line, Some(0), &mut left),
                }
            }
        };
        within = next;
    }
    if let Within::From(from) = within {
        visit(from);
    }
}

/// Reads a line that is not a field. White space and control characters in it are ignored. Some
/// programs read it as a field if its name becomes `From` after unfolding, or when its indentation
/// is ignored.
fn junk(line: &[u8], name: Option<usize>, left: &mut usize) -> Within {
    let mut from = |value: &[u8]| {
        let mut from = From::default();
        append(&mut from, value, left);
        Within::From(from)
    };
    let unfolded = name.map(|length| named(line, length));
    match (unfolded, named(line, 0)) {
        (Some(Named::Field(value)), _) | (_, Named::Field(value)) => from(value),
        (Some(Named::Begun(length)), _) => Within::Junk(Some(length)),
        _ => Within::Junk(None),
    }
}

/// A line whose name is compared with `From`.
enum Named<'l> {
    /// A `From` field with this value.
    Field(&'l [u8]),
    /// A line without a colon, with this number of characters of the name.
    Begun(usize),
    Other,
}

/// Compares the name of a line, which has begun with `length` characters. Leading colons are ignored.
fn named(line: &[u8], mut length: usize) -> Named<'_> {
    for (at, octet) in line.iter().enumerate() {
        match octet {
            b':' if length == NAME.len() => return Named::Field(&line[at + 1..]),
            b':' if length == 0 => {}
            _ if octet.is_ascii_whitespace() || octet.is_ascii_control() => {}
            _ if NAME.get(length) == Some(&octet.to_ascii_lowercase()) => length += 1,
            _ => return Named::Other,
        }
    }
    Named::Begun(length)
}

fn append(from: &mut From, octets: &[u8], left: &mut usize) {
    let count = octets.len().min(*left);
    from.value.extend_from_slice(&octets[..count]);
    from.is_truncated |= count < octets.len();
    *left -= count;
}

/// The lines of a message, each with its line end. A line that spans segments is truncated to
/// `most` octets.
struct Lines<'m> {
    segments: &'m [Bytes],
    current: &'m [u8],
    most: usize,
}

impl<'m> Iterator for Lines<'m> {
    type Item = Cow<'m, [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut line, mut ended) = self.piece()?;
        while !ended && let Some((more, end)) = self.piece() {
            let room = self.most.saturating_sub(line.len());
            line.to_mut().extend_from_slice(&more[..more.len().min(room)]);
            ended = end;
        }
        Some(line)
    }
}

impl<'m> Lines<'m> {
    /// Returns the rest of a line within a segment, and whether the line ends there.
    fn piece(&mut self) -> Option<(Cow<'m, [u8]>, bool)> {
        while self.current.is_empty() {
            let (first, rest) = self.segments.split_first()?;
            (self.current, self.segments) = (first, rest);
        }
        let end = memchr(b'\n', self.current);
        let (line, rest) = self.current.split_at(end.map_or(self.current.len(), |end| end + 1));
        self.current = rest;
        Some((line.into(), end.is_some()))
    }
}
