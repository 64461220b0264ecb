//! A circuit breaker: after some failures in a row, an operation fails at once instead of waiting.
//!
//! ```text
//!              failures in a row              until has passed
//!   Closed ───────────────────────► Open ─────────────────────► Probing
//!     ▲                              ▲                             │ │
//!     │                              └──── the probe fails, ───────┘ │
//!     │                                    twice the pause           │
//!     └───────────────────────── the probe succeeds ─────────────────┘
//! ```
//!
//! The breaker has no clock: the caller passes the time. [`store::Redis`](crate::store::Redis) has
//! a built-in breaker. [`store::Guarded`](crate::store::Guarded) adds one to any other store.
//! Scanners (spamd, rspamd, clamd) have no breaker, because the content of a message affects how
//! long they take. A few slow messages from an attacker could otherwise disable them for all mail.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::runtime::Runtime;

#[cfg(test)]
mod tests;

/// Consecutive failures that open a breaker.
const FAILURES: u32 = 5;
/// First and longest time that a breaker stays open.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A circuit breaker: suspends operations that keep failing.
///
/// After 5 consecutive failures the breaker opens, and operations fail at once. After a pause of 1
/// second, exactly one operation is admitted as a probe. If the probe succeeds, the breaker closes.
/// If it fails, the pause doubles, up to 30 seconds.
///
/// ```
/// use std::time::{Duration, Instant};
/// use nobounce::breaker::{Breaker, State};
///
/// let breaker = Breaker::new();
/// let now = Instant::now();
/// for _ in 0..5 {
///     breaker.admit(now)?.fail(now, &"no answer");
/// }
/// let suspended = breaker.admit(now).unwrap_err();
/// assert_eq!(suspended.to_string(), "suspended for 1s after repeated failures: no answer");
///
/// let later = now + Duration::from_secs(1);
/// let probe = breaker.admit(later)?;
/// assert!(breaker.admit(later).is_err(), "one operation probes, the others still fail at once");
/// probe.succeed(later);
/// assert_eq!(breaker.state(), State::Closed);
/// # Ok::<(), nobounce::breaker::SuspendedError>(())
/// ```
pub struct Breaker {
    failures: u32,
    first_pause: Duration,
    longest_pause: Duration,
    circuit: Mutex<Circuit>,
    on_change: Option<Box<Told>>,
}

type Told = dyn Fn(&Change) + Send + Sync;

/// State of a [`Breaker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// All operations are admitted.
    Closed,
    /// No operation is admitted before `until`. After that, one operation is admitted as a probe.
    Open {
        /// End of the pause.
        until: Instant,
    },
    /// A probe is running. All other operations fail at once.
    Probing,
}

/// A state change of a [`Breaker`], to report to an operator: one for an outage, and one for the
/// recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The breaker opened. Later failed probes are not reported.
    Failed {
        /// Error of the last failure before the breaker opened.
        error: Arc<str>,
    },
    /// The breaker closed again.
    Recovered {
        /// Time for which the breaker was open.
        after: Duration,
    },
}

/// The error for an operation that a [`Breaker`] did not admit, because earlier operations failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("suspended for {pause:?} after repeated failures: {error}")]
#[non_exhaustive]
pub struct SuspendedError {
    /// Length of the current pause, or of the last pause while a probe is running.
    pub pause: Duration,
    /// Error of the last failed operation: the one that opened the breaker, or the last probe.
    pub error: Arc<str>,
}

/// An operation that a [`Breaker`] admitted. Report its result with [`succeed`](Self::succeed) or
/// [`fail`](Self::fail). Dropping it counts as a failure.
#[derive(Debug)]
#[must_use = "dropped, it is a failure"]
pub struct Pass<'b> {
    breaker: &'b Breaker,
    began: Instant,
    probes: bool,
    ended: bool,
}

#[derive(Debug)]
enum Circuit {
    Closed { failed: u32 },
    Open(Opening),
    Probing(Opening),
}

#[derive(Debug, Clone)]
struct Opening {
    since: Instant,
    until: Instant,
    pause: Duration,
    error: Arc<str>,
}

impl Breaker {
    /// Creates a breaker that opens after 5 consecutive failures, first for 1 second, later for up
    /// to 30 seconds.
    pub fn new() -> Self {
        Self {
            failures: FAILURES,
            first_pause: FIRST_PAUSE,
            longest_pause: LONGEST_PAUSE,
            circuit: Mutex::new(Circuit::Closed { failed: 0 }),
            on_change: None,
        }
    }

    /// Sets the number of consecutive failures that open the breaker, at least one.
    #[must_use]
    pub fn failures(mut self, failures: u32) -> Self {
        self.failures = failures.max(1);
        self
    }

    /// Sets the first pause, and the longest pause after failed probes.
    #[must_use]
    pub fn pause(mut self, first: Duration, longest: Duration) -> Self {
        (self.first_pause, self.longest_pause) = (first.min(longest), longest);
        self
    }

    /// Sets a callback for when the breaker opens and closes. The operation that causes the change
    /// runs the callback, so it must not block.
    ///
    /// ```
    /// use nobounce::breaker::{Breaker, Change};
    ///
    /// let breaker = Breaker::new().on_change(|change| match change {
    ///     Change::Failed { error } => eprintln!("store: has failed: {error}"),
    ///     Change::Recovered { after } => eprintln!("store: is back after {} s", after.as_secs()),
    ///     _ => {}
    /// });
    /// ```
    #[must_use]
    pub fn on_change(mut self, told: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        self.on_change = Some(Box::new(told));
        self
    }

    /// Returns the state of the breaker.
    pub fn state(&self) -> State {
        match &*self.lock() {
            Circuit::Closed { .. } => State::Closed,
            Circuit::Open(opening) => State::Open { until: opening.until },
            Circuit::Probing(_) => State::Probing,
        }
    }

    /// Admits an operation, or returns the reason why it fails at once.
    ///
    /// # Errors
    ///
    /// Returns [`SuspendedError`] while the breaker is open, or while another operation is the
    /// probe.
    pub fn admit(&self, now: Instant) -> Result<Pass<'_>, SuspendedError> {
        let mut circuit = self.lock();
        let probes = match &*circuit {
            Circuit::Closed { .. } => false,
            Circuit::Open(opening) if opening.until <= now => {
                *circuit = Circuit::Probing(opening.clone());
                true
            }
            Circuit::Open(Opening { pause, error, .. })
            | Circuit::Probing(Opening { pause, error, .. }) => {
                return Err(SuspendedError { pause: *pause, error: error.clone() });
            }
        };
        Ok(Pass { breaker: self, began: now, probes, ended: false })
    }

    /// Runs `work` if it is admitted. Dropping the future before it is ready counts as a failure.
    pub(crate) async fn run<R: Runtime, T, E: fmt::Display>(
        &self,
        runtime: &R,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<Result<T, E>, SuspendedError> {
        let mut running = Running { runtime, pass: Some(self.admit(runtime.now())?) };
        let result = work.await;
        if let Some(pass) = running.pass.take() {
            match &result {
                Ok(_) => pass.succeed(runtime.now()),
                Err(error) => pass.fail(runtime.now(), error),
            }
        }
        Ok(result)
    }

    /// Closes the breaker. A success of any operation, not only of the probe, proves the recovery.
    fn succeeded(&self, now: Instant) {
        let before = std::mem::replace(&mut *self.lock(), Circuit::Closed { failed: 0 });
        if let Circuit::Open(Opening { since, .. }) | Circuit::Probing(Opening { since, .. }) =
            before
        {
            self.tell(&Change::Recovered { after: now.saturating_duration_since(since) });
        }
    }

    fn failed(&self, now: Instant, error: &dyn fmt::Display, probes: bool) {
        let mut circuit = self.lock();
        let (since, pause, news) = match &mut *circuit {
            Circuit::Closed { failed } => {
                *failed += 1;
                if *failed < self.failures {
                    return;
                }
                (now, self.first_pause, true)
            }
            Circuit::Probing(opening) if probes => {
                let twice = opening.pause.saturating_mul(2);
                (opening.since, twice.min(self.longest_pause), false)
            }
            // The operation began before the breaker opened, so its failure adds nothing.
            Circuit::Open(_) | Circuit::Probing(_) => return,
        };
        let error: Arc<str> = error.to_string().into();
        let until = now.checked_add(pause).unwrap_or(now);
        *circuit = Circuit::Open(Opening { since, until, pause, error: error.clone() });
        drop(circuit);
        if news {
            self.tell(&Change::Failed { error });
        }
    }

    fn tell(&self, change: &Change) {
        if let Some(told) = &self.on_change {
            told(change);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("circuit", &*self.lock()).finish_non_exhaustive()
    }
}

/// Error for an operation that was dropped.
const GIVEN_UP: &str = "given up before there was an answer";

impl Pass<'_> {
    /// Reports that the operation succeeded.
    pub fn succeed(mut self, now: Instant) {
        self.ended = true;
        self.breaker.succeeded(now);
    }

    /// Reports that the operation failed with this error.
    pub fn fail(mut self, now: Instant, error: &dyn fmt::Display) {
        self.ended = true;
        self.breaker.failed(now, error, self.probes);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.breaker.failed(self.began, &GIVEN_UP, self.probes);
        }
    }
}

/// A running operation. If it is dropped with its pass, the operation was cancelled.
struct Running<'b, R: Runtime> {
    runtime: &'b R,
    pass: Option<Pass<'b>>,
}

impl<R: Runtime> Drop for Running<'_, R> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            pass.fail(self.runtime.now(), &GIVEN_UP);
        }
    }
}
