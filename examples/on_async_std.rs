//! A gate on async-std, with its own runtime adapter and accept loop.
//!
//! `cargo run --example on_async_std -- --listen 127.0.0.1:2525 --relay 127.0.0.1:25`

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{error::Error, io, io::Write as _};

use async_std::io::ReadExt;
use async_std::net::{TcpListener, TcpStream};
use async_std::os::unix::net::UnixStream;
use async_std::{channel, task};
use async_trait::async_trait;
use clap::Parser;
use futures::future::{Either, select};
use nobounce::scorers::{Gtube, Spamd};
use nobounce::{Address, Event, Gate, Panel, Peer, Runtime, Settings, Target, relay, serve};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// The runtime adapter for async-std, with the minimum that nobounce needs.
#[derive(Debug, Clone, Copy)]
struct AsyncStd;

#[async_trait]
impl Runtime for AsyncStd {
    type Stream = Either<TcpStream, UnixStream>;

    async fn sleep_until(&self, at: Instant) {
        task::sleep(at.saturating_duration_since(self.now())).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<Self::Stream> {
        Ok(match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(&**address).await?;
                stream.set_nodelay(true)?;
                Either::Left(stream)
            }
            Address::Unix(path) => Either::Right(UnixStream::connect(path).await?),
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

fn main() -> Result<(), Box<dyn Error>> {
    task::block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let target: Box<dyn Target> = match options.relay {
        Some(address) => Box::new(relay::Smtp::new(AsyncStd, address, "localhost")),
        None => Box::new(relay::Maildir::new("maildir")),
    };
    let mut panel = Panel::new().scorer(Gtube);
    if let Some(address) = options.spamd {
        panel = panel.scorer(Spamd::new(AsyncStd, address));
    }
    let gate =
        Gate::new(AsyncStd, Settings::new("localhost"), target).panel(panel).observer(|event| {
            if let Event::Ended(record) = event {
                let _ = writeln!(io::stdout(), "{record}");
            }
        });
    let gate = Arc::new(gate);

    let listener = TcpListener::bind(&options.listen).await?;
    let mut stop = stop_signal()?;
    println!("listening on {}", listener.local_addr()?);
    // Each session holds a clone of `inside`. The channel closes when the last session has ended.
    let (inside, empty) = channel::bounded::<()>(1);
    loop {
        let mut signal = [0];
        let accepted = match select(pin!(listener.accept()), stop.read(&mut signal)).await {
            Either::Left((accepted, _)) => accepted,
            Either::Right(_) => break,
        };
        match accepted {
            Ok((client, address)) => {
                let (gate, inside) = (gate.clone(), inside.clone());
                let session = async move {
                    let _ = client.set_nodelay(true);
                    // The record contains the error. The gate keeps serving.
                    let _ = serve(client, Peer::new(address), &gate).await;
                    drop(inside);
                };
                task::spawn(session);
            }
            Err(error) => {
                // Most likely out of file descriptors. Some will soon be free again.
                let _ = writeln!(io::stderr(), "accept: {error}");
                task::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop((listener, inside));
    gate.shut_down();
    select(pin!(empty.recv()), pin!(task::sleep(Duration::from_secs(30)))).await;
    Ok(())
}

/// Returns a stream that becomes readable on SIGINT or SIGTERM.
fn stop_signal() -> io::Result<UnixStream> {
    let (read, write) = std::os::unix::net::UnixStream::pair()?;
    pipe::register(SIGINT, write.try_clone()?)?;
    pipe::register(SIGTERM, write)?;
    Ok(read.into())
}
