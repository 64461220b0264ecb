//! Events of resolvers, stores and connections, which are made before or without the gate.

use std::sync::{Arc, OnceLock};

use nobounce::dns::Lookup;
use nobounce::relay::ConnectAttempt;
use nobounce::store::Call;
use nobounce::{Event, Observer};

use super::Status;

/// The status of this process, if it has a status server.
static STATUS: OnceLock<Arc<Status>> = OnceLock::new();

/// Passes further events to this status.
pub(super) fn begin(status: Arc<Status>) {
    let _ = STATUS.set(status);
}

/// Observes an operation of the store.
pub(crate) fn stored(call: &Call<'_>) {
    observe(|| call.into());
}

/// Observes a DNS lookup.
pub(crate) fn looked_up(lookup: &Lookup<'_>) {
    observe(|| lookup.into());
}

/// Observes an attempt to connect to the onward server.
pub(crate) fn connected(attempt: &ConnectAttempt<'_>) {
    observe(|| attempt.into());
}

fn observe<'e>(event: impl FnOnce() -> Event<'e>) {
    if let Some(status) = STATUS.get() {
        let event = event();
        status.metrics.observe(&event);
        status.seen.observe(&event);
    }
}
