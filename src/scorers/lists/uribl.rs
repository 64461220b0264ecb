//! Lists of link targets (URIBL).

use async_trait::async_trait;
use std::fmt;

use super::{DnsList, Lists};
use crate::dns::{Resolver, reversed};
use crate::opinion::{Opinion, ScorerError};
use crate::scorer::{DataContext, Scorer};
use crate::scorers::links::{Host, hosts};

/// Maximum number of names queried per message (SpamAssassin: `uridnsbl_max_domains`).
const DOMAINS: usize = 20;

/// A scorer that looks up the link targets of a message in DNS lists (URIBL). A link target is the
/// registered domain by the Public Suffix List, or the IP address.
///
/// Links are extracted from the text parts of a message and from HTML attributes. Transfer
/// encodings and character references (`&#46;`) are decoded. Links with and without a scheme
/// (`www.example.com`) count, and so do mail addresses.
///
/// Disguised addresses are read as browsers read them (`http://3232235777/`, `http://0xc0.0.2.1/`).
/// Escapes in a name are decoded. Names that are not ASCII are only found in A-label form
/// (`xn--…`).
///
/// At most 1 MiB of text is read and 20 different domains are queried. If there are more, the first
/// ten and the last ten are queried. With more than ten lists there are fewer domains, so that a
/// message causes at most 200 queries.
///
/// Failures are handled as in [`Dnsbl`](super::Dnsbl).
///
/// ```
/// # use async_trait::async_trait;
/// # use std::{sync::Arc, time::{Duration, SystemTime}};
/// # use nobounce::dns::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};
/// # use nobounce::{Envelope, Message, Peer, ReversePath};
/// # use nobounce::envelope::SessionId;
/// # use nobounce::message::MailData;
/// # struct Zone;
/// # #[async_trait]
/// # impl Resolver for Zone {
/// #     async fn lookup(&self, name: &DomainName, _: RecordKind) -> Result<Answer, ResolveError> {
/// #         let listed = &**name == "example.org.uri.example";
/// #         let codes = listed.then_some(Record::A([127, 0, 0, 10].into()));
/// #         Ok(Answer::new(codes, Duration::from_secs(60)))
/// #     }
/// # }
/// # let resolver = Zone;
/// # let id = SessionId::new("example").transaction(1);
/// # let envelope = Envelope::new(id, Arc::new(Peer::local()), ReversePath::parse("<>")?);
/// use nobounce::scorers::{DnsList, Uribl};
/// use nobounce::{DataContext, Score, Scorer};
///
/// let list = DnsList::new("uri.example")?
///     .bits(2, "URI_BLACK", Score::points(5))?
///     .bits(8, "URI_PHISH", Score::points(7))?;
/// let uribl = Uribl::new(resolver).list(list);
///
/// let content = MailData::normalise(b"Subject: hello\r\n\r\nhttps://www.example.org/?you\r\n");
/// let message = Message::new("mx.example", &envelope, SystemTime::now(), content);
/// let opinion = pollster::block_on(uribl.on_data(&DataContext::new(&envelope, &message)))?;
/// let found = opinion.findings;
/// let symbols: Vec<_> = found.iter().map(|finding| finding.symbol()).collect();
/// assert_eq!(symbols, ["URI_BLACK", "URI_PHISH"]);
/// assert_eq!(found[0].detail(), "example.org is on uri.example: 127.0.0.10");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Uribl(Lists);

impl fmt::Debug for Uribl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uribl").field("lists", &self.0.lists).finish_non_exhaustive()
    }
}

impl Uribl {
    /// Creates a scorer without lists, which looks nothing up.
    pub fn new(resolver: impl Resolver + 'static) -> Self {
        Self(Lists::new(resolver))
    }

    /// Adds a list of domains and addresses of link targets.
    #[must_use]
    pub fn list(mut self, list: DnsList) -> Self {
        self.0.lists.push(list);
        self
    }
}

#[async_trait]
impl Scorer for Uribl {
    fn name(&self) -> &str {
        "uribl"
    }

    fn symbols(&self) -> Option<Vec<&str>> {
        Some(self.0.symbols())
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        if self.0.lists.is_empty() {
            return Ok(Opinion::silent());
        }
        let mut hosts = hosts(at.message.view());
        let most = DOMAINS.min(self.0.room());
        if hosts.len() > most {
            hosts.drain(most.div_ceil(2)..hosts.len() - most / 2);
        }
        let about = hosts.into_iter().map(|host| match host {
            Host::Domain(domain) => (domain.to_string(), domain.to_string()),
            Host::Address(address) => (reversed(address), address.to_string()),
        });
        self.0.ask(&about.collect::<Vec<_>>()).await
    }
}
