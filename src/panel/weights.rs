//! Weights: what a site makes of findings, by their symbols.

use std::collections::BTreeMap;

use crate::score::{Disclosure, Finding, Score, word};

/// What findings weigh in this panel and whether clients may learn of them, by symbol, whatever
/// the scorer says. A symbol that is not named here stays as the scorer has it.
///
/// A daemon's symbols are named like any others: the rules of [`Spamd`](crate::scorers::Spamd) and the
/// symbols of rspamd have weights from the daemon until they are named here.
///
/// ```
/// use nobounce::{Disclosure, Panel, Score, Weights};
///
/// let weights = Weights::new()
///     .weigh("BAYES_99", Score::hundredths(150))
///     .disclose("SPF_FAIL", Disclosure::Public);
/// let panel = Panel::new().weights(weights);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weights {
    scores: BTreeMap<Box<str>, Score>,
    disclosures: BTreeMap<Box<str>, Disclosure>,
}

impl Weights {
    /// Every finding stays as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Findings of this symbol weigh so much.
    #[must_use]
    pub fn weigh(mut self, symbol: &str, score: Score) -> Self {
        self.scores.insert(word(symbol), score);
        self
    }

    /// Clients may learn of findings of this symbol, or not.
    #[must_use]
    pub fn disclose(mut self, symbol: &str, disclosure: Disclosure) -> Self {
        self.disclosures.insert(word(symbol), disclosure);
        self
    }

    /// Whether any of them speaks for the mail.
    pub(super) fn speak_for(&self) -> bool {
        self.scores.values().any(|score| *score < Score::ZERO)
    }

    /// The finding as it counts here.
    pub(super) fn apply(&self, mut finding: Finding) -> Finding {
        if let Some(score) = self.scores.get(finding.symbol()) {
            finding = finding.with_score(*score);
        }
        if let Some(disclosure) = self.disclosures.get(finding.symbol()) {
            finding = finding.with_disclosure(*disclosure);
        }
        finding
    }
}
