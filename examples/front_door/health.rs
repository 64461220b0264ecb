//! Failures of daemons: spamd, rspamd, clamd, stores, DNS servers, the onward server. Each is
//! reported once when it fails and once when it has recovered.

use std::fmt::Display;
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

struct Failing {
    name: String,
    /// The stage at which a scorer asked it; `None` if it is not a scorer's daemon.
    stage: Option<Stage>,
    last: Instant,
    times: u64,
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
                        _ if failure.monitored => "it is in monitor mode",
                        FailurePolicy::Defer => "clients get 451",
                        FailurePolicy::Ignore => "mail passes without it",
                        FailurePolicy::Score(_) => "the failure adds a score",
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
                self.failed("the onward server", None, error, "clients get 451");
            }
            Event::Relayed { .. } => self.recovered(None, |_| true),
            _ => {}
        }
    }

    fn failed(&self, name: &str, stage: Option<Stage>, cause: &dyn Display, effect: &str) {
        let mut failing = self.failing();
        let known = failing.iter_mut().find(|it| it.name == *name && it.stage == stage);
        if let Some(known) = known {
            (known.last, known.times) = (now(), known.times + 1);
            return;
        }
        let at = stage.map_or(String::new(), |stage| format!(" ({stage})"));
        self.errors.report(format_args!("{name}{at} fails: {cause}; {effect}"));
        failing.push(Failing { name: name.to_owned(), stage, last: now(), times: 1 });
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

    fn failing(&self) -> MutexGuard<'_, Vec<Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
