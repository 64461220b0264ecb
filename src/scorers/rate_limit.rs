//! Rate limits for recipients, per client, sender and recipient.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use super::whose::{Widths, mailbox};
use crate::envelope::Envelope;
use crate::network::Networks;
use crate::opinion::{Opinion, ScorerError};
use crate::runtime::{Address, Runtime};
use crate::score::{Finding, Score};
use crate::scorer::{RcptContext, Scorer};
use crate::store::{Key, Rate, Store, StoreError, Taken};
use crate::verdict::Refusal;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::EnhancedStatus;

/// The effect of exceeding a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Over {
    /// The client is asked to try again later: `451 4.7.1` with the waiting time.
    #[default]
    Defer,
    /// Adds a finding with this score, with one symbol for each limit: `RATE_ADDRESS`,
    /// `RATE_NETWORK`, `RATE_SENDER`, `RATE_RECIPIENT`.
    Score(Score),
}

/// A scorer that limits the rate of recipients per client address, client network, sender and
/// recipient. Each limit is a token bucket. No limit is set by default, because suitable values
/// depend on the traffic. (Postfix does not set `smtpd_client_recipient_rate_limit` by default
/// either.)
///
/// Each requested recipient takes a token from each bucket, in the order above. If a bucket is
/// empty, the buckets after it lose no token. A client above its own limit therefore cannot exhaust
/// the recipient's limit. If the store fails for one bucket, the other limits still apply.
///
/// The null reverse-path has no sender limit, and a client without an address has no client limits.
/// Senders and recipients are counted in canonical form and in lower case
/// ([`SmtpPath::canonical`](crate::mailbox::SmtpPath::canonical)).
///
/// Clients in our own networks ([`Peer::own`](crate::Peer::own)) are neither limited nor counted.
///
/// An IPv6 client address is counted as its `/64` network, because one owner has all of its 2⁶⁴
/// addresses. The client network is `/48` for IPv6 and `/24` for IPv4.
///
/// ```
/// # use std::{io, time::Instant};
/// # use nobounce::{Address, Envelope, ForwardPath, Peer, ReversePath, Runtime};
/// # use nobounce::envelope::SessionId;
/// # struct Still;
/// # #[async_trait::async_trait]
/// # impl Runtime for Still {
/// #     type Stream = futures::io::Cursor<Vec<u8>>;
/// #     fn time_of_day(&self) -> std::time::SystemTime { std::time::SystemTime::UNIX_EPOCH }
/// #     async fn sleep_until(&self, _: Instant) { std::future::pending().await }
/// #     async fn connect(&self, _: &Address) -> io::Result<Self::Stream> {
/// #         Err(io::ErrorKind::Unsupported.into())
/// #     }
/// # }
/// use std::sync::Arc;
/// use std::time::Duration;
/// use nobounce::scorers::RateLimit;
/// use nobounce::store::{Memory, Rate};
/// use nobounce::{RcptContext, Scorer};
///
/// # let runtime = Still;
/// # let peer = Peer::new(([192, 0, 2, 1], 4711).into());
/// # let sender = ReversePath::parse("<alice@example.org>")?;
/// # let recipient = ForwardPath::parse("<bob@example.net>")?;
/// # let id = SessionId::new("example").transaction(1);
/// # let envelope = Envelope::new(id, Arc::new(peer), sender);
/// # pollster::block_on(async {
/// let limit = RateLimit::new(runtime, Arc::new(Memory::new()))
///     .per_address(Rate::new(2, Duration::from_secs(60))?)
///     .per_network(Rate::new(100, Duration::from_secs(60))?);
///
/// let at = RcptContext::new(&envelope, &recipient);
/// assert!(limit.on_rcpt(&at).await?.is_silent());
/// assert!(limit.on_rcpt(&at).await?.is_silent());
/// let refusal = limit.on_rcpt(&at).await?.refusal.expect("it is over the limit");
/// assert_eq!(
///     refusal.to_string(),
///     "451 4.7.1 Too many recipients from your address, try again in 30 seconds",
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RateLimit<R> {
    runtime: R,
    store: Arc<dyn Store>,
    rates: [Option<Rate>; 4],
    over: Over,
    exempt: Networks,
}

/// The subject of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limited {
    Address,
    Network,
    Sender,
    Recipient,
}

const ALL: [Limited; 4] = [Limited::Address, Limited::Network, Limited::Sender, Limited::Recipient];

impl<R: Runtime> RateLimit<R> {
    /// Creates a scorer without limits.
    pub fn new(runtime: R, store: Arc<dyn Store>) -> Self {
        let exempt = Networks::none();
        Self { runtime, store, rates: [None; 4], over: Over::default(), exempt }
    }

    /// Limits the recipients of one client address.
    #[must_use]
    pub fn per_address(self, rate: Rate) -> Self {
        self.limit(Limited::Address, rate)
    }

    /// Limits the recipients of all clients of one network.
    #[must_use]
    pub fn per_network(self, rate: Rate) -> Self {
        self.limit(Limited::Network, rate)
    }

    /// Limits the recipients of one sender, from any client. A client that forges the sender can
    /// use up this limit.
    #[must_use]
    pub fn per_sender(self, rate: Rate) -> Self {
        self.limit(Limited::Sender, rate)
    }

    /// Limits the mail to one recipient, from all clients together. Other clients can use up this
    /// limit.
    #[must_use]
    pub fn per_recipient(self, rate: Rate) -> Self {
        self.limit(Limited::Recipient, rate)
    }

    /// Sets the effect of exceeding a limit.
    #[must_use]
    pub fn over(mut self, over: Over) -> Self {
        self.over = over;
        self
    }

    /// Exempts the clients of these networks. They are not counted.
    #[must_use]
    pub fn exempt(mut self, networks: Networks) -> Self {
        self.exempt = networks;
        self
    }

    fn failed(&self, error: StoreError) -> ScorerError {
        match self.over {
            Over::Score(score) if score < Score::ZERO => ScorerError::new(error),
            _ => ScorerError::new(error).adds_only(),
        }
    }

    fn limit(mut self, limited: Limited, rate: Rate) -> Self {
        self.rates[limited as usize] = Some(rate);
        self
    }

    async fn take(
        &self,
        limited: Limited,
        envelope: &Envelope,
        recipient: &ForwardPath,
        now: SystemTime,
    ) -> Result<Option<Taken>, StoreError> {
        let Some(rate) = self.rates[limited as usize] else {
            return Ok(None);
        };
        let Some(key) = limited.key(envelope, recipient) else {
            return Ok(None);
        };
        self.store.take(&key, rate, 1, now).await.map(Some)
    }
}

impl Limited {
    /// Returns the key of the bucket, or `None` if the limit does not apply.
    fn key(self, envelope: &Envelope, recipient: &ForwardPath) -> Option<Key> {
        let (peer, sender) = (&envelope.peer, &envelope.reverse_path.path);
        Some(match self {
            Self::Address => Key::new("rate-address", Widths::new(32, 64).network(peer)?),
            Self::Network => Key::new("rate-network", Widths::new(24, 48).network(peer)?),
            Self::Sender if sender.canonical().is_null() => return None,
            Self::Sender => Key::new("rate-sender", mailbox(sender)),
            Self::Recipient => Key::new("rate-recipient", mailbox(&recipient.path)),
        })
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Address => "RATE_ADDRESS",
            Self::Network => "RATE_NETWORK",
            Self::Sender => "RATE_SENDER",
            Self::Recipient => "RATE_RECIPIENT",
        }
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "Too many recipients from your address",
            Self::Network => "Too many recipients from your network",
            Self::Sender => "Too many recipients from this sender",
            Self::Recipient => "Too much mail for this recipient",
        })
    }
}

#[async_trait]
impl<R: Runtime> Scorer for RateLimit<R> {
    fn name(&self) -> &str {
        "rate-limit"
    }

    fn server(&self) -> Option<&Address> {
        self.store.server()
    }

    fn symbols(&self) -> Option<Vec<&str>> {
        let all = [Limited::Address, Limited::Network, Limited::Sender, Limited::Recipient];
        Some(all.map(Limited::symbol).to_vec())
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        if at.peer.own || self.exempt.include(at.peer) {
            return Ok(Opinion::silent());
        }
        let now = self.runtime.time_of_day();
        let mut failure = None;
        for limited in ALL {
            let taken = match self.take(limited, at.envelope, at.recipient, now).await {
                Ok(taken) => taken,
                // If the store timed out, it would time out for the other limits as well.
                Err(error @ StoreError::Late(_)) => return Err(self.failed(error)),
                Err(error) => {
                    failure = Some(error);
                    continue;
                }
            };
            let Some(Taken::Exhausted { wait }) = taken else {
                continue;
            };
            let seconds = wait.as_micros().div_ceil(1_000_000).max(1);
            return Ok(match self.over {
                Over::Defer => {
                    let text = format!("{limited}, try again in {seconds} seconds");
                    Refusal::transient(451, EnhancedStatus::new(7, 1), &text).into()
                }
                Over::Score(score) => {
                    let detail = format!("over the limit for {seconds} more seconds");
                    Finding::new(limited.symbol(), score).with_detail(&detail).into()
                }
            });
        }
        failure.map_or(Ok(Opinion::silent()), |error| Err(self.failed(error)))
    }
}

impl<R> fmt::Debug for RateLimit<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("rates", &self.rates).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
