//! Wraps the relay target so that its panics do not reach the session.

use std::mem;

use super::Gate;
use crate::observer::Event;
use crate::relay::{Panicked, Relay};
use crate::runtime::Runtime;
use crate::session::Session;
use crate::unwind::{Panic, caught};

/// The relay of one session.
///
/// After a panic, the state of the relay is unknown. The relay is dropped, and every later request
/// of the session gets 451.
pub(super) struct Held {
    pub(super) relay: Box<dyn Relay>,
    /// Whether it panicked instead of answering. It is then dropped before the next request.
    pub(super) panicked: bool,
}

impl Default for Held {
    /// Creates a relay that answers nothing, until the target is opened.
    fn default() -> Self {
        Self { relay: Box::new(Panicked), panicked: false }
    }
}

impl Held {
    /// Returns whether the relay has released its resources for the current transaction.
    pub(super) fn has_given_up(&self) -> bool {
        caught(|| self.relay.has_given_up()).unwrap_or(false)
    }

    /// Drops a relay that has panicked.
    #[inline]
    pub(super) fn check(&mut self) {
        if self.panicked {
            self.discard();
        }
    }

    /// Reports a panic in a call that has no outcome.
    pub(super) fn report<T, R: Runtime>(
        &mut self,
        gate: &Gate<R>,
        session: &Session,
        done: Result<T, Panic>,
    ) -> Option<T> {
        if let Err(panic) = &done {
            gate.observe(&Event::RelayPanicked { session: session.id(), panic });
            self.discard();
        }
        done.ok()
    }

    /// Drops the relay, and reports a panic of its `Drop`.
    pub(super) fn release<R: Runtime>(&mut self, gate: &Gate<R>, session: &Session) {
        let relay = mem::replace(&mut self.relay, Box::new(Panicked));
        let dropped = caught(move || drop(relay));
        self.report(gate, session, dropped);
    }

    fn discard(&mut self) {
        self.panicked = false;
        let relay = mem::replace(&mut self.relay, Box::new(Panicked));
        let _ = caught(move || drop(relay));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.discard();
    }
}
