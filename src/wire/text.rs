//! Text output without `write!`. Each argument of `write!` costs a hundred instructions. The record
//! and the trace header of every message have dozens of values, so they are written piece by piece.

use std::fmt::{self, Write};
use std::net::IpAddr;

/// A value that can be written into any text sink, formatters included.
pub(crate) trait Written {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result;
}

impl Written for str {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        to.write_str(self)
    }
}

impl Written for u64 {
    /// Writes the number in decimal digits.
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        if *self >= 100 {
            (self / 100).write_to(to)?;
            return to.write_str(pair(*self));
        }
        to.write_str(&pair(*self)[usize::from(*self < 10)..])
    }
}

/// The last two digits of a number.
pub(crate) struct TwoDigits(pub(crate) u64);

impl Written for TwoDigits {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        to.write_str(pair(self.0))
    }
}

/// Returns the last two digits of a number.
fn pair(number: u64) -> &'static str {
    const PAIRS: &str = "0001020304050607080910111213141516171819\
                         2021222324252627282930313233343536373839\
                         4041424344454647484950515253545556575859\
                         6061626364656667686970717273747576777879\
                         8081828384858687888990919293949596979899";
    let at = (number % 100) as usize * 2;
    &PAIRS[at..at + 2]
}

/// An IP address in brackets, as in `address-literal` (RFC 5321 section 4.1.3).
pub(crate) struct AddressLiteral(pub(crate) IpAddr);

impl Written for AddressLiteral {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => {
                for (mark, number) in ["[", ".", ".", "."].into_iter().zip(address.octets()) {
                    to.write_str(mark)?;
                    u64::from(number).write_to(to)?;
                }
                to.write_str("]")
            }
            IpAddr::V6(address) => write!(to, "[IPv6:{address}]"),
        }
    }
}

/// Returns whether a log can show this character unchanged. Control characters (C0, DEL, C1) can
/// control a terminal. Line and paragraph separators begin new lines. Bidirectional and zero-width
/// characters make text look like other text. None of them is printed unchanged in text from a
/// client.
pub(crate) fn is_printable(c: char) -> bool {
    let is_invisible = matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    !c.is_control() && !is_invisible
}

/// Text without quotes, on one line. Characters that are not [printable](is_printable) are escaped.
pub(crate) struct Printable<T>(pub(crate) T);

impl<T: AsRef<str> + ?Sized> Written for Printable<&T> {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        let mut rest = self.0.as_ref();
        // Most text is ASCII. The check does not stop early, so that the compiler can vectorise it.
        if rest.bytes().fold(true, |all, octet| all & (b' '..=b'~').contains(&octet)) {
            return to.write_str(rest);
        }
        while let Some(at) = rest.find(|c| !is_printable(c)) {
            to.write_str(&rest[..at])?;
            let mut behind = rest[at..].chars();
            behind.next().into_iter().try_for_each(|c| escape(c, to))?;
            rest = behind.as_str();
        }
        to.write_str(rest)
    }
}

impl<T: AsRef<str> + ?Sized> fmt::Display for Printable<&T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

fn escape<W: Write>(c: char, to: &mut W) -> fmt::Result {
    match c {
        '\n' | '\r' | '\t' => c.escape_debug().try_for_each(|c| to.write_char(c)),
        _ => c.escape_unicode().try_for_each(|c| to.write_char(c)),
    }
}

/// Text as [`fmt::Debug`] writes it: in quotes, on one line, with special characters escaped.
pub(crate) struct Quoted<T>(pub(crate) T);

impl<T: Written + ?Sized> Written for Quoted<&T> {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        to.write_char('"')?;
        self.0.write_to(&mut Escaped(to))?;
        to.write_char('"')
    }
}

/// A writer that escapes the text written into it.
struct Escaped<'w, W>(&'w mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_plain = |octet| matches!(octet, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~');
        // The check does not stop early, so that the compiler can vectorise it.
        if text.bytes().fold(true, |all, octet| all & is_plain(octet)) {
            return self.0.write_str(text);
        }
        text.chars().try_for_each(|c| match c {
            '\'' => self.0.write_char(c),
            c => c.escape_debug().try_for_each(|c| self.0.write_char(c)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(written: impl Written) -> String {
        let mut text = String::new();
        written.write_to(&mut text).unwrap();
        text
    }

    #[test]
    fn characters_that_deceive_are_escaped() {
        for (given, expected) in [
            ("", ""),
            ("plain \"text\"", "plain \"text\""),
            ("caf\u{e9} \u{4f60} e\u{301}", "caf\u{e9} \u{4f60} e\u{301}"),
            ("a\r\n\tb\0", "a\\r\\n\\tb\\u{0}"),
            ("\u{1b}[2J\u{7f}\u{9b}", "\\u{1b}[2J\\u{7f}\\u{9b}"),
            ("\u{202e}\u{2066}\u{200f}\u{61c}", "\\u{202e}\\u{2066}\\u{200f}\\u{61c}"),
            ("a\u{2028}b\u{feff}", "a\\u{2028}b\\u{feff}"),
        ] {
            assert_eq!(text(Printable(given)), expected, "{given:?}");
            assert_eq!(Printable(given).to_string(), expected);
        }
    }

    #[test]
    fn numbers_have_their_digits() {
        for number in [0, 9, 10, 99, 100, 65_535, 1_000_000, u64::MAX] {
            assert_eq!(text(number), number.to_string());
        }
        for (number, digits) in [(0, "00"), (7, "07"), (10, "10"), (99, "99"), (123, "23")] {
            assert_eq!(text(TwoDigits(number)), digits);
        }
    }

    #[test]
    fn addresses_are_literals() {
        for (address, literal) in [
            ("0.0.0.0", "[0.0.0.0]"),
            ("192.0.2.255", "[192.0.2.255]"),
            ("2001:db8::1", "[IPv6:2001:db8::1]"),
            ("::ffff:192.0.2.1", "[IPv6:::ffff:192.0.2.1]"),
        ] {
            assert_eq!(text(AddressLiteral(address.parse().unwrap())), literal);
        }
    }

    proptest! {
        #[test]
        fn all_numbers_have_their_digits(number: u64) {
            prop_assert_eq!(text(number), number.to_string());
        }

        /// [`Quoted`] also escapes everything that [`Printable`] escapes.
        #[test]
        fn quoted_text_is_printable(given in "\\PC{0,9}|.{0,9}|[\u{ad}\u{61c}\u{180e}\u{200b}-\u{206f}\u{e0020}]{0,9}") {
            prop_assert!(text(Quoted(&*given)).chars().all(is_printable), "{given:?}");
            prop_assert!(text(Printable(&*given)).chars().all(is_printable), "{given:?}");
        }

        /// The output equals that of the standard library, which escapes the whole text at once.
        #[test]
        fn quoted_text_is_debugged(first in ".{0,20}|[ -~\t\r\n\0']{0,20}", second in "\\PC{0,9}|.") {
            struct Pieces<'t>([&'t str; 2]);
            impl Written for Pieces<'_> {
                fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
                    self.0.iter().try_for_each(|piece| piece.write_to(to))
                }
            }
            let debugged = format!("{:?}", [&*first, &second].concat());
            prop_assert_eq!(text(Quoted(&Pieces([&first, &second]))), debugged);
        }
    }
}
