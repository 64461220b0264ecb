//! All that nobounce needs of tokio: a timer, connections and datagrams.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use async_trait::async_trait;
use futures::future::Either;
use nobounce::{Address, Datagrams, Runtime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UdpSocket, UnixStream};

/// Tokio, as nobounce asks for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokio;

#[async_trait]
impl Runtime for Tokio {
    type Stream = Either<Socket<TcpStream>, Socket<UnixStream>>;

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<Self::Stream> {
        Ok(match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(&**address).await?;
                stream.set_nodelay(true)?;
                Either::Left(Socket(stream))
            }
            Address::Unix(path) => Either::Right(Socket(UnixStream::connect(path).await?)),
        })
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

/// A socket by the traits of futures. Unlike tokio-util's, it writes many segments at once.
pub(crate) struct Socket<S>(pub(crate) S);

impl<S: AsyncRead + Unpin> futures::io::AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        Pin::new(&mut self.0).poll_read(context, &mut buffer).map_ok(|()| buffer.filled().len())
    }
}

impl<S: AsyncWrite + Unpin> futures::io::AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        segments: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, segments)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
