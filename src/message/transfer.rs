//! Transfer encodings (RFC 2045 section 6): base64, quoted-printable and uuencode. Decoding takes
//! linear time and never fails, because mail programs display the valid parts of a malformed body.

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memmem};

use super::section::{line_end, without_end};

/// Transfer encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Encoding {
    #[default]
    Identity,
    Base64,
    QuotedPrintable,
    Uuencode,
}

impl Encoding {
    /// Returns the encoding with this name, without regard to case.
    pub(super) fn named(name: &[u8]) -> Self {
        let name = name.to_ascii_lowercase();
        match &name[..] {
            b"base64" => Self::Base64,
            b"quoted-printable" => Self::QuotedPrintable,
            b"uuencode" | b"uue" | b"x-uuencode" | b"x-uue" => Self::Uuencode,
            _ => Self::Identity,
        }
    }
}

/// Value of each octet in base64, or one of the three constants below.
pub(crate) const SEXTETS: [u8; 256] = {
    let mut sextets = [FOREIGN; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0;
    while value < 64 {
        sextets[alphabet[value as usize] as usize] = value;
        value += 1;
    }
    sextets[b'=' as usize] = PADDING;
    sextets[b' ' as usize] = SPACE;
    sextets[b'\t' as usize] = SPACE;
    sextets[b'\r' as usize] = SPACE;
    sextets[b'\n' as usize] = SPACE;
    sextets
};
/// An octet that is not in the alphabet.
pub(crate) const FOREIGN: u8 = 0x80;
pub(crate) const PADDING: u8 = 0x81;
pub(crate) const SPACE: u8 = 0x82;

/// Decodes base64 (RFC 2045 section 6.8). Octets outside of the alphabet are skipped. Decoding
/// continues after padding, as in programs that join base64 texts. Also returns whether the text is
/// valid: programs show an invalid text undecoded.
pub(super) fn base64(octets: &[u8]) -> (Vec<u8>, bool) {
    let mut plain = Vec::with_capacity(octets.len() / 4 * 3 + 3);
    let (mut bits, mut pending, mut is_valid) = (0_u32, 0, true);
    let mut rest = octets;
    while !rest.is_empty() {
        if pending == 0 {
            rest = decode_groups(rest, &mut plain);
        }
        let Some((octet, behind)) = rest.split_first() else { break };
        rest = behind;
        match SEXTETS[usize::from(*octet)] {
            SPACE => {}
            FOREIGN => is_valid = false,
            PADDING => {
                is_valid &= pending != 1;
                finish(&mut plain, bits, pending);
                (bits, pending) = (0, 0);
            }
            sextet => {
                (bits, pending) = (bits << 6 | u32::from(sextet), pending + 1);
                if pending == 4 {
                    plain.extend_from_slice(&bits.to_be_bytes()[1..]);
                    (bits, pending) = (0, 0);
                }
            }
        }
    }
    finish(&mut plain, bits, pending);
    (plain, is_valid && pending != 1)
}

/// Decodes groups of four digits with nothing between them. Returns the rest of the text.
pub(crate) fn decode_groups<'t>(mut text: &'t [u8], to: &mut Vec<u8>) -> &'t [u8] {
    /// Groups that are decoded before they are appended.
    const GROUPS: usize = 16;

    loop {
        let mut octets = [0; 3 * GROUPS];
        let mut count = 0;
        for (group, octets) in text.chunks_exact(4).zip(octets.chunks_exact_mut(3)) {
            let sextet = |at: usize| SEXTETS[usize::from(group[at])];
            let (a, b, c, d) = (sextet(0), sextet(1), sextet(2), sextet(3));
            // The constants that are not digits have the highest bit.
            if (a | b | c | d) & FOREIGN != 0 {
                break;
            }
            octets.copy_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
            count += 1;
        }
        to.extend_from_slice(&octets[..3 * count]);
        text = &text[4 * count..];
        if count < GROUPS {
            return text;
        }
    }
}

/// Returns the base64 text before the first octet at which some programs end it, if data follows: padding,
/// or an octet outside of the alphabet.
pub(super) fn base64_head(octets: &[u8]) -> Option<&[u8]> {
    let is_end = |octet: &u8| matches!(SEXTETS[usize::from(*octet)], FOREIGN | PADDING);
    let (head, rest) = octets.split_at(octets.iter().position(is_end)?);
    rest.iter().any(|octet| SEXTETS[usize::from(*octet)] < FOREIGN).then_some(head)
}

/// Appends the octets of an incomplete group.
fn finish(plain: &mut Vec<u8>, bits: u32, pending: u32) {
    match pending {
        2 => plain.extend_from_slice(&(bits << 12).to_be_bytes()[1..2]),
        3 => plain.extend_from_slice(&(bits << 6).to_be_bytes()[1..3]),
        _ => {}
    }
}

/// Decodes quoted-printable (RFC 2045 section 6.7). An invalid `=` is kept.
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

/// Parses two hexadecimal digits. Returns their value and the octets after them.
pub(super) fn hexadecimal(octets: &[u8]) -> Option<(u8, &[u8])> {
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

/// Decodes the uuencoded files in a text (POSIX `uuencode`), in order. A file begins with a line
/// such as `begin 644 name` and ends with the first line that is not encoded.
pub(super) fn uuencoded(octets: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut begins = memmem::find_iter(octets, b"begin");
    let mut read = 0;
    std::iter::from_fn(move || {
        loop {
            let at = begins.next()?;
            let is_first = at == 0 || octets[at - 1] == b'\n';
            if at < read || !is_first {
                continue;
            }
            let end = line_end(octets, at);
            let line = without_end(&octets[at..end]);
            let Some(is_base64) = begin_line(line) else { continue };
            let (file, end) = if is_base64 { base64_file(octets, end) } else { file(octets, end) };
            read = end;
            if !file.is_empty() {
                return Some(file);
            }
        }
    })
}

/// Returns whether a file begins with this line. `Some(true)` means that it is encoded in base64.
fn begin_line(line: &[u8]) -> Option<bool> {
    let mut words = line.split(|octet| b" \t".contains(octet)).filter(|word| !word.is_empty());
    let is_base64 = match words.next()? {
        b"begin" => false,
        b"begin-base64" => true,
        _ => return None,
    };
    let mode = words.next()?;
    let is_mode = (3..=6).contains(&mode.len()) && mode.iter().all(|it| (b'0'..=b'7').contains(it));
    is_mode.then_some(is_base64)
}

/// Decodes the lines of a file. Returns it and the end of its last line.
fn file(octets: &[u8], mut at: usize) -> (Vec<u8>, usize) {
    let mut file = Vec::new();
    while at < octets.len() {
        let end = line_end(octets, at);
        let line = without_end(&octets[at..end]);
        // Programs strip spaces, which are zeros, from the end of a line.
        let Some((length, data)) = line.split_first() else { break };
        let length = usize::from(length.wrapping_sub(b' ') & 0x3f);
        let groups = length.div_ceil(3);
        let is_data = data.iter().all(|octet| (b' '..=b'`').contains(octet));
        if length == 0 || !is_data || data.len() > 4 * groups + 2 {
            break;
        }
        let begin = file.len();
        for group in data.chunks(4).take(groups) {
            let bits = (0..4).fold(0_u32, |bits, at| {
                let octet = group.get(at).copied().unwrap_or(b' ');
                bits << 6 | u32::from(octet.wrapping_sub(b' ') & 0x3f)
            });
            file.extend_from_slice(&bits.to_be_bytes()[1..]);
        }
        file.truncate(begin + length);
        at = end;
    }
    (file, at)
}

/// Decodes a file in base64, which ends with a line `====`.
fn base64_file(octets: &[u8], begin: usize) -> (Vec<u8>, usize) {
    let rest = &octets[begin..];
    let length = memmem::find(rest, b"\n====").unwrap_or(rest.len());
    (base64(&rest[..length]).0, begin + length)
}

/// Replaces a CR at the end of a line by CRLF in decoded content. The undecoded content of a
/// message has no such lines.
pub(super) fn with_line_ends(octets: Bytes) -> Bytes {
    let is_bare = |at: usize| octets.get(at + 1) != Some(&b'\n');
    if !memchr_iter(b'\r', &octets).any(is_bare) {
        return octets;
    }
    let mut lines = Vec::with_capacity(octets.len() + octets.len() / 16);
    for (at, octet) in octets.iter().enumerate() {
        lines.push(*octet);
        if *octet == b'\r' && is_bare(at) {
            lines.push(b'\n');
        }
    }
    lines.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_forgiving() {
        for (encoded, plain, is_valid) in [
            ("", "", true),
            ("YQ==", "a", true),
            ("YWI=", "ab", true),
            ("YWJj", "abc", true),
            ("YWI", "ab", true),
            ("Y", "", false),
            ("YW\r\nJj\r\n", "abc", true),
            (" YWJj\tYWJj ", "abcabc", true),
            ("Y!W*J\0j", "abc", false),
            ("YQ==YmM=", "abc", true),
            ("YQ=YmM=", "abc", true),
            ("====", "", true),
            ("Y===", "", false),
        ] {
            let expected = (plain.as_bytes().to_vec(), is_valid);
            assert_eq!(base64(encoded.as_bytes()), expected, "{encoded:?}");
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
    fn uuencoded_files_are_found_in_text() {
        for (text, files) in [
            ("", &[][..]),
            ("begin 644 x\r\n#86)C\r\n`\r\nend\r\n", &["abc"]),
            ("hello\nbegin  0644 a b\n#86)C\n \nend\nbegin 755 y\n\"86(\n", &["abc", "ab"]),
            // Spaces at the end of a line are lost.
            ("begin 644 x\n$86)C\n", &["abc"]),
            ("begin 644 x\n&86)C86(\n", &["abcab\0"]),
            ("begin-base64 644 x\nYWJj\n====\nbegin 644 x\n#86)C", &["abc", "abc"]),
            ("begin 644 x\nIt is a sentence.\n", &[]),
            ("begin the day\n#86)C\n", &[]),
            ("xbegin 644 x\n#86)C\n", &[]),
            ("begin 999 x\n#86)C\n", &[]),
            ("begin 644", &[]),
        ] {
            let found: Vec<_> = uuencoded(text.as_bytes()).collect();
            let found: Vec<_> = found.iter().map(|file| str::from_utf8(file).unwrap()).collect();
            assert_eq!(found, files, "{text:?}");
        }
    }
}
