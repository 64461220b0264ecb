//! Servers that follow a script.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::io::{AsyncRead, AsyncWrite};

use super::Rehearsal;

/// What the server at the other end of a connection does.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) listens: bool,
    /// Octets that it takes before it resets the connection.
    pub(crate) takes: usize,
    pub(crate) turns: Vec<Turn>,
    /// Most octets that one read gives.
    pub(crate) chunk: usize,
    pub(crate) then: Then,
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
    Tail(&'static [u8]),
}

/// What the server does when it has said everything.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then {
    Close,
    Reset,
    Hang,
}

impl Script {
    /// Says this when it was told everything.
    pub(crate) fn new(says: impl Into<Vec<u8>>, chunk: usize, then: Then) -> Self {
        let turns = vec![Turn { cue: Cue::ShutDown, says: says.into() }];
        Self { listens: true, takes: usize::MAX, turns, chunk, then }
    }

    /// Says these, one after another, each when what it has heard ends in `tail`.
    pub(crate) fn turns(tail: &'static [u8], says: &[&str], then: Then) -> Self {
        let turn = |says: &&str| Turn { cue: Cue::Tail(tail), says: says.as_bytes().into() };
        let turns = says.iter().map(turn).collect();
        Self { turns, ..Self::new("", usize::MAX, then) }
    }

    pub(crate) fn refuses() -> Self {
        Self { listens: false, ..Self::new("", 1, Then::Close) }
    }
}

pub(crate) struct Connection {
    rehearsal: Rehearsal,
    script: Script,
    /// What it has heard in this turn.
    heard: Vec<u8>,
    taken: usize,
    /// Whether the sending side was shut down.
    finished: bool,
}

impl Connection {
    pub(super) fn new(rehearsal: &Rehearsal, mut script: Script) -> Self {
        script.turns.reverse();
        let rehearsal = rehearsal.clone();
        rehearsal.state().open += 1;
        Self { rehearsal, script, heard: Vec::new(), taken: 0, finished: false }
    }

    fn has_cue(&self, turn: &Turn) -> bool {
        match turn.cue {
            Cue::ShutDown => self.finished,
            Cue::Octets(octets) => self.heard.len() >= octets,
            Cue::Tail(tail) => self.heard.ends_with(tail),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.rehearsal.state().open -= 1;
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        while let Some(mut turn) = self.script.turns.pop() {
            if !self.has_cue(&turn) {
                self.script.turns.push(turn);
                return Poll::Pending;
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
            Then::Hang => Poll::Pending,
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
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let count = octets.len().min(room).min(100);
        self.taken += count;
        self.heard.extend_from_slice(&octets[..count]);
        self.rehearsal.state().heard.extend_from_slice(&octets[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        Poll::Ready(Ok(()))
    }
}
