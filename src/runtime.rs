//! The interface to an async runtime, such as tokio, async-std or smol, or to threads.

#[cfg(any(feature = "smol", feature = "tokio"))]
mod listening;
mod segments;
#[cfg(feature = "smol")]
pub mod smol;
#[cfg(feature = "tokio")]
pub mod tokio;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use futures::future::{BoxFuture, Either, poll_fn, select};
use futures::io::{AsyncRead, AsyncWrite};
use futures::poll;

use crate::deadline::Deadline;
#[cfg(test)]
pub(crate) use segments::SMALL;
pub(crate) use segments::Segments;

/// The services that the crate needs from an async runtime: a clock, a timer and connections. The
/// features `tokio` and `smol` provide implementations. Your own implementation takes a dozen
/// lines, or two dozen with datagrams; see `examples/on_async_std.rs`. This one uses the crate
/// async-io, which needs no runtime:
///
/// ```
/// use std::{io, net::TcpStream, time::Instant};
/// use async_io::{Async, Timer};
/// use nobounce::{Address, Runtime, async_trait};
///
/// struct AsyncIo;
///
/// #[async_trait]
/// impl Runtime for AsyncIo {
///     type Stream = Async<TcpStream>;
///
///     async fn sleep_until(&self, at: Instant) {
///         Timer::at(at).await;
///     }
///
///     async fn connect(&self, address: &Address) -> io::Result<Self::Stream> {
///         let Address::Tcp(address) = address else {
///             return Err(io::ErrorKind::Unsupported.into());
///         };
///         let stream = TcpStream::connect(&**address)?;
///         stream.set_nodelay(true)?;
///         Async::new(stream)
///     }
/// }
///
/// let refused = pollster::block_on(AsyncIo.connect(&"127.0.0.1:1".parse()?));
/// assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// A connection to an onward server or a scorer's daemon.
    ///
    /// Mail is written in many segments at once if the stream implements
    /// [`poll_write_vectored`](AsyncWrite::poll_write_vectored). Adapters without it write one
    /// segment at a time (such as tokio-util's `Compat`), and large mail then costs a quarter more.
    /// The streams of the features `tokio` and `smol` write all segments at once.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Returns the current time, for deadlines.
    #[allow(clippy::disallowed_methods, reason = "the clock of an edge")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Returns the time of day, for the trace header and file names.
    #[allow(clippy::disallowed_methods, reason = "the clock of an edge")]
    fn time_of_day(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Waits at least until `at`.
    async fn sleep_until(&self, at: Instant);

    /// Connects to a server. A TCP connection must set `TCP_NODELAY`; without it, each step of a
    /// dialogue may cost 40 ms.
    async fn connect(&self, address: &Address) -> io::Result<Self::Stream>;

    /// Returns a new UDP socket for this server. It must be bound to port 0, so that the system
    /// chooses the port: an attacker who forges DNS answers has to guess it (RFC 5452 section 4.5).
    /// It must also be connected, so that it receives only from this server.
    ///
    /// A runtime without UDP returns `Unsupported`, which is the default. The caller then uses TCP.
    async fn datagrams(&self, server: SocketAddr) -> io::Result<Box<dyn Datagrams>> {
        let _ = server;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A UDP socket that is connected to one server.
///
/// ```
/// use std::{io, net::UdpSocket};
/// use async_io::Async;
/// use nobounce::async_trait;
/// use nobounce::runtime::Datagrams;
///
/// struct Socket(Async<UdpSocket>);
///
/// #[async_trait]
/// impl Datagrams for Socket {
///     async fn send(&self, octets: &[u8]) -> io::Result<()> {
///         self.0.send(octets).await.map(drop)
///     }
///
///     async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
///         self.0.recv(buffer).await
///     }
/// }
///
/// # pollster::block_on(async {
/// let server = UdpSocket::bind("127.0.0.1:0")?;
/// let socket = Async::<UdpSocket>::bind(([127, 0, 0, 1], 0))?;
/// socket.get_ref().connect(server.local_addr()?)?;
/// let socket = Socket(socket);
/// socket.send(b"question").await?;
/// let (_, from) = server.recv_from(&mut [0; 512])?;
/// server.send_to(b"answer", from)?;
/// assert_eq!(socket.receive(&mut [0; 512]).await?, 6);
/// # Ok::<(), io::Error>(())
/// # })?;
/// # Ok::<(), io::Error>(())
/// ```
#[async_trait]
pub trait Datagrams: Send + Sync {
    /// Sends one datagram.
    async fn send(&self, octets: &[u8]) -> io::Result<()>;

    /// Receives one datagram into `buffer` and returns its length. Octets beyond the end of
    /// `buffer` are lost.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
}

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `host:port`; the host is a name or an IP address (`[::1]:25`).
    Tcp(Box<str>),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// The error for a text that is neither `host:port` nor `unix:/path`. Caller fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither HOST:PORT nor unix:PATH")]
pub struct AddressError(Box<str>);

impl FromStr for Address {
    type Err = AddressError;

    /// Parses `host:port`, `unix:/path` or `/path`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:").or(text.starts_with('/').then_some(text)) {
            return Ok(Self::Unix(path.into()));
        }
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        match port.map(|(_, port)| port.parse::<u16>()) {
            Some(Ok(_)) => Ok(Self::Tcp(text.into())),
            _ => Err(AddressError(text.into())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Maximum number of octets of one read.
pub(crate) const READ: usize = 64 << 10;

thread_local! {
    /// Temporary buffer for octets between a socket and their consumer, and for joining small
    /// segments into one write. There is one per polling thread. Idle sessions hold no buffer, and
    /// it is not zeroed for each use.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Passes a buffer of [`READ`] octets to `work`. Its initial content is arbitrary.
pub(crate) fn with_buffer<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = BUFFER.take();
    buffer.resize(READ, 0);
    let done = work(&mut buffer);
    BUFFER.set(buffer);
    done
}

/// Reads once, at most `most` octets and never more than [`READ`], and passes on the octets.
/// Returns 0 at EOF.
pub(crate) fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    context: &mut Context<'_>,
    most: usize,
    take: impl FnOnce(&[u8]),
) -> Poll<io::Result<usize>> {
    with_buffer(|buffer| {
        let read = Pin::new(stream).poll_read(context, &mut buffer[..most.min(READ)]);
        if let Poll::Ready(Ok(length @ 1..)) = read {
            take(&buffer[..length]);
        }
        read
    })
}

/// One timer for many consecutive waits. Most waits end long before their deadlines. The timer
/// therefore stays set for the earliest deadline so far. It is set again when it fires too early,
/// or when a deadline is earlier than that.
pub(crate) struct Timer<'r> {
    sleep: Box<dyn Fn(Instant) -> BoxFuture<'r, ()> + Send + Sync + 'r>,
    set: Option<(Instant, BoxFuture<'r, ()>)>,
    waited: bool,
}

impl<'r> Timer<'r> {
    /// Creates a timer that sleeps with `sleep`.
    pub(crate) fn new(sleep: impl Fn(Instant) -> BoxFuture<'r, ()> + Send + Sync + 'r) -> Self {
        Self { sleep: Box::new(sleep), set: None, waited: false }
    }

    /// Returns the output of `work`, or `None` if `deadline` passes first.
    pub(crate) async fn within<F: Future>(
        &mut self,
        deadline: Option<Deadline>,
        work: F,
    ) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => {
                self.waited = true;
                let Some(Deadline { at, .. }) = deadline else { return Poll::Pending };
                self.poll_until(at, context).map(|()| None)
            }
        })
        .await
    }

    /// Returns whether anything was waited for since the last call. If not, the time has advanced
    /// only by our own processing.
    pub(crate) fn has_waited(&mut self) -> bool {
        std::mem::take(&mut self.waited)
    }

    fn poll_until(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let (set_for, sleep) = match &mut self.set {
                Some(set) if set.0 <= at => set,
                unset => unset.insert((at, (self.sleep)(at))),
            };
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            let is_over = *set_for == at;
            self.set = None;
            if is_over {
                return Poll::Ready(());
            }
        }
    }
}

impl fmt::Debug for Timer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("set_for", &self.set.as_ref().map(|set| set.0)).finish()
    }
}

/// Returns the output of `work`, or `None` if `deadline` passes first. If `work` is ready at once,
/// no timer is set.
pub(crate) async fn within<R: Runtime, F: Future>(
    runtime: &R,
    deadline: Option<Deadline>,
    work: F,
) -> Option<F::Output> {
    let mut work = pin!(work);
    if let Poll::Ready(output) = poll!(work.as_mut()) {
        return Some(output);
    }
    let Some(Deadline { at, .. }) = deadline else {
        return Some(work.await);
    };
    match select(work, runtime.sleep_until(at)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use super::*;
    use crate::deadline::Awaiting;
    use crate::rehearsal::Rehearsal;

    #[test]
    fn consecutive_waits_share_one_timer() {
        let runtime = Rehearsal::new();
        let began = runtime.now();
        let second = Duration::from_secs(1);
        let at = |n: u32| Some(Deadline::after(began, second * n, Awaiting::Command));
        let mut timer = Timer::new(|at| runtime.sleep_until(at));
        runtime.run(async {
            assert_eq!(timer.within(at(10), runtime.sleep(second)).await, Some(()));
            // The timer is still set for 10. It fires too early and is set again.
            assert_eq!(timer.within(at(20), pending::<()>()).await, None);
            assert_eq!(runtime.elapsed(), second * 20);
            assert_eq!(timer.within(at(60), runtime.sleep(second)).await, Some(()));
            // A deadline earlier than the one the timer is set for.
            assert_eq!(timer.within(at(25), pending::<()>()).await, None);
            assert_eq!(runtime.elapsed(), second * 25);
            assert_eq!(timer.within(None, runtime.sleep(second * 100)).await, Some(()));
            assert!(timer.has_waited());
            assert_eq!(
                timer.within(at(1), async {}).await,
                Some(()),
                "a finished future has not timed out"
            );
            assert!(!timer.has_waited());
        });
    }
}
