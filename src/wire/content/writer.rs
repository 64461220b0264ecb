//! Mail data on its way out.

use bytes::Bytes;

use super::{Dots, LF, begins_with_dot};

/// Octets that are copied together if a line among them begins with a dot.
pub(super) const STUFFED: usize = 4096;

/// Octets that are copied before what was written is handed on.
pub(super) const BATCH: usize = 64 << 10;

/// Writes mail data as it stands between 354 and the reply: stuffed (RFC 5321 section 4.5.2), and
/// ended by `.` CRLF, which is the last element. It writes in batches, so that what has to be
/// copied is never more than a part of the whole.
///
/// Octets are passed on uncopied, but for blocks of 4 KiB in which a line begins with a dot. So
/// there are no more than two elements for 4 KiB, and what is copied is no more than four thirds
/// of the content, whatever is in it.
#[derive(Debug)]
pub(crate) struct DataWriter {
    segments: std::vec::IntoIter<Bytes>,
    dots: Dots,
    /// What is left of the segment that was begun.
    rest: Bytes,
    last: u8,
    ended: bool,
}

impl DataWriter {
    /// For these segments of mail data, cut anywhere. What the decoder has seen no dots in is not
    /// looked through again.
    pub(crate) fn new(segments: Vec<Bytes>, dots: Dots) -> Self {
        let segments = segments.into_iter();
        Self { segments, dots, rest: Bytes::new(), last: LF, ended: false }
    }

    /// Appends the next batch to `output`; nothing once the end was written.
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

    /// Whether the end was written.
    pub(crate) fn is_done(&self) -> bool {
        self.ended
    }

    /// How many octets of the rest, in blocks, hold no line that begins with a dot.
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
    // A dot behind an LF is at most every second octet. Here too nothing branches on the content.
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
