//! The pool of idle connections to the onward server.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Line;
use crate::runtime::Runtime;

/// Idle connections, with the last used one on top.
pub(super) struct Pool<R: Runtime> {
    most: usize,
    idle_time: Duration,
    idle: Mutex<Vec<Idle<R>>>,
}

/// A connection that another client may use, because the server holds no state of the client it
/// served.
struct Idle<R: Runtime> {
    line: Box<Line<R>>,
    until: Instant,
}

impl<R: Runtime> Pool<R> {
    pub(super) fn new(most: usize, idle_time: Duration) -> Self {
        Self { most, idle_time, idle: Mutex::new(Vec::new()) }
    }

    /// Closes expired connections. Returns the one that was used last, if one is left.
    pub(super) fn take(&self, now: Instant) -> Option<Box<Line<R>>> {
        let mut idle = self.lock();
        let expired = take_expired(&mut idle, now);
        let last = idle.pop().map(|it| it.line);
        drop(idle);
        drop(expired);
        last
    }

    /// Returns whether the pool has room for one more connection.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        let mut idle = self.lock();
        let expired = take_expired(&mut idle, now);
        let has_room = idle.len() < self.most;
        drop(idle);
        drop(expired);
        has_room
    }

    /// Adds this connection to the pool. If the pool is full, closes the one that was idle longest.
    pub(super) fn keep(&self, line: Box<Line<R>>, now: Instant) {
        let mut idle = self.lock();
        idle.push(Idle { line, until: now + self.idle_time });
        let surplus = idle.len().saturating_sub(self.most);
        let closed: Vec<_> = idle.drain(..surplus).collect();
        drop(idle);
        drop(closed);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle<R>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the expired connections and returns them. Closing them may take a system call each, so
/// the caller first unlocks the pool.
fn take_expired<R: Runtime>(idle: &mut Vec<Idle<R>>, now: Instant) -> Vec<Idle<R>> {
    // The connection that expires first was added first.
    let expired = idle.partition_point(|it| it.until <= now);
    idle.drain(..expired).collect()
}

impl<R: Runtime> fmt::Debug for Pool<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.lock().len()).finish_non_exhaustive()
    }
}
