//! In-memory connections: limited buffers, chunks of arbitrary size, delays, and breaks at any
//! octet.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::io::{AsyncRead, AsyncWrite};

use super::coverage::{Fault, Onward};
use super::executor::Owner;
use super::rng::Rng;
use super::world::{State, World};

/// The ends of a connection. The peer is a client or an onward server.
pub const GATE: usize = 0;
pub const PEER: usize = 1;

pub struct Connection {
    /// The session it belongs to. For an onward connection, the session that used it last.
    pub session: usize,
    /// The position of an onward connection.
    pub onward: Option<Onward>,
    /// The octets written by each end.
    pub pipes: [Pipe; 2],
    pub open: [bool; 2],
    broken: bool,
    /// Whether octets that arrived before a break can still be read, and writes to a closed
    /// connection are silently lost. Operating systems differ.
    lenient: bool,
    /// Whether the peer has disappeared without closing.
    pub vanished: bool,
    /// Whether the peer does not read.
    deaf: bool,
    /// Whether the peer sends nothing more.
    mute: bool,
    /// Position at which an onward server began an unsolicited reply, until the gate sends
    /// something.
    pub lie: Option<usize>,
    /// Whether an unsolicited reply was undetectable for the gate: from then on, replies and
    /// commands no longer match.
    pub lied: bool,
    pub fuse: Option<Fuse>,
    rng: Rng,
}

#[derive(Default)]
pub struct Pipe {
    octets: VecDeque<u8>,
    room: usize,
    /// Maximum number of octets that pass at once.
    chunk: usize,
    /// Whether nothing more will be written.
    pub ended: bool,
    /// Permille of writes that arrive late, and the maximum delay.
    lag: (usize, Duration),
    ready_at: Option<Instant>,
    timer: Option<usize>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Whether the last writer waits for room, or has not written since there is room.
    pub is_stuck: bool,
    /// Numbers of octets written and read so far.
    pub written: usize,
    pub read: usize,
    /// All octets written, if recorded.
    pub record: Option<Vec<u8>>,
    line: Vec<u8>,
}

/// A fault that occurs when the peer has written or read a number of octets.
#[derive(Debug, Clone, Copy)]
pub struct Fuse {
    /// The end that writes these octets.
    pub pipe: usize,
    pub at: usize,
    pub blow: Blow,
}

#[derive(Debug, Clone, Copy)]
pub enum Blow {
    Reset,
    HalfClose,
    Vanish,
    Stall,
    StopReading,
}

impl Connection {
    pub fn new(session: usize, onward: Option<Onward>, mut rng: Rng) -> Self {
        let mut pipe = || {
            let chunk = match rng.below(100) {
                0 => 1,
                1..15 => 1 + rng.below(60),
                _ => usize::MAX,
            };
            let room = *rng.pick(&[65_536, 65_536, 65_536, 4_096, 600, 40]);
            let lag = match rng.below(10) {
                0 => (300, Duration::from_secs(2)),
                1..3 => (1000, Duration::from_millis(50)),
                _ => (0, Duration::ZERO),
            };
            Pipe { room, chunk, lag, ..Pipe::default() }
        };
        let pipes = [pipe(), pipe()];
        let lenient = rng.permille(500);
        Self {
            session,
            onward,
            pipes,
            open: [true, true],
            broken: false,
            lenient,
            vanished: false,
            deaf: false,
            mute: false,
            lie: None,
            lied: false,
            fuse: None,
            rng,
        }
    }

    pub fn is_broken(&self) -> bool {
        self.broken
    }

    fn wake(&mut self) {
        for pipe in &mut self.pipes {
            pipe.reader.take().into_iter().chain(pipe.writer.take()).for_each(Waker::wake);
        }
    }

    pub fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::Reset => {
                self.broken = true;
                self.lenient = false;
            }
            Blow::HalfClose => self.pipes[PEER].ended = true,
            Blow::Vanish => self.vanished = true,
            Blow::Stall => self.mute = true,
            Blow::StopReading => self.deaf = true,
        }
        self.wake();
    }

    /// Returns how many octets may pass before the fuse blows.
    fn short_of_fuse(&self, pipe: usize, passed: usize) -> usize {
        match self.fuse {
            Some(fuse) if fuse.pipe == pipe => fuse.at.saturating_sub(passed).max(1),
            _ => usize::MAX,
        }
    }

    fn burnt(&mut self) -> Option<Blow> {
        let Fuse { pipe, at, blow } = self.fuse?;
        let passed = if pipe == PEER { self.pipes[pipe].written } else { self.pipes[pipe].read };
        if passed < at {
            return None;
        }
        self.fuse = None;
        Some(blow)
    }
}

/// One end of a connection.
pub struct End {
    world: World,
    pub connection: usize,
    side: usize,
}

impl End {
    pub fn both(world: &World, connection: usize) -> [Self; 2] {
        [GATE, PEER].map(|side| Self { world: world.clone(), connection, side })
    }

    /// Breaks the connection.
    pub fn strike(&self, blow: Blow, fault: Fault) {
        let mut state = self.world.state();
        state.fault(self.connection, fault);
        state.connections[self.connection].strike(blow);
    }

    /// Waits without reading until the gate has closed the connection.
    pub async fn left(&self) {
        std::future::poll_fn(|context| {
            let state = &mut *self.world.state();
            let connection = &mut state.connections[self.connection];
            if connection.broken || connection.vanished || !connection.open[GATE] {
                return Poll::Ready(());
            }
            connection.pipes[GATE].reader = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

fn blow_fuse(state: &mut State, at: usize) {
    let connection = &mut state.connections[at];
    if let Some(blow) = connection.burnt() {
        let fault = match (blow, connection.onward) {
            (Blow::Reset, None) => Fault::ClientResets,
            (Blow::HalfClose, None) => Fault::ClientHalfCloses,
            (Blow::Vanish, None) => Fault::ClientVanishes,
            (Blow::Stall, None) => Fault::ClientStalls,
            (Blow::StopReading, None) => Fault::ClientStopsReading,
            (Blow::Reset, Some(_)) => Fault::Resets,
            (Blow::HalfClose, Some(_)) => Fault::Closes,
            (Blow::Vanish | Blow::Stall, Some(_)) => Fault::Silent,
            (Blow::StopReading, Some(_)) => Fault::ServerStopsReading,
        };
        state.fault(at, fault);
        state.connections[at].strike(blow);
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.world.state();
        let (side, now) = (self.side, state.clock.now);
        let connection = &mut state.connections[self.connection];
        let short = match side {
            PEER => connection.short_of_fuse(GATE, connection.pipes[GATE].read),
            _ => usize::MAX,
        };
        let (broken, lenient) = (connection.broken, connection.lenient);
        let gone = side == PEER && (connection.vanished || connection.broken && !lenient);
        let deaf = side == PEER && connection.deaf && connection.open[GATE] && !broken;
        let pipe = &mut connection.pipes[1 - side];
        if gone || broken && (!lenient || pipe.octets.is_empty()) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if deaf {
            pipe.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        if let Some(at) = pipe.ready_at.filter(|at| now < *at) {
            // Octets written since may arrive even later.
            if let Some(timer) = pipe.timer.take() {
                state.clock.disarm(timer);
            }
            pipe.timer = Some(state.clock.arm(at, Owner::Hand, context.waker()));
            pipe.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        pipe.ready_at = None;
        if let Some(timer) = pipe.timer.take() {
            state.clock.disarm(timer);
        }
        let mut count = pipe.octets.len().min(buffer.len()).min(pipe.chunk).min(short);
        if count == 0 {
            if pipe.ended {
                state.trace.note([self.connection as u64, 2], &[]);
                return Poll::Ready(Ok(0));
            }
            pipe.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        if pipe.chunk < 64 && count > 1 {
            count = 1 + connection.rng.below(count);
        }
        let pipe = &mut connection.pipes[1 - side];
        let (one, other) = pipe.octets.as_slices();
        let first = count.min(one.len());
        buffer[..first].copy_from_slice(&one[..first]);
        buffer[first..count].copy_from_slice(&other[..count - first]);
        pipe.octets.drain(..count);
        pipe.read += count;
        if let Some(waker) = pipe.writer.take() {
            waker.wake();
        }
        state.trace.note([self.connection as u64, 4 + side as u64], &buffer[..count]);
        if side == PEER {
            blow_fuse(state, self.connection);
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.world.state();
        let (side, now) = (self.side, state.clock.now);
        if side == GATE {
            state.gate_writes(self.connection);
        }
        let connection = &mut state.connections[self.connection];
        let gone = side == PEER && (connection.vanished || connection.mute);
        if gone || connection.broken || connection.pipes[side].ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if !connection.open[1 - side] {
            connection.broken = true;
            connection.wake();
            return Poll::Ready(if connection.lenient && side == GATE {
                connection.pipes[side].written += octets.len();
                connection.pipes[side].record.iter_mut().for_each(|it| it.extend(octets));
                Ok(octets.len())
            } else {
                Err(io::ErrorKind::BrokenPipe.into())
            });
        }
        let short = match side {
            PEER => connection.short_of_fuse(PEER, connection.pipes[PEER].written),
            _ => usize::MAX,
        };
        let pipe = &mut connection.pipes[side];
        let room = pipe.room - pipe.octets.len();
        let mut count = octets.len().min(room).min(pipe.chunk).min(short);
        pipe.is_stuck = count == 0 && !octets.is_empty();
        if pipe.is_stuck {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        if pipe.chunk < 64 && count > 1 {
            count = 1 + connection.rng.below(count);
        }
        let pipe = &mut connection.pipes[side];
        let octets = &octets[..count];
        pipe.octets.extend(octets);
        pipe.written += count;
        pipe.record.iter_mut().for_each(|it| it.extend(octets));
        if pipe.lag.0 > 0 && connection.rng.permille(pipe.lag.0) {
            let late = now + connection.rng.wait(pipe.lag.1);
            pipe.ready_at = Some(pipe.ready_at.map_or(late, |at| at.max(late)));
        }
        if let Some(waker) = pipe.reader.take() {
            waker.wake();
        }
        state.trace.note([self.connection as u64, 6 + side as u64], octets);
        if state.trace.is_told() {
            tell(state, self.connection, side, octets);
        }
        if side == PEER {
            blow_fuse(state, self.connection);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.world.state();
        let connection = &mut state.connections[self.connection];
        connection.pipes[self.side].ended = true;
        connection.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let state = &mut *self.world.state();
        state.trace.note([self.connection as u64, 8 + self.side as u64], &[]);
        let connection = &mut state.connections[self.connection];
        connection.open[self.side] = false;
        if !(self.side == PEER && connection.vanished) {
            // As in TCP: closing with unread input resets the connection.
            connection.broken |= !connection.pipes[1 - self.side].octets.is_empty();
            connection.pipes[self.side].ended = true;
            connection.wake();
        }
        if let Some(timer) = connection.pipes[1 - self.side].timer.take() {
            state.clock.disarm(timer);
        }
        if state.trace.is_told() {
            let who = ["gate", "peer"][self.side];
            let (label, elapsed) = (state.label(self.connection), state.clock.elapsed());
            state.trace.tell(elapsed, || format!("{label} <closed by {who}>"));
        }
    }
}

/// Adds complete written lines to the dialogue.
fn tell(state: &mut State, at: usize, side: usize, octets: &[u8]) {
    let (label, elapsed) = (state.label(at), state.clock.elapsed());
    let connection = &mut state.connections[at];
    let mark = match (connection.onward, side) {
        (None, PEER) => 'C',
        (None, _) => 'S',
        (Some(_), PEER) => 'O',
        (Some(_), _) => 'R',
    };
    let line = &mut connection.pipes[side].line;
    line.extend(octets);
    while let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") {
        let whole: Vec<u8> = line.drain(..end + 2).collect();
        let text = whole[..end].escape_ascii().to_string();
        state.trace.tell(elapsed, || format!("{label} {mark}: {text}"));
    }
}
