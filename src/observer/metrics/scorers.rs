//! Metrics of scorers and their findings.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

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
    /// The scorers that have answered or found something. There is one for each seat.
    known: RwLock<Vec<Scorer>>,
    /// The number of symbols that are counted by name.
    named: AtomicUsize,
}

/// The series of one scorer.
#[derive(Debug)]
struct Scorer {
    name: Arc<str>,
    /// Times by stage.
    times: [Option<Histogram>; 3],
    symbols: BTreeMap<Box<str>, Counter>,
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
        let (known, named) = (RwLock::default(), AtomicUsize::new(0));
        Self { times, failures, symbols, known, named }
    }

    /// Records the time and the failure of an answer.
    pub(super) fn answered(&self, stage: Stage, answer: &Answer) {
        let time = |scorer: &Scorer| {
            scorer.times[stage as usize].as_ref().map(|times| times.observe_time(answer.took))
        };
        if self.with(&answer.scorer, time).is_none() {
            let labels = [("scorer", answer.scorer.clone()), ("stage", stage_word(stage).into())];
            let times = self.times.get_or_create_owned(&labels);
            times.observe_time(answer.took);
            self.change(&answer.scorer, |scorer| scorer.times[stage as usize] = Some(times));
        }
        if let Err(cause) = &answer.result {
            let cause = match cause {
                FailureCause::Error(_) => "error",
                FailureCause::Panic(_) => "panic",
                FailureCause::Late(_) => "late",
                FailureCause::StateLost => "state_lost",
            };
            let labels = [("scorer", answer.scorer.clone()), ("cause", cause.into())];
            self.failures.get_or_create(&labels).inc();
        }
    }

    /// Counts all findings.
    pub(super) fn found(&self, tally: &Tally) {
        for entry in tally.entries() {
            let symbol = entry.finding.symbol();
            let count = |scorer: &Scorer| scorer.symbols.get(symbol).map(Counter::inc);
            if self.with(&entry.scorer, count).is_none() {
                self.count_new(&entry.scorer, symbol);
            }
        }
    }

    /// Counts a symbol that this scorer has not found before, or that has no counter.
    #[cold]
    fn count_new(&self, scorer: &Arc<str>, symbol: &str) {
        let series = |symbol: &str| {
            let labels = [("scorer", scorer.clone()), ("symbol", symbol.into())];
            self.symbols.get_or_create_owned(&labels)
        };
        let has_room = |named: usize| (named < SYMBOLS).then_some(named + 1);
        if self.named.fetch_update(Ordering::Relaxed, Ordering::Relaxed, has_room).is_err() {
            series(OTHER).inc();
            return;
        }
        let counter = series(symbol);
        counter.inc();
        self.change(scorer, |scorer| {
            if scorer.symbols.insert(symbol.into(), counter).is_some() {
                // Another session has just added it.
                self.named.fetch_sub(1, Ordering::Relaxed);
            }
        });
    }

    /// Looks up the series of a scorer. Returns `None` if the scorer is new.
    fn with<T>(&self, name: &Arc<str>, look: impl FnOnce(&Scorer) -> Option<T>) -> Option<T> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        place(&known, name).and_then(|place| look(&known[place]))
    }

    fn change(&self, name: &Arc<str>, change: impl FnOnce(&mut Scorer)) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let place = place(&known, name).unwrap_or_else(|| {
            let (times, symbols) = Default::default();
            known.push(Scorer { name: name.clone(), times, symbols });
            known.len() - 1
        });
        change(&mut known[place]);
    }
}

/// Returns the index of a scorer. A panel uses one allocation for the name of each of its scorers.
fn place(known: &[Scorer], name: &Arc<str>) -> Option<usize> {
    let same = |scorer: &Scorer| Arc::ptr_eq(&scorer.name, name);
    let alike = |scorer: &Scorer| scorer.name == *name;
    known.iter().position(same).or_else(|| known.iter().position(alike))
}
