//! The observers of a gate, each isolated from the sessions and from the others.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Event, Observer};
use crate::unwind::{Panic, caught};

/// All observers of a gate, in the order in which they were added.
#[derive(Default)]
pub(crate) struct Observers {
    all: Vec<Watched>,
    /// Whether one of them uses the octets of sessions.
    use_octets: bool,
    panics: AtomicU64,
}

struct Watched {
    observer: Box<dyn Observer>,
    /// Whether its first panic was reported to the others.
    reported: AtomicBool,
}

impl Observers {
    pub(crate) fn add(&mut self, observer: Box<dyn Observer>) {
        // A panic must not reach the program that builds the gate.
        self.use_octets |= caught(|| observer.uses_octets()).unwrap_or(true);
        self.all.push(Watched { observer, reported: AtomicBool::new(false) });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns whether an observer uses [`Event::Received`] and [`Event::Transmitted`].
    pub(crate) fn use_octets(&self) -> bool {
        self.use_octets
    }

    /// Delivers the event to every observer. If an observer panics, the panic is counted and the
    /// others still get the event.
    #[inline]
    pub(crate) fn observe(&self, event: &Event<'_>) {
        if !self.all.is_empty() {
            self.deliver(event);
        }
    }

    fn deliver(&self, event: &Event<'_>) {
        for (number, watched) in self.all.iter().enumerate() {
            if let Err(panic) = caught(|| watched.observer.observe(event)) {
                self.count(number, &panic);
            }
        }
    }

    /// Delivers the events to every observer, as [`observe`](Self::observe) does. Each observer gets
    /// all of them before the next observer gets the first.
    pub(crate) fn observe_each<'e>(&self, events: impl Iterator<Item = Event<'e>> + Clone) {
        for (number, watched) in self.all.iter().enumerate() {
            let mut rest = events.clone();
            // One guard for all events, until the observer panics at one.
            while let Err(panic) =
                caught(|| rest.by_ref().for_each(|it| watched.observer.observe(&it)))
            {
                self.count(number, &panic);
            }
        }
    }

    /// Returns the number of panics that were caught.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Counts a panic, and reports the first one of each observer to the others. The recursion ends
    /// because every observer is reported only once.
    #[cold]
    fn count(&self, number: usize, panic: &Panic) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        if self.all[number].reported.swap(true, Ordering::Relaxed) {
            return;
        }
        let event = Event::ObserverFailed { observer: number, panic };
        for (other, watched) in self.all.iter().enumerate().filter(|(other, _)| *other != number) {
            if let Err(panic) = caught(|| watched.observer.observe(&event)) {
                self.count(other, &panic);
            }
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (observers, panics) = (self.all.len(), self.panics());
        f.debug_struct("Observers").field("observers", &observers).field("panics", &panics).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::deadline::Awaiting;
    use crate::envelope::SessionId;

    #[test]
    fn observer_that_panics_at_one_of_several_events_gets_the_others() {
        let waits = [Awaiting::Command, Awaiting::MailData, Awaiting::Verdict];
        let seen = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));
        let mut observers = Observers::default();
        for (number, seen) in seen.iter().enumerate() {
            let seen = seen.clone();
            observers.add(Box::new(move |event: &Event<'_>| match event {
                Event::Late { awaiting, .. } => {
                    assert!(number > 0 || *awaiting != waits[1], "a bug");
                    seen.lock().unwrap().push(*awaiting);
                }
                Event::ObserverFailed { observer, panic } => {
                    assert_eq!((*observer, *panic), (0, "a bug"))
                }
                other => panic!("{other:?}"),
            }));
        }
        let session = SessionId::new("s");
        let events =
            waits.iter().map(|awaiting| Event::Late { session: &session, awaiting: *awaiting });
        observers.observe_each(events);
        assert_eq!(*seen[0].lock().unwrap(), [waits[0], waits[2]]);
        assert_eq!(*seen[1].lock().unwrap(), waits);
        assert_eq!(observers.panics(), 1);
    }

    #[test]
    fn octets_are_shown_only_if_an_observer_uses_them() {
        let mut observers = Observers::default();
        assert!(!observers.use_octets());
        observers.add(Box::new(crate::scorers::Lessons::for_learners(Vec::new()).0));
        assert!(!observers.use_octets());
        observers.add(Box::new(|_: &Event<'_>| {}));
        assert!(observers.use_octets());
    }
}
