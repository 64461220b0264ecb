//! A histogram of integers. Observing a value takes no lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The scale of a histogram: the upper bounds of its buckets, and the divisor of its integers on
/// export.
#[derive(Debug)]
pub(super) struct Scale {
    pub(super) bounds: &'static [i64],
    pub(super) unit: f64,
}

const MILLISECOND: i64 = 1_000_000;

/// Times in nanoseconds, exported in seconds: 1 ms to 2 minutes.
pub(super) static TIMES: Scale = Scale {
    bounds: &[
        MILLISECOND,
        5 * MILLISECOND,
        10 * MILLISECOND,
        25 * MILLISECOND,
        50 * MILLISECOND,
        100 * MILLISECOND,
        250 * MILLISECOND,
        500 * MILLISECOND,
        1_000 * MILLISECOND,
        2_500 * MILLISECOND,
        5_000 * MILLISECOND,
        10_000 * MILLISECOND,
        30_000 * MILLISECOND,
        120_000 * MILLISECOND,
    ],
    unit: 1e9,
};

/// A histogram. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Histogram(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    scale: &'static Scale,
    sum: AtomicI64,
    /// The number of values in each bucket. The last one has no upper bound.
    counts: Box<[AtomicU64]>,
}

impl Histogram {
    pub(super) fn new(scale: &'static Scale) -> Self {
        let counts = (0..=scale.bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Shared { scale, sum: AtomicI64::new(0), counts }))
    }

    pub(super) fn observe(&self, value: i64) {
        let Shared { scale, sum, counts } = &*self.0;
        // Most values belong to one of the first buckets.
        let bucket = scale.bounds.iter().position(|bound| value <= *bound);
        counts[bucket.unwrap_or(scale.bounds.len())].fetch_add(1, Ordering::Relaxed);
        sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Adds a time. The sum of all times overflows after 292 years.
    pub(super) fn observe_time(&self, time: Duration) {
        // Cheaper than `as_nanos`, which has 128 bits.
        let nanos = (time.as_secs() as i64).wrapping_mul(1_000_000_000);
        self.observe(nanos.wrapping_add(i64::from(time.subsec_nanos())));
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let Shared { scale, sum, counts } = &*self.0;
        let bounds = scale.bounds.iter().map(|bound| *bound as f64 / scale.unit);
        let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
        // The encoder adds up the counts.
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = sum.load(Ordering::Relaxed) as f64 / scale.unit;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}
