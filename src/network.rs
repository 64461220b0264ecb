//! Networks, for those who are believed what they say of others.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::peer::{Peer, Voucher};

#[cfg(test)]
mod tests;

/// A network of one family: an address and how many of its leading bits count (RFC 4632).
///
/// IPv4 addresses mapped into IPv6 are IPv4: `::ffff:192.0.2.0/120` is `192.0.2.0/24`, and no IPv4
/// address is in `::/0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

/// No network. The fault is the caller's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no ADDRESS or ADDRESS/PREFIX, or has bits set behind its prefix")]
pub struct BadNetwork(Box<str>);

impl Network {
    /// The network of the addresses that share the first `prefix` bits with `address`; `None` if an
    /// address has fewer, or if `address` has bits set behind them, which is more often a slip than
    /// a wish.
    pub fn new(address: IpAddr, prefix: u32) -> Option<Self> {
        let (given, width) = bits(address);
        if given & behind(prefix, width)? != 0 {
            return None;
        }
        let address = address.to_canonical();
        // Mapped addresses have bits set up to the 96th: with a shorter prefix they were refused.
        let folded = width - bits(address).1;
        Some(Self { address, prefix: prefix.saturating_sub(folded) })
    }

    /// The network of `prefix` bits that the address is in; of more bits than it has, that of the
    /// address alone.
    ///
    /// ```
    /// let network = nobounce::Network::of([192, 0, 2, 7].into(), 24);
    /// assert_eq!(network.to_string(), "192.0.2.0/24");
    /// ```
    pub fn of(address: IpAddr, prefix: u32) -> Self {
        let address = address.to_canonical();
        let (given, width) = bits(address);
        let prefix = prefix.min(width);
        let kept = given & !behind(prefix, width).unwrap_or(0);
        let address = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(kept as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(kept)),
        };
        Self { address, prefix }
    }

    /// The first address in it.
    ///
    /// ```
    /// let network = nobounce::Network::of([192, 0, 2, 7].into(), 24);
    /// assert_eq!(network.first(), std::net::IpAddr::from([192, 0, 2, 0]));
    /// ```
    pub fn first(&self) -> IpAddr {
        self.address
    }

    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, width) = bits(self.address);
        let (other, other_width) = bits(address.to_canonical());
        let behind = behind(self.prefix, width).unwrap_or(0);
        width == other_width && (own ^ other) & !behind == 0
    }
}

/// An address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// The bits of an address of `width` bits that do not count.
fn behind(prefix: u32, width: u32) -> Option<u128> {
    let count = width.checked_sub(prefix)?;
    Some(1_u128.checked_shl(count).unwrap_or(0).wrapping_sub(1))
}

impl From<IpAddr> for Network {
    /// The network of this address alone.
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: bits(address).1 }
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    /// Reads `192.0.2.0/24`, `2001:db8::/32`, or an address alone.
    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let read = || {
            let Some((address, prefix)) = text.split_once('/') else {
                return text.parse::<IpAddr>().ok().map(Self::from);
            };
            let plain = prefix.bytes().all(|octet| octet.is_ascii_digit());
            let prefix = prefix.parse().ok().filter(|_| plain)?;
            Self::new(address.parse().ok()?, prefix)
        };
        read().ok_or_else(|| BadNetwork(text.into()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A list of networks: those who are believed. The default is nobody.
///
/// ```
/// let proxies: nobounce::Networks = "192.0.2.0/24, ::1, local".parse()?;
/// assert!(proxies.contains([192, 0, 2, 7].into()));
/// assert!(!proxies.contains([127, 0, 0, 1].into()));
/// # Ok::<(), nobounce::BadNetwork>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks {
    networks: Vec<Network>,
    local: bool,
}

impl Networks {
    /// Nobody.
    pub fn none() -> Self {
        Self::default()
    }

    /// This machine: `127.0.0.0/8`, `::1`, and Unix sockets.
    pub fn loopback() -> Self {
        let networks = [(Ipv4Addr::new(127, 0, 0, 0).into(), 8), (Ipv6Addr::LOCALHOST.into(), 128)];
        let networks = networks.map(|(address, prefix)| Network { address, prefix });
        Self { networks: networks.into(), local: true }
    }

    /// The same and these.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.networks.extend(&others.networks);
        self.local |= others.local;
        self
    }

    /// Whether the address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Whether the peer is in one of them; one without an address, if it is `local` and not merely
    /// unknown to whoever speaks for it.
    pub fn include(&self, peer: &Peer) -> bool {
        match peer.address {
            Some(address) => self.contains(address.ip()),
            None => self.local && peer.vouched.address == Voucher::Socket,
        }
    }

    /// Whether there is nobody in the list.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.local
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self { networks: networks.into_iter().collect(), local: false }
    }
}

impl FromStr for Networks {
    type Err = BadNetwork;

    /// Reads networks with commas or spaces between them. The word `local` stands for clients
    /// without an address: those on a Unix socket, whose permissions say who can be one.
    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let mut list = Self::none();
        let words = text.split(|c: char| c == ',' || c.is_ascii_whitespace());
        for word in words.filter(|word| !word.is_empty()) {
            if word == "local" {
                list.local = true;
            } else {
                list.networks.push(word.parse()?);
            }
        }
        Ok(list)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.local.then(|| "local".to_owned());
        let words: Vec<_> = self.networks.iter().map(Network::to_string).chain(local).collect();
        f.write_str(&words.join(", "))
    }
}
