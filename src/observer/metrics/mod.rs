//! Metrics: counters, gauges and histograms in the format of Prometheus.

#[cfg(feature = "dns")]
mod dns;
mod histogram;
mod onward;
mod scorers;
mod series;
mod sessions;
mod store;
mod transactions;
mod verdicts;

use prometheus_client::registry::Registry;

use super::{Event, Observer};
use crate::session::Settings;
use crate::verdict::{Stage, Verdict};
#[cfg(feature = "dns")]
use dns::Dns;
use onward::{OnwardServer, Request};
use scorers::Scorers;
use series::MailData;
use sessions::Sessions;
use store::StoreMetrics;
use transactions::Transactions;
use verdicts::Verdicts;

/// An observer that exports metrics for Prometheus: connections, verdicts, transactions,
/// recipients, findings, failures and times.
///
/// The metrics are registered in a [`Registry`] of your program. Their names begin with `nobounce_`;
/// [`docs::logs_and_metrics`](crate::docs::logs_and_metrics) lists them. If two gates share a
/// registry, give each a label with `Registry::sub_registry_with_label`.
///
/// The times and failures of scorers are exported if the gate
/// [reports answers](crate::Gate::report_answers). The metrics of the store, of DNS and of
/// connections to the onward server come from their callbacks: pass [`Event::Stored`],
/// `Event::LookedUp` and [`Event::OnwardConnect`] to this observer.
///
/// ```
/// # use nobounce::{Gate, Runtime, Settings, relay};
/// # fn gate<R: Runtime>(runtime: R) -> Result<Gate<R>, std::fmt::Error> {
/// use nobounce::observer::Metrics;
/// use nobounce::prometheus_client::{encoding::text::encode, registry::Registry};
///
/// let mut registry = Registry::default();
/// let settings = Settings::new("mx.example");
/// let metrics = Metrics::new(&mut registry, &settings);
/// # let target = relay::Maildir::new("maildir");
/// let gate = Gate::new(runtime, settings, target).report_answers().observed_by(metrics);
///
/// // Whenever Prometheus asks:
/// let mut text = String::new();
/// encode(&mut text, &registry)?;
/// # Ok(gate)
/// # }
/// ```
#[derive(Debug)]
pub struct Metrics {
    sessions: Sessions,
    verdicts: Verdicts,
    transactions: Transactions,
    scorers: Scorers,
    onward: OnwardServer,
    store: StoreMetrics,
    #[cfg(feature = "dns")]
    dns: Dns,
}

impl Metrics {
    /// Registers the metrics. `settings` are those of the gate. The memory for mail data is read
    /// from their [`budget`](Settings::budget).
    pub fn new(registry: &mut Registry, settings: &Settings) -> Self {
        let registry = registry.sub_registry_with_prefix("nobounce");
        registry.register_collector(Box::new(MailData(settings.budget.clone())));
        Self {
            sessions: Sessions::new(registry),
            verdicts: Verdicts::new(registry),
            transactions: Transactions::new(registry),
            scorers: Scorers::new(registry),
            onward: OnwardServer::new(registry),
            store: StoreMetrics::new(registry),
            #[cfg(feature = "dns")]
            dns: Dns::new(registry),
        }
    }
}

impl Metrics {
    /// Counts an event other than an answer of a scorer.
    #[inline(never)]
    fn count(&self, event: &Event<'_>) {
        match event {
            Event::Judged { stage, tally, verdict, .. } => {
                self.verdicts.judged(*stage, tally, verdict);
                if let (Stage::Connect, Verdict::Refuse(_)) = (stage, verdict) {
                    // The findings are counted here, because no transaction follows that would
                    // count them.
                    self.scorers.found(tally);
                }
            }
            Event::Relayed { recipient: Some(_), outcome, took, .. } => {
                self.onward.answered(Request::Recipient, outcome, *took);
                self.verdicts.relayed(outcome);
            }
            Event::Relayed { recipient: None, outcome, took, .. } => {
                self.onward.answered(Request::Content, outcome, *took);
            }
            Event::Ended(record) => {
                self.transactions.ended(record);
                self.verdicts.monitored(&record.tally);
                self.scorers.found(&record.tally);
            }
            Event::Stored(call) => self.store.called(call),
            #[cfg(feature = "dns")]
            Event::LookedUp(lookup) => self.dns.looked_up(lookup),
            Event::OnwardConnect(attempt) => self.onward.connected(attempt),
            Event::Unacknowledged(_) => self.transactions.unacknowledged(),
            _ => self.sessions.observe(event),
        }
    }
}

impl Observer for Metrics {
    fn observe(&self, event: &Event<'_>) {
        match event {
            // The most frequent event. It does not need the registers that the others do.
            Event::Scored { stage, answer, .. } => self.scorers.answered(*stage, answer),
            _ => self.count(event),
        }
    }

    fn uses_octets(&self) -> bool {
        false
    }
}
