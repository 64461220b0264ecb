//! Over loopback: a source of mail, a sink for it, and what stands between them as processes of
//! their own, whose CPU time and memory the system knows.

#![allow(dead_code, reason = "each benchmark uses its part")]

pub(crate) mod process;
pub(crate) mod sink;
pub(crate) mod source;
