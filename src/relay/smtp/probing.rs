//! The recipient of a self-test, recognised when it comes back to the own gate: a mail loop.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memchr::memmem;

use crate::wire::mailbox::ForwardPath;

/// The probe of the self-test that runs, if one does.
#[derive(Debug, Default)]
pub(super) struct Probing(Mutex<Option<Probe>>);

/// A local part that only a self-test which runs knows.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    local_part: Arc<str>,
    came_back: Arc<AtomicBool>,
}

impl Probing {
    /// Recognises the probe for as long as the guard lives.
    pub(super) fn expect(&self, probe: Probe) -> Expected<'_> {
        *self.lock() = Some(probe);
        Expected(self)
    }

    /// Returns whether a client asks for the recipient of the self-test that runs.
    pub(super) fn recognises(&self, recipient: &ForwardPath) -> bool {
        self.lock().as_ref().is_some_and(|probe| probe.is_in(recipient))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Probe>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A self-test runs.
pub(super) struct Expected<'p>(&'p Probing);

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl Probe {
    pub(super) fn new() -> Self {
        // Keyed at random by the standard library, and as hard to guess as its keys.
        let random = RandomState::new().hash_one(());
        Self { local_part: format!("self-test-{random:016x}").into(), came_back: Arc::default() }
    }

    pub(super) fn local_part(&self) -> &str {
        &self.local_part
    }

    pub(super) fn has_come_back(&self) -> bool {
        self.came_back.load(Ordering::Acquire)
    }

    fn is_in(&self, recipient: &ForwardPath) -> bool {
        let is_here = memmem::find(recipient.path.written(), self.local_part.as_bytes()).is_some();
        self.came_back.fetch_or(is_here, Ordering::AcqRel);
        is_here
    }
}
