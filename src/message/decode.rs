//! From what stands in a message to what people read: transfer encodings, encoded words, character
//! sets. All of it in linear time; none of it fails, since mail programs show what they can.

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use memchr::{memchr, memmem};

/// Undoes base64 (RFC 2045 section 6.8): octets that are not of it count for nothing.
pub(super) fn base64(octets: &[u8]) -> Vec<u8> {
    base64_decode(octets).unwrap_or_else(|| {
        let known = |octet: &u8| octet.is_ascii_alphanumeric() || b"+/=".contains(octet);
        let octets: Vec<_> = octets.iter().copied().filter(known).collect();
        base64_decode(&octets).unwrap_or_default()
    })
}

/// Undoes quoted-printable (RFC 2045 section 6.7): an equals sign that means nothing stands for
/// itself.
pub(super) fn quoted_printable(mut octets: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(octets.len());
    while let Some(at) = memchr(b'=', octets) {
        plain.extend_from_slice(&octets[..at]);
        let rest = &octets[at + 1..];
        octets = if let Some((octet, rest)) = hexadecimal(rest) {
            plain.push(octet);
            rest
        } else if let Some(rest) = soft_line_break(rest) {
            rest
        } else {
            plain.push(b'=');
            rest
        };
    }
    plain.extend_from_slice(octets);
    plain
}

fn hexadecimal(octets: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = octets.split_at_checked(2)?;
    let digit = |octet: u8| char::from(octet).to_digit(16);
    let value = digit(digits[0])? << 4 | digit(digits[1])?;
    Some((u8::try_from(value).ok()?, rest))
}

/// What stands behind the end of the line, if there is nothing but white space before.
fn soft_line_break(octets: &[u8]) -> Option<&[u8]> {
    let blank = octets.iter().take_while(|octet| b" \t\r".contains(octet)).count();
    let rest = &octets[blank..];
    rest.strip_prefix(b"\n").or(rest.is_empty().then_some(rest))
}

/// Text in a character set. Without one, or in ASCII, it is UTF-8 if it can be, else windows-1252,
/// whatever was promised; in a set that is not known here it is taken for UTF-8.
pub(super) fn text(charset: Option<&str>, octets: &[u8]) -> String {
    let charset = charset.unwrap_or("us-ascii");
    let ascii = charset.eq_ignore_ascii_case("us-ascii");
    match (charset_decoder(charset.as_bytes()), str::from_utf8(octets)) {
        (Some(_), Ok(text)) if ascii => text.to_owned(),
        (Some(decode), _) => decode(octets),
        (None, _) => String::from_utf8_lossy(octets).into_owned(),
    }
}

/// The value of a header field, unfolded, encoded words decoded (RFC 2047).
pub(super) fn words(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value.trim_ascii();
    // The character set of the encoded words before this point, and their octets: some programs
    // cut a character in two.
    let mut run: Option<(&str, Vec<u8>)> = None;
    let flush = |run: Option<(&str, Vec<u8>)>, text: &mut String| {
        if let Some((charset, octets)) = run {
            text.push_str(&self::text(Some(charset), &octets));
        }
    };
    let mut from = 0;
    while let Some(at) = memmem::find(&rest[from..], b"=?").map(|at| from + at) {
        let Some((word, behind)) = encoded_word(&rest[at + 2..]) else {
            from = at + 2;
            continue;
        };
        let before = &rest[..at];
        match &mut run {
            // White space between encoded words is not shown.
            Some((charset, octets)) if before.trim_ascii().is_empty() => {
                if charset.eq_ignore_ascii_case(word.0) {
                    octets.extend_from_slice(&word.1);
                } else {
                    flush(run.replace(word), &mut text);
                }
            }
            _ => {
                flush(run.replace(word), &mut text);
                text.push_str(&unfolded(before));
            }
        }
        (rest, from) = (behind, 0);
    }
    flush(run, &mut text);
    text.push_str(&unfolded(rest));
    text
}

/// Character set and octets of the encoded word whose `=?` is before `octets`, and what stands
/// behind it. It may be longer than it should be and hold spaces, as many do.
fn encoded_word(octets: &[u8]) -> Option<((&str, Vec<u8>), &[u8])> {
    let mut parts = octets.splitn(4, |octet| *octet == b'?');
    let (charset, encoding, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let behind = parts.next()?.strip_prefix(b"=")?;
    // A language may stand behind the character set (RFC 2231 section 5).
    let charset = str::from_utf8(charset).ok()?.split('*').next()?;
    let plain = match encoding {
        b"B" | b"b" => base64(encoded),
        b"Q" | b"q" => {
            let underscore = |octet: &u8| if *octet == b'_' { b' ' } else { *octet };
            quoted_printable(&encoded.iter().map(underscore).collect::<Vec<_>>())
        }
        _ => return None,
    };
    Some(((charset, plain), behind))
}

/// Text that was not encoded, without its line ends.
fn unfolded(octets: &[u8]) -> String {
    let octets: Vec<_> = octets.iter().copied().filter(|octet| !b"\r\n".contains(octet)).collect();
    text(None, &octets)
}
