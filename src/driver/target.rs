//! Wraps the relay target so that its panics do not reach the session.

use std::mem;

use crate::gate::Gate;
use crate::observer::Event;
use crate::outcome::{Outcome, Request};
use crate::relay::{Panicked, Relay};
use crate::runtime::Runtime;
use crate::session::Session;
use crate::unwind::{Guarded, Panic, caught};

/// The relay of one session.
///
/// After a panic, the state of the relay is unknown. The relay is dropped, and every later request
/// of the session gets 451.
pub(super) struct Held(Box<dyn Relay>);

impl Held {
    pub(super) fn new(relay: Box<dyn Relay>) -> Self {
        Self(relay)
    }

    pub(super) fn relay(&mut self) -> &mut dyn Relay {
        &mut *self.0
    }

    /// Sends a request of the session to the relay. The output must be passed to
    /// [`settle`](Self::settle).
    pub(super) fn ask<'a>(&'a mut self, request: Request<'a>) -> Guarded<'a, Outcome> {
        let relay = &mut self.0;
        Guarded::begin(move || relay.ask(request))
    }

    /// Returns whether the relay has released its resources for the current transaction.
    pub(super) fn has_given_up(&self) -> bool {
        caught(|| self.0.has_given_up()).unwrap_or(false)
    }

    /// Returns the answer. A panic becomes a failure without an answer.
    pub(super) fn settle(&mut self, asked: Result<Outcome, Panic>) -> Outcome {
        asked.unwrap_or_else(|panic| {
            let outcome = Outcome::failed(format!("the relay target panicked: {panic}"));
            self.discard();
            outcome
        })
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
    pub(super) fn release<R: Runtime>(mut self, gate: &Gate<R>, session: &Session) {
        let relay = mem::replace(&mut self.0, Box::new(Panicked));
        let dropped = caught(move || drop(relay));
        self.report(gate, session, dropped);
    }

    fn discard(&mut self) {
        let relay = mem::replace(&mut self.0, Box::new(Panicked));
        let _ = caught(move || drop(relay));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.discard();
    }
}
