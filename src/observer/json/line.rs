//! Lines of a log.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::text::{self, seconds};
use super::{Party, Session, Transaction, VERSION, Word};
use crate::observer::Event;

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Line {
    /// The version of the format: [`VERSION`].
    pub v: u32,
    /// Unix time in seconds, with milliseconds.
    pub time: f64,
    /// The event.
    #[serde(flatten)]
    pub entry: Entry,
}

/// The event that a line reports. Its name is the key `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "most lines are transactions")]
pub enum Entry {
    /// A transaction that has ended.
    Transaction(Transaction),
    /// An accepted message whose reply the client did not confirm before the connection broke. The
    /// client will most likely send the message again.
    Unacknowledged(Transaction),
    /// A session without a transaction, or a client without a session.
    Session(Session),
    /// Sessions without a transaction whose lines were omitted, because there were too many.
    SessionsOmitted {
        /// Their number.
        sessions: u64,
    },
    /// Lines that were lost, because the log could not be written.
    LinesLost {
        /// Their number.
        lines: u64,
    },
}

/// The error for a text that is not a line of a JSON log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The text is not JSON, is an object of another program, or lacks a required key.
    #[error("not a line of a JSON log of nobounce: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The line has another version.
    #[error("version {0} of the log format; expected {VERSION}")]
    Version(u32),
}

impl Line {
    /// Creates a line with the time `at`.
    pub fn new(entry: Entry, at: SystemTime) -> Self {
        let time = seconds(at.duration_since(UNIX_EPOCH).unwrap_or_default());
        Self { v: VERSION, time, entry }
    }

    /// Returns the line for an event at the time `at`. Returns `None` for an event without a line,
    /// such as the end of a session with transactions: each transaction has a line.
    pub fn of(event: &Event<'_>, at: SystemTime) -> Option<Self> {
        let entry = match event {
            Event::Ended(record) => Entry::Transaction((*record).into()),
            Event::Unacknowledged(record) => Entry::Unacknowledged((*record).into()),
            Event::Disconnected(record) if record.transactions == 0 => {
                Entry::Session((*record).into())
            }
            Event::TurnedAway { peer, reason } => {
                let reply = &reason.reply();
                let result = Word::of_refusal(Some(reply));
                let outcome = (result, Party::Admission);
                Entry::Session(Session::none(peer, outcome, Some(reply), reason))
            }
            Event::Unproxied { peer, error } => {
                let outcome = (Word::Refused, Party::Admission);
                Entry::Session(Session::none(peer, outcome, None, error))
            }
            Event::HandshakeFailed { peer, error } => {
                let outcome = (Word::HandshakeFailed, Party::Client);
                Entry::Session(Session::none(peer, outcome, None, error))
            }
            _ => return None,
        };
        Some(Self::new(entry, at))
    }

    /// Sets the name of the onward server in its failures.
    #[must_use]
    pub fn onward(mut self, server: &str) -> Self {
        if let Entry::Transaction(it) | Entry::Unacknowledged(it) = &mut self.entry {
            for failure in &mut it.onward_failures {
                failure.server = Some(server.to_owned());
            }
        }
        self
    }

    /// Reads a line. Returns `None` for a kind that this version of the crate does not know.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the text is not a line of a JSON log, or has another version.
    pub fn read(text: &str) -> Result<Option<Self>, ReadError> {
        #[derive(Deserialize)]
        struct Head<'t> {
            v: u32,
            #[serde(borrow)]
            kind: std::borrow::Cow<'t, str>,
        }
        let head: Head<'_> = serde_json::from_str(text)?;
        if head.v != VERSION {
            return Err(ReadError::Version(head.v));
        }
        const KINDS: [&str; 5] =
            ["transaction", "unacknowledged", "session", "sessions-omitted", "lines-lost"];
        match KINDS.contains(&&*head.kind) {
            true => Ok(Some(serde_json::from_str(text)?)),
            false => Ok(None),
        }
    }
}

impl fmt::Display for Line {
    /// Writes the line as JSON in ASCII, without a line end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::line(self))
    }
}
