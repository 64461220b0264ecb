//! Lists of link targets (URIBL).

use std::collections::HashSet;
use std::fmt;

use async_trait::async_trait;

use super::{DnsList, Lists};
use crate::dns::{DomainName, Resolver, reversed};
use crate::message::{LinkHost, Message};
use crate::opinion::{Opinion, ScorerError};
use crate::scorer::{DataContext, Scorer};

/// Maximum number of names queried per message (SpamAssassin: `uridnsbl_max_domains`).
const DOMAINS: usize = 20;

/// A scorer that looks up the link targets of a message in DNS lists (URIBL). A link target is the
/// registered domain by the Public Suffix List, or the IP address.
///
/// All links of a message count ([`Rendered::links`](crate::message::Rendered::links)): those in text
/// and in HTML, with and without a scheme (`www.example.com`), mail addresses, targets of
/// redirectors, and links in header fields that mail programs display. They are read as browsers
/// read them. `http://münchen.de` is looked up as `xn--mnchen-3ya.de`, and `http://0xc0.0.2.1/` as
/// 192.0.2.1.
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
        let mut about = targets(at.message);
        let most = DOMAINS.min(self.0.room());
        if about.len() > most {
            about.drain(most.div_ceil(2)..about.len() - most / 2);
        }
        self.0.ask(&about).await
    }
}

/// Returns the link targets, each once, in order of appearance: as labels for a query, and in readable
/// form.
fn targets(message: &Message) -> Vec<(String, String)> {
    let mut known = HashSet::new();
    let hosts = message.rendered().links().iter().filter_map(|link| link.host());
    let targets = hosts.filter_map(|host| match host {
        LinkHost::Domain(domain) => {
            let name = domain.registered()?;
            // Browsers accept names that DNS does not.
            let is_new = known.insert(name.to_owned()) && name.parse::<DomainName>().is_ok();
            is_new.then(|| (name.to_owned(), name.to_owned()))
        }
        LinkHost::Address(address) => {
            let text = address.to_string();
            known.insert(text.clone()).then(|| (reversed(*address), text))
        }
    });
    targets.collect()
}
