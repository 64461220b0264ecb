//! The same sessions with the complete stack: `serve`, a gate, a panel, and `relay::Smtp` with an
//! onward server, over in-memory connections. Timers never fire and cost nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use async_trait::async_trait;
use futures::io::{AsyncRead, AsyncWrite};
use nobounce::relay::Smtp;
use nobounce::{Address, Gate, Panel, Peer, Runtime, Settings, serve};

use super::{DATA, EHLO, MAIL, RCPT, answer};

/// Returns a gate in front of an in-memory onward server.
pub(crate) fn gate(settings: &Settings, panel: Panel) -> Gate<Memory> {
    let server = Address::Tcp("onward.example:25".into());
    let target = Smtp::new(Memory, server, "mx.example");
    Gate::new(Memory, settings.clone(), target).panel(panel)
}

/// Runs a client session from greeting to QUIT. It has the given number of transactions, all with
/// the same content and recipients. Returns the number of accepted messages.
pub(crate) fn session(
    gate: &Gate<Memory>,
    transactions: usize,
    recipients: usize,
    content: &Arc<[u8]>,
) -> usize {
    let mut lines: Vec<Line> = vec![EHLO.into()];
    for _ in 0..transactions {
        lines.push(MAIL.into());
        lines.extend((0..recipients).map(|_| RCPT.into()));
        lines.extend([DATA.into(), Line::Content(content.clone())]);
    }
    lines.push(Line::Command(b"QUIT\r\n"));
    let mut taken = 0;
    let client = Client { lines: lines.into_iter(), rest: None, turn: false, taken: &mut taken };
    let peer = Peer::new(([192, 0, 2, 1], 4711).into());
    let mut served = Box::pin(serve(client, peer, gate));
    match served.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.expect("in-memory connections do not fail"),
        Poll::Pending => panic!("a future was pending"),
    }
    drop(served);
    taken
}

enum Line {
    Command(&'static [u8]),
    Content(Arc<[u8]>),
}

impl From<&'static [u8]> for Line {
    fn from(command: &'static [u8]) -> Self {
        Self::Command(command)
    }
}

/// A client that sends its lines one by one, each after the reply to the previous one.
struct Client<'t> {
    lines: std::vec::IntoIter<Line>,
    /// The line being sent, and the number of octets already sent.
    rest: Option<(Line, usize)>,
    turn: bool,
    taken: &'t mut usize,
}

impl AsyncRead for Client<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.turn) {
            self.rest = self.lines.next().map(|line| (line, 0));
            if self.rest.is_none() {
                return Poll::Ready(Ok(0));
            }
        }
        let Some((line, said)) = &mut self.rest else {
            return Poll::Pending;
        };
        let octets: &[u8] = match line {
            Line::Command(octets) => octets,
            Line::Content(octets) => octets,
        };
        let length = (octets.len() - *said).min(buffer.len());
        buffer[..length].copy_from_slice(&octets[*said..][..length]);
        *said += length;
        if *said == octets.len() {
            self.rest = None;
        }
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for Client<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.turn = true;
        *self.taken += usize::from(octets.starts_with(b"250 2.0.0 Ok: queued"));
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The runtime: every connection leads to the onward server, and time does not pass.
pub(crate) struct Memory;

#[async_trait]
impl Runtime for Memory {
    type Stream = Server;

    async fn sleep_until(&self, _: Instant) {
        std::future::pending().await
    }

    async fn connect(&self, _: &Address) -> io::Result<Server> {
        let greeting = b"220 onward.example ESMTP\r\n".to_vec();
        Ok(Server { replies: greeting, in_content: false, last: [0; 5] })
    }
}

/// An onward server that accepts everything.
pub(crate) struct Server {
    /// Replies that have not been read yet.
    replies: Vec<u8>,
    in_content: bool,
    last: [u8; 5],
}

impl AsyncRead for Server {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.replies.is_empty() {
            return Poll::Pending;
        }
        let length = self.replies.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.replies[..length]);
        self.replies.drain(..length);
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for Server {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.in_content {
            let last = &octets[octets.len().saturating_sub(5)..];
            self.last.rotate_left(last.len());
            self.last[5 - last.len()..].copy_from_slice(last);
            if self.last != *b"\r\n.\r\n" {
                return Poll::Ready(Ok(octets.len()));
            }
        }
        let Self { replies, in_content, last } = &mut *self;
        *last = [0; 5];
        answer(octets, in_content, |reply| replies.extend_from_slice(reply));
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        for slice in slices {
            let _ = self.as_mut().poll_write(context, slice)?;
        }
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
