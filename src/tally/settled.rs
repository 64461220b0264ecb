//! Cached totals of the earlier questions. Computing a total then only visits the entries of the
//! latest question.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::score::Score;

use super::Entry;

/// The cached total is only updated when more than this many entries are new.
const FEW: usize = 32;

/// The highest score of each symbol of each scorer, over the first `entries` entries of a tally.
#[derive(Debug, Clone, Default)]
pub(super) struct Settled {
    /// Number of entries covered.
    entries: usize,
    highest: BTreeMap<Arc<str>, BTreeMap<Box<str>, Highest>>,
    /// The total in hundredths of a point.
    total: i64,
}

#[derive(Debug, Clone, Copy)]
struct Highest {
    place: usize,
    score: Score,
}

impl Settled {
    /// Updates `settled` with `entries`, which must not change afterwards.
    pub(super) fn settle(settled: &mut Option<Box<Self>>, entries: &[Entry]) {
        let known = settled.as_ref().map_or(0, |settled| settled.entries);
        if entries.len() > known + FEW {
            settled.get_or_insert_default().take(entries);
        }
    }

    fn take(&mut self, entries: &[Entry]) {
        for (place, entry) in entries.iter().enumerate().skip(self.entries) {
            if !entry.acts() {
                continue;
            }
            let score = entry.finding.score();
            if !self.highest.contains_key(&entry.scorer) {
                self.highest.insert(entry.scorer.clone(), BTreeMap::new());
            }
            let Some(symbols) = self.highest.get_mut(&entry.scorer) else { continue };
            match symbols.get_mut(entry.finding.symbol()) {
                Some(highest) if score <= highest.score => {}
                Some(highest) => {
                    self.total += hundredths(score) - hundredths(highest.score);
                    *highest = Highest { place, score };
                }
                None => {
                    self.total += hundredths(score);
                    symbols.insert(entry.finding.symbol().into(), Highest { place, score });
                }
            }
        }
        self.entries = entries.len();
    }

    fn highest(&self, scorer: &str, symbol: &str) -> Option<Highest> {
        self.highest.get(scorer)?.get(symbol).copied()
    }
}

/// The entries that count, of all `entries`.
pub(super) struct Counted<'a> {
    entries: &'a [Entry],
    settled: Option<&'a Settled>,
    /// The highest entry of each symbol after the settled entries, if it exceeds the settled score.
    later: BTreeMap<(&'a str, &'a str), (usize, &'a Entry)>,
}

impl<'a> Counted<'a> {
    pub(super) fn new(entries: &'a [Entry], settled: Option<&'a Settled>) -> Self {
        let behind = settled.map_or(0, |settled| settled.entries);
        let mut later: BTreeMap<(&str, &str), (usize, &Entry)> = BTreeMap::new();
        let acting = entries.iter().enumerate().skip(behind).filter(|(_, entry)| entry.acts());
        for (place, entry) in acting {
            let key = (&*entry.scorer, entry.finding.symbol());
            let counted = later.entry(key).or_insert((place, entry));
            if entry.finding.score() > counted.1.finding.score() {
                *counted = (place, entry);
            }
        }
        if let Some(settled) = settled {
            later.retain(|(scorer, symbol), (_, entry)| {
                settled.highest(scorer, symbol).is_none_or(|it| entry.finding.score() > it.score)
            });
        }
        Self { entries, settled, later }
    }

    pub(super) fn total(&self) -> Score {
        let mut total = self.settled.map_or(0, |settled| settled.total);
        for ((scorer, symbol), (_, entry)) in &self.later {
            let before = self.settled.and_then(|settled| settled.highest(scorer, symbol));
            total +=
                hundredths(entry.finding.score()) - before.map_or(0, |it| hundredths(it.score));
        }
        let bounded = total.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
        Score::hundredths(i32::try_from(bounded).unwrap_or_default())
    }

    /// Returns the entries that count, in the order of their indices.
    pub(super) fn entries(self) -> Vec<(usize, &'a Entry)> {
        let Self { entries, settled, later } = self;
        let settled = settled.into_iter().flat_map(|settled| &settled.highest);
        let earlier = settled
            .flat_map(|(scorer, symbols)| symbols.iter().map(move |it| (scorer, it)))
            .filter(|(scorer, (symbol, _))| !later.contains_key(&(&***scorer, &***symbol)))
            .map(|(_, (_, highest))| (highest.place, &entries[highest.place]));
        let mut counted: Vec<_> = earlier.chain(later.values().copied()).collect();
        counted.sort_unstable_by_key(|(place, _)| *place);
        counted
    }
}

fn hundredths(score: Score) -> i64 {
    i64::from(score.as_hundredths())
}
