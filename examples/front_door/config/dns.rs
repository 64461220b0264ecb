//! The tables of scorers that ask DNS.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use nobounce::dns::{Cache, Client, DomainName};
use nobounce::scorers::{
    Authentication, Codes, DnsList, Dnsbl, HeloNames, ReverseNames, Rhsbl, Uribl,
};
use nobounce::{Panel, Runtime};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::tables::table;
use super::values::{Parsed, Points, Seconds, Told};
use super::{Config, ConfigError, File};

/// Who is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dns {
    #[serde(default)]
    servers: Vec<Parsed<Server>>,
    name_clients: Option<Seconds>,
}

/// `ADDRESS` or `ADDRESS:PORT`.
struct Server(SocketAddr);

impl FromStr for Server {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let server = text.parse().or_else(|_| text.parse::<IpAddr>().map(|it| (it, 53).into()));
        server.map(Self).map_err(|_| "neither ADDRESS nor ADDRESS:PORT of a name server")
    }
}

table! {
    /// Lists of clients' addresses.
    Addresses { list: Vec<List>, }
}

table! {
    /// Lists of names: of the client, in HELO, of the sender.
    Names { list: Vec<List>, }
}

table! {
    /// Lists of what links lead to.
    Links { list: Vec<List>, }
}

table! {
    /// Names in HELO.
    Helo {
        #[serde(default)]
        ours: Vec<String>,
    }
}

table! {
    /// Names of clients in DNS.
    ReverseName {}
}

table! {
    /// SPF, DKIM, ARC and DMARC.
    Authenticity {
        #[serde(default)]
        refuse_rejected: bool,
    }
}

/// One list, with the rules for its codes.
#[derive(Deserialize)]
#[serde(try_from = "Described")]
pub(crate) struct List(DnsList);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    zone: Checked<DomainName>,
    symbol: Option<String>,
    score: Option<Points>,
    #[serde(default)]
    codes: Vec<OnCodes>,
    #[serde(default)]
    bits: Vec<OnBits>,
    #[serde(default)]
    refusing: Vec<Checked<Codes>>,
    disclosure: Option<Told>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnCodes {
    codes: Checked<Codes>,
    symbol: String,
    score: Points,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnBits {
    mask: u32,
    symbol: String,
    score: Points,
}

impl TryFrom<Described> for List {
    type Error = Box<dyn std::error::Error>;

    fn try_from(described: Described) -> Result<Self, Self::Error> {
        let mut list = DnsList::new(&described.zone.text)?;
        if let Some(symbol) = &described.symbol {
            list = list.symbol(symbol);
        }
        if let Some(Points(score)) = described.score {
            list = list.weight(score);
        }
        for rule in &described.codes {
            list = list.codes(&rule.codes.text, &rule.symbol, rule.score.0)?;
        }
        for rule in &described.bits {
            list = list.bits(rule.mask, &rule.symbol, rule.score.0);
        }
        for codes in &described.refusing {
            list = list.refusing(&codes.text)?;
        }
        if let Some(told) = described.disclosure {
            list = list.disclosure(told.0);
        }
        Ok(Self(list))
    }
}

/// Text that can be read as a `T`.
struct Checked<T> {
    text: String,
    kind: PhantomData<T>,
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Checked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse::<T>() {
            Ok(_) => Ok(Self { text, kind: PhantomData }),
            Err(error) => Err(D::Error::custom(error)),
        }
    }
}

/// A resolver with one memory for all that ask it.
pub(crate) type Resolver<R> = Cache<Client<R>, R>;

impl File {
    /// Asks the servers that the file names, or a resolver on this machine.
    pub(super) fn resolver<R: Runtime + Clone>(&self, runtime: &R) -> Resolver<R> {
        let here = || vec![SocketAddr::from(([127, 0, 0, 1], 53))];
        let named = self.dns.iter().flat_map(|dns| &dns.servers).map(|server| server.0.0);
        let named: Vec<_> = named.collect();
        let servers = if named.is_empty() { here() } else { named };
        let client = Client::new(runtime.clone(), servers);
        Cache::new(runtime.clone(), client)
    }

    /// The scorers of this file that ask DNS take their seats.
    pub(super) fn seat_dns<R: Runtime + Clone>(
        &self,
        mut panel: Panel,
        resolver: &Resolver<R>,
        host: &str,
    ) -> Result<Panel, ConfigError> {
        if let Some(table) = &self.dnsbl {
            let scorer = Dnsbl::new(resolver.clone());
            let lists = table.list.iter().map(|list| list.0.clone());
            panel = panel.seat(table.seat(lists.fold(scorer, Dnsbl::list)));
        }
        if let Some(table) = &self.rhsbl {
            let scorer = Rhsbl::new(resolver.clone());
            let lists = table.list.iter().map(|list| list.0.clone());
            panel = panel.seat(table.seat(lists.fold(scorer, Rhsbl::list)));
        }
        if let Some(table) = &self.uribl {
            let scorer = Uribl::new(resolver.clone());
            let lists = table.list.iter().map(|list| list.0.clone());
            panel = panel.seat(table.seat(lists.fold(scorer, Uribl::list)));
        }
        if let Some(table) = &self.helo {
            let scorer = HeloNames::new(resolver.clone()).ours(host);
            let ours = table.ours.iter();
            panel = panel.seat(table.seat(ours.fold(scorer, |scorer, name| scorer.ours(name))));
        }
        if let Some(table) = &self.reverse_name {
            panel = panel.seat(table.seat(ReverseNames::new(resolver.clone())));
        }
        if let Some(table) = &self.authentication {
            let scorer = Authentication::new(resolver.clone(), host);
            let scorer = scorer.map_err(|error| ConfigError::Machine(error.to_string()))?;
            let scorer = if table.refuse_rejected { scorer.refuse_rejected() } else { scorer };
            panel = panel.seat(table.seat(scorer));
        }
        Ok(panel)
    }
}

impl Config {
    /// Who looks names of clients up, and for how long at the most, if that is wanted.
    pub(crate) fn name_clients<R: Runtime + Clone>(
        &self,
        runtime: &R,
    ) -> Option<(Resolver<R>, Duration)> {
        let Seconds(patience) = self.file.dns.as_ref()?.name_clients?;
        Some((self.file.resolver(runtime), patience))
    }

    /// Whether authentication is checked, so that results in our name are forged.
    pub(crate) fn authenticates(&self) -> bool {
        self.file.authentication.is_some()
    }
}
