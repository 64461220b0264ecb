//! Metrics of the process: memory, processor time, file descriptors, and the certificate.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nobounce::prometheus_client::collector::Collector;
use nobounce::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use nobounce::prometheus_client::metrics::counter::ConstCounter;
use nobounce::prometheus_client::metrics::gauge::ConstGauge;

use crate::certificate;
use crate::options::Options;
use crate::time::today;

/// An exporter of metrics of this process. Their names are those of the Prometheus client
/// libraries.
#[derive(Debug)]
pub(super) struct Process {
    /// Unix time in seconds.
    started: f64,
    /// The certificate, which may be renewed.
    certificate: Option<PathBuf>,
}

impl Process {
    pub(super) fn new(options: &Options) -> Self {
        let started = today().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self { started, certificate: options.tls_cert.clone() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let start = Some(self.started);
        gauge("process_start_time_seconds", "Start of the process, Unix time", start)?;
        gauge("process_resident_memory_bytes", "Resident memory", resident())?;
        let open = fs::read_dir("/proc/self/fd").ok().map(|open| open.count() as f64);
        gauge("process_open_fds", "Open file descriptors", open)?;
        let limit = getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft as f64);
        gauge("process_max_fds", "Limit of file descriptors", limit)?;
        let expiry = self.certificate.as_deref().and_then(certificate::expiry);
        gauge(
            "nobounce_certificate_expiry_timestamp_seconds",
            "End of the validity of the certificate, Unix time",
            expiry.map(|seconds| seconds as f64),
        )?;
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let (user, system) = (usage.user_time(), usage.system_time());
            let micros =
                (user.tv_sec() + system.tv_sec()) * 1_000_000 + user.tv_usec() + system.tv_usec();
            let counter = ConstCounter::new(micros as f64 / 1e6);
            let (name, help) = ("process_cpu_seconds", "Processor time, user and system");
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

/// Returns the resident memory in octets.
fn resident() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = text.split(' ').nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * page as f64)
}
