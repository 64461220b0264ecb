//! Reputation: what became of a client's mail before, fading with time.

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
use crate::runtime::Runtime;
use crate::score::{Finding, Score};
use crate::scorer::{ConnectContext, RcptContext, Scorer};
use crate::store::{Balance, HalfLife, Key, Store, StoreError};

/// What it finds: of the address, of the network.
const SYMBOLS: [&str; 2] = ["REPUTATION_ADDRESS", "REPUTATION_NETWORK"];
/// Whose balances: an IPv6 address has its `/64` beside it, and its network is the `/48`.
const OWNERS: [(&str, Widths); 2] =
    [("reputation-address", Widths::new(32, 64)), ("reputation-network", Widths::new(24, 48))];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How many transactions it takes to be known halfway.
const HALF_KNOWN: f64 = 10.0;
/// What a recipient that the relay target does not know weighs, against a bad message; and how many
/// of a transaction count.
const STRANGER: f64 = 0.1;
const STRANGERS: u32 = 10;

/// What became of a client's mail before, as evidence: what was taken speaks for its address and
/// its network, what was refused against them, and both fade.
///
/// With `good` and `bad` transactions in memory, each half as much after every half-life (7 days
/// unless it is said), an address stands at `(bad − good) / (bad + good + 10)`, from −1 to 1: who is
/// hardly known is hardly judged. At the one end that weighs 3 points against the mail, at the other
/// 1 point for it; for the network it is half of that. The findings are `REPUTATION_ADDRESS` and
/// `REPUTATION_NETWORK`, and are left out below a tenth of a point.
///
/// It learns from [`Lessons`](super::Lessons), which leave its own findings out of account.
/// Recipients that the relay target does not know count a tenth of a bad transaction each, ten at
/// most at a time.
///
/// Clients in networks of our own ([`Peer::own`](crate::Peer::own)) have no reputation: nothing is found
/// on them or learned of them.
///
/// It speaks when the client has connected; of a client that XFORWARD told of, at RCPT.
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
/// use nobounce::{ConnectContext, Peer, Scorer, SessionId};
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
/// // Ten bad messages, as lessons would have them counted.
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
    /// The half-life unless it is said: a week, for what is spam today is often another's address
    /// in a month.
    pub const HALF_LIFE: Duration = DAY.saturating_mul(7);

    /// With the default weights and half-life.
    pub fn new(runtime: R, store: Arc<dyn Store>) -> Self {
        let (best, worst) = (Score::points(-1), Score::points(3));
        let half_life = HalfLife::new(Self::HALF_LIFE);
        Self { runtime, store, half_life, best, worst, exempt: Networks::none() }
    }

    /// In which time what is known counts half.
    #[must_use]
    pub fn half_life(mut self, time: Duration) -> Self {
        self.half_life = HalfLife::new(time);
        self
    }

    /// What the best and the worst address weigh: −1 and 3 points unless it is said. The networks
    /// weigh half of it.
    #[must_use]
    pub fn weights(mut self, best: Score, worst: Score) -> Self {
        (self.best, self.worst) = (best, worst);
        self
    }

    /// Networks that have no reputation here.
    #[must_use]
    pub fn exempt(mut self, networks: Networks) -> Self {
        self.exempt = networks;
        self
    }

    /// The balances of address and network, something added to both; none without an address. One
    /// may fail without the other.
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
        // A standing is between -1 and 1: this fits.
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
