//! Loopback benchmarks: a source of mail, a sink, and the candidates between them. Candidates are
//! separate processes, so the system reports their CPU time and memory.

#![allow(dead_code, reason = "each benchmark uses its part")]

pub(crate) mod process;
pub(crate) mod sink;
pub(crate) mod source;
