//! TLS over a byte stream: connects rustls, which does no I/O, to the futures traits.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::io::{AsyncRead, AsyncWrite};
use rustls::{Connection, ProtocolVersion};

use crate::peer::TlsInfo;

/// A stream and the TLS session on it.
pub(super) struct Secure<'c, S> {
    stream: &'c mut S,
    tls: &'c mut Connection,
}

impl<'c, S: AsyncRead + AsyncWrite + Unpin> Secure<'c, S> {
    pub(super) fn new(stream: &'c mut S, tls: &'c mut Connection) -> Self {
        Self { stream, tls }
    }

    /// Processes input that was read from the stream earlier.
    pub(super) fn take(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() && self.tls.read_tls(&mut octets)? > 0 {
            self.tls.process_new_packets().map_err(invalid)?;
        }
        Ok(())
    }

    /// Writes and reads during a handshake. Becomes ready with `true` when nothing more is needed,
    /// and with `false` when input has arrived that [`process`](Self::process) must handle. Output
    /// that cannot be written yet is sent with the next output, because a peer that is writing need
    /// not read meanwhile.
    pub(super) fn poll_flight(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Poll::Ready(Err(error)) = self.poll_flush(context) {
            return Poll::Ready(Err(error));
        }
        if !self.tls.is_handshaking() {
            return Poll::Ready(Ok(true));
        }
        if ready!(self.poll_fill(context))? == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(false))
    }

    /// Treats EOF without a TLS `close_notify` as a normal end. Many mail programs omit
    /// `close_notify`. SMTP marks the end of mail data itself, so truncation gives an attacker
    /// nothing.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(0));
                }
                read => return Poll::Ready(read),
            }
            // Output of TLS itself: the end of a handshake, session tickets, key updates. Errors
            // are ignored, because a peer that no longer reads may still have sent the reason.
            let _ = self.poll_flush(context);
            ready!(self.poll_gather(context))?;
        }
    }

    /// Accepts no more data before the previous data was written, so that the writer gets
    /// back-pressure.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        let taken = self.tls.writer().write_vectored(slices)?;
        match self.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut *self.stream).poll_flush(context)
    }

    pub(super) fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tls.send_close_notify();
        ready!(self.poll_send(context))?;
        Pin::new(&mut *self.stream).poll_close(context)
    }

    /// Writes the pending TLS output.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            let mut octets = Octets { stream: &mut *self.stream, context };
            if ready!(later(self.tls.write_tls(&mut octets)))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and processes TLS input once; returns 0 at EOF.
    fn poll_gather(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let length = ready!(self.poll_fill(context))?;
        self.process(context)?;
        Poll::Ready(Ok(length))
    }

    /// Reads input for [`process`](Self::process); returns 0 at EOF.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut octets = Octets { stream: &mut *self.stream, context };
        later(self.tls.read_tls(&mut octets))
    }

    /// Processes the input that was read. This does the cryptography.
    pub(super) fn process(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        self.tls.process_new_packets().map(drop).map_err(|error| {
            // Sends the TLS alert, if the peer still reads.
            let _ = self.poll_flush(context);
            invalid(error)
        })
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Returns the parameters of a TLS session, with the terms of RFC 3848 and the cipher names of
/// IANA.
pub(super) fn facts(tls: &Connection) -> TlsInfo {
    let version = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLS",
    };
    let suite = tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    let cipher = match suite {
        // rustls marks the cipher suites of TLS 1.3 in the name, IANA does not.
        Some(suite) => suite.replacen("TLS13_", "TLS_", 1),
        None => "unknown".into(),
    };
    TlsInfo::new(version, &cipher)
}

/// An adapter of the stream to the traits that rustls needs. A pending operation becomes an error.
struct Octets<'c, 'w, S> {
    stream: &'c mut S,
    context: &'c mut Context<'w>,
}

impl<S: AsyncRead + Unpin> Read for Octets<'_, '_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.stream).poll_read(self.context, buffer))
    }
}

impl<S: AsyncWrite + Unpin> Write for Octets<'_, '_, S> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.stream).poll_write(self.context, octets))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.stream).poll_write_vectored(self.context, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        at_once(Pin::new(&mut *self.stream).poll_flush(self.context))
    }
}

fn at_once<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn later<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}
