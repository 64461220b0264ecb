//! SMTP replies: written to clients and read from onward servers (RFC 5321 section 4.2, RFC 2034).

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::ops::Deref;
use std::sync::Arc;

use bytes::BytesMut;
use memchr::memchr;

use super::text::{Quoted, Written};
pub(crate) use reader::ReplyReader;
pub use reader::{ReplyError, ReplyLimits};

mod reader;

/// Longest text of one reply line in octets, including an enhanced status code before it. A whole
/// line has at most 512 octets (RFC 5321 section 4.5.3.1.5), of which code, hyphen and CRLF take
/// six.
const LINE_TEXT: usize = 506;
/// Maximum number of lines in a reply of the gate.
const LINES: usize = 128;

/// A reply code: `2yz` to `5yz`. Values such as `199` or `600` cannot be represented.
///
/// Codes made by [`ReplyCode::new`] have a second digit of 0 to 5 (RFC 5321 section 4.2). A code
/// read from an onward server may have any second and third digit, since only the first digit
/// decides the meaning (RFC 5321 section 4.2.1). For example, Postfix replies `571` and `595`. Such
/// a code is passed to the client unchanged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyCode(u16);

/// The meaning of the first digit of a reply code (RFC 5321 section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplyClass {
    /// `2yz`: the command succeeded.
    Completion,
    /// `3yz`: the server expects more input.
    Intermediate,
    /// `4yz`: temporary failure.
    Transient,
    /// `5yz`: permanent failure.
    Permanent,
}

impl ReplyCode {
    /// Returns the code, or `None` if it is not a valid code by RFC 5321 section 4.2.
    pub const fn new(code: u16) -> Option<Self> {
        if code >= 200 && code <= 559 && (code / 10) % 10 <= 5 { Some(Self(code)) } else { None }
    }

    /// `250`.
    pub(crate) const OK: Self = Self(250);

    /// `220`, a greeting.
    pub(crate) const GREETING: Self = Self(220);

    /// Returns the code of a refusal. In a constant, an invalid code is a compile-time error.
    pub(crate) const fn refusal(code: u16) -> Self {
        assert!(code >= 400 && Self::new(code).is_some());
        Self(code)
    }

    /// Returns the three digits as a number.
    pub const fn value(self) -> u16 {
        self.0
    }

    /// Returns the meaning of the first digit.
    pub const fn class(self) -> ReplyClass {
        match self.0 / 100 {
            2 => ReplyClass::Completion,
            3 => ReplyClass::Intermediate,
            4 => ReplyClass::Transient,
            _ => ReplyClass::Permanent,
        }
    }

    /// Parses the three digits at the start of `line`. The first must be 2 to 5.
    pub(crate) fn read(line: &[u8]) -> Option<Self> {
        let digits = line.get(..3)?;
        let mut code = 0;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return None;
            }
            code = code * 10 + u16::from(digit - b'0');
        }
        matches!(code, 200..=599).then_some(Self(code))
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

/// Subject and detail of an enhanced status code (RFC 3463). The class is taken from the reply
/// code, so that a contradiction such as `550 2.0.0` cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedStatus {
    subject: u16,
    detail: u16,
}

impl EnhancedStatus {
    /// Creates a status from `subject` and `detail`, each reduced to its last three digits.
    pub const fn new(subject: u16, detail: u16) -> Self {
        Self { subject: subject % 1000, detail: detail % 1000 }
    }

    /// Returns the subject, the second number. For example, 7 means "security or policy".
    pub const fn subject(self) -> u16 {
        self.subject
    }

    /// Returns the detail, the third number.
    pub const fn detail(self) -> u16 {
        self.detail
    }
}

/// A reply of one or more lines. Its text is printable ASCII and cannot contain CR, LF or NUL.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    code: ReplyCode,
    /// The enhanced status code, which is written before the text of every line. A reply from an
    /// onward server keeps its status in the text, so that it is passed on unchanged.
    status: Option<EnhancedStatus>,
    /// The lines, separated by LF.
    text: Text,
}

/// Text that is cheap to clone.
#[derive(Clone)]
enum Text {
    Fixed(&'static str),
    Shared(Arc<str>),
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl Reply {
    /// Creates a reply with an enhanced status code (`3yz` replies have none). A line feed in
    /// `text` begins a new line. A tab becomes a space, and every other octet that is not printable
    /// ASCII becomes `?`. Text that exceeds a reply line, and lines beyond 128, are cut.
    pub fn new(code: ReplyCode, status: EnhancedStatus, text: &str) -> Self {
        let status = (code.class() != ReplyClass::Intermediate).then_some(status);
        Self::of(code, status, text.as_bytes())
    }

    /// Creates a reply without an enhanced status code, as for greetings and EHLO replies. If a
    /// line of the text begins with a status, its class is corrected to match the code.
    pub fn plain(code: ReplyCode, text: &str) -> Self {
        Self::of(code, None, text.as_bytes())
    }

    fn of(code: ReplyCode, status: Option<EnhancedStatus>, text: &[u8]) -> Self {
        if memchr(b'\n', text).is_none() {
            let text = clean(code, status, text).into();
            return Self { code, status, text: Text::Shared(text) };
        }
        let mut all = String::with_capacity(text.len().min(LINES * LINE_TEXT));
        for (index, line) in text.split(|octet| *octet == b'\n').take(LINES).enumerate() {
            if index > 0 {
                all.push('\n');
            }
            all.push_str(&clean(code, status, line));
        }
        Self { code, status, text: Text::Shared(all.into()) }
    }

    /// Creates a fixed reply. In a constant, it is checked at compile time. It needs no memory
    /// allocation.
    pub(crate) const fn fixed(code: u16, status: Option<(u16, u16)>, text: &'static str) -> Self {
        assert!(ReplyCode::new(code).is_some());
        let octets = text.as_bytes();
        assert!(octets.len() <= LINE_TEXT - 10 && (status.is_none() || code / 100 != 3));
        let mut at = 0;
        while at < octets.len() {
            assert!(octets[at] >= b' ' && octets[at] < 127);
            at += 1;
        }
        let status = match status {
            Some((subject, detail)) => Some(EnhancedStatus::new(subject, detail)),
            None => None,
        };
        Self { code: ReplyCode(code), status, text: Text::Fixed(text) }
    }

    /// Returns the reply code.
    pub fn code(&self) -> ReplyCode {
        self.code
    }

    /// Returns the meaning of the first digit of the code.
    pub fn class(&self) -> ReplyClass {
        self.code.class()
    }

    /// Returns the enhanced status code, if the reply has one.
    pub fn status(&self) -> Option<EnhancedStatus> {
        self.status.or_else(|| {
            let first = self.lines().next()?;
            read_status(first.as_bytes())
        })
    }

    /// Returns the text of each line, without the code and without the status given to
    /// [`Reply::new`].
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n')
    }

    /// Returns the text, with a line feed between two lines.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the reply with ` (reference)` at the end of its last line. That line is cut if it is
    /// too long for the reference.
    pub(crate) fn with_reference(&self, reference: &str) -> Self {
        let last = self.text.rsplit('\n').next().map_or(0, str::len);
        let room = room(self.status).saturating_sub(reference.len() + 3);
        let kept = self.text.len() - last.saturating_sub(room);
        let reference = reference.replace('\n', " ");
        let text = [&self.text.as_bytes()[..kept], b" (", reference.as_bytes(), b")"].concat();
        Self::of(self.code, self.status, &text)
    }

    /// Writes the reply with CRLF after each line.
    pub fn write(&self, output: &mut BytesMut) {
        let code = self.code.0;
        let [class, tens, ones] =
            [code / 100, code / 10 % 10, code % 10].map(|digit| b'0' + digit as u8);
        let mut rest = self.text.as_bytes();
        loop {
            let end = memchr(b'\n', rest);
            let line = &rest[..end.unwrap_or(rest.len())];
            let separator = if end.is_some() { b'-' } else { b' ' };
            output.extend_from_slice(&[class, tens, ones, separator]);
            if let Some(EnhancedStatus { subject, detail }) = self.status {
                output.extend_from_slice(&[class, b'.']);
                // Writing to a growable buffer cannot fail.
                let _ = u64::from(subject).write_to(output);
                output.extend_from_slice(b".");
                let _ = u64::from(detail).write_to(output);
                output.extend_from_slice(b" ");
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

impl Written for Reply {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        let code = u64::from(self.code.0);
        let mut lines = self.lines().peekable();
        while let Some(line) = lines.next() {
            let (separator, end) = if lines.peek().is_some() { ("-", "\n") } else { (" ", "") };
            code.write_to(to)?;
            to.write_str(separator)?;
            if let Some(EnhancedStatus { subject, detail }) = self.status {
                (code / 100).write_to(to)?;
                to.write_char('.')?;
                u64::from(subject).write_to(to)?;
                to.write_char('.')?;
                u64::from(detail).write_to(to)?;
                to.write_char(' ')?;
            }
            to.write_str(line)?;
            to.write_str(end)?;
        }
        Ok(())
    }
}

impl fmt::Display for Reply {
    /// Writes the lines as sent on the wire, separated by LF, without a final line end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Quoted(self).write_to(f)
    }
}

/// Returns the text of a line after `code` and `status`. The text is made printable (a tab becomes
/// a space) and cut to the room in the line. If it begins with a status, that gets the class of the
/// code. A server's `550 2.1.5` is corrected in this way, since some clients use the code and
/// others the status.
fn clean(code: ReplyCode, status: Option<EnhancedStatus>, line: &[u8]) -> Cow<'_, str> {
    let line = &line[..line.len().min(room(status))];
    let class = b'0' + (code.0 / 100) as u8;
    let corrected = line.first() != Some(&class)
        && code.class() != ReplyClass::Intermediate
        && read_status(line).is_some();
    // Most lines need no change. The check does not stop early, so that the compiler can vectorise
    // it.
    let is_printable = |octet: &u8| (b' '..=b'~').contains(octet);
    if !corrected
        && line.iter().fold(true, |all, octet| all & is_printable(octet))
        && let Ok(line) = str::from_utf8(line)
    {
        return line.into();
    }
    let octets = line.iter().enumerate().map(|(at, octet)| match octet {
        _ if corrected && at == 0 => class,
        b' '..=b'~' => *octet,
        b'\t' => b' ',
        _ => b'?',
    });
    octets.map(char::from).collect()
}

/// Returns the maximum length of a line's text after this status.
fn room(status: Option<EnhancedStatus>) -> usize {
    let digits = |number: u16| number.checked_ilog10().map_or(1, |log| log as usize + 1);
    let prefix = |status: EnhancedStatus| 4 + digits(status.subject) + digits(status.detail);
    LINE_TEXT - status.map_or(0, prefix)
}

/// Parses the status at the start of `text` (RFC 3463 section 2).
fn read_status(text: &[u8]) -> Option<EnhancedStatus> {
    let mut parts =
        text.split(|octet| matches!(octet, b' ' | b'\t')).next()?.split(|octet| *octet == b'.');
    let class = parts.next()?;
    let mut number = || {
        let part = parts.next()?;
        let plain = (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
        plain.then(|| part.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
    };
    let status = EnhancedStatus::new(number()?, number()?);
    (matches!(class, b"2" | b"4" | b"5") && parts.next().is_none()).then_some(status)
}

#[cfg(test)]
mod tests;
