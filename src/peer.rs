//! Who is at the other end: what the socket, the client, DNS and trusted servers say of it.

use std::fmt::{self, Write};
use std::net::SocketAddr;

use crate::wire::attributes::{Attribute, ClientAttributes};
use crate::wire::proxy::ProxyHeader;
use crate::wire::text::{AddressLiteral, Printable, Written};

/// The client of a session, or of a transaction if XFORWARD told of another.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Where it connected from, port 0 if that is unknown; `None` for a Unix socket, or if who
    /// speaks for the client does not know.
    pub address: Option<SocketAddr>,
    /// Its name according to DNS, confirmed forwards, if somebody looked it up.
    pub name: Option<Box<str>>,
    /// Its name according to DNS, confirmed or not, if somebody looked it up.
    pub reverse_name: Option<Box<str>>,
    /// Whether its names were looked up: what it means that there is none.
    pub name_lookup: NameLookup,
    /// What it said in HELO or EHLO.
    pub helo: Option<Helo>,
    /// The name it authenticated as, to a server that said so by XCLIENT.
    pub login: Option<Box<str>>,
    /// The TLS session of the connection, if there is one: with a server that speaks for the client,
    /// it is that server's.
    pub tls: Option<Tls>,
    /// Who vouches for what of this.
    pub vouched: Vouched,
    /// Whether it is in one of [`Settings::own_networks`](crate::Settings::own_networks). The session
    /// says so, anew for each client that a PROXY header, XCLIENT or XFORWARD tells of; a peer that no
    /// session has seen is a stranger. What it means is written at each scorer.
    pub own: bool,
}

impl Peer {
    /// A client that connected from `address`. An IPv4 address mapped into IPv6 is taken as what
    /// it is.
    pub fn new(address: SocketAddr) -> Self {
        Self { address: Some(canonical(address)), ..Self::local() }
    }

    /// A client of this machine, on a Unix socket or in memory.
    pub fn local() -> Self {
        Self {
            address: None,
            name: None,
            reverse_name: None,
            name_lookup: NameLookup::default(),
            helo: None,
            login: None,
            tls: None,
            vouched: Vouched::default(),
            own: false,
        }
    }

    /// The same client, whose DNS name is known.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self.name_lookup = NameLookup::Answered;
        self
    }

    /// The client that this peer, a proxy, speaks for according to its PROXY header: the proxy
    /// itself if it says `LOCAL`, one of unknown address if it does not know.
    #[must_use]
    pub fn behind(self, header: &ProxyHeader) -> Self {
        if *header == ProxyHeader::Local {
            return self;
        }
        let mut client = Self { tls: self.tls, ..Self::local() };
        client.address = header.source().map(canonical);
        client.vouched.address = Voucher::Proxy(self.address);
        client
    }

    /// The client that this peer speaks for. What was not told stays, except that names go with
    /// their address, and that who speaks for others has not yet said their HELO.
    pub(crate) fn speaking_for(&self, told: &ClientAttributes, voucher: Voucher) -> Self {
        let mut client = self.clone();
        if told.address != Attribute::Omitted {
            let port = told.port.known().copied().unwrap_or(0);
            client.address = told.address.known().map(|it| canonical((*it, port).into()));
            (client.name, client.reverse_name) = (None, None);
            client.name_lookup = NameLookup::NotAsked;
            client.vouched.address = voucher;
            client.vouched.name = voucher;
        }
        if told.name != Attribute::Omitted {
            client.name = told.name.known().cloned();
            client.name_lookup = match told.name {
                Attribute::TemporarilyUnavailable => NameLookup::Failed,
                _ => NameLookup::Answered,
            };
            client.vouched.name = voucher;
        }
        if told.reverse_name != Attribute::Omitted {
            client.reverse_name = told.reverse_name.known().cloned();
        }
        let extended = told.protocol.known().is_some_and(|it| !it.eq_ignore_ascii_case("SMTP"));
        client.helo = told.helo.known().map(|name| Helo { extended, name: name.clone() });
        client.vouched.helo = if client.helo.is_some() { voucher } else { Voucher::Socket };
        client.login = told.login.known().cloned();
        client
    }
}

/// What came of looking up the names of a [`Peer`] in DNS.
///
/// A peer without a name has none only if DNS said so: [`Answered`](Self::Answered). In that case the trace
/// header says `unknown` and XCLIENT `[UNAVAILABLE]`. Otherwise the trace header has the address alone, and
/// XCLIENT says `[TEMPUNAVAIL]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum NameLookup {
    /// Nobody has looked.
    #[default]
    NotAsked,
    /// DNS answered: the names are all there are.
    Answered,
    /// DNS did not answer, or not in time.
    Failed,
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Written for Peer {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        Printable(self.name.as_deref().unwrap_or("unknown")).write_to(to)?;
        match self.address {
            None if self.vouched.address != Voucher::Socket => to.write_str("[unknown]"),
            address => Bracketed(address).write_to(to),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

/// An address as it stands behind a name.
struct Bracketed(Option<SocketAddr>);

impl Written for Bracketed {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        match self.0 {
            Some(address) => AddressLiteral(address.ip()).write_to(to),
            None => to.write_str("[local]"),
        }
    }
}

/// Who vouches for what is known of a [`Peer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Vouched {
    /// For its address.
    pub address: Voucher,
    /// For its name.
    pub name: Voucher,
    /// For its HELO: that the client said so, not that it is true.
    pub helo: Voucher,
}

impl fmt::Display for Vouched {
    /// All vouchers other than the socket, for address, name and HELO, each once: `xclient[192.0.2.7]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut vouchers = vec![self.address, self.name, self.helo];
        vouchers.retain(|voucher| *voucher != Voucher::Socket);
        vouchers.dedup();
        let words: Vec<_> = vouchers.iter().map(Voucher::to_string).collect();
        f.write_str(&words.join(","))
    }
}

/// Who vouches for a fact about a [`Peer`]. Where it is another server, its own address is told as
/// the session began with it; `None` for a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Voucher {
    /// The connection itself: the address is the socket's, the HELO was said here, and the name was
    /// looked up by whoever made the [`Peer`].
    #[default]
    Socket,
    /// A proxy, in the header of the PROXY protocol.
    Proxy(Option<SocketAddr>),
    /// A server that may say XCLIENT.
    XClient(Option<SocketAddr>),
    /// A server that may say XFORWARD, for this transaction.
    XForward(Option<SocketAddr>),
}

impl fmt::Display for Voucher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (how, by) = match self {
            Self::Socket => return f.write_str("socket"),
            Self::Proxy(by) => ("proxy", by),
            Self::XClient(by) => ("xclient", by),
            Self::XForward(by) => ("xforward", by),
        };
        f.write_str(how)?;
        Bracketed(*by).write_to(f)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_tells_whether_a_name_was_looked_up() {
        use NameLookup::{Answered, Failed, NotAsked};

        let server = Peer::new(([192, 0, 2, 7], 25).into()).named("server.example");
        let told = |told| server.speaking_for(&told, Voucher::XClient(None));
        let address = Attribute::Known([192, 0, 2, 1].into());
        for (name, expected) in [
            (Attribute::Omitted, NotAsked),
            (Attribute::Unavailable, Answered),
            (Attribute::TemporarilyUnavailable, Failed),
            (Attribute::Known("client.example".into()), Answered),
        ] {
            let known = name.known().cloned();
            let client =
                told(ClientAttributes { name, address: address.clone(), ..Default::default() });
            assert_eq!((client.name, client.name_lookup), (known, expected));
        }
        // Without another address it is the same client.
        let same = told(ClientAttributes::default());
        assert_eq!((same.name, same.name_lookup), (server.name.clone(), Answered));
    }
}
