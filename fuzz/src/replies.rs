//! Replies (RFC 5321 section 4.2) as read by a client that trusts nothing.

use super::{line, shown};

/// A reply: its code, and its lines in wire format without CRLF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub lines: Vec<Vec<u8>>,
}

/// Parses the replies in our own output. Panics on everything that a server must not write.
pub fn written(mut octets: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    let mut lines: Vec<Vec<u8>> = Vec::new();
    while !octets.is_empty() {
        let (text, remaining) =
            line(octets).unwrap_or_else(|| panic!("half a line: {}", shown(octets)));
        octets = remaining;
        let seen = shown(text);
        assert!(text.len() <= 510, "too long: {seen}");
        assert!(text.iter().all(|octet| (b' '..=b'~').contains(octet)), "unprintable: {seen}");
        let code = code(text).unwrap_or_else(|| panic!("no code: {seen}"));
        assert!(lines.iter().all(|line| line[..3] == text[..3]), "the code changes: {seen}");
        let status = text[4..].split(|octet| *octet == b' ').next().unwrap_or_default();
        let numbers: Vec<_> = status.split(|octet| *octet == b'.').collect();
        let number =
            |it: &[u8]| it.len() <= 3 && !it.is_empty() && it.iter().all(u8::is_ascii_digit);
        if let [[class @ (b'2' | b'4' | b'5')], subject, detail] = numbers[..]
            && (number(subject) && number(detail))
        {
            // A 3yz reply has no enhanced status code, so text like one has no meaning there.
            let fits = *class == text[0] || text[0] == b'3';
            assert!(fits, "the status is of another class: {seen}");
        }
        let more = text[3] == b'-';
        assert!(more || text[3] == b' ', "no reply line: {seen}");
        lines.push(text.to_vec());
        if !more {
            replies.push(Reply { code, lines: std::mem::take(&mut lines) });
        }
    }
    assert!(lines.is_empty(), "half a reply");
    replies
}

/// Returns the code at the start of a line if it is valid in a reply.
pub fn code(line: &[u8]) -> Option<u16> {
    let digits = str::from_utf8(line.get(..3)?).ok()?;
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|code| plain && (200..600).contains(code))
}

/// The reason why reading replies stopped.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    Malformed,
    BareLf,
    CodeChanged,
    Endless,
}

/// Maximum length of a line in octets without its CRLF.
const LINE: usize = 4096;
/// Maximum number of lines in a reply.
const LINES: usize = 128;

/// Parses the replies in a server's output. Returns them, and the fault after them.
pub fn read(mut octets: &[u8]) -> (Vec<Reply>, Option<Fault>) {
    let mut replies = Vec::new();
    let mut lines: Vec<Vec<u8>> = Vec::new();
    loop {
        let Some(end) = octets.iter().position(|octet| *octet == b'\n') else {
            let endless = octets.len() > LINE + 1;
            return (replies, endless.then_some(Fault::Endless));
        };
        if end > LINE + 1 {
            return (replies, Some(Fault::Endless));
        }
        let Some(text) = octets[..end].strip_suffix(b"\r") else {
            return (replies, Some(Fault::BareLf));
        };
        octets = &octets[end + 1..];
        let (Some(code), true) =
            (code(text), matches!(text.get(3), None | Some(b' ' | b'\t' | b'-')))
        else {
            return (replies, Some(Fault::Malformed));
        };
        if lines.first().is_some_and(|first| first[..1] != text[..1]) {
            return (replies, Some(Fault::CodeChanged));
        }
        lines.push(text.to_vec());
        if text.get(3) != Some(&b'-') {
            replies.push(Reply { code, lines: std::mem::take(&mut lines) });
        } else if lines.len() == LINES {
            return (replies, Some(Fault::Endless));
        }
    }
}
