//! Replies of scanner daemons. The scanners are called as a panel calls them. To add a scanner, add
//! a line to `all`.

#![no_main]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, UNIX_EPOCH};

use async_trait::async_trait;
use futures::io::{AsyncRead, AsyncWrite};
use libfuzzer_sys::fuzz_target;
use nobounce::envelope::SessionId;
use nobounce::message::MailData;
use nobounce::scorers::Spamd;
use nobounce::{Address, DataContext, Envelope, Message, Peer, ReversePath, Runtime, Scorer};
use nobounce_fuzz::Dice;

fuzz_target!(|input: &[u8]| {
    let (reply, mut dice) = Dice::split(input);
    let sender = ReversePath::parse("<a@example.org>").expect("a path");
    let id = SessionId::new("fuzz").transaction(1);
    let envelope = Envelope::new(id, Arc::new(Peer::local()), sender);
    let content = MailData::normalise(b"Subject: x\r\n\r\nx\r\n");
    let message = Message::new("mx.example", &envelope, UNIX_EPOCH, content);

    let whole = Daemon { reply: reply.into(), most: usize::MAX };
    let cut = Daemon { reply: reply.into(), most: 1 + dice.below(9) };
    for (whole, cut) in all(&whole).into_iter().zip(all(&cut)) {
        let [one, other] = [whole, cut].map(|scanner| {
            let opinion =
                pollster::block_on(scanner.on_data(&DataContext::new(&envelope, &message)));
            opinion.map_err(|error| error.to_string())
        });
        assert_eq!(one, other);
        match one {
            Ok(opinion) => {
                assert!(opinion.findings.len() <= 257);
                for finding in opinion.findings {
                    assert!(finding.symbol().len() <= 100);
                }
            }
            Err(error) => assert!(error.len() < 100_000),
        }
    }
});

/// Returns all scanners, each connected to this daemon.
fn all(daemon: &Daemon) -> Vec<Box<dyn Scorer>> {
    let address: Address = "127.0.0.1:1".parse().expect("an address");
    vec![Box::new(Spamd::new(daemon.clone(), address))]
}

/// A daemon that reads everything, sends its reply in pieces of the given size, and closes the
/// connection.
#[derive(Clone)]
struct Daemon {
    reply: Arc<[u8]>,
    most: usize,
}

struct Connection {
    daemon: Daemon,
    said: usize,
}

#[async_trait]
impl Runtime for Daemon {
    type Stream = Connection;

    async fn sleep_until(&self, _: Instant) {
        std::future::pending().await
    }

    async fn connect(&self, _: &Address) -> io::Result<Connection> {
        Ok(Connection { daemon: self.clone(), said: 0 })
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let rest = &self.daemon.reply[self.said..];
        let length = rest.len().min(buffer.len()).min(self.daemon.most);
        buffer[..length].copy_from_slice(&rest[..length]);
        self.said += length;
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
