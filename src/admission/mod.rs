//! Admission: which clients are let in at all, before anything is spent on them.

mod crowd;
mod doorway;
mod place;
mod table;
#[cfg(test)]
mod tests;
mod unproxied;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crowd::{Crowd, Slot};
use doorway::Doorway;
pub(crate) use place::Call;
pub use place::Place;
use table::{Fault, Table};
pub use unproxied::ProxyError;

use crate::network::Network;
use crate::wire::reply::Reply;

/// Counts connections, in all and for each address and network, and turns away what is too much.
///
/// It has no clock and no sockets: address and time are arguments. A [`Gate`](crate::Gate) has one
/// and asks it for each client of [`serve`](crate::serve), by the client's own address, which is
/// what a PROXY header says where one is expected; [`own_networks`] and those who speak for others
/// count in all only. An accept loop of one's own can ask the same one before it spends a task:
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::Instant;
/// use nobounce::{Admission, AdmissionLimits, TurnedAway};
///
/// let mut limits = AdmissionLimits::default();
/// limits.per_address = 1;
/// let admission = Arc::new(Admission::new(limits));
/// let (address, now) = ([192, 0, 2, 1].into(), Instant::now());
/// let place = admission.admit(Some(address), now)?;
/// let refused = admission.admit(Some(address), now).unwrap_err();
/// assert_eq!(refused, TurnedAway::Address);
/// assert_eq!(refused.reply().to_string(), "421 4.7.0 Too many connections from your address");
/// drop(place);
/// assert!(admission.admit(Some(address), now).is_ok());
/// # Ok::<(), TurnedAway>(())
/// ```
///
/// # Overload
///
/// From [`stress_from`](AdmissionLimits::stress_from) percent of the connections on, until they are
/// fewer than [`stress_until`](AdmissionLimits::stress_until) percent, the gate is under stress, and
/// [`Event::Overload`](crate::Event::Overload) says so:
///
/// - Sessions wait less long and forgive less ([`Settings::stress`](crate::Settings::stress)).
/// - A network that has more connections than the average of all gets no further one. The client is
///   told `421 4.3.2`.
/// - When all places are taken, a client of a smaller network gets the place of a session that idles:
///   one that waits for a command outside of a transaction, of the network with the most connections
///   and there of the address with the most, the newest first. That session is told `421 4.3.2`, and
///   [`Event::Evicted`](crate::Event::Evicted) says so.
///
/// Clients that count in all only are left alone.
///
/// Who is turned away is not held back for it: attempts that failed count nowhere, so that a client
/// that comes again at once waits no longer than one that does not.
///
/// [`own_networks`]: crate::Settings::own_networks
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    inside: Mutex<Inside>,
    stressed: AtomicBool,
    /// Whether stress has begun or ended since this was reported.
    turned: AtomicBool,
    /// What times are counted from.
    began: OnceLock<Instant>,
}

/// How many clients are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdmissionLimits {
    /// Connections at once, in all: 20,000 (Exchange `MaxInboundConnection`: 5,000; an idle one costs
    /// 4 KiB here).
    ///
    /// Behind a proxy as many more may wait for their PROXY headers, which are read before it is
    /// known whether a client is let in. One more takes the place of the one that has waited longest.
    pub connections: usize,
    /// At once from one address: 50 (Postfix `smtpd_client_connection_count_limit`).
    pub per_address: usize,
    /// At once from one network: 250, five addresses at their limit. (Postfix counts either by
    /// address or by network: `smtpd_client_ipv4_prefix_length`, since version 3.8.)
    pub per_network: usize,
    /// New connections from one address: as many as there come (Postfix
    /// `smtpd_client_connection_rate_limit` is likewise without limit).
    pub address_rate: Option<Rate>,
    /// New connections from one network: likewise.
    pub network_rate: Option<Rate>,
    /// Bits of an IPv4 address that make a network: 24.
    pub ipv4_prefix: u8,
    /// Bits of an IPv6 address that make a network: 64, what one customer has at the least (RFC
    /// 6177). Its other addresses cost it nothing, so that this is what counts.
    pub ipv6_prefix: u8,
    /// Addresses, and as many networks, whose rate is remembered when they have left: 65,536, at
    /// 200 octets each. No fewer than [`connections`](Self::connections) are.
    pub remembered: usize,
    /// Percent of [`connections`](Self::connections) at which stress begins: 80. More than 100: never.
    pub stress_from: u8,
    /// Percent of [`connections`](Self::connections) below which stress ends: 70.
    pub stress_until: u8,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            per_address: 50,
            per_network: 250,
            address_rate: None,
            network_rate: None,
            ipv4_prefix: 24,
            ipv6_prefix: 64,
            remembered: 65_536,
            stress_from: 80,
            stress_until: 70,
        }
    }
}

/// How often something may happen: a bucket of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    burst: NonZeroU32,
    per: Duration,
}

impl Rate {
    /// `burst` times at once, and as often again in each span of `per`, evenly.
    pub const fn new(burst: NonZeroU32, per: Duration) -> Self {
        Self { burst, per }
    }

    /// How long an empty bucket takes to fill.
    fn span(self) -> Duration {
        const YEAR: Duration = Duration::from_secs(365 * 86_400);
        self.per.min(YEAR)
    }

    /// How long one token takes to come back.
    fn interval(self) -> Duration {
        self.span() / self.burst.get()
    }
}

/// Why a client is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TurnedAway {
    /// There are too many connections. The fault is nobody's, or that of all together.
    #[error("too many connections")]
    Full,
    /// There are too many from its address.
    #[error("too many connections from the address")]
    Address,
    /// There are too many from its network.
    #[error("too many connections from the network")]
    Network,
    /// Its address connects too often.
    #[error("the address connects too often")]
    AddressRate,
    /// Its network connects too often.
    #[error("the network connects too often")]
    NetworkRate,
}

impl TurnedAway {
    /// What the client is told instead of the greeting (RFC 5321 section 3.8, RFC 3463).
    pub fn reply(self) -> Reply {
        let (status, text) = match self {
            Self::Full => ((3, 2), "Too many connections, try again later"),
            Self::Address => ((7, 0), "Too many connections from your address"),
            Self::Network => ((7, 0), "Too many connections from your network"),
            Self::AddressRate => ((7, 0), "Too many connections from your address, slow down"),
            Self::NetworkRate => ((7, 0), "Too many connections from your network, slow down"),
        };
        Reply::fixed(421, Some(status), text)
    }
}

#[derive(Debug)]
struct Inside {
    /// Connections of which it is known for whom they count.
    settled: usize,
    /// Those of which it is not known yet.
    doorway: Doorway,
    crowd: Crowd,
    addresses: Table,
    networks: Table,
}

impl Inside {
    /// A settled place is free again, of this address and network.
    fn give_back(&mut self, client: Option<(IpAddr, IpAddr)>) {
        self.settled -= 1;
        if let Some((address, network)) = client {
            self.addresses.give_back(address);
            self.networks.give_back(network);
        }
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self::new(AdmissionLimits::default())
    }
}

impl Admission {
    /// With these limits, and nobody inside.
    pub fn new(limits: AdmissionLimits) -> Self {
        let remembered = limits.remembered.max(limits.connections);
        let addresses = Table::new(limits.per_address, limits.address_rate, remembered);
        let networks = Table::new(limits.per_network, limits.network_rate, remembered);
        let (crowd, doorway) = Default::default();
        Self {
            limits,
            inside: Mutex::new(Inside { settled: 0, doorway, crowd, addresses, networks }),
            stressed: AtomicBool::new(false),
            turned: AtomicBool::new(false),
            began: OnceLock::new(),
        }
    }

    /// Lets a client in, or says why not. One without an address, or one that is to count for
    /// nobody, counts in all.
    pub fn admit(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<Place, TurnedAway> {
        let mut place = self.enter()?;
        match address {
            Some(address) => place.count_for(address, now)?,
            None => place.count_in_all(now)?,
        }
        Ok(place)
    }

    /// Lets in a client of whom it is not known yet where it comes from, as it is before a PROXY
    /// header. As many as [`AdmissionLimits::connections`] may wait so, beside those that are inside.
    /// When one more comes, the place is taken away from the one that has waited longest: otherwise
    /// connections that never send a header would keep all others out.
    ///
    /// # Errors
    ///
    /// The limit is 0.
    pub fn enter(self: &Arc<Self>) -> Result<Place, TurnedAway> {
        let mut inside = self.inside();
        let displaced = if inside.doorway.len() >= self.limits.connections {
            Some(inside.doorway.displace().ok_or(TurnedAway::Full)?)
        } else {
            None
        };
        let newcomer = inside.doorway.enter();
        drop(inside);
        displaced.iter().for_each(|it| it.wake());
        Ok(Place::unsettled(self.clone(), newcomer))
    }

    /// How many are inside.
    pub fn connections(&self) -> usize {
        let inside = self.inside();
        inside.settled + inside.doorway.len()
    }

    /// Whether the gate is under stress.
    pub fn is_stressed(&self) -> bool {
        self.stressed.load(Ordering::Relaxed)
    }

    /// Whether stress has begun or ended since this was asked last: what it is now, and the number of
    /// connections.
    pub(crate) fn turn(&self) -> Option<(bool, usize)> {
        // A load first: a swap would have every connection write to one cache line.
        let turned =
            self.turned.load(Ordering::Relaxed) && self.turned.swap(false, Ordering::AcqRel);
        turned.then(|| (self.is_stressed(), self.connections()))
    }

    /// The number of settled connections has changed: stress may begin or end. Returns whom to wake
    /// for that, once `inside` is unlocked.
    fn weigh(&self, inside: &Inside) -> Vec<Arc<Slot>> {
        let stressed = self.is_stressed();
        let percent = |percent: u8| self.limits.connections as u128 * u128::from(percent);
        let settled = inside.settled as u128 * 100;
        let begins = !stressed && settled >= percent(self.limits.stress_from);
        let ends = stressed && settled < percent(self.limits.stress_until);
        if begins || ends {
            self.stressed.store(begins, Ordering::Relaxed);
            self.turned.store(true, Ordering::Release);
        }
        if begins { inside.crowd.all().cloned().collect() } else { Vec::new() }
    }

    /// The time since this admission was first asked.
    fn time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.began.get_or_init(|| now))
    }

    /// The network that an address belongs to.
    pub(crate) fn network(&self, address: IpAddr) -> IpAddr {
        let AdmissionLimits { ipv4_prefix, ipv6_prefix, .. } = self.limits;
        let prefix = if address.is_ipv4() { ipv4_prefix } else { ipv6_prefix };
        Network::of(address, prefix.into()).first()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
