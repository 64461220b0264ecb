//! What DNS knows: the [`Resolver`] that scorers ask, and one that asks the servers of your choice.
//!
//! ```
//! # use nobounce::Runtime;
//! # fn resolver<R: Runtime + Clone>(runtime: R) -> nobounce::dns::Cache<nobounce::dns::Client<R>, R> {
//! use nobounce::dns::{Cache, Client};
//!
//! // A validating resolver on this machine is what a mail server wants (RFC 5782 section 6:
//! // public resolvers are refused by many lists). Made once, cloned for each scorer.
//! let client = Client::new(runtime.clone(), ["127.0.0.1:53".parse().expect("an address")]);
//! Cache::new(runtime, client)
//! # }
//! ```

mod cache;
mod client;
#[cfg(feature = "hickory")]
mod hickory;
mod iprev;
mod message;
mod name;
mod turns;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};

pub use cache::Cache;
pub use client::Client;
#[cfg(feature = "hickory")]
pub use hickory::Hickory;
pub use iprev::{ReverseName, reverse_name};
pub(crate) use name::reversed;
pub use name::{BadDomainName, DomainName};
pub(crate) use turns::Turns;

/// Questions that one scorer asks at a time about one message.
const AT_ONCE: usize = 20;
/// Questions that one scorer asks about one message in all.
pub(crate) const IN_ALL: usize = 200;

/// Asks several questions, 20 at a time, and gives the answers in the order of the questions. A
/// message with much to ask about leaves turns to the others.
pub(crate) async fn ask_all<F: Future>(questions: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    stream::iter(questions).buffered(AT_ONCE).collect().await
}

/// Asks several questions and gives the first yes (`Some`), as soon as there is one: whatever the
/// others fail at, or wait for, cannot change it. Only without a yes does a failure count.
pub(crate) async fn any<T>(
    questions: impl IntoIterator<Item = impl Future<Output = Result<Option<T>, ResolveError>>>,
) -> Result<Option<T>, ResolveError> {
    let mut answers = pin!(stream::iter(questions).buffer_unordered(AT_ONCE));
    let mut failure = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(Some(yes)) => return Ok(Some(yes)),
            Ok(None) => {}
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(None), Err)
}

/// Asks DNS. Clones of an `Arc` of one are one.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The records of this type that the name has, aliases followed. A name that has none, or is
    /// not there at all, has an empty [`Answer`]; an error is that nobody knows.
    ///
    /// It may take as long as it likes within reason: whoever asks has a budget, and drops it.
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError>;

    /// The addresses of a name, of both kinds. If one kind cannot be had and the other has addresses,
    /// those.
    ///
    /// # Errors
    ///
    /// No address is known, and one of the questions failed.
    async fn addresses(&self, name: &DomainName) -> Result<Vec<IpAddr>, ResolveError> {
        let kinds = [RecordKind::A, RecordKind::Aaaa];
        let answers = kinds.map(|kind| self.lookup(name, kind));
        let (mut addresses, mut failure) = (Vec::new(), None);
        for answer in futures::future::join_all(answers).await {
            match answer {
                Ok(answer) => addresses.extend(answer.records.iter().filter_map(Record::address)),
                Err(error) => failure = Some(error),
            }
        }
        failure.filter(|_| addresses.is_empty()).map_or(Ok(addresses), Err)
    }
}

#[async_trait]
impl<D: Resolver + ?Sized> Resolver for Arc<D> {
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
        (**self).lookup(name, kind).await
    }
}

/// What is asked for: the types of records that a mail server has a use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RecordKind {
    /// IPv4 addresses; the codes of lists.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The servers that take mail for a domain.
    Mx,
    /// The name of an address.
    Ptr,
    /// Text: SPF, DKIM, DMARC, the reasons of lists.
    Txt,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A server that takes mail, the least preference first asked. A null MX (RFC 7505) names none.
    Mx {
        /// Its place among the others.
        preference: u16,
        /// Its name.
        exchange: Option<DomainName>,
    },
    /// A name.
    Ptr(DomainName),
    /// Its strings, joined without anything between (RFC 7208 section 3.3).
    Txt(Box<[u8]>),
}

impl Record {
    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::A(address) => Some((*address).into()),
            Self::Aaaa(address) => Some((*address).into()),
            _ => None,
        }
    }
}

/// What DNS says of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The records, in the order of the answer; empty if there are none.
    pub records: Arc<[Record]>,
    /// How long this holds; zero for what must not be kept.
    pub ttl: Duration,
}

impl Answer {
    /// An answer that holds for this long.
    pub fn new(records: impl IntoIterator<Item = Record>, ttl: Duration) -> Self {
        Self { records: records.into_iter().collect(), ttl }
    }
}

/// Why there is no answer. The fault is that of the servers that were asked, of the network, or of
/// whoever named those servers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The server could not be reached, or the connection broke.
    #[error("no connection: {0}")]
    Network(Box<str>),
    /// No answer to this question came in time.
    #[error("no answer in time")]
    Late,
    /// Whatever came was no answer to this question.
    #[error("not an answer: {0}")]
    Malformed(&'static str),
    /// The server declines, with this response code (RFC 1035 section 4.1.1): 2 is "server failure",
    /// 5 is "refused".
    #[error("declined with response code {0}")]
    Declined(u16),
    /// There is no server to ask.
    #[error("no server to ask")]
    NoServer,
    /// Another resolver failed, for this reason.
    #[error("{0}")]
    Other(Box<str>),
}
