//! Writes segments to a stream with few writes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::vec::IntoIter;

use bytes::{Buf, Bytes};
use futures::io::AsyncWrite;

use super::with_buffer;

/// Maximum number of segments in one write.
const VECTORS: usize = 64;
/// Minimum size of a segment that is not joined with others. A larger one gets its own slice, or
/// its own write if the stream supports only one slice.
pub(crate) const SMALL: usize = 16 << 10;
/// Maximum total size of segments that are written as one piece, copied through a temporary buffer.
const FEW: usize = 2 * SMALL;
/// Maximum number of octets that are gathered at once. No more than that is copied before it is
/// written.
const BATCH: usize = VECTORS * SMALL;

/// Segments that are being written to a stream, in order. Small segments are joined, so that a peer
/// that creates many small segments does not cause as many writes and packets.
pub(crate) struct Segments {
    /// Gathered segments that are written next. Segments already written are empty.
    batch: Vec<Bytes>,
    /// Number of segments of the batch already written.
    done: usize,
    /// Segments that are not gathered yet.
    rest: IntoIter<Bytes>,
}

impl Segments {
    pub(crate) fn new(mut segments: Vec<Bytes>) -> Self {
        segments.retain(|segment| !segment.is_empty());
        let (batch, rest) = match octets(&segments, BATCH) {
            Some(..=FEW) => (segments, Vec::new()),
            Some(_) => (gathered(segments), Vec::new()),
            None => (Vec::new(), segments),
        };
        Self { batch, done: 0, rest: rest.into_iter() }
    }

    /// Returns whether everything is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.done == self.batch.len() && self.rest.as_slice().is_empty()
    }

    /// Writes as many segments as the stream accepts at once.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.done == self.batch.len() {
            self.gather();
        }
        let left = &mut self.batch[self.done..];
        let mut written = ready!(poll_write(stream, context, left))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let done = left.iter().take_while(|segment| {
            let whole = written >= segment.len();
            written -= if whole { segment.len() } else { 0 };
            whole
        });
        let done = done.count();
        // Frees written segments early, so that the reader can reuse their memory.
        left[..done].fill(Bytes::new());
        if let Some(first) = left.get_mut(done) {
            first.advance(written);
        }
        self.done += done;
        Poll::Ready(Ok(()))
    }

    /// Gathers the next batch.
    fn gather(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        let mut length = 0;
        while length < BATCH
            && let Some(segment) = self.rest.next()
        {
            length += segment.len();
            batch.push(segment);
        }
        (self.batch, self.done) = (gathered(batch), 0);
    }
}

/// Writes as many of these segments as the stream accepts at once.
fn poll_write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    context: &mut Context<'_>,
    segments: &[Bytes],
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    if let [only] = segments {
        return stream.poll_write(context, only);
    }
    if octets(segments, FEW).is_some() {
        return with_buffer(|buffer| {
            let mut length = 0;
            for segment in segments {
                buffer[length..length + segment.len()].copy_from_slice(segment);
                length += segment.len();
            }
            stream.poll_write(context, &buffer[..length])
        });
    }
    let mut slices = [IoSlice::new(&[]); VECTORS];
    let length = segments.len().min(VECTORS);
    slices.iter_mut().zip(segments).for_each(|(slice, segment)| *slice = IoSlice::new(segment));
    stream.poll_write_vectored(context, &slices[..length])
}

/// Returns the total size of these segments, if it is at most `most`.
fn octets(segments: &[Bytes], most: usize) -> Option<usize> {
    let octets = |sum: usize, segment: &Bytes| {
        let sum = sum + segment.len();
        (sum <= most).then_some(sum)
    };
    segments.iter().try_fold(0, octets)
}

/// Returns the same octets with small segments joined. A copy costs less than another system call.
/// Some streams also accept only one segment at once (tokio's with the futures traits).
fn gathered(mut segments: Vec<Bytes>) -> Vec<Bytes> {
    let is_small = |segment: &Bytes| segment.len() < SMALL;
    if !segments.windows(2).any(|pair| pair.iter().all(is_small)) {
        return segments;
    }
    let mut place = 0;
    let mut at = 0;
    while at < segments.len() {
        let mut length = 0;
        let joined = segments[at..].iter().take_while(|segment| {
            length += segment.len();
            is_small(segment) && length <= FEW
        });
        let joined = joined.count().max(1);
        let run = &segments[at..at + joined];
        segments[place] = if joined == 1 { run[0].clone() } else { run.concat().into() };
        (place, at) = (place + 1, at + joined);
    }
    segments.truncate(place);
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_segments_are_joined_and_large_ones_are_not_copied() {
        let segment = |length: usize| Bytes::from(vec![b'x'; length]);
        for (lengths, expected) in [
            (vec![], vec![]),
            (vec![200, 4_000, 3], vec![4_203]),
            (vec![200, SMALL, 3], vec![200, SMALL, 3]),
            (vec![200, 10, SMALL, SMALL, 9, 3], vec![210, SMALL, SMALL, 12]),
            (vec![SMALL - 1, SMALL - 1, SMALL - 1], vec![2 * SMALL - 2, SMALL - 1]),
            (vec![0, SMALL, 0, 3], vec![SMALL, 3]),
        ] {
            let segments: Vec<Bytes> = lengths.into_iter().map(segment).collect();
            let gathered = gathered(segments.clone());
            assert_eq!(gathered.concat(), segments.concat());
            let lengths: Vec<usize> = gathered.iter().map(Bytes::len).collect();
            assert_eq!(lengths.into_iter().filter(|it| *it > 0).collect::<Vec<_>>(), expected);
            let large = |all: &[Bytes]| -> Vec<*const u8> {
                all.iter().filter(|it| it.len() == SMALL).map(|it| it.as_ptr()).collect()
            };
            assert_eq!(large(&gathered), large(&segments), "not copied");
        }
    }
}
