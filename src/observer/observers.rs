//! The observers of a gate, each isolated from the sessions and from the others.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Event, Observer};
use crate::unwind::{Panic, caught};

/// All observers of a gate, in the order in which they were added.
#[derive(Default)]
pub(crate) struct Observers {
    all: Vec<Watched>,
    panics: AtomicU64,
}

struct Watched {
    observer: Box<dyn Observer>,
    /// Whether its first panic was reported to the others.
    reported: AtomicBool,
}

impl Observers {
    pub(crate) fn add(&mut self, observer: Box<dyn Observer>) {
        self.all.push(Watched { observer, reported: AtomicBool::new(false) });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
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
