//! Metrics of the onward server, or of another relay target.

use std::time::Duration;

use prometheus_client::registry::Registry;

use super::series::{Counters, Times};
use crate::outcome::{Outcome, RelayError};
use crate::relay::ConnectAttempt;
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

/// A request to the relay target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Request {
    Connect,
    Recipient,
    Content,
}

#[derive(Debug)]
pub(super) struct OnwardServer {
    times: Times<Request>,
    /// The request, and the class of the reply.
    replies: Counters<(Request, ReplyClass)>,
    failures: Counters<&'static str>,
}

impl OnwardServer {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let (recipient, content) = (Request::Recipient, Request::Content);
        let times = Times::new(
            registry,
            "onward",
            "Time of the requests to the relay target, by request",
            [recipient, content, Request::Connect],
            |request| [("request", request.word())],
        );
        let replies = Counters::new(
            registry,
            "onward_replies",
            "Replies of the relay target, by request and first digit",
            CLASSES.into_iter().flat_map(|class| [recipient, content].map(|it| (it, class))),
            |(request, class)| [("request", request.word()), ("class", class_word(*class))],
        );
        let failures = Counters::new(
            registry,
            "onward_failures",
            "Requests that the relay target did not answer",
            FAILURES,
            |kind| [("kind", kind)],
        );
        Self { times, replies, failures }
    }

    /// Counts an answer to a recipient or to the content, and its time.
    pub(super) fn answered(&self, request: Request, outcome: &Outcome, took: Duration) {
        self.times.observe(request, took);
        match outcome {
            Outcome::Accepted(_) | Outcome::Refused(_) => {
                self.replies.count((request, outcome.reply().class()));
            }
            Outcome::Failed(error) => self.failures.count(failure_word(error)),
        }
    }

    /// Records the time of an attempt to connect. A request that fails because of it is counted in
    /// [`answered`](Self::answered).
    pub(super) fn connected(&self, attempt: &ConnectAttempt<'_>) {
        self.times.observe(Request::Connect, attempt.took);
    }
}

impl Request {
    fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Recipient => "rcpt",
            Self::Content => "content",
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
