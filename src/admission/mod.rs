//! Admission: which clients are let in at all, before anything is spent on them.

mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use table::{Fault, Table};

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
/// Who is turned away is not held back for it: attempts that failed count nowhere, so that a client
/// that comes again at once waits no longer than one that does not.
///
/// [`own_networks`]: crate::Settings::own_networks
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    inside: Mutex<Inside>,
}

/// How many clients are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdmissionLimits {
    /// Connections at once, in all: 20,000 (Exchange `MaxInboundConnection`: 5,000; an idle one costs
    /// 4 KiB here).
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
    all: usize,
    addresses: Table,
    networks: Table,
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
        Self { limits, inside: Mutex::new(Inside { all: 0, addresses, networks }) }
    }

    /// Lets a client in, or says why not. One without an address, or one that is to count for
    /// nobody, counts in all.
    pub fn admit(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<Place, TurnedAway> {
        let mut place = self.enter()?;
        if let Some(address) = address {
            place.count_for(address, now)?;
        }
        Ok(place)
    }

    /// Lets in a client of whom it is not known yet where it comes from, as it is before a PROXY
    /// header: it counts in all.
    pub fn enter(self: &Arc<Self>) -> Result<Place, TurnedAway> {
        let mut inside = self.inside();
        if inside.all >= self.limits.connections {
            return Err(TurnedAway::Full);
        }
        inside.all += 1;
        Ok(Place { admission: self.clone(), address: None })
    }

    /// How many are inside.
    pub fn connections(&self) -> usize {
        self.inside().all
    }

    /// The network that an address belongs to.
    fn network(&self, address: IpAddr) -> IpAddr {
        let AdmissionLimits { ipv4_prefix, ipv6_prefix, .. } = self.limits;
        let prefix = if address.is_ipv4() { ipv4_prefix } else { ipv6_prefix };
        Network::of(address, prefix.into()).first()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place inside. It is given back when this is dropped.
#[derive(Debug)]
#[must_use = "a place that is dropped is free again"]
pub struct Place {
    admission: Arc<Admission>,
    /// For whom it counts.
    address: Option<IpAddr>,
}

impl Place {
    /// It is known now where the client comes from, and it counts for that address and its network.
    /// An IPv4 address mapped into IPv6 counts as what it is. On an error nothing has changed, and
    /// once it counts for an address this does nothing.
    pub fn count_for(&mut self, address: IpAddr, now: Instant) -> Result<(), TurnedAway> {
        if self.address.is_some() {
            return Ok(());
        }
        let address = address.to_canonical();
        let network = self.admission.network(address);
        let inside = &mut *self.admission.inside();
        inside.addresses.check(address, now).map_err(|fault| match fault {
            Fault::Count => TurnedAway::Address,
            Fault::Rate => TurnedAway::AddressRate,
        })?;
        inside.networks.check(network, now).map_err(|fault| match fault {
            Fault::Count => TurnedAway::Network,
            Fault::Rate => TurnedAway::NetworkRate,
        })?;
        inside.addresses.take(address, now);
        inside.networks.take(network, now);
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.admission.inside();
        inside.all -= 1;
        if let Some(address) = self.address {
            inside.addresses.give_back(address);
            inside.networks.give_back(self.admission.network(address));
        }
    }
}
