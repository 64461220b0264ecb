//! Command lines: ended by CRLF only, and of bounded length (RFC 5321 section 2.3.8).

use memchr::memchr;

/// Octets of a faulty line that are discarded before the line counts as endless.
const DISCARD: usize = 65_536;

/// Reason why a line is not a valid command line. Client fault. The line is refused as a whole: it
/// is never split and never forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// LF without CR before it. Ten of twelve servers would read a second command after it. The
    /// session closes the connection, since the client and the gate disagree about where lines end.
    #[error("bare line feed")]
    BareLf,
    /// CR without LF after it.
    #[error("bare carriage return")]
    BareCr,
    /// NUL or another control octet, except a tab: it separates words, like a space.
    #[error("control character")]
    Control,
    /// The line is longer than the limit.
    #[error("line too long")]
    TooLong,
    /// The line is still not ended after 65,536 octets.
    #[error("line without an end")]
    Endless,
}

/// Splitter of the input into command lines. The input buffer belongs to the caller.
///
/// A bare LF is reported as soon as it is seen. The octets after it are not a command line, and the
/// caller must not read them. A line over the limit is reported as soon as it exceeds the limit.
/// The rest of it, up to its CRLF, is discarded.
#[derive(Debug)]
pub(crate) struct LineReader {
    limit: usize,
    /// Octets at the front of the buffer that are known to contain no LF.
    scanned: usize,
    /// Octets of the current faulty line that have been discarded; `None` outside of a faulty line.
    discarding: Option<usize>,
    /// Whether the last discarded octet is a CR.
    discarded_cr: bool,
}

impl LineReader {
    /// Creates a reader of lines of at most `limit` octets, CRLF included.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, scanned: 0, discarding: None, discarded_cr: false }
    }

    /// Resets the state. Call this when the buffer was emptied outside of this reader.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Returns whether the buffer begins with a new line, not with the rest of a faulty line.
    pub(crate) fn at_line_start(&self) -> bool {
        self.discarding.is_none()
    }

    /// Returns the number of octets to remove from the front of `buffer`, and the next line without
    /// its CRLF, or its fault. If the line is incomplete and the number is not 0, these octets must
    /// be discarded.
    pub(crate) fn next<'b>(
        &mut self,
        buffer: &'b [u8],
    ) -> (usize, Option<Result<&'b [u8], LineError>>) {
        if self.discarding.is_some() {
            let (skipped, endless) = self.discard(buffer);
            return (skipped, endless.then_some(Err(LineError::Endless)));
        }
        let window = &buffer[..buffer.len().min(self.limit)];
        let rest = window.get(self.scanned..).unwrap_or_default();
        let Some(lf) = memchr(b'\n', rest).map(|at| at + self.scanned) else {
            self.scanned = window.len();
            if buffer.len() < self.limit {
                return (0, None);
            }
            return (self.fail(window), Some(Err(LineError::TooLong)));
        };
        self.scanned = 0;
        let Some(line) = window[..lf].strip_suffix(b"\r") else {
            return (lf + 1, Some(Err(LineError::BareLf)));
        };
        if !has_control(line) {
            return (lf + 1, Some(Ok(line)));
        }
        let is_fault = |octet: &&u8| octet.is_ascii_control() && **octet != b'\t';
        let line = match line.iter().find(is_fault) {
            None => Ok(line),
            Some(b'\r') => Err(LineError::BareCr),
            Some(_) => Err(LineError::Control),
        };
        (lf + 1, Some(line))
    }

    fn fail(&mut self, seen: &[u8]) -> usize {
        self.scanned = 0;
        self.discarding = Some(seen.len());
        self.discarded_cr = seen.last() == Some(&b'\r');
        seen.len()
    }

    /// Skips to the end of the CRLF of a faulty line. Returns the number of octets skipped, and
    /// whether the line is endless.
    fn discard(&mut self, buffer: &[u8]) -> (usize, bool) {
        let before = self.discarding.unwrap_or(0);
        let window = &buffer[..buffer.len().min(DISCARD.saturating_sub(before))];
        let mut from = 0;
        while let Some(lf) = memchr(b'\n', &window[from..]).map(|at| at + from) {
            let cr = if lf == 0 { self.discarded_cr } else { window[lf - 1] == b'\r' };
            if cr {
                self.restart();
                return (lf + 1, false);
            }
            from = lf + 1;
        }
        let total = before + window.len();
        self.discarding = Some(total);
        if let Some(last) = window.last() {
            self.discarded_cr = *last == b'\r';
        }
        (window.len(), total >= DISCARD)
    }
}

/// Returns whether the octets contain a control octet. The loop does not stop at the first one, so
/// that the compiler can vectorise it.
pub(super) fn has_control(octets: &[u8]) -> bool {
    octets.iter().fold(false, |any, octet| any | octet.is_ascii_control())
}

#[cfg(test)]
mod tests;
