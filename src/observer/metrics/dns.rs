//! Metrics of DNS lookups.

use prometheus_client::registry::Registry;

use super::series::{Counters, Times};
use crate::dns::{Lookup, RecordKind, ResolveError};

const KINDS: [RecordKind; 5] =
    [RecordKind::A, RecordKind::Aaaa, RecordKind::Mx, RecordKind::Ptr, RecordKind::Txt];

/// All words of [`cause_word`].
const CAUSES: [&str; 6] = ["network", "late", "malformed", "declined", "no_server", "other"];

#[derive(Debug)]
pub(super) struct Dns {
    times: Times<RecordKind>,
    cache: Counters<bool>,
    failures: Counters<&'static str>,
}

impl Dns {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let help = "Time until the DNS servers answered, or until the lookup failed";
        let times = Times::new(registry, "dns", help, KINDS, |kind| [("type", kind_word(*kind))]);
        let help = "DNS lookups, by whether the answer was in the cache";
        let cache = Counters::new(registry, "dns_cache", help, [true, false], |is_cached| {
            [("hit", if *is_cached { "true" } else { "false" })]
        });
        let help = "DNS lookups without an answer; a failure in the cache is not counted again";
        let failures =
            Counters::new(registry, "dns_failures", help, CAUSES, |cause| [("cause", cause)]);
        Self { times, cache, failures }
    }

    pub(super) fn looked_up(&self, lookup: &Lookup<'_>) {
        self.cache.count(lookup.is_cached);
        if lookup.is_cached {
            return;
        }
        self.times.observe(lookup.kind, lookup.took);
        if let Some(error) = lookup.error {
            self.failures.count(cause_word(error));
        }
    }
}

fn kind_word(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::A => "A",
        RecordKind::Aaaa => "AAAA",
        RecordKind::Mx => "MX",
        RecordKind::Ptr => "PTR",
        RecordKind::Txt => "TXT",
    }
}

fn cause_word(error: &ResolveError) -> &'static str {
    match error {
        ResolveError::Network(_) => "network",
        ResolveError::Late => "late",
        ResolveError::Malformed(_) => "malformed",
        ResolveError::Declined(_) => "declined",
        ResolveError::NoServer => "no_server",
        ResolveError::Other(_) => "other",
    }
}
