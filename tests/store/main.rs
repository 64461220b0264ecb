//! One suite for all stores: whatever a scorer remembers in one, it remembers in the others. Then
//! what is only true of each: bounds and fairness, surviving a kill, many gates at once.

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
