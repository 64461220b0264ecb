//! The status server: metrics, health, readiness and a page for operators.

mod address;
mod chart;
mod configuration;
mod http;
mod page;
mod process;
mod readiness;
mod recent;
mod records;
mod scorers;
mod seen;
mod servers;
mod times;
pub(crate) mod watch;

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use nobounce::observer::{Metrics, without_octets};
use nobounce::prometheus_client::encoding::text::encode;
use nobounce::prometheus_client::metrics::info::Info;
use nobounce::prometheus_client::registry::Registry;
use nobounce::{Gate, Runtime, Settings};

use crate::health::Health;
use crate::options::Options;
use crate::output::escaped;
use crate::time::{stamp, today};
pub(crate) use address::{Listening, StatusAddress};
use configuration::Configuration;
use process::Process;
pub(crate) use readiness::Readiness;
use records::Record;
use seen::Seen;

/// Everything that the status server shows.
pub(crate) struct Status {
    registry: Registry,
    metrics: Arc<Metrics>,
    seen: Seen,
    health: Arc<Health>,
    readiness: Readiness,
    configuration: Configuration,
    /// Start of the process.
    since: SystemTime,
}

impl Status {
    /// Returns the status of a process that is starting. `configuration` is the hash of its options
    /// and its configuration file.
    pub(crate) fn new(
        options: &Options,
        settings: &Settings,
        health: Arc<Health>,
        configuration: String,
    ) -> Arc<Self> {
        let mut registry = Registry::default();
        let metrics = Arc::new(Metrics::new(&mut registry, settings));
        let own = registry.sub_registry_with_prefix("nobounce");
        let revision = option_env!("NOBOUNCE_REVISION").unwrap_or("unknown");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION")), ("revision", revision)]);
        own.register(
            "build",
            "The version of nobounce, and its revision if NOBOUNCE_REVISION was set at build time",
            version,
        );
        let configuration = Configuration::new(configuration);
        registry.register_collector(Box::new(configuration.clone()));
        registry.register_collector(Box::new(Process::new(options)));
        let (seen, readiness, since) = (Seen::default(), Readiness::default(), today());
        Arc::new(Self { registry, metrics, seen, health, readiness, configuration, since })
    }

    /// Serves HTTP until the process ends.
    pub(crate) fn serve(self: &Arc<Self>, listener: Listening) -> io::Result<()> {
        http::serve(listener, self.clone())
    }

    /// Adds the observers that feed the metrics and the page.
    pub(crate) fn watch<R: Runtime>(self: &Arc<Self>, gate: Gate<R>) -> Gate<R> {
        let (metrics, status) = (self.metrics.clone(), self.clone());
        watch::begin(self.clone());
        let seen = without_octets(move |event| status.seen.observe(event));
        gate.report_answers().observed_by(metrics).observed_by(seen)
    }

    /// Records a reload. `hash` is that of a configuration which was put in use, `faults` are the parts
    /// that failed, and `kept` are changed values that take effect at the next start.
    pub(crate) fn reloaded(&self, hash: Option<String>, faults: Vec<String>, kept: Vec<String>) {
        self.configuration.reloaded(hash, faults, kept);
    }

    pub(crate) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Returns the metrics in the text format of OpenMetrics.
    fn exported(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn find(&self, reference: &str) -> Option<Record> {
        self.seen.state().records.find(reference).cloned()
    }

    /// Returns a line for each part of the last reload that had no effect. Mail is accepted with the
    /// old part.
    fn remarks(&self) -> Vec<String> {
        let in_use = self.configuration.in_use();
        let Some(at) = in_use.reloaded else { return Vec::new() };
        let remarks = in_use.faults.iter().chain(&in_use.kept);
        remarks.map(|remark| format!("reload at {}: {}", stamp(at), escaped(remark))).collect()
    }

    /// Returns the reasons why mail cannot be accepted now.
    fn obstacles(&self) -> Vec<String> {
        self.readiness.obstacles(&self.health)
    }
}
