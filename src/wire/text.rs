//! Text written piece by piece. Each argument of `write!` costs a hundred instructions, and what is
//! written for every message, its record and its trace header, has dozens: it does without.

use std::fmt::{self, Write};
use std::net::IpAddr;

/// What can be written into all that takes text, formatters included.
pub(crate) trait Written {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result;
}

impl Written for str {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        to.write_str(self)
    }
}

impl Written for u64 {
    /// In decimal digits.
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

/// The last two digits of a number.
fn pair(number: u64) -> &'static str {
    const PAIRS: &str = "0001020304050607080910111213141516171819\
                         2021222324252627282930313233343536373839\
                         4041424344454647484950515253545556575859\
                         6061626364656667686970717273747576777879\
                         8081828384858687888990919293949596979899";
    let at = (number % 100) as usize * 2;
    &PAIRS[at..at + 2]
}

/// An address in brackets, as in `address-literal` (RFC 5321 section 4.1.3).
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

/// Text as [`fmt::Debug`] has it: in quotes, with what would leave them or the line escaped.
pub(crate) struct Quoted<T>(pub(crate) T);

impl<T: Written + ?Sized> Written for Quoted<&T> {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        to.write_char('"')?;
        self.0.write_to(&mut Escaped(to))?;
        to.write_char('"')
    }
}

/// Escapes what is written into it.
struct Escaped<'w, W>(&'w mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_plain = |octet| matches!(octet, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~');
        // To the end in any case: so many are looked at at once.
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

        /// The standard library, which escapes the whole, writes the same.
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
