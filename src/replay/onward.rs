//! The answers of the relay target in a replay.

use std::time::Instant;

use crate::deadline::Awaiting;
use crate::outcome::{Granted, Outcome, Receipt, RelayError, Request, RequestKind, TlsError};
use crate::recording::Relayed;
use crate::verdict::Refusal;
use crate::wire::reply::{Reply, ReplyClass};

/// Returns the recorded answer to a request.
pub(super) fn outcome(relayed: &Relayed, request: Request<'_>, _now: Instant) -> Outcome {
    if let Some(text) = &relayed.failure {
        return Outcome::Failed(failure(&relayed.reply, text));
    }
    let reply = relayed.reply.clone();
    let granted = match request.kind() {
        RequestKind::Recipient | RequestKind::Renewal => Granted::Recipient,
        RequestKind::Content | RequestKind::Answer => Granted::Content,
    };
    match reply.class() {
        ReplyClass::Completion => Outcome::Accepted(Receipt::stated(granted, reply)),
        _ => match Refusal::try_from(reply) {
            Ok(refusal) => Outcome::Refused(refusal),
            Err(reply) => Outcome::Failed(RelayError::Unexpected(reply)),
        },
    }
}

/// Returns a failure for which the client gets this reply.
fn failure(reply: &Reply, text: &str) -> RelayError {
    let failures = [
        RelayError::Late(Awaiting::ContentOutcome),
        RelayError::Unreachable(std::sync::Arc::from(Box::from(text))),
        RelayError::Lost,
        RelayError::Partial(reply.clone()),
        RelayError::Unexpected(reply.clone()),
        RelayError::NoAddress,
        RelayError::NoTls(TlsError::Late),
        RelayError::Busy,
        RelayError::Loop,
    ];
    let is_same = |failure: &RelayError| failure.reply().to_string() == reply.to_string();
    let own = || RelayError::Own(std::sync::Arc::from(Box::from(text)));
    failures.into_iter().find(is_same).unwrap_or_else(own)
}
