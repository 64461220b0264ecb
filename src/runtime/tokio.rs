//! The adapter for tokio: sockets, timers, datagrams and the accept loop.
//!
//! ```no_run
//! use nobounce::tokio::{Tokio, listen, serve, shutdown_signal};
//! use nobounce::{Gate, Settings, relay};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let onward = relay::Smtp::new(Tokio, "127.0.0.1:10025".parse()?, "mx.example.org");
//! let gate = Gate::new(Tokio, Settings::new("mx.example.org"), onward);
//! let listener = listen(&"0.0.0.0:25".parse()?).await?;
//! serve(listener, gate).with_graceful_shutdown(shutdown_signal()?).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A tokio runtime with I/O and time enabled is required, as with `#[tokio::main]`. On a machine
//! with one core, a current-thread runtime needs the least CPU time.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use async_trait::async_trait;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use super::{Address, Datagrams, Runtime, listening};
use crate::driver::Adapter;
pub use crate::driver::{Serve, Shutdown};
use crate::gate::Gate;
use crate::peer::Peer;

/// The tokio runtime that the calling task runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tokio;

/// Serves the clients of this listener until shutdown. See [`Serve`].
///
/// The listener is created by [`listen`] or is one of tokio.
///
/// ```no_run
/// use nobounce::tokio::{Tokio, listen, serve};
/// use nobounce::{Gate, Settings, relay};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let gate = Gate::new(Tokio, Settings::new("mx.example"), relay::Maildir::new("maildir"));
/// serve(listen(&"127.0.0.1:2525".parse()?).await?, gate).await?;
/// # Ok(()) }
/// ```
pub fn serve(listener: impl Into<Listener>, gate: impl Into<Arc<Gate<Tokio>>>) -> Serve<Tokio> {
    Serve::new(gate).and(listener)
}

/// Serves the clients of this listener until shutdown, with TLS from the first octet (RFC 8314).
/// See [`Serve`]. The gate needs [`Gate::tls`].
///
/// ```no_run
/// use std::fs;
/// use nobounce::tokio::{Tokio, listen, serve_tls};
/// use nobounce::tls::TlsServer;
/// use nobounce::{Gate, Settings, relay};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = TlsServer::from_pem(&fs::read("chain.pem")?, &fs::read("key.pem")?)?;
/// let target = relay::Maildir::new("maildir");
/// let gate = Gate::new(Tokio, Settings::new("mx.example"), target).tls(tls);
/// serve_tls(listen(&"0.0.0.0:465".parse()?).await?, gate).await?;
/// # Ok(()) }
/// ```
#[cfg(feature = "tls")]
pub fn serve_tls(listener: impl Into<Listener>, gate: impl Into<Arc<Gate<Tokio>>>) -> Serve<Tokio> {
    Serve::new(gate).and_tls(listener)
}

/// Listens at this address, with a backlog of 4,096 connections.
///
/// An IPv6 listener accepts only IPv6. To listen at every address of the machine, use `0.0.0.0:25`
/// and `[::]:25`. A stale Unix socket file of a process that has ended is replaced.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// let any_port = "127.0.0.1:0".parse().map_err(std::io::Error::other)?;
/// let listener = nobounce::tokio::listen(&any_port).await?;
/// println!("listening on {}", listener.local_address()?);
/// # Ok(()) }
/// ```
/// # Errors
///
/// Returns an error if the address is in use, does not belong to this machine, is not permitted to
/// this user, or is not found in DNS.
pub async fn listen(address: &Address) -> io::Result<Listener> {
    let listener = async {
        match address {
            Address::Tcp(name) => {
                let mut failed = io::ErrorKind::AddrNotAvailable.into();
                for address in tokio::net::lookup_host(&**name).await? {
                    match listening::tcp(address) {
                        Ok(socket) => return TcpListener::from_std(socket.into()).map(Kind::Tcp),
                        Err(error) => failed = error,
                    }
                }
                Err(failed)
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                UnixListener::from_std(listening::unix(path)?.into()).map(Kind::Unix)
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    };
    listener.await.map(Listener).map_err(|error| listening::at(address, error))
}

/// Returns a future that is ready when the process receives SIGINT (Ctrl-C) or, on Unix, SIGTERM.
/// After this call, these signals no longer end the process themselves.
///
/// ```no_run
/// use nobounce::tokio::{Tokio, Listener, serve, shutdown_signal};
/// use nobounce::Gate;
///
/// async fn run(listener: Listener, gate: Gate<Tokio>) -> std::io::Result<()> {
///     let shutdown = serve(listener, gate).with_graceful_shutdown(shutdown_signal()?).await?;
///     eprintln!("{shutdown:?}");
///     Ok(())
/// }
/// ```
/// # Errors
///
/// Returns an error if the signal handlers cannot be registered.
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        Ok(std::future::poll_fn(move |context| {
            match signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }))
    }
    #[cfg(not(unix))]
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

#[async_trait]
impl Runtime for Tokio {
    type Stream = Socket;

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<Socket> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(&**address).await?;
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
            #[cfg(unix)]
            Address::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    async fn datagrams(&self, server: SocketAddr) -> io::Result<Box<dyn Datagrams>> {
        let any: IpAddr = match server.is_ipv4() {
            true => Ipv4Addr::UNSPECIFIED.into(),
            false => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(server).await?;
        Ok(Box::new(Udp(socket)))
    }
}

impl Adapter for Tokio {
    type Listener = Listener;

    fn poll_accept(
        listener: &mut Listener,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Socket, Peer)>> {
        Poll::Ready(match &listener.0 {
            Kind::Tcp(listener) => {
                ready!(listener.poll_accept(context)).map(|(client, address)| {
                    // This fails if the connection was already reset. Its session notices that.
                    let _ = client.set_nodelay(true);
                    (Socket::Tcp(client), Peer::new(address))
                })
            }
            #[cfg(unix)]
            Kind::Unix(listener) => ready!(listener.poll_accept(context))
                .map(|(client, _)| (Socket::Unix(client), Peer::local())),
        })
    }

    fn send_at_once(client: &Socket, octets: &[u8]) {
        listening::send_at_once(
            match client {
                Socket::Tcp(client) => SockRef::from(client),
                #[cfg(unix)]
                Socket::Unix(client) => SockRef::from(client),
            },
            octets,
        );
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }
}

/// A TCP or Unix socket listener. Created by [`listen`], or from a listener of tokio or of the
/// standard library. The backlog of the latter two is raised to the system's maximum.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl Listener {
    /// Returns the local address. If the listener was created with port 0, it has the port that the
    /// system chose.
    ///
    /// # Errors
    ///
    /// Returns an error if the system does not report the address, or if the Unix socket has no
    /// path.
    pub fn local_address(&self) -> io::Result<Address> {
        match &self.0 {
            Kind::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?.to_string().into())),
            #[cfg(unix)]
            Kind::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().ok_or(io::ErrorKind::AddrNotAvailable)?;
                Ok(Address::Unix(path.into()))
            }
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        listening::raise_backlog(SockRef::from(&listener));
        Self(Kind::Tcp(listener))
    }
}

impl TryFrom<std::net::TcpListener> for Listener {
    type Error = io::Error;

    /// Fails outside of a tokio runtime.
    fn try_from(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::from)
    }
}

#[cfg(unix)]
impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        listening::raise_backlog(SockRef::from(&listener));
        Self(Kind::Unix(listener))
    }
}

#[cfg(unix)]
impl TryFrom<std::os::unix::net::UnixListener> for Listener {
    type Error = io::Error;

    /// Fails outside of a tokio runtime.
    fn try_from(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Self::from)
    }
}

/// A connection of the adapter for tokio, with the I/O traits of `futures`. Supports vectored
/// writes.
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(stream) => stream.fmt(f),
            #[cfg(unix)]
            Self::Unix(stream) => stream.fmt(f),
        }
    }
}

/// Calls a method of the inner stream.
macro_rules! of_stream {
    ($socket:expr, $method:ident($($argument:expr),*)) => {
        match $socket.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            #[cfg(unix)]
            Socket::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl futures::io::AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        of_stream!(self, poll_read(context, &mut buffer)).map_ok(|()| buffer.filled().len())
    }
}

impl futures::io::AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        of_stream!(self, poll_write(context, octets))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        segments: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        of_stream!(self, poll_write_vectored(context, segments))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_stream!(self, poll_flush(context))
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_stream!(self, poll_shutdown(context))
    }
}

struct Udp(UdpSocket);

#[async_trait]
impl Datagrams for Udp {
    async fn send(&self, octets: &[u8]) -> io::Result<()> {
        self.0.send(octets).await.map(drop)
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv(buffer).await
    }
}
