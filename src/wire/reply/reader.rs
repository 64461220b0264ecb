//! Parser for the replies of an onward server (RFC 5321 section 4.2). It is lenient where the
//! meaning is not in doubt.

use bytes::{Buf, BytesMut};
use memchr::memchr;

use super::{LINES, Reply, ReplyCode, Text, clean};

/// Reason why octets from an onward server are not a valid reply. Server fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The line does not begin with a code followed by a space, tab or hyphen.
    #[error("malformed reply line")]
    Malformed,
    /// A line ends in LF without CR. Waiting for a CRLF would last until the timeout.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// A line of a multi-line reply whose code has another first digit than the code before it. So
    /// the two lines contradict each other.
    #[error("the code changes within a reply")]
    CodeChanged,
    /// A line or the whole reply exceeds [`ReplyLimits`].
    #[error("the reply exceeds the size limit")]
    Endless,
    /// The server sent a reply without a command.
    #[error("it was sent without a command")]
    OutOfTurn,
}

/// Size limits for one reply of an onward server. If a reply exceeds a limit, the connection is
/// closed and the client gets 451.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplyLimits {
    /// Octets of a line without its CRLF. Default: 4,096. RFC 5321 section 4.5.3.1.5 lets a server
    /// write 510 octets; the part of a line beyond that is not passed to the client.
    pub line: usize,
    /// Lines. Default: 128.
    pub lines: usize,
}

impl Default for ReplyLimits {
    fn default() -> Self {
        Self { line: 4_096, lines: LINES }
    }
}

/// Parser for replies of an onward server, which is not trusted. Lines must end in CRLF and have a
/// bounded length. All lines of a reply must have the same first digit. The text is made printable.
/// The code of a reply is that of its last line, as in Postfix's client (`smtp_chat_resp`). If the
/// gate misread a positive reply to the content, the client would send a duplicate.
#[derive(Debug, Default)]
pub(crate) struct ReplyReader {
    buffer: BytesMut,
    /// Octets at the front of `buffer` that contain no line end.
    scanned: usize,
    /// Latest code of the incomplete reply. `lines` and `text` belong to the same reply.
    code: Option<ReplyCode>,
    lines: usize,
    text: String,
    /// The first fault. The octets after it cannot be interpreted reliably.
    fault: Option<ReplyError>,
}

impl ReplyReader {
    /// Adds octets that were read from the server.
    pub(crate) fn receive(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Returns whether no octets are buffered, not even a part of a reply.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.code.is_none()
    }

    /// Discards the buffered octets and frees their memory.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns the next complete reply, if it has arrived. After a fault, every call returns that
    /// fault: the connection can no longer be used.
    pub(crate) fn next(&mut self, limits: ReplyLimits) -> Result<Option<Reply>, ReplyError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let next = self.read(limits);
        self.fault = next.as_ref().err().copied();
        next
    }

    fn read(&mut self, limits: ReplyLimits) -> Result<Option<Reply>, ReplyError> {
        loop {
            let end = self.line_end(limits)?;
            // The last octet of an incomplete line may be the CR of its end.
            if end.unwrap_or(self.buffer.len().saturating_sub(1)) > limits.line {
                return Err(ReplyError::Endless);
            }
            let Some(end) = end else { return Ok(None) };
            let (code, last, text) = read_line(&self.buffer[..end]).ok_or(ReplyError::Malformed)?;
            if self.code.is_some_and(|before| before.class() != code.class()) {
                return Err(ReplyError::CodeChanged);
            }
            let text = clean(code, None, text);
            if last && self.code.is_none() {
                let text = Text::Shared(text.into());
                self.buffer.advance(end + 2);
                return Ok(Some(Reply { code, status: None, text }));
            }
            if self.code.replace(code).is_some() {
                self.text.push('\n');
            }
            self.text.push_str(&text);
            self.lines += 1;
            self.buffer.advance(end + 2);
            if last {
                (self.code, self.lines) = (None, 0);
                let text = Text::Shared(std::mem::take(&mut self.text).into());
                return Ok(Some(Reply { code, status: None, text }));
            }
            if self.lines >= limits.lines {
                return Err(ReplyError::Endless);
            }
        }
    }

    /// Returns the position of the CRLF that ends the first line.
    fn line_end(&mut self, limits: ReplyLimits) -> Result<Option<usize>, ReplyError> {
        let from = std::mem::take(&mut self.scanned);
        let Some(at) = memchr(b'\n', &self.buffer[from..]).map(|at| at + from) else {
            self.scanned = self.buffer.len();
            return Ok(None);
        };
        match at.checked_sub(1) {
            Some(end) if end > limits.line => Err(ReplyError::Endless),
            Some(end) if self.buffer[end] == b'\r' => Ok(Some(end)),
            _ => Err(ReplyError::BareLf),
        }
    }
}

/// Parses a reply line. Returns the code, whether the line is the last of its reply, and the text.
fn read_line(line: &[u8]) -> Option<(ReplyCode, bool, &[u8])> {
    let code = ReplyCode::read(line)?;
    match line.split_at_checked(4) {
        None => Some((code, true, b"")),
        Some((start, text)) => match start.last() {
            Some(b' ' | b'\t') => Some((code, true, text)),
            Some(b'-') => Some((code, false, text)),
            _ => None,
        },
    }
}
