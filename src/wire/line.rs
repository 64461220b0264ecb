//! Command lines: ended by CRLF and by nothing else, of bounded length (RFC 5321 section 2.3.8).

use memchr::memchr;

/// How many octets of a faulty line are thrown away before the peer is taken for a flood.
const DISCARD: usize = 65_536;

/// Why a line is not a command line. The fault is the client's. The line is refused as a whole: it is
/// never split and never forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineFault {
    /// LF without CR before it. Ten of twelve servers would see a second command behind it. The
    /// session closes the connection, since the client and the gate disagree about where lines end.
    #[error("bare line feed")]
    BareLf,
    /// CR without LF behind it.
    #[error("bare carriage return")]
    BareCr,
    /// NUL or another control octet. A tab is none: it separates words, as a space does.
    #[error("control character")]
    Control,
    /// Longer than the limit.
    #[error("line too long")]
    TooLong,
    /// Longer than anyone has patience for.
    #[error("endless line")]
    Endless,
}

/// Finds the ends of command lines. It holds no octets: the buffer is the caller's.
///
/// A bare LF is reported as soon as it is seen; what follows it is no line, and the caller reads
/// none. A line over the limit is reported as soon as that is seen, and the rest of it, up to its
/// CRLF, is thrown away.
#[derive(Debug)]
pub(crate) struct LineReader {
    limit: usize,
    /// Octets at the front of the buffer known to hold no LF.
    scanned: usize,
    /// How many octets of a faulty line have been thrown away; `None` outside of one.
    discarding: Option<usize>,
    /// Whether the last octet that was thrown away is a CR.
    discarded_cr: bool,
}

impl LineReader {
    /// A reader of lines of at most `limit` octets, CRLF included.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, scanned: 0, discarding: None, discarded_cr: false }
    }

    /// Forgets what it knows of the buffer, which has been emptied by other hands.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Whether the buffer begins with a line, not with the rest of a faulty one.
    pub(crate) fn at_line_start(&self) -> bool {
        self.discarding.is_none()
    }

    /// The next line in `buffer` without its CRLF or why it is none, and how many octets are to be
    /// taken off the front of `buffer`. `(n, None)` with n > 0: octets to throw away.
    pub(crate) fn next<'b>(
        &mut self,
        buffer: &'b [u8],
    ) -> (usize, Option<Result<&'b [u8], LineFault>>) {
        if self.discarding.is_some() {
            let (skipped, endless) = self.discard(buffer);
            return (skipped, endless.then_some(Err(LineFault::Endless)));
        }
        let window = &buffer[..buffer.len().min(self.limit)];
        let rest = window.get(self.scanned..).unwrap_or_default();
        let Some(lf) = memchr(b'\n', rest).map(|at| at + self.scanned) else {
            self.scanned = window.len();
            if buffer.len() < self.limit {
                return (0, None);
            }
            return (self.fail(window), Some(Err(LineFault::TooLong)));
        };
        self.scanned = 0;
        let Some(line) = window[..lf].strip_suffix(b"\r") else {
            return (lf + 1, Some(Err(LineFault::BareLf)));
        };
        if !has_control(line) {
            return (lf + 1, Some(Ok(line)));
        }
        let is_fault = |octet: &&u8| octet.is_ascii_control() && **octet != b'\t';
        let line = match line.iter().find(is_fault) {
            None => Ok(line),
            Some(b'\r') => Err(LineFault::BareCr),
            Some(_) => Err(LineFault::Control),
        };
        (lf + 1, Some(line))
    }

    fn fail(&mut self, seen: &[u8]) -> usize {
        self.scanned = 0;
        self.discarding = Some(seen.len());
        self.discarded_cr = seen.last() == Some(&b'\r');
        seen.len()
    }

    /// Skips to behind the CRLF of a faulty line; says how far, and whether it is endless.
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

/// Whether there are control octets. All are looked at in any case: so many are at once.
pub(super) fn has_control(octets: &[u8]) -> bool {
    octets.iter().fold(false, |any, octet| any | octet.is_ascii_control())
}

#[cfg(test)]
mod tests;
