//! Recordings: what they contain, what they never contain, and how they are read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(unreachable_pub, reason = "modules of one test")]

mod bounds;
mod cuts;
mod dialogues;
mod forms;
mod gate;
mod policy;
mod privacy;
