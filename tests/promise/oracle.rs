//! Naive implementations of the RFCs, independent of the crate.

/// Octets that a failed test prints as text.
#[derive(Clone, PartialEq)]
pub struct Octets(pub Vec<u8>);

impl std::fmt::Debug for Octets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// A reply as read by a client.
#[derive(Clone, PartialEq)]
pub struct Reply {
    pub code: u16,
    /// All lines, with codes and line ends.
    pub octets: Vec<u8>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.octets.escape_ascii())
    }
}

impl Reply {
    pub fn is_yes(&self) -> bool {
        self.code / 100 == 2
    }

    pub fn is_no(&self) -> bool {
        matches!(self.code / 100, 4 | 5)
    }
}

/// Returns the replies in `octets` and the incomplete rest. Panics at an invalid reply (RFC 5321
/// section 4.2: code, hyphen or space, printable ASCII, CRLF; section 4.5.3.1.5: 512 octets).
pub fn read_replies(octets: &[u8]) -> (Vec<Reply>, &[u8]) {
    let mut replies = Vec::new();
    let mut rest = octets;
    let mut lines: Vec<u8> = Vec::new();
    let mut begins = octets;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let line = &rest[..end];
        let shown = String::from_utf8_lossy(line).into_owned();
        assert!(end + 2 <= 512, "a line of {} octets: {shown}", end + 2);
        assert!(line.iter().all(|octet| (b' '..127).contains(octet)), "unprintable: {shown:?}");
        assert!(line.len() >= 4 && line[..3].iter().all(u8::is_ascii_digit), "no code: {shown:?}");
        let code: u16 = shown[..3].parse().unwrap();
        assert!((200..560).contains(&code), "no SMTP code: {shown:?}");
        assert!(lines.is_empty() || lines[..3] == line[..3], "the code changes: {shown:?}");
        let status = shown[4..].split(' ').next().unwrap();
        let numbers: Vec<_> = status.split('.').collect();
        if let [class @ ("2" | "4" | "5"), _, _] = numbers[..] {
            assert_eq!(class, &shown[..1], "the status is of another class: {shown:?}");
        }
        lines.extend_from_slice(&rest[..end + 2]);
        rest = &rest[end + 2..];
        match line[3] {
            b' ' => {
                replies.push(Reply { code, octets: std::mem::take(&mut lines) });
                begins = rest;
            }
            other => assert_eq!(other, b'-', "no reply line: {shown:?}"),
        }
    }
    (replies, begins)
}

/// Returns content with CRLF line ends: a bare LF ends a line, a bare CR becomes a space, and the
/// last line is terminated.
pub fn normalised(content: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
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

/// Returns whether there is a bare CR or LF.
pub fn has_bare(content: &[u8]) -> bool {
    let pairs = content.windows(2).filter(|pair| pair == b"\r\n").count();
    let ends = content.iter().filter(|octet| matches!(octet, b'\r' | b'\n')).count();
    ends != 2 * pairs
}

/// Returns content as a client sends it after DATA: with dot-stuffing at CRLF lines, and the end of
/// data.
pub fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (at, octet) in content.iter().enumerate() {
        if *octet == b'.' && (at == 0 || content[..at].ends_with(b"\r\n")) {
            octets.push(b'.');
        }
        octets.push(*octet);
    }
    if !octets.is_empty() && !octets.ends_with(b"\r\n") {
        octets.extend_from_slice(b"\r\n");
    }
    octets.extend_from_slice(b".\r\n");
    octets
}

/// An algorithm of a real server for finding the end of mail data.
pub type Recogniser = (&'static str, fn(&[u8]) -> Vec<usize>);

/// Each returns all positions after which it regards the mail data as ended.
pub const RECOGNISERS: &[Recogniser] = &[
    ("CRLF . CRLF", |octets| {
        let strict = |at: &usize| {
            octets[..*at].ends_with(b"\r\n.\r\n") || (*at == 3 && octets.starts_with(b".\r\n"))
        };
        (0..=octets.len()).filter(strict).collect()
    }),
    ("lines end in LF", |octets| ends_of(octets, |line| line.strip_suffix(b"\r").unwrap_or(line))),
    ("lines end in CR* LF", |octets| {
        ends_of(octets, |line| {
            let kept = line.iter().rposition(|octet| *octet != b'\r').map_or(0, |at| at + 1);
            &line[..kept]
        })
    }),
    ("lines end at NUL", |octets| {
        ends_of(octets, |line| {
            let line = line.split(|octet| *octet == 0).next().unwrap_or_default();
            line.strip_suffix(b"\r").unwrap_or(line)
        })
    }),
    ("LF after a first line in LF, else CRLF", |octets| {
        let first = octets.iter().position(|octet| *octet == b'\n').unwrap_or(0);
        if octets[..first].ends_with(b"\r") {
            ends_of(octets, |line| line.strip_suffix(b"\r").unwrap_or(b"no end"))
        } else {
            ends_of(octets, |line| line)
        }
    }),
    ("lines end in CR", |octets| {
        let octets: Vec<u8> =
            octets.iter().map(|octet| if *octet == b'\r' { b'\n' } else { *octet }).collect();
        // Either octet of a CRLF ends a line here, so the dot is seen one octet early.
        ends_of(&octets, |line| line).into_iter().map(|at| at + 1).collect()
    }),
];

/// Returns the ends of the lines that consist of a single dot after trimming. Lines are split at
/// LF.
fn ends_of(octets: &[u8], trim: impl Fn(&[u8]) -> &[u8]) -> Vec<usize> {
    let mut at = 0;
    let mut ends = Vec::new();
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        at += line.len();
        if let Some(line) = line.strip_suffix(b"\n")
            && trim(line) == b"."
        {
            ends.push(at);
        }
    }
    ends
}

/// Returns the length of mail data including the end of data (RFC 5321 section 4.1.1.4).
pub fn strict_end(octets: &[u8]) -> Option<usize> {
    if octets.starts_with(b".\r\n") {
        return Some(3);
    }
    octets.windows(5).position(|five| five == b"\r\n.\r\n").map(|at| at + 5)
}

/// Removes dot-stuffing line by line (section 4.5.2).
pub fn unstuff(mail_data: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut rest = mail_data;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let (line, behind) = rest.split_at(end + 2);
        if behind.is_empty() && line == b".\r\n" {
            break;
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        rest = behind;
    }
    content
}
