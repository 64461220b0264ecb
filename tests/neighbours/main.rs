//! Real programs that connect on behalf of clients: a gate in this process with Postfix or HAProxy
//! before it.

#![cfg(all(feature = "serve", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod balancer;
mod sandwich;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nobounce::{Address, Gate, Peer, Runtime, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

/// Timeout for every step of a test.
const PATIENCE: Duration = Duration::from_secs(60);

async fn listen(listener: TcpListener, gate: Arc<Gate<Tokio>>) {
    loop {
        let (client, address) = listener.accept().await.unwrap();
        let gate = gate.clone();
        tokio::spawn(async move {
            // The observer has the result.
            let _ = serve(client.compat(), Peer::new(address), &gate).await;
        });
    }
}

#[derive(Debug, Clone, Copy)]
struct Tokio;

#[async_trait]
impl Runtime for Tokio {
    type Stream = Compat<TcpStream>;

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }

    async fn connect(&self, _: &Address) -> io::Result<Self::Stream> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
