//! Test kit for scorers, panels, relay targets and gates, without sockets and in virtual time.
#![cfg_attr(feature = "serve", doc = include_str!("guide.md"))]

#[cfg(feature = "serve")]
mod play;
#[cfg(feature = "serve")]
mod samples;
#[cfg(feature = "serve")]
mod scribe;
mod transcript;

#[cfg(feature = "dns")]
pub use crate::rehearsal::Zone;
#[cfg(feature = "serve")]
pub use crate::rehearsal::{
    Connection, Heard, Script, Then, VirtualRuntime, envelope, message, peer,
};
#[cfg(feature = "serve")]
pub use play::Play;
#[cfg(feature = "serve")]
pub use samples::recipient;
#[cfg(feature = "serve")]
pub use scribe::Scribe;
pub use transcript::{Chunking, Transcript, TranscriptError};
