//! Mail data of every kind, and the form in which it must arrive.

use super::ledger;
use super::rng::Rng;

/// Sequences that some servers accept as end of data.
const ALMOST_ENDS: [&str; 12] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r\n.\r",
    "\r.\r\n",
    "\n.\r",
    "\r\n.\r\r\n",
    "\r\r\n.\r\n",
    "\r\0\n.\r\n",
    "\r\n.\0\r\n",
    "\n\n.\n",
];

/// Returns random mail data before dot-stuffing. Its first line contains the name of the mail.
pub fn draw(rng: &mut Rng, session: usize, mail: usize) -> Vec<u8> {
    let mut content = format!("X-Mail: {}\r\n", ledger::name(session, mail)).into_bytes();
    match rng.below(20) {
        0 => return content,
        1 => content.extend(b"Subject: no body\r\n\r\n"),
        2 | 3 => content.extend(b"\r\n.\r\n..\r\n.dot\r\n\r\n.\r\n"),
        4 | 5 => {
            content.extend(b"\r\nsmuggled");
            content.extend(rng.pick(&ALMOST_ENDS).bytes());
            content.extend(b"MAIL FROM:<smuggled@client.example>\r\n");
            content.extend(b"RCPT TO:<smuggled@mx.example>\r\nDATA\r\nsmuggled");
            content.extend(rng.pick(&ALMOST_ENDS).bytes());
            content.extend(b"\r\n");
        }
        6 => content.extend(b"\r\nunix\nlines\n.\nand more\r\n"),
        7 => {
            content.extend(b"\r\n");
            content.resize(content.len() + 900 + rng.below(200), b'x');
            content.extend(b"\r\n");
        }
        8 => {
            content.extend(b"\r\n");
            for _ in 0..40 + rng.below(100) {
                content.extend(b"seventy-six octets are what most lines of a mail have, and so it is here.\r\n");
            }
        }
        9 => content.extend(b"\r\n\0\x01\x80\xff\r\n"),
        10 => content.extend(b"\r\nno line end"),
        11 => content.extend(b"\r\nends in CR\r"),
        _ => content.extend(b"Subject: hello\r\n\r\nHello!\r\n"),
    }
    content
}

/// Normalises line ends: a bare LF ends a line, a bare CR becomes a space, and the last line is
/// terminated.
pub fn normalised(content: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(content.len() + 2);
    let mut at = 0;
    while at < content.len() {
        match (content[at], content.get(at + 1)) {
            (b'\r', Some(b'\n')) => {
                lines.extend_from_slice(b"\r\n");
                at += 1;
            }
            (b'\r', _) => lines.push(b' '),
            (b'\n', _) => lines.extend_from_slice(b"\r\n"),
            (other, _) => lines.push(other),
        }
        at += 1;
    }
    if !lines.is_empty() && !lines.ends_with(b"\r\n") {
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

/// Returns the content with dot-stuffing (RFC 5321 section 4.5.2), without the end of data.
pub fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(content.len() + 8);
    for (at, octet) in content.iter().enumerate() {
        if *octet == b'.' && (at == 0 || content[..at].ends_with(b"\r\n")) {
            stuffed.push(b'.');
        }
        stuffed.push(*octet);
    }
    stuffed
}
