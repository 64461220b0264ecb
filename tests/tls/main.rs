//! Real handshakes: gates that speak TLS with rustls's own client and, one after another, with each
//! other. Connections are in-memory pipes of any size.

#![cfg(feature = "tls")]
#![allow(clippy::disallowed_methods, clippy::panic, clippy::unwrap_used, reason = "a test")]

mod certificates;
mod client;
mod gate;
mod inbound;
mod onward;
