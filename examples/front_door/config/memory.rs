//! The tables of scorers that remember, and where they do.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use nobounce::scorers::{Greylist, Learner, Over, RateLimit, Reputation, Widths};
use nobounce::store::{BadRate, Embedded, Memory, Rate, Redis, Store};
use nobounce::{Address, Networks, Panel, Runtime, Score};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use toml::Spanned;

use super::tables::table;
use super::values::{Beyond, Parsed, Points, Seconds};
use super::{Config, ConfigError};

/// Where it is remembered: in memory if nothing else is said.
#[derive(Deserialize)]
#[serde(try_from = "Named")]
pub(crate) enum Place {
    Memory,
    File(Spanned<PathBuf>),
    Redis(Box<Server>),
}

/// A Redis server, and what it is to be told.
pub(crate) struct Server {
    address: Address,
    named: Named,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    file: Option<Spanned<PathBuf>>,
    redis: Option<Parsed<Address>>,
    user: Option<String>,
    password: Option<String>,
    database: Option<u32>,
    prefix: Option<String>,
    patience: Option<Seconds>,
}

impl TryFrom<Named> for Place {
    type Error = &'static str;

    fn try_from(mut named: Named) -> Result<Self, Self::Error> {
        match (named.file.take(), named.redis.take()) {
            (Some(_), Some(_)) => Err("`file` and `redis`, expected one of them"),
            (None, Some(Parsed(address))) => Ok(Self::Redis(Box::new(Server { address, named }))),
            _ if named.tells() => Err("no `redis` for what it is to be told"),
            (Some(path), None) => Ok(Self::File(path)),
            (None, None) => Ok(Self::Memory),
        }
    }
}

impl Named {
    /// Whether there is something that only Redis needs.
    fn tells(&self) -> bool {
        let login = self.user.is_some() || self.password.is_some();
        let place = self.database.is_some() || self.prefix.is_some();
        login || place || self.patience.is_some()
    }
}

table! {
    /// Who is not known comes again.
    Greylisting {
        delay: Option<Seconds>,
        retry_window: Option<Seconds>,
        keep: Option<Seconds>,
        proven_by: Option<u32>,
        refuse_after: Option<NonZeroU32>,
        ipv4_width: Option<u32>,
        ipv6_width: Option<u32>,
        #[serde(default)]
        with_helo: bool,
        #[serde(default)]
        exempt: Exempt,
    }
}

table! {
    /// So many recipients in so long.
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
    /// What became of a client's mail before.
    Repute {
        half_life: Option<Seconds>,
        best: Option<Points>,
        worst: Option<Points>,
        #[serde(default)]
        exempt: Exempt,
    }
}

/// Networks whose clients a scorer lets alone.
pub(crate) struct Exempt(Networks);

impl Default for Exempt {
    fn default() -> Self {
        Self(Networks::none())
    }
}

impl<'de> Deserialize<'de> for Exempt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let networks = Vec::<String>::deserialize(deserializer)?;
        networks.join(",").parse().map(Self).map_err(D::Error::custom)
    }
}

/// So many in so many seconds.
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
    type Error = BadRate;

    fn try_from(rate: RecipientsInSeconds) -> Result<Self, BadRate> {
        Rate::new(rate.recipients, rate.seconds.0).map(Self)
    }
}

/// Those whom lessons are given.
pub(crate) type Learners = Vec<Box<dyn Learner>>;

impl Config {
    /// The scorers of this file that remember take their seats; those of them that learn. A store is
    /// opened for it, so this is for the user whose file that is.
    pub(crate) fn remember<R: Runtime + Clone>(
        &self,
        mut panel: Panel,
        runtime: &R,
    ) -> Result<(Panel, Learners), ConfigError> {
        let (file, mut learners) = (&self.file, Learners::new());
        if file.greylist.is_none() && file.rate_limit.is_none() && file.reputation.is_none() {
            return Ok((panel, learners));
        }
        let store = self.store(runtime)?;
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
        Ok((panel, learners))
    }

    fn store<R: Runtime + Clone>(&self, runtime: &R) -> Result<Arc<dyn Store>, ConfigError> {
        Ok(match &self.file.store {
            None | Some(Place::Memory) => Arc::new(Memory::new()),
            Some(Place::Redis(server)) => Arc::new(redis(server, runtime)),
            Some(Place::File(path)) => match Embedded::open(path.get_ref()) {
                Ok(store) => Arc::new(store),
                Err(error) => return Err(self.wrong(path.span(), &error)),
            },
        })
    }
}

fn redis<R: Runtime + Clone>(server: &Server, runtime: &R) -> Redis<R> {
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
    if let Some(Seconds(patience)) = kept.patience {
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
        let (ipv4, ipv6) = (table.ipv4_width.unwrap_or(24), table.ipv6_width.unwrap_or(64));
        scorer = scorer.widths(Widths::new(ipv4, ipv6));
    }
    if table.with_helo {
        scorer = scorer.with_helo();
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
        let or = |points: Option<Points>, usual| points.map_or(usual, |points| points.0);
        let (best, worst) = (or(table.best, Score::points(-1)), or(table.worst, Score::points(3)));
        scorer = scorer.weights(best, worst);
    }
    scorer.exempt(table.exempt.0.clone())
}
