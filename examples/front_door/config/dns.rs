//! The tables of scorers that ask DNS.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use nobounce::dns::{Cache, Client, DomainName, Resolver};
use nobounce::scorers::{
    Authentication, Codes, DnsList, Dnsbl, HeloFlaw, HeloNames, ReverseNames, Rhsbl, Uribl,
};
use nobounce::{HostName, Panel, Runtime};
use serde::Deserialize;
use serde::de::Deserializer;
use toml::Spanned;

use super::tables::table;
use super::values::{Mask, Parsed, Points, Symbol, Told, WaitOrNever, is_name};
use super::{Config, ConfigError};
use crate::status::watch;

/// File in which the system lists its DNS servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The DNS servers, and whether clients' names are looked up.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dns {
    #[serde(default)]
    servers: Servers,
    name_clients: Option<WaitOrNever>,
}

/// The configured DNS servers, without duplicates.
#[derive(Default, Deserialize)]
#[serde(try_from = "Vec<Parsed<Server>>")]
struct Servers(Vec<SocketAddr>);

impl TryFrom<Vec<Parsed<Server>>> for Servers {
    type Error = String;

    fn try_from(named: Vec<Parsed<Server>>) -> Result<Self, String> {
        let servers: Vec<SocketAddr> = named.iter().map(|server| server.0.0).collect();
        if servers.is_empty() {
            return Err("[]: no server, expected at least one, or no key `servers`".into());
        }
        match repeated(&servers) {
            Some(server) => Err(format!("{server} occurs twice, expected each server once")),
            None => Ok(Self(servers)),
        }
    }
}

/// Returns the first item that equals an earlier one.
fn repeated<T: PartialEq>(all: &[T]) -> Option<&T> {
    all.iter().enumerate().find(|(place, it)| all[..*place].contains(it)).map(|(_, it)| it)
}

/// A DNS server: `ADDRESS` or `ADDRESS:PORT`.
struct Server(SocketAddr);

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let server = text.parse().or_else(|_| text.parse::<IpAddr>().map(|it| (it, 53).into()));
        let server: SocketAddr =
            server.map_err(|_| format!("`{text}` is neither ADDRESS nor ADDRESS:PORT"))?;
        let ip = server.ip();
        if ip.is_unspecified() || ip.is_multicast() || server.port() == 0 {
            return Err(format!(
                "`{text}` is not the address of a server, expected one such as 127.0.0.1"
            ));
        }
        Ok(Self(server))
    }
}

table! {
    /// DNS lists of clients' addresses.
    Addresses { list: Lists, }
}

table! {
    /// DNS lists of names: the client's name, its HELO name and the sender's domain.
    Names { list: Lists, }
}

table! {
    /// DNS lists of the hosts that links in a message lead to.
    Links { list: Lists, }
}

table! {
    /// Checks of the HELO name.
    Helo {
        #[serde(default)]
        ours: Vec<Parsed<Ours>>,
        #[serde(default)]
        weights: HashMap<Flaw, Points>,
    }
}

table! {
    /// Checks of the client's reverse name.
    ReverseName {
        #[serde(default)]
        weights: NameWeights,
    }
}

table! {
    /// SPF, DKIM, ARC and DMARC.
    Authenticity {
        authserv_id: Option<Parsed<Ours>>,
        #[serde(default)]
        refuse_rejected: bool,
        #[serde(default)]
        weights: BTreeMap<Spanned<String>, Points>,
    }
}

/// A name or address of this server. No client may use it in HELO.
pub(crate) struct Ours(HostName);

impl FromStr for Ours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let literal = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let address = literal.unwrap_or(text).trim_start_matches("IPv6:");
        if !is_name(text) && address.parse::<IpAddr>().is_err() {
            return Err(format!(
                "`{text}` is not the name or address of a server, expected one such as mx.example.org"
            ));
        }
        Ok(Self(HostName::new(text)))
    }
}

/// A flaw of a HELO name, parsed from its symbol.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Flaw(HeloFlaw);

impl FromStr for Flaw {
    type Err = String;

    fn from_str(symbol: &str) -> Result<Self, String> {
        Ok(Self(match symbol {
            "HELO_OURS" => HeloFlaw::Ours,
            "HELO_LITERAL_OTHER" => HeloFlaw::LiteralOther,
            "HELO_LITERAL" => HeloFlaw::Literal,
            "HELO_BARE_ADDRESS" => HeloFlaw::BareAddress,
            "HELO_NO_NAME" => HeloFlaw::NoName,
            "HELO_NO_DOT" => HeloFlaw::NoDot,
            "HELO_UNRESOLVED" => HeloFlaw::Unresolved,
            _ => {
                return Err(format!(
                    "`{symbol}` is not a symbol of [helo], expected one such as HELO_NO_DOT"
                ));
            }
        }))
    }
}

impl<'de> Deserialize<'de> for Flaw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Parsed::deserialize(deserializer)?.0)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NameWeights {
    #[serde(rename = "RDNS_NONE")]
    none: Option<Points>,
    #[serde(rename = "RDNS_UNCONFIRMED")]
    unconfirmed: Option<Points>,
}

/// One or more lists.
#[derive(Deserialize)]
#[serde(try_from = "Vec<List>")]
pub(crate) struct Lists(Vec<List>);

impl TryFrom<Vec<List>> for Lists {
    type Error = String;

    fn try_from(lists: Vec<List>) -> Result<Self, Self::Error> {
        if lists.is_empty() {
            return Err("no list, expected at least one".into());
        }
        let zones: Vec<&str> = lists.iter().map(|list| &*list.zone).collect();
        match repeated(&zones) {
            Some(zone) => Err(format!(
                "the zone {zone} occurs twice, expected each zone once: its score would count only once"
            )),
            None => Ok(Self(lists)),
        }
    }
}

impl Lists {
    /// Adds all lists to a scorer.
    fn to<S>(&self, scorer: S, add: fn(S, DnsList) -> S) -> S {
        self.0.iter().map(|list| list.list.clone()).fold(scorer, add)
    }
}

impl Lists {
    /// Returns the symbols of all findings that these lists can produce.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|list| &list.symbols).map(|symbol| &**symbol)
    }
}

/// A list, with the rules for its return codes.
#[derive(Deserialize)]
#[serde(try_from = "Described")]
struct List {
    /// The zone in lower case, without a trailing dot.
    zone: String,
    list: DnsList,
    symbols: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    zone: Parsed<Checked<DomainName>>,
    symbol: Option<Symbol>,
    score: Option<Points>,
    #[serde(default)]
    codes: Vec<OnCodes>,
    #[serde(default)]
    bits: Vec<OnBits>,
    #[serde(default)]
    refusing: Vec<Parsed<Checked<Codes>>>,
    disclosure: Option<Told>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnCodes {
    codes: Parsed<Checked<Codes>>,
    symbol: Symbol,
    score: Points,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnBits {
    mask: Mask,
    symbol: Symbol,
    score: Points,
}

impl TryFrom<Described> for List {
    type Error = Box<dyn std::error::Error>;

    fn try_from(described: Described) -> Result<Self, Self::Error> {
        let zone = &*described.zone.0.text;
        let mut list = DnsList::new(zone)?;
        let usual = zone.trim_end_matches('.').to_ascii_uppercase().replace('.', "_");
        let named = [described.symbol.as_ref().map_or(usual, |symbol| symbol.0.clone())];
        let codes = described.codes.iter().map(|rule| rule.symbol.0.clone());
        let bits = described.bits.iter().map(|rule| rule.symbol.0.clone());
        let symbols = named.into_iter().chain(codes).chain(bits).collect();
        if let Some(Symbol(symbol)) = &described.symbol {
            list = list.symbol(symbol);
        }
        if let Some(Points(score)) = described.score {
            list = list.weight(score);
        }
        for rule in &described.codes {
            list = list.codes(&rule.codes.0.text, &rule.symbol.0, rule.score.0)?;
        }
        for rule in &described.bits {
            list = list.bits(rule.mask.0, &rule.symbol.0, rule.score.0)?;
        }
        for Parsed(codes) in &described.refusing {
            list = list.refusing(&codes.text)?;
        }
        if let Some(Told(disclosure)) = described.disclosure {
            list = list.disclosure(disclosure);
        }
        let zone = zone.trim_end_matches('.').to_ascii_lowercase();
        Ok(Self { zone, list, symbols })
    }
}

/// Text that was checked to parse as a `T`, for scorers that take the text.
struct Checked<T> {
    text: String,
    kind: PhantomData<T>,
}

impl<T: FromStr> FromStr for Checked<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        text.parse::<T>().map(|_| Self { text: text.to_owned(), kind: PhantomData })
    }
}

/// Returns a resolver that asks the servers in the file, or else those of the system.
pub(crate) fn resolver<R: Runtime + Clone>(dns: Option<&Dns>, runtime: &R) -> Arc<dyn Resolver> {
    let mut servers = dns.map(|dns| dns.servers.0.clone()).unwrap_or_default();
    if servers.is_empty() {
        servers = system_servers(&fs::read_to_string(RESOLV_CONF).unwrap_or_default());
    }
    let cache = Cache::new(runtime.clone(), Client::new(runtime.clone(), servers));
    Arc::new(cache.on_lookup(watch::looked_up))
}

/// Returns the first three servers in `resolv.conf`, as the system does (resolv.conf(5)). Without
/// any, returns the one on this machine.
fn system_servers(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        words.next()?.parse::<IpAddr>().ok().map(|server| (server, 53).into())
    });
    let mut servers: Vec<SocketAddr> = named.take(3).collect();
    if servers.is_empty() {
        servers.push(([127, 0, 0, 1], 53).into());
    }
    servers
}

impl Config {
    /// Adds the scorers of this file that ask DNS to the panel.
    pub(super) fn seat_dns(&self, mut panel: Panel, host: &str) -> Result<Panel, ConfigError> {
        let (file, resolver) = (&self.file, || self.resolver.clone());
        if let Some(table) = &file.dnsbl {
            panel = panel.seat(table.seat(table.list.to(Dnsbl::new(resolver()), Dnsbl::list)));
        }
        if let Some(table) = &file.rhsbl {
            panel = panel.seat(table.seat(table.list.to(Rhsbl::new(resolver()), Rhsbl::list)));
        }
        if let Some(table) = &file.uribl {
            panel = panel.seat(table.seat(table.list.to(Uribl::new(resolver()), Uribl::list)));
        }
        if let Some(table) = &file.helo {
            panel = panel.seat(table.seat(helo(table, HeloNames::new(resolver()).ours(host))));
        }
        if let Some(table) = &file.reverse_name {
            panel = panel.seat(table.seat(reverse_name(table, ReverseNames::new(resolver()))));
        }
        if let Some(table) = &file.authentication {
            let scorer = self.authentication(table, host)?;
            panel = panel.seat(table.get_ref().seat(scorer));
        }
        Ok(panel)
    }

    fn authentication(
        &self,
        spanned: &Spanned<Authenticity>,
        host: &str,
    ) -> Result<Authentication, ConfigError> {
        let table = spanned.get_ref();
        let mut scorer = Authentication::new(self.resolver.clone(), table.name(host));
        for (symbol, points) in &table.weights {
            let weighed = scorer.weight(symbol.get_ref(), points.0);
            scorer = weighed.map_err(|error| self.wrong(symbol.span(), &error))?;
        }
        Ok(if table.refuse_rejected { scorer.refuse_rejected() } else { scorer })
    }

    /// Returns the authserv-id under which results are published, if they are. An
    /// Authentication-Results field from a client with this name is forged.
    pub(crate) fn authserv_id(&self, host: &str) -> Option<HostName> {
        self.file.authentication.as_ref().map(|table| table.get_ref().name(host))
    }

    /// Returns the resolver, which is also used for clients' names.
    pub(crate) fn resolver(&self) -> Arc<dyn Resolver> {
        self.resolver.clone()
    }

    /// Returns the configured timeout for looking up clients' names: `None` if the file does not
    /// set it, `Some(None)` for never.
    pub(crate) fn name_clients(&self) -> Option<Option<Duration>> {
        self.file.dns.as_ref()?.name_clients.map(|time| time.0)
    }

    /// Returns the scorers that take the client's DNS name from us. SpamAssassin and rspamd
    /// penalise a client without a name.
    pub(crate) fn readers_of_names(&self) -> Vec<&'static str> {
        let readers =
            [("[spamd]", self.file.spamd.is_some()), ("[rspamd]", self.file.rspamd.is_some())];
        readers.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
    }

    /// Returns whether another scorer uses clients' names. It reuses a lookup that was already
    /// made.
    pub(crate) fn uses_names(&self) -> bool {
        self.file.rhsbl.is_some() || self.file.reverse_name.is_some()
    }
}

impl Authenticity {
    fn name(&self, host: &str) -> HostName {
        match &self.authserv_id {
            Some(Parsed(Ours(name))) => name.clone(),
            None => host.into(),
        }
    }
}

fn helo(table: &Helo, mut scorer: HeloNames) -> HeloNames {
    for Parsed(Ours(name)) in &table.ours {
        scorer = scorer.ours(name);
    }
    for (Flaw(flaw), Points(weight)) in &table.weights {
        scorer = scorer.weight(*flaw, *weight);
    }
    scorer
}

fn reverse_name(table: &ReverseName, mut scorer: ReverseNames) -> ReverseNames {
    if let Some(Points(weight)) = table.weights.none {
        scorer = scorer.none(weight);
    }
    if let Some(Points(weight)) = table.weights.unconfirmed {
        scorer = scorer.unconfirmed(weight);
    }
    scorer
}
