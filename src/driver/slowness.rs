//! Delays replies to a client in the tarpit.

use futures::future::select;

use crate::gate::Gate;
use crate::observer::Event;
use crate::runtime::Runtime;
use crate::session::Question;
use crate::tally::Tally;
use crate::tarpit::Stuck;

#[cfg(test)]
mod tests;

/// State of a session with respect to the tarpit.
#[derive(Default)]
pub(super) enum Slowness {
    #[default]
    None,
    /// Boxed, because most sessions are never in this state.
    Stuck(Box<Stuck>),
    /// The total delay of the session is used up.
    Over,
}

impl Slowness {
    /// Adds the session to the tarpit if the score after this answer of the panel is high enough.
    pub(super) fn judge<R: Runtime>(
        &mut self,
        gate: &Gate<R>,
        question: &Question<'_>,
        tally: &Tally,
    ) {
        let (Some(tarpit), Self::None) = (&gate.tarpit, &*self) else { return };
        let subject = question.subject();
        let (session, peer) = (subject.session(), subject.peer());
        if tarpit.is_for(tally.total())
            && !gate.settings.own_networks.include(peer)
            && let Some(stuck) = tarpit.take_in()
        {
            gate.observe(&Event::Tarpitted { session, peer });
            *self = Self::Stuck(Box::new(stuck));
        }
    }

    /// Returns whether the next reply is delayed.
    pub(super) fn is_due(&self) -> bool {
        matches!(self, Self::Stuck(_))
    }

    /// Delays a reply, unless the gate shuts down.
    pub(super) async fn pass<R: Runtime>(&mut self, gate: &Gate<R>) {
        let Self::Stuck(stuck) = self else { return };
        if let Some(delay) = stuck.next() {
            let over = gate.runtime.sleep_until(gate.runtime.now() + delay);
            select(over, gate.going_down()).await;
        }
        if stuck.is_spent() {
            *self = Self::Over;
        }
    }
}
