//! A connection that starts in plain text and can be upgraded to TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::io::{AsyncRead, AsyncWrite};

#[cfg(feature = "tls")]
use super::secure::{Secure, facts};
use super::{TlsClient, TlsServer};
use crate::peer::TlsInfo;

/// A plain or TLS connection. It does not buffer plain text, so no plain text can be read after the
/// upgrade. Once an upgrade has begun, nothing is read or written in plain text any more, even if
/// the upgrade fails.
#[derive(Debug)]
pub(crate) struct Channel<S> {
    stream: S,
    /// Boxed, because most connections do not use it.
    #[cfg(feature = "tls")]
    tls: Option<Box<rustls::Connection>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Upgrades the connection as the server. `ahead` was already read from the stream and belongs
    /// to the handshake, because it followed a PROXY header. Input that followed STARTTLS must not
    /// be passed here. Before each cryptographic step, `turn` is awaited. Its output is held until
    /// the step is done.
    pub(crate) async fn accept<T, F: Future<Output = io::Result<T>>>(
        &mut self,
        server: &TlsServer,
        ahead: &[u8],
        turn: impl Fn() -> F,
    ) -> io::Result<TlsInfo> {
        #[cfg(feature = "tls")]
        return self.upgrade(server.begin(), ahead, turn).await;
        #[cfg(not(feature = "tls"))]
        {
            let _ = (ahead, turn);
            match *server {}
        }
    }

    /// Upgrades the connection as the client.
    pub(crate) async fn connect(&mut self, client: &TlsClient) -> io::Result<TlsInfo> {
        #[cfg(feature = "tls")]
        return self.upgrade(client.begin(), &[], || std::future::ready(Ok(()))).await;
        #[cfg(not(feature = "tls"))]
        match *client {}
    }

    #[cfg(feature = "tls")]
    async fn upgrade<T, F: Future<Output = io::Result<T>>>(
        &mut self,
        begun: Result<Box<rustls::Connection>, rustls::Error>,
        ahead: &[u8],
        turn: impl Fn() -> F,
    ) -> io::Result<TlsInfo> {
        let tls = self.tls.insert(begun.map_err(io::Error::other)?);
        let mut private = Secure::new(&mut self.stream, tls);
        if !ahead.is_empty() {
            let _turn = turn().await?;
            private.take(ahead)?;
        }
        while !std::future::poll_fn(|context| private.poll_flight(context)).await? {
            let _turn = turn().await?;
            std::future::poll_fn(|context| Poll::Ready(private.process(context))).await?;
        }
        Ok(facts(tls))
    }
}

/// Applies the first expression to the plain stream, or the second one to the TLS stream.
macro_rules! either {
    ($self:ident, $clear:expr, $private:expr) => {{
        let this = $self.get_mut();
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut this.tls {
            return $private(Secure::new(&mut this.stream, tls));
        }
        $clear(Pin::new(&mut this.stream))
    }};
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Channel<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        either!(
            self,
            |clear: Pin<&mut S>| clear.poll_read(context, buffer),
            |mut private: Secure<'_, S>| private.poll_read(context, buffer)
        )
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Channel<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(
            self,
            |clear: Pin<&mut S>| clear.poll_write(context, octets),
            |mut private: Secure<'_, S>| private.poll_write(context, &[IoSlice::new(octets)])
        )
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(
            self,
            |clear: Pin<&mut S>| clear.poll_write_vectored(context, slices),
            |mut private: Secure<'_, S>| private.poll_write(context, slices)
        )
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, |clear: Pin<&mut S>| clear.poll_flush(context), |mut private: Secure<
            '_,
            S,
        >| private
            .poll_flush(context))
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, |clear: Pin<&mut S>| clear.poll_close(context), |mut private: Secure<
            '_,
            S,
        >| private
            .poll_close(context))
    }
}
