//! Networks, and lists of trusted networks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::peer::{Peer, Voucher};

#[cfg(test)]
mod tests;

/// A network of one address family: an address and the number of its significant leading bits (RFC
/// 4632).
///
/// IPv4-mapped IPv6 addresses are treated as IPv4: `::ffff:192.0.2.0/120` equals `192.0.2.0/24`,
/// and `::/0` contains no IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

/// The error for a text that is not a valid network. Caller fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not ADDRESS or ADDRESS/PREFIX, or has bits set after its prefix")]
pub struct NetworkError(Box<str>);

impl Network {
    /// Creates the network of all addresses that share the first `prefix` bits with `address`.
    /// Returns `None` if `prefix` is longer than the address. Also returns `None` if `address` has
    /// bits set after the prefix, since this is usually a mistake.
    pub fn new(address: IpAddr, prefix: u32) -> Option<Self> {
        let (given, width) = bits(address);
        if given & behind(prefix, width)? != 0 {
            return None;
        }
        let address = address.to_canonical();
        // A mapped address has bits set up to bit 96, so shorter prefixes are already refused here.
        let folded = width - bits(address).1;
        Some(Self { address, prefix: prefix.saturating_sub(folded) })
    }

    /// Returns the network of `prefix` bits that contains the address. If `prefix` is longer than
    /// the address, the network contains only this address.
    ///
    /// ```
    /// let network = nobounce::network::Network::of([192, 0, 2, 7].into(), 24);
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

    /// Returns the network that counts as one client: the IPv4 address, or the IPv6 /64. A /64 is
    /// the smallest allocation of one customer (RFC 6177).
    pub(crate) fn of_client(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self::of(address, if address.is_ipv4() { 32 } else { 64 })
    }

    /// Returns the network around a client, for limits that several clients share: the IPv4 /24, or
    /// the IPv6 /48. A /48 is the largest usual allocation of one customer (RFC 6177).
    pub(crate) fn around(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self::of(address, if address.is_ipv4() { 24 } else { 48 })
    }

    /// Returns the first address of the network.
    ///
    /// ```
    /// let network = nobounce::network::Network::of([192, 0, 2, 7].into(), 24);
    /// assert_eq!(network.first(), std::net::IpAddr::from([192, 0, 2, 0]));
    /// ```
    pub fn first(&self) -> IpAddr {
        self.address
    }

    /// Returns whether the network contains the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, width) = bits(self.address);
        let (other, other_width) = bits(address.to_canonical());
        let behind = behind(self.prefix, width).unwrap_or(0);
        width == other_width && (own ^ other) & !behind == 0
    }
}

/// Returns an address as a number, and its width in bits.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// Returns the mask of the host bits of an address of `width` bits.
fn behind(prefix: u32, width: u32) -> Option<u128> {
    let count = width.checked_sub(prefix)?;
    Some(1_u128.checked_shl(count).unwrap_or(0).wrapping_sub(1))
}

impl From<IpAddr> for Network {
    /// Creates the network that contains only this address.
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: bits(address).1 }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Parses `192.0.2.0/24`, `2001:db8::/32`, or a single address.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let read = || {
            let Some((address, prefix)) = text.split_once('/') else {
                return text.parse::<IpAddr>().ok().map(Self::from);
            };
            let plain = prefix.bytes().all(|octet| octet.is_ascii_digit());
            let prefix = prefix.parse().ok().filter(|_| plain)?;
            Self::new(address.parse().ok()?, prefix)
        };
        read().ok_or_else(|| NetworkError(text.into()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A list of networks, for example the trusted ones. Empty by default.
///
/// ```
/// let proxies: nobounce::network::Networks = "192.0.2.0/24, ::1, local".parse()?;
/// assert!(proxies.contains([192, 0, 2, 7].into()));
/// assert!(!proxies.contains([127, 0, 0, 1].into()));
/// # Ok::<(), nobounce::network::NetworkError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks {
    networks: Vec<Network>,
    local: bool,
}

impl Networks {
    /// Returns an empty list.
    pub fn none() -> Self {
        Self::default()
    }

    /// Returns the networks of this machine: `127.0.0.0/8`, `::1`, and Unix sockets.
    pub fn loopback() -> Self {
        let networks = [(Ipv4Addr::new(127, 0, 0, 0).into(), 8), (Ipv6Addr::LOCALHOST.into(), 128)];
        let networks = networks.map(|(address, prefix)| Network { address, prefix });
        Self { networks: networks.into(), local: true }
    }

    /// Adds the networks of another list.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.networks.extend(&others.networks);
        self.local |= others.local;
        self
    }

    /// Returns whether one of the networks contains the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Returns whether the list includes the peer. A peer without an address matches if the list
    /// contains `local` and the peer connected directly. A peer whose address is unknown to its
    /// proxy never matches.
    pub fn include(&self, peer: &Peer) -> bool {
        match peer.address {
            Some(address) => self.contains(address.ip()),
            None => self.local && peer.vouched.address == Voucher::Socket,
        }
    }

    /// Returns whether the list is empty.
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
    type Err = NetworkError;

    /// Parses networks separated by commas or spaces. The word `local` stands for clients without
    /// an address: those on a Unix socket, where file permissions control access.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
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
