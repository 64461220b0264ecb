//! A runtime adapter for tokio as in `examples/on_tokio.rs`, for DNS.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use async_trait::async_trait;
use nobounce::{Address, Datagrams, Runtime};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokio;

#[async_trait]
impl Runtime for Tokio {
    type Stream = Compat<TcpStream>;

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<Self::Stream> {
        Ok(TcpStream::connect(address.to_string()).await?.compat())
    }

    async fn datagrams(&self, server: SocketAddr) -> io::Result<Box<dyn Datagrams>> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
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
