//! The adapter for smol: sockets, timers, datagrams and the accept loop.
//!
//! ```no_run
//! use nobounce::smol::{Smol, listen, serve, shutdown_signal};
//! use nobounce::{Gate, Settings, relay};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let onward = relay::Smtp::new(Smol, "127.0.0.1:10025".parse()?, "mx.example.org");
//! let gate = Gate::new(Smol, Settings::new("mx.example.org"), onward);
//! let listener = listen(&"0.0.0.0:25".parse()?).await?;
//! serve(listener, gate).with_graceful_shutdown(shutdown_signal()?).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Sessions run on smol's global executor, which has one thread unless `SMOL_THREADS` sets another
//! number.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown as Direction, SocketAddr};
use std::net::{TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use async_signal::{Signal, Signals};
use async_trait::async_trait;
use futures::StreamExt;
use futures::io::{AsyncRead, AsyncWrite};
use smol::net::UdpSocket;
use smol::{Async, Timer};
use socket2::SockRef;

use super::{Address, Datagrams, Runtime, listening};
use crate::driver::Adapter;
pub use crate::driver::{Serve, Shutdown};
use crate::gate::Gate;
use crate::peer::Peer;

/// smol's global executor and its reactor.
#[derive(Debug, Clone, Copy, Default)]
pub struct Smol;

/// Serves the clients of this listener until shutdown. See [`Serve`].
///
/// ```no_run
/// use nobounce::smol::{Smol, listen, serve};
/// use nobounce::{Gate, Settings, relay};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let gate = Gate::new(Smol, Settings::new("mx.example"), relay::Maildir::new("maildir"));
/// serve(listen(&"127.0.0.1:2525".parse()?).await?, gate).await?;
/// # Ok(()) }
/// ```
pub fn serve(listener: impl Into<Listener>, gate: impl Into<Arc<Gate<Smol>>>) -> Serve<Smol> {
    Serve::new(gate).and(listener)
}

/// Serves the clients of this listener until shutdown, with TLS from the first octet (RFC 8314).
/// See [`Serve`]. The gate needs [`Gate::tls`].
///
/// ```no_run
/// use std::fs;
/// use nobounce::smol::{Smol, listen, serve_tls};
/// use nobounce::tls::TlsServer;
/// use nobounce::{Gate, Settings, relay};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = TlsServer::from_pem(&fs::read("chain.pem")?, &fs::read("key.pem")?)?;
/// let target = relay::Maildir::new("maildir");
/// let gate = Gate::new(Smol, Settings::new("mx.example"), target).tls(tls);
/// serve_tls(listen(&"0.0.0.0:465".parse()?).await?, gate).await?;
/// # Ok(()) }
/// ```
#[cfg(feature = "tls")]
pub fn serve_tls(listener: impl Into<Listener>, gate: impl Into<Arc<Gate<Smol>>>) -> Serve<Smol> {
    Serve::new(gate).and_tls(listener)
}

/// Listens at this address, with a backlog of 4,096 connections.
///
/// An IPv6 listener accepts only IPv6. To listen at every address of the machine, use `0.0.0.0:25`
/// and `[::]:25`. A stale Unix socket file of a process that has ended is replaced.
///
/// ```
/// # fn main() -> std::io::Result<()> { smol::block_on(run()) }
/// # async fn run() -> std::io::Result<()> {
/// let any_port = "127.0.0.1:0".parse().map_err(std::io::Error::other)?;
/// let listener = nobounce::smol::listen(&any_port).await?;
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
                for address in smol::net::resolve(&**name).await? {
                    match listening::tcp(address) {
                        Ok(socket) => return Async::new_nonblocking(socket.into()).map(Kind::Tcp),
                        Err(error) => failed = error,
                    }
                }
                Err(failed)
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                Async::new_nonblocking(listening::unix(path)?.into()).map(Kind::Unix)
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
/// use nobounce::smol::{Smol, Listener, serve, shutdown_signal};
/// use nobounce::Gate;
///
/// async fn run(listener: Listener, gate: Gate<Smol>) -> std::io::Result<()> {
///     let shutdown = serve(listener, gate).with_graceful_shutdown(shutdown_signal()?).await?;
///     eprintln!("{shutdown:?}");
///     Ok(())
/// }
/// ```
/// # Errors
///
/// Returns an error if the signal handlers cannot be registered.
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut signals = Signals::new([
        Signal::Int,
        #[cfg(unix)]
        Signal::Term,
    ])?;
    Ok(async move {
        signals.next().await;
    })
}

#[async_trait]
impl Runtime for Smol {
    type Stream = Socket;

    async fn sleep_until(&self, at: Instant) {
        Timer::at(at).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<Socket> {
        match address {
            Address::Tcp(name) => {
                let mut failed = io::ErrorKind::AddrNotAvailable.into();
                for address in smol::net::resolve(&**name).await? {
                    match Async::<TcpStream>::connect(address).await {
                        Ok(stream) => {
                            stream.get_ref().set_nodelay(true)?;
                            return Ok(Socket::Tcp(stream));
                        }
                        Err(error) => failed = error,
                    }
                }
                Err(failed)
            }
            #[cfg(unix)]
            Address::Unix(path) => Async::<UnixStream>::connect(path).await.map(Socket::Unix),
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

impl Adapter for Smol {
    type Listener = Listener;

    fn poll_accept(
        listener: &mut Listener,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Socket, Peer)>> {
        Poll::Ready(match &listener.0 {
            Kind::Tcp(listener) => {
                let accepted = ready!(poll_accept(listener, TcpListener::accept, context));
                accepted.and_then(|(client, address)| {
                    // This fails if the connection was already reset. Its session notices that.
                    let _ = client.set_nodelay(true);
                    Ok((Socket::Tcp(Async::new(client)?), Peer::new(address)))
                })
            }
            #[cfg(unix)]
            Kind::Unix(listener) => {
                let accepted = ready!(poll_accept(listener, UnixListener::accept, context));
                accepted
                    .and_then(|(client, _)| Ok((Socket::Unix(Async::new(client)?), Peer::local())))
            }
        })
    }

    fn send_at_once(client: &Socket, octets: &[u8]) {
        listening::send_at_once(
            match client {
                Socket::Tcp(client) => SockRef::from(client.get_ref()),
                #[cfg(unix)]
                Socket::Unix(client) => SockRef::from(client.get_ref()),
            },
            octets,
        );
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        smol::spawn(future).detach();
    }
}

/// Accepts a connection with the given function of the standard library.
fn poll_accept<L, T>(
    listener: &Async<L>,
    accept: impl Fn(&L) -> io::Result<T>,
    context: &mut Context<'_>,
) -> Poll<io::Result<T>> {
    loop {
        match accept(listener.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(listener.poll_readable(context))?;
            }
            accepted => return Poll::Ready(accepted),
        }
    }
}

/// A TCP or Unix socket listener. Created by [`listen`], or from a listener of smol or of the
/// standard library. The backlog of the latter two is raised to the system's maximum.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(Async<TcpListener>),
    #[cfg(unix)]
    Unix(Async<UnixListener>),
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
            Kind::Tcp(listener) => {
                Ok(Address::Tcp(listener.get_ref().local_addr()?.to_string().into()))
            }
            #[cfg(unix)]
            Kind::Unix(listener) => {
                let address = listener.get_ref().local_addr()?;
                let path = address.as_pathname().ok_or(io::ErrorKind::AddrNotAvailable)?;
                Ok(Address::Unix(path.into()))
            }
        }
    }
}

impl From<Async<TcpListener>> for Listener {
    fn from(listener: Async<TcpListener>) -> Self {
        listening::raise_backlog(SockRef::from(listener.get_ref()));
        Self(Kind::Tcp(listener))
    }
}

impl TryFrom<TcpListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: TcpListener) -> io::Result<Self> {
        Async::new(listener).map(Self::from)
    }
}

#[cfg(unix)]
impl From<Async<UnixListener>> for Listener {
    fn from(listener: Async<UnixListener>) -> Self {
        listening::raise_backlog(SockRef::from(listener.get_ref()));
        Self(Kind::Unix(listener))
    }
}

#[cfg(unix)]
impl TryFrom<UnixListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: UnixListener) -> io::Result<Self> {
        Async::new(listener).map(Self::from)
    }
}

/// A connection of the adapter for smol. Supports vectored writes.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(Async<TcpStream>),
    /// Over a Unix socket.
    #[cfg(unix)]
    Unix(Async<UnixStream>),
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

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        of_stream!(self, poll_read(context, buffer))
    }
}

impl AsyncWrite for Socket {
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

    /// Shuts down the write side, because closing an `Async` only flushes it: the peer must get
    /// EOF.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match &*self {
            Self::Tcp(stream) => stream.get_ref().shutdown(Direction::Write),
            #[cfg(unix)]
            Self::Unix(stream) => stream.get_ref().shutdown(Direction::Write),
        })
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
