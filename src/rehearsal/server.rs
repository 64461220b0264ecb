//! Servers and clients that follow a script.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::io::{AsyncRead, AsyncWrite};

use super::automatic::{Automatic, Heard as Answer};

/// What the peer at the other end of a connection does: a client, an onward server, or the daemon that a
/// scorer asks.
#[derive(Debug, Clone)]
pub struct Script {
    pub(crate) listens: bool,
    /// Octets that it takes before it resets the connection.
    pub(crate) takes: usize,
    pub(crate) turns: Vec<Turn>,
    /// Most octets that one read gives.
    pub(crate) chunk: usize,
    pub(crate) then: Then,
    /// An SMTP server, in place of the turns.
    pub(crate) server: Option<Automatic>,
}

/// What it says when it has heard something.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) cue: Cue,
    pub(crate) says: Vec<u8>,
}

/// When it begins to speak. What was heard in earlier turns does not count.
#[derive(Debug, Clone)]
pub(crate) enum Cue {
    /// It was told everything: the other side has shut down its sending.
    ShutDown,
    /// It has heard so many octets.
    Octets(usize),
    /// What it has heard ends in this.
    Tail(Box<[u8]>),
    /// It has heard a whole SMTP reply.
    Reply,
}

/// What the peer does when it has said everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Then {
    /// It closes the connection.
    Close,
    /// It resets the connection.
    Reset,
    /// It says nothing more, and keeps the connection open.
    Hang,
}

impl Script {
    /// Says this when it was told everything.
    pub(crate) fn new(says: impl Into<Vec<u8>>, chunk: usize, then: Then) -> Self {
        let turns = vec![Turn { cue: Cue::ShutDown, says: says.into() }];
        Self { listens: true, takes: usize::MAX, turns, chunk, then, server: None }
    }

    /// A daemon that replies once, when the other side has sent its request and shut down its sending
    /// (spamd).
    pub fn after_request(says: impl Into<Vec<u8>>, then: Then) -> Self {
        Self::new(says, usize::MAX, then)
    }

    /// Says these, one after another, each when what it has heard since the one before ends in `tail`.
    pub fn turns(tail: &[u8], says: &[&str], then: Then) -> Self {
        let turn = |says: &&str| Turn { cue: Cue::Tail(tail.into()), says: says.as_bytes().into() };
        let turns = says.iter().map(turn).collect();
        Self { turns, ..Self::new("", usize::MAX, then) }
    }

    /// An SMTP client that sends these, each after a whole reply, the first after the greeting. CRLF is
    /// added where it is missing. When it has the reply to the last one it closes the connection.
    ///
    /// A message is one of them: `"Subject: hello\r\n\r\nHello!\r\n."`.
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

    /// An SMTP server that accepts everything; see [`replying`](Self::replying).
    pub fn smtp_server() -> Self {
        let server = Some(Automatic::accepts(&[]));
        Self { server, turns: Vec::new(), ..Self::new("", usize::MAX, Then::Hang) }
    }

    /// Sets the extensions that an [`smtp_server`](Self::smtp_server) offers: the keywords of its EHLO
    /// reply.
    #[must_use]
    pub fn offering(mut self, keywords: &[&str]) -> Self {
        if let Some(server) = &mut self.server {
            server.offer(keywords);
        }
        self
    }

    /// Sets what an [`smtp_server`](Self::smtp_server) replies to commands that begin with `command`,
    /// without regard to case. `"."` stands for the end of the mail data. An empty reply is none: the
    /// server hangs.
    #[must_use]
    pub fn replying(mut self, command: &str, reply: &str) -> Self {
        if let Some(server) = &mut self.server {
            server.reply_to(command, reply);
        }
        self
    }

    /// A server that nobody can connect to.
    pub fn refuses() -> Self {
        Self { listens: false, ..Self::new("", 1, Then::Close) }
    }

    /// Sends at most so many octets at once.
    #[must_use]
    pub fn in_chunks(self, octets: usize) -> Self {
        Self { chunk: octets.max(1), ..self }
    }

    /// Resets the connection once so many octets were sent to it.
    #[must_use]
    pub fn resetting_after(self, octets: usize) -> Self {
        Self { takes: octets, ..self }
    }
}

/// What was sent to a peer that follows a [`Script`]. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    /// Returns all octets so far.
    pub fn octets(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns all octets so far as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.octets()).into_owned()
    }

    fn hear(&self, octets: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(octets);
    }
}

/// A connection in memory; a peer at its other end follows a [`Script`].
#[derive(Debug)]
pub struct Connection {
    /// How many connections are open: one less when this is dropped.
    open: Arc<AtomicUsize>,
    script: Script,
    /// What it has heard in this turn.
    heard: Vec<u8>,
    /// What an SMTP server has to say.
    replies: VecDeque<u8>,
    /// Of this peer, and of all servers.
    records: [Heard; 2],
    taken: usize,
    /// Whether the sending side was shut down.
    finished: bool,
    /// Whether it was reset.
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

    /// Returns what is sent to the peer; it can be read when the connection is gone.
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

    /// The peer has nothing to say as yet.
    fn wait(&mut self, context: &Context<'_>) -> Poll<io::Result<usize>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// An SMTP server reads whole lines and replies to them.
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
                // The rest follows without another cue.
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
