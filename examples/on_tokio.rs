//! A gate on tokio: `cargo run --example on_tokio -- --listen 127.0.0.1:2525 --relay 127.0.0.1:25`.

use std::io::{ErrorKind, IoSlice, Result, stdout};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use clap::Parser;
use nobounce::scorers::{Gtube, Spamd};
use nobounce::{Address, Gate, Lines, Panel, Peer, Runtime, Settings, Target, relay, serve};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::TaskTracker;

#[global_allocator] // mail waits for its verdict in large pages, then
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// All that nobounce needs of tokio.
#[derive(Debug, Clone, Copy)]
struct Tokio;

#[async_trait::async_trait]
impl Runtime for Tokio {
    type Stream = Socket;
    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }
    async fn connect(&self, address: &Address) -> Result<Self::Stream> {
        let Address::Tcp(address) = address else { return Err(ErrorKind::Unsupported.into()) };
        let stream = TcpStream::connect(&**address).await?;
        stream.set_nodelay(true).map(|()| Socket(stream))
    }
}

/// A socket by the traits of futures. Unlike tokio-util's, it writes many segments at once.
struct Socket(TcpStream);

impl futures::io::AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut [u8]) -> Poll<Result<usize>> {
        let mut to = ReadBuf::new(to);
        Pin::new(&mut self.get_mut().0).poll_read(cx, &mut to).map_ok(|()| to.filled().len())
    }
}

impl futures::io::AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, from)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        segments: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, segments)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

#[derive(clap::Parser)]
struct Options {
    #[arg(long, default_value = "127.0.0.1:2525")]
    listen: String,
    /// The onward server; without it mail is kept in `./maildir`.
    #[arg(long)]
    relay: Option<Address>,
    #[arg(long)]
    spamd: Option<Address>,
}

fn main() -> Result<()> {
    let alone = std::thread::available_parallelism()?.get() == 1; // no locks, then
    let new = if alone { Builder::new_current_thread } else { Builder::new_multi_thread };
    // Beside the clients: no other thread is woken for them.
    new().enable_all().build()?.block_on(async { tokio::spawn(run(Options::parse())).await? })
}

async fn run(options: Options) -> Result<()> {
    let target: Box<dyn Target> = match options.relay {
        Some(address) => Box::new(relay::Smtp::new(Tokio, address, "localhost")),
        None => Box::new(relay::Maildir::new("maildir")),
    };
    let spamd = options.spamd.map(|address| Spamd::new(Tokio, address));
    let panel = spamd.into_iter().fold(Panel::new().scorer(Gtube), Panel::scorer);
    let (lines, writing) = Lines::to(stdout(), Tokio);
    let gate = Gate::new(Tokio, Settings::new("localhost"), target).panel(panel).observed_by(lines);
    let gate = Arc::new(gate);
    let listener = TcpListener::bind(&options.listen).await?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    println!("listening on {}", listener.local_addr()?);
    let clients = TaskTracker::new();
    clients.spawn(writing);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        let Ok((client, address)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue; // out of descriptors, most likely: some will be free again soon
        };
        let _ = client.set_nodelay(true);
        let gate = gate.clone();
        clients.spawn(async move { serve(Socket(client), Peer::new(address), &gate).await });
    }
    gate.shut_down();
    drop((listener, gate));
    clients.close();
    tokio::time::timeout(Duration::from_secs(30), clients.wait()).await.or(Ok(()))
}
