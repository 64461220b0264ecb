//! Writing to the onward server.

use std::io::{self, IoSlice};
use std::pin::pin;
use std::task::Poll;

use bytes::{Buf, Bytes};
use futures::io::{AsyncWrite, AsyncWriteExt};
use futures::poll;

use crate::deadline::{Awaiting, Deadline};
use crate::onward::OnwardSettings;
use crate::runtime::{Runtime, within};

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
    segments: Vec<Bytes>,
) -> io::Result<()> {
    let mut segments = gathered(segments).into_iter();
    let mut batch: Vec<Bytes> = Vec::with_capacity(VECTORS.min(segments.len()));
    loop {
        batch.extend(segments.by_ref().take(VECTORS - batch.len()));
        if batch.is_empty() {
            break;
        }
        let write = async {
            let slices: Vec<_> = batch.iter().map(|segment| IoSlice::new(segment)).collect();
            stream.write_vectored(&slices).await
        };
        let mut written = in_time(runtime, settings, write).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let done = batch.iter().take_while(|segment| {
            let whole = written >= segment.len();
            written -= if whole { segment.len() } else { 0 };
            whole
        });
        let done = done.count();
        batch.drain(..done);
        if let Some(first) = batch.first_mut() {
            first.advance(written);
        }
    }
    in_time(runtime, settings, stream.flush()).await
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

/// The same octets with small segments joined: a copy costs less than another system call, and not
/// every stream takes many segments at once (tokio's with the futures traits takes one).
fn gathered(segments: Vec<Bytes>) -> Vec<Bytes> {
    let is_small = |segment: &Bytes| segment.len() < SMALL;
    if !segments.windows(2).any(|pair| pair.iter().all(is_small)) {
        return segments;
    }
    let mut all = Vec::with_capacity(segments.len());
    let mut run: Vec<u8> = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        if !is_small(segment) || run.len() + segment.len() > 2 * SMALL {
            all.extend((!run.is_empty()).then(|| Bytes::from(std::mem::take(&mut run))));
        }
        if is_small(segment) {
            if run.is_empty() {
                let small = segments[at..].iter().take_while(|segment| is_small(segment));
                run.reserve_exact(small.map(Bytes::len).sum::<usize>().min(2 * SMALL));
            }
            run.extend_from_slice(segment);
        } else {
            all.push(segment.clone());
        }
    }
    all.extend((!run.is_empty()).then(|| Bytes::from(run)));
    all
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
