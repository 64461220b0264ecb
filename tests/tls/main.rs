//! Real handshakes: gates that speak TLS to rustls's own client and, one behind the other, to each
//! other; in memory, through pipes of any width.

#![cfg(feature = "tls")]
#![allow(clippy::disallowed_methods, clippy::panic, clippy::unwrap_used, reason = "a test")]

mod certificates;
mod client;
mod gate;
mod inbound;
mod onward;
