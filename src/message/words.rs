//! Encoded words in header fields (RFC 2047). Decoding takes linear time and never fails, because mail
//! programs show what they can.

use memchr::{memchr2, memmem};

use super::{charset, transfer};

/// Unfolds the value of a header field and decodes its encoded words (RFC 2047).
pub(crate) fn decode(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value.trim_ascii();
    // Character set and octets of the preceding encoded words. They are decoded together, because
    // some programs split a character between two words.
    let mut run: Option<Word<'_>> = None;
    let flush = |run: Option<Word<'_>>, text: &mut String| {
        if let Some((charset, octets)) = run {
            text.push_str(&charset::decode(Some(charset), &octets));
        }
    };
    let mut from = 0;
    // A word that begins after the last end of one is none.
    let last = memmem::rfind(rest, b"?=").map_or(usize::MAX, |end| rest.len() - end);
    while let Some(at) = memmem::find(&rest[from..], b"=?").map(|at| from + at) {
        if rest.len() - at <= last {
            break;
        }
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
/// programs write words that contain spaces or question marks, or exceed the maximum length, so these
/// are accepted.
fn encoded_word(octets: &[u8]) -> Option<(Word<'_>, &[u8])> {
    let mut parts = octets.splitn(3, |octet| *octet == b'?');
    let (charset, encoding, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let end = memmem::find(rest, b"?=")?;
    let (encoded, behind) = (&rest[..end], &rest[end + 2..]);
    // A language may follow the character set (RFC 2231 section 5).
    let charset = str::from_utf8(charset).ok()?.split('*').next()?;
    let plain = match encoding {
        b"B" | b"b" => transfer::base64(encoded).0,
        b"Q" | b"q" => {
            let underscore = |octet: &u8| if *octet == b'_' { b' ' } else { *octet };
            transfer::quoted_printable(&encoded.iter().map(underscore).collect::<Vec<_>>())
        }
        _ => return None,
    };
    Some(((charset, plain), behind))
}

/// Returns text outside of encoded words, without its line ends.
fn unfolded(octets: &[u8]) -> String {
    if memchr2(b'\r', b'\n', octets).is_none() {
        return charset::decode(None, octets);
    }
    let octets: Vec<_> = octets.iter().copied().filter(|octet| !b"\r\n".contains(octet)).collect();
    charset::decode(None, &octets)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("=?utf-8?q?a?b?= ?=", "a?b ?="),
            ("=?x ?= =?utf-8?q?a?=", "=?x ?= a"),
            // Malformed encoded words are shown as they are.
            ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
            ("=?utf-8?q?a", "=?utf-8?q?a"),
            ("=?utf-8?q?a?", "=?utf-8?q?a?"),
            ("=?utf-8?q?a? =", "=?utf-8?q?a? ="),
            ("=?=?utf-8?q?a?=", "=?a"),
            ("=?", "=?"),
            ("1 =? 2 ?= 3", "1 =? 2 ?= 3"),
        ] {
            assert_eq!(decode(value.as_bytes()), expected, "{value:?}");
        }
    }
}
