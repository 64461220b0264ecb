//! A gate on smol.
//!
//! `cargo run --example on_smol --features smol -- --listen 127.0.0.1:2525 --relay 127.0.0.1:25`

use std::io::{self, Write};

use clap::Parser;
use nobounce::scorers::{Gtube, Spamd};
use nobounce::smol::{Smol, listen, serve, shutdown_signal};
use nobounce::{Address, Event, Gate, Panel, Settings, Target, relay};

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

fn main() -> io::Result<()> {
    smol::block_on(run(Options::parse()))
}

async fn run(options: Options) -> io::Result<()> {
    let target: Box<dyn Target> = match options.relay {
        Some(address) => Box::new(relay::Smtp::new(Smol, address, "localhost")),
        None => Box::new(relay::Maildir::new("maildir")),
    };
    let mut panel = Panel::new().scorer(Gtube);
    if let Some(address) = options.spamd {
        panel = panel.scorer(Spamd::new(Smol, address));
    }
    let gate = Gate::new(Smol, Settings::new("localhost"), target).panel(panel).observer(|event| {
        // Unlike `println!`, this does not panic when standard output is closed.
        let _ = match event {
            Event::Ended(record) => writeln!(io::stdout(), "{record}"),
            Event::AcceptFailed { error } => writeln!(io::stderr(), "accept: {error}"),
            _ => Ok(()),
        };
    });
    let listener = listen(&options.listen).await?;
    println!("listening on {}", listener.local_address()?);
    serve(listener, gate).with_graceful_shutdown(shutdown_signal()?).await?;
    Ok(())
}
