//! Client identification to the onward server: a real Postfix reports the client that it was told
//! of.
//!
//! Postfix runs privately: configuration and queue are in a temporary folder, with free ports of
//! the loopback address. Nothing is delivered: every message is held, and the tests read the held
//! messages.

#![cfg(feature = "serve")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(unreachable_pub, reason = "modules of one test")]

mod client;
mod modes;
mod postfix;
mod reuse;
mod sandwich;
mod self_test;
mod values;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use nobounce::onward::Identify;
use nobounce::{Address, Gate, Runtime, Settings, relay};
use smol::Timer;
use smol::net::TcpStream;

/// The runtime adapter: connections and timers.
#[derive(Debug, Clone, Copy)]
struct Smol;

#[async_trait]
impl Runtime for Smol {
    type Stream = TcpStream;

    async fn sleep_until(&self, at: Instant) {
        Timer::at(at).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address.to_string()).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

fn target(port: u16, identify: Identify) -> relay::Smtp<Smol> {
    let address = Address::Tcp(format!("127.0.0.1:{port}").into());
    relay::Smtp::new(Smol, address, "gate.example.com").identify(identify)
}

fn gate(port: u16, identify: Identify) -> Arc<Gate<Smol>> {
    Arc::new(Gate::new(Smol, Settings::new("gate.example.com"), target(port, identify)))
}
