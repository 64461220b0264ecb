//! A gate on tokio: `cargo run --example on_tokio -- --listen 127.0.0.1:2525 --relay 127.0.0.1:25`.

use std::error::Error;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clap::Parser;
use futures::future::Either;
use nobounce::scorers::{Gtube, Spamd};
use nobounce::{Address, Event, Gate, Panel, Peer, Runtime, Settings, Target, relay, serve};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

/// All that nobounce needs of tokio.
#[derive(Debug, Clone, Copy)]
struct Tokio;

#[async_trait]
impl Runtime for Tokio {
    type Stream = Either<Compat<TcpStream>, Compat<UnixStream>>;

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<Self::Stream> {
        Ok(match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(&**address).await?;
                stream.set_nodelay(true)?;
                Either::Left(stream.compat())
            }
            Address::Unix(path) => Either::Right(UnixStream::connect(path).await?.compat()),
        })
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

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let target: Box<dyn Target> = match options.relay {
        Some(address) => Box::new(relay::Smtp::new(Tokio, address, "localhost")),
        None => Box::new(relay::Maildir::new("maildir")),
    };
    let mut panel = Panel::new().scorer(Gtube);
    if let Some(address) = options.spamd {
        panel = panel.scorer(Spamd::new(Tokio, address));
    }
    let gate = Gate::new(Tokio, Settings::new("localhost"), target).panel(panel).observer(
        |event: &Event<'_>| {
            if let Event::Ended(record) = event {
                // In one piece: standard output looks for the end of the line in each.
                let _ = io::stdout().write_all(format!("{record}\n").as_bytes());
            }
        },
    );
    let gate = Arc::new(gate);

    let listener = TcpListener::bind(&options.listen).await?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    println!("listening on {}", listener.local_addr()?);
    // Each client has a clone, from when it was accepted: when all are gone, so are the clients.
    let (inside, mut empty) = mpsc::channel::<()>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        match accepted {
            Ok((client, address)) => {
                let (gate, inside) = (gate.clone(), inside.clone());
                tokio::spawn(async move {
                    let _ = client.set_nodelay(true);
                    // What went wrong is in the record; the gate goes on.
                    let _ = serve(client.compat(), Peer::new(address), &gate).await;
                    drop(inside);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: some will be free again soon.
                eprintln!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop((listener, inside));
    gate.shut_down();
    let _ = tokio::time::timeout(Duration::from_secs(30), empty.recv()).await;
    Ok(())
}
