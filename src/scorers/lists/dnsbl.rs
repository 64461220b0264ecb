//! Lists of IP addresses (DNSBL).

use async_trait::async_trait;
use std::fmt;

use super::{DnsList, Lists};
use crate::dns::{Resolver, reversed};
use crate::opinion::{Opinion, ScorerError};
use crate::peer::Peer;
use crate::scorer::{ConnectContext, RcptContext, Scorer};

/// A scorer that looks up the client's address in DNS block lists (DNSBL) and allow lists (DNSWL),
/// when the client connects. The lists are queried concurrently, 20 at a time, within the budget of
/// the [`Seat`](crate::panel::Seat).
///
/// A client announced by XFORWARD is looked up at its first recipient. A client without an address,
/// or one in our own networks ([`Peer::own`](crate::Peer::own)), is not looked up.
///
/// If a list fails, the scorer fails with a [`ScorerError`], and the seat's failure policy applies.
/// The findings of the other lists still count. If the failed list could only have raised the
/// score, the score of the other lists alone can refuse the mail. Use a separate scorer for lists
/// that need another failure policy.
///
/// ```
/// # use async_trait::async_trait;
/// # use std::time::Duration;
/// # use nobounce::dns::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};
/// # struct Zone;
/// # #[async_trait]
/// # impl Resolver for Zone {
/// #     async fn lookup(&self, name: &DomainName, _: RecordKind) -> Result<Answer, ResolveError> {
/// #         let listed = &**name == "1.2.0.192.zen.example";
/// #         let codes = listed.then_some(Record::A([127, 0, 0, 4].into()));
/// #         Ok(Answer::new(codes, Duration::from_secs(60)))
/// #     }
/// # }
/// # let resolver = Zone;
/// use nobounce::scorers::{DnsList, Dnsbl};
/// use nobounce::{ConnectContext, Peer, Score, Scorer};
/// use nobounce::envelope::SessionId;
///
/// let zen = DnsList::new("zen.example")?.codes("127.0.0.[4..7]", "ZEN_XBL", Score::points(6))?;
/// let dnsbl = Dnsbl::new(resolver).list(zen);
///
/// let session = SessionId::new("example");
/// let peer = Peer::new("192.0.2.1:4711".parse()?);
/// let at = ConnectContext::new(&session, &peer);
/// let found = pollster::block_on(dnsbl.on_connect(&at))?.findings;
/// assert_eq!((found[0].symbol(), found[0].score()), ("ZEN_XBL", Score::points(6)));
/// assert_eq!(found[0].detail(), "192.0.2.1 is on zen.example: 127.0.0.4");
///
/// let peer = Peer::new("[2001:db8::1]:4711".parse()?);
/// let at = ConnectContext::new(&session, &peer);
/// assert!(pollster::block_on(dnsbl.on_connect(&at))?.is_silent());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Dnsbl(Lists);

impl fmt::Debug for Dnsbl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dnsbl").field("lists", &self.0.lists).finish_non_exhaustive()
    }
}

impl Dnsbl {
    /// Creates a scorer without lists, which looks nothing up.
    pub fn new(resolver: impl Resolver + 'static) -> Self {
        Self(Lists::new(resolver))
    }

    /// Adds a list of addresses.
    #[must_use]
    pub fn list(mut self, list: DnsList) -> Self {
        self.0.lists.push(list);
        self
    }
}

/// Returns the query for a client, or `None` if it has no address or is in our own networks.
fn about(peer: &Peer) -> Option<[(String, String); 1]> {
    let address = peer.address.filter(|_| !peer.own)?.ip().to_canonical();
    Some([(reversed(address), address.to_string())])
}

#[async_trait]
impl Scorer for Dnsbl {
    fn name(&self) -> &str {
        "dnsbl"
    }

    fn symbols(&self) -> Option<Vec<&str>> {
        Some(self.0.symbols())
    }

    async fn on_connect(&self, at: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        match about(at.peer) {
            Some(about) => self.0.ask(&about).await,
            None => Ok(Opinion::silent()),
        }
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        match (&at.envelope.xforward, about(at.peer)) {
            (Some(_), Some(about)) => self.0.ask_once(at.envelope, &about).await,
            _ => Ok(Opinion::silent()),
        }
    }
}
