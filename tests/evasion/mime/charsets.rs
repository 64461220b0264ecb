//! Character sets.

use super::{MIME_TOOLS, OTHER, PYTHON, SHOWN, SPAMASSASSIN, Text};
use crate::Row;

pub(super) const ROWS: &[Text] = &[
    ("utf-7", PYTHON, "Content-Type: text/plain; charset=utf-7\n\n%UTF7%\n"),
    ("utf-7 in upper case", PYTHON, "Content-Type: text/plain; charset=\"UTF-7\"\n\n%UTF7%\n"),
    (
        "unicode-1-1-utf-7",
        PYTHON,
        "Content-Type: text/plain; charset=unicode-1-1-utf-7\n\n%UTF7%\n",
    ),
    (
        "utf-7 without its end",
        PYTHON,
        "Content-Type: text/html; charset=utf-7\n\n+AGgAdAB0AHA://bad.example/\n",
    ),
    (
        "character set in continuations",
        PYTHON,
        "Content-Type: text/plain; charset*0=utf; charset*1=-7\n\n%UTF7%\n",
    ),
    (
        "character set percent-encoded",
        PYTHON,
        "Content-Type: text/plain; charset*=us-ascii''utf%2D7\n\n%UTF7%\n",
    ),
    ("character set folded", PYTHON, "Content-Type: text/plain; charset=\n utf-7\n\n%UTF7%\n"),
    ("character set of an invalid type", PYTHON, "Content-Type: text; charset=utf-7\n\n%UTF7%\n"),
    ("character set without type", PYTHON, "Content-Type: ; charset=utf-7\n\n%UTF7%\n"),
    (
        "junk before the name of a parameter",
        SPAMASSASSIN,
        "Content-Type: text/plain; ,charset=utf-7\n\n%UTF7%\n",
    ),
    (
        "character set after a quote without its end",
        SPAMASSASSIN,
        "Content-Type: text/plain; x=\"y; charset=utf-7\n\n%UTF7%\n",
    ),
    (
        "first of two character sets",
        PYTHON,
        "Content-Type: text/plain; charset=utf-7; charset=us-ascii\n\n%UTF7%\n",
    ),
    (
        "last of two character sets",
        MIME_TOOLS,
        "Content-Type: text/plain; charset=us-ascii; charset=utf-7\n\n%UTF7%\n",
    ),
    (
        "character set in a comment",
        PYTHON,
        "Content-Type: text/plain; charset=utf-7 (x)\n\n%UTF7%\n",
    ),
    (
        "unknown character set",
        PYTHON,
        "Content-Type: text/plain; charset=x-unknown\n\n%LINK% \u{e9}\n",
    ),
    ("empty character set", PYTHON, "Content-Type: text/plain; charset=\"\"\n\n%LINK%\n"),
    (
        "unknown character set, encoded",
        PYTHON,
        "Content-Type: text/plain; charset=x-unknown\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "hz-gb-2312",
        PYTHON,
        "Content-Type: text/plain; charset=hz-gb-2312\n\n~{VPND~}~\nhttp://~\nbad.example/\n",
    ),
    (
        "iso-2022-kr",
        PYTHON,
        "Content-Type: text/plain; charset=iso-2022-kr\n\n\u{1b}$)C\u{e}0!\u{f} %LINK%\n",
    ),
    (
        "iso-2022-jp",
        PYTHON,
        "Content-Type: text/plain; charset=iso-2022-jp\n\n\u{1b}$B$\"\u{1b}(B%LINK%\n",
    ),
    (
        "iso-2022-jp with escapes in the link",
        PYTHON,
        "Content-Type: text/plain; charset=iso-2022-jp\n\nhttp://b\u{1b}(Bad.ex\u{1b}(J\u{1b}(Bample/\n",
    ),
    ("undeclared 8-bit text", PYTHON, "Subject: x\n\n\u{e9} %LINK%\n"),
    (
        "utf-16 declared for ASCII",
        MIME_TOOLS,
        "Content-Type: text/plain; charset=utf-16\n\n%LINK%\n",
    ),
];

/// Rows in binary, in base64 and in quoted-printable, for each character set.
pub(super) fn rows() -> Vec<Row> {
    let sixteen = |text: &str| text.encode_utf16().collect::<Vec<_>>();
    let little = |text: &str| sixteen(text).into_iter().flat_map(u16::to_le_bytes).collect();
    let big = |text: &str| sixteen(text).into_iter().flat_map(u16::to_be_bytes).collect();
    let little_32 = |text: &str| text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    let big_32 = |text: &str| text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
    let ebcdic = |text: &str| text.bytes().map(|octet| EBCDIC[usize::from(octet)]).collect();
    let plain = |text: &str| text.as_bytes().to_vec();
    type Encode<'e> = &'e dyn Fn(&str) -> Vec<u8>;
    let text = format!("see {SHOWN} now\n");
    let marked = format!("\u{feff}{text}");
    let rows: [(&'static str, &str, &str, Encode<'_>, &'static str); 17] = [
        ("utf-16le", "utf-16le", &text, &little, PYTHON),
        ("utf-16be", "utf-16be", &text, &big, PYTHON),
        ("utf-16 with mark, little-endian", "utf-16", &marked, &little, PYTHON),
        ("utf-16 with mark, big-endian", "utf-16", &marked, &big, PYTHON),
        ("utf-16 without mark, little-endian", "utf-16", &text, &little, PYTHON),
        ("utf-16 without mark, big-endian", "utf-16", &text, &big, MIME_TOOLS),
        ("utf-16 undeclared, with mark", "", &marked, &little, OTHER),
        ("utf-16 undeclared, without mark", "", &text, &little, OTHER),
        ("utf-16 declared as utf-8", "utf-8", &text, &big, OTHER),
        ("utf-32le", "utf-32le", &text, &little_32, PYTHON),
        ("utf-32be", "utf-32be", &text, &big_32, PYTHON),
        ("utf-32 with mark", "utf-32", &marked, &big_32, PYTHON),
        ("utf-32 undeclared", "", &text, &little_32, OTHER),
        ("cp037", "cp037", &text, &ebcdic, PYTHON),
        ("cp500", "cp500", &text, &ebcdic, PYTHON),
        ("utf-8 with mark", "utf-8", &marked, &plain, PYTHON),
        ("cp437", "cp437", &text, &plain, PYTHON),
    ];
    let row = |(name, charset, text, encode, reader): (&'static str, &str, &str, Encode<'_>, _)| {
        let body: String = encode(text).iter().map(|octet| format!("={octet:02X}")).collect();
        let charset =
            if charset.is_empty() { String::new() } else { format!("; charset={charset}") };
        let content = format!(
            "Content-Type: text/plain{charset}\nContent-Transfer-Encoding: quoted-printable\n\n{body}\n"
        );
        Row { name, reader, content: content.into() }
    };
    rows.map(row).into()
}

/// Code page 037 of ASCII, as far as it is needed here.
const EBCDIC: [u8; 128] = {
    let mut table = [0x40; 128];
    let runs: [(u8, u8, u8); 7] = [
        (b'a', b'i', 0x81),
        (b'j', b'r', 0x91),
        (b's', b'z', 0xa2),
        (b'/', b'/', 0x61),
        (b':', b':', 0x7a),
        (b'.', b'.', 0x4b),
        (b'\n', b'\n', 0x25),
    ];
    let mut run = 0;
    while run < runs.len() {
        let (first, last, code) = runs[run];
        let mut octet = first;
        while octet <= last {
            table[octet as usize] = code + (octet - first);
            octet += 1;
        }
        run += 1;
    }
    table
};
