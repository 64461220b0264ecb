//! The configuration in use, and the result of the last reload.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use nobounce::prometheus_client::collector::Collector;
use nobounce::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use nobounce::prometheus_client::metrics::counter::ConstCounter;
use nobounce::prometheus_client::metrics::gauge::ConstGauge;
use nobounce::prometheus_client::metrics::info::Info;

use crate::time::today;

/// The configuration in use. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Configuration(Arc<Mutex<InUse>>);

#[derive(Debug, Clone)]
pub(super) struct InUse {
    /// The hash of the options and of the configuration file.
    pub(super) hash: String,
    pub(super) since: SystemTime,
    reloads: u64,
    /// Time of the last reload, if there was one.
    pub(super) reloaded: Option<SystemTime>,
    /// Parts of the last reload that failed.
    pub(super) faults: Vec<String>,
    /// Changed values that take effect at the next start.
    pub(super) kept: Vec<String>,
}

impl Configuration {
    pub(super) fn new(hash: String) -> Self {
        let (faults, kept) = (Vec::new(), Vec::new());
        let in_use = InUse { hash, since: today(), reloads: 0, reloaded: None, faults, kept };
        Self(Arc::new(Mutex::new(in_use)))
    }

    /// Records a reload. `hash` is that of a configuration which was put in use.
    pub(super) fn reloaded(&self, hash: Option<String>, faults: Vec<String>, kept: Vec<String>) {
        let (mut in_use, now) = (self.lock(), today());
        if let Some(hash) = hash {
            (in_use.hash, in_use.since) = (hash, now);
        }
        in_use.reloads += 1;
        (in_use.reloaded, in_use.faults, in_use.kept) = (Some(now), faults, kept);
    }

    pub(super) fn in_use(&self) -> InUse {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, InUse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Configuration {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let InUse { hash, since, reloads, faults, .. } = self.in_use();
        let (name, help) =
            ("nobounce_config", "The hash of the options and of the configuration file");
        let info = Info::new([("hash", hash)]);
        info.encode(encoder.encode_descriptor(name, help, None, info.metric_type())?)?;
        let counter = ConstCounter::new(reloads);
        let (name, help) = ("nobounce_config_reloads", "Reloads, failed ones included");
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        let seconds = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let success = if faults.is_empty() { 1.0 } else { 0.0 };
        for (name, help, value) in [
            (
                "nobounce_config_since_timestamp_seconds",
                "When the configuration was put in use, Unix time",
                seconds,
            ),
            (
                "nobounce_config_last_reload_successful",
                "Whether the last reload, or the start, succeeded: 1 or 0",
                success,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
