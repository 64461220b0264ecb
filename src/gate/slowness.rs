//! Delays replies to a client in the tarpit.

use std::time::Duration;

use super::{Gate, Terms};
use crate::observer::Event;
use crate::runtime::Runtime;
use crate::session::Question;
use crate::tally::Tally;
use crate::tarpit::Stuck;
use crate::verdict::Subject;

/// Whether a session is in the tarpit.
#[derive(Debug, Default)]
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
    pub(super) fn judge<'t, R: Runtime>(
        &mut self,
        gate: &Gate<R>,
        terms: &Terms<R>,
        question: &Question<'_>,
        tally: impl FnOnce(&Subject<'_>) -> &'t mut Tally,
    ) {
        let (Some(tarpit), Self::None) = (&terms.tarpit, &*self) else { return };
        let subject = question.subject();
        let (session, peer) = (subject.session(), subject.peer());
        if tarpit.is_for(tally(&subject).total())
            && !terms.settings.own_networks.include(peer)
            && let Some(stuck) = tarpit.take_in()
        {
            gate.observe(&Event::Tarpitted { session, peer });
            *self = Self::Stuck(Box::new(stuck));
        }
    }

    pub(super) fn is_stuck(&self) -> bool {
        matches!(self, Self::Stuck(_))
    }

    /// Returns the delay of the next reply; `None` if it is not delayed.
    pub(super) fn delay(&mut self) -> Option<Duration> {
        let Self::Stuck(stuck) = self else { return None };
        let delay = stuck.next();
        if delay.is_none() {
            *self = Self::Over;
        }
        delay
    }

    /// Ends the delay of a reply.
    pub(super) fn pass(&mut self) {
        if matches!(self, Self::Stuck(stuck) if stuck.is_spent()) {
            *self = Self::Over;
        }
    }
}
