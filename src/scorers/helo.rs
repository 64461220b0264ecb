//! The scorer for the client's HELO or EHLO name.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use crate::dns::{self, DomainName, RecordKind, ResolveError, Resolver};
use crate::opinion::{Opinion, ScorerError};
use crate::score::{Disclosure, Finding, Score};
use crate::scorer::{RcptContext, Scorer};
use crate::scorers::once::Once;
use crate::wire::canonical::{address_literal, canonical_domain};

/// A scorer that checks the name in HELO or EHLO (RFC 5321 section 4.1.1.1), at RCPT. DNS is
/// queried once per transaction, at the first recipient. At most one of these findings is made, the
/// first that applies:
///
/// | symbol | the name is | default score |
/// |---|---|---|
/// | `HELO_OURS` | a name or address of this server | 5 |
/// | `HELO_LITERAL_OTHER` | an address literal other than the client's address | 3 |
/// | `HELO_LITERAL` | the address literal of the client's address | 1 |
/// | `HELO_BARE_ADDRESS` | an address without brackets | 3 |
/// | `HELO_NO_NAME` | not a domain name | 2 |
/// | `HELO_NO_DOT` | a name of one label | 2 |
/// | `HELO_UNRESOLVED` | a name without A, AAAA and MX records | 1.50 |
///
/// They correspond to Postfix's `reject_invalid_helo_hostname`, `reject_non_fqdn_helo_hostname` and
/// `reject_unknown_helo_hostname`, but add a score instead of refusing. RFC 5321 section 4.1.4
/// forbids refusing mail only because the name does not match the client's address. Therefore a
/// name is never compared with the client's address.
///
/// The findings are public, so that the operator of a legitimate client can correct the name.
/// Clients in our own networks ([`Peer::own`](crate::Peer::own)) are not checked, because many of
/// them have no valid name.
///
/// ```
/// # use async_trait::async_trait;
/// # use std::{sync::Arc, time::Duration};
/// # use nobounce::dns::{Answer, DomainName, RecordKind, ResolveError, Resolver};
/// # struct Nothing;
/// # #[async_trait]
/// # impl Resolver for Nothing {
/// #     async fn lookup(&self, _: &DomainName, _: RecordKind) -> Result<Answer, ResolveError> {
/// #         Ok(Answer::new([], Duration::from_secs(60)))
/// #     }
/// # }
/// # let resolver = Nothing;
/// use nobounce::scorers::{HeloNames, HeloFlaw};
/// use nobounce::{Envelope, ForwardPath, Peer, RcptContext, ReversePath};
/// use nobounce::peer::Helo;
/// use nobounce::{Score, Scorer};
/// use nobounce::envelope::SessionId;
///
/// let helo = HeloNames::new(resolver).ours("mx.example.net").weight(HeloFlaw::NoDot, Score::points(4));
///
/// let mut peer = Peer::new("192.0.2.1:4711".parse()?);
/// peer.helo = Some(Helo { extended: true, name: "localhost".into() });
/// let id = SessionId::new("example").transaction(1);
/// let envelope = Envelope::new(id, Arc::new(peer), ReversePath::parse("<a@example.org>")?);
/// let recipient = ForwardPath::parse("<b@example.net>")?;
/// let opinion = pollster::block_on(helo.on_rcpt(&RcptContext::new(&envelope, &recipient)))?;
/// let found = opinion.findings;
/// assert_eq!((found[0].symbol(), found[0].score()), ("HELO_NO_DOT", Score::points(4)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct HeloNames {
    resolver: Arc<dyn Resolver>,
    ours: Vec<Box<str>>,
    weights: [Score; FLAWS.len()],
    /// The results of recent transactions.
    once: Once<Result<Option<HeloFlaw>, ResolveError>>,
}

/// A flaw of a HELO name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeloFlaw {
    /// A name or address of this server.
    Ours,
    /// An address literal other than the client's address.
    LiteralOther,
    /// The address literal of the client's address.
    Literal,
    /// An address without brackets.
    BareAddress,
    /// Not a domain name.
    NoName,
    /// A name of one label.
    NoDot,
    /// A name without A, AAAA and MX records.
    Unresolved,
}

/// Symbol and default score, in the order of [`HeloFlaw`].
const FLAWS: [(&str, Score); 7] = [
    ("HELO_OURS", Score::points(5)),
    ("HELO_LITERAL_OTHER", Score::points(3)),
    ("HELO_LITERAL", Score::points(1)),
    ("HELO_BARE_ADDRESS", Score::points(3)),
    ("HELO_NO_NAME", Score::points(2)),
    ("HELO_NO_DOT", Score::points(2)),
    ("HELO_UNRESOLVED", Score::hundredths(150)),
];

impl fmt::Debug for HeloNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeloNames")
            .field("ours", &self.ours)
            .field("weights", &self.weights)
            .finish_non_exhaustive()
    }
}

impl HeloNames {
    /// Creates a scorer with the default scores. No name counts as ours yet.
    pub fn new(resolver: impl Resolver + 'static) -> Self {
        let weights = FLAWS.map(|(_, weight)| weight);
        Self { resolver: Arc::new(resolver), ours: Vec::new(), weights, once: Once::new() }
    }

    /// Adds a name or address of this server, such as `mx.example.net` or `192.0.2.25`. No client
    /// may use it.
    #[must_use]
    pub fn ours(mut self, name: &str) -> Self {
        self.ours.push(comparable(name).into());
        self
    }

    /// Sets the score of a flaw.
    #[must_use]
    pub fn weight(mut self, flaw: HeloFlaw, weight: Score) -> Self {
        self.weights[flaw as usize] = weight;
        self
    }

    async fn flaw(
        &self,
        helo: &str,
        address: Option<IpAddr>,
    ) -> Result<Option<HeloFlaw>, ResolveError> {
        let name = comparable(helo);
        if self.ours.iter().any(|ours| **ours == *name) {
            return Ok(Some(HeloFlaw::Ours));
        }
        if helo.starts_with('[') && helo.ends_with(']') {
            let same = address.is_some() && address_literal(helo) == address;
            return Ok(Some(if same { HeloFlaw::Literal } else { HeloFlaw::LiteralOther }));
        }
        if name.parse::<IpAddr>().is_ok() {
            return Ok(Some(HeloFlaw::BareAddress));
        }
        let Ok(name) = name.parse::<DomainName>() else {
            return Ok(Some(HeloFlaw::NoName));
        };
        if !name.has_dot() {
            return Ok(Some(HeloFlaw::NoDot));
        }
        let kinds = [RecordKind::A, RecordKind::Aaaa, RecordKind::Mx];
        // One record is enough, even if the other queries fail.
        let (resolver, name) = (&*self.resolver, &name);
        let resolved = dns::any(kinds.map(|kind| async move {
            let answer = resolver.lookup(name, kind).await?;
            Ok((!answer.records.is_empty()).then_some(()))
        }));
        Ok(resolved.await?.is_none().then_some(HeloFlaw::Unresolved))
    }
}

/// Returns a name or address in comparable form, without brackets.
fn comparable(name: &str) -> String {
    let name = canonical_domain(name);
    let inner = name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let inner = inner.unwrap_or(&name).trim_end_matches('.');
    match inner.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => inner.to_owned(),
    }
}

#[async_trait]
impl Scorer for HeloNames {
    fn name(&self) -> &str {
        "helo-names"
    }

    fn symbols(&self) -> Option<Vec<&str>> {
        Some(FLAWS.iter().map(|(symbol, _)| *symbol).collect())
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let peer = at.peer;
        let Some(helo) = peer.helo.as_ref().filter(|_| !peer.own) else {
            return Ok(Opinion::silent());
        };
        let address = peer.address.map(|address| address.ip().to_canonical());
        let about = format!("{} {address:?}", helo.name);
        let flaw = self.once.ask(at.envelope, about, self.flaw(&helo.name, address)).await?;
        let flaw = flaw.map_err(|error| match self.weights[HeloFlaw::Unresolved as usize] {
            weight if weight >= Score::ZERO => ScorerError::new(error).adds_only(),
            _ => ScorerError::new(error),
        })?;
        let finding = flaw.map(|flaw| {
            let (symbol, _) = FLAWS[flaw as usize];
            let finding = Finding::new(symbol, self.weights[flaw as usize]);
            finding.with_detail(&helo.name).with_disclosure(Disclosure::Public)
        });
        Ok(finding.into())
    }
}

#[cfg(test)]
mod tests;
