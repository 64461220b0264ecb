//! Client attributes of XCLIENT and XFORWARD. With these commands, one server describes the
//! original client to the next server. They are Postfix extensions, documented in its
//! XCLIENT_README and XFORWARD_README.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use super::parameters::{halves, number, printable, trim_start};
use super::xtext;

mod host_name;
#[cfg(test)]
mod tests;

/// Longest value in octets, in xtext (Postfix: 255).
const VALUE: usize = 255;
/// Longest protocol name (Postfix: 64).
const PROTOCOL: usize = 64;
/// Longest XFORWARD command, CRLF included (RFC 5321 section 4.5.3.1.4).
const COMMAND: usize = 512;

const UNAVAILABLE: &str = "[UNAVAILABLE]";
const TEMPORARILY_UNAVAILABLE: &str = "[TEMPUNAVAIL]";

const XCLIENT: [&str; 9] =
    ["NAME", "REVERSE_NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"];
const XFORWARD: [&str; 7] = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"];
/// Attributes that XCLIENT always contains if the server offers them. If one were omitted, the
/// server would keep the value of the gate's own connection.
const CONNECTION: [&str; 4] = ["NAME", "REVERSE_NAME", "ADDR", "PORT"];

/// The command that carries client attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeCommand {
    /// XCLIENT: tells the server to treat the session as if that client had connected.
    Xclient,
    /// XFORWARD: tells the server to log that client. The server's rules still apply to the sending
    /// server.
    Xforward,
}

/// The description of a client in XCLIENT or XFORWARD. Some attributes exist in only one of the two
/// commands; see the fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ClientAttributes {
    /// NAME, in both commands: the client's DNS name, confirmed by a forward lookup.
    pub name: Attribute<Box<str>>,
    /// REVERSE_NAME, in XCLIENT: the client's DNS name from the reverse lookup, confirmed or not.
    pub reverse_name: Attribute<Box<str>>,
    /// ADDR, in both commands. An IPv4-mapped IPv6 address is written as an IPv4 address.
    pub address: Attribute<IpAddr>,
    /// PORT, in both commands.
    pub port: Attribute<u16>,
    /// PROTO, in both commands: `SMTP` or `ESMTP`. XFORWARD allows others, too.
    pub protocol: Attribute<Box<str>>,
    /// HELO, in both commands: the name that the client gave in HELO or EHLO.
    pub helo: Attribute<Box<str>>,
    /// LOGIN, in XCLIENT: the user name with which the client authenticated.
    pub login: Attribute<Box<str>>,
    /// IDENT, in XFORWARD: the identifier of the message at the sending server.
    pub ident: Attribute<Box<str>>,
    /// SOURCE, in XFORWARD: local or remote origin.
    pub origin: Attribute<ClientOrigin>,
    /// DESTADDR, in XCLIENT: the address that the client connected to.
    pub destination_address: Attribute<IpAddr>,
    /// DESTPORT, in XCLIENT: the port that the client connected to.
    pub destination_port: Attribute<u16>,
}

/// The state of one client attribute in XCLIENT or XFORWARD.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Attribute<T> {
    /// The attribute is not sent.
    #[default]
    Omitted,
    /// `[UNAVAILABLE]`: the value does not exist or is not known.
    Unavailable,
    /// `[TEMPUNAVAIL]`: the lookup failed temporarily. Only for names in XCLIENT; other attributes
    /// are written as `[UNAVAILABLE]`.
    TemporarilyUnavailable,
    /// The value.
    Known(T),
}

/// The origin of a message from the view of the sending server (SOURCE in XFORWARD).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientOrigin {
    /// `LOCAL`: the same machine.
    Local,
    /// `REMOTE`: the network.
    Remote,
}

/// Reason why the argument of XCLIENT or XFORWARD is refused. Fault of the server that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// The argument contains no attribute.
    #[error("no attribute")]
    Missing,
    /// An attribute is not `NAME=value`, or its value is not valid xtext.
    #[error("malformed attribute, expected NAME=value in xtext")]
    Malformed,
    /// The command has no attribute of this name.
    #[error("unknown attribute")]
    Unknown,
    /// This attribute occurs twice.
    #[error("{0} occurs twice")]
    Duplicate(&'static str),
    /// This attribute has an invalid value.
    #[error("invalid value of {0}")]
    Value(&'static str),
}

impl AttributeCommand {
    /// Splits a command line, without its CRLF, into the verb and the argument. Returns `None` if
    /// the verb is neither XCLIENT nor XFORWARD.
    pub fn split(line: &[u8]) -> Option<(Self, &[u8])> {
        let line = trim_start(line);
        let verb = line.split(|octet| *octet == b' ').next()?;
        let argument = line.get(verb.len()..)?;
        let commands = [Self::Xclient, Self::Xforward].into_iter();
        let mut commands = commands.filter(|it| it.verb().as_bytes().eq_ignore_ascii_case(verb));
        commands.next().map(|command| (command, argument))
    }

    /// Returns `XCLIENT` or `XFORWARD`.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Xclient => "XCLIENT",
            Self::Xforward => "XFORWARD",
        }
    }

    /// Returns the attributes that nobounce supports for this command, as listed after the verb in
    /// an EHLO reply.
    pub fn attributes(self) -> &'static [&'static str] {
        match self {
            Self::Xclient => &XCLIENT,
            Self::Xforward => &XFORWARD,
        }
    }
}

impl<T> Attribute<T> {
    /// Returns the value, if it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the value as sent on the wire, or `None` if the attribute is omitted.
    fn written(&self, encode: fn(&T) -> String) -> Option<String> {
        match self {
            Self::Omitted => None,
            Self::Unavailable | Self::TemporarilyUnavailable => Some(UNAVAILABLE.into()),
            // A truncated value would be a different value, so an oversized one is `[UNAVAILABLE]`.
            Self::Known(value) => {
                let text = Some(encode(value)).filter(|it| (1..=VALUE).contains(&it.len()));
                Some(text.unwrap_or_else(|| UNAVAILABLE.into()))
            }
        }
    }

    fn update(&mut self, later: Self) {
        if !matches!(later, Self::Omitted) {
            *self = later;
        }
    }
}

impl Attribute<Box<str>> {
    /// Returns a name as sent on the wire. In XCLIENT, a failed lookup is `[TEMPUNAVAIL]`. A name
    /// that the server would refuse is `[UNAVAILABLE]`: the client is still identified by its
    /// address.
    fn written_name(&self, command: AttributeCommand) -> Option<String> {
        match (self, command) {
            (Self::TemporarilyUnavailable, AttributeCommand::Xclient) => {
                Some(TEMPORARILY_UNAVAILABLE.into())
            }
            (Self::Known(name), _) => {
                Some(host_name::valid(name).map_or_else(|| UNAVAILABLE.into(), Into::into))
            }
            _ => self.written(text_value),
        }
    }

    /// Returns a protocol as sent on the wire. Postfix accepts only `SMTP` and `ESMTP` in XCLIENT,
    /// not `[UNAVAILABLE]`, so any other value is omitted. Protocols in XFORWARD have up to 64
    /// octets.
    fn written_protocol(&self, command: AttributeCommand) -> Option<String> {
        let Self::Known(name) = self else {
            return self.written(text_value).filter(|_| command == AttributeCommand::Xforward);
        };
        match command {
            AttributeCommand::Xclient => {
                let mut known = ["SMTP", "ESMTP"].into_iter();
                known.find(|it| it.eq_ignore_ascii_case(name)).map(Into::into)
            }
            AttributeCommand::Xforward if name.len() > PROTOCOL => Some(UNAVAILABLE.into()),
            AttributeCommand::Xforward => self.written(text_value),
        }
    }
}

impl ClientAttributes {
    /// Creates the description of a client that connected from `address` and whose name is not
    /// known.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            name: Attribute::Unavailable,
            reverse_name: Attribute::Unavailable,
            address: Attribute::Known(address.ip().to_canonical()),
            port: Attribute::Known(address.port()),
            ..Self::default()
        }
    }

    /// Creates the description of a client with all attributes unavailable.
    pub fn unavailable() -> Self {
        Self {
            name: Attribute::Unavailable,
            reverse_name: Attribute::Unavailable,
            address: Attribute::Unavailable,
            port: Attribute::Unavailable,
            protocol: Attribute::Unavailable,
            helo: Attribute::Unavailable,
            login: Attribute::Unavailable,
            ident: Attribute::Unavailable,
            origin: Attribute::Unavailable,
            destination_address: Attribute::Unavailable,
            destination_port: Attribute::Unavailable,
        }
    }

    /// Parses the argument of one command, without its CRLF.
    pub fn parse(command: AttributeCommand, argument: &[u8]) -> Result<Self, AttributeError> {
        let mut attributes = Self::default();
        let mut seen = Vec::new();
        for word in argument.split(|octet| *octet == b' ').filter(|word| !word.is_empty()) {
            let (name, value) = halves(word);
            let value = value.ok_or(AttributeError::Malformed)?;
            let mut names = command.attributes().iter();
            let name = *names
                .find(|known| known.as_bytes().eq_ignore_ascii_case(name))
                .ok_or(AttributeError::Unknown)?;
            if seen.contains(&name) {
                return Err(AttributeError::Duplicate(name));
            }
            seen.push(name);
            attributes.set(name, value)?;
        }
        if seen.is_empty() { Err(AttributeError::Missing) } else { Ok(attributes) }
    }

    /// Merges the attributes of a later command, since several commands may describe one client. If
    /// an attribute occurs in both, the later value wins.
    pub fn update(&mut self, later: Self) {
        self.name.update(later.name);
        self.reverse_name.update(later.reverse_name);
        self.address.update(later.address);
        self.port.update(later.port);
        self.protocol.update(later.protocol);
        self.helo.update(later.helo);
        self.login.update(later.login);
        self.ident.update(later.ident);
        self.origin.update(later.origin);
        self.destination_address.update(later.destination_address);
        self.destination_port.update(later.destination_port);
    }

    /// Returns the XCLIENT command, CRLF included, with the attributes that the server has
    /// `offered`. `offered` is the text after XCLIENT in its EHLO reply. NAME, REVERSE_NAME, ADDR
    /// and PORT are always sent if offered. Returns `None` if ADDR is not offered, since the server
    /// would still see the gate's address instead of the client's.
    ///
    /// Postfix refuses an IPv6 address if its `inet_protocols` is `ipv4`.
    pub fn xclient(&self, offered: &str) -> Option<Bytes> {
        if !is_offered("ADDR", offered) {
            return None;
        }
        let mut command = String::from("XCLIENT");
        for name in XCLIENT.into_iter().filter(|name| is_offered(name, offered)) {
            let unsaid = || CONNECTION.contains(&name).then(|| UNAVAILABLE.into());
            let value = self.value(AttributeCommand::Xclient, name).or_else(unsaid);
            if let Some(value) = value {
                command.extend([" ", name, "=", &value]);
            }
        }
        command.push_str("\r\n");
        Some(command.into())
    }

    /// Returns the XFORWARD commands, each with its CRLF and at most 512 octets long. They contain
    /// the attributes that are not omitted and that the server has `offered`. `offered` is the text
    /// after XFORWARD in its EHLO reply. If all attributes are omitted or not offered, the result
    /// is empty.
    pub fn xforward(&self, offered: &str) -> Vec<Bytes> {
        let mut commands = Vec::new();
        let mut command = String::new();
        for name in XFORWARD.into_iter().filter(|name| is_offered(name, offered)) {
            let Some(value) = self.value(AttributeCommand::Xforward, name) else {
                continue;
            };
            if command.len() + " =\r\n".len() + name.len() + value.len() > COMMAND {
                commands.push(Bytes::from(std::mem::take(&mut command) + "\r\n"));
            }
            if command.is_empty() {
                command.push_str("XFORWARD");
            }
            command.extend([" ", name, "=", &value]);
        }
        if !command.is_empty() {
            commands.push(Bytes::from(command + "\r\n"));
        }
        commands
    }

    fn set(&mut self, name: &'static str, value: &[u8]) -> Result<(), AttributeError> {
        match name {
            "NAME" => self.name = read_name(name, value)?,
            "REVERSE_NAME" => self.reverse_name = read_name(name, value)?,
            "ADDR" => self.address = read(name, value, address)?,
            "PORT" => self.port = read(name, value, port)?,
            "PROTO" => self.protocol = read(name, value, protocol)?,
            "HELO" => self.helo = read(name, value, text)?,
            "LOGIN" => self.login = read(name, value, text)?,
            "IDENT" => self.ident = read(name, value, text)?,
            "SOURCE" => self.origin = read(name, value, origin)?,
            "DESTADDR" => self.destination_address = read(name, value, address)?,
            "DESTPORT" => self.destination_port = read(name, value, port)?,
            _ => return Err(AttributeError::Unknown),
        }
        Ok(())
    }

    /// Returns the value of an attribute as sent on the wire, or `None` if it is omitted.
    fn value(&self, command: AttributeCommand, name: &str) -> Option<String> {
        match name {
            "NAME" => self.name.written_name(command),
            "REVERSE_NAME" => self.reverse_name.written_name(command),
            "ADDR" => self.address.written(address_value),
            "PORT" => self.port.written(u16::to_string),
            "PROTO" => self.protocol.written_protocol(command),
            "HELO" => self.helo.written(text_value),
            "LOGIN" => self.login.written(text_value),
            "IDENT" => self.ident.written(text_value),
            "SOURCE" => self.origin.written(origin_value),
            "DESTADDR" => self.destination_address.written(address_value),
            "DESTPORT" => self.destination_port.written(u16::to_string),
            _ => None,
        }
    }
}

fn is_offered(name: &str, offered: &str) -> bool {
    offered.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case(name))
}

fn read<T>(
    name: &'static str,
    value: &[u8],
    parse: fn(&[u8]) -> Option<T>,
) -> Result<Attribute<T>, AttributeError> {
    if value.eq_ignore_ascii_case(UNAVAILABLE.as_bytes()) {
        return Ok(Attribute::Unavailable);
    }
    let value = xtext::decode(value).ok_or(AttributeError::Malformed)?;
    parse(&value).map(Attribute::Known).ok_or(AttributeError::Value(name))
}

fn read_name(name: &'static str, value: &[u8]) -> Result<Attribute<Box<str>>, AttributeError> {
    if value.eq_ignore_ascii_case(TEMPORARILY_UNAVAILABLE.as_bytes()) {
        return Ok(Attribute::TemporarilyUnavailable);
    }
    read(name, value, host_name)
}

/// Parses a host name. Underscores are accepted, since they occur in DNS.
fn host_name(value: &[u8]) -> Option<Box<str>> {
    let is_plain = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._".contains(octet);
    let plain = value.len() <= VALUE && value.iter().all(is_plain);
    if plain { text(value) } else { None }
}

fn protocol(value: &[u8]) -> Option<Box<str>> {
    let plain = value.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    if plain { text(value) } else { None }
}

/// Replaces characters that are not printable instead of refusing the value: the client chose the
/// value, and the sending server has no better one.
fn text(value: &[u8]) -> Option<Box<str>> {
    (!value.is_empty()).then(|| printable(value))
}

#[allow(clippy::borrowed_box, reason = "the type of the attribute")]
fn text_value(text: &Box<str>) -> String {
    xtext::encode(text.as_bytes())
}

/// Parses an address. An IPv6 address must have the prefix `IPV6:`.
fn address(value: &[u8]) -> Option<IpAddr> {
    let value = str::from_utf8(value).ok()?;
    let address = match value.split_at_checked("IPV6:".len()) {
        Some((prefix, address)) if prefix.eq_ignore_ascii_case("IPV6:") => {
            IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
        }
        _ => IpAddr::V4(value.parse::<Ipv4Addr>().ok()?),
    };
    Some(address.to_canonical())
}

fn address_value(address: &IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("IPV6:{address}"),
    }
}

fn port(value: &[u8]) -> Option<u16> {
    number(value).and_then(|port| u16::try_from(port).ok())
}

fn origin(value: &[u8]) -> Option<ClientOrigin> {
    [ClientOrigin::Local, ClientOrigin::Remote]
        .into_iter()
        .find(|origin| origin_value(origin).as_bytes().eq_ignore_ascii_case(value))
}

fn origin_value(origin: &ClientOrigin) -> String {
    match origin {
        ClientOrigin::Local => "LOCAL".into(),
        ClientOrigin::Remote => "REMOTE".into(),
    }
}
