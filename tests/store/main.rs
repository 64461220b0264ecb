//! One test suite for all stores, since scorers must behave the same with each. Then the specifics
//! of each store: limits and fairness, surviving a kill, several gates at once.

#![cfg(feature = "serve")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[macro_use]
mod suite;
#[cfg(feature = "redb")]
mod embedded;
mod memory;
mod model;
mod redis;
mod server;
