//! Encoder for mail data that is sent to an onward server.

use bytes::Bytes;

use super::{Dots, LF, begins_with_dot};

/// Octets that are copied together if one line in them begins with a dot.
pub(super) const STUFFED: usize = 4096;

/// Octets that are copied before a batch is complete.
pub(super) const BATCH: usize = 64 << 10;

/// Writer of mail data as sent between the 354 reply and the final reply: dot-stuffed (RFC 5321
/// section 4.5.2) and ended by `.` CRLF, which is the last element. The writer works in batches, so
/// only a part of the data is copied at any time.
///
/// Octets are passed on without a copy, except blocks of 4 KiB in which a line begins with a dot.
/// So there are at most two elements for 4 KiB. The copied octets are at most four thirds of the
/// content, for any content.
#[derive(Debug)]
pub(crate) struct DataWriter {
    segments: std::vec::IntoIter<Bytes>,
    dots: Dots,
    /// The rest of the current segment.
    rest: Bytes,
    last: u8,
    ended: bool,
}

impl DataWriter {
    /// Creates a writer for these segments of mail data, which may be split anywhere. If the
    /// decoder has found no dots at line starts, the segments are not scanned again.
    pub(crate) fn new(segments: Vec<Bytes>, dots: Dots) -> Self {
        let segments = segments.into_iter();
        Self { segments, dots, rest: Bytes::new(), last: LF, ended: false }
    }

    /// Appends the next batch to `output`. Appends nothing after the end was written.
    pub(crate) fn write(&mut self, output: &mut Vec<Bytes>) {
        let mut copied = 0;
        while !self.ended && copied < BATCH {
            if self.rest.is_empty() {
                match self.segments.next() {
                    Some(segment) => self.rest = segment,
                    None => self.end(output),
                }
                continue;
            }
            let plain = self.plain();
            if plain > 0 {
                self.last = self.rest[plain - 1];
                output.push(self.rest.split_to(plain));
            }
            if !self.rest.is_empty() {
                let block = self.rest.split_to(self.rest.len().min(STUFFED));
                output.push(stuff(self.last, &block));
                self.last = block[block.len() - 1];
                copied += block.len();
            }
        }
    }

    /// Returns whether the end of data was written.
    pub(crate) fn is_done(&self) -> bool {
        self.ended
    }

    /// Returns how many octets of the rest, in whole blocks, have no line that begins with a dot.
    fn plain(&self) -> usize {
        if self.dots == Dots::None {
            return self.rest.len();
        }
        let mut last = self.last;
        for begin in (0..self.rest.len()).step_by(STUFFED) {
            let end = self.rest.len().min(begin + STUFFED);
            if begins_with_dot(last, &self.rest[begin..end]) {
                return begin;
            }
            last = self.rest[end - 1];
        }
        self.rest.len()
    }

    fn end(&mut self, output: &mut Vec<Bytes>) {
        if self.last != LF {
            output.push(Bytes::from_static(b"\r\n"));
        }
        output.push(Bytes::from_static(b".\r\n"));
        self.ended = true;
    }
}

fn stuff(mut last: u8, block: &[u8]) -> Bytes {
    // The capacity is sufficient, because at most every second octet is a dot after an LF. The loop
    // does not branch on the octets, so no content makes it slow.
    let mut stuffed = vec![0; block.len() + block.len() / 2 + 2];
    let mut length = 0;
    for octet in block.iter().copied() {
        stuffed[length..length + 2].copy_from_slice(&[octet; 2]);
        length += 1 + usize::from((last == LF) & (octet == b'.'));
        last = octet;
    }
    stuffed.truncate(length);
    stuffed.into_boxed_slice().into()
}
