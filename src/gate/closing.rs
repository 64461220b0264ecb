//! The end of a session of a gate.

use std::time::Duration;

use super::GateSession;
use crate::deadline::{Awaiting, Deadline};
use crate::observer::Event;
use crate::record::SessionRecord;
use crate::runtime::{Runtime, within};
use crate::session::Next;
use crate::unwind::{Guarded, drop_caught};

/// Timeout of the relay target for closing.
pub(crate) const FAREWELL: Duration = Duration::from_secs(30);

impl<R: Runtime> GateSession<'_, R> {
    /// Ends the session after its connection was closed: frees its place, and closes the relay
    /// target. A transaction that has not ended is recorded as lost by the client.
    pub async fn close(mut self) {
        self.finish().await;
    }

    /// Does the same as [`close`](Self::close).
    pub(crate) async fn finish(&mut self) {
        let gate = self.gate;
        self.abandon();
        self.free_place();
        self.relay.check();
        let limit = Deadline::after(gate.runtime.now(), FAREWELL, Awaiting::Connection);
        let closing = Guarded::begin(|| self.relay.relay.close());
        if let Some(closed) = within(&gate.runtime, Some(limit), closing).await {
            self.relay.report(gate, &self.session, closed);
        }
        self.relay.release(gate, &self.session);
        self.end();
    }

    /// Ends the transaction, if there is one, and delivers the notes that wait.
    fn abandon(&mut self) {
        if !self.session.is_closed() {
            let now = self.gate.runtime.now();
            self.lose_client();
            while let Next::Ended(end) = self.session.next(now) {
                self.end_transaction(end);
            }
        }
        let gate = self.gate;
        self.record.close(self.broken, |note| gate.observe(&note.into()));
    }

    fn free_place(&mut self) {
        if let Some(place) = self.place.take() {
            drop(place);
            self.gate.report_overload();
        }
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            let duration = self.gate.runtime.now().saturating_duration_since(self.began);
            let record = SessionRecord::new(&self.session, duration, &self.record);
            self.gate.observe(&Event::Disconnected(&record));
        }
    }
}

impl<R: Runtime> Drop for GateSession<'_, R> {
    /// Records a session that is dropped before its end.
    fn drop(&mut self) {
        self.abandon();
        self.free_place();
        self.end();
        // After a replacement, the last session drops the scorers, which may panic.
        drop_caught(self.take_terms());
    }
}
