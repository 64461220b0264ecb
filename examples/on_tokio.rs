//! A gate on tokio, tuned for throughput: the server that the benchmarks measure.
//!
//! `cargo run --example on_tokio --features tokio -- --listen 127.0.0.1:2525 --relay 127.0.0.1:25`

use std::io::{Result, stdout};

use clap::Parser;
use nobounce::observer::LineLogger;
use nobounce::scorers::{Gtube, Spamd};
use nobounce::tokio::{Tokio, listen, serve, shutdown_signal};
use nobounce::{Address, Gate, Panel, Settings, Target, relay};
use tokio::runtime::Builder;

#[global_allocator] // buffers mail data in huge pages
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(clap::Parser)]
struct Options {
    #[arg(long, default_value = "127.0.0.1:2525")]
    listen: Address,
    /// The onward server; without it mail is kept in `./maildir`.
    #[arg(long)]
    relay: Option<Address>,
    #[arg(long)]
    spamd: Option<Address>,
}

fn main() -> Result<()> {
    // On one core, one thread needs no locks.
    let alone = std::thread::available_parallelism()?.get() == 1;
    let new = if alone { Builder::new_current_thread } else { Builder::new_multi_thread };
    new().enable_all().build()?.block_on(run(Options::parse()))
}

async fn run(options: Options) -> Result<()> {
    let target: Box<dyn Target> = match options.relay {
        Some(address) => Box::new(relay::Smtp::new(Tokio, address, "localhost")),
        None => Box::new(relay::Maildir::new("maildir")),
    };
    let spamd = options.spamd.map(|address| Spamd::new(Tokio, address));
    let panel = spamd.into_iter().fold(Panel::new().scorer(Gtube), Panel::scorer);
    let (lines, writing) = LineLogger::to(stdout(), Tokio);
    let gate = Gate::new(Tokio, Settings::new("localhost"), target).panel(panel).observed_by(lines);
    let writing = tokio::spawn(writing);
    let listener = listen(&options.listen).await?;
    println!("listening on {}", listener.local_address()?);
    serve(listener, gate).with_graceful_shutdown(shutdown_signal()?).await?;
    // The gate has been dropped, so the writer ends after the last lines.
    writing.await?;
    Ok(())
}
