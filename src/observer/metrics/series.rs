//! Registration of metrics. All series with a closed set of labels are created at once, so that
//! they are exported as 0 before the first event, and so that counting needs no look-up of labels.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use super::histogram::{Histogram, TIMES};
use crate::message::Budget;

/// The labels of a series: names and values.
pub(super) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The counters of a metric, one for each set of labels.
#[derive(Debug)]
pub(super) struct Counters<K>(Vec<(K, Counter)>);

impl<K: PartialEq> Counters<K> {
    /// Registers a metric with one counter for each key.
    pub(super) fn new<const N: usize>(
        registry: &mut Registry,
        name: &str,
        help: &str,
        keys: impl IntoIterator<Item = K>,
        labels: impl Fn(&K) -> Labels<N>,
    ) -> Self {
        let family = Family::<Labels<N>, Counter>::default();
        registry.register(name, help, family.clone());
        let counter = |key: K| {
            let counter = family.get_or_create_owned(&labels(&key));
            (key, counter)
        };
        Self(keys.into_iter().map(counter).collect())
    }

    /// Counts an event with this key.
    pub(super) fn count(&self, key: K) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == key) {
            counter.inc();
        }
    }
}

/// The histograms of times of a metric, one for each set of labels.
#[derive(Debug)]
pub(super) struct Times<K>(Vec<(K, Histogram)>);

impl<K: PartialEq> Times<K> {
    /// Registers a metric in seconds with one histogram for each key.
    pub(super) fn new<const N: usize>(
        registry: &mut Registry,
        name: &str,
        help: &str,
        keys: impl IntoIterator<Item = K>,
        labels: impl Fn(&K) -> Labels<N>,
    ) -> Self {
        let family =
            Family::<Labels<N>, Histogram, fn() -> Histogram>::new_with_constructor(|| {
                Histogram::new(&TIMES)
            });
        registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        let histogram = |key: K| {
            let histogram = family.get_or_create_owned(&labels(&key));
            (key, histogram)
        };
        Self(keys.into_iter().map(histogram).collect())
    }

    /// Records a time with this key.
    pub(super) fn observe(&self, key: K, time: Duration) {
        if let Some((_, histogram)) = self.0.iter().find(|(known, _)| *known == key) {
            histogram.observe_time(time);
        }
    }
}

/// Registers a counter without labels.
pub(super) fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

/// Registers a gauge without labels.
pub(super) fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// Exports the memory for mail data and its limit.
pub(super) struct MailData(pub(super) Budget);

impl Collector for MailData {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(budget) = self;
        for (name, help, octets) in [
            ("mail_data", "Memory for the mail data of all sessions", budget.used()),
            ("mail_data_limit", "Limit of the memory for mail data", budget.limit()),
        ] {
            let gauge = ConstGauge::new(i64::try_from(octets).unwrap_or(i64::MAX));
            let unit = Some(&Unit::Bytes);
            let metric = encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

impl fmt::Debug for MailData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MailData").field(&self.0.used()).finish()
    }
}
