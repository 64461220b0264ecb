//! Writing to the onward server.

use std::io;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use futures::future::poll_fn;
use futures::io::{AsyncWrite, AsyncWriteExt};
use futures::poll;

use crate::deadline::{Awaiting, Deadline};
use crate::onward::OnwardSettings;
use crate::runtime::{Runtime, Segments, within};

/// Writes all segments in order, many at a time. Each block that the server accepts has its own
/// deadline.
pub(super) async fn transmit<R: Runtime, S: AsyncWrite + Unpin>(
    runtime: &R,
    settings: &OnwardSettings,
    stream: &mut S,
    segments: Vec<Bytes>,
) -> io::Result<()> {
    let mut segments = Segments::new(segments);
    while !segments.is_empty() {
        let write = poll_fn(|context| segments.poll_write(stream, context));
        in_time(runtime, settings, write).await?;
    }
    in_time(runtime, settings, stream.flush()).await
}

/// Waits for a write until the timeout of a block. Reads the clock only if the write does not
/// finish at once.
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

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::Context;

    use super::*;
    use crate::rehearsal::Rehearsal;
    use crate::runtime::SMALL;

    /// A stream that accepts at most `most` octets per write. For each write it records the number
    /// of octets, of slices, and of segments that were still held.
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
    fn segments_are_written_in_few_writes() {
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
    fn written_segments_are_dropped() {
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
}
