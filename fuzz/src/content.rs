//! Mail data, processed octet by octet (RFC 5321 section 4.5.2, RFC 3030), and readers of all
//! kinds.

/// Returns the position of the end of mail data after DATA, and the content before it with
/// dot-stuffing removed. The end is the first line that consists of a single dot. Lines end in
/// CRLF.
pub fn after_data(wire: &[u8]) -> Option<(usize, Vec<u8>)> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        let (line, _) = super::line(&wire[at..])?;
        at += line.len() + 2;
        if line == b"." {
            return Some((at, content));
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        content.extend_from_slice(b"\r\n");
    }
}

/// Returns the content with CRLF line ends: a bare LF also ends a line, a bare CR becomes a space,
/// and the last line is terminated.
pub fn normalised(content: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for (at, octet) in content.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| content[before]);
        let next = content.get(at + 1).copied();
        match octet {
            b'\r' if next == Some(b'\n') => lines.push(b'\r'),
            b'\r' => lines.push(b' '),
            b'\n' if before == Some(b'\r') => lines.push(b'\n'),
            b'\n' => lines.extend_from_slice(b"\r\n"),
            _ => lines.push(*octet),
        }
    }
    if !lines.is_empty() && !lines.ends_with(b"\r\n") {
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

/// Returns whether there is a bare CR or LF.
pub fn has_bare(octets: &[u8]) -> bool {
    let pairs = octets.windows(2).filter(|pair| pair == b"\r\n").count();
    octets.iter().filter(|octet| b"\r\n".contains(octet)).count() != 2 * pairs
}

/// Returns the content with dot-stuffing, followed by the end of data.
pub fn written(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        wire.extend_from_slice(if line[0] == b'.' { b"." } else { b"" });
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

/// Panics unless every reader, strict or lenient, sees exactly one end of data in `wire`, at its
/// very end. The readers model real servers: lines that end in LF, in any number of CR and LF, or
/// in CR; text that ends at NUL; LF accepted as line end because the first line has it.
pub fn is_one_message(wire: &[u8]) {
    for (reader, cut) in READERS {
        let mut at = 0;
        for line in wire.split_inclusive(|octet| *octet == b'\n') {
            at += line.len();
            let ends = line.strip_suffix(b"\n").is_some_and(|line| cut(line) == b".");
            assert_eq!(ends, at == wire.len(), "{reader}: {} at {at}", super::shown(wire));
        }
    }
    assert!(!has_bare(wire), "CR or LF alone: {}", super::shown(wire));
    let ends: Vec<_> = [b"\r\n", wire]
        .concat()
        .windows(5)
        .enumerate()
        .filter_map(|(at, five)| (five == b"\r\n.\r\n").then_some(at + 3))
        .collect();
    assert_eq!(ends, [wire.len()], "CRLF . CRLF: {}", super::shown(wire));
}

/// A reader with lines that end in LF: its name, and a function that interprets a line without its
/// LF.
type Reader = (&'static str, fn(&[u8]) -> &[u8]);

const READERS: &[Reader] = &[
    ("LF, perhaps CR before it", |line| line.strip_suffix(b"\r").unwrap_or(line)),
    ("LF, any number of CR before it", without_crs),
    ("text ends at NUL", |line| without_crs(to_nul(line))),
    ("CR ends a line, too", |line| {
        without_crs(line).rsplit(|it| *it == b'\r').next().unwrap_or(b"")
    }),
];

fn without_crs(line: &[u8]) -> &[u8] {
    let crs = line.iter().rev().take_while(|octet| **octet == b'\r').count();
    &line[..line.len() - crs]
}

fn to_nul(line: &[u8]) -> &[u8] {
    line.split(|octet| *octet == 0).next().unwrap_or_default()
}
