//! Property tests of the delivery promise: if a message was answered with 2xx, the onward server
//! had accepted it before. Nothing is dropped and nothing is bounced, whatever fails.
//!
//! A client, the whole gate and an onward server run in one thread, in virtual time. Client and
//! server are written from the RFCs and share no code with the crate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(unreachable_pub, reason = "modules of one test")]

mod answers;
mod cases;
mod client;
mod cuts;
mod gate;
mod hostile;
mod identity;
mod oracle;
mod receipts;
mod regressions;
mod replies;
mod server;
mod smuggling;
mod truth;
mod words;
