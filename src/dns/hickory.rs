//! Adapter for the resolver of `hickory-resolver`.

use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{ConnectionProvider, Resolver as Inner};

use super::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};

/// A resolver of `hickory-resolver`. Its TLS, DNSSEC and system configuration are chosen when it is
/// built. It has its own cache and needs no [`Cache`](super::Cache).
///
/// It must be used within the runtime of its provider, usually tokio. Outside tokio, a lookup by
/// `TokioResolver` panics. A [`Panel`](crate::Panel) records the panic as a failure of the scorer.
#[derive(Debug, Clone)]
pub struct Hickory<P: ConnectionProvider>(Inner<P>);

impl<P: ConnectionProvider> Hickory<P> {
    /// Creates an adapter for this resolver.
    pub fn new(resolver: Inner<P>) -> Self {
        Self(resolver)
    }
}

#[async_trait]
impl<P: ConnectionProvider> Resolver for Hickory<P> {
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
        // Absolute name, so that the search list of this machine is not used.
        let labels: Vec<_> = name.labels().collect();
        let mut name = Name::from_labels(labels.iter().map(|it| &**it)).map_err(other)?;
        name.set_fqdn(true);
        let lookup = match self.0.lookup(name, record_type(kind)).await {
            Ok(lookup) => lookup,
            Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => {
                let ttl = Duration::from_secs(nothing.negative_ttl.unwrap_or(0).into());
                return Ok(match nothing.response_code {
                    ResponseCode::NXDomain => Answer::no_such_domain(ttl),
                    _ => Answer::new([], ttl),
                });
            }
            Err(error) => return Err(other(error)),
        };
        let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
        let records = lookup.answers().iter().filter_map(|answer| record(&answer.data, kind));
        Ok(Answer::new(records, Duration::from_secs(ttl.into())))
    }
}

fn other(error: impl std::fmt::Display) -> ResolveError {
    ResolveError::Other(error.to_string().into())
}

fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Mx => RecordType::MX,
        RecordKind::Ptr => RecordType::PTR,
        RecordKind::Txt => RecordType::TXT,
    }
}

fn record(data: &RData, kind: RecordKind) -> Option<Record> {
    Some(match (data, kind) {
        (RData::A(it), RecordKind::A) => Record::A(it.0),
        (RData::AAAA(it), RecordKind::Aaaa) => Record::Aaaa(it.0),
        (RData::MX(it), RecordKind::Mx) => Record::Mx {
            preference: it.preference,
            exchange: match it.exchange.is_root() {
                true => None,
                false => Some(domain(&it.exchange)?),
            },
        },
        (RData::PTR(it), RecordKind::Ptr) => Record::Ptr(domain(&it.0)?),
        (RData::TXT(it), RecordKind::Txt) => Record::Txt(it.txt_data.concat().into()),
        _ => return None,
    })
}

/// Converts a name. Returns `None` for the root.
fn domain(name: &Name) -> Option<DomainName> {
    DomainName::from_labels(name.iter()).ok()
}
