//! Weights: scores set by the site for individual symbols.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::score::{Disclosure, Finding, Score, word};

/// Scores and disclosures set by the site, by scorer and symbol. They replace the values given by
/// the scorer. Symbols without an entry keep the scorer's values.
///
/// Scorers and symbols are named as in records. The same symbol from two scorers is two entries:
/// the rule `BAYES_99` of spamd is not the symbol `BAYES_99` of rspamd.
///
/// [`Panel::unknown_weights`](crate::Panel::unknown_weights) returns the weights that no scorer of
/// a panel can ever match. [`Weights::unmatched`] returns the weights that have matched nothing so
/// far. Use it for daemons, whose symbols are not known in advance.
///
/// ```
/// use nobounce::{Panel, Score};
/// use nobounce::panel::Weights;
/// use nobounce::score::Disclosure;
///
/// let weights = Weights::new()
///     .weigh("spamd", "BAYES_99", Score::hundredths(150))
///     .disclose("authentication", "SPF_FAIL", Disclosure::Public);
/// let panel = Panel::new().weights(weights.clone());
/// let unmatched: Vec<_> = weights.unmatched().collect();
/// assert_eq!(unmatched, [("authentication", "SPF_FAIL"), ("spamd", "BAYES_99")]);
/// ```
///
/// Clones share the record of matches.
#[derive(Debug, Clone, Default)]
pub struct Weights(BTreeMap<Box<str>, BTreeMap<Box<str>, Weight>>);

#[derive(Debug, Clone, Default)]
struct Weight {
    score: Option<Score>,
    disclosure: Option<Disclosure>,
    has_matched: Arc<AtomicBool>,
}

impl Weights {
    /// Creates an empty set, which changes no finding.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Sets the score of findings with this symbol from this scorer.
    #[must_use]
    pub fn weigh(mut self, scorer: &str, symbol: &str, score: Score) -> Self {
        self.of(scorer, symbol).score = Some(score);
        self
    }

    /// Sets whether clients may see findings with this symbol from this scorer.
    #[must_use]
    pub fn disclose(mut self, scorer: &str, symbol: &str, disclosure: Disclosure) -> Self {
        self.of(scorer, symbol).disclosure = Some(disclosure);
        self
    }

    fn of(&mut self, scorer: &str, symbol: &str) -> &mut Weight {
        self.0.entry(word(scorer)).or_default().entry(word(symbol)).or_default()
    }

    /// Returns scorer and symbol of the entries that have not matched a finding so far.
    pub fn unmatched(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.all().filter(|(.., weight)| !weight.has_matched.load(Ordering::Relaxed));
        all.map(|(scorer, symbol, _)| (scorer, symbol))
    }

    /// Returns scorer and symbol of each entry.
    pub(super) fn symbols(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all().map(|(scorer, symbol, _)| (scorer, symbol))
    }

    fn all(&self) -> impl Iterator<Item = (&str, &str, &Weight)> {
        self.0.iter().flat_map(|(scorer, symbols)| {
            symbols.iter().map(move |(symbol, weight)| (&**scorer, &**symbol, weight))
        })
    }

    /// Returns whether any score is negative, so that it counts in favour of the mail.
    pub(super) fn speak_for(&self) -> bool {
        self.all().any(|(.., weight)| weight.score.is_some_and(|score| score < Score::ZERO))
    }

    /// Applies the score and the disclosure of the site to a finding of this scorer.
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
