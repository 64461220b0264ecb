//! Requests to servers: the onward server, the store and DNS, for the status page.

use std::time::Duration;

use nobounce::breaker::State;
use nobounce::dns::Lookup;
use nobounce::relay::ConnectAttempt;
use nobounce::store::{Call, StoreError};

use super::times::Times;

/// The servers that were asked.
#[derive(Default)]
pub(super) struct Servers {
    connects: Times,
    recipients: Times,
    contents: Times,
    store: Times,
    lookups: Times,
    /// The number of DNS lookups with an answer from the cache.
    pub(super) cached: u64,
    /// Whether the circuit breaker of the store is open.
    pub(super) is_store_suspended: bool,
}

impl Servers {
    pub(super) fn relayed(&mut self, is_recipient: bool, took: Duration, has_failed: bool) {
        let times = if is_recipient { &mut self.recipients } else { &mut self.contents };
        times.record(took, has_failed);
    }

    pub(super) fn connected(&mut self, attempt: &ConnectAttempt<'_>) {
        self.connects.record(attempt.took, !attempt.is_open);
    }

    pub(super) fn stored(&mut self, call: &Call<'_>) {
        self.is_store_suspended = !matches!(call.breaker, None | Some(State::Closed));
        if !matches!(call.error, Some(StoreError::Suspended(_))) {
            self.store.record(call.took, call.error.is_some());
        }
    }

    pub(super) fn looked_up(&mut self, lookup: &Lookup<'_>) {
        if lookup.is_cached {
            self.cached += 1;
        } else {
            self.lookups.record(lookup.took, lookup.error.is_some());
        }
    }

    /// Returns the kinds of requests that were made, each with its name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &Times)> {
        let all = [
            ("onward server: connect", &self.connects),
            ("onward server: recipient", &self.recipients),
            ("onward server: content", &self.contents),
            ("store", &self.store),
            ("DNS", &self.lookups),
        ];
        all.into_iter().filter(|(_, times)| times.requests > 0)
    }
}
