//! Replies: written to clients, read from onward servers (RFC 5321 section 4.2, RFC 2034).

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// Longest text that one reply line carries on, in octets: RFC 5321 section 4.5.3.1.5 allows 512
/// for the whole line, of which code, mark and CRLF take 6.
const LINE_TEXT: usize = 506;
/// Most octets that an enhanced status code takes of that, with the space behind it.
const STATUS: usize = 10;
/// Most lines that one reply may have.
const LINES: usize = 128;
/// Longest line that is read from an onward server before it is taken for nonsense.
const READ_LINE: usize = 4096;

/// A reply code that may stand on the wire: `2yz` to `5yz`, second digit 0 to 5
/// (RFC 5321 section 4.2). `199` or `600` cannot be held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyCode(u16);

/// What the first digit of a reply code says (RFC 5321 section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplyClass {
    /// `2yz`: done.
    Completion,
    /// `3yz`: go on.
    Intermediate,
    /// `4yz`: not now.
    Transient,
    /// `5yz`: not ever.
    Permanent,
}

impl ReplyCode {
    /// The code, or `None` if no SMTP reply may carry it.
    pub const fn new(code: u16) -> Option<Self> {
        if code >= 200 && code <= 559 && (code / 10) % 10 <= 5 { Some(Self(code)) } else { None }
    }

    /// `250`.
    pub(crate) const OK: Self = Self(250);

    /// `220`, a greeting.
    pub(crate) const GREETING: Self = Self(220);

    /// A code known to be a refusal when the crate is compiled.
    pub(crate) const fn refusal(code: u16) -> Self {
        assert!(code >= 400 && Self::new(code).is_some());
        Self(code)
    }

    /// The three digits as a number.
    pub const fn value(self) -> u16 {
        self.0
    }

    /// What the first digit says.
    pub const fn class(self) -> ReplyClass {
        match self.0 / 100 {
            2 => ReplyClass::Completion,
            3 => ReplyClass::Intermediate,
            4 => ReplyClass::Transient,
            _ => ReplyClass::Permanent,
        }
    }

    /// Three digits at the start of `line`, if they make a code.
    fn read(line: &[u8]) -> Option<Self> {
        let digits = line.get(..3)?;
        let mut code = 0;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return None;
            }
            code = code * 10 + u16::from(digit - b'0');
        }
        Self::new(code)
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Subject and detail of an enhanced status code (RFC 3463). Its class is not here: it is read
/// off the reply code, so that `550 2.0.0` cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedStatus {
    subject: u16,
    detail: u16,
}

impl EnhancedStatus {
    /// `subject` and `detail`, each cut to three digits.
    pub const fn new(subject: u16, detail: u16) -> Self {
        Self { subject: subject % 1000, detail: detail % 1000 }
    }

    /// The second number, for example 7 for "security or policy".
    pub const fn subject(self) -> u16 {
        self.subject
    }

    /// The third number.
    pub const fn detail(self) -> u16 {
        self.detail
    }
}

/// A reply of one or more lines. Its text is printable ASCII and cannot hold CR, LF or NUL.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    code: ReplyCode,
    /// Written before the text of every line. A reply read from an onward server keeps its status
    /// in the text, so that it goes on as it came.
    status: Option<EnhancedStatus>,
    /// Lines, separated by LF.
    text: Bytes,
}

impl Reply {
    /// A reply with an enhanced status code. A line feed in `text` begins a new line; every other
    /// octet that is not printable ASCII becomes `?`; what exceeds a reply line is cut.
    pub fn new(code: ReplyCode, status: EnhancedStatus, text: &str) -> Self {
        let status = (code.class() != ReplyClass::Intermediate).then_some(status);
        Self { code, status, text: sanitise(text.as_bytes(), line_text(status)) }
    }

    /// A reply without an enhanced status code, as greetings and EHLO replies are.
    pub fn plain(code: ReplyCode, text: &str) -> Self {
        Self { code, status: None, text: sanitise(text.as_bytes(), LINE_TEXT) }
    }

    /// A fixed reply of ours: checked when the crate is compiled, free when it is used.
    pub(crate) const fn fixed(code: u16, status: Option<(u16, u16)>, text: &'static str) -> Self {
        assert!(ReplyCode::new(code).is_some());
        let octets = text.as_bytes();
        let mut at = 0;
        while at < octets.len() {
            assert!(octets[at] >= b' ' && octets[at] < 127);
            at += 1;
        }
        let status = match status {
            Some((subject, detail)) => Some(EnhancedStatus::new(subject, detail)),
            None => None,
        };
        Self { code: ReplyCode(code), status, text: Bytes::from_static(octets) }
    }

    /// The reply code.
    pub fn code(&self) -> ReplyCode {
        self.code
    }

    /// What the first digit of the code says.
    pub fn class(&self) -> ReplyClass {
        self.code.class()
    }

    /// The enhanced status code, if the reply has one.
    pub fn status(&self) -> Option<EnhancedStatus> {
        self.status.or_else(|| {
            let first = self.text.split(|octet| *octet == b'\n').next()?;
            read_status(first).map(|(_, status, _)| status)
        })
    }

    /// The text of each line, without code and without the status that [`Reply::new`] was given.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        // The text is printable ASCII by construction, so nothing is ever skipped here.
        self.text.split(|octet| *octet == b'\n').map(|line| str::from_utf8(line).unwrap_or(""))
    }

    /// The same reply with ` (reference)` at the end of its last line.
    pub(crate) fn with_reference(&self, reference: &str) -> Self {
        let last = self.text.rsplit(|octet| *octet == b'\n').next().map_or(0, <[u8]>::len);
        let limit = line_text(self.status);
        let room = limit.saturating_sub(reference.len() + 3);
        let keep = self.text.len() - last.saturating_sub(room);
        let mut text = Vec::with_capacity(keep + reference.len() + 3);
        text.extend_from_slice(&self.text[..keep]);
        text.extend_from_slice(b" (");
        text.extend_from_slice(reference.as_bytes());
        text.push(b')');
        Self { text: sanitise(&text, limit), ..self.clone() }
    }

    /// Writes the reply, every line ended by CRLF.
    pub fn write(&self, output: &mut BytesMut) {
        let code = self.code.0;
        let digits = [code / 100, code / 10 % 10, code % 10].map(|digit| b'0' + digit as u8);
        let mut rest = self.text.as_ref();
        loop {
            let end = memchr(b'\n', rest);
            let line = &rest[..end.unwrap_or(rest.len())];
            output.extend_from_slice(&digits);
            output.extend_from_slice(if end.is_some() { b"-" } else { b" " });
            if let Some(EnhancedStatus { subject, detail }) = self.status {
                use fmt::Write as _;
                let _ = write!(output, "{}.{subject}.{detail} ", code / 100);
            }
            output.extend_from_slice(line);
            output.extend_from_slice(b"\r\n");
            match end {
                Some(end) => rest = &rest[end + 1..],
                None => break,
            }
        }
    }
}

impl fmt::Display for Reply {
    /// The lines as they stand on the wire, separated by LF, without a line end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut octets = BytesMut::new();
        self.write(&mut octets);
        let text = String::from_utf8_lossy(&octets);
        f.write_str(text.replace("\r\n", "\n").trim_end_matches('\n'))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Why octets from an onward server are not a reply. The fault is that server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyFault {
    /// The line does not begin with a code and a space or hyphen.
    #[error("not a reply line")]
    Malformed,
    /// A line of a multi-line reply has another code than the first.
    #[error("the code changes within a reply")]
    CodeChanged,
    /// A line or a reply is longer than anyone needs.
    #[error("endless reply")]
    Endless,
    /// Something was said that nobody had asked for.
    #[error("a reply to nothing")]
    OutOfTurn,
}

/// Reads replies from an onward server, which is trusted with nothing: strict CRLF, capped
/// lines, one code per reply, text made printable.
#[derive(Debug, Default)]
pub(crate) struct ReplyReader {
    buffer: BytesMut,
    /// Octets at the front of `buffer` that hold no line end.
    scanned: usize,
    code: Option<ReplyCode>,
    lines: usize,
    text: Vec<u8>,
}

impl ReplyReader {
    /// Takes what was read from the server.
    pub(crate) fn receive(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Whether nothing is held, not even a part of a reply.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.code.is_none()
    }

    /// Forgets all that is held, and the memory for it.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next whole reply, if it has arrived.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, ReplyFault> {
        loop {
            let Some(end) = self.line_end() else {
                return if self.buffer.len() > READ_LINE {
                    Err(ReplyFault::Endless)
                } else {
                    Ok(None)
                };
            };
            if end > READ_LINE {
                return Err(ReplyFault::Endless);
            }
            let line = self.buffer.split_to(end);
            self.buffer.advance(2);
            self.scanned = 0;
            let code = ReplyCode::read(&line).ok_or(ReplyFault::Malformed)?;
            if self.code.is_some_and(|first| first != code) {
                return Err(ReplyFault::CodeChanged);
            }
            let last = match line.get(3) {
                None | Some(b' ') => true,
                Some(b'-') => false,
                Some(_) => return Err(ReplyFault::Malformed),
            };
            self.lines += 1;
            if self.lines > LINES {
                return Err(ReplyFault::Endless);
            }
            if self.code.is_some() {
                self.text.push(b'\n');
            }
            let text = line.get(4..).unwrap_or_default();
            let mut text = truthful(code, text);
            text.iter_mut().filter(|octet| **octet == b'\n').for_each(|octet| *octet = b'?');
            self.text.extend_from_slice(&text);
            self.code = Some(code);
            if last {
                self.code = None;
                self.lines = 0;
                let text = sanitise(&std::mem::take(&mut self.text), LINE_TEXT);
                return Ok(Some(Reply { code, status: None, text }));
            }
        }
    }

    /// Where the CRLF that ends the first line stands.
    fn line_end(&mut self) -> Option<usize> {
        let mut from = self.scanned;
        while let Some(at) = memchr(b'\n', &self.buffer[from..]).map(|at| at + from) {
            if at > 0 && self.buffer[at - 1] == b'\r' {
                return Some(at - 1);
            }
            from = at + 1;
        }
        self.scanned = self.buffer.len();
        None
    }
}

/// The text of a line, whose status, if it has one, is of the code's class: a server that writes
/// `550 2.1.5` has its status corrected, since clients may believe either half.
fn truthful(code: ReplyCode, text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    if let Some((class, ..)) = read_status(&text)
        && u16::from(class - b'0') != code.0 / 100
    {
        text[0] = b'0' + (code.0 / 100) as u8;
    }
    text
}

/// Class digit, status and length of the status that `text` begins with.
fn read_status(text: &[u8]) -> Option<(u8, EnhancedStatus, usize)> {
    let length = memchr(b' ', text).unwrap_or(text.len());
    let mut parts = text[..length].split(|octet| *octet == b'.');
    let mut number = || {
        let part = parts.next()?;
        let plain = !part.is_empty() && part.len() <= 3 && part.iter().all(u8::is_ascii_digit);
        plain.then(|| part.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
    };
    let (class, subject, detail) = (number()?, number()?, number()?);
    if parts.next().is_some() || !(2..=5).contains(&class) {
        return None;
    }
    Some((b'0' + class as u8, EnhancedStatus::new(subject, detail), length))
}

/// What the status leaves for the text of a line.
fn line_text(status: Option<EnhancedStatus>) -> usize {
    if status.is_some() { LINE_TEXT - STATUS } else { LINE_TEXT }
}

/// Printable lines separated by LF, each of at most `limit` octets.
fn sanitise(text: &[u8], limit: usize) -> Bytes {
    let mut clean = Vec::with_capacity(text.len());
    for (index, line) in text.split(|octet| *octet == b'\n').take(LINES).enumerate() {
        if index > 0 {
            clean.push(b'\n');
        }
        let printable = |octet: &u8| {
            if (b' '..127).contains(octet) { *octet } else { b'?' }
        };
        clean.extend(line.iter().take(limit).map(printable));
    }
    clean.into()
}
