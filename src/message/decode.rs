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

/// Returns the octets after the line end, if only white space precedes it. The end of the input also
/// counts as a line end.
fn soft_line_break(octets: &[u8]) -> Option<&[u8]> {
    let blank = octets.iter().take_while(|octet| b" \t\r".contains(octet)).count();
    let rest = &octets[blank..];
    rest.strip_prefix(b"\n").or(rest.is_empty().then_some(rest))
}

/// Decodes text in a character set. If none is given, or US-ASCII, the text is decoded as UTF-8 if
/// it is valid UTF-8, and as windows-1252 otherwise. Text in an unknown set is decoded as UTF-8.
pub(super) fn text(charset: Option<&str>, octets: &[u8]) -> String {
    let charset = charset.unwrap_or("us-ascii");
    let ascii = charset.eq_ignore_ascii_case("us-ascii");
    match (charset_decoder(charset.as_bytes()), str::from_utf8(octets)) {
        (Some(_), Ok(text)) if ascii => text.to_owned(),
        (Some(decode), _) => decode(octets),
        (None, _) => String::from_utf8_lossy(octets).into_owned(),
    }
}

/// Unfolds the value of a header field and decodes its encoded words (RFC 2047).
pub(super) fn words(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value.trim_ascii();
    // Character set and octets of the preceding encoded words. They are decoded together, because
    // some programs split a character between two words.
    let mut run: Option<Word<'_>> = None;
    let flush = |run: Option<Word<'_>>, text: &mut String| {
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

/// Character set and octets of an encoded word.
type Word<'v> = (&'v str, Vec<u8>);

/// Parses the encoded word whose `=?` precedes `octets`. Returns it with the octets after it. Many
/// programs write words that contain spaces or exceed the maximum length, so both are accepted.
fn encoded_word(octets: &[u8]) -> Option<(Word<'_>, &[u8])> {
    let mut parts = octets.splitn(4, |octet| *octet == b'?');
    let (charset, encoding, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let behind = parts.next()?.strip_prefix(b"=")?;
    // A language may follow the character set (RFC 2231 section 5).
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

/// Returns text outside of encoded words, without its line ends.
fn unfolded(octets: &[u8]) -> String {
    let octets: Vec<_> = octets.iter().copied().filter(|octet| !b"\r\n".contains(octet)).collect();
    text(None, &octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_forgiving() {
        for (encoded, plain) in [
            ("", ""),
            ("YQ==", "a"),
            ("YWI=", "ab"),
            ("YWJj", "abc"),
            ("YWI", "ab"),
            ("Y", ""),
            ("YW\r\nJj\r\n", "abc"),
            ("Y!W*J\0j", "abc"),
            ("YQ==YmM=", "abc"),
            ("====", ""),
        ] {
            assert_eq!(base64(encoded.as_bytes()), plain.as_bytes(), "{encoded:?}");
        }
    }

    #[test]
    fn quoted_printable_is_forgiving() {
        for (encoded, plain) in [
            ("", ""),
            ("a=20b", "a b"),
            ("=e9=C9", "\u{e9}\u{c9}"),
            ("a=\r\nb", "ab"),
            ("a= \t\r\nb", "ab"),
            ("a=\nb=", "ab"),
            ("a=  ", "a"),
            ("a\r\nb", "a\r\nb"),
            ("=", ""),
            ("==", "="),
            ("==41", "=A"),
            ("=4", "=4"),
            ("=4G=GG=\r=x", "=4G=GG=\r=x"),
            ("= =41", "= A"),
        ] {
            let plain: Vec<_> = plain.chars().map(|c| c as u8).collect();
            assert_eq!(quoted_printable(encoded.as_bytes()), plain, "{encoded:?}");
        }
    }

    #[test]
    fn text_is_read_in_its_character_set() {
        for (charset, octets, expected) in [
            (None, &b"caf\xc3\xa9"[..], "caf\u{e9}"),
            (None, b"caf\xe9", "caf\u{e9}"),
            (Some("US-ASCII"), b"caf\xc3\xa9", "caf\u{e9}"),
            (Some("utf-8"), b"caf\xe9", "caf\u{fffd}"),
            (Some("UTF8"), b"caf\xc3\xa9", "caf\u{e9}"),
            (Some("iso-8859-1"), b"caf\xc3\xa9", "caf\u{c3}\u{a9}"),
            (Some("koi8-r"), b"\xf0", "\u{41f}"),
            (Some("utf-16be"), b"\0a\0", "a"),
            (Some("x-unknown"), b"caf\xc3\xa9\xff", "caf\u{e9}\u{fffd}"),
            (Some(""), b"a", "a"),
        ] {
            assert_eq!(text(charset, octets), expected, "{charset:?}");
        }
    }

    #[test]
    fn encoded_words_are_read() {
        for (value, expected) in [
            ("", ""),
            (" plain  text ", "plain  text"),
            ("folded\r\n\ttext", "folded\ttext"),
            ("caf\u{e9}", "caf\u{e9}"),
            ("=?utf-8?q?caf=C3=A9?=", "caf\u{e9}"),
            ("=?ISO-8859-1?Q?a_b=5F=E9?=", "a b_\u{e9}"),
            ("=?utf-8*fr?B?w6k=?=", "\u{e9}"),
            ("a =?utf-8?q?b?= c", "a b c"),
            ("a=?utf-8?q?b?=c", "abc"),
            // White space between encoded words is not shown. A split character is joined.
            ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
            ("=?utf-8?q?a?=\r\n =?utf-8?q?b?=", "ab"),
            ("=?utf-8?q?=C3?=\r\n =?UTF-8?b?qQ==?=", "\u{e9}"),
            ("=?utf-8?q?a?= =?koi8-r?q?=F0?= z", "a\u{41f} z"),
            ("=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
            // Words that contain spaces, and a word inside of other text.
            ("=?utf-8?q?a b?=", "a b"),
            ("(=?utf-8?q?a?=)", "(a)"),
            // Malformed encoded words are shown as they are.
            ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
            ("=?utf-8?q?a", "=?utf-8?q?a"),
            ("=?utf-8?q?a?", "=?utf-8?q?a?"),
            ("=?utf-8?q?a? =", "=?utf-8?q?a? ="),
            ("=?=?utf-8?q?a?=", "=?a"),
            ("=?", "=?"),
            ("1 =? 2 ?= 3", "1 =? 2 ?= 3"),
        ] {
            assert_eq!(words(value.as_bytes()), expected, "{value:?}");
        }
    }
}
