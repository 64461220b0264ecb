//! A client for scanning daemons of any protocol. It sends a whole request, reads one reply of
//! limited length, and pools connections that can take another request.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::io::{AsyncRead, AsyncWrite};

use crate::runtime::{Address, Runtime, Segments};

/// Maximum number of idle connections in the pool. Further connections are closed.
const IDLE: usize = 8;
/// Maximum idle time of a pooled connection. clamd closes idle sessions after 30 s (`IdleTimeout`).
/// If the daemon closed a connection earlier, the client notices it or retries once.
const PATIENCE: Duration = Duration::from_secs(20);

/// The reason for a missing reply. Fault of the daemon or the network.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault<P> {
    #[error("connecting to the daemon failed: {0}")]
    Connect(#[source] io::Error),
    #[error("sending to the daemon failed: {0}")]
    Send(#[source] io::Error),
    #[error("receiving from the daemon failed: {0}")]
    Receive(#[source] io::Error),
    #[error("the daemon closed the connection before the end of its response")]
    Closed,
    #[error("the response exceeds the size limit")]
    Endless,
    #[error(transparent)]
    Reply(#[from] P),
}

/// A request, and how its end is marked.
pub(super) struct Request {
    pub(super) segments: Vec<Bytes>,
    pub(super) end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The request contains its length.
    Counted,
    /// The sending side is shut down after the request.
    ShutDown,
}

/// Parser for the replies of one protocol.
pub(super) trait Reader {
    type Reply;
    type Fault;

    /// Returns the maximum length of a reply in octets.
    fn limit(&self) -> usize;

    /// Returns the reply, or `None` if it is not complete yet.
    fn read(&self, octets: &[u8]) -> Result<Option<Self::Reply>, Self::Fault>;

    /// Returns the reply if the daemon closes the connection after these octets. Returns `None` if
    /// the protocol itself marks the end of a reply.
    fn read_to_end(&self, octets: &[u8]) -> Result<Option<Self::Reply>, Self::Fault> {
        let _ = octets;
        Ok(None)
    }
}

/// Sends `request` and reads the reply into `heard` concurrently. A daemon may reply and close the
/// connection before it has read the whole request. Such a reply counts.
///
/// The second value tells whether the whole request was sent.
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
                // A failed write is the more precise cause, so it has priority over the read error.
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

/// Returns the error if sending the request failed.
fn broken<P>(sent: &mut Option<io::Result<()>>) -> Option<Fault<P>> {
    sent.take_if(|sent| sent.is_err())?.err().map(Fault::Send)
}

/// The part of a request that has not been sent yet.
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

/// A daemon that accepts several requests on one connection.
pub(super) struct Daemon<R: Runtime> {
    runtime: R,
    address: Address,
    idle: Mutex<Vec<Connection<R::Stream>>>,
}

struct Connection<S> {
    stream: S,
    /// Number of requests answered on this connection.
    answered: u32,
    since: Instant,
}

/// A reply, and whether the connection can be reused.
pub(super) struct Answer<T> {
    pub(super) reply: T,
    pub(super) keep: bool,
}

impl<R: Runtime> Daemon<R> {
    pub(super) fn new(runtime: R, address: Address) -> Self {
        Self { runtime, address, idle: Mutex::default() }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a request on a pooled connection, or on a new one. `request` and `reader` get the
    /// number of requests answered on that connection before.
    ///
    /// The daemon may have closed a pooled connection unnoticed. If such a connection
    /// breaks before the first octet of a reply, the whole request is repeated once on a new
    /// connection. The result of the second attempt is final.
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

    /// Returns the most recently used connection that still appears open. Connections that are too
    /// old, or on which there is unexpected input or EOF, are closed.
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
