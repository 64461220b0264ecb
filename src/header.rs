//! Header fields that we add: well-formed by construction.

use std::fmt;

use bytes::Bytes;
use memchr::memchr;

use crate::wire::text::Written;

/// Beginning of the names of all header fields that are ours. Fields so named that a client sends
/// are forged and do not go onward.
pub(crate) const OURS: &str = "X-Nobounce-";

/// Longest name of a field, in octets.
const NAME: usize = 64;
/// Where a line is folded if it has a space before (RFC 5322 section 2.1.1).
const FOLD: usize = 78;
/// Longest word that is not cut: with a name and a space before it, it makes a line of 998 octets,
/// which is the most that a line may have (same section).
const WORD: usize = 998 - NAME - 2;
/// Longest field; what is beyond is left out (Postfix: `header_size_limit`).
const FIELD: usize = 102_400;

/// A header field that nobounce or one of its users adds. Folded, ended by CRLF, and unable to hold
/// any other CR or LF, whoever chose its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderField {
    /// The whole field, CRLF included.
    octets: Bytes,
}

/// The name holds an octet that no field name may hold, or is empty or over 64 octets. The fault
/// is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a header field name")]
pub struct BadFieldName;

impl HeaderField {
    /// A field of this name (RFC 5322 section 3.6.8) and value. White space and control characters
    /// in the value become one space each time, what is not ASCII becomes `?` (a server that was
    /// not asked for SMTPUTF8 need not take it); the value is folded, and cut at 100 kB.
    pub fn new(name: &str, value: &str) -> Result<Self, BadFieldName> {
        let fits = (1..=NAME).contains(&name.len());
        if !fits || !name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':') {
            return Err(BadFieldName);
        }
        Ok(Self::fold(name, value.as_bytes()))
    }

    /// The field as it stands in a message, CRLF included.
    pub fn octets(&self) -> &Bytes {
        &self.octets
    }

    pub(crate) fn into_octets(self) -> Bytes {
        self.octets
    }

    /// `name` must be a field name.
    pub(crate) fn fold(name: &str, value: &[u8]) -> Self {
        let mut field = FieldWriter::new(name, value.len().min(FIELD));
        let is_harmless = |octet: &u8| (b' '..=b'~').contains(octet);
        let harmless = value.iter().fold(true, |all, octet| all & is_harmless(octet));
        let mut rest = Some(value);
        let words = std::iter::from_fn(|| {
            let value = rest?;
            let end = match harmless {
                true => memchr(b' ', value),
                false => value.iter().position(|it| it.is_ascii_control() || *it == b' '),
            };
            rest = end.map(|end| &value[end + 1..]);
            Some(&value[..end.unwrap_or(value.len())])
        });
        for word in words.flat_map(|word| word.chunks(WORD)) {
            if field.octets.len() + word.len() > FIELD {
                break;
            }
            field.word("");
            field.octets.extend_from_slice(word);
            if !harmless {
                let foreign = field.octets[field.word..].iter_mut();
                foreign.filter(|octet| !octet.is_ascii()).for_each(|octet| *octet = b'?');
            }
            field.end_word();
        }
        field.finish()
    }
}

/// A field that is being written, word by word, and folded as it grows: it is written once, where it
/// stays. All that is written must be printable ASCII without spaces.
pub(crate) struct FieldWriter {
    octets: Vec<u8>,
    /// Where the value begins.
    start: usize,
    /// Where the line begins.
    line: usize,
    /// Where the word begins, with the space before it.
    word: usize,
}

impl FieldWriter {
    /// `name` must be a field name; the value will have about `len` octets.
    pub(crate) fn new(name: &str, len: usize) -> Self {
        let mut octets = Vec::with_capacity(name.len() + len + 16);
        octets.extend_from_slice(name.as_bytes());
        octets.push(b':');
        let start = octets.len();
        Self { octets, start, line: 0, word: start }
    }

    /// Begins a word with this.
    pub(crate) fn word(&mut self, begin: &(impl Written + ?Sized)) {
        self.end_word();
        self.word = self.octets.len();
        self.octets.push(b' ');
        self.go_on(begin);
    }

    /// Goes on with the word.
    pub(crate) fn go_on(&mut self, with: &(impl Written + ?Sized)) {
        // Writing to a vector does not fail.
        let _ = with.write_to(self);
    }

    pub(crate) fn finish(mut self) -> HeaderField {
        self.end_word();
        self.octets.extend_from_slice(b"\r\n");
        HeaderField { octets: self.octets.into() }
    }

    /// The word is whole. If the line has become too long by it, it begins another.
    fn end_word(&mut self) {
        if self.octets.len() - self.line > FOLD && self.word > self.start.max(self.line) {
            self.octets.splice(self.word..self.word, *b"\r\n");
            self.word += 2;
            self.line = self.word;
        }
    }
}

impl fmt::Write for FieldWriter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.octets.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(name: &str, value: &str) -> String {
        let field = HeaderField::new(name, value).unwrap();
        String::from_utf8(field.octets().to_vec()).unwrap()
    }

    #[test]
    fn values_become_harmless() {
        for (value, expected) in [
            ("", "X-A:\r\n"),
            ("   ", "X-A:\r\n"),
            ("yes", "X-A: yes\r\n"),
            ("  yes  no ", "X-A: yes no\r\n"),
            ("a\tb\0c\x7fd", "X-A: a b c d\r\n"),
            ("a\r\nX-B: b", "X-A: a X-B: b\r\n"),
            ("a\r\n\r\nbody", "X-A: a body\r\n"),
            ("a\n.\r\nQUIT", "X-A: a . QUIT\r\n"),
            ("\r", "X-A:\r\n"),
            ("na\u{ef}ve", "X-A: na??ve\r\n"),
        ] {
            assert_eq!(field("X-A", value), expected, "{value:?}");
        }
    }

    #[test]
    fn names_are_names() {
        let long = "x".repeat(NAME);
        for name in ["X-A", "x", "!", long.as_str()] {
            assert!(HeaderField::new(name, "").is_ok(), "{name:?}");
        }
        let longer = "x".repeat(NAME + 1);
        for name in ["", "X A", "X:", "X\r", "X\n", "\t", "\u{fc}", longer.as_str()] {
            assert_eq!(HeaderField::new(name, ""), Err(BadFieldName), "{name:?}");
        }
    }

    #[test]
    fn lines_are_folded_at_spaces() {
        let word = "w".repeat(36);
        assert_eq!(
            field("X-A", &format!("{word} {word} {word}")),
            format!("X-A: {word} {word}\r\n {word}\r\n"),
            "78 octets, then 37"
        );
        let word = "w".repeat(37);
        assert_eq!(field("X-A", &format!("{word} {word}")), format!("X-A: {word}\r\n {word}\r\n"));
        let long = "w".repeat(200);
        assert_eq!(field("X-A", &long), format!("X-A: {long}\r\n"), "nowhere to fold");
        let endless = "w".repeat(WORD * 2 + 1);
        let (whole, rest) = (&endless[..WORD], &endless[WORD * 2..]);
        let name = "n".repeat(NAME);
        assert_eq!(field(&name, &endless), format!("{name}: {whole}\r\n {whole}\r\n {rest}\r\n"));
        assert!(field("X-A", &"word ".repeat(100_000)).len() <= FIELD + 2);
    }

    proptest! {
        /// Every line is short, every line but the first begins with a space, and what is read back
        /// is the value.
        #[test]
        fn a_field_is_one_field(name in "[!-9;-~]{1,64}", value in "[ -~\r\n\t\u{80}]{0,3000}") {
            let written = field(&name, &value);
            let lines: Vec<_> = written.strip_suffix("\r\n").unwrap().split("\r\n").collect();
            for (index, line) in lines.iter().enumerate() {
                prop_assert!(line.len() <= 998 && !line.contains(['\r', '\n']));
                prop_assert!(line.len() <= 78 || line.trim_start().split(' ').count() <= 2);
                prop_assert!(index == 0 || line.starts_with(' ') && !line.trim().is_empty());
            }
            let unfolded = lines.concat();
            let (written_name, written_value) = unfolded.split_once(':').unwrap();
            let wanted = value.replace('\u{80}', "??");
            let squeeze = |text: &str| text.split_ascii_whitespace().collect::<String>();
            prop_assert_eq!(written_name, name);
            prop_assert_eq!(squeeze(written_value), squeeze(&wanted));
        }
    }
}
