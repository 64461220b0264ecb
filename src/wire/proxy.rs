//! The PROXY protocol, versions 1 and 2. With it, a load balancer sends the client's address before
//! any other data on a connection. Specified by HAProxy in `proxy-protocol.txt`.
//!
//! A listener expects a header on every connection or on none. If the listener guessed, clients
//! could choose their own address.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use bytes::{BufMut, BytesMut};
use memchr::memchr;

use super::parameters::number;

#[cfg(test)]
mod tests;

/// Longest header of version 1 in octets, CRLF included (section 2.1).
const V1_LENGTH: usize = 107;
/// Start of a header of version 1.
const V1_START: &[u8] = b"PROXY ";
/// Start of a header of version 2 (section 2.2). No other protocol begins with these octets.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Length in octets of the fixed part: signature, version and command, family, length.
const V2_FIXED: usize = 16;

/// The content of a PROXY header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyHeader {
    /// The connection comes from the proxy itself, for example a health check. The real addresses
    /// are those of the connection. Version 2 only.
    Local,
    /// The proxy does not know the client's address, or cannot express it.
    Unspecified,
    /// TCP over IPv4.
    Tcp4 {
        /// The client's address.
        source: SocketAddrV4,
        /// The address that the client connected to.
        destination: SocketAddrV4,
    },
    /// TCP over IPv6.
    Tcp6 {
        /// The client's address.
        source: SocketAddrV6,
        /// The address that the client connected to.
        destination: SocketAddrV6,
    },
    /// Unix stream sockets: paths, padded with NUL. Version 2 only.
    Unix {
        /// The client's address.
        source: Box<[u8; 108]>,
        /// The address that the client connected to.
        destination: Box<[u8; 108]>,
    },
}

/// Reason why octets are not a valid PROXY header. It is the fault of the proxy, or of a client
/// that connects without the proxy. In both cases the connection cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// The octets do not begin like a PROXY header.
    #[error("no PROXY header")]
    Absent,
    /// The octets begin like a PROXY header, but it is malformed or not for a stream connection.
    #[error("malformed PROXY header")]
    Malformed,
}

impl ProxyHeader {
    /// Creates the header of a TCP connection. If the addresses belong to different families, both
    /// are written as IPv6.
    pub fn tcp(source: SocketAddr, destination: SocketAddr) -> Self {
        match (source, destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
                Self::Tcp4 { source, destination }
            }
            _ => Self::Tcp6 { source: v6(source), destination: v6(destination) },
        }
    }

    /// Parses the header at the start of `input`. Returns it with its length in octets, extensions
    /// of version 2 included. `Ok(None)` means that the header is incomplete. Headers have at most
    /// 107 octets in version 1 and 65,551 in version 2.
    pub fn read(input: &[u8]) -> Result<Option<(Self, usize)>, ProxyHeaderError> {
        if begins(input, V2_SIGNATURE) {
            read_v2(input)
        } else if begins(input, V1_START) {
            read_v1(input)
        } else {
            Err(ProxyHeaderError::Absent)
        }
    }

    /// Returns the client's address, if the header has an IP address.
    pub fn source(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp4 { source, .. } => Some((*source).into()),
            Self::Tcp6 { source, .. } => Some((*source).into()),
            _ => None,
        }
    }

    /// Returns the address that the client connected to, if the header has an IP address.
    pub fn destination(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp4 { destination, .. } => Some((*destination).into()),
            Self::Tcp6 { destination, .. } => Some((*destination).into()),
            _ => None,
        }
    }

    /// Writes a header of version 1. This version supports TCP only; anything else is written as
    /// `UNKNOWN`.
    pub fn write_v1(&self, output: &mut BytesMut) {
        let family = if matches!(self, Self::Tcp4 { .. }) { "TCP4" } else { "TCP6" };
        // Writing to a buffer that grows cannot fail.
        let _ = match (self.source(), self.destination()) {
            (Some(source), Some(destination)) => write!(
                output,
                "PROXY {family} {} {} {} {}\r\n",
                source.ip(),
                destination.ip(),
                source.port(),
                destination.port()
            ),
            _ => write!(output, "PROXY UNKNOWN\r\n"),
        };
    }

    /// Writes a header of version 2, without extensions.
    pub fn write_v2(&self, output: &mut BytesMut) {
        output.put_slice(V2_SIGNATURE);
        let (command, family, length) = match self {
            Self::Local => (0x20, 0x00, 0),
            Self::Unspecified => (0x21, 0x00, 0),
            Self::Tcp4 { .. } => (0x21, 0x11, 12),
            Self::Tcp6 { .. } => (0x21, 0x21, 36),
            Self::Unix { .. } => (0x21, 0x31, 216),
        };
        output.put_u8(command);
        output.put_u8(family);
        output.put_u16(length);
        match self {
            Self::Local | Self::Unspecified => {}
            Self::Tcp4 { source, destination } => {
                output.put_slice(&source.ip().octets());
                output.put_slice(&destination.ip().octets());
                output.put_u16(source.port());
                output.put_u16(destination.port());
            }
            Self::Tcp6 { source, destination } => {
                output.put_slice(&source.ip().octets());
                output.put_slice(&destination.ip().octets());
                output.put_u16(source.port());
                output.put_u16(destination.port());
            }
            Self::Unix { source, destination } => {
                output.put_slice(source.as_slice());
                output.put_slice(destination.as_slice());
            }
        }
    }
}

/// Returns whether the input received so far agrees with `start`.
fn begins(input: &[u8], start: &[u8]) -> bool {
    input.iter().zip(start).all(|(octet, expected)| octet == expected)
}

fn v6(address: SocketAddr) -> SocketAddrV6 {
    match address {
        SocketAddr::V4(address) => {
            SocketAddrV6::new(address.ip().to_ipv6_mapped(), address.port(), 0, 0)
        }
        SocketAddr::V6(address) => address,
    }
}

fn read_v1(input: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    let window = input.get(..V1_LENGTH).unwrap_or(input);
    let Some(lf) = memchr(b'\n', window) else {
        let may_end = window.len() < V1_LENGTH;
        return if may_end { Ok(None) } else { Err(ProxyHeaderError::Malformed) };
    };
    let line = window.get(..lf).and_then(|line| line.strip_suffix(b"\r"));
    let header = line.and_then(v1_line).ok_or(ProxyHeaderError::Malformed)?;
    Ok(Some((header, lf + 1)))
}

fn v1_line(line: &[u8]) -> Option<ProxyHeader> {
    let line = str::from_utf8(line).ok().filter(|line| !line.contains('\r'))?;
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        // The rest of the line must be ignored (section 2.1).
        ["PROXY", "UNKNOWN", ..] => Some(ProxyHeader::Unspecified),
        ["PROXY", "TCP4", source, destination, source_port, destination_port] => {
            Some(ProxyHeader::Tcp4 {
                source: SocketAddrV4::new(source.parse().ok()?, port(source_port)?),
                destination: SocketAddrV4::new(destination.parse().ok()?, port(destination_port)?),
            })
        }
        ["PROXY", "TCP6", source, destination, source_port, destination_port] => {
            Some(ProxyHeader::Tcp6 {
                source: SocketAddrV6::new(source.parse().ok()?, port(source_port)?, 0, 0),
                destination: SocketAddrV6::new(
                    destination.parse().ok()?,
                    port(destination_port)?,
                    0,
                    0,
                ),
            })
        }
        _ => None,
    }
}

/// Parses a port without leading zeros.
fn port(digits: &str) -> Option<u16> {
    let plain = digits == "0" || !digits.starts_with('0');
    number(digits.as_bytes()).filter(|_| plain).and_then(|port| u16::try_from(port).ok())
}

fn read_v2(input: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    let Some((fixed, rest)) = input.split_first_chunk::<V2_FIXED>() else {
        return Ok(None);
    };
    let [.., command, family, length_high, length_low] = *fixed;
    if !matches!(command, 0x20 | 0x21) {
        return Err(ProxyHeaderError::Malformed);
    }
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    let Some(addresses) = rest.get(..length) else {
        return Ok(None);
    };
    let header = match (command, family) {
        (0x20, _) => Some(ProxyHeader::Local),
        (_, 0x00..=0x02) => Some(ProxyHeader::Unspecified),
        (_, 0x11) => tcp4(addresses),
        (_, 0x21) => tcp6(addresses),
        (_, 0x31) => unix(addresses),
        // Datagram families, which cannot carry SMTP, and unassigned values.
        _ => None,
    };
    Ok(Some((header.ok_or(ProxyHeaderError::Malformed)?, V2_FIXED + length)))
}

fn tcp4(addresses: &[u8]) -> Option<ProxyHeader> {
    let (source, rest) = addresses.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    let (source_port, destination_port) = ports(rest)?;
    Some(ProxyHeader::Tcp4 {
        source: SocketAddrV4::new(Ipv4Addr::from(*source), source_port),
        destination: SocketAddrV4::new(Ipv4Addr::from(*destination), destination_port),
    })
}

fn tcp6(addresses: &[u8]) -> Option<ProxyHeader> {
    let (source, rest) = addresses.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (source_port, destination_port) = ports(rest)?;
    Some(ProxyHeader::Tcp6 {
        source: SocketAddrV6::new(Ipv6Addr::from(*source), source_port, 0, 0),
        destination: SocketAddrV6::new(Ipv6Addr::from(*destination), destination_port, 0, 0),
    })
}

fn unix(addresses: &[u8]) -> Option<ProxyHeader> {
    let (source, rest) = addresses.split_first_chunk::<108>()?;
    let (destination, _) = rest.split_first_chunk::<108>()?;
    Some(ProxyHeader::Unix { source: Box::new(*source), destination: Box::new(*destination) })
}

/// Parses the source port and the destination port. Extensions follow them and are skipped.
fn ports(octets: &[u8]) -> Option<(u16, u16)> {
    let (ports, _) = octets.split_first_chunk::<4>()?;
    let [a, b, c, d] = *ports;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}
