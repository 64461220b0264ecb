//! A complete gate on tokio: a scorer, an onward server, a log, and a graceful shutdown.
//!
//! `cargo run --example minimal --features tokio -- 127.0.0.1:2525 127.0.0.1:25`

use nobounce::tokio::{Tokio, listen, serve, shutdown_signal};
use nobounce::{Event, Finding, Gate, Opinion, Panel, RcptContext, Score};
use nobounce::{Scorer, ScorerError, Settings, async_trait, relay};

/// Dislikes clients whose HELO or EHLO name has no dot.
struct NoDot;

#[async_trait]
impl Scorer for NoDot {
    fn name(&self) -> &str {
        "no-dot"
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let no_dot = at.peer.helo.as_ref().is_some_and(|helo| !helo.name.contains('.'));
        Ok(no_dot.then(|| Finding::new("HELO_NO_DOT", Score::points(8))).into())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let here = arguments.next().ok_or("expected ADDRESS:PORT to listen at")?;
    let server = arguments.next().ok_or("expected HOST:PORT of the onward server")?;
    let onward = relay::Smtp::new(Tokio, server.parse()?, "mx.example.org");
    let gate = Gate::new(Tokio, Settings::new("mx.example.org"), onward)
        .panel(Panel::new().scorer(NoDot))
        .observer(|event| {
            if let Event::Ended(record) = event {
                println!("{record}");
            }
        });
    let listener = listen(&here.parse()?).await?;
    println!("listening on {}", listener.local_address()?);
    serve(listener, gate).with_graceful_shutdown(shutdown_signal()?).await?;
    Ok(())
}
