//! Mail data: in from the wire (end of data, un-stuffing, BDAT, bare CR and LF) and out to it
//! (dot-stuffing). The strict half of the promise that nothing is smuggled.

use bytes::{Bytes, BytesMut};

/// Mail data: `*( line CRLF )`, where no line holds a CR or LF. Only the decoders of this file make
/// it, so that the writer has nothing to check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailData(Bytes);

impl MailData {
    /// Makes mail data of any octets: LF without CR becomes CRLF, CR without LF becomes a space,
    /// a last line without CRLF gets one.
    pub fn normalise(octets: &[u8]) -> Self {
        let mut output = Vec::with_capacity(octets.len() + 2);
        for (index, octet) in octets.iter().enumerate() {
            match octet {
                b'\r' if octets.get(index + 1) == Some(&b'\n') => {}
                b'\r' => output.push(b' '),
                b'\n' => output.extend_from_slice(b"\r\n"),
                _ => output.push(*octet),
            }
        }
        if !output.is_empty() && !output.ends_with(b"\n") {
            output.extend_from_slice(b"\r\n");
        }
        Self(output.into())
    }

    /// The octets.
    pub fn octets(&self) -> &Bytes {
        &self.0
    }
}

/// What becomes of a CR or LF that stands alone in mail data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineEndings {
    /// LF becomes CRLF, CR a space (what Postfix 3.9 does by default).
    #[default]
    Normalise,
    /// The mail data is read to its end, then refused with `550 5.5.2`.
    Refuse,
}

/// Decodes the mail data of one message, from DATA or from BDAT chunks.
#[derive(Debug)]
pub(crate) struct ContentDecoder {
    output: BytesMut,
    // helper: state
}

/// How far a decoder came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All octets were taken, more are to come.
    More,
    /// The end of data was seen; this many octets were taken.
    End(usize),
}

impl ContentDecoder {
    /// `capacity`: octets to make room for (a trusted bound of the SIZE the client announced).
    /// `limit`: octets of decoded content beyond which nothing is kept.
    pub(crate) fn new(capacity: usize, limit: u64) -> Self {
        let _ = (capacity, limit);
        todo!("helper")
    }

    /// Takes octets behind DATA, up to and including the end of data `CRLF . CRLF`, whose first CRLF
    /// may be the one that ended the DATA line.
    pub(crate) fn data(&mut self, input: &[u8]) -> Progress {
        let _ = input;
        todo!("helper")
    }

    /// Takes octets of a BDAT chunk; the caller counts. Chunks join as if there were no border.
    pub(crate) fn chunk(&mut self, input: &[u8]) {
        let _ = input;
        todo!("helper")
    }

    /// Whether a CR or LF stood alone (for BDAT a CR at the very end of a chunk may still get its LF).
    pub(crate) fn saw_bare(&self) -> bool {
        todo!("helper")
    }

    /// Whether the content went beyond the limit. What was kept by then has been freed.
    pub(crate) fn over_limit(&self) -> bool {
        todo!("helper")
    }

    /// Octets of decoded content so far, kept or not, as SIZE counts them.
    pub(crate) fn size(&self) -> u64 {
        todo!("helper")
    }

    /// The mail data, after the end of data or the last chunk.
    pub(crate) fn finish(self) -> MailData {
        todo!("helper")
    }
}

/// Appends to `output` the segments of mail data (each of whole lines) as they stand between 354 and
/// the reply: stuffed, ended by `.` CRLF. Nothing is copied; lines that begin with a dot cut a
/// segment in two around a static dot.
pub(crate) fn write_data(segments: &[Bytes], output: &mut Vec<Bytes>) {
    let _ = (segments, output);
    todo!("helper")
}
