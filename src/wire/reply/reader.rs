//! Replies as an onward server writes them (RFC 5321 section 4.2), read leniently where nothing is in doubt.

use bytes::{Buf, BytesMut};
use memchr::memchr;

use super::{LINES, Reply, ReplyCode, Text, clean};

/// Why octets from an onward server are not a reply. The fault is that server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyFault {
    /// The line does not begin with a code and a space, tab or hyphen.
    #[error("not a reply line")]
    Malformed,
    /// A line ends in LF without CR. Waiting for a CRLF would take until the timeout.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// A line of a multi-line reply has a code with another first digit than the line before: one says
    /// yes and the other no.
    #[error("the code changes within a reply")]
    CodeChanged,
    /// A line or a reply is longer than anyone needs.
    #[error("endless reply")]
    Endless,
    /// Something was said that nobody had asked for.
    #[error("a reply to nothing")]
    OutOfTurn,
}

/// How much an onward server may say in one reply before it is taken for nonsense: the connection is
/// given up, and the client told 451.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplyLimits {
    /// Octets of a line without its CRLF: 4,096. RFC 5321 section 4.5.3.1.5 lets a server write 510;
    /// what of a line is more than that is not told to the client.
    pub line: usize,
    /// Lines: 128.
    pub lines: usize,
}

impl Default for ReplyLimits {
    fn default() -> Self {
        Self { line: 4_096, lines: LINES }
    }
}

/// Reads replies from an onward server, which is trusted with nothing: strict CRLF, capped
/// lines, one first digit per reply, text made printable. The code is that of the last line, as Postfix's
/// client reads it (`smtp_chat_resp`): a yes behind the content that is not understood is a duplicate.
#[derive(Debug, Default)]
pub(crate) struct ReplyReader {
    buffer: BytesMut,
    /// Octets at the front of `buffer` that hold no line end.
    scanned: usize,
    /// Latest code, and text, of the reply whose last line has not come.
    code: Option<ReplyCode>,
    lines: usize,
    text: String,
    /// What went wrong: nothing behind it can be told apart from what was meant otherwise.
    fault: Option<ReplyFault>,
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

    /// The next whole reply, if it has arrived. A fault stays: the connection is of no more use.
    pub(crate) fn next(&mut self, limits: ReplyLimits) -> Result<Option<Reply>, ReplyFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let next = self.read(limits);
        self.fault = next.as_ref().err().copied();
        next
    }

    fn read(&mut self, limits: ReplyLimits) -> Result<Option<Reply>, ReplyFault> {
        loop {
            let end = self.line_end(limits)?;
            // Of an unfinished line, the last octet may be the CR of its end.
            if end.unwrap_or(self.buffer.len().saturating_sub(1)) > limits.line {
                return Err(ReplyFault::Endless);
            }
            let Some(end) = end else { return Ok(None) };
            let (code, last, text) = read_line(&self.buffer[..end]).ok_or(ReplyFault::Malformed)?;
            if self.code.is_some_and(|before| before.class() != code.class()) {
                return Err(ReplyFault::CodeChanged);
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
                return Err(ReplyFault::Endless);
            }
        }
    }

    /// Where the CRLF that ends the first line stands.
    fn line_end(&mut self, limits: ReplyLimits) -> Result<Option<usize>, ReplyFault> {
        let from = std::mem::take(&mut self.scanned);
        let Some(at) = memchr(b'\n', &self.buffer[from..]).map(|at| at + from) else {
            self.scanned = self.buffer.len();
            return Ok(None);
        };
        match at.checked_sub(1) {
            Some(end) if end > limits.line => Err(ReplyFault::Endless),
            Some(end) if self.buffer[end] == b'\r' => Ok(Some(end)),
            _ => Err(ReplyFault::BareLf),
        }
    }
}

/// Code of a reply line, whether it is the last of its reply, and text.
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
