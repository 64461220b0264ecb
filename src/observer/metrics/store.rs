//! Metrics of the store.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::series::{Counters, Times, gauge};
use crate::breaker::State;
use crate::store::{Call, Operation, StoreError};

const OPERATIONS: [Operation; 9] = [
    Operation::See,
    Operation::Recall,
    Operation::Take,
    Operation::Weigh,
    Operation::Put,
    Operation::Get,
    Operation::Remove,
    Operation::Append,
    Operation::Read,
];

/// All words of [`cause_word`].
const CAUSES: [&str; 8] =
    ["unreachable", "late", "garbled", "declined", "disk", "suspended", "oversized", "behind"];

#[derive(Debug)]
pub(super) struct StoreMetrics {
    times: Times<Operation>,
    failures: Counters<&'static str>,
    breaker: Gauge,
}

impl StoreMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            times: Times::new(
                registry,
                "store",
                "Time of the operations of the store",
                OPERATIONS,
                |operation| [("op", operation_word(*operation))],
            ),
            failures: Counters::new(
                registry,
                "store_failures",
                "Operations of the store that failed",
                CAUSES,
                |cause| [("cause", cause)],
            ),
            breaker: gauge(
                registry,
                "store_breaker",
                "1 while the store is not asked because it failed repeatedly",
            ),
        }
    }

    pub(super) fn called(&self, call: &Call<'_>) {
        if let Some(error) = call.error {
            self.failures.count(cause_word(error));
        }
        // An operation that was not admitted took no time.
        if !matches!(call.error, Some(StoreError::Suspended(_))) {
            self.times.observe(call.operation, call.took);
        }
        let is_open = !matches!(call.breaker, None | Some(State::Closed));
        self.breaker.set(i64::from(is_open));
    }
}

fn operation_word(operation: Operation) -> &'static str {
    match operation {
        Operation::See => "see",
        Operation::Recall => "recall",
        Operation::Take => "take",
        Operation::Weigh => "weigh",
        Operation::Put => "put",
        Operation::Get => "get",
        Operation::Remove => "remove",
        Operation::Append => "append",
        Operation::Read => "read",
    }
}

fn cause_word(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unreachable(_) => "unreachable",
        StoreError::Late(_) => "late",
        StoreError::Garbled(_) => "garbled",
        StoreError::Declined(_) => "declined",
        StoreError::Disk(_) => "disk",
        StoreError::Suspended(_) => "suspended",
        StoreError::Oversized(_) => "oversized",
        StoreError::Behind => "behind",
    }
}
