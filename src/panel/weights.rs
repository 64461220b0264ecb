//! Weights: what a site makes of findings, by their symbols.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::score::{Disclosure, Finding, Score, word};

/// What findings weigh in this panel and whether clients may learn of them, by scorer and symbol,
/// regardless of what the scorer says. Other symbols stay as the scorer has them.
///
/// The scorer is named as in records, and so is the symbol: the rule `BAYES_99` of spamd and the symbol
/// `BAYES_99` of rspamd are two. [`Panel::unknown_weights`](crate::Panel::unknown_weights) finds weights
/// that no scorer of a panel can ever match. [`Weights::unmatched`] tells which have matched nothing so
/// far: for daemons, whose symbols are not known before.
///
/// ```
/// use nobounce::{Disclosure, Panel, Score, Weights};
///
/// let weights = Weights::new()
///     .weigh("spamd", "BAYES_99", Score::hundredths(150))
///     .disclose("authentication", "SPF_FAIL", Disclosure::Public);
/// let panel = Panel::new().weights(weights.clone());
/// let unmatched: Vec<_> = weights.unmatched().collect();
/// assert_eq!(unmatched, [("authentication", "SPF_FAIL"), ("spamd", "BAYES_99")]);
/// ```
///
/// Clones share what they know of matches.
#[derive(Debug, Clone, Default)]
pub struct Weights(BTreeMap<Box<str>, BTreeMap<Box<str>, Weight>>);

#[derive(Debug, Clone, Default)]
struct Weight {
    score: Option<Score>,
    disclosure: Option<Disclosure>,
    has_matched: Arc<AtomicBool>,
}

impl Weights {
    /// Every finding stays as it is.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Sets what findings with this symbol of this scorer weigh.
    #[must_use]
    pub fn weigh(mut self, scorer: &str, symbol: &str, score: Score) -> Self {
        self.of(scorer, symbol).score = Some(score);
        self
    }

    /// Sets whether clients may learn of findings with this symbol of this scorer.
    #[must_use]
    pub fn disclose(mut self, scorer: &str, symbol: &str, disclosure: Disclosure) -> Self {
        self.of(scorer, symbol).disclosure = Some(disclosure);
        self
    }

    fn of(&mut self, scorer: &str, symbol: &str) -> &mut Weight {
        self.0.entry(word(scorer)).or_default().entry(word(symbol)).or_default()
    }

    /// Returns scorer and symbol of the weights and disclosures that have not matched a finding so far.
    pub fn unmatched(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.all().filter(|(.., weight)| !weight.has_matched.load(Ordering::Relaxed));
        all.map(|(scorer, symbol, _)| (scorer, symbol))
    }

    /// Returns scorer and symbol of each weight.
    pub(super) fn symbols(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all().map(|(scorer, symbol, _)| (scorer, symbol))
    }

    fn all(&self) -> impl Iterator<Item = (&str, &str, &Weight)> {
        self.0.iter().flat_map(|(scorer, symbols)| {
            symbols.iter().map(move |(symbol, weight)| (&**scorer, &**symbol, weight))
        })
    }

    /// Whether any of them speaks for the mail.
    pub(super) fn speak_for(&self) -> bool {
        self.all().any(|(.., weight)| weight.score.is_some_and(|score| score < Score::ZERO))
    }

    /// The finding of this scorer as it counts here.
    pub(super) fn apply(&self, scorer: &str, mut finding: Finding) -> Finding {
        let weight = self.0.get(scorer).and_then(|symbols| symbols.get(finding.symbol()));
        let Some(Weight { score, disclosure, has_matched }) = weight else { return finding };
        has_matched.store(true, Ordering::Relaxed);
        if let Some(score) = score {
            finding = finding.with_score(*score);
        }
        if let Some(disclosure) = disclosure {
            finding = finding.with_disclosure(*disclosure);
        }
        finding
    }
}
