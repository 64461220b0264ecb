//! Connections to the onward server that are idle between two clients.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Line;
use crate::runtime::Runtime;

/// Idle connections, the one used last on top.
pub(super) struct Pool<R: Runtime> {
    most: usize,
    idle_time: Duration,
    idle: Mutex<Vec<Idle<R>>>,
}

/// A connection that holds nothing of the client it served.
struct Idle<R: Runtime> {
    line: Box<Line<R>>,
    until: Instant,
}

impl<R: Runtime> Pool<R> {
    pub(super) fn new(most: usize, idle_time: Duration) -> Self {
        Self { most, idle_time, idle: Mutex::new(Vec::new()) }
    }

    /// The connection that was used last, if its time is not over; those whose time is are closed.
    pub(super) fn take(&self, now: Instant) -> Option<Box<Line<R>>> {
        let mut idle = self.lock();
        idle.retain(|it| now < it.until);
        idle.pop().map(|it| it.line)
    }

    /// Whether one more may be kept.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        let mut idle = self.lock();
        idle.retain(|it| now < it.until);
        idle.len() < self.most
    }

    /// Keeps this connection; closes the one that waited longest if there are too many.
    pub(super) fn keep(&self, line: Box<Line<R>>, now: Instant) {
        let mut idle = self.lock();
        idle.push(Idle { line, until: now + self.idle_time });
        let surplus = idle.len().saturating_sub(self.most);
        idle.drain(..surplus);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle<R>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Runtime> fmt::Debug for Pool<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.lock().len()).finish_non_exhaustive()
    }
}
