//! SIGHUP: reopens the log, and reads certificates and configuration file again.
//!
//! The three are independent: if one fails, its old state stays in use. The configuration is read
//! whole, and then replaced at once. Sessions that have begun keep the old one.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use nobounce::admission::{Admission, AdmissionLimits};
use nobounce::message::Budget;
use nobounce::onward::OnwardSettings;
use nobounce::panel::Weights;
use nobounce::scorers::{Learner, Lessons};
use nobounce::tls::{TlsClient, TlsServer};
use nobounce::tokio::Tokio;
use nobounce::{Event, Gate, Observer as _};
use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;

use crate::config::{Config, Opened};
use crate::health::Health;
use crate::journal::Journal;
use crate::options::Options;
use crate::output::Output;
use crate::recording::SessionRecording;
use crate::refused::RefusedCopies;
use crate::status::Status;
use crate::tested::Tested;
use crate::{Policy, Rules, certificate, onward_settings, service, settings};

/// The running gate, and everything that stays the same when it gets a new configuration.
pub(crate) struct Reload {
    pub(crate) options: Arc<Options>,
    pub(crate) gate: Arc<Gate<Tokio>>,
    pub(crate) target: Tested,
    pub(crate) onward: OnwardSettings,
    pub(crate) tls: Option<TlsServer>,
    pub(crate) onward_tls: Option<TlsClient>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) prefixes: Prefixes,
    pub(crate) budget: Budget,
    pub(crate) store: Option<Opened>,
    pub(crate) learning: Learning,
    pub(crate) copies: RefusedCopies,
    pub(crate) recording: SessionRecording,
    pub(crate) weights: Arc<Mutex<Weights>>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) status: Arc<Status>,
    pub(crate) health: Arc<Health>,
    pub(crate) errors: Output,
    /// Warnings that were reported at the start or at the last reload.
    pub(crate) told: Vec<String>,
}

/// Prefix lengths by which clients are counted, of IPv4 and IPv6.
type Prefixes = (u8, u8);

pub(crate) fn prefixes(limits: &AdmissionLimits) -> Prefixes {
    (limits.ipv4_prefix, limits.ipv6_prefix)
}

/// A configuration that was put in use.
struct Replaced {
    hash: String,
    /// Values that take effect only when front_door starts, and have changed.
    kept: Vec<String>,
    /// Warnings about values that are possible but most likely a mistake.
    doubts: Vec<String>,
}

impl Reload {
    /// Reloads at each signal, until the process ends.
    pub(crate) async fn on(mut self, mut hangup: Signal) {
        while hangup.recv().await.is_some() {
            // A service manager that does not read blocks the sender.
            let _ = spawn_blocking(service::reloading).await;
            let result = self.reload().await;
            let _ = spawn_blocking(move || service::reloaded(&result)).await;
        }
    }

    /// Returns the result in one line.
    async fn reload(&mut self) -> String {
        let reopened = self.journal.reopen().into_iter().chain(self.recording.reopen().err());
        let mut faults: Vec<_> = reopened
            .map(|error| format!("reopening the log failed, the old file stays open: {error}"))
            .collect();
        faults.extend(self.certificates());
        let mut doubts = certificate::doubts(&self.options);
        let (mut hash, mut kept) = (None, Vec::new());
        match self.configuration().await {
            Ok(None) => {}
            Ok(Some(replaced)) => {
                hash = Some(replaced.hash);
                kept = replaced.kept;
                doubts.extend(replaced.doubts);
            }
            Err(fault) => faults.push(format!(
                "reading the configuration again failed, the old one stays in use: {fault}"
            )),
        }
        faults.iter().chain(&kept).for_each(|fault| self.errors.report(fault));
        self.warn(doubts);
        let result = match (&faults[..], &hash) {
            ([first, ..], _) => first.clone(),
            ([], Some(hash)) => format!("configuration {hash} is in use"),
            ([], None) => "log and certificates were read again".to_owned(),
        };
        self.status.reloaded(hash, faults, kept);
        result.lines().collect::<Vec<_>>().join(" ")
    }

    /// Reads the certificates and the key again, and returns what failed.
    fn certificates(&self) -> Vec<String> {
        let mut faults = Vec::new();
        match (&self.tls, certificate::read(&self.options)) {
            (Some(tls), Ok(Some(renewed))) => tls.replace(&renewed),
            (_, Ok(_)) => {}
            (_, Err(error)) => faults.push(format!(
                "rereading the certificate failed, the old one stays in use: {error}"
            )),
        }
        match (&self.onward_tls, certificate::onward(&self.options)) {
            (Some(tls), Ok(Some(renewed))) => tls.replace(&renewed),
            (_, Ok(_)) => {}
            (_, Err(error)) => faults.push(format!(
                "rereading the CA certificates failed, the old ones stay in use: {error}"
            )),
        }
        faults
    }

    /// Reads the configuration file and puts it in use. `None` without a file.
    async fn configuration(&mut self) -> Result<Option<Replaced>, String> {
        if self.options.config.is_none() {
            return Ok(None);
        }
        let options = self.options.clone();
        // Reads files, and looks up the names of servers.
        let read = spawn_blocking(move || {
            let said = |error: Box<dyn Error>| error.to_string();
            let policy = Policy::checked(&options).map_err(said)?;
            let settings = settings(&options, policy.config.as_ref()).map_err(said)?;
            Ok::<_, String>((policy, settings))
        });
        let (policy, mut settings) = read.await.map_err(|error| error.to_string())??;
        let Policy { config, names, panel, admission, tarpit } = policy;
        let Some(config) = config else { return Ok(None) };
        settings.budget = self.budget.clone();
        let mut doubts = self.options.doubts(&settings, &admission);
        doubts.extend(names.warning.clone());
        let kept = self.kept(&config, &admission)?;
        let (store, errors) = (&mut self.store, &self.errors);
        let remembered = config.remember(panel, &Tokio, store, Duration::ZERO, errors).await;
        let (panel, learners) = remembered.map_err(|error| error.to_string())?;
        // The last step that can fail.
        self.copies.keep(&config, errors).map_err(|error| error.to_string())?;
        let scorers: Vec<_> = panel.names().map(str::to_owned).collect();
        *self.weights.lock().unwrap_or_else(PoisonError::into_inner) = panel.site_weights().clone();
        let hash = self.options.hash(Some(&config));
        let rules = Rules { settings, names, panel, tarpit, tls: self.tls.clone() };
        self.gate.replace(rules.gate(&self.options, self.target.clone()));
        self.recording.set_policy(&hash);
        self.admission.set_limits(admission);
        self.learning.begin(learners);
        self.health.keep_scorers(&scorers);
        Ok(Some(Replaced { hash, kept, doubts }))
    }

    /// Returns a message for each changed value that takes effect only when front_door starts.
    fn kept(&self, config: &Config, admission: &AdmissionLimits) -> Result<Vec<String>, String> {
        let mut kept = Vec::new();
        kept.extend(config.other_store(self.store.as_ref()).map(|fault| fault.to_string()));
        let onward = onward_settings(&self.options, Some(config));
        if onward.map_err(|error| error.to_string())? != self.onward {
            kept.push(config.table_fault("onward", &UNTIL_START).to_string());
        }
        if prefixes(admission) != self.prefixes {
            let what = format!("ipv4_width and ipv6_width: {UNTIL_START}");
            kept.push(config.table_fault("admission", &what).to_string());
        }
        if self.recording.differs(&self.options, config).map_err(|error| error.to_string())? {
            kept.push(config.table_fault("record", &UNTIL_START).to_string());
        }
        Ok(kept)
    }

    /// Reports the warnings that are new.
    fn warn(&mut self, doubts: Vec<String>) {
        for doubt in doubts.iter().filter(|doubt| !self.told.contains(doubt)) {
            self.errors.report(format_args!("warning: {doubt}"));
        }
        self.told = doubts;
    }
}

const UNTIL_START: &str = "changed, but the old values stay in use until the next start; restart front_door to use the new ones";

/// The scorers that learn, of the configuration in use.
#[derive(Clone, Default)]
pub(crate) struct Learning(Arc<RwLock<Option<Lessons>>>);

impl Learning {
    /// Gives the lessons of transactions to these learners from now on.
    pub(crate) fn begin(&self, learners: Vec<Box<dyn Learner>>) {
        let lessons = (!learners.is_empty()).then(|| {
            let (lessons, learning) = Lessons::for_learners(learners);
            tokio::spawn(learning);
            lessons
        });
        // The previous learners learn the lessons that they have got, and end.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = lessons;
    }

    pub(crate) fn observe(&self, event: &Event<'_>) {
        if let Event::Ended(_) = event
            && let Some(lessons) = &*self.0.read().unwrap_or_else(PoisonError::into_inner)
        {
            lessons.observe(event);
        }
    }
}
