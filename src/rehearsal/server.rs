//! Scripted servers and clients.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::io::{AsyncRead, AsyncWrite};

use super::automatic::{Automatic, Heard as Answer};

/// Behaviour of the peer at the other end of a connection: a client, an onward server, or the
/// daemon of a scorer.
#[derive(Debug, Clone)]
pub struct Script {
    pub(crate) listens: bool,
    /// Number of octets that the peer accepts before it resets the connection.
    pub(crate) takes: usize,
    pub(crate) turns: Vec<Turn>,
    /// Maximum number of octets per read.
    pub(crate) chunk: usize,
    pub(crate) then: Then,
    /// An automatic SMTP server, used instead of `turns`.
    pub(crate) server: Option<Automatic>,
}

/// A reply, and the cue for it.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) cue: Cue,
    pub(crate) says: Vec<u8>,
}

/// Condition for a reply. Octets received in earlier turns do not count.
#[derive(Debug, Clone)]
pub(crate) enum Cue {
    /// The other side has shut down its sending direction.
    ShutDown,
    /// This number of octets was received.
    Octets(usize),
    /// The received octets end with this.
    Tail(Box<[u8]>),
    /// A complete SMTP reply was received.
    Reply,
}

/// Behaviour of a scripted peer after its last reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Then {
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
    /// Keeps the connection open and sends nothing.
    Hang,
}

impl Script {
    /// Creates a script that sends `says` after the other side has shut down its sending direction.
    pub(crate) fn new(says: impl Into<Vec<u8>>, chunk: usize, then: Then) -> Self {
        let turns = vec![Turn { cue: Cue::ShutDown, says: says.into() }];
        Self { listens: true, takes: usize::MAX, turns, chunk, then, server: None }
    }

    /// Creates a daemon that replies once, after the other side has sent its request and shut down
    /// its sending direction (spamd).
    pub fn after_request(says: impl Into<Vec<u8>>, then: Then) -> Self {
        Self::new(says, usize::MAX, then)
    }

    /// Creates a script that sends these replies in order. Each reply is sent when the octets
    /// received since the previous one end with `tail`.
    pub fn turns(tail: &[u8], says: &[&str], then: Then) -> Self {
        let turn = |says: &&str| Turn { cue: Cue::Tail(tail.into()), says: says.as_bytes().into() };
        let turns = says.iter().map(turn).collect();
        Self { turns, ..Self::new("", usize::MAX, then) }
    }

    /// Creates an SMTP client that sends each item after a complete reply, the first one after the
    /// greeting. Missing CRLFs are added. After the reply to the last item, the client closes the
    /// connection.
    ///
    /// A message is one item: `"Subject: hello\r\n\r\nHello!\r\n."`.
    pub fn smtp_client<S: AsRef<str>>(says: impl IntoIterator<Item = S>) -> Self {
        let turn = |says: S| {
            let mut says = says.as_ref().as_bytes().to_vec();
            if !says.ends_with(b"\r\n") {
                says.extend_from_slice(b"\r\n");
            }
            Turn { cue: Cue::Reply, says }
        };
        let last = Turn { cue: Cue::Reply, says: Vec::new() };
        let turns = says.into_iter().map(turn).chain([last]).collect();
        Self { turns, ..Self::new("", usize::MAX, Then::Close) }
    }

    /// Creates an SMTP server that accepts everything. Use [`replying`](Self::replying) to change
    /// its replies.
    pub fn smtp_server() -> Self {
        let server = Some(Automatic::accepts(&[]));
        Self { server, turns: Vec::new(), ..Self::new("", usize::MAX, Then::Hang) }
    }

    /// Sets the EHLO keywords that an [`smtp_server`](Self::smtp_server) offers.
    #[must_use]
    pub fn offering(mut self, keywords: &[&str]) -> Self {
        if let Some(server) = &mut self.server {
            server.offer(keywords);
        }
        self
    }

    /// Sets the reply of an [`smtp_server`](Self::smtp_server) to commands that begin with
    /// `command`. The case is ignored. `"."` stands for the end of the mail data. With an empty
    /// reply, the server does not reply at all.
    #[must_use]
    pub fn replying(mut self, command: &str, reply: &str) -> Self {
        if let Some(server) = &mut self.server {
            server.reply_to(command, reply);
        }
        self
    }

    /// Creates a server that refuses connections.
    pub fn refuses() -> Self {
        Self { listens: false, ..Self::new("", 1, Then::Close) }
    }

    /// Limits the number of octets sent at once.
    #[must_use]
    pub fn in_chunks(self, octets: usize) -> Self {
        Self { chunk: octets.max(1), ..self }
    }

    /// Resets the connection after the peer has received this number of octets.
    #[must_use]
    pub fn resetting_after(self, octets: usize) -> Self {
        Self { takes: octets, ..self }
    }
}

/// Record of the octets sent to a peer that follows a [`Script`]. All clones share one record.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    /// Returns all octets so far.
    pub fn octets(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns all octets so far as text. Invalid UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.octets()).into_owned()
    }

    fn hear(&self, octets: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(octets);
    }
}

/// A connection in memory. The peer at its other end follows a [`Script`].
#[derive(Debug)]
pub struct Connection {
    /// Number of open connections, decremented on drop.
    open: Arc<AtomicUsize>,
    script: Script,
    /// Octets received in the current turn.
    heard: Vec<u8>,
    /// Pending replies of an SMTP server.
    replies: VecDeque<u8>,
    /// Records of this peer, and of all servers.
    records: [Heard; 2],
    taken: usize,
    /// Whether the sending direction was shut down.
    finished: bool,
    /// Whether the connection was reset.
    broken: bool,
    reader: Option<Waker>,
}

impl Connection {
    pub(super) fn new(open: Arc<AtomicUsize>, mut script: Script, heard: [Heard; 2]) -> Self {
        script.turns.reverse();
        open.fetch_add(1, Ordering::Relaxed);
        let greeting = script.server.as_mut().and_then(Automatic::greeting);
        let replies = greeting.unwrap_or_default().iter().copied().collect();
        Self {
            open,
            script,
            heard: Vec::new(),
            replies,
            records: heard,
            taken: 0,
            finished: false,
            broken: false,
            reader: None,
        }
    }

    /// Returns the record of the octets sent to the peer. It stays valid after the connection is
    /// closed.
    pub fn heard(&self) -> Heard {
        self.records[0].clone()
    }

    fn has_cue(&self, turn: &Turn) -> bool {
        match &turn.cue {
            Cue::ShutDown => self.finished,
            Cue::Octets(octets) => self.heard.len() >= *octets,
            Cue::Tail(tail) => self.heard.ends_with(tail),
            Cue::Reply => {
                let whole = self.heard.strip_suffix(b"\r\n").unwrap_or_default();
                let last = whole.rsplit(|octet| *octet == b'\n').next().unwrap_or_default();
                last.len() >= 3 && last.get(3).is_none_or(|octet| *octet == b' ')
            }
        }
    }

    /// Suspends a read until the peer has something to send.
    fn wait(&mut self, context: &Context<'_>) -> Poll<io::Result<usize>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Runs the SMTP server on the complete lines received so far.
    fn serve(&mut self) {
        let Some(server) = &mut self.script.server else { return };
        while let Some(end) = memchr::memmem::find(&self.heard, b"\r\n") {
            let line: Vec<u8> = self.heard.drain(..end + 2).collect();
            if let Answer::Says(reply) = server.hear(&line[..end]) {
                self.replies.extend(reply);
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.replies.is_empty() {
            let most = self.script.chunk.min(buffer.len());
            return Poll::Ready(io::Read::read(&mut self.replies, &mut buffer[..most]));
        }
        while let Some(mut turn) = self.script.turns.pop() {
            if !self.has_cue(&turn) {
                self.script.turns.push(turn);
                return self.wait(context);
            }
            if turn.says.is_empty() {
                self.heard.clear();
                continue;
            }
            let count = turn.says.len().min(self.script.chunk).min(buffer.len());
            buffer[..count].copy_from_slice(&turn.says[..count]);
            turn.says.drain(..count);
            if turn.says.is_empty() {
                self.heard.clear();
            } else {
                // The rest of the reply needs no further cue.
                turn.cue = Cue::Octets(0);
                self.script.turns.push(turn);
            }
            return Poll::Ready(Ok(count));
        }
        match self.script.then {
            Then::Close => Poll::Ready(Ok(0)),
            Then::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Then::Hang => self.wait(context),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = self.script.takes - self.taken;
        if room == 0 {
            self.broken = true;
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let count = octets.len().min(room).min(100);
        self.taken += count;
        self.heard.extend_from_slice(&octets[..count]);
        self.records.iter().for_each(|record| record.hear(&octets[..count]));
        self.serve();
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }
}
