//! Passing the client's identity to the onward server.

use bytes::{Bytes, BytesMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::envelope::TransactionId;
use crate::peer::{NameLookup, Peer};
use crate::wire::attributes::{Attribute, ClientAttributes, ClientOrigin};
use crate::wire::proxy::ProxyHeader;

/// The method of passing the client's identity to the onward server. If the server does not accept
/// the chosen method, no request is sent, and the client gets 451.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Identify {
    /// The client's identity is not passed on. To the server, every message seems to come from
    /// the gate. The server must not trust the gate's address, or it becomes an open relay.
    /// [`Smtp::self_test`](crate::relay::Smtp::self_test) checks this.
    #[default]
    None,
    /// XCLIENT: the server uses the client's identity in its restrictions, logs and trace fields.
    /// Use it for a gate that receives mail from the internet and has Postfix as its onward server.
    /// In Postfix, add the gate's address to `smtpd_authorized_xclient_hosts`. Remove it from
    /// `mynetworks` and `local_header_rewrite_clients`, which Postfix looks up before XCLIENT.
    XClient,
    /// XFORWARD: the server logs the client, but its restrictions apply to the gate. Use it for a
    /// gate between two servers (Postfix `smtpd_proxy_filter`), where the first server has checked
    /// who may send.
    XForward,
    /// A PROXY header at the start of the connection. It has the effect of XCLIENT without an SMTP
    /// command. A client without an address gets 451, because no header can name it. With a header
    /// that does not name the client, the server would use the gate's address.
    Proxy(ProxyVersion),
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary format.
    V2,
}

impl Identify {
    /// Returns whether the server treats the connection as the client's own. If so, the connection
    /// is never used for another client, and EHLO contains the client's name.
    pub fn impersonates(self) -> bool {
        matches!(self, Self::XClient | Self::Proxy(_))
    }
}

/// Returns whether the server would see both peers as the same client.
pub(super) fn is_same(one: &Peer, other: &Peer) -> bool {
    let told = |peer: &Peer| {
        let names = (peer.name.clone(), peer.reverse_name.clone(), peer.name_lookup);
        (peer.address, names, peer.login.clone())
    };
    told(one) == told(other)
}

/// Returns the attributes for XCLIENT. HELO and PROTO are omitted, because the EHLO that follows
/// replaces them at once.
pub(super) fn xclient(client: &Peer) -> ClientAttributes {
    ClientAttributes {
        name: name(client),
        reverse_name: looked_up(client, client.reverse_name.as_deref().or(client.name.as_deref())),
        login: client.login.clone().map_or(Attribute::Omitted, Attribute::Known),
        ..connection(client)
    }
}

/// Returns the attributes for XFORWARD. All attributes are set, so that none of another client
/// remain. If the gate received IDENT and SOURCE by XFORWARD, it passes them on unchanged.
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
            // A client without an address may be local, or its origin is unknown.
            _ => attribute(client.address.map(|_| ClientOrigin::Remote)),
        },
        ..connection(client)
    }
}

/// Returns the PROXY header, or `None` for a client without an address. The destination address is
/// not known here, so the unspecified address of the same family is used.
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

/// Returns a command that introduces a host. Characters that are not allowed in a name are
/// replaced, so that the name is a single word.
pub(super) fn hello(verb: &str, name: &str) -> Bytes {
    let plain = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    let name: String = name.chars().take(NAME).map(plain).collect();
    let name = if name.is_empty() { "?" } else { &name };
    format!("{verb} {name}\r\n").into()
}

/// The maximum length of a domain (RFC 5321 section 4.5.3.1.2).
const NAME: usize = 255;

/// The port for incoming mail (RFC 5321 section 4.5.4.2).
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

/// Returns an attribute for a name from DNS. Without a name, it is `Unavailable` only if DNS
/// confirmed that. The server may refuse such a client with 5yz.
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
