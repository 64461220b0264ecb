//! Header fields added by nobounce. They are always well-formed.

use std::fmt;

use bytes::Bytes;
use memchr::memchr;

use crate::wire::text::Written;

/// Prefix of the names of all nobounce header fields. A field with this prefix in a client's
/// message is forged and is not relayed.
pub(crate) const OURS: &str = "X-Nobounce-";

/// Maximum length of a field name, in octets.
const NAME: usize = 64;
/// Line length after which a line is folded at a preceding space (RFC 5322 section 2.1.1).
const FOLD: usize = 78;
/// Maximum length of a word before it is split. With a name and a space before it, the word makes a
/// line of 998 octets, the maximum line length (same section).
const WORD: usize = 998 - NAME - 2;
/// Maximum length of a field. The rest is dropped (Postfix: `header_size_limit`).
const FIELD: usize = 102_400;

/// A header field added by nobounce or by a program that uses it. The field is folded and ends with
/// CRLF. It contains no CR or LF except in folds, whatever the source of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderField {
    /// The whole field, including CRLF.
    octets: Bytes,
}

/// The error for an invalid field name: empty, longer than 64 octets, or with an octet that is not
/// allowed. Caller fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a header field name: expected 1 to 64 printable ASCII characters except `:`")]
pub struct FieldNameError;

impl HeaderField {
    /// Creates a field with this name (RFC 5322 section 3.6.8) and value.
    ///
    /// Each white space or control character in the value becomes one space. Non-ASCII characters
    /// become `?`, because a server need not accept them without SMTPUTF8. The value is folded, and
    /// truncated at 100 kB.
    ///
    /// # Errors
    ///
    /// [`FieldNameError`] if `name` is not a valid field name.
    pub fn new(name: &str, value: &str) -> Result<Self, FieldNameError> {
        let fits = (1..=NAME).contains(&name.len());
        if !fits || !name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':') {
            return Err(FieldNameError);
        }
        Ok(Self::fold(name, value.as_bytes()))
    }

    /// Returns the field as it appears in a message, including CRLF.
    pub fn octets(&self) -> &Bytes {
        &self.octets
    }

    pub(crate) fn into_octets(self) -> Bytes {
        self.octets
    }

    /// Folds a field. `name` must be a valid field name.
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

/// Writer of a field. It appends one word at a time and folds in place, so each octet is written
/// once.
/// The text must be printable ASCII without spaces.
pub(crate) struct FieldWriter {
    octets: Vec<u8>,
    /// Start of the value.
    start: usize,
    /// Start of the current line.
    line: usize,
    /// Start of the current word, at the space before it.
    word: usize,
}

impl FieldWriter {
    /// Creates a writer. `name` must be a valid field name. `len` is the expected length of the
    /// value in octets.
    pub(crate) fn new(name: &str, len: usize) -> Self {
        let mut octets = Vec::with_capacity(name.len() + len + 16);
        octets.extend_from_slice(name.as_bytes());
        octets.push(b':');
        let start = octets.len();
        Self { octets, start, line: 0, word: start }
    }

    /// Begins a new word with this text.
    pub(crate) fn word(&mut self, begin: &(impl Written + ?Sized)) {
        self.end_word();
        self.word = self.octets.len();
        self.octets.push(b' ');
        self.go_on(begin);
    }

    /// Appends to the current word.
    pub(crate) fn go_on(&mut self, with: &(impl Written + ?Sized)) {
        // Writing to a vector cannot fail.
        let _ = with.write_to(self);
    }

    pub(crate) fn finish(mut self) -> HeaderField {
        self.end_word();
        self.octets.extend_from_slice(b"\r\n");
        HeaderField { octets: self.octets.into() }
    }

    /// Ends the current word. If the line is now too long, moves the word to a new line.
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
    fn field_values_are_sanitized() {
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
            assert_eq!(HeaderField::new(name, ""), Err(FieldNameError), "{name:?}");
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
        assert_eq!(field("X-A", &long), format!("X-A: {long}\r\n"), "no place to fold");
        let endless = "w".repeat(WORD * 2 + 1);
        let (whole, rest) = (&endless[..WORD], &endless[WORD * 2..]);
        let name = "n".repeat(NAME);
        assert_eq!(field(&name, &endless), format!("{name}: {whole}\r\n {whole}\r\n {rest}\r\n"));
        assert!(field("X-A", &"word ".repeat(100_000)).len() <= FIELD + 2);
    }

    proptest! {
        /// Every line is short, every line except the first begins with a space, and unfolding
        /// returns the value.
        #[test]
        fn field_stays_one_field_for_any_value(name in "[!-9;-~]{1,64}", value in "[ -~\r\n\t\u{80}]{0,3000}") {
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
