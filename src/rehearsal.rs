//! Virtual time and scripted peers for tests. Everything runs on one thread with in-memory
//! connections. When nothing else can happen, the clock jumps to the next timer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "for tests only")]

pub(crate) mod automatic;
#[cfg(feature = "serve")]
mod clock;
#[cfg(feature = "serve")]
mod samples;
#[cfg(feature = "serve")]
mod server;
#[cfg(feature = "dns")]
mod zone;

#[cfg(feature = "serve")]
pub use clock::VirtualRuntime;
#[cfg(test)]
#[cfg(feature = "serve")]
pub(crate) use clock::VirtualRuntime as Rehearsal;
#[cfg(feature = "serve")]
pub use samples::{envelope, message, peer};
#[cfg(test)]
#[cfg(feature = "serve")]
pub(crate) use samples::{recipient, session};
#[cfg(feature = "serve")]
pub use server::{Connection, Heard, Script, Then};
#[cfg(test)]
#[cfg(feature = "serve")]
pub(crate) use server::{Cue, Turn};
#[cfg(feature = "dns")]
pub use zone::Zone;
