//! Times and failures of scorers, for the status page.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use nobounce::panel::Answer;
use nobounce::verdict::Stage;

/// Number of answers from which percentiles are computed.
const RECENT: usize = 256;

/// The scorers that have answered, in the order of their first answers.
#[derive(Default)]
pub(super) struct Scorers(Vec<Scorer>);

/// A scorer at one stage.
#[derive(Clone)]
pub(super) struct Scorer {
    pub(super) name: Arc<str>,
    pub(super) stage: Stage,
    pub(super) answers: u64,
    pub(super) failures: u64,
    recent: VecDeque<Duration>,
}

impl Scorers {
    pub(super) fn answered(&mut self, stage: Stage, answer: &Answer) {
        let known = self.0.iter().position(|it| it.stage == stage && it.name == answer.scorer);
        let place = known.unwrap_or_else(|| {
            let name = answer.scorer.clone();
            self.0.push(Scorer { name, stage, answers: 0, failures: 0, recent: VecDeque::new() });
            self.0.len() - 1
        });
        let scorer = &mut self.0[place];
        scorer.answers += 1;
        scorer.failures += u64::from(answer.result.is_err());
        if scorer.recent.len() == RECENT {
            scorer.recent.pop_front();
        }
        scorer.recent.push_back(answer.took);
    }

    pub(super) fn all(&self) -> &[Scorer] {
        &self.0
    }
}

impl Scorer {
    /// Returns the time within which this percentage of the recent answers was given.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let mut times: Vec<_> = self.recent.iter().copied().collect();
        times.sort_unstable();
        let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(place).copied().unwrap_or_default()
    }
}
