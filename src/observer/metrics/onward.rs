//! Metrics of the onward server, or of another relay target.

use prometheus_client::registry::Registry;

use super::series::Counters;
use crate::outcome::{Outcome, RelayError};
use crate::wire::reply::ReplyClass;

/// All words of [`failure_word`].
const FAILURES: [&str; 17] = [
    "unreachable",
    "lost",
    "late",
    "garbled",
    "unexpected",
    "partial",
    "transaction_lost",
    "no_tls",
    "not_offered",
    "not_believed",
    "busy",
    "untested",
    "open_relay",
    "loop",
    "no_address",
    "mismatch",
    "own",
];

const CLASSES: [ReplyClass; 3] =
    [ReplyClass::Completion, ReplyClass::Transient, ReplyClass::Permanent];

#[derive(Debug)]
pub(super) struct OnwardServer {
    /// Whether the request is a recipient, and the class of the reply.
    replies: Counters<(bool, ReplyClass)>,
    failures: Counters<&'static str>,
}

impl OnwardServer {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let replies = Counters::new(
            registry,
            "onward_replies",
            "Replies of the relay target, by request and first digit",
            [true, false].into_iter().flat_map(|recipient| CLASSES.map(|class| (recipient, class))),
            |(recipient, class)| {
                let request = if *recipient { "rcpt" } else { "content" };
                [("request", request), ("class", class_word(*class))]
            },
        );
        let failures = Counters::new(
            registry,
            "onward_failures",
            "Requests that the relay target did not answer",
            FAILURES,
            |kind| [("kind", kind)],
        );
        Self { replies, failures }
    }

    /// Counts an answer to a recipient or to the content.
    pub(super) fn answered(&self, recipient: bool, outcome: &Outcome) {
        match outcome {
            Outcome::Accepted(_) | Outcome::Refused(_) => {
                self.replies.count((recipient, outcome.reply().class()));
            }
            Outcome::Failed(error) => self.failures.count(failure_word(error)),
        }
    }
}

fn class_word(class: ReplyClass) -> &'static str {
    match class {
        ReplyClass::Completion => "2",
        ReplyClass::Intermediate => "3",
        ReplyClass::Transient => "4",
        ReplyClass::Permanent => "5",
    }
}

fn failure_word(error: &RelayError) -> &'static str {
    match error {
        RelayError::Unreachable(_) => "unreachable",
        RelayError::Lost => "lost",
        RelayError::Late(_) => "late",
        RelayError::Garbled(_) => "garbled",
        RelayError::Unexpected(_) => "unexpected",
        RelayError::Partial(_) => "partial",
        RelayError::TransactionLost => "transaction_lost",
        RelayError::NoTls(_) => "no_tls",
        RelayError::NotOffered(_) => "not_offered",
        RelayError::NotBelieved(_) => "not_believed",
        RelayError::Busy => "busy",
        RelayError::Untested => "untested",
        RelayError::OpenRelay => "open_relay",
        RelayError::Loop => "loop",
        RelayError::NoAddress => "no_address",
        RelayError::Mismatch => "mismatch",
        RelayError::Own(_) => "own",
    }
}
