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
//! It has no clock: time is an argument. [`store::Redis`](crate::store::Redis) has one built in, and
//! [`store::Guarded`](crate::store::Guarded) puts one around any other store. Scanners (spamd, rspamd,
//! clamd) have none: a stranger's message decides how long they take, so a few slow messages could
//! switch them off for everybody else's mail.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::runtime::Runtime;

#[cfg(test)]
mod tests;

/// Failures in a row that open a breaker.
const FAILURES: u32 = 5;
/// How long a breaker stays open at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Stops asking what does not answer.
///
/// After 5 failures in a row it is open: operations fail at once. When the pause of 1 second is over,
/// exactly one operation is let through as a probe. If the probe succeeds, the breaker is closed; if it
/// fails, the pause doubles, to 30 seconds at most.
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
/// assert_eq!(suspended.to_string(), "not asked for 1s after repeated failures: no answer");
///
/// let later = now + Duration::from_secs(1);
/// let probe = breaker.admit(later)?;
/// assert!(breaker.admit(later).is_err(), "one operation probes, the others still fail at once");
/// probe.succeed(later);
/// assert_eq!(breaker.state(), State::Closed);
/// # Ok::<(), nobounce::breaker::Suspended>(())
/// ```
pub struct Breaker {
    failures: u32,
    first_pause: Duration,
    longest_pause: Duration,
    circuit: Mutex<Circuit>,
    on_change: Option<Box<Told>>,
}

type Told = dyn Fn(&Change) + Send + Sync;

/// Whether operations are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// All are.
    Closed,
    /// None is, until this moment; then one is, as a probe.
    Open {
        /// When the pause is over.
        until: Instant,
    },
    /// One was, and its end is awaited; all others fail at once.
    Probing,
}

/// A change that an operator wants to hear of: once when something fails, once when it is back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The breaker has opened. Probes that fail later are not told.
    Failed {
        /// What the last of the failures in a row said.
        error: Arc<str>,
    },
    /// The breaker is closed again.
    Recovered {
        /// How long it was open.
        after: Duration,
    },
}

/// Why an operation was not let through: earlier ones have failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not asked for {pause:?} after repeated failures: {error}")]
#[non_exhaustive]
pub struct Suspended {
    /// The pause that runs, or that has run out while a probe is under way.
    pub pause: Duration,
    /// What the failure said that opened the breaker, or the last probe.
    pub error: Arc<str>,
}

/// An operation that was let through. How it ends is said with [`succeed`](Self::succeed) or
/// [`fail`](Self::fail); if it is dropped, it has failed.
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
    /// Opens after 5 failures in a row, for 1 second at first and 30 seconds at most.
    pub fn new() -> Self {
        Self {
            failures: FAILURES,
            first_pause: FIRST_PAUSE,
            longest_pause: LONGEST_PAUSE,
            circuit: Mutex::new(Circuit::Closed { failed: 0 }),
            on_change: None,
        }
    }

    /// Sets how many failures in a row open it, at least one.
    #[must_use]
    pub fn failures(mut self, failures: u32) -> Self {
        self.failures = failures.max(1);
        self
    }

    /// Sets how long it stays open at first, and how long at most after probes that failed.
    #[must_use]
    pub fn pause(mut self, first: Duration, longest: Duration) -> Self {
        (self.first_pause, self.longest_pause) = (first.min(longest), longest);
        self
    }

    /// Sets who is told when it opens and when it is closed again. The closure is called by the
    /// operation that made the change, so it must not block.
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

    /// Returns whether operations are let through.
    pub fn state(&self) -> State {
        match &*self.lock() {
            Circuit::Closed { .. } => State::Closed,
            Circuit::Open(opening) => State::Open { until: opening.until },
            Circuit::Probing(_) => State::Probing,
        }
    }

    /// Lets an operation through, or says why it fails at once.
    ///
    /// # Errors
    ///
    /// [`Suspended`] while the breaker is open, and while another operation probes.
    pub fn admit(&self, now: Instant) -> Result<Pass<'_>, Suspended> {
        let mut circuit = self.lock();
        let probes = match &*circuit {
            Circuit::Closed { .. } => false,
            Circuit::Open(opening) if opening.until <= now => {
                *circuit = Circuit::Probing(opening.clone());
                true
            }
            Circuit::Open(Opening { pause, error, .. })
            | Circuit::Probing(Opening { pause, error, .. }) => {
                return Err(Suspended { pause: *pause, error: error.clone() });
            }
        };
        Ok(Pass { breaker: self, began: now, probes, ended: false })
    }

    /// Runs `work` if it is let through. If its future is dropped before it is ready, it has failed.
    pub(crate) async fn run<R: Runtime, T, E: fmt::Display>(
        &self,
        runtime: &R,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<Result<T, E>, Suspended> {
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

    /// An answer is proof that it is back, whichever operation has it.
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
            // It began before the breaker opened, and says nothing new.
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

/// What is said of an operation that was dropped.
const GIVEN_UP: &str = "given up before there was an answer";

impl Pass<'_> {
    /// The operation was answered.
    pub fn succeed(mut self, now: Instant) {
        self.ended = true;
        self.breaker.succeeded(now);
    }

    /// The operation failed, for this reason.
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

/// An operation that runs; dropped with its pass, it was given up.
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
