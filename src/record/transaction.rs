//! The record of a transaction.

use std::fmt::{self, Write};
use std::time::Duration;

use super::reported::{RecordedField, Reported, Timing};
use crate::outcome::{RelayError, partial};
use crate::peer::{Peer, Vouched};
use crate::session::{EndCause, TransactionEnd};
use crate::tally::Tally;
use crate::wire::reply::Reply;
use crate::wire::text::{Printable, Quoted, Written};

/// The complete log record of a transaction: envelope, findings, cause and result.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TransactionRecord {
    /// Envelope, refused recipients, size, cause and reply.
    pub end: Box<TransactionEnd>,
    /// Every finding and every failure of a scorer.
    pub tally: Tally,
    /// The answers of the relay target, in order: to recipients, then to the content.
    pub onward: Vec<Reply>,
    /// The reasons why the relay target could not be asked, if any.
    pub failures: Vec<RelayError>,
    /// The queue id that the onward server assigned to the message.
    pub queue_id: Option<Box<str>>,
    /// Time spent waiting for scorers.
    pub scoring: Duration,
    /// Time spent waiting for the relay target.
    pub relaying: Duration,
    /// The facts that are recorded on request only.
    pub(crate) reported: Option<Box<Reported>>,
}

/// Maximum number of accepted recipients, and of refused recipients, listed in a record line. The
/// line gives the number of the others.
const LISTED: usize = 50;

impl fmt::Display for TransactionRecord {
    /// Writes one line of `key=value` pairs separated by spaces. Values chosen by peers are quoted
    /// and escaped. The line lists at most 50 accepted and 50 refused recipients, and gives the
    /// number of the others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::with_capacity(512);
        self.write(&mut line)?;
        f.write_str(&line)
    }
}

impl TransactionRecord {
    /// Returns whether the onward server accepted the message and reported that it discards it
    /// ([`Receipt::is_discarded`](crate::Receipt::is_discarded)).
    pub fn is_discarded(&self) -> bool {
        let taken = self.end.cause == EndCause::Accepted;
        taken && self.end.reply.as_ref().is_some_and(partial::is_discarded)
    }

    /// Returns the time of each scorer at each stage, if the gate
    /// [records it](crate::Gate::record_timings).
    pub fn timings(&self) -> &[Timing] {
        self.reported.as_ref().map_or(&[], |reported| &reported.timings)
    }

    /// Returns the header fields that the gate [records](crate::Gate::record_fields).
    pub fn fields(&self) -> &[RecordedField] {
        self.reported.as_ref().map_or(&[], |reported| &reported.fields)
    }

    pub(crate) fn write(&self, line: &mut String) -> fmt::Result {
        let envelope = &self.end.envelope;
        let peer = &*envelope.peer;
        put(line, "id=", &envelope.id)?;
        put_client(line, peer)?;
        put(line, " from=", &Quoted(&envelope.reverse_path.path))?;
        let (accepted, refused) = (&envelope.forward_paths, &self.end.refused);
        let listed = accepted.iter().take(LISTED);
        for recipient in listed {
            put(line, " to=", &Quoted(&recipient.path))?;
        }
        put_rest(line, " to_more=", accepted.len())?;
        for refused in refused.iter().take(LISTED) {
            put(line, " refused=", &Quoted(&refused.recipient.path))?;
            put(line, " because=", &Quoted(&refused.reply))?;
        }
        put_rest(line, " refused_more=", refused.len())?;
        put(line, " size=", &self.end.size)?;
        for field in self.fields() {
            write!(line, " header.{}={:?}", field.name.to_ascii_lowercase(), field.text)?;
        }
        put(line, " ", &self.tally)?;
        put(line, " result=", self.end.cause.word())?;
        if let Some(reply) = &self.end.reply {
            put(line, " reply=", &Quoted(reply))?;
        }
        if self.is_discarded() {
            line.push_str(" discarded=onward");
        }
        if let Some(queue_id) = &self.queue_id {
            put(line, " queue_id=", &Printable(&**queue_id))?;
        }
        for failure in self.failures.iter().take(LISTED) {
            write!(line, " relay_failure={:?}", failure.to_string())?;
        }
        for failure in self.tally.failures().take(LISTED) {
            write!(line, " scorer_failure={:?}", format!("{}: {}", failure.scorer, failure.cause))?;
        }
        for (key, time) in [
            (" ms=", self.end.duration),
            (" scoring_ms=", self.scoring),
            (" relaying_ms=", self.relaying),
        ] {
            put(line, key, &u64::try_from(time.as_millis()).unwrap_or(u64::MAX))?;
        }
        Ok(())
    }
}

/// Writes the number of recipients that are not listed, unless it is 0.
fn put_rest(line: &mut String, key: &str, recipients: usize) -> fmt::Result {
    match recipients.saturating_sub(LISTED) {
        0 => Ok(()),
        rest => put(line, key, &(rest as u64)),
    }
}

/// Writes the known facts about a client.
pub(super) fn put_client(line: &mut String, peer: &Peer) -> fmt::Result {
    put(line, " client=", peer)?;
    if peer.vouched != Vouched::default() {
        write!(line, " via={}", peer.vouched)?;
    }
    if let Some(helo) = &peer.helo {
        put(line, " helo=", &Quoted(&*helo.name))?;
    }
    if let Some(tls) = &peer.tls {
        put(line, " tls=", &Printable(&*tls.version))?;
    }
    Ok(())
}

/// Writes one key and value of a record.
pub(super) fn put(line: &mut String, key: &str, value: &(impl Written + ?Sized)) -> fmt::Result {
    line.push_str(key);
    value.write_to(line)
}
