//! Admission: limits on connections, checked before a client costs any resources.

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
pub use place::AdmissionGuard;
use table::{Fault, Table};
pub use unproxied::ProxyError;

use crate::network::Network;
pub use crate::tarpit::Tarpit;
use crate::wire::reply::Reply;

/// Connection limits of a gate. Counts connections, in total and for each address and network, and
/// turns away connections over the limits.
///
/// It has no clock and no sockets: address and time are arguments. A [`Gate`](crate::Gate) has an
/// `Admission` and consults it for each client of [`serve`](crate::serve). It uses the client's own
/// address, taken from the PROXY header if one is expected. Clients in [`own_networks`], and peers
/// trusted with PROXY, XCLIENT or XFORWARD, count only towards the total. Your own accept loop can
/// consult the same `Admission` before it spawns a task:
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::Instant;
/// use nobounce::admission::{Admission, AdmissionLimits, AdmissionError};
///
/// let mut limits = AdmissionLimits::default();
/// limits.per_address = 1;
/// let admission = Arc::new(Admission::new(limits));
/// let (address, now) = ([192, 0, 2, 1].into(), Instant::now());
/// let place = admission.admit(Some(address), now)?;
/// let refused = admission.admit(Some(address), now).unwrap_err();
/// assert_eq!(refused, AdmissionError::Address);
/// assert_eq!(refused.reply().to_string(), "421 4.7.0 Too many connections from your address");
/// drop(place);
/// assert!(admission.admit(Some(address), now).is_ok());
/// # Ok::<(), AdmissionError>(())
/// ```
///
/// # Overload
///
/// Stress begins when [`stress_from`](AdmissionLimits::stress_from) percent of the connections are
/// in use. It ends when fewer than [`stress_until`](AdmissionLimits::stress_until) percent are in
/// use. Both changes are reported as [`Event::Overload`](crate::Event::Overload). Under stress:
///
/// - Sessions have shorter timeouts and lower error limits
///   ([`Settings::stress`](crate::Settings::stress)).
/// - A network that has more connections than the average network gets no further one. The client
///   gets `421 4.3.2`.
/// - When all places are taken, a client of a smaller network gets the place of an idle session. An
///   idle session waits for a command outside a transaction. The session is chosen from the network
///   with the most connections, and there from the address with the most; among those, the newest
///   goes first. It gets `421 4.3.2`, and [`Event::Evicted`](crate::Event::Evicted) is reported.
///
/// None of this applies to clients that count only towards the total.
///
/// Refused attempts are not counted. A client that reconnects at once therefore waits no longer
/// than a client that does not.
///
/// [`own_networks`]: crate::Settings::own_networks
#[derive(Debug)]
pub struct Admission {
    /// Prefix lengths of IPv4 and IPv6 networks. They are fixed, because places are counted by network.
    prefixes: (u8, u8),
    inside: Mutex<Inside>,
    stressed: AtomicBool,
    /// Whether stress has begun or ended and this has not been reported yet.
    turned: AtomicBool,
    /// The origin of the times in the tables.
    began: OnceLock<Instant>,
}

/// Connection limits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdmissionLimits {
    /// Maximum number of connections in total. Default: 20,000. (Exchange `MaxInboundConnection`
    /// has 5,000; an idle connection costs 4 KiB here.)
    ///
    /// Behind a proxy, the same number of connections may wait for their PROXY headers in addition.
    /// The header must be read before the limits for the client can be checked. When one more
    /// connection comes, it displaces the one that has waited longest.
    pub connections: usize,
    /// Maximum number of connections from one address. Default: 50 (Postfix
    /// `smtpd_client_connection_count_limit`).
    pub per_address: usize,
    /// Maximum number of connections from one network. Default: 250, which is five addresses at
    /// their limit. (Postfix counts either by address or by network:
    /// `smtpd_client_ipv4_prefix_length`, since version 3.8.)
    pub per_network: usize,
    /// Rate limit for new connections from one address. Default: no limit (as Postfix
    /// `smtpd_client_connection_rate_limit`).
    pub address_rate: Option<ConnectionRate>,
    /// Rate limit for new connections from one network. Default: no limit.
    pub network_rate: Option<ConnectionRate>,
    /// Prefix length that defines an IPv4 network. Default: 24 bits.
    pub ipv4_prefix: u8,
    /// Prefix length that defines an IPv6 network. Default: 64 bits, the smallest allocation of one
    /// customer (RFC 6177). A customer can use every address in it at no cost, so the limit for the
    /// network is the one that matters.
    pub ipv6_prefix: u8,
    /// Number of addresses whose rate is remembered after they disconnect, and the same number of
    /// networks. Default: 65,536, at 200 octets each. The effective number is at least
    /// [`connections`](Self::connections).
    pub remembered: usize,
    /// Percentage of [`connections`](Self::connections) at which stress begins. Default: 80. A
    /// value above 100 disables stress.
    pub stress_from: u8,
    /// Percentage of [`connections`](Self::connections) below which stress ends. Default: 70.
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

/// A rate limit for new connections, implemented as a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionRate {
    burst: NonZeroU32,
    per: Duration,
}

impl ConnectionRate {
    /// Creates a rate limit that allows `burst` events at once. The bucket refills evenly, with
    /// `burst` tokens in each span of `per`.
    pub const fn new(burst: NonZeroU32, per: Duration) -> Self {
        Self { burst, per }
    }

    /// Returns the time in which an empty bucket becomes full.
    fn span(self) -> Duration {
        const YEAR: Duration = Duration::from_secs(365 * 86_400);
        self.per.min(YEAR)
    }

    /// Returns the time in which one token is added.
    fn interval(self) -> Duration {
        self.span() / self.burst.get()
    }
}

/// The reason why a client is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionError {
    /// There are too many connections in total. No single client is at fault.
    #[error("too many connections")]
    Full,
    /// There are too many connections from the client's address.
    #[error("too many connections from the address")]
    Address,
    /// There are too many connections from the client's network.
    #[error("too many connections from the network")]
    Network,
    /// The client's address connects too often.
    #[error("the address connects too often")]
    AddressRate,
    /// The client's network connects too often.
    #[error("the network connects too often")]
    NetworkRate,
}

impl AdmissionError {
    /// Returns the reply that the client gets instead of the greeting (RFC 5321 section 3.8, RFC
    /// 3463).
    pub fn reply(self) -> Reply {
        let (status, text) = match self {
            Self::Full => ((3, 2), "Too many connections, try again later"),
            Self::Address => ((7, 0), "Too many connections from your address"),
            Self::Network => ((7, 0), "Too many connections from your network"),
            Self::AddressRate => {
                ((7, 0), "Too many new connections from your address, try again later")
            }
            Self::NetworkRate => {
                ((7, 0), "Too many new connections from your network, try again later")
            }
        };
        Reply::fixed(421, Some(status), text)
    }
}

#[derive(Debug)]
struct Inside {
    limits: AdmissionLimits,
    /// Connections whose client address is known.
    settled: usize,
    /// Connections whose client address is not known yet.
    doorway: Doorway,
    crowd: Crowd,
    addresses: Table,
    networks: Table,
}

impl Inside {
    /// Frees a settled place of this address and network.
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
    /// Creates an admission with these limits and no connections.
    pub fn new(limits: AdmissionLimits) -> Self {
        let remembered = limits.remembered.max(limits.connections);
        let addresses = Table::new(limits.per_address, limits.address_rate, remembered);
        let networks = Table::new(limits.per_network, limits.network_rate, remembered);
        let (crowd, doorway) = Default::default();
        Self {
            prefixes: (limits.ipv4_prefix, limits.ipv6_prefix),
            inside: Mutex::new(Inside { limits, settled: 0, doorway, crowd, addresses, networks }),
            stressed: AtomicBool::new(false),
            turned: AtomicBool::new(false),
            began: OnceLock::new(),
        }
    }

    /// Replaces the limits, for connections from now on. Connections over a new, lower limit stay.
    /// The prefix lengths of networks stay as they are.
    ///
    /// ```
    /// use nobounce::admission::{Admission, AdmissionLimits};
    ///
    /// let admission = Admission::default();
    /// let mut limits = AdmissionLimits::default();
    /// limits.per_address = 10;
    /// admission.set_limits(limits);
    /// ```
    pub fn set_limits(&self, limits: AdmissionLimits) {
        let mut inside = self.inside();
        let remembered = limits.remembered.max(limits.connections);
        inside.addresses.limit(limits.per_address, limits.address_rate, remembered);
        inside.networks.limit(limits.per_network, limits.network_rate, remembered);
        inside.limits = limits;
        let woken = self.weigh(&inside);
        drop(inside);
        woken.iter().for_each(|slot| slot.wake());
    }

    /// Admits a client, or returns the reason why it is turned away. A client without an address
    /// counts only towards the total.
    pub fn admit(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<AdmissionGuard, AdmissionError> {
        let mut place = self.enter()?;
        match address {
            Some(address) => place.count_for(address, now)?,
            None => place.count_in_all(now)?,
        }
        Ok(place)
    }

    /// Admits a client whose address is not known yet, because its PROXY header has not been read.
    /// Up to [`AdmissionLimits::connections`] clients may wait in this state, in addition to the
    /// admitted ones. When one more comes, it displaces the one that has waited longest. Otherwise
    /// connections that never send a header could keep out all others.
    ///
    /// # Errors
    ///
    /// Returns [`AdmissionError::Full`] if the limit is 0.
    pub fn enter(self: &Arc<Self>) -> Result<AdmissionGuard, AdmissionError> {
        let mut inside = self.inside();
        let displaced = if inside.doorway.len() >= inside.limits.connections {
            Some(inside.doorway.displace().ok_or(AdmissionError::Full)?)
        } else {
            None
        };
        let newcomer = inside.doorway.enter();
        drop(inside);
        displaced.iter().for_each(|it| it.wake());
        Ok(AdmissionGuard::unsettled(self.clone(), newcomer))
    }

    /// Returns the number of connections, including connections that wait for a PROXY header.
    pub fn connections(&self) -> usize {
        let inside = self.inside();
        inside.settled + inside.doorway.len()
    }

    /// Returns whether the gate is under stress.
    pub fn is_stressed(&self) -> bool {
        self.stressed.load(Ordering::Relaxed)
    }

    /// Returns the new stress state and the number of connections, if stress has begun or ended
    /// since the last call.
    pub(crate) fn turn(&self) -> Option<(bool, usize)> {
        // Loads before it swaps: with a swap alone, every connection would write to one cache line.
        let turned =
            self.turned.load(Ordering::Relaxed) && self.turned.swap(false, Ordering::AcqRel);
        turned.then(|| (self.is_stressed(), self.connections()))
    }

    /// Begins or ends stress after the number of settled connections has changed. Returns the
    /// sessions that must be woken for this change, after `inside` is unlocked.
    fn weigh(&self, inside: &Inside) -> Vec<Arc<Slot>> {
        let stressed = self.is_stressed();
        let percent = |percent: u8| inside.limits.connections as u128 * u128::from(percent);
        let settled = inside.settled as u128 * 100;
        let begins = !stressed && settled >= percent(inside.limits.stress_from);
        let ends = stressed && settled < percent(inside.limits.stress_until);
        if begins || ends {
            self.stressed.store(begins, Ordering::Relaxed);
            self.turned.store(true, Ordering::Release);
        }
        if begins { inside.crowd.all().cloned().collect() } else { Vec::new() }
    }

    /// Returns the time since this admission was first used.
    fn time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.began.get_or_init(|| now))
    }

    /// Returns the network that an address belongs to.
    pub(crate) fn network(&self, address: IpAddr) -> IpAddr {
        let (ipv4, ipv6) = self.prefixes;
        let prefix = if address.is_ipv4() { ipv4 } else { ipv6 };
        Network::of(address, prefix.into()).first()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
