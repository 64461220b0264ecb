//! Lists of domain names (RHSBL).

use async_trait::async_trait;
use std::fmt;

use super::{DnsList, Lists};
use crate::dns::{DomainName, Resolver};
use crate::opinion::{Opinion, ScorerError};
use crate::scorer::{RcptContext, Scorer};
use crate::wire::canonical::lenient_domain;

/// A scorer that looks up names in DNS lists (RHSBL, RFC 5782 section 2.3), at the first recipient
/// of a transaction. The names are the sender's domain, the HELO name, and the client's confirmed
/// DNS name ([`Gate::name_clients`](crate::Gate::name_clients)).
///
/// Each name is queried once, in canonical form. The sender's domain is the domain that the onward
/// server reads, regardless of its notation ([`SmtpPath::canonical`](crate::mailbox::SmtpPath::canonical)).
///
/// Clients in our own networks ([`Peer::own`](crate::Peer::own)) are not looked up.
///
/// The answers apply to the whole transaction. Failures are handled as in [`Dnsbl`](super::Dnsbl).
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
/// use nobounce::{Envelope, ForwardPath, Peer, RcptContext, ReversePath, Score, Scorer};
/// use nobounce::envelope::SessionId;
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

impl fmt::Debug for Rhsbl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rhsbl").field("lists", &self.0.lists).finish_non_exhaustive()
    }
}

impl Rhsbl {
    /// Creates a scorer without lists, which looks nothing up.
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
        // A name without a dot is not a registered domain. IP addresses are looked up in DNSBLs,
        // not here.
        names.retain(|name| name.has_dot() && name.parse::<std::net::Ipv4Addr>().is_err());
        names.sort_unstable();
        names.dedup();
        let names: Vec<_> = names.iter().map(|it| (it.to_string(), it.to_string())).collect();
        self.0.ask_once(at.envelope, &names).await
    }
}
