//! DNS: the [`Resolver`] trait for scorers, and a resolver that asks given servers.
//!
//! ```
//! # use nobounce::Runtime;
//! # fn resolver<R: Runtime + Clone>(runtime: R) -> nobounce::dns::Cache<nobounce::dns::Client<R>, R> {
//! use nobounce::dns::{Cache, Client};
//!
//! // A mail server should use a validating resolver on the same machine, because many
//! // blocklists refuse public resolvers (RFC 5782 section 6). Create it once and clone it for
//! // each scorer.
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
mod packet;
#[cfg(feature = "sender-authentication")]
mod parsed;
mod turns;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use futures::{StreamExt as _, stream};

pub use cache::{Cache, Lookup};
pub use client::Client;
#[cfg(feature = "hickory")]
pub use hickory::Hickory;
pub use iprev::{ReverseName, reverse_name};
#[cfg(feature = "sender-authentication")]
pub(crate) use name::a_labels;
pub(crate) use name::reversed;
pub use name::{DomainName, DomainNameError};
pub(crate) use turns::Turns;

/// Number of concurrent questions of one scorer about one message.
const AT_ONCE: usize = 20;
/// Total number of questions of one scorer about one message.
pub(crate) const IN_ALL: usize = 200;

/// Runs several questions, 20 at a time, and returns the answers in the order of the questions. The
/// limit keeps resources free for other messages.
pub(crate) async fn ask_all<F: Future>(questions: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let questions: Vec<F> = questions.into_iter().collect();
    if questions.len() <= AT_ONCE {
        // Costs less for answers that are cached.
        return join_all(questions).await;
    }
    stream::iter(questions).buffered(AT_ONCE).collect().await
}

/// Runs several questions and returns the first positive answer (`Some`) as soon as it arrives.
/// Failed or pending questions cannot change it. A failure is returned only if no answer is
/// positive.
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

/// Asynchronous DNS lookups. Clones of an `Arc` share one resolver.
///
/// ```
/// use std::time::Duration;
/// use nobounce::async_trait;
/// use nobounce::dns::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};
///
/// /// Knows one address, and refuses all other questions.
/// struct Fixed(DomainName, std::net::Ipv4Addr);
///
/// #[async_trait]
/// impl Resolver for Fixed {
///     async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
///         match kind {
///             RecordKind::A if *name == self.0 => {
///                 Ok(Answer::new([Record::A(self.1)], Duration::from_secs(60)))
///             }
///             _ => Err(ResolveError::Declined(5)),
///         }
///     }
/// }
///
/// # pollster::block_on(async {
/// let name: DomainName = "mx.example".parse()?;
/// let resolver = Fixed(name.clone(), [192, 0, 2, 25].into());
/// assert_eq!(resolver.addresses(&name).await?[0].to_string(), "192.0.2.25");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[async_trait]
pub trait Resolver: Send + Sync {
    /// Returns the records of this type for the name. Aliases are followed. If the name has no such
    /// records or does not exist, the [`Answer`] is empty, and says which of the two is the case. An
    /// error means that the answer is unknown.
    ///
    /// A lookup needs no timeout: the caller has a budget, and drops the future when the budget
    /// ends.
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError>;

    /// Returns the IPv4 and IPv6 addresses of a name. If one of the two lookups fails and the other
    /// returns addresses, returns those.
    ///
    /// # Errors
    ///
    /// Returns an error if no address was found and a lookup failed.
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

/// Record types that a mail server needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RecordKind {
    /// IPv4 addresses, and the return codes of blocklists.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail servers of a domain.
    Mx,
    /// Name of an address.
    Ptr,
    /// Text: SPF, DKIM, DMARC, and the reasons of blocklists.
    Txt,
}

/// A DNS record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A mail server. Servers with lower preference are tried first. A null MX (RFC 7505) has no
    /// exchange.
    Mx {
        /// Preference value.
        preference: u16,
        /// Name of the server. `None` for a null MX.
        exchange: Option<DomainName>,
    },
    /// A name.
    Ptr(DomainName),
    /// The strings of the record, joined without separator (RFC 7208 section 3.3). Any octets.
    Txt(Box<[u8]>),
}

impl Record {
    /// Returns the address, if the record is one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::A(address) => Some((*address).into()),
            Self::Aaaa(address) => Some((*address).into()),
            _ => None,
        }
    }
}

/// Answer to a DNS lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The records, in the order of the response. Empty if the name has no such records.
    pub records: Arc<[Record]>,
    /// Time to live. Zero means that the answer must not be cached.
    pub ttl: Duration,
    no_such_domain: bool,
    #[cfg(feature = "sender-authentication")]
    parsed: parsed::Parsed,
}

impl Answer {
    /// Creates an answer with this time to live. Without records, it means that the name exists but
    /// has no records of this type (NODATA).
    pub fn new(records: impl IntoIterator<Item = Record>, ttl: Duration) -> Self {
        Self {
            records: records.into_iter().collect(),
            ttl,
            no_such_domain: false,
            #[cfg(feature = "sender-authentication")]
            parsed: parsed::Parsed::default(),
        }
    }

    /// Creates the answer that the domain name does not exist (NXDOMAIN), with this time to live.
    ///
    /// ```
    /// use std::time::Duration;
    /// use nobounce::dns::Answer;
    ///
    /// let answer = Answer::no_such_domain(Duration::from_secs(60));
    /// assert!(answer.records.is_empty() && answer.is_no_such_domain());
    /// assert!(!Answer::new([], Duration::from_secs(60)).is_no_such_domain());
    /// ```
    pub fn no_such_domain(ttl: Duration) -> Self {
        Self { no_such_domain: true, ..Self::new([], ttl) }
    }

    /// Returns whether neither the name nor a name below it has a record of any type (NXDOMAIN; RFC
    /// 2308 section 2.1, RFC 8020). If the name is an alias, this is about the name at the end of
    /// the chain (RFC 6604 section 3).
    pub fn is_no_such_domain(&self) -> bool {
        self.no_such_domain
    }
}

/// Reason why a DNS lookup has no answer. Fault of the servers, of the network, or of the
/// configuration that names the servers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The server is unreachable, or the connection was lost.
    #[error("connection to the DNS server failed: {0}")]
    Network(Box<str>),
    /// The server did not answer this question in time.
    #[error("no DNS response in time")]
    Late,
    /// The response is malformed or does not match the question.
    #[error("invalid DNS response: {0}")]
    Malformed(&'static str),
    /// The server returned this response code (RFC 1035 section 4.1.1), for example 2 "server
    /// failure" or 5 "refused".
    #[error("DNS response code {0}")]
    Declined(u16),
    /// No server is configured.
    #[error("no DNS server is configured")]
    NoServer,
    /// Another resolver implementation failed with this message.
    #[error("{0}")]
    Other(Box<str>),
}
