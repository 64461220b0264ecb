//! Reading the input of a client.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use futures::future::poll_fn;
use futures::io::AsyncRead;

use super::{COMMANDS, STASH};
use crate::gate::GateSession;
use crate::runtime::{Runtime, poll_read};

/// Input of a client that arrived while the session waited for something else.
#[derive(Default)]
pub(super) struct Stash {
    pub(super) octets: Vec<u8>,
    /// Maximum number of octets it may hold. A client that never waits is read only as fast as it
    /// is answered.
    pub(super) room: usize,
    pub(super) end: Option<End>,
}

/// The end of a client's input, and its cause.
pub(super) enum End {
    /// EOF: the client sends nothing more, but may still read.
    Orderly,
    Broken(io::Error),
}

/// Reads once and passes the input to the session. Mail data is read directly into its place if
/// there is room. Returns the end of the input, if it was reached.
pub(super) fn receive<R: Runtime>(
    session: &mut GateSession<'_, R>,
    client: &mut (impl AsyncRead + Unpin),
    context: &mut Context<'_>,
) -> Poll<Option<End>> {
    let most = session.session().portion().unwrap_or(COMMANDS);
    let room = session.room();
    if room.is_empty() {
        return read(client, context, most, |octets| session.receive(octets));
    }
    let read = Pin::new(client).poll_read(context, room);
    if let Poll::Ready(Ok(length @ 1..)) = read {
        session.receive_in_room(length);
    }
    read.map(ended)
}

/// Reads once, at most `most` octets, and passes on the input. Returns the end of the input, if it
/// was reached.
pub(super) fn read(
    client: &mut (impl AsyncRead + Unpin),
    context: &mut Context<'_>,
    most: usize,
    take: impl FnOnce(&[u8]),
) -> Poll<Option<End>> {
    poll_read(client, context, most, take).map(ended)
}

fn ended(read: io::Result<usize>) -> Option<End> {
    match read {
        Ok(0) => Some(End::Orderly),
        Ok(_) => None,
        Err(error) => Some(End::Broken(error)),
    }
}

impl Stash {
    /// Returns the output of `work`; `None` if the client's connection breaks first.
    pub(super) async fn beside<C: AsyncRead + Unpin, F: Future>(
        &mut self,
        client: &mut C,
        work: F,
    ) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => {
                self.poll_listen(client, context);
                if self.is_broken() { Poll::Ready(None) } else { Poll::Pending }
            }
        })
        .await
    }

    /// Reads the input that is available now.
    pub(super) async fn listen<C: AsyncRead + Unpin>(&mut self, client: &mut C) {
        poll_fn(|context| {
            self.poll_listen(client, context);
            Poll::Ready(())
        })
        .await;
    }

    fn poll_listen<C: AsyncRead + Unpin>(&mut self, client: &mut C, context: &mut Context<'_>) {
        while self.end.is_none() && self.octets.len() < self.room {
            match read(client, context, STASH, |octets| self.octets.extend_from_slice(octets)) {
                Poll::Ready(end) => self.end = end,
                Poll::Pending => break,
            }
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        matches!(self.end, Some(End::Broken(_)))
    }
}
