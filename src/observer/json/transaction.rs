//! Transactions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text::seconds;
use super::{Client, Judged, LISTED, Outcome, Word};
use crate::record::TransactionRecord;
use crate::session::TransactionEnd;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::Reply;

/// A transaction that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Transaction {
    /// The ID, which is the reference in a refusal by the panel.
    pub id: String,
    /// The outcome of the message, or of its recipients if all were refused.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The reason for the end: the word of [`EndCause`](crate::session::EndCause).
    pub end: String,
    /// The client.
    pub client: Client,
    /// The reverse-path, in angle brackets.
    pub sender: String,
    /// The parameters of MAIL.
    pub sender_parameters: String,
    /// Up to 50 recipients that were accepted at RCPT, and then up to 50 that were refused.
    pub recipients: Vec<Recipient>,
    /// The number of further recipients.
    pub recipients_omitted: usize,
    /// Octets of content received.
    pub size: u64,
    /// The header fields that are recorded, by name.
    pub fields: BTreeMap<String, String>,
    /// The answers of the scorers and the decisions of the panel.
    #[serde(flatten)]
    pub judged: Judged,
    /// The last 50 replies of the onward server: to recipients, then to the content.
    pub onward: Vec<String>,
    /// The reasons why the onward server could not be asked, at most 50.
    pub onward_failures: Vec<OnwardFailure>,
    /// The queue ID of the onward server.
    pub queue_id: Option<String>,
    /// Whether the onward server accepted the message and reported that it discards it.
    pub discarded: bool,
    /// The times of the transaction.
    pub seconds: Seconds,
}

/// A recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Recipient {
    /// The forward-path, in angle brackets.
    pub path: String,
    /// The parameters of RCPT.
    pub parameters: String,
    /// The outcome of the message for this recipient.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The reason why the onward server could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OnwardFailure {
    /// The reason.
    pub cause: String,
    /// The onward server, if [`Line::onward`](super::Line::onward) has set its name.
    pub server: Option<String>,
}

/// The times of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Seconds {
    /// The time since MAIL.
    pub all: f64,
    /// The time spent waiting for scorers.
    pub scoring: f64,
    /// The time spent waiting for the onward server.
    pub relaying: f64,
}

impl From<&TransactionRecord> for Transaction {
    fn from(record: &TransactionRecord) -> Self {
        let end = &*record.end;
        let envelope = &end.envelope;
        let (accepted, refused) = (&envelope.forward_paths, &end.refused);
        let omitted = |count: usize| count.saturating_sub(LISTED);
        let lossy = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let recipients = accepted
            .iter()
            .take(LISTED)
            .map(|path| Recipient::of(path, Outcome::of(end.cause, end.reply.as_ref())));
        let refused_recipients = refused.iter().take(LISTED).map(|refused| {
            Recipient::of(&refused.recipient, Outcome::of(refused.cause, Some(&refused.reply)))
        });
        let failures = record.failures.iter().take(LISTED);
        Self {
            id: envelope.id.to_string(),
            outcome: outcome(end),
            end: end.cause.to_string(),
            client: Client::from(&*envelope.peer),
            sender: envelope.reverse_path.path.to_string(),
            sender_parameters: lossy(envelope.reverse_path.parameters.raw()),
            recipients: recipients.chain(refused_recipients).collect(),
            recipients_omitted: omitted(accepted.len()) + omitted(refused.len()),
            size: end.size,
            fields: record
                .fields()
                .iter()
                .map(|field| (field.name.to_string(), field.text.to_string()))
                .collect(),
            judged: Judged::of(&record.tally, record.timings()),
            onward: record.onward[omitted(record.onward.len())..]
                .iter()
                .map(Reply::to_string)
                .collect(),
            onward_failures: failures
                .map(|error| OnwardFailure { cause: error.to_string(), server: None })
                .collect(),
            queue_id: record.queue_id.as_deref().map(str::to_owned),
            discarded: record.is_discarded(),
            seconds: Seconds {
                all: seconds(end.duration),
                scoring: seconds(record.scoring),
                relaying: seconds(record.relaying),
            },
        }
    }
}

impl Recipient {
    fn of(path: &ForwardPath, outcome: Outcome) -> Self {
        Self {
            path: path.path.to_string(),
            parameters: String::from_utf8_lossy(path.parameters.raw()).into_owned(),
            outcome,
        }
    }
}

/// Returns the outcome of a transaction. If all recipients were refused, returns the outcome of the
/// first deferred recipient, since the client retries. If none was deferred, returns the outcome of
/// the first recipient.
fn outcome(end: &TransactionEnd) -> Outcome {
    let mut refused = end.refused.iter().map(|it| Outcome::of(it.cause, Some(&it.reply)));
    let whole = Outcome::of(end.cause, end.reply.as_ref());
    match refused.clone().next() {
        Some(first) if end.envelope.forward_paths.is_empty() && end.reply.is_none() => {
            refused.find(|it| it.result == Word::Deferred).unwrap_or(first)
        }
        _ => whole,
    }
}
