//! Failures of daemons: spamd, rspamd, clamd, stores, DNS servers, the onward server. Each is
//! reported once when it fails and once when it has recovered.

use std::fmt::{self, Display};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nobounce::outcome::RelayError;
use nobounce::panel::FailurePolicy;
use nobounce::verdict::Stage;
use nobounce::{Event, Outcome};

use crate::output::Output;
use crate::time::now;

/// Time without a failure after which a daemon is reported as recovered. A scorer that exempts a
/// client does not ask its daemon, so one answer without a failure proves little. This time also
/// limits how often reports are written.
const CALM: Duration = Duration::from_secs(5);

/// Watcher of the daemons that front_door asks. It reports their failures.
pub(crate) struct Health {
    errors: Output,
    failing: Mutex<Vec<Failing>>,
}

/// A daemon that fails.
#[derive(Clone)]
pub(crate) struct Failing {
    name: String,
    /// The stage at which a scorer asked it; `None` if it is not a scorer's daemon.
    stage: Option<Stage>,
    /// The cause of the first failure.
    cause: String,
    pub(crate) effect: Effect,
    pub(crate) last: Instant,
    pub(crate) times: u64,
}

/// The effect of a failure on mail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Monitored,
    Deferred,
    Ignored,
    Scored,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Monitored => "it is in monitor mode",
            Self::Deferred => "clients get 451",
            Self::Ignored => "mail passes without it",
            Self::Scored => "the failure adds a score",
        })
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.stage.map_or(String::new(), |stage| format!(" ({stage})"));
        let Self { name, cause, effect, .. } = self;
        write!(f, "{name}{at} fails: {cause}; {effect}")
    }
}

impl Health {
    pub(crate) fn new(errors: Output) -> Self {
        Self { errors, failing: Mutex::default() }
    }

    pub(crate) fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Judged { stage, tally, .. } => {
                let failures = || tally.failures().filter(|failure| failure.stage == *stage);
                for failure in failures() {
                    let effect = match failure.policy {
                        _ if failure.monitored => Effect::Monitored,
                        FailurePolicy::Defer => Effect::Deferred,
                        FailurePolicy::Ignore => Effect::Ignored,
                        FailurePolicy::Score(_) => Effect::Scored,
                    };
                    self.failed(&failure.scorer, Some(*stage), &failure.cause, effect);
                }
                self.recovered(Some(*stage), |name| {
                    failures().all(|failure| *failure.scorer != *name)
                });
            }
            // `NoAddress` means that the client has no address. It is not a failure of the server.
            Event::Relayed { outcome: Outcome::Failed(RelayError::NoAddress), .. } => {}
            Event::Relayed { outcome: Outcome::Failed(error), .. } => {
                self.failed("the onward server", None, error, Effect::Deferred);
            }
            Event::Relayed { .. } => self.recovered(None, |_| true),
            _ => {}
        }
    }

    fn failed(&self, name: &str, stage: Option<Stage>, cause: &dyn Display, effect: Effect) {
        let mut failing = self.failing();
        let known = failing.iter_mut().find(|it| it.name == *name && it.stage == stage);
        if let Some(known) = known {
            (known.last, known.times) = (now(), known.times + 1);
            return;
        }
        let (name, cause) = (name.to_owned(), cause.to_string());
        let new = Failing { name, stage, cause, effect, last: now(), times: 1 };
        self.errors.report(&new);
        failing.push(new);
    }

    fn recovered(&self, stage: Option<Stage>, answered: impl Fn(&str) -> bool) {
        self.failing().retain(|failing| {
            let back = failing.stage == stage && answered(&failing.name);
            if !back || now() - failing.last < CALM {
                return true;
            }
            let at = stage.map_or(String::new(), |stage| format!(" ({stage})"));
            let Failing { name, times, .. } = failing;
            self.errors.report(format_args!("{name}{at} works again; it failed {times} times"));
            false
        });
    }

    /// Returns the daemons that fail now.
    pub(crate) fn failures(&self) -> Vec<Failing> {
        self.failing().clone()
    }

    /// Forgets the failures of scorers other than these.
    pub(crate) fn keep_scorers(&self, scorers: &[String]) {
        self.failing().retain(|it| it.stage.is_none() || scorers.contains(&it.name));
    }

    fn failing(&self) -> MutexGuard<'_, Vec<Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
