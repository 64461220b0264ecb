//! Lists of what links lead to.

use async_trait::async_trait;

use super::{DnsList, Lists};
use crate::dns::{Resolver, reversed};
use crate::opinion::{Opinion, ScorerError};
use crate::scorer::{DataContext, Scorer};
use crate::scorers::links::{Host, hosts};

/// Most names that are asked about in one message (SpamAssassin: `uridnsbl_max_domains`).
const DOMAINS: usize = 20;

/// Looks up in DNS lists (URIBL) where the links of a message lead: the registered domain of each, by
/// the Public Suffix List, or its address.
///
/// Links are read out of the texts of a message, transfer encodings taken off, and out of the
/// attributes of HTML, character references (`&#46;`) resolved; with a scheme or without
/// (`www.example.com`), and mail addresses, too. Addresses in disguise count as what browsers make of
/// them (`http://3232235777/`, `http://0xc0.0.2.1/`), escapes in a name as what they stand for. Names
/// that are not ASCII are seen in their A-label form (`xn--…`) only. At most one mebibyte of text is read,
/// and 20 different domains are asked about: if there are more, the first ten and the last ten. With
/// more than ten lists there are fewer, so that a message causes no more than 200 questions.
///
/// Failures are as with [`Dnsbl`](super::Dnsbl).
///
/// ```
/// # use async_trait::async_trait;
/// # use std::{sync::Arc, time::{Duration, SystemTime}};
/// # use nobounce::dns::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};
/// # use nobounce::{Envelope, MailData, Message, Peer, ReversePath, SessionId};
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

impl Uribl {
    /// Without lists, it looks nothing up.
    pub fn new(resolver: impl Resolver + 'static) -> Self {
        Self(Lists::new(resolver))
    }

    /// Adds a list of domains and addresses that links lead to.
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
