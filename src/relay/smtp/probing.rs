//! Tokens sent to the onward server. One that comes back to this gate proves a mail loop.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memchr::memmem;

use crate::envelope::Envelope;
use crate::wire::mailbox::ForwardPath;

/// The outstanding probes.
#[derive(Debug, Default)]
pub(super) struct Probing(Mutex<Vec<Probe>>);

/// A secret random token: a local part or an ENVID.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    token: Arc<str>,
    came_back: Arc<AtomicBool>,
}

impl Probing {
    /// Registers the probe, so that it is recognised until the guard is dropped.
    pub(super) fn expect(&self, probe: Probe) -> Expected<'_> {
        self.lock().push(probe.clone());
        Expected { probing: self, probe }
    }

    /// Returns whether a client's RCPT, or the MAIL before it, contains an outstanding token.
    pub(super) fn recognises(&self, envelope: &Envelope, recipient: &ForwardPath) -> bool {
        self.lock().iter().any(|probe| probe.is_in(envelope, recipient))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Probe>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard of an outstanding probe.
pub(super) struct Expected<'p> {
    probing: &'p Probing,
    probe: Probe,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        let is_other = |it: &Probe| !Arc::ptr_eq(&it.came_back, &self.probe.came_back);
        self.probing.lock().retain(is_other);
    }
}

impl Probe {
    pub(super) fn new() -> Self {
        // `RandomState` has random keys. The token is as hard to guess as these keys.
        let random = RandomState::new().hash_one(());
        Self { token: format!("self-test-{random:016x}").into(), came_back: Arc::default() }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn has_come_back(&self) -> bool {
        self.came_back.load(Ordering::Acquire)
    }

    fn is_in(&self, envelope: &Envelope, recipient: &ForwardPath) -> bool {
        let sender = &envelope.reverse_path;
        let places = [recipient.path.written(), sender.path.written(), &sender.parameters.raw];
        let token = self.token.as_bytes();
        let is_here = places.iter().any(|place| memmem::find(place, token).is_some());
        self.came_back.fetch_or(is_here, Ordering::AcqRel);
        is_here
    }
}
