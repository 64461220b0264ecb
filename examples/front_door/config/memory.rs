//! The tables of scorers that keep state, and of the store that holds it.

use std::fmt::Display;
use std::fs::{self, Permissions};
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nobounce::scorers::{Greylist, Learner, Over, RateLimit, Reputation, Widths};
use nobounce::store::{
    Embedded, Guarded, Memory, Observed, OpenError, Rate, RateError, Redis, Store,
};
use nobounce::{Address, Panel, Runtime, Score};
use serde::Deserialize;
use toml::Spanned;

use super::exempt::Exempt;
use super::tables::table;
use super::values::{Beyond, Merit, Parsed, Penalty, Seconds, ServerAddress, Wait, Width};
use super::{Config, ConfigError, File};
use crate::output::Output;
use crate::status::watch;

/// The store. In memory by default.
#[derive(Deserialize)]
#[serde(try_from = "Named")]
pub(crate) enum Place {
    Memory,
    File(Spanned<PathBuf>),
    Redis(Box<Server>),
}

/// A Redis server and its connection settings.
pub(crate) struct Server {
    address: Address,
    named: Named,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    file: Option<Spanned<PathBuf>>,
    redis: Option<Parsed<ServerAddress>>,
    user: Option<String>,
    password: Option<String>,
    database: Option<u32>,
    prefix: Option<String>,
    patience: Option<Wait>,
}

impl TryFrom<Named> for Place {
    type Error = &'static str;

    fn try_from(mut named: Named) -> Result<Self, Self::Error> {
        if named.file.as_ref().is_some_and(|path| path.get_ref().as_os_str().is_empty()) {
            return Err("`file` is \"\", expected a path such as /var/lib/nobounce/store.redb");
        }
        match (named.file.take(), named.redis.take()) {
            (Some(_), Some(_)) => Err("both `file` and `redis` are set, expected one of them"),
            (None, Some(_)) if named.user.is_some() && named.password.is_none() => {
                Err("`user` without `password`, expected both or none")
            }
            (None, Some(Parsed(ServerAddress(address)))) => {
                Ok(Self::Redis(Box::new(Server { address, named })))
            }
            _ if named.needs_redis() => {
                Err("`user`, `password`, `database`, `prefix` and `patience` require `redis`")
            }
            (Some(path), None) => Ok(Self::File(path)),
            (None, None) => Ok(Self::Memory),
        }
    }
}

impl Place {
    /// Returns a text that differs for different stores.
    fn identity(&self) -> String {
        match self {
            Self::Memory => "memory".to_owned(),
            Self::File(path) => format!("file {}", path.get_ref().display()),
            Self::Redis(server) => {
                let Named { user, password, database, prefix, patience, .. } = &server.named;
                let patience = patience.as_ref().map(|patience| patience.0);
                let login = (user, password);
                format!("redis {:?} {login:?} {database:?} {prefix:?} {patience:?}", server.address)
            }
        }
    }

    pub(super) fn redis(&self) -> Option<&Address> {
        match self {
            Self::Redis(server) => Some(&server.address),
            Self::Memory | Self::File(_) => None,
        }
    }
}

impl Named {
    /// Returns whether a key is set that only Redis uses.
    fn needs_redis(&self) -> bool {
        let login = self.user.is_some() || self.password.is_some();
        let place = self.database.is_some() || self.prefix.is_some();
        login || place || self.patience.is_some()
    }
}

table! {
    /// Greylisting: defers unknown triplets.
    Greylisting {
        delay: Option<Seconds>,
        retry_window: Option<Seconds>,
        keep: Option<Seconds>,
        proven_by: Option<u32>,
        refuse_after: Option<NonZeroU32>,
        ipv4_width: Option<Width<32>>,
        ipv6_width: Option<Width<128>>,
        #[serde(default)]
        with_helo: bool,
        #[serde(default)]
        exempt: Exempt,
    }
}

table! {
    /// Rate limits: numbers of recipients per period.
    Rates {
        per_address: Option<Limit>,
        per_network: Option<Limit>,
        per_sender: Option<Limit>,
        per_recipient: Option<Limit>,
        over: Option<Beyond>,
        #[serde(default)]
        exempt: Exempt,
    }
}

table! {
    /// Reputation: scores clients by the outcome of their previous mail.
    Repute {
        half_life: Option<Seconds>,
        best: Option<Merit>,
        worst: Option<Penalty>,
        #[serde(default)]
        exempt: Exempt,
    }
}

/// A rate: a number of recipients in a number of seconds.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "RecipientsInSeconds")]
pub(crate) struct Limit(Rate);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipientsInSeconds {
    recipients: u32,
    seconds: Seconds,
}

impl TryFrom<RecipientsInSeconds> for Limit {
    type Error = RateError;

    fn try_from(rate: RecipientsInSeconds) -> Result<Self, RateError> {
        Rate::new(rate.recipients, rate.seconds.0).map(Self)
    }
}

/// A store that is open.
pub(crate) struct Opened {
    store: Arc<dyn Store>,
    /// The identity of its place.
    place: String,
}

/// The scorers that learn from the outcome of transactions.
pub(crate) type Learners = Vec<Box<dyn Learner>>;

impl Config {
    /// Returns whether any scorer of this file needs the store.
    pub(super) fn remembers(&self) -> bool {
        let file = &self.file;
        file.greylist.is_some() || file.rate_limit.is_some() || file.reputation.is_some()
    }

    /// Returns the file of the store if one is configured and used.
    pub(crate) fn store_file(&self) -> Option<&Path> {
        match &self.file.store {
            Some(Place::File(path)) if self.remembers() => Some(path.get_ref()),
            _ => None,
        }
    }

    /// Returns an error about the store file, with its line in the configuration.
    pub(crate) fn store_fault(&self, what: &dyn Display) -> ConfigError {
        match &self.file.store {
            Some(Place::File(path)) => self.wrong(path.span(), what),
            _ => self.wrong_at(None, what),
        }
    }

    /// Adds the scorers of this file that keep state to the panel, and returns those of them that
    /// learn. They use the store that is open, or open one. The user who owns the file must do that. If
    /// another process holds the file, waits for it for `patience`.
    pub(crate) async fn remember<R: Runtime + Clone>(
        &self,
        panel: Panel,
        runtime: &R,
        opened: &mut Option<Opened>,
        patience: Duration,
        errors: &Output,
    ) -> Result<(Panel, Learners), ConfigError> {
        if !self.remembers() {
            return Ok((panel, Learners::new()));
        }
        let store = match opened {
            Some(opened) => opened.store.clone(),
            None => {
                let store = self.store(runtime, patience, errors).await?;
                *opened = Some(Opened { store: store.clone(), place: self.place() });
                store
            }
        };
        Ok(self.seat_memory(panel, runtime, store))
    }

    /// Returns a message if the file names another store than the one that is open.
    pub(crate) fn other_store(&self, opened: Option<&Opened>) -> Option<ConfigError> {
        let opened = opened.filter(|opened| self.remembers() && opened.place != self.place())?;
        let kind = opened.place.split(' ').next().unwrap_or_default();
        let what = format!(
            "the store cannot be changed while front_door runs; the old one ({kind}) stays in use; restart \
             front_door to use this one"
        );
        Some(self.table_fault("store", &what))
    }

    /// Returns the networks in separate files, as part of the configuration.
    pub(crate) fn lists(&self) -> String {
        let File { greylist, rate_limit, reputation, .. } = &self.file;
        let lists = [
            greylist.as_ref().map(|table| &table.exempt),
            rate_limit.as_ref().map(|table| &table.exempt),
            reputation.as_ref().map(|table| &table.exempt),
        ];
        lists.into_iter().flatten().map(|list| format!("{}\n", list.0)).collect()
    }

    fn place(&self) -> String {
        self.file.store.as_ref().unwrap_or(&Place::Memory).identity()
    }

    /// Adds the scorers of this file that keep state in `store` to the panel, and returns those of
    /// them that learn.
    pub(super) fn seat_memory<R: Runtime + Clone>(
        &self,
        mut panel: Panel,
        runtime: &R,
        store: Arc<dyn Store>,
    ) -> (Panel, Learners) {
        let (file, mut learners) = (&self.file, Learners::new());
        if let Some(table) = &file.greylist {
            let scorer = greylist(table, Greylist::new(runtime.clone(), store.clone()));
            learners.push(Box::new(scorer.clone()));
            panel = panel.seat(table.seat(scorer));
        }
        if let Some(table) = &file.rate_limit {
            panel = panel.seat(
                table.seat(rate_limit(table, RateLimit::new(runtime.clone(), store.clone()))),
            );
        }
        if let Some(table) = &file.reputation {
            let scorer = reputation(table, Reputation::new(runtime.clone(), store));
            learners.push(Box::new(scorer.clone()));
            panel = panel.seat(table.seat(scorer));
        }
        (panel, learners)
    }

    async fn store<R: Runtime + Clone>(
        &self,
        runtime: &R,
        patience: Duration,
        errors: &Output,
    ) -> Result<Arc<dyn Store>, ConfigError> {
        let path = match &self.file.store {
            None | Some(Place::Memory) => return Ok(observed(runtime, Memory::new())),
            Some(Place::Redis(server)) => return Ok(observed(runtime, redis(server, runtime))),
            Some(Place::File(path)) => path,
        };
        if let Some(change) = keep_private(path.get_ref()) {
            errors.report(format_args!("warning: {}", self.wrong(path.span(), &change)));
        }
        let end = runtime.now() + patience;
        let mut told = false;
        loop {
            match Embedded::open(path.get_ref()) {
                Ok(store) => return Ok(observed(runtime, Guarded::new(runtime.clone(), store))),
                Err(OpenError::InUse) if runtime.now() < end => {
                    if !told {
                        let seconds = patience.as_secs();
                        let what = format!("{}; waiting for up to {seconds} seconds", in_use(path));
                        errors.report(self.wrong(path.span(), &what));
                        told = true;
                    }
                    runtime.sleep_until(runtime.now() + RETRY).await;
                }
                Err(OpenError::InUse) => return Err(self.wrong(path.span(), &in_use(path))),
                Err(error) => {
                    let what = format!(
                        "{}: {error}; expected a store file of front_door, or a new file in a folder that the user \
                         of front_door may write",
                        path.get_ref().display()
                    );
                    return Err(self.wrong(path.span(), &what));
                }
            }
        }
    }
}

/// Returns a store whose operations the status page shows.
fn observed<R: Runtime + Clone>(runtime: &R, store: impl Store + 'static) -> Arc<dyn Store> {
    Arc::new(Observed::new(runtime.clone(), store, watch::stored))
}

/// Sets the mode of a file that others may read or write to 0600, since it contains senders,
/// recipients and clients. Returns a message about the change.
fn keep_private(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok().filter(|it| it.is_file())?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(())?;
    let name = path.display();
    let changed = fs::set_permissions(path, Permissions::from_mode(0o600));
    Some(match changed {
        Ok(()) => format!(
            "{name}: other users could read or write this file (mode {mode:04o}); its mode is 0600 now"
        ),
        Err(error) => format!(
            "{name}: other users may read or write this file (mode {mode:04o}), and changing its mode failed: \
             {error}; expected mode 0600 and the user of front_door as owner"
        ),
    })
}

/// Interval between attempts to open a file that another process holds.
const RETRY: Duration = Duration::from_millis(100);

fn in_use(path: &Spanned<PathBuf>) -> String {
    let path = path.get_ref().display();
    format!(
        "{path}: another process holds this file, most likely another front_door; stop that process, or \
         configure another file"
    )
}

pub(super) fn redis<R: Runtime + Clone>(server: &Server, runtime: &R) -> Redis<R> {
    let Server { address, named: kept } = server;
    let mut redis = Redis::new(runtime.clone(), address.clone());
    if let Some(password) = &kept.password {
        redis = redis.login(kept.user.as_deref().unwrap_or("default"), password);
    }
    if let Some(number) = kept.database {
        redis = redis.database(number);
    }
    if let Some(prefix) = &kept.prefix {
        redis = redis.prefix(prefix);
    }
    if let Some(Wait(patience)) = kept.patience {
        redis = redis.patience(patience);
    }
    redis
}

fn greylist<R: Runtime>(table: &Greylisting, mut scorer: Greylist<R>) -> Greylist<R> {
    if let Some(Seconds(delay)) = table.delay {
        scorer = scorer.delay(delay);
    }
    if let Some(Seconds(window)) = table.retry_window {
        scorer = scorer.retry_window(window);
    }
    if let Some(Seconds(time)) = table.keep {
        scorer = scorer.keep(time);
    }
    if let Some(messages) = table.proven_by {
        scorer = scorer.proven_by(NonZeroU32::new(messages));
    }
    if table.ipv4_width.is_some() || table.ipv6_width.is_some() {
        let ipv4 = table.ipv4_width.map_or(24, |width| width.0);
        let ipv6 = table.ipv6_width.map_or(64, |width| width.0);
        scorer = scorer.widths(Widths::new(ipv4, ipv6));
    }
    if table.with_helo {
        scorer = scorer.include_helo();
    }
    scorer.refuse_after(table.refuse_after).exempt(table.exempt.0.clone())
}

fn rate_limit<R: Runtime>(table: &Rates, mut scorer: RateLimit<R>) -> RateLimit<R> {
    if let Some(Limit(rate)) = table.per_address {
        scorer = scorer.per_address(rate);
    }
    if let Some(Limit(rate)) = table.per_network {
        scorer = scorer.per_network(rate);
    }
    if let Some(Limit(rate)) = table.per_sender {
        scorer = scorer.per_sender(rate);
    }
    if let Some(Limit(rate)) = table.per_recipient {
        scorer = scorer.per_recipient(rate);
    }
    let over = table.over.map_or(Over::default(), |over| over.0);
    scorer.over(over).exempt(table.exempt.0.clone())
}

fn reputation<R: Runtime>(table: &Repute, mut scorer: Reputation<R>) -> Reputation<R> {
    if let Some(Seconds(time)) = table.half_life {
        scorer = scorer.half_life(time);
    }
    if table.best.is_some() || table.worst.is_some() {
        let best = table.best.map_or(Score::points(-1), |points| points.0);
        let worst = table.worst.map_or(Score::points(3), |points| points.0);
        scorer = scorer.weights(best, worst);
    }
    scorer.exempt(table.exempt.0.clone())
}
