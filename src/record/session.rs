//! The record of a session.

use std::fmt;
use std::time::Duration;

use super::transaction::{put, put_client};
use super::{Record, Timing};
use crate::conduct::Conduct;
use crate::envelope::SessionId;
use crate::peer::Peer;
use crate::session::{Session, SessionEnd};
use crate::tally::Tally;
use crate::wire::reply::Reply;
use crate::wire::text::Quoted;

/// The record of a session that has ended.
///
/// A session without [`transactions`](Self::transactions) has no other record.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SessionRecord<'r> {
    /// The session.
    pub session: &'r SessionId,
    /// The client.
    pub peer: &'r Peer,
    /// Duration of the session.
    pub duration: Duration,
    /// The protocol errors of the client.
    pub conduct: &'r Conduct,
    /// The findings about the client. `None` if the panel was not asked.
    pub tally: Option<&'r Tally>,
    /// The time of each scorer when the client connected, if the gate
    /// [records it](crate::Gate::record_timings).
    pub timings: &'r [Timing],
    /// The number of transactions that began, each of which has a
    /// [`TransactionRecord`](super::TransactionRecord).
    pub transactions: u32,
    /// The reason for the end.
    pub end: SessionEnd,
    /// The reply with which the server ended the session. `None` if the client disconnected.
    pub reply: Option<&'r Reply>,
}

impl<'r> SessionRecord<'r> {
    /// Returns the record of a session that has ended.
    pub(crate) fn new(session: &'r Session, duration: Duration, record: &'r Record) -> Self {
        let (end, reply) = session.end().unwrap_or((SessionEnd::ClientLost, None));
        Self {
            session: session.id(),
            peer: session.peer(),
            duration,
            conduct: session.conduct(),
            tally: record.connection.as_ref(),
            timings: record.reported.as_ref().map_or(&[], |reported| &reported.timings),
            transactions: session.transactions(),
            end,
            reply,
        }
    }
}

impl fmt::Display for SessionRecord<'_> {
    /// Writes one line of `key=value` pairs separated by spaces. Values chosen by peers are quoted
    /// and escaped. The ID is the reference in a refusal: `SESSION.0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::with_capacity(256);
        put(&mut line, "id=", &self.session.transaction(0))?;
        put_client(&mut line, self.peer)?;
        if let Some(tally) = self.tally {
            put(&mut line, " ", tally)?;
        }
        put(&mut line, " result=", self.end.word())?;
        if let Some(reply) = self.reply {
            put(&mut line, " reply=", &Quoted(reply))?;
        }
        if !self.conduct.is_clean() {
            line.push_str(&format!(" conduct={}", self.conduct));
        }
        put(&mut line, " transactions=", &u64::from(self.transactions))?;
        put(&mut line, " ms=", &u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX))?;
        f.write_str(&line)
    }
}
