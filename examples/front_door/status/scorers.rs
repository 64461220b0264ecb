//! Times and failures of scorers, for the status page.

use std::sync::Arc;

use nobounce::panel::Answer;
use nobounce::verdict::Stage;

use super::times::Times;

/// The scorers that have answered, in the order of their first answers.
#[derive(Default)]
pub(super) struct Scorers(Vec<Scorer>);

/// A scorer at one stage.
pub(super) struct Scorer {
    pub(super) name: Arc<str>,
    pub(super) stage: Stage,
    pub(super) times: Times,
}

impl Scorers {
    pub(super) fn answered(&mut self, stage: Stage, answer: &Answer) {
        let known = self.0.iter().position(|it| it.stage == stage && it.name == answer.scorer);
        let place = known.unwrap_or_else(|| {
            let (name, times) = (answer.scorer.clone(), Times::default());
            self.0.push(Scorer { name, stage, times });
            self.0.len() - 1
        });
        self.0[place].times.record(answer.took, answer.result.is_err());
    }

    pub(super) fn all(&self) -> &[Scorer] {
        &self.0
    }
}
