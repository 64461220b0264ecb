//! Who is at the other end: what the socket, the client and DNS say of it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The client of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Where it connected from; `None` for a Unix socket.
    pub address: Option<SocketAddr>,
    /// Its name according to DNS, confirmed forwards, if somebody looked it up.
    pub name: Option<Box<str>>,
    /// What it said in HELO or EHLO.
    pub helo: Option<Helo>,
    /// Its TLS session, if there is one.
    pub tls: Option<Tls>,
}

impl Peer {
    /// A client that connected from `address`. An IPv4 address mapped into IPv6 is taken as what
    /// it is.
    pub fn new(address: SocketAddr) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { address: Some(address), name: None, helo: None, tls: None }
    }

    /// A client of this machine, on a Unix socket or in memory.
    pub fn local() -> Self {
        Self { address: None, name: None, helo: None, tls: None }
    }

    /// The same client, whose DNS name is known.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_deref().unwrap_or("unknown"))?;
        match self.address.map(|address| address.ip()) {
            Some(IpAddr::V4(address)) => write!(f, "[{address}]"),
            Some(IpAddr::V6(address)) => write!(f, "[IPv6:{address}]"),
            None => f.write_str("[local]"),
        }
    }
}

/// How a client introduced itself (RFC 5321 section 4.1.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helo {
    /// Whether it said EHLO.
    pub extended: bool,
    /// The name it gave: printable, but true only as far as one trusts the client.
    pub name: Box<str>,
}

/// What is known of a TLS session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// For example `TLSv1.3`.
    pub version: Box<str>,
    /// For example `TLS_AES_256_GCM_SHA384`.
    pub cipher: Box<str>,
}

impl Tls {
    /// A session of this protocol version and cipher suite.
    pub fn new(version: &str, cipher: &str) -> Self {
        Self { version: version.into(), cipher: cipher.into() }
    }
}
