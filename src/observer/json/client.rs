//! The client.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::peer::Peer;

/// The client of a session or transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Client {
    /// The IP address; `None` for a client without one, such as a local process.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: Option<u16>,
    /// The name that DNS confirms.
    pub name: Option<String>,
    /// The name in the PTR record of the address, confirmed or not.
    pub reverse_name: Option<String>,
    /// The argument of EHLO or HELO.
    pub helo: Option<String>,
    /// Whether the client sent EHLO. `None` before EHLO or HELO.
    pub esmtp: Option<bool>,
    /// The login name that a trusted server reports.
    pub login: Option<String>,
    /// The TLS connection; `None` in the clear.
    pub tls: Option<Tls>,
    /// The sources of address, name and HELO name.
    pub vouched: Vouchers,
}

/// A TLS connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tls {
    /// The version, such as `TLSv1.3`.
    pub version: String,
    /// The cipher suite.
    pub cipher: String,
}

/// The sources of the address and the names of a client. Each is `socket`, or the server that
/// reports the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Vouchers {
    /// The source of the address.
    pub address: String,
    /// The source of the name.
    pub name: String,
    /// The source of the HELO name.
    pub helo: String,
}

impl From<&Peer> for Client {
    fn from(peer: &Peer) -> Self {
        let owned = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        let vouched = &peer.vouched;
        Self {
            address: peer.address.map(|address| address.ip().to_canonical()),
            port: peer.address.map(|address| address.port()),
            name: owned(&peer.name),
            reverse_name: owned(&peer.reverse_name),
            helo: peer.helo.as_ref().map(|helo| helo.name.to_string()),
            esmtp: peer.helo.as_ref().map(|helo| helo.extended),
            login: owned(&peer.login),
            tls: peer.tls.as_ref().map(|tls| Tls {
                version: tls.version.to_string(),
                cipher: tls.cipher.to_string(),
            }),
            vouched: Vouchers {
                address: vouched.address.to_string(),
                name: vouched.name.to_string(),
                helo: vouched.helo.to_string(),
            },
        }
    }
}
