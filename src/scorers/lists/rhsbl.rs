//! Lists of names.

use async_trait::async_trait;

use super::{DnsList, Lists};
use crate::dns::{DomainName, Resolver};
use crate::opinion::{Opinion, ScorerError};
use crate::scorer::{RcptContext, Scorer};
use crate::wire::canonical::lenient_domain;

/// Looks names up in DNS lists (RHSBL, RFC 5782 section 2.3) when the first recipient is named: the domain of
/// the sender, what the client said in HELO, and its confirmed name in DNS
/// ([`Gate::name_clients`](crate::Gate::name_clients)). Each name is asked about once, in its canonical
/// form: the domain of the sender is the one that the onward server reads, however it is written
/// ([`Path::canonical`](crate::Path::canonical)).
///
/// Nothing is asked for clients in networks of our own ([`Peer::own`](crate::Peer::own)).
///
/// What the lists say holds for the whole transaction. Failures are as with [`Dnsbl`](super::Dnsbl).
///
/// ```
/// # use async_trait::async_trait;
/// # use std::{sync::Arc, time::Duration};
/// # use nobounce::dns::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};
/// # struct Zone;
/// # #[async_trait]
/// # impl Resolver for Zone {
/// #     async fn lookup(&self, name: &DomainName, _: RecordKind) -> Result<Answer, ResolveError> {
/// #         let listed = &**name == "bad.example.dbl.example";
/// #         let codes = listed.then_some(Record::A([127, 0, 1, 2].into()));
/// #         Ok(Answer::new(codes, Duration::from_secs(60)))
/// #     }
/// # }
/// # let resolver = Zone;
/// use nobounce::scorers::{DnsList, Rhsbl};
/// use nobounce::{Envelope, ForwardPath, Peer, RcptContext, ReversePath, Score, Scorer, SessionId};
///
/// let dbl = DnsList::new("dbl.example")?.symbol("DBL").weight(Score::points(5));
/// let rhsbl = Rhsbl::new(resolver).list(dbl);
///
/// let sender = ReversePath::parse("<offers@bad.example>")?;
/// let id = SessionId::new("example").transaction(1);
/// let envelope = Envelope::new(id, Arc::new(Peer::local()), sender);
/// let recipient = ForwardPath::parse("<b@example.net>")?;
/// let opinion = pollster::block_on(rhsbl.on_rcpt(&RcptContext::new(&envelope, &recipient)))?;
/// assert_eq!(opinion.findings[0].detail(), "bad.example is on dbl.example: 127.0.1.2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Rhsbl(Lists);

impl Rhsbl {
    /// Without lists, it looks nothing up.
    pub fn new(resolver: impl Resolver + 'static) -> Self {
        Self(Lists::new(resolver))
    }

    /// Adds a list of names.
    #[must_use]
    pub fn list(mut self, list: DnsList) -> Self {
        self.0.lists.push(list);
        self
    }
}

#[async_trait]
impl Scorer for Rhsbl {
    fn name(&self) -> &str {
        "rhsbl"
    }

    fn symbols(&self) -> Option<Vec<&str>> {
        Some(self.0.symbols())
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let peer = at.peer;
        if peer.own {
            return Ok(Opinion::silent());
        }
        let sender = at.envelope.reverse_path.path.canonical().domain;
        let helo = peer.helo.as_ref().map(|helo| &*helo.name);
        let names = [sender.as_deref(), helo, peer.name.as_deref()].into_iter().flatten();
        let mut names: Vec<DomainName> =
            names.filter_map(|name| lenient_domain(name).parse().ok()).collect();
        // A name without a dot is nobody's; an address is a matter for lists of addresses.
        names.retain(|name| name.has_dot() && name.parse::<std::net::Ipv4Addr>().is_err());
        names.sort_unstable();
        names.dedup();
        let names: Vec<_> = names.iter().map(|it| (it.to_string(), it.to_string())).collect();
        self.0.ask_once(at.envelope, &names).await
    }
}
