//! The xtext encoding of arbitrary octets (RFC 3461 section 4).

use std::fmt::Write as _;

/// Encodes octets as xtext. An octet that xtext does not allow as itself becomes `+` and two
/// hexadecimal digits.
pub(crate) fn encode(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for octet in octets {
        if octet.is_ascii_graphic() && !b"+=".contains(octet) {
            text.push(char::from(*octet));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "+{octet:02X}");
        }
    }
    text
}

/// Returns the decoded octets, or `None` if `text` is not valid xtext. As in Postfix, an unencoded
/// `=` and lower-case hexadecimal digits are accepted, since neither is ambiguous.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => hex(*rest.next()?)? << 4 | hex(*rest.next()?)?,
            33..=126 => *octet,
            _ => return None,
        });
    }
    Some(octets)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
