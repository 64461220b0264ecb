//! Who the client is: what an onward server is told of it, and how.

use bytes::{Bytes, BytesMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::envelope::TransactionId;
use crate::peer::{NameLookup, Peer};
use crate::wire::attributes::{Attribute, ClientAttributes, ClientOrigin};
use crate::wire::proxy::ProxyHeader;

/// How the onward server is told who the client is. Whatever is chosen, a server that does not take
/// it is asked nothing: the client is told 451.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Identify {
    /// Not at all. To the server every message comes from us: it must not trust our address, or it
    /// relays for everybody. [`Smtp::self_test`](crate::relay::Smtp::self_test) tells.
    #[default]
    None,
    /// By XCLIENT: the server's restrictions, logs and trace fields see the client. For a gate that
    /// the internet connects to, in front of Postfix with `smtpd_authorized_xclient_hosts` and without our address
    /// in `mynetworks` and `local_header_rewrite_clients` (which it looks up before XCLIENT).
    XClient,
    /// By XFORWARD: the server logs the client, its restrictions see us. For a gate between two
    /// servers (Postfix `smtpd_proxy_filter`), of which the first has asked who may send.
    XForward,
    /// By a PROXY header in front of everything else: as XCLIENT, without a word of SMTP. A client
    /// without an address is told 451: there is no header that names it, and one that does not
    /// name it leaves the server to believe in ours.
    Proxy(ProxyVersion),
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl Identify {
    /// Whether the server takes the connection for the client's own: it is never used for another
    /// client, and the name given in EHLO is the client's.
    pub fn impersonates(self) -> bool {
        matches!(self, Self::XClient | Self::Proxy(_))
    }
}

/// Whether both are the same client to a server that was told who it is.
pub(super) fn is_same(one: &Peer, other: &Peer) -> bool {
    let told = |peer: &Peer| {
        let names = (peer.name.clone(), peer.reverse_name.clone(), peer.name_lookup);
        (peer.address, names, peer.login.clone())
    };
    told(one) == told(other)
}

/// HELO and PROTO are left to the EHLO that follows: in XCLIENT they would be forgotten at once.
pub(super) fn xclient(client: &Peer) -> ClientAttributes {
    ClientAttributes {
        name: name(client),
        reverse_name: looked_up(client, client.reverse_name.as_deref().or(client.name.as_deref())),
        login: client.login.clone().map_or(Attribute::Omitted, Attribute::Known),
        ..connection(client)
    }
}

/// All attributes, so that none of another client is left. What we were told by XFORWARD ourselves
/// and do not know better goes on as it came.
pub(super) fn xforward(
    client: &Peer,
    id: &TransactionId,
    told: Option<&ClientAttributes>,
) -> ClientAttributes {
    let protocol = |extended| if extended { "ESMTP" } else { "SMTP" }.into();
    let helo = client.helo.as_ref();
    ClientAttributes {
        name: name(client),
        protocol: attribute(helo.map(|helo| protocol(helo.extended))),
        helo: attribute(helo.map(|helo| helo.name.clone())),
        ident: match told.map(|told| &told.ident) {
            Some(Attribute::Known(ident)) => Attribute::Known(ident.clone()),
            _ => Attribute::Known(id.to_string().into()),
        },
        origin: match told.map(|told| told.origin.clone()) {
            Some(Attribute::Known(origin)) => Attribute::Known(origin),
            // Without an address it may be of this machine, or nobody knows.
            _ => attribute(client.address.map(|_| ClientOrigin::Remote)),
        },
        ..connection(client)
    }
}

/// The PROXY header; `None` for a client without an address. Where it connected to is not known
/// here: the same family's unspecified address stands for it.
pub(super) fn proxy(version: ProxyVersion, client: &Peer) -> Option<Bytes> {
    let source = client.address?;
    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
    let unspecified = match source.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let header = ProxyHeader::tcp(source, SocketAddr::new(unspecified, SMTP));
    let mut octets = BytesMut::new();
    match version {
        ProxyVersion::V1 => header.write_v1(&mut octets),
        ProxyVersion::V2 => header.write_v2(&mut octets),
    }
    Some(octets.freeze())
}

/// A command that introduces whoever this is. A name that could be more than a word of it is made
/// one.
pub(super) fn hello(verb: &str, name: &str) -> Bytes {
    let plain = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    let name: String = name.chars().take(NAME).map(plain).collect();
    let name = if name.is_empty() { "?" } else { &name };
    format!("{verb} {name}\r\n").into()
}

/// Longest domain (RFC 5321 section 4.5.3.1.2).
const NAME: usize = 255;

/// The port that mail comes in by (RFC 5321 section 4.5.4.2).
const SMTP: u16 = 25;

fn connection(client: &Peer) -> ClientAttributes {
    ClientAttributes {
        address: attribute(client.address.map(|address| address.ip())),
        port: attribute(client.address.map(|address| address.port()).filter(|port| *port != 0)),
        ..ClientAttributes::default()
    }
}

fn name(client: &Peer) -> Attribute<Box<str>> {
    looked_up(client, client.name.as_deref())
}

/// A name from DNS. Without one, the server is told that there is none only if DNS said so: it may
/// refuse such a client for good.
fn looked_up(client: &Peer, name: Option<&str>) -> Attribute<Box<str>> {
    match name {
        Some(name) => Attribute::Known(name.into()),
        None if client.address.is_none() => Attribute::Unavailable,
        None if client.name_lookup == NameLookup::Answered => Attribute::Unavailable,
        None => Attribute::TemporarilyUnavailable,
    }
}

fn attribute<T>(value: Option<T>) -> Attribute<T> {
    value.map_or(Attribute::Unavailable, Attribute::Known)
}
