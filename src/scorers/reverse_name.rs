//! The scorer for the client's reverse DNS name.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::dns::{self, Resolver};
use crate::opinion::{Opinion, ScorerError};
use crate::score::{Disclosure, Finding, Score};
use crate::scorer::{ConnectContext, Scorer};

/// A scorer that checks the reverse DNS name of a client's address when the client connects. The
/// name must resolve back to the address (`iprev` of RFC 8601 section 3).
///
/// It makes the finding `RDNS_NONE` if the address has no name, and `RDNS_UNCONFIRMED` if none of
/// its names resolves to the address. They combine the corresponding checks of SpamAssassin and
/// Postfix. Both scores can be set. The findings are public, so that the operator of a legitimate
/// server can correct its DNS records.
///
/// Clients in our own networks ([`Peer::own`](crate::Peer::own)) are not checked.
///
/// ```
/// # use async_trait::async_trait;
/// # use std::time::Duration;
/// # use nobounce::dns::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};
/// # struct Zone;
/// # #[async_trait]
/// # impl Resolver for Zone {
/// #     async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
/// #         let records = match (&**name, kind) {
/// #             ("1.2.0.192.in-addr.arpa", _) => Some(Record::Ptr("mx.example".parse().unwrap())),
/// #             ("mx.example", RecordKind::A) => Some(Record::A([192, 0, 2, 99].into())),
/// #             _ => None,
/// #         };
/// #         Ok(Answer::new(records, Duration::from_secs(60)))
/// #     }
/// # }
/// # let resolver = Zone;
/// use nobounce::scorers::ReverseNames;
/// use nobounce::{ConnectContext, Peer, Score, Scorer};
/// use nobounce::envelope::SessionId;
///
/// let names = ReverseNames::new(resolver).none(Score::points(2)).unconfirmed(Score::points(1));
/// let (session, peer) = (SessionId::new("example"), Peer::new("192.0.2.1:4711".parse()?));
/// let found = pollster::block_on(names.on_connect(&ConnectContext::new(&session, &peer)))?.findings;
/// assert_eq!(found[0].symbol(), "RDNS_UNCONFIRMED");
/// assert_eq!(found[0].detail(), "mx.example does not resolve to 192.0.2.1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ReverseNames {
    resolver: Arc<dyn Resolver>,
    none: Score,
    unconfirmed: Score,
}

impl fmt::Debug for ReverseNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReverseNames")
            .field("none", &self.none)
            .field("unconfirmed", &self.unconfirmed)
            .finish_non_exhaustive()
    }
}

impl ReverseNames {
    /// Creates a scorer with 1 point for no name and 0.50 points for an unconfirmed name.
    pub fn new(resolver: impl Resolver + 'static) -> Self {
        let (none, unconfirmed) = (Score::points(1), Score::hundredths(50));
        Self { resolver: Arc::new(resolver), none, unconfirmed }
    }

    /// Sets the score of an address without a name.
    #[must_use]
    pub fn none(mut self, weight: Score) -> Self {
        self.none = weight;
        self
    }

    /// Sets the score of an address that none of its names resolves to.
    #[must_use]
    pub fn unconfirmed(mut self, weight: Score) -> Self {
        self.unconfirmed = weight;
        self
    }
}

#[async_trait]
impl Scorer for ReverseNames {
    fn name(&self) -> &str {
        "reverse-names"
    }

    fn symbols(&self) -> Option<Vec<&str>> {
        Some(vec!["RDNS_NONE", "RDNS_UNCONFIRMED"])
    }

    async fn on_connect(&self, at: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        let Some(address) = at.peer.address.map(|address| address.ip().to_canonical()) else {
            return Ok(Opinion::silent());
        };
        // The name has already been looked up and confirmed.
        if at.peer.own || at.peer.name.is_some() {
            return Ok(Opinion::silent());
        }
        let failed = |error| match self.none.min(self.unconfirmed) >= Score::ZERO {
            true => ScorerError::new(error).adds_only(),
            false => ScorerError::new(error),
        };
        let name = dns::reverse_name(&*self.resolver, address).await.map_err(failed)?;
        let (symbol, weight, detail) = match name {
            dns::ReverseName::Confirmed(_) => return Ok(Opinion::silent()),
            dns::ReverseName::Nameless => {
                ("RDNS_NONE", self.none, format!("{address} has no name in DNS"))
            }
            dns::ReverseName::Unconfirmed(name) => (
                "RDNS_UNCONFIRMED",
                self.unconfirmed,
                format!("{name} does not resolve to {address}"),
            ),
        };
        let finding = Finding::new(symbol, weight).with_detail(&detail);
        Ok(finding.with_disclosure(Disclosure::Public).into())
    }
}
