//! Percent-encoding (RFC 3986 section 2.1).

use std::borrow::Cow;

/// Decodes percent-encoded octets. A percent sign without two digits is kept. Octets that are not
/// UTF-8 become U+FFFD.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    octets.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let digits = part.get(..2).filter(|two| two.bytes().all(|it| it.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(octet) => {
                octets.push(octet);
                octets.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => {
                octets.push(b'%');
                octets.extend_from_slice(part.as_bytes());
            }
        }
    }
    match String::from_utf8(octets) {
        Ok(text) => text.into(),
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned().into(),
    }
}
