//! Readiness: whether a load balancer should send clients to this process.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::health::{Effect, Health};
use crate::time::now;

/// Time after which a failure is no longer an obstacle. A process that gets no clients cannot
/// notice that a daemon works again.
const MEMORY: Duration = Duration::from_secs(60);

/// The phase of the process.
#[derive(Default)]
pub(crate) struct Readiness(AtomicU8);

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const GOING_DOWN: u8 = 2;

impl Readiness {
    /// Records that clients are served.
    pub(crate) fn serving(&self) {
        self.0.store(SERVING, Ordering::Relaxed);
    }

    /// Records that this process should get no more clients.
    pub(crate) fn going_down(&self) {
        self.0.store(GOING_DOWN, Ordering::Relaxed);
    }

    /// Returns the reasons why this process should get no clients.
    pub(super) fn obstacles(&self, health: &Health) -> Vec<String> {
        let phase = match self.0.load(Ordering::Relaxed) {
            STARTING => Some("front_door is starting".to_owned()),
            GOING_DOWN => Some("front_door is shutting down".to_owned()),
            _ => None,
        };
        let failures = health
            .failures()
            .into_iter()
            .filter(|failing| failing.effect == Effect::Deferred && now() - failing.last < MEMORY);
        phase.into_iter().chain(failures.map(|failing| failing.to_string())).collect()
    }
}
