//! Segments on their way to a stream, in few writes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::vec::IntoIter;

use bytes::{Buf, Bytes};
use futures::io::AsyncWrite;

use super::with_buffer;

/// Most segments that are written at once.
const VECTORS: usize = 64;
/// Octets of a segment that is worth an element of its own, or a write where a stream takes but one.
pub(crate) const SMALL: usize = 16 << 10;
/// Octets of segments that are written in one piece, as they stand in a buffer for a moment.
const FEW: usize = 2 * SMALL;
/// Octets of segments that are gathered at once: no more than that is copied ahead of the writes.
const BATCH: usize = VECTORS * SMALL;

/// Segments that are being written to a stream, in order. Small segments are joined, so that a peer
/// that makes many of them does not make as many writes and packets.
pub(crate) struct Segments {
    /// Gathered, and written next. Those that are written are empty.
    batch: Vec<Bytes>,
    /// How many of the batch are written.
    done: usize,
    /// Not gathered yet.
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

    /// Whether everything is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.done == self.batch.len() && self.rest.as_slice().is_empty()
    }

    /// Writes as many segments as the stream takes at once.
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
        // The memory of what was written is used again meanwhile, by whoever reads.
        left[..done].fill(Bytes::new());
        if let Some(first) = left.get_mut(done) {
            first.advance(written);
        }
        self.done += done;
        Poll::Ready(Ok(()))
    }

    /// Makes the next batch.
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

/// Writes as many of these segments as the stream takes at once.
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

/// How many octets these segments have, if that is no more than `most`.
fn octets(segments: &[Bytes], most: usize) -> Option<usize> {
    let octets = |sum: usize, segment: &Bytes| {
        let sum = sum + segment.len();
        (sum <= most).then_some(sum)
    };
    segments.iter().try_fold(0, octets)
}

/// The same octets with small segments joined: a copy costs less than another system call, and not
/// every stream takes many segments at once (tokio's with the futures traits takes one).
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
    fn small_segments_leave_together_and_large_ones_as_they_are() {
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
