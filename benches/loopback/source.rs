//! Clients that send mail without pipelining.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;

/// Maximum number of clients that connect at the same time. It is below the listener's backlog
/// (128). If the backlog overflows, the kernel drops a connection silently and its client waits
/// for a greeting forever.
const CONNECTING: usize = 100;

/// The messages to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// Whether a client reuses its connection. If so, no client sends a second message before each
    /// has sent its first, so that all are connected.
    pub(crate) keep: bool,
    /// Size of the content in octets.
    pub(crate) size: usize,
    /// Number of concurrent clients.
    pub(crate) clients: usize,
    pub(crate) messages: usize,
}

/// Times of a run.
pub(crate) struct Sent {
    pub(crate) time: Duration,
    /// Latencies up to the reply to the content. They start at MAIL, or at connecting if each
    /// message has its own connection.
    pub(crate) latencies: Vec<Duration>,
}

/// Sends all messages of the load to this server.
pub(crate) async fn send(server: SocketAddr, load: Load) -> Sent {
    let content: Arc<[u8]> = content(load.size).into();
    let left = Arc::new(AtomicUsize::new(load.messages));
    let together = Arc::new((Semaphore::new(CONNECTING), Barrier::new(load.clients)));
    let begin = now();
    let mut clients = JoinSet::new();
    for _ in 0..load.clients {
        clients.spawn(client(server, load.keep, content.clone(), left.clone(), together.clone()));
    }
    let clients = clients.join_all().await;
    let time = begin.elapsed();
    let latencies: Vec<Duration> =
        clients.into_iter().flat_map(|sent| sent.expect("all messages are accepted")).collect();
    assert_eq!(latencies.len(), load.messages, "all mail is sent");
    Sent { time, latencies }
}

/// Returns a message of `size` octets in 76-column lines, with the end of data.
pub(crate) fn content(size: usize) -> Vec<u8> {
    let head = "From: alice@client.example\r\nTo: bob@mx.example\r\nSubject: load\r\n\
                Date: Sat, 28 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@client.example>\r\n\r\n";
    let line = format!("{}\r\n", "Q29udGVudCB0aGF0IGxvb2tz".repeat(4).split_at(76).0);
    let mut content = head.as_bytes().to_vec();
    content.extend(line.bytes().cycle().take(size.saturating_sub(head.len() + 2)));
    content.extend_from_slice(b"\r\n.\r\n");
    content
}

async fn client(
    server: SocketAddr,
    keep: bool,
    content: Arc<[u8]>,
    left: Arc<AtomicUsize>,
    together: Arc<(Semaphore, Barrier)>,
) -> io::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let mut kept = None;
    if keep {
        let (connecting, all) = &*together;
        let permit = connecting.acquire().await;
        let first = async {
            let mut connection = Connection::open(server).await?;
            if take_one(&left) {
                latencies.push(connection.send(&content).await?);
            }
            io::Result::Ok(connection)
        };
        let first = first.await;
        drop(permit);
        // Wait even after an error, since the other clients wait for this one.
        all.wait().await;
        kept = Some(first?);
    }
    while take_one(&left) {
        let begin = now();
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(server).await?,
        };
        connection.send(&content).await?;
        latencies.push(begin.elapsed());
        if keep {
            kept = Some(connection);
        } else {
            connection.say(b"QUIT\r\n", b'2').await?;
        }
    }
    if let Some(mut connection) = kept {
        connection.say(b"QUIT\r\n", b'2').await?;
    }
    Ok(latencies)
}

fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

#[allow(clippy::disallowed_methods, reason = "to measure how long it takes")]
fn now() -> Instant {
    Instant::now()
}

/// A client connection after the greeting and EHLO.
pub(crate) struct Connection(TcpStream);

impl Connection {
    pub(crate) async fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let mut connection = Self(stream);
        connection.hear(b'2').await?;
        connection.say(b"EHLO client.example\r\n", b'2').await?;
        Ok(connection)
    }

    /// Sends a message and returns the time it took.
    async fn send(&mut self, content: &[u8]) -> io::Result<Duration> {
        let begin = now();
        self.say(b"MAIL FROM:<alice@client.example>\r\n", b'2').await?;
        self.say(b"RCPT TO:<bob@mx.example>\r\n", b'2').await?;
        self.say(b"DATA\r\n", b'3').await?;
        self.say(content, b'2').await?;
        Ok(begin.elapsed())
    }

    /// Sends octets and waits for the reply, which must begin with this digit.
    pub(crate) async fn say(&mut self, octets: &[u8], digit: u8) -> io::Result<()> {
        self.write(octets).await?;
        self.hear(digit).await
    }

    pub(crate) async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.0.write_all(octets).await
    }

    /// Reads a reply. Its last line has a space after the code.
    async fn hear(&mut self, digit: u8) -> io::Result<()> {
        let mut buffer = [0; 1024];
        let mut length = 0;
        loop {
            let read = self.0.read(&mut buffer[length..]).await?;
            length += read;
            let reply = &buffer[..length];
            let is_last = |line: &[u8]| line.get(3) == Some(&b' ') && line.ends_with(b"\r\n");
            if reply.split_inclusive(|octet| *octet == b'\n').any(is_last) {
                return match reply[0] == digit {
                    true => Ok(()),
                    false => Err(io::Error::other(String::from_utf8_lossy(reply))),
                };
            }
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Opens this many clients and keeps them idle, either after EHLO or in the middle of content of
/// which each has sent `sent` octets.
pub(crate) async fn hold(
    server: SocketAddr,
    clients: usize,
    sent: Option<usize>,
) -> Vec<Connection> {
    const AT_ONCE: usize = 50;
    let content: Arc<[u8]> = sent.map(content).unwrap_or_default().into();
    let mut held = Vec::with_capacity(clients);
    while held.len() < clients {
        let mut opening = JoinSet::new();
        for _ in 0..AT_ONCE.min(clients - held.len()) {
            let content = content.clone();
            opening.spawn(async move {
                let mut connection = Connection::open(server).await?;
                if !content.is_empty() {
                    connection.say(b"MAIL FROM:<alice@client.example>\r\n", b'2').await?;
                    connection.say(b"RCPT TO:<bob@mx.example>\r\n", b'2').await?;
                    connection.say(b"DATA\r\n", b'3').await?;
                    connection.write(&content[..content.len() - 5]).await?;
                }
                Ok::<_, io::Error>(connection)
            });
        }
        let opened = opening.join_all().await.into_iter();
        held.extend(opened.map(|connection| connection.expect("there is room for it")));
    }
    held
}
