//! Metrics of scorers and their findings.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::{Histogram, TIMES};
use super::verdicts::stage_word;
use crate::panel::Answer;
use crate::tally::{FailureCause, Tally};
use crate::verdict::Stage;

/// Maximum number of symbols of all scorers that are counted by name. Daemons choose their symbols.
const SYMBOLS: usize = 1_000;
/// The label value of all further symbols.
const OTHER: &str = "other";

type Labels = [(&'static str, Arc<str>); 2];
type Times = Family<Labels, Histogram, fn() -> Histogram>;

#[derive(Debug)]
pub(super) struct Scorers {
    times: Times,
    failures: Family<Labels, Counter>,
    symbols: Family<Labels, Counter>,
    known: Chain,
    /// The number of symbols that are counted by name.
    named: AtomicUsize,
}

/// The scorers that have answered or found something: a list that only grows, and that is read
/// without a lock. Their number is that of the seats.
#[derive(Debug, Default)]
struct Chain(OnceLock<Box<Link>>);

#[derive(Debug)]
struct Link {
    scorer: Scorer,
    rest: Chain,
}

/// The series of one scorer.
#[derive(Debug)]
struct Scorer {
    name: Arc<str>,
    /// Times by stage.
    times: [OnceLock<Histogram>; 3],
    symbols: RwLock<BTreeMap<Box<str>, Counter>>,
}

impl Scorers {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let times = Times::new_with_constructor(|| Histogram::new(&TIMES));
        let help = "Time that a scorer took for an answer";
        registry.register_with_unit("scorer", help, Unit::Seconds, times.clone());
        let (failures, symbols) = (Family::default(), Family::default());
        let help = "Answers that a scorer did not give";
        registry.register("scorer_failures", help, failures.clone());
        let help = "Findings in transactions, and on clients that were refused at connect";
        registry.register("symbols", help, symbols.clone());
        let (known, named) = (Chain::default(), AtomicUsize::new(0));
        Self { times, failures, symbols, known, named }
    }

    /// Records the time and the failure of an answer.
    pub(super) fn answered(&self, stage: Stage, answer: &Answer) {
        let scorer = self.known.scorer(&answer.scorer);
        let times = scorer.times[stage as usize].get();
        times.unwrap_or_else(|| self.register(scorer, stage)).observe_time(answer.took);
        if let Err(cause) = &answer.result {
            self.failed(&answer.scorer, cause);
        }
    }

    #[cold]
    fn failed(&self, scorer: &Arc<str>, cause: &FailureCause) {
        let cause = match cause {
            FailureCause::Error(_) => "error",
            FailureCause::Panic(_) => "panic",
            FailureCause::Late(_) => "late",
            FailureCause::StateLost => "state_lost",
        };
        let labels = [("scorer", scorer.clone()), ("cause", cause.into())];
        self.failures.get_or_create(&labels).inc();
    }

    /// Registers the times of a scorer at a stage.
    #[cold]
    fn register<'s>(&self, scorer: &'s Scorer, stage: Stage) -> &'s Histogram {
        scorer.times[stage as usize].get_or_init(|| {
            let labels = [("scorer", scorer.name.clone()), ("stage", stage_word(stage).into())];
            self.times.get_or_create_owned(&labels)
        })
    }

    /// Counts all findings.
    pub(super) fn found(&self, tally: &Tally) {
        for entry in tally.entries() {
            let (scorer, symbol) = (self.known.scorer(&entry.scorer), entry.finding.symbol());
            let symbols = scorer.symbols.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(counter) = symbols.get(symbol) {
                counter.inc();
                continue;
            }
            drop(symbols);
            self.count_new(scorer, symbol);
        }
    }

    /// Counts a symbol that this scorer has not found before, or that has no counter.
    #[cold]
    fn count_new(&self, scorer: &Scorer, symbol: &str) {
        let series = |symbol: &str| {
            let labels = [("scorer", scorer.name.clone()), ("symbol", symbol.into())];
            self.symbols.get_or_create_owned(&labels)
        };
        let has_room = |named: usize| (named < SYMBOLS).then_some(named + 1);
        if self.named.fetch_update(Ordering::Relaxed, Ordering::Relaxed, has_room).is_err() {
            series(OTHER).inc();
            return;
        }
        let counter = series(symbol);
        counter.inc();
        let mut symbols = scorer.symbols.write().unwrap_or_else(PoisonError::into_inner);
        if symbols.insert(symbol.into(), counter).is_some() {
            // Another session has just added it.
            self.named.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Chain {
    /// Returns the series of a scorer. Adds them if the scorer is new.
    fn scorer(&self, name: &Arc<str>) -> &Scorer {
        let mut rest = self;
        while let Some(link) = rest.0.get() {
            // A panel uses one allocation for the name of each of its scorers.
            if Arc::ptr_eq(&link.scorer.name, name) {
                return &link.scorer;
            }
            rest = &link.rest;
        }
        self.add(name)
    }

    /// Returns the series of a scorer with this name, which another panel may have. Adds them if
    /// there are none.
    #[cold]
    fn add(&self, name: &Arc<str>) -> &Scorer {
        let Link { scorer, rest } = &**self.0.get_or_init(|| {
            let (name, times, symbols) = (name.clone(), Default::default(), RwLock::default());
            Box::new(Link { scorer: Scorer { name, times, symbols }, rest: Self::default() })
        });
        if scorer.name == *name { scorer } else { rest.add(name) }
    }
}
