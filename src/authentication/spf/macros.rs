//! Domain names with macros in policies (RFC 7208 section 7).

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::num::NonZeroUsize;

use super::subject::Subject;
use crate::dns::DomainName;

/// Maximum length of a name as text, in octets (RFC 7208 section 7.3). Labels on the left of a
/// longer name are removed.
const LONGEST: usize = 253;

/// A `domain-spec`: text and macros, which end in a top label or a macro.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DomainSpec(Box<[Piece]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// Visible ASCII other than `%`.
    Literal(Box<[u8]>),
    /// `%%`: a percent sign.
    Percent,
    /// `%_`: a blank.
    Blank,
    /// `%-`: `%20`.
    EncodedBlank,
    Value(Macro),
}

/// A `macro-expand` with a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Macro {
    letter: Letter,
    /// Whether the letter is in upper case, so that the value is percent-encoded.
    encoded: bool,
    /// Number of parts on the right that are used. All, if not set.
    parts: Option<NonZeroUsize>,
    reversed: bool,
    delimiters: Delimiters,
}

/// The letters that are allowed outside of explanations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letter {
    Sender,
    LocalPart,
    SenderDomain,
    Domain,
    Address,
    ReverseName,
    Helo,
    Version,
}

const LETTERS: [(u8, Letter); 8] = [
    (b's', Letter::Sender),
    (b'l', Letter::LocalPart),
    (b'o', Letter::SenderDomain),
    (b'd', Letter::Domain),
    (b'i', Letter::Address),
    (b'p', Letter::ReverseName),
    (b'h', Letter::Helo),
    (b'v', Letter::Version),
];

/// A set of delimiters, one bit for each. The empty set means the dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Delimiters(u8);

const DELIMITERS: &[u8; 7] = b".-+,/_=";

/// The values of the macros at one point of an evaluation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'v> {
    pub(super) subject: &'v Subject,
    /// The domain whose policy is evaluated.
    pub(super) domain: &'v DomainName,
    /// The name of the client. `None` if it is unknown.
    pub(super) reverse_name: Option<&'v DomainName>,
}

impl DomainSpec {
    /// Parses a `domain-spec` (RFC 7208 section 7.1).
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let pieces: Vec<_> = pieces(text).collect::<Option<_>>()?;
        let ends = match pieces.last()? {
            Piece::Literal(text) => ends_in_top_label(text),
            _ => true,
        };
        ends.then(|| Self(pieces.into()))
    }

    /// Returns whether the name of the client is needed for the expansion.
    pub(super) fn needs_reverse_name(&self) -> bool {
        self.values().any(|it| it.letter == Letter::ReverseName)
    }

    /// Returns whether a term with this target can match for the subject. If the local part is not
    /// ASCII, terms with the macro `s` or `l` match nothing (RFC 8616 section 4).
    pub(super) fn may_match(&self, subject: &Subject) -> bool {
        let local = |it: &Macro| matches!(it.letter, Letter::Sender | Letter::LocalPart);
        subject.local_part().is_ascii() || !self.values().any(local)
    }

    /// Expands the macros. Returns `None` if the result is not a valid domain name. Such a name
    /// counts as one that does not exist. The caller has checked [`may_match`](Self::may_match).
    ///
    /// The pieces are expanded from the right until there is enough for a name, so the time does
    /// not depend on the length of the removed part.
    pub(super) fn expand(&self, values: Values<'_>) -> Option<DomainName> {
        let (mut pieces, mut length) = (Vec::new(), 0);
        for piece in self.0.iter().rev() {
            let text = piece.expand(values);
            length += text.len();
            pieces.push(text);
            // One more octet for a trailing dot, and one for the dot before the name.
            if length >= LONGEST + 2 {
                break;
            }
        }
        pieces.reverse();
        let text = pieces.concat();
        // Only one trailing dot is removed.
        DomainName::from_labels(shortened(&text).split(|octet| *octet == b'.')).ok()
    }

    fn values(&self) -> impl Iterator<Item = &Macro> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value(value) => Some(value),
            _ => None,
        })
    }
}

/// Returns whether the text is a `macro-string`, as in an unknown modifier.
pub(super) fn is_macro_string(text: &[u8]) -> bool {
    pieces(text).all(|piece| piece.is_some())
}

/// Returns the pieces of a `macro-string`. A malformed piece is returned as `None`, and ends the
/// iteration.
fn pieces(mut text: &[u8]) -> impl Iterator<Item = Option<Piece>> {
    std::iter::from_fn(move || {
        text.first()?;
        let (piece, rest) = Piece::parse(text).unzip();
        text = rest.unwrap_or_default();
        Some(piece)
    })
}

/// Returns whether the text ends in a dot and a `toplabel`, with or without a final dot.
fn ends_in_top_label(text: &[u8]) -> bool {
    let text = text.strip_suffix(b".").unwrap_or(text);
    let mut labels = text.rsplitn(2, |octet| *octet == b'.');
    let label = labels.next().unwrap_or_default();
    let outer = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_alphanumeric);
    labels.next().is_some()
        && outer(label.first())
        && outer(label.last())
        && label.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
        && !label.iter().all(u8::is_ascii_digit)
}

/// Removes labels on the left until the name is short enough. A trailing dot does not count.
fn shortened(text: &[u8]) -> &[u8] {
    let name = text.strip_suffix(b".").unwrap_or(text);
    let Some(begin) = name.len().checked_sub(LONGEST + 1) else { return name };
    let dot = name[begin..].iter().position(|octet| *octet == b'.');
    dot.map_or(name, |dot| &name[begin + dot + 1..])
}

impl Piece {
    /// Parses the piece at the beginning of a text that is not empty.
    fn parse(text: &[u8]) -> Option<(Self, &[u8])> {
        let Some(macros) = text.strip_prefix(b"%") else {
            let end = text.iter().position(|octet| *octet == b'%').unwrap_or(text.len());
            let (literal, rest) = text.split_at(end);
            let is_visible = literal.iter().all(u8::is_ascii_graphic);
            return is_visible.then(|| (Self::Literal(literal.into()), rest));
        };
        let (letter, rest) = macros.split_first()?;
        match letter {
            b'%' => Some((Self::Percent, rest)),
            b'_' => Some((Self::Blank, rest)),
            b'-' => Some((Self::EncodedBlank, rest)),
            b'{' => {
                let end = rest.iter().position(|octet| *octet == b'}')?;
                Some((Self::Value(Macro::parse(&rest[..end])?), &rest[end + 1..]))
            }
            _ => None,
        }
    }

    fn expand<'v>(&'v self, values: Values<'v>) -> Cow<'v, [u8]> {
        match self {
            Self::Literal(text) => Cow::Borrowed(text),
            Self::Percent => Cow::Borrowed(b"%"),
            Self::Blank => Cow::Borrowed(b" "),
            Self::EncodedBlank => Cow::Borrowed(b"%20"),
            Self::Value(value) => value.expand(values),
        }
    }
}

impl Macro {
    /// Parses the text between the braces.
    fn parse(text: &[u8]) -> Option<Self> {
        let (first, rest) = text.split_first()?;
        let lower = first.to_ascii_lowercase();
        let (_, letter) = *LETTERS.iter().find(|(letter, _)| *letter == lower)?;
        let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
        let (digits, rest) = rest.split_at(digits);
        // A number that is too large becomes the largest one. No value has that many parts.
        let number = digits.iter().fold(0_usize, |number, digit| {
            number.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
        });
        let parts = match digits.is_empty() {
            true => None,
            false => Some(NonZeroUsize::new(number)?),
        };
        let reversed = matches!(rest.first(), Some(b'r' | b'R'));
        let mut delimiters = Delimiters(0);
        for octet in &rest[usize::from(reversed)..] {
            let bit = DELIMITERS.iter().position(|delimiter| delimiter == octet)?;
            delimiters.0 |= 1 << bit;
        }
        let encoded = first.is_ascii_uppercase();
        Some(Self { letter, encoded, parts, reversed, delimiters })
    }

    /// Expands the macro (RFC 7208 section 7.3). Reads only the parts that are used.
    fn expand<'v>(&self, values: Values<'v>) -> Cow<'v, [u8]> {
        let value = self.letter.value(values);
        let value = match self.transforms() {
            true => Cow::Owned(self.transformed(&value)),
            false => value,
        };
        if self.encoded { Cow::Owned(encoded(&value)) } else { value }
    }

    fn transforms(&self) -> bool {
        self.parts.is_some() || self.reversed || self.delimiters.0 != 0
    }

    fn transformed(&self, value: &[u8]) -> Vec<u8> {
        let most = self.parts.map_or(usize::MAX, NonZeroUsize::get);
        let is_delimiter = |octet: &u8| self.delimiters.contains(*octet);
        let mut parts: Vec<_> = match self.reversed {
            true => value.split(is_delimiter).take(most).collect(),
            false => value.rsplit(is_delimiter).take(most).collect(),
        };
        parts.reverse();
        parts.join(&b'.')
    }
}

impl Letter {
    fn value<'v>(self, values: Values<'v>) -> Cow<'v, [u8]> {
        let subject = values.subject;
        match self {
            Self::Sender => Cow::Borrowed(&subject.sender),
            Self::LocalPart => Cow::Borrowed(subject.local_part()),
            Self::SenderDomain => Cow::Borrowed(subject.sender_domain()),
            Self::Domain => Cow::Owned(values.domain.labels().collect::<Vec<_>>().join(&b'.')),
            Self::Address => Cow::Borrowed(&subject.address),
            Self::ReverseName => match values.reverse_name {
                Some(name) => Cow::Owned(name.labels().collect::<Vec<_>>().join(&b'.')),
                None => Cow::Borrowed(b"unknown"),
            },
            Self::Helo => Cow::Borrowed(&subject.helo),
            Self::Version if subject.client.is_ipv4() => Cow::Borrowed(b"in-addr"),
            Self::Version => Cow::Borrowed(b"ip6"),
        }
    }
}

impl Delimiters {
    fn contains(self, octet: u8) -> bool {
        match self.0 {
            0 => octet == b'.',
            bits => {
                let bit = DELIMITERS.iter().position(|delimiter| *delimiter == octet);
                bit.is_some_and(|bit| bits >> bit & 1 == 1)
            }
        }
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986 section 2.3).
fn encoded(value: &[u8]) -> Vec<u8> {
    let mut text = String::with_capacity(value.len());
    for octet in value {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(octet) {
            text.push((*octet).into());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{octet:02X}");
        }
    }
    text.into_bytes()
}

impl fmt::Display for DomainSpec {
    /// Writes it as in a policy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Literal(text) => f.write_str(&String::from_utf8_lossy(text)),
            Piece::Percent => f.write_str("%%"),
            Piece::Blank => f.write_str("%_"),
            Piece::EncodedBlank => f.write_str("%-"),
            Piece::Value(value) => value.fmt(f),
        })
    }
}

impl fmt::Display for Macro {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = LETTERS.iter().find(|(_, letter)| *letter == self.letter);
        let letter = letter.map_or(b'd', |(letter, _)| *letter);
        let letter = if self.encoded { letter.to_ascii_uppercase() } else { letter };
        write!(f, "%{{{}", char::from(letter))?;
        if let Some(parts) = self.parts {
            write!(f, "{parts}")?;
        }
        if self.reversed {
            f.write_str("r")?;
        }
        for (bit, delimiter) in DELIMITERS.iter().enumerate() {
            if self.delimiters.0 >> bit & 1 == 1 {
                f.write_char(char::from(*delimiter))?;
            }
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests;
