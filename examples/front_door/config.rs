//! The configuration file: the scorers, and how the gate acts on their findings.
//!
//! `front_door.toml` documents every key. Errors are reported with file, line and the expected
//! value before any port is opened.

mod clients;
pub(crate) mod dns;
mod exempt;
mod memory;
mod place;
mod recall;
pub(crate) mod record;
mod refused;
mod sense;
mod session;
mod tables;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs, io};

use nobounce::dns::Resolver;
use nobounce::onward::OnwardSettings;
use nobounce::panel::Weights;
use nobounce::scorers::{Clamd, Gtube, Oversize, Rspamd, Spamd};
use nobounce::{Address, Panel, Runtime, Score, Settings, Thresholds};
use serde::Deserialize;
use toml::Spanned;

use crate::user;
pub(crate) use memory::Opened;
use place::Document;
pub(crate) use sense::DAEMONS;
use values::{Excess, Level, Patience, Points, Symbol, Told};

/// A configuration file that has been read. Its values have been validated, except for values that
/// only the scorers can check.
pub(crate) struct Config {
    path: PathBuf,
    text: String,
    file: File,
    /// The resolver of all scorers that ask DNS. They share its cache.
    resolver: Arc<dyn Resolver>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    monitor: bool,
    stage_budget: Option<Patience>,
    session: Option<session::Session>,
    onward: Option<session::Onward>,
    thresholds: Option<Spanned<Levels>>,
    #[serde(default)]
    weights: BTreeMap<Symbol, BTreeMap<Symbol, Points>>,
    #[serde(default)]
    disclosure: BTreeMap<Symbol, BTreeMap<Symbol, Told>>,
    admission: Option<clients::Admitted>,
    tarpit: Option<clients::Slowed>,
    record: Option<Spanned<record::Record>>,
    behaviour: Option<clients::Conduct>,
    gtube: Option<tables::Gtube>,
    structure: Option<tables::Structure>,
    spamd: Option<tables::Spamd>,
    rspamd: Option<tables::Rspamd>,
    clamd: Option<tables::Clamd>,
    dns: Option<dns::Dns>,
    dnsbl: Option<dns::Addresses>,
    rhsbl: Option<dns::Names>,
    uribl: Option<dns::Links>,
    helo: Option<dns::Helo>,
    reverse_name: Option<dns::ReverseName>,
    authentication: Option<Spanned<dns::Authenticity>>,
    store: Option<memory::Place>,
    greylist: Option<memory::Greylisting>,
    rate_limit: Option<memory::Rates>,
    reputation: Option<memory::Repute>,
    refused_mail: Option<refused::Refused>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Levels {
    tag: Option<Level>,
    defer: Option<Level>,
    refuse: Option<Level>,
}

/// An error in the configuration file, with its position.
#[derive(Debug)]
pub(crate) enum ConfigError {
    Unread(PathBuf, io::Error),
    Wrong { path: PathBuf, line: usize, key: String, what: String },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread(path, error) => {
                let (path, who) = (path.display(), user::reader(error));
                write!(f, "{path}: {error}; expected a TOML file that {who} may read")
            }
            Self::Wrong { path, line, key, what } => {
                let colon = if key.is_empty() { "" } else { ": " };
                write!(f, "{}:{line}: {key}{colon}{what}", path.display())
            }
        }
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    fn at(path: &Path, text: &str, span: Option<Range<usize>>, what: &dyn fmt::Display) -> Self {
        let (path, what) = (path.to_owned(), what.to_string());
        let key = Document::read(text).path(span.as_ref());
        Self::Wrong { path, line: line(text, span), key, what }
    }
}

impl Config {
    pub(crate) fn read<R: Runtime + Clone>(path: &Path, runtime: &R) -> Result<Self, ConfigError> {
        let path = path.to_owned();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => return Err(ConfigError::Unread(path, error)),
        };
        match toml::from_str::<File>(&text) {
            Ok(file) => {
                let resolver = dns::resolver(file.dns.as_ref(), runtime);
                let config = Self { path, text, file, resolver };
                match sense::check(&Document::read(&config.text)) {
                    Ok(()) => Ok(config),
                    Err((span, what)) => Err(config.wrong_at(span, &what)),
                }
            }
            Err(error) => {
                let what = error.message().lines().collect::<Vec<_>>().join(", ");
                Err(ConfigError::at(&path, &text, error.span(), &what))
            }
        }
    }

    /// Returns the text of the file.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns an error about a table, with its line.
    pub(crate) fn table_fault(&self, table: &str, what: &dyn fmt::Display) -> ConfigError {
        match Document::read(&self.text).table_span(table) {
            Some(span) => self.wrong(span, what),
            None => self.wrong_at(None, &format_args!("[{table}] is missing: {what}")),
        }
    }

    /// Returns the panel that the file describes, without the scorers that need a store (see
    /// [`remember`](Self::remember)). `host` is our own name.
    pub(crate) fn panel<R: Runtime + Clone>(
        &self,
        runtime: &R,
        host: &str,
    ) -> Result<Panel, ConfigError> {
        let file = &self.file;
        let mut panel = Panel::new().thresholds(self.thresholds()?).weights(self.weights());
        if let Some(Patience(budget)) = file.stage_budget {
            panel = panel.stage_budget(budget);
        }
        if let Some(table) = &file.behaviour {
            panel = panel.seat(table.seat(table.scorer()));
        }
        if let Some(table) = &file.gtube {
            panel = panel.seat(table.seat(Gtube));
        }
        if let Some(table) = &file.structure {
            panel = panel.seat(table.seat(table.scorer()));
        }
        if let Some(table) = &file.spamd {
            let mut spamd = Spamd::new(runtime.clone(), table.address.0.0.clone());
            if let Some(user) = &table.user {
                let named = spamd.user(&user.get_ref().0.0);
                spamd = named.map_err(|error| self.wrong(user.span(), &error))?;
            }
            let (octets, oversize) = (table.size_limit, oversize(table.oversize));
            let octets = octets.map_or(Spamd::<R>::SIZE_LIMIT, |octets| octets.0);
            panel = panel.seat(table.seat(spamd.size_limit(octets, oversize)));
        }
        if let Some(table) = &file.rspamd {
            let name = table.mta_name.as_ref().map_or(host, |name| &name.0.0);
            let mut rspamd = Rspamd::new(runtime.clone(), table.address.0.0.clone()).mta_name(name);
            if let Some(actions) = table.actions {
                rspamd = rspamd.actions(actions.0);
            }
            if let Some(settings) = &table.settings {
                rspamd = rspamd.settings(&settings.0.0);
            }
            let (octets, oversize) = (table.size_limit, oversize(table.oversize));
            let octets = octets.map_or(Rspamd::<R>::SIZE_LIMIT, |octets| octets.0);
            panel = panel.seat(table.seat(rspamd.size_limit(octets, oversize)));
        }
        if let Some(table) = &file.clamd {
            let mut clamd = Clamd::new(runtime.clone(), table.address.0.0.clone());
            if let Some(what) = table.on_virus {
                clamd = clamd.on_virus(what.0);
            }
            let (octets, oversize) = (table.size_limit, oversize(table.oversize));
            let octets = octets.map_or(Clamd::<R>::SIZE_LIMIT, |octets| octets.0);
            panel = panel.seat(table.seat(clamd.size_limit(octets, oversize)));
        }
        panel = self.seat_dns(panel, host)?;
        Ok(if file.monitor { panel.monitor() } else { panel })
    }

    /// Overwrites the limits and timeouts of client sessions that the file sets.
    pub(crate) fn session(&self, settings: &mut Settings) {
        if let Some(table) = &self.file.session {
            table.apply(settings);
        }
    }

    /// Overwrites the onward timeouts that the file sets.
    pub(crate) fn onward(&self, settings: &mut OnwardSettings) {
        if let Some(table) = &self.file.onward {
            table.apply(settings);
        }
    }

    /// Returns the servers that the file names, each with its key.
    pub(crate) fn addresses(&self) -> Vec<(String, Address)> {
        let file = &self.file;
        let mut addresses = Vec::new();
        let mut add = |key: &str, address: Option<&Address>| {
            let name = format!("{}: {key}", self.path.display());
            addresses.extend(address.map(|address| (name, address.clone())));
        };
        add("spamd.address", file.spamd.as_ref().map(|table| &table.address.0.0));
        add("rspamd.address", file.rspamd.as_ref().map(|table| &table.address.0.0));
        add("clamd.address", file.clamd.as_ref().map(|table| &table.address.0.0));
        add("store.redis", file.store.as_ref().and_then(memory::Place::redis));
        addresses
    }

    /// Returns the thresholds. A missing one has the library's default. If the file sets a
    /// stricter threshold, the default of `tag` is lowered to it.
    fn thresholds(&self) -> Result<Thresholds, ConfigError> {
        let Some(table) = &self.file.thresholds else {
            return Ok(Thresholds::default());
        };
        let Levels { tag, defer, refuse } = table.get_ref();
        let or = |level: &Option<Level>, otherwise| level.map_or(otherwise, |level| level.0);
        let defer = or(defer, None);
        let refuse = or(refuse, Some(Score::hundredths(631)));
        let strictest = [defer, refuse].into_iter().flatten().min();
        let usual = Score::points(5);
        let tag = or(tag, Some(strictest.map_or(usual, |score| score.min(usual))));
        Thresholds::new(tag, defer, refuse).map_err(|error| self.wrong(table.span(), &error))
    }

    fn weights(&self) -> Weights {
        let mut weights = Weights::new();
        for (scorer, symbols) in &self.file.weights {
            for (symbol, points) in symbols {
                weights = weights.weigh(&scorer.0, &symbol.0, points.0);
            }
        }
        for (scorer, symbols) in &self.file.disclosure {
            for (symbol, told) in symbols {
                weights = weights.disclose(&scorer.0, &symbol.0, told.0);
            }
        }
        weights
    }

    fn wrong(&self, span: Range<usize>, what: &dyn fmt::Display) -> ConfigError {
        self.wrong_at(Some(span), what)
    }

    fn wrong_at(&self, span: Option<Range<usize>>, what: &dyn fmt::Display) -> ConfigError {
        ConfigError::at(&self.path, &self.text, span, what)
    }
}

fn oversize(said: Option<Excess>) -> Oversize {
    said.map_or(Oversize::default(), |excess| excess.0)
}

/// Returns the number of the line in which `span` begins.
fn line(text: &str, span: Option<Range<usize>>) -> usize {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    before.matches('\n').count() + 1
}
