//! Asking a daemon, whatever it speaks: the whole request goes out, one bounded reply comes back,
//! and a connection that is good for another request waits for it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::io::{AsyncRead, AsyncWrite};

use crate::runtime::{Address, Runtime, Segments};

/// Connections that wait at the same time; what comes back beyond them is closed.
const IDLE: usize = 8;
/// How long one is taken for open: clamd gives a session 30 s (`IdleTimeout`). One that was closed
/// earlier is noticed, or costs a second attempt.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no reply. The fault is the daemon's or the network's.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault<P> {
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    #[error("cannot send: {0}")]
    Send(#[source] io::Error),
    #[error("cannot receive: {0}")]
    Receive(#[source] io::Error),
    #[error("connection closed within the reply")]
    Closed,
    #[error("endless reply")]
    Endless,
    #[error(transparent)]
    Reply(#[from] P),
}

/// What is sent, and how the sender shows that it is all.
pub(super) struct Request {
    pub(super) segments: Vec<Bytes>,
    pub(super) end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The request says how long it is.
    Counted,
    /// The sending side is shut down behind it.
    ShutDown,
}

/// Reads replies of one protocol from their first octet on.
pub(super) trait Reader {
    type Reply;
    type Fault;

    /// The longest reply that is read, in octets.
    fn limit(&self) -> usize;

    /// The reply, `None` as long as it is not whole.
    fn read(&self, octets: &[u8]) -> Result<Option<Self::Reply>, Self::Fault>;

    /// Returns the reply when the daemon closes the connection behind these octets. `None` if the
    /// protocol says where a reply ends.
    fn read_to_end(&self, octets: &[u8]) -> Result<Option<Self::Reply>, Self::Fault> {
        let _ = octets;
        Ok(None)
    }
}

/// Sends `request` and reads the reply to it into `heard`, both at once: a daemon that has heard
/// enough may say so and close before it was told everything. Such a reply counts.
///
/// The second value is whether the request was sent whole.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin, P: Reader>(
    stream: &mut S,
    request: Request,
    reader: &P,
    heard: &mut Vec<u8>,
) -> Result<(P::Reply, bool), Fault<P::Fault>> {
    let mut sending = Sending { segments: Segments::new(request.segments), end: request.end };
    let mut sent = None;
    poll_fn(|context| {
        loop {
            if sent.is_none()
                && let Poll::Ready(result) = sending.poll(stream, context)
            {
                sent = Some(result);
            }
            let mut buffer = [0; 8192];
            let count = match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(count)) => count,
                // What broke the sending goes before what it broke.
                Poll::Ready(Err(error)) => {
                    let fault = broken(&mut sent).unwrap_or(Fault::Receive(error));
                    return Poll::Ready(Err(fault));
                }
                Poll::Pending => {
                    return broken(&mut sent)
                        .map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)));
                }
            };
            heard.extend_from_slice(&buffer[..count]);
            if heard.len() > reader.limit() {
                return Poll::Ready(Err(Fault::Endless));
            }
            if let Some(reply) = reader.read(heard)? {
                return Poll::Ready(Ok((reply, matches!(sent, Some(Ok(()))))));
            }
            if count == 0 {
                return Poll::Ready(match reader.read_to_end(heard)? {
                    Some(reply) => Ok((reply, false)),
                    None => Err(broken(&mut sent).unwrap_or(Fault::Closed)),
                });
            }
        }
    })
    .await
}

/// Why the request could not be sent, if it could not.
fn broken<P>(sent: &mut Option<io::Result<()>>) -> Option<Fault<P>> {
    sent.take_if(|sent| sent.is_err())?.err().map(Fault::Send)
}

/// The rest of a request.
struct Sending {
    segments: Segments,
    end: End,
}

impl Sending {
    fn poll(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.segments.is_empty() {
            ready!(self.segments.poll_write(stream, context))?;
        }
        match self.end {
            End::Counted => Pin::new(stream).poll_flush(context),
            End::ShutDown => Pin::new(stream).poll_close(context),
        }
    }
}

/// A daemon that takes one request after another on a connection.
pub(super) struct Daemon<R: Runtime> {
    runtime: R,
    address: Address,
    idle: Mutex<Vec<Connection<R::Stream>>>,
}

struct Connection<S> {
    stream: S,
    /// Requests that were answered on it.
    answered: u32,
    since: Instant,
}

/// A reply, and whether the connection is good for another request.
pub(super) struct Answer<T> {
    pub(super) reply: T,
    pub(super) keep: bool,
}

impl<R: Runtime> Daemon<R> {
    pub(super) fn new(runtime: R, address: Address) -> Self {
        Self { runtime, address, idle: Mutex::default() }
    }

    /// Asks on a connection that waits, or on a new one. Both request and reader are made for the
    /// number of requests that were answered on the connection before.
    ///
    /// A connection that waited may have been closed by the daemon without our having heard of it.
    /// So if one breaks before a single octet of the reply is there, all is asked once more, from
    /// the beginning and on a new connection; what happens to that one is final.
    pub(super) async fn ask<T, P: Reader<Reply = Answer<T>>>(
        &self,
        request: impl Fn(u32) -> Request,
        reader: impl Fn(u32) -> P,
    ) -> Result<T, Fault<P::Fault>> {
        if let Some(waiting) = self.waiting() {
            let mut heard = Vec::new();
            let result = self.ask_on(waiting, &request, &reader, &mut heard).await;
            let broken = matches!(result, Err(Fault::Send(_) | Fault::Receive(_) | Fault::Closed));
            if !(broken && heard.is_empty()) {
                return result;
            }
        }
        let stream = self.runtime.connect(&self.address).await.map_err(Fault::Connect)?;
        let fresh = Connection { stream, answered: 0, since: self.runtime.now() };
        self.ask_on(fresh, &request, &reader, &mut Vec::new()).await
    }

    async fn ask_on<T, P: Reader<Reply = Answer<T>>>(
        &self,
        mut connection: Connection<R::Stream>,
        request: &impl Fn(u32) -> Request,
        reader: &impl Fn(u32) -> P,
        heard: &mut Vec<u8>,
    ) -> Result<T, Fault<P::Fault>> {
        let (request, reader) = (request(connection.answered), reader(connection.answered));
        let (answer, sent) = exchange(&mut connection.stream, request, &reader, heard).await?;
        if answer.keep && sent {
            connection.answered = connection.answered.saturating_add(1);
            connection.since = self.runtime.now();
            self.keep(connection);
        }
        Ok(answer.reply)
    }

    /// The connection that was used last, if it is open as far as one can see. Those that are too
    /// old or not silent are closed.
    fn waiting(&self) -> Option<Connection<R::Stream>> {
        let now = self.runtime.now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| now.saturating_duration_since(connection.since) < PATIENCE);
        while let Some(mut connection) = idle.pop() {
            let context = &mut Context::from_waker(Waker::noop());
            let read = Pin::new(&mut connection.stream).poll_read(context, &mut [0]);
            if read.is_pending() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: Connection<R::Stream>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(connection);
        }
    }
}

#[cfg(test)]
mod tests;
