//! A gate on tokio with TLS on both sides: STARTTLS, implicit TLS, and TLS to the onward server.
//!
//! `cargo run --example starttls --features tls -- --help`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use std::{error::Error, fs, io, io::Write as _};

use async_trait::async_trait;
use clap::Parser;
use nobounce::onward::{OnwardSettings, TlsPolicy};
use nobounce::tls::{TlsClient, TlsServer};
use nobounce::{Address, Event, Gate, Peer, Runtime, Settings, relay, serve, serve_tls};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

/// The runtime adapter for tokio, limited to what an onward server over TCP needs. `on_tokio` uses
/// the complete one.
#[derive(Debug, Clone, Copy)]
struct Tokio;

#[async_trait]
impl Runtime for Tokio {
    type Stream = Compat<TcpStream>;

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<Self::Stream> {
        let stream = TcpStream::connect(address.to_string()).await?;
        stream.set_nodelay(true)?;
        Ok(stream.compat())
    }
}

#[derive(clap::Parser)]
struct Options {
    /// Where clients may say STARTTLS.
    #[arg(long, default_value = "127.0.0.1:2525")]
    listen: String,
    /// Where clients begin with TLS.
    #[arg(long, default_value = "127.0.0.1:4650")]
    listen_tls: String,
    /// The certificate and those between it and the root, PEM.
    #[arg(long)]
    certificate: PathBuf,
    /// Its private key, PEM.
    #[arg(long)]
    key: PathBuf,
    /// The onward server, `HOST:PORT`.
    #[arg(long)]
    relay: Address,
    /// TLS with the onward server: never, may or must.
    #[arg(long, default_value = "must", value_parser = policy)]
    relay_tls: TlsPolicy,
    /// The name that the onward server must prove. Without it anybody's certificate will do.
    #[arg(long, requires = "relay_roots")]
    relay_name: Option<String>,
    /// The authorities by which it may prove it, PEM.
    #[arg(long)]
    relay_roots: Option<PathBuf>,
}

fn policy(text: &str) -> Result<TlsPolicy, &'static str> {
    match text {
        "never" => Ok(TlsPolicy::Never),
        "may" => Ok(TlsPolicy::May),
        "must" => Ok(TlsPolicy::Must),
        _ => Err("never, may or must"),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let server = TlsServer::from_pem(&fs::read(options.certificate)?, &fs::read(options.key)?)?;
    let client = match (options.relay_name, options.relay_roots) {
        (Some(name), Some(roots)) => TlsClient::verified(&name, &fs::read(roots)?)?,
        _ => TlsClient::unverified()?,
    };
    let mut settings = OnwardSettings::new("localhost");
    settings.tls = options.relay_tls;
    let target = match settings.tls {
        TlsPolicy::Never => relay::Smtp::with_settings(Tokio, options.relay, settings),
        _ => relay::Smtp::with_tls(Tokio, options.relay, settings, client),
    };
    let gate = Gate::new(Tokio, Settings::new("localhost"), target).tls(server).observer(|event| {
        if let Event::Ended(record) = event {
            let _ = writeln!(io::stdout(), "{record}");
        }
    });
    let gate = Arc::new(gate);

    let listener = TcpListener::bind(&options.listen).await?;
    let tls_listener = TcpListener::bind(&options.listen_tls).await?;
    println!("listening on {}", listener.local_addr()?);
    println!("TLS on {}", tls_listener.local_addr()?);
    loop {
        let (accepted, tls) = tokio::select! {
            accepted = listener.accept() => (accepted, false),
            accepted = tls_listener.accept() => (accepted, true),
        };
        let (client, address) = accepted?;
        let gate = gate.clone();
        tokio::spawn(async move {
            let _ = client.set_nodelay(true);
            let (client, peer) = (client.compat(), Peer::new(address));
            let served = match tls {
                true => serve_tls(client, peer, &gate).await,
                false => serve(client, peer, &gate).await,
            };
            if let Err(error) = served {
                let _ = writeln!(io::stderr(), "{address}: {error}");
            }
        });
    }
}
