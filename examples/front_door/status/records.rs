//! Mail that was refused or deferred, for the status page.

use std::collections::VecDeque;
use std::fmt::Display;
use std::time::SystemTime;

use nobounce::envelope::TransactionId;
use nobounce::observer::TransactionRecord;
use nobounce::observer::json::Line;
use nobounce::session::EndCause;
use nobounce::tally::Tally;
use nobounce::{Event, Peer, Refusal, Score};

use crate::output::escaped;
use crate::time::today;
use crate::why::explain;

/// Maximum number of records. The oldest is dropped.
const RECORDS: usize = 1_000;
/// Maximum length of a text in a record, in octets of HTML.
const TEXT: usize = 200;
/// Maximum length of an explanation, in octets of HTML.
const EXPLANATION: usize = 3_000;
/// Maximum number of recipients, findings and failures of a record.
const LISTED: usize = 10;

/// The records, the newest last.
#[derive(Default)]
pub(super) struct Records(VecDeque<Record>);

/// A message, a recipient or a client that was refused or deferred.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) time: SystemTime,
    pub(super) reference: String,
    pub(super) client: String,
    pub(super) helo: String,
    pub(super) tls: String,
    pub(super) sender: String,
    /// Accepted and refused recipients, and the number of recipients that are not listed.
    pub(super) recipients: (Vec<String>, usize),
    /// The result, such as `refused at connect` or `recipients refused`.
    pub(super) result: &'static str,
    /// Replies that refused recipients or the content.
    pub(super) replies: (Vec<String>, usize),
    pub(super) score: Score,
    pub(super) findings: (Vec<Finding>, usize),
    /// Failures of scorers and of the onward server.
    pub(super) failures: (Vec<String>, usize),
    pub(super) size: u64,
    pub(super) millis: u128,
    /// The explanation of `front_door why`, for transactions.
    pub(super) explanation: String,
}

/// A finding of a scorer.
#[derive(Clone)]
pub(super) struct Finding {
    pub(super) symbol: String,
    pub(super) score: Score,
    pub(super) detail: String,
    /// Whether the score is part of the sum.
    pub(super) counts: bool,
}

impl Records {
    pub(super) fn push(&mut self, record: Record) {
        if self.0.len() == RECORDS {
            self.0.pop_front();
        }
        self.0.push_back(record);
    }

    /// Returns the records that contain this text in the reference, the client, the sender or a
    /// recipient, the newest first. Case is ignored.
    pub(super) fn search(&self, text: &str) -> impl Iterator<Item = &Record> {
        let text = text.trim().to_lowercase();
        self.0.iter().rev().filter(move |record| text.is_empty() || record.contains(&text))
    }

    /// Returns the record with this reference.
    pub(super) fn find(&self, reference: &str) -> Option<&Record> {
        self.0.iter().rev().find(|record| record.reference == reference)
    }
}

impl Record {
    /// Returns the record of a client that was refused when it connected.
    pub(super) fn of_client(
        id: &TransactionId,
        peer: &Peer,
        tally: &Tally,
        refusal: &Refusal,
    ) -> Self {
        Self {
            time: today(),
            reference: short(id),
            client: short(peer),
            helo: String::new(),
            tls: String::new(),
            sender: String::new(),
            recipients: (Vec::new(), 0),
            result: "refused at connect",
            replies: (vec![short(refusal)], 0),
            score: tally.total(),
            findings: findings(tally),
            failures: listed(tally.failures().map(|it| format!("{}: {}", it.scorer, it.cause))),
            size: 0,
            millis: 0,
            explanation: String::new(),
        }
    }

    /// Returns the record of a transaction in which a recipient or the content was refused or
    /// deferred.
    pub(super) fn of_transaction(record: &TransactionRecord) -> Option<Self> {
        let end = &record.end;
        let is_refused = end.reply.is_some() && end.cause != EndCause::Accepted;
        if !is_refused && end.refused.is_empty() {
            return None;
        }
        let (envelope, peer) = (&end.envelope, &*end.envelope.peer);
        let refused = end.refused.iter().map(|refused| &refused.recipient.path);
        let accepted = envelope.forward_paths.iter().map(|recipient| &recipient.path);
        let replies = end.refused.iter().map(|refused| &refused.reply);
        let scorers = record.tally.failures().map(|it| format!("{}: {}", it.scorer, it.cause));
        let onward = record.failures.iter().map(|it| format!("onward server: {it}"));
        let result = if is_refused { refusal(end.cause) } else { "recipients refused" };
        Some(Self {
            time: today(),
            reference: short(&envelope.id),
            client: short(peer),
            helo: peer.helo.as_ref().map(|helo| short(&helo.name)).unwrap_or_default(),
            tls: peer.tls.as_ref().map(|tls| short(&tls.version)).unwrap_or_default(),
            sender: short(&envelope.reverse_path.path),
            recipients: listed(refused.chain(accepted)),
            result,
            replies: listed(end.reply.iter().chain(replies)),
            score: record.tally.total(),
            findings: findings(&record.tally),
            failures: listed(scorers.chain(onward)),
            size: end.size,
            millis: end.duration.as_millis(),
            explanation: explanation(record),
        })
    }

    fn contains(&self, text: &str) -> bool {
        let (recipients, _) = &self.recipients;
        let mut fields =
            [&self.reference, &self.client, &self.sender].into_iter().chain(recipients);
        fields.any(|field| field.to_lowercase().contains(text))
    }
}

/// Returns the party that refused or deferred a content.
fn refusal(cause: EndCause) -> &'static str {
    match cause {
        EndCause::RefusedByPanel => "refused by the panel",
        EndCause::RefusedByRelay => "refused by the onward server",
        EndCause::RelayFailed => "onward server failed",
        EndCause::RefusedBySession => "refused by the session",
        _ => "refused",
    }
}

/// Returns the explanation of `front_door why`, truncated.
fn explanation(record: &TransactionRecord) -> String {
    let Some(line) = Line::of(&Event::Ended(record), today()) else { return String::new() };
    let mut text: String = explain(&line).lines().map(|line| escaped(line) + "\n").collect();
    truncate(&mut text, EXPLANATION);
    text
}

fn findings(tally: &Tally) -> (Vec<Finding>, usize) {
    let counted: Vec<_> = tally.counted().collect();
    let finding = |entry: &nobounce::tally::Entry| Finding {
        symbol: short(format_args!("{}:{}", entry.scorer, entry.finding.symbol())),
        score: entry.finding.score(),
        detail: short(entry.finding.detail()),
        counts: counted.iter().any(|it| std::ptr::eq(*it, entry)),
    };
    let all = tally.entries().count();
    let mut entries: Vec<_> = tally.entries().collect();
    entries.sort_by_key(|entry| -entry.finding.score().as_hundredths().saturating_abs());
    (entries.into_iter().take(LISTED).map(finding).collect(), all.saturating_sub(LISTED))
}

/// Returns the first texts, and the number of the others.
fn listed<T: Display>(mut texts: impl Iterator<Item = T>) -> (Vec<String>, usize) {
    let first = texts.by_ref().take(LISTED).map(short).collect();
    (first, texts.count())
}

/// Returns the text on one line without invisible characters, truncated.
pub(super) fn short(text: impl Display) -> String {
    let mut text = escaped(&text.to_string());
    truncate(&mut text, TEXT);
    text
}

/// Truncates the text so that it takes at most this many octets in HTML, and frees the rest of its
/// memory.
fn truncate(text: &mut String, limit: usize) {
    const MARK: char = '…';
    // The length of a character in HTML, as maud escapes it.
    let length = |c: char| match c {
        '"' => "&quot;".len(),
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        _ => c.len_utf8(),
    };
    let (mut all, mut end) = (0, 0);
    for (at, c) in text.char_indices() {
        if all <= limit - MARK.len_utf8() {
            end = at;
        }
        all += length(c);
        if all > limit {
            text.truncate(end);
            text.push(MARK);
            break;
        }
    }
    text.shrink_to_fit();
}
