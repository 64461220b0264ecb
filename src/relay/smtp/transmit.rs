//! Writing to the onward server.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures::future::poll_fn;
use futures::io::{AsyncWrite, AsyncWriteExt};
use futures::poll;

use crate::deadline::{Awaiting, Deadline};
use crate::onward::OnwardSettings;
use crate::runtime::{Runtime, with_buffer, within};

/// Most segments that are written at once.
const VECTORS: usize = 64;
/// Octets of a segment that is worth an element of its own, or a write where a stream takes but one.
const SMALL: usize = 16 << 10;

/// Writes all segments in order, many at a time, with a deadline for each block that the server
/// takes.
pub(super) async fn transmit<R: Runtime, S: AsyncWrite + Unpin>(
    runtime: &R,
    settings: &OnwardSettings,
    stream: &mut S,
    mut segments: Vec<Bytes>,
) -> io::Result<()> {
    segments.retain(|segment| !segment.is_empty());
    if !are_few(&segments) {
        segments = gathered(segments);
    }
    let mut left = &mut segments[..];
    while !left.is_empty() {
        let write = poll_fn(|context| poll_write(stream, context, left));
        let mut written = in_time(runtime, settings, write).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let done = left.iter().take_while(|segment| {
            let whole = written >= segment.len();
            written -= if whole { segment.len() } else { 0 };
            whole
        });
        let done = done.count();
        // The memory of what was written is used again meanwhile, by whoever reads.
        left[..done].fill(Bytes::new());
        left = &mut left[done..];
        if let Some(first) = left.first_mut() {
            first.advance(written);
        }
    }
    in_time(runtime, settings, stream.flush()).await
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
    if are_few(segments) {
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

/// What is mostly done at once has no need of a clock.
async fn in_time<R: Runtime, T>(
    runtime: &R,
    settings: &OnwardSettings,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut work = pin!(work);
    if let Poll::Ready(done) = poll!(work.as_mut()) {
        return done;
    }
    let wait = settings.timeouts.data_block;
    let block = Deadline::after(runtime.now(), wait, Awaiting::Transmission);
    within(runtime, Some(block), work).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}

/// Whether these segments are so few octets that they are written in one piece, as they stand in a
/// buffer for a moment.
fn are_few(segments: &[Bytes]) -> bool {
    let octets = |sum: usize, segment: &Bytes| {
        let sum = sum + segment.len();
        (sum <= 2 * SMALL).then_some(sum)
    };
    segments.iter().try_fold(0, octets).is_some()
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
            is_small(segment) && length <= 2 * SMALL
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
    use std::sync::Arc;

    use super::*;
    use crate::rehearsal::Rehearsal;

    /// A stream that takes so many octets at a time, and notes of each write how many were offered, in how
    /// many pieces, and how many segments were still held.
    struct Noting {
        most: usize,
        held: Arc<()>,
        writes: Vec<(usize, usize, usize)>,
    }

    impl Noting {
        fn new(most: usize) -> Self {
            Self { most, held: Arc::new(()), writes: Vec::new() }
        }
    }

    impl AsyncWrite for Noting {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            octets: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(octets)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            let octets: usize = pieces.iter().map(|piece| piece.len()).sum();
            this.writes.push((octets, pieces.len(), Arc::strong_count(&this.held) - 1));
            Poll::Ready(Ok(octets.min(this.most)))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn few_octets_leave_in_one_piece_and_all_in_few_writes() {
        let (runtime, settings) = (Rehearsal::new(), OnwardSettings::new("mx.example"));
        for (lengths, octets_and_pieces) in [
            (vec![], None),
            (vec![0, 5, 0], Some((5, 1))),
            (vec![200, 4_000, 3], Some((4_203, 1))),
            (vec![SMALL, SMALL], Some((2 * SMALL, 1))),
            (vec![SMALL, SMALL, 1], Some((2 * SMALL + 1, 3))),
            (vec![1; 2 * SMALL + 1], Some((2 * SMALL + 1, 2))),
            (vec![5 * SMALL], Some((5 * SMALL, 1))),
        ] {
            let mut stream = Noting::new(usize::MAX);
            let segments = lengths.iter().map(|length| Bytes::from(vec![b'x'; *length])).collect();
            runtime.run(transmit(&runtime, &settings, &mut stream, segments)).unwrap();
            let writes = stream.writes.iter().map(|(octets, pieces, _)| (*octets, *pieces));
            assert!(writes.eq(octets_and_pieces), "{lengths:?}: {:?}", stream.writes);
        }
    }

    #[test]
    fn what_is_written_is_held_no_longer() {
        struct Owned {
            _held: Arc<()>,
        }
        impl AsRef<[u8]> for Owned {
            fn as_ref(&self) -> &[u8] {
                &[b'x'; SMALL]
            }
        }
        let (runtime, settings) = (Rehearsal::new(), OnwardSettings::new("mx.example"));
        let mut stream = Noting::new(SMALL / 2);
        let held = || Bytes::from_owner(Owned { _held: stream.held.clone() });
        let segments = (0..3).map(|_| held()).collect();
        runtime.run(transmit(&runtime, &settings, &mut stream, segments)).unwrap();
        let writes = stream.writes.iter().map(|(octets, _, held)| (*octets * 2 / SMALL, *held));
        assert!(writes.eq([(6, 3), (5, 3), (4, 2), (3, 2), (2, 1), (1, 1)]), "{:?}", stream.writes);
    }

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
