//! Log lines in JSON, for programs. The types are created from events, or read from a log.
//!
//! A log is JSON Lines: one object for each transaction, for each session without a transaction, and
//! for each client that was turned away. [`SCHEMA`] describes them as a JSON Schema. `v` is the
//! [version](VERSION) of the format. Within a version, keys may be added, and no key changes its
//! meaning. A reader skips keys and kinds that it does not know.
//!
//! Lines are ASCII: every other character is escaped, so values chosen by peers cannot control a
//! terminal.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use std::time::SystemTime;
//! use nobounce::observer::json::{Entry, Line, Party, Word};
//! # use nobounce::scorers::Gtube;
//! # use nobounce::testing::{Script, VirtualRuntime, peer};
//! # use nobounce::{Gate, Panel, Settings, relay::Smtp, serve};
//! # let runtime = VirtualRuntime::with(Script::smtp_server());
//! # let target = Smtp::new(runtime.clone(), "192.0.2.25:25".parse()?, "mx.example");
//! # let gate = Gate::new(runtime.clone(), Settings::new("mx.example"), target);
//!
//! let log = Arc::new(Mutex::new(String::new()));
//! let lines = log.clone();
//! let gate = gate
//!     .panel(Panel::new().scorer(Gtube))
//!     .record_fields(["Message-ID", "From", "Subject"])
//!     .observer(move |event| {
//!         if let Some(line) = Line::of(event, SystemTime::now()) {
//!             *lines.lock().unwrap() += &format!("{line}\n");
//!         }
//!     });
//! # let gtube = "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\nXJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n.";
//! # let commands = ["HELO c.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", gtube, "QUIT"];
//! # runtime.run(serve(runtime.client(Script::smtp_client(commands)), peer(), &gate))?;
//!
//! // After a message with GTUBE:
//! let log = log.lock().unwrap();
//! let line = Line::read(&log)?.unwrap();
//! let Entry::Transaction(it) = line.entry else { panic!("{log}") };
//! assert_eq!((it.outcome.result, it.outcome.by), (Word::Refused, Some(Party::Panel)));
//! assert_eq!(it.judged.findings[0].symbol, "GTUBE");
//! assert_eq!(it.fields["Subject"], "grüße");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod client;
mod judged;
mod line;
mod outcome;
mod session;
mod text;
mod transaction;

pub use client::{Client, Tls, Vouchers};
pub use judged::{
    Decision, DecisionWord, Finding, Judged, Levels, Objection, Policy, ScorerFailure, Timing,
};
pub use line::{Entry, Line, ReadError};
pub use outcome::{Outcome, Party, Word};
pub use session::Session;
#[cfg(any(unix, feature = "recording"))]
pub(crate) use text::line as ascii_line;
pub use transaction::{OnwardFailure, Recipient, Seconds, Transaction};

/// The version of the format: `v` of each line.
pub const VERSION: u32 = 1;

/// The JSON Schema (draft 2020-12) of a line.
pub const SCHEMA: &str = include_str!("schema.json");

/// Maximum number of accepted recipients in a line, of refused recipients, of replies, and of
/// failures of the onward server. If there are more replies, the last ones are listed.
const LISTED: usize = 50;
