//! The client of a session: facts from the socket, the client, DNS and trusted servers.

use std::fmt::{self, Write};
use std::net::SocketAddr;

use crate::wire::attributes::{Attribute, ClientAttributes};
use crate::wire::proxy::ProxyHeader;
use crate::wire::text::{AddressLiteral, Printable, Written};

/// The client of a session, or of a transaction if XFORWARD described another client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Address of the client. The port is 0 if it is unknown. `None` for a Unix socket, or if a
    /// trusted proxy or server does not know the client's address.
    pub address: Option<SocketAddr>,
    /// Forward-confirmed DNS name, if the name was looked up.
    pub name: Option<Box<str>>,
    /// DNS name from the PTR record, confirmed or not, if the name was looked up.
    pub reverse_name: Option<Box<str>>,
    /// Result of the DNS name lookup. It tells why a name is missing.
    pub name_lookup: NameLookup,
    /// Name given in HELO or EHLO.
    pub helo: Option<Helo>,
    /// Login name of the client, as reported by a server with XCLIENT.
    pub login: Option<Box<str>>,
    /// TLS session of the connection, if there is one. If a proxy or a trusted server connects on
    /// behalf of the client, this is the TLS session of that server.
    pub tls: Option<TlsInfo>,
    /// Source of the address, the name and the HELO.
    pub vouched: Vouched,
    /// Whether the client is in one of [`Settings::own_networks`](crate::Settings::own_networks).
    /// The session sets this field again for each client described by a PROXY header, XCLIENT or
    /// XFORWARD. It is `false` for a peer that no session has processed. Each scorer documents its
    /// effect.
    pub own: bool,
}

impl Peer {
    /// Creates a client that connected from `address`. IPv4-mapped IPv6 addresses are converted to
    /// IPv4.
    pub fn new(address: SocketAddr) -> Self {
        Self { address: Some(canonical(address)), ..Self::local() }
    }

    /// Creates a client on this machine, connected by a Unix socket or in memory.
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

    /// Sets the DNS name of the client and marks the lookup as answered.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self.name_lookup = NameLookup::Answered;
        self
    }

    /// Returns the client that this proxy describes in its PROXY header. The result is the proxy
    /// itself for `LOCAL`, and a client with unknown address if the proxy does not know the
    /// address.
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

    /// Returns the client that this peer describes with XCLIENT or XFORWARD. Omitted attributes
    /// keep their value, with two exceptions: a new address resets the names, and the HELO is
    /// always taken from `told`.
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

/// Result of the DNS lookup of the names of a [`Peer`].
///
/// If a peer has no name and the lookup was [`Answered`](Self::Answered), DNS has no confirmed name
/// for the address. The trace header then says `unknown` and XCLIENT says `[UNAVAILABLE]`. With any
/// other result, the trace header contains only the address, and XCLIENT says `[TEMPUNAVAIL]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum NameLookup {
    /// The names were not looked up.
    #[default]
    NotAsked,
    /// DNS answered. A name that is `None` does not exist in DNS.
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

/// An address in brackets, as written after a name.
struct Bracketed(Option<SocketAddr>);

impl Written for Bracketed {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        match self.0 {
            Some(address) => AddressLiteral(address.ip()).write_to(to),
            None => to.write_str("[local]"),
        }
    }
}

/// Source of each fact about a [`Peer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Vouched {
    /// Source of the address.
    pub address: Voucher,
    /// Source of the name.
    pub name: Voucher,
    /// Source of the HELO. It vouches that the client sent this HELO, not that the HELO is true.
    pub helo: Voucher,
}

impl fmt::Display for Vouched {
    /// Writes every source other than the socket, for address, name and HELO, without repetition:
    /// `xclient[192.0.2.7]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut vouchers = vec![self.address, self.name, self.helo];
        vouchers.retain(|voucher| *voucher != Voucher::Socket);
        vouchers.dedup();
        let words: Vec<_> = vouchers.iter().map(Voucher::to_string).collect();
        f.write_str(&words.join(","))
    }
}

/// Source of a fact about a [`Peer`]. If the source is another server, the value is that server's
/// own address at the start of the session. The address is `None` for a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Voucher {
    /// The connection itself: the address is from the socket, the HELO was received on it, and the
    /// name was looked up by the creator of the [`Peer`].
    #[default]
    Socket,
    /// A proxy, in its PROXY protocol header.
    Proxy(Option<SocketAddr>),
    /// A server that is allowed to use XCLIENT.
    XClient(Option<SocketAddr>),
    /// A server that is allowed to use XFORWARD, for this transaction.
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

/// HELO or EHLO of a client (RFC 5321 section 4.1.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helo {
    /// Whether the client sent EHLO.
    pub extended: bool,
    /// The name that the client gave. It is printable but unverified.
    pub name: Box<str>,
}

/// Parameters of a TLS session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// Protocol version, for example `TLSv1.3`.
    pub version: Box<str>,
    /// Cipher suite, for example `TLS_AES_256_GCM_SHA384`.
    pub cipher: Box<str>,
}

impl TlsInfo {
    /// Creates the description of a TLS session from its protocol version and cipher suite.
    pub fn new(version: &str, cipher: &str) -> Self {
        Self { version: version.into(), cipher: cipher.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xclient_states_whether_a_name_was_looked_up() {
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
        // XCLIENT without attributes describes the same client.
        let same = told(ClientAttributes::default());
        assert_eq!((same.name, same.name_lookup), (server.name.clone(), Answered));
    }
}
