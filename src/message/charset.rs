//! Character sets of mail: the encodings of the WHATWG Encoding Standard (`encoding_rs`), and other
//! encodings that mail programs support. Decoding takes linear time and never fails.

use std::borrow::Cow;

use encoding_rs::{EUC_KR, Encoding, GBK, ISO_2022_JP, SHIFT_JIS, UTF_8, WINDOWS_1252};
use memchr::memchr;

/// A character set with a known label.
#[derive(Clone, Copy)]
enum Charset {
    Standard(&'static Encoding),
    Utf7,
    /// UTF-16 or UTF-32.
    Wide(Wide),
    /// ISO-2022-KR and ISO-2022-CN (RFC 1557, RFC 1922): 7-bit octets between SO and SI.
    Shifted(&'static Encoding),
    /// HZ-GB-2312 (RFC 1843).
    Hz,
    /// EBCDIC code page 037. Other EBCDIC code pages differ from it in a few characters.
    Ebcdic,
}

/// Code units of UTF-16 or UTF-32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wide {
    /// Octets of a code unit: 2 or 4.
    octets: usize,
    big_endian: bool,
}

/// Decodes text in the character set with this label. A byte order mark has precedence over the
/// label, as in browsers. Without a known label, text is UTF-8, or windows-1252 if it is not valid
/// UTF-8. Invalid octets become U+FFFD. NUL is left out, because it is not shown.
pub(crate) fn decode(label: Option<&str>, octets: &[u8]) -> String {
    let label = label.unwrap_or_default();
    if label.is_empty()
        && memchr(0, octets).is_none()
        && let Ok(text) = str::from_utf8(octets)
    {
        return text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
    }
    let charset = Charset::named(label);
    let mut text = if let Some((wide, mark)) = Wide::marked(octets) {
        wide.decode(&octets[mark..])
    } else if let Some(wide) = Wide::detected(octets, charset) {
        wide.decode(octets)
    } else {
        let charset = charset.filter(|charset| !matches!(charset, Charset::Wide(_)));
        charset.map_or_else(|| unlabelled(octets), |charset| charset.decode(octets))
    };
    if memchr(0, text.as_bytes()).is_some() {
        text.retain(|c| c != '\0');
    }
    text
}

/// Decodes text without a known label.
fn unlabelled(octets: &[u8]) -> String {
    let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
    match str::from_utf8(octets) {
        Ok(text) => text.to_owned(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(octets).0.into_owned(),
    }
}

impl Charset {
    /// Returns the character set with this label. Case and punctuation are ignored for labels that
    /// the standard does not know.
    fn named(label: &str) -> Option<Self> {
        let short: String = label.chars().filter(char::is_ascii_alphanumeric).collect();
        let short = short.to_ascii_lowercase();
        let wide = |octets, big_endian| Some(Self::Wide(Wide { octets, big_endian }));
        match &*short {
            "" | "usascii" | "ascii" | "646" | "ansix341968" => return None,
            "utf7" | "u7" | "unicode11utf7" | "csunicode11utf7" | "xunicode20utf7" => {
                return Some(Self::Utf7);
            }
            "utf16" | "u16" | "utf16le" | "utf16bom" | "unicode" | "ucs2" | "csunicode" => {
                return wide(2, false);
            }
            "utf16be" | "iso10646ucs2" | "unicodebig" | "unicodefffe" => return wide(2, true),
            "utf32" | "u32" | "utf32le" => return wide(4, false),
            "utf32be" | "ucs4" | "iso10646ucs4" | "csucs4" => return wide(4, true),
            "iso2022kr" | "csiso2022kr" => return Some(Self::Shifted(EUC_KR)),
            "iso2022cn" | "iso2022cnext" => return Some(Self::Shifted(GBK)),
            "hzgb2312" | "hz" | "hzgb" => return Some(Self::Hz),
            "ebcdic" | "cp037" | "ibm037" | "ebcdiccpus" | "cp500" | "ibm500" | "cp1140"
            | "ibm1140" | "ibm01140" | "cp1047" | "ibm1047" | "csibm037" | "csibm500" => {
                return Some(Self::Ebcdic);
            }
            "cp932" | "ms932" | "sjis2004" | "shiftjis2004" => {
                return Some(Self::Standard(SHIFT_JIS));
            }
            "cp936" | "ms936" | "euccn" => return Some(Self::Standard(GBK)),
            "cp949" | "ms949" | "uhc" | "johab" => return Some(Self::Standard(EUC_KR)),
            "utf8" | "u8" | "utf8sig" | "cp65001" | "cesu8" => return Some(Self::Standard(UTF_8)),
            short if short.starts_with("iso2022jp") => return Some(Self::Standard(ISO_2022_JP)),
            _ => {}
        }
        let standard = |label: &str| Encoding::for_label_no_replacement(label.as_bytes());
        let found = standard(label).or_else(|| standard(&label.replace(['_', ' '], "-")));
        found.or_else(|| standard(&short)).map(Self::Standard)
    }

    fn decode(self, octets: &[u8]) -> String {
        match self {
            Self::Standard(encoding) if encoding == ISO_2022_JP => {
                let octets = without_unused_escapes(octets);
                ISO_2022_JP.decode_without_bom_handling(&octets).0.into_owned()
            }
            Self::Standard(encoding) => encoding.decode_with_bom_removal(octets).0.into_owned(),
            Self::Utf7 => utf7(octets),
            Self::Wide(wide) => wide.decode(octets),
            Self::Shifted(encoding) => {
                encoding.decode_without_bom_handling(&shifted(octets)).0.into_owned()
            }
            Self::Hz => GBK.decode_without_bom_handling(&hz(octets)).0.into_owned(),
            Self::Ebcdic => {
                octets.iter().map(|octet| char::from(EBCDIC[usize::from(*octet)])).collect()
            }
        }
    }
}

impl Wide {
    /// Returns the encoding that a byte order mark declares, and the length of the mark.
    fn marked(octets: &[u8]) -> Option<(Self, usize)> {
        let wide = |octets, big_endian| Some((Self { octets, big_endian }, octets));
        match octets {
            [0, 0, 0xfe, 0xff, ..] => wide(4, true),
            [0xff, 0xfe, 0, 0, ..] => wide(4, false),
            [0xfe, 0xff, ..] => wide(2, true),
            [0xff, 0xfe, ..] => wide(2, false),
            _ => None,
        }
    }

    /// Returns the encoding that the positions of NUL octets indicate. In ASCII text, one of two
    /// octets is NUL in UTF-16, and three of four octets in UTF-32. A text that is declared as
    /// UTF-16 is not UTF-16 if it is ASCII without NUL.
    fn detected(octets: &[u8], declared: Option<Charset>) -> Option<Self> {
        /// Octets that are counted.
        const COUNTED: usize = 4_096;
        let declared = match declared {
            Some(Charset::Wide(wide)) => Some(wide),
            _ if memchr(0, &octets[..octets.len().min(COUNTED)]).is_none() => return None,
            _ => None,
        };
        let counted = &octets[..octets.len().min(COUNTED)];
        let mut nul = [0_usize; 4];
        for (at, octet) in counted.iter().enumerate() {
            nul[at % 4] += usize::from(*octet == 0);
        }
        let quarter = counted.len() / 4;
        let often = |count: usize| count > quarter / 2;
        let [a, b, c, d] = nul.map(often);
        let wide = |octets, big_endian| Some(Self { octets, big_endian });
        match (a, b, c, d) {
            (true, true, true, false) => wide(4, true),
            (false, true, true, true) => wide(4, false),
            (true, false, true, false) => wide(2, true),
            (false, true, false, true) => wide(2, false),
            _ if nul == [0; 4] && octets.is_ascii() => None,
            _ => declared,
        }
    }

    fn decode(self, octets: &[u8]) -> String {
        let code = |unit: &[u8]| {
            let shift = |code: u32, octet: &u8| code << 8 | u32::from(*octet);
            if self.big_endian {
                unit.iter().fold(0, shift)
            } else {
                unit.iter().rev().fold(0, shift)
            }
        };
        let units = octets.chunks(self.octets).filter(|unit| unit.len() == self.octets).map(code);
        if self.octets == 4 {
            return units.map(|code| char::from_u32(code).unwrap_or('\u{fffd}')).collect();
        }
        let units = units.map(|code| u16::try_from(code).unwrap_or_default());
        char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect()
    }
}

/// Decodes UTF-7 (RFC 2152). Octets outside of the encoding are kept as windows-1252.
fn utf7(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    let mut rest = octets;
    while let Some(at) = memchr(b'+', rest) {
        text.push_str(&unlabelled(&rest[..at]));
        rest = &rest[at + 1..];
        let is_base64 = |octet: &u8| octet.is_ascii_alphanumeric() || b"+/".contains(octet);
        let length = rest.iter().take_while(|octet| is_base64(octet)).count();
        let (encoded, behind) = rest.split_at(length);
        match (encoded, behind.strip_prefix(b"-")) {
            ([], Some(behind)) => {
                text.push('+');
                rest = behind;
            }
            ([], None) => text.push('+'),
            (_, behind_dash) => {
                let big_endian = Wide { octets: 2, big_endian: true };
                text.push_str(&big_endian.decode(&super::transfer::base64(encoded).0));
                rest = behind_dash.unwrap_or(behind);
            }
        }
    }
    text.push_str(&unlabelled(rest));
    text
}

/// Returns 7-bit text with shifts (SO, SI) as 8-bit text. A line end ends a shift. Escape sequences,
/// which designate the character set, are removed.
fn shifted(octets: &[u8]) -> Cow<'_, [u8]> {
    let mut plain = Vec::with_capacity(octets.len());
    let mut is_shifted = false;
    let mut rest = octets;
    while let Some((octet, behind)) = rest.split_first() {
        rest = behind;
        match octet {
            0x0e => is_shifted = true,
            0x0f => is_shifted = false,
            0x1b if behind.starts_with(b"$") => rest = behind.get(3..).unwrap_or_default(),
            0x21..=0x7e if is_shifted => plain.push(octet | 0x80),
            _ => {
                is_shifted &= *octet != b'\n';
                plain.push(*octet);
            }
        }
    }
    plain.into()
}

/// Removes each escape sequence that is directly followed by another one. The standard reports an
/// error for them, but mail programs ignore them.
fn without_unused_escapes(octets: &[u8]) -> Vec<u8> {
    let is_escape = |octets: &[u8]| matches!(octets, [0x1b, b'(' | b'$', _, ..]);
    let mut kept = Vec::with_capacity(octets.len());
    let mut rest = octets;
    while let Some((octet, behind)) = rest.split_first() {
        if is_escape(rest) && is_escape(&rest[3..]) {
            rest = &rest[3..];
            continue;
        }
        kept.push(*octet);
        rest = behind;
    }
    kept
}

/// Returns HZ text as GBK.
fn hz(octets: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(octets.len());
    let mut is_shifted = false;
    let mut rest = octets;
    while let Some((octet, behind)) = rest.split_first() {
        rest = behind;
        match (octet, behind.first()) {
            (b'~', Some(b'{')) => is_shifted = true,
            (b'~', Some(b'}')) => is_shifted = false,
            (b'~', Some(b'\n')) => {}
            (b'~', Some(b'\r')) if behind.starts_with(b"\r\n") => rest = &rest[1..],
            (b'~', Some(b'~')) if !is_shifted => plain.push(b'~'),
            _ => {
                is_shifted &= *octet != b'\n';
                let is_half = is_shifted && (0x21..=0x7e).contains(octet);
                plain.push(if is_half { octet | 0x80 } else { *octet });
                continue;
            }
        }
        rest = &rest[1..];
    }
    plain
}

/// Code page 037 in Latin-1.
const EBCDIC: &[u8; 256] = b"\
    \x00\x01\x02\x03\x9c\x09\x86\x7f\x97\x8d\x8e\x0b\x0c\x0d\x0e\x0f\
    \x10\x11\x12\x13\x9d\x85\x08\x87\x18\x19\x92\x8f\x1c\x1d\x1e\x1f\
    \x80\x81\x82\x83\x84\x0a\x17\x1b\x88\x89\x8a\x8b\x8c\x05\x06\x07\
    \x90\x91\x16\x93\x94\x95\x96\x04\x98\x99\x9a\x9b\x14\x15\x9e\x1a\
    \x20\xa0\xe2\xe4\xe0\xe1\xe3\xe5\xe7\xf1\xa2\x2e\x3c\x28\x2b\x7c\
    \x26\xe9\xea\xeb\xe8\xed\xee\xef\xec\xdf\x21\x24\x2a\x29\x3b\xac\
    \x2d\x2f\xc2\xc4\xc0\xc1\xc3\xc5\xc7\xd1\xa6\x2c\x25\x5f\x3e\x3f\
    \xf8\xc9\xca\xcb\xc8\xcd\xce\xcf\xcc\x60\x3a\x23\x40\x27\x3d\x22\
    \xd8\x61\x62\x63\x64\x65\x66\x67\x68\x69\xab\xbb\xf0\xfd\xfe\xb1\
    \xb0\x6a\x6b\x6c\x6d\x6e\x6f\x70\x71\x72\xaa\xba\xe6\xb8\xc6\xa4\
    \xb5\x7e\x73\x74\x75\x76\x77\x78\x79\x7a\xa1\xbf\xd0\xdd\xde\xae\
    \x5e\xa3\xa5\xb7\xa9\xa7\xb6\xbc\xbd\xbe\x5b\x5d\xaf\xa8\xb4\xd7\
    \x7b\x41\x42\x43\x44\x45\x46\x47\x48\x49\xad\xf4\xf6\xf2\xf3\xf5\
    \x7d\x4a\x4b\x4c\x4d\x4e\x4f\x50\x51\x52\xb9\xfb\xfc\xf9\xfa\xff\
    \x5c\xf7\x53\x54\x55\x56\x57\x58\x59\x5a\xb2\xd4\xd6\xd2\xd3\xd5\
    \x30\x31\x32\x33\x34\x35\x36\x37\x38\x39\xb3\xdb\xdc\xd9\xda\x9f";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_in_its_character_set() {
        for (charset, octets, expected) in [
            (None, &b"caf\xc3\xa9"[..], "caf\u{e9}"),
            (None, b"caf\xe9", "caf\u{e9}"),
            (Some("US-ASCII"), b"caf\xc3\xa9", "caf\u{e9}"),
            (Some("utf-8"), b"caf\xe9", "caf\u{fffd}"),
            (Some("UTF8"), b"caf\xc3\xa9", "caf\u{e9}"),
            (Some("utf-8"), b"\xef\xbb\xbfa", "a"),
            (None, b"\xef\xbb\xbfa", "a"),
            (Some("iso-8859-1"), b"caf\xc3\xa9", "caf\u{c3}\u{a9}"),
            (Some("ISO_8859-1"), b"\x93", "\u{201c}"),
            (Some("latin-1"), b"\xe9", "\u{e9}"),
            (Some("koi8-r"), b"\xf0", "\u{41f}"),
            (Some("cp1251"), b"\xcf", "\u{41f}"),
            (Some("gb2312"), b"\xc4\xe3", "\u{4f60}"),
            (Some("cp936"), b"\xc4\xe3", "\u{4f60}"),
            (Some("x-unknown"), b"caf\xc3\xa9", "caf\u{e9}"),
            (Some("x-unknown"), b"caf\xe9", "caf\u{e9}"),
            (Some(""), b"a", "a"),
            (None, b"a\0b", "ab"),
            (Some("iso-2022-jp"), b"\x1b$B$\"\x1b(Ba", "\u{3042}a"),
            (Some("iso-2022-jp-2"), b"\x1b$B$\"\x1b(Ba", "\u{3042}a"),
            (Some("iso-2022-jp"), b"\x1b$B\x1b(J\x1b(Ba\x1b(Bb\x1b", "ab\u{fffd}"),
            (Some("ISO-2022-KR"), b"\x1b$)Ca\x0e0!\x0fb", "a\u{ac00}b"),
            (Some("iso-2022-kr"), b"\x0e0!\nab", "\u{ac00}\nab"),
            (Some("iso-2022-cn"), b"\x1b$)A\x0eDc\x0fb", "\u{4f60}b"),
            (Some("hz-gb-2312"), b"a~{Dc~}b~~~\nc~\r\nd", "a\u{4f60}b~cd"),
            (Some("utf-7"), b"Hi Mom -+Jjo--!+-+", "Hi Mom -\u{263a}-!++"),
            (Some("unicode-1-1-utf-7"), b"+AGgAdAB0AHA:x", "http:x"),
            (Some("cp500"), b"\x88\xa3\xa3\x97\x7a\x61\x61", "http://"),
        ] {
            assert_eq!(decode(charset, octets), expected, "{charset:?} {octets:?}");
        }
    }

    #[test]
    fn wide_characters_are_read_with_and_without_mark_and_label() {
        let text = "http://b\u{e9}.example/\u{1f600}";
        let sixteen: Vec<u16> = text.encode_utf16().collect();
        let encoded = [
            ("utf-16le", sixteen.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<_>>()),
            ("utf-16be", sixteen.iter().flat_map(|unit| unit.to_be_bytes()).collect()),
            ("utf-32le", text.chars().flat_map(|c| (c as u32).to_le_bytes()).collect()),
            ("utf-32be", text.chars().flat_map(|c| (c as u32).to_be_bytes()).collect()),
        ];
        for (name, octets) in encoded {
            let mark = match name {
                "utf-16le" => &b"\xff\xfe"[..],
                "utf-16be" => b"\xfe\xff",
                "utf-32le" => b"\xff\xfe\0\0",
                _ => b"\0\0\xfe\xff",
            };
            let marked = [mark, &octets].concat();
            for label in [Some(name), Some("utf-16"), Some("UTF-32"), Some("utf-8"), None] {
                assert_eq!(decode(label, &octets), text, "{name} as {label:?}");
                assert_eq!(decode(label, &marked), text, "{name} with mark as {label:?}");
            }
        }
        // Not ASCII: the label decides.
        assert_eq!(decode(Some("utf-16be"), b"\x4f\x60\x59\x7d"), "O`Y}");
        assert_eq!(decode(Some("utf-16be"), b"\x4f\xc0\x59\x7d"), "\u{4fc0}\u{597d}");
        assert_eq!(decode(Some("utf-16"), b"http://a.example/"), "http://a.example/");
        assert_eq!(decode(Some("utf-16le"), b"a\0\0\xd8b\0c"), "a\u{fffd}b");
    }
}
