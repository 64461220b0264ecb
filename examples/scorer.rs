//! A custom scorer in a running gate.
//!
//! Start it with `cargo run --example scorer`, connect and send `HELO me`: the finding appears in
//! the record. `HELO me.example` causes no finding.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use clap::Parser;
use nobounce::score::Disclosure;
use nobounce::{Address, Event, Finding, Gate, Opinion, Panel, RcptContext};
use nobounce::{Peer, Runtime, Score, Scorer, ScorerError, Settings, Thresholds, relay, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

/// Dislikes a HELO name without a dot. A host on the internet has a fully qualified name.
struct BareName;

#[async_trait]
impl Scorer for BareName {
    fn name(&self) -> &str {
        "bare-name"
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let bare = at.peer.helo.as_ref().is_some_and(|helo| !helo.name.contains('.'));
        let finding = Finding::new("BARE_HELO", Score::points(2));
        Ok(bare.then(|| finding.with_disclosure(Disclosure::Public)).into())
    }
}

/// The runtime adapter. This gate opens no outgoing connection, so it only needs a timer.
struct Timers;

#[async_trait]
impl Runtime for Timers {
    type Stream = Compat<TcpStream>;

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }

    async fn connect(&self, _: &Address) -> io::Result<Self::Stream> {
        Err(ErrorKind::Unsupported.into())
    }
}

#[derive(Parser)]
struct Options {
    #[arg(long, default_value = "127.0.0.1:2525")]
    listen: String,
    /// The score at which mail is refused.
    #[arg(long, default_value = "2")]
    refuse: Score,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let thresholds = Thresholds::new(None, None, Some(options.refuse))?;
    let panel = Panel::new().scorer(BareName).thresholds(thresholds);
    let gate = Gate::new(Timers, Settings::new("localhost"), relay::Maildir::new("maildir"));
    let gate = Arc::new(gate.panel(panel).observer(|event| {
        if let Event::Ended(record) = event {
            let _ = writeln!(io::stdout(), "{record}");
        }
    }));

    let listener = TcpListener::bind(&options.listen).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (client, address) = listener.accept().await?;
        let gate = gate.clone();
        tokio::spawn(async move { serve(client.compat(), Peer::new(address), &gate).await });
    }
}
