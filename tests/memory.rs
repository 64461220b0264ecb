//! Memory of a session: everything `serve` allocates, including itself, for idle clients and for
//! content that has arrived in part.

#![cfg(feature = "serve")]
#![allow(unsafe_code, reason = "a counting allocator needs it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use async_trait::async_trait;
use futures::io::{AsyncRead, AsyncWrite, Cursor};
use nobounce::admission::{Admission, AdmissionLimits};
use nobounce::relay::Smtp;
use nobounce::scorers::Gtube;
use nobounce::{
    Address, Envelope, ForwardPath, Gate, Message, Outcome, Panel, Peer, Receipt, Relay, Runtime,
    Settings, Target, serve,
};

/// An allocator that counts the octets that this thread has allocated and not freed.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(octets: isize) {
    let _ = HELD.try_with(|held| held.set(held.get() + octets));
}

// SAFETY: every call is passed to the system allocator with unchanged arguments and result.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the requirements for the caller are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the requirements for the caller are the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the requirements for the caller are the same.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A client that waits for its greeting, sends commands and then further octets, in segments as on
/// the internet. It then stays silent. It reads every reply.
struct Client {
    greeted: bool,
    commands: &'static str,
    content: Arc<[u8]>,
    said: usize,
}

const SEGMENT: usize = 1_460;

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.greeted {
            return Poll::Pending;
        }
        let commands = std::mem::take(&mut self.commands).as_bytes();
        let rest = if commands.is_empty() { &self.content[self.said..] } else { commands };
        let length = rest.len().min(buffer.len()).min(SEGMENT);
        if length == 0 {
            return Poll::Pending;
        }
        buffer[..length].copy_from_slice(&rest[..length]);
        self.said += if commands.is_empty() { length } else { 0 };
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.greeted = true;
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A relay target that accepts everything and stores nothing.
struct Hole;

impl Target for Hole {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        Box::new(Self)
    }
}

#[async_trait]
impl Relay for Hole {
    async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
        Outcome::Accepted(Receipt::recipient())
    }

    async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
        Outcome::Accepted(Receipt::kept("1"))
    }
}

/// The runtime adapter with tokio's timers, whose memory is part of a session's.
struct Tokio;

#[async_trait]
impl Runtime for Tokio {
    type Stream = Cursor<Vec<u8>>;

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }

    async fn connect(&self, _: &Address) -> io::Result<Self::Stream> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Returns the memory per session when each client has sent these octets.
fn cost(
    sessions: isize,
    target: impl Target + 'static,
    commands: &'static str,
    content: &str,
) -> isize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let mut limits = AdmissionLimits::default();
    (limits.per_address, limits.per_network) = (1_000, 1_000);
    let gate = Gate::new(Tokio, Settings::new("mx.example"), target)
        .panel(Panel::new().scorer(Gtube))
        .admission(Admission::new(limits));
    let content: Arc<[u8]> = content.as_bytes().into();
    let mut context = Context::from_waker(Waker::noop());
    let mut begin = || {
        let client = Client { greeted: false, commands, content: content.clone(), said: 0 };
        let peer = Peer::new(([192, 0, 2, 1], 4711).into());
        let mut session = Box::pin(serve(client, peer, &gate));
        assert!(session.as_mut().poll(&mut context).is_pending(), "it is over");
        session
    };
    // One-time allocations by the first session belong to no session.
    let _first = begin();
    let mut running = Vec::with_capacity(sessions.cast_unsigned());
    let before = HELD.get();
    running.extend((0..sessions).map(|_| begin()));
    (HELD.get() - before) / sessions
}

const EHLO: &str = "EHLO client.example\r\n";
const DATA: &str = "EHLO client.example\r\n\
                    MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n";

#[test]
fn an_idle_client_costs_less_than_4_kib() {
    let mail = format!("Subject: x\r\n\r\n{}\r\n.\r\n", "x".repeat(100_000));
    for (when, commands, content) in [
        ("after the greeting", "", ""),
        ("after EHLO", EHLO, ""),
        ("within a command", "EHLO client.exa", ""),
        ("after a mail of 100 KB", DATA, &mail),
    ] {
        let server = "127.0.0.1:10025".parse().unwrap();
        let smtp = Smtp::new(Tokio, server, "mx.example");
        for (cost, target) in [
            (cost(200, Hole, commands, content), "nothing"),
            (cost(200, smtp, commands, content), "an onward server"),
        ] {
            println!("{when}, relayed to {target}: {cost} octets");
            assert!(cost < 4_096, "{when}, relayed to {target}: {cost} octets");
        }
    }
}

/// A block of content is allocated as a whole. The first block is small.
const BLOCK: usize = 64 << 10;

#[test]
fn content_costs_its_size_and_a_constant() {
    for length in [0, 10_000, 100_000, 1 << 20, 8 << 20, 40 << 20] {
        let line = format!("{}\r\n", "x".repeat(74));
        let content = line.repeat(length / line.len());
        let cost = cost(1, Hole, DATA, &content).cast_unsigned();
        println!("{length} octets of content: {cost} octets");
        // Overhead of a block: its entry in a list that grows by doubling, and its owner.
        let names = length / BLOCK * 160;
        let most = length + names + BLOCK + 8_192;
        assert!(cost < most, "{length} octets of content: {cost} octets");
    }
}
