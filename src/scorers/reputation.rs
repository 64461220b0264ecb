//! Reputation: a score from the outcome of a client's earlier mail, decaying over time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;

use super::lessons::{Impression, Learner, Lesson};
use super::whose::Widths;
use crate::network::Networks;
use crate::opinion::{Opinion, ScorerError};
use crate::peer::{Peer, Voucher};
use crate::runtime::{Address, Runtime};
use crate::score::{Finding, Score};
use crate::scorer::{ConnectContext, RcptContext, Scorer};
use crate::store::{Balance, HalfLife, Key, Store, StoreError};

/// The symbols for the address and for the network.
const SYMBOLS: [&str; 2] = ["REPUTATION_ADDRESS", "REPUTATION_NETWORK"];
/// Key prefix and prefix lengths of the two balances. For IPv6, the address is counted as its `/64`
/// and the network as its `/48`.
const OWNERS: [(&str, Widths); 2] =
    [("reputation-address", Widths::new(32, 64)), ("reputation-network", Widths::new(24, 48))];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The number of transactions at which the reputation has half of its full effect.
const HALF_KNOWN: f64 = 10.0;
/// The weight of a recipient unknown to the relay target, relative to a bad message. [`STRANGERS`]
/// is the maximum number of such recipients that count per transaction.
const STRANGER: f64 = 0.1;
const STRANGERS: u32 = 10;

/// A scorer that rates a client by the outcome of its earlier mail. Accepted mail improves the
/// reputation of its address and its network, and refused mail worsens it. Both effects decay over
/// time.
///
/// The number of `good` and `bad` transactions halves after every half-life (7 days by default).
/// The standing of an address is `(bad − good) / (bad + good + 10)`, from −1 to 1. Few transactions
/// therefore have little effect. A standing of 1 scores 3 points against the mail, and a standing
/// of −1 scores 1 point in its favour. For the network, the scores are half of that. The findings
/// are `REPUTATION_ADDRESS` and `REPUTATION_NETWORK`. Scores below a tenth of a point are omitted.
///
/// It learns from [`Lessons`](super::Lessons), which exclude its own findings. Each recipient
/// unknown to the relay target counts as a tenth of a bad transaction, for at most ten recipients
/// per transaction.
///
/// Clients in our own networks ([`Peer::own`](crate::Peer::own)) have no reputation. Their mail has
/// no effect on any reputation, and they are not scored.
///
/// The scorer runs when the client connects. For a client announced by XFORWARD, it runs at RCPT.
///
/// ```
/// # use std::{io, time::Instant};
/// # use nobounce::{Address, Runtime};
/// # #[derive(Clone)]
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
/// use nobounce::scorers::Reputation;
/// use nobounce::store::{Balance, HalfLife, Key, Memory, Store};
/// use nobounce::{ConnectContext, Peer, Scorer};
/// use nobounce::envelope::SessionId;
///
/// # let runtime = Still;
/// # pollster::block_on(async {
/// let store = Arc::new(Memory::new());
/// let reputation = Reputation::new(runtime, store.clone());
/// let client = Peer::new(([192, 0, 2, 1], 4711).into());
/// let session = SessionId::new("example");
/// let at = ConnectContext::new(&session, &client);
/// assert!(reputation.on_connect(&at).await?.is_silent());
///
/// // Ten bad messages, counted as lessons would count them.
/// # let half_life = HalfLife::new(Reputation::<Still>::HALF_LIFE);
/// # let now = std::time::SystemTime::UNIX_EPOCH;
/// let key = Key::new("reputation-address", "192.0.2.1/32");
/// store.weigh(&key, Balance::new(0.0, 10.0), half_life, now).await?;
/// let findings = reputation.on_connect(&at).await?.findings;
/// assert_eq!(findings[0].symbol(), "REPUTATION_ADDRESS");
/// assert_eq!(findings[0].score().to_string(), "1.50");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Reputation<R> {
    runtime: R,
    store: Arc<dyn Store>,
    half_life: HalfLife,
    best: Score,
    worst: Score,
    exempt: Networks,
}

impl<R: Runtime> Reputation<R> {
    /// Default half-life: one week. An address that sends spam today often has another owner a
    /// month later.
    pub const HALF_LIFE: Duration = DAY.saturating_mul(7);

    /// Creates a scorer with the default scores and half-life.
    pub fn new(runtime: R, store: Arc<dyn Store>) -> Self {
        let (best, worst) = (Score::points(-1), Score::points(3));
        let half_life = HalfLife::new(Self::HALF_LIFE);
        Self { runtime, store, half_life, best, worst, exempt: Networks::none() }
    }

    /// Sets the time after which earlier outcomes count half.
    #[must_use]
    pub fn half_life(mut self, time: Duration) -> Self {
        self.half_life = HalfLife::new(time);
        self
    }

    /// Sets the scores of the best and the worst address. Default: −1 and 3 points. Networks get
    /// half of them.
    #[must_use]
    pub fn weights(mut self, best: Score, worst: Score) -> Self {
        (self.best, self.worst) = (best, worst);
        self
    }

    /// Exempts the clients of these networks. They have no reputation.
    #[must_use]
    pub fn exempt(mut self, networks: Networks) -> Self {
        self.exempt = networks;
        self
    }

    /// Adds `add` to the balances of address and network, and returns them. Returns an empty list
    /// for a client without an address and for an exempt client. Each balance can fail on its own.
    async fn weigh(&self, peer: &Peer, add: Balance) -> Vec<Result<Balance, StoreError>> {
        let now = self.runtime.time_of_day();
        let exempt = peer.own || self.exempt.include(peer);
        let keys = OWNERS.iter().filter_map(|(kind, widths)| {
            widths.network(peer).filter(|_| !exempt).map(|owner| Key::new(kind, owner))
        });
        let keys: Vec<_> = keys.collect();
        join_all(keys.iter().map(|key| self.store.weigh(key, add, self.half_life, now))).await
    }

    async fn judge(&self, peer: &Peer) -> Result<Opinion, ScorerError> {
        let (mut findings, mut failure) = (Vec::new(), None);
        let balances = self.weigh(peer, Balance::ZERO).await.into_iter();
        for ((balance, symbol), share) in balances.zip(SYMBOLS).zip([1, 2]) {
            match balance {
                Ok(balance) => findings.extend(self.finding(balance, symbol, share)),
                Err(error) => failure = Some(error),
            }
        }
        let opinion = Opinion::from(findings);
        match failure {
            Some(error) => Err(ScorerError::new(error).but_says(opinion)),
            None => Ok(opinion),
        }
    }

    fn finding(&self, balance: Balance, symbol: &str, share: i32) -> Option<Finding> {
        let standing = (balance.bad - balance.good) / (balance.weight() + HALF_KNOWN);
        let most = if standing > 0.0 { self.worst } else { -self.best };
        // A standing is between -1 and 1, so the product fits.
        let hundredths = (standing * f64::from(most.as_hundredths() / share)).round() as i32;
        let detail = format!("{:.1} good, {:.1} bad", balance.good, balance.bad);
        let finding = Finding::new(symbol, Score::hundredths(hundredths)).with_detail(&detail);
        (hundredths.abs() >= 10).then_some(finding)
    }
}

#[async_trait]
impl<R: Runtime> Scorer for Reputation<R> {
    fn name(&self) -> &str {
        "reputation"
    }

    fn server(&self) -> Option<&Address> {
        self.store.server()
    }

    fn symbols(&self) -> Option<Vec<&str>> {
        Some(SYMBOLS.to_vec())
    }

    async fn on_connect(&self, at: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        self.judge(at.peer).await
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        match at.peer.vouched.address {
            Voucher::XForward(_) => self.judge(at.peer).await,
            _ => Ok(Opinion::silent()),
        }
    }
}

#[async_trait]
impl<R: Runtime> Learner for Reputation<R> {
    fn scorer(&self) -> Option<&str> {
        Some(self.name())
    }

    async fn learn(&self, lesson: &Lesson) -> Result<(), ScorerError> {
        let strangers = f64::from(lesson.strangers.min(STRANGERS)) * STRANGER;
        let add = match lesson.impression {
            Impression::Good => Balance::new(1.0, strangers),
            Impression::Bad => Balance::new(0.0, 1.0 + strangers),
            Impression::Unknown => Balance::new(0.0, strangers),
        };
        if add != Balance::ZERO {
            let learned: Result<Vec<_>, _> =
                self.weigh(&lesson.peer, add).await.into_iter().collect();
            learned.map_err(ScorerError::new)?;
        }
        Ok(())
    }
}

impl<R> fmt::Debug for Reputation<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reputation").field("half_life", &self.half_life).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
