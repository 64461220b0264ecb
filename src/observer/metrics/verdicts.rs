//! Metrics of verdicts and recipients.

use prometheus_client::registry::Registry;

use super::series::Counters;
use crate::outcome::Outcome;
use crate::tally::Tally;
use crate::verdict::{Stage, Verdict};

#[derive(Debug)]
pub(super) struct Verdicts {
    verdicts: Counters<(Stage, Kind, bool)>,
    recipients: Counters<Answer>,
}

/// The kind of a verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Pass,
    Tag,
    Defer,
    Refuse,
}

/// The answer to a recipient.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Taken,
    RefusedByPanel,
    RefusedByRelay,
    ComeAgain,
}

impl Verdicts {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let stages = [Stage::Data, Stage::Rcpt, Stage::Connect];
        let kinds = [Kind::Pass, Kind::Tag, Kind::Defer, Kind::Refuse];
        // The most frequent ones are first.
        let key = |acted| move |kind| stages.map(|stage| (stage, kind, acted));
        let keys =
            [true, false].into_iter().flat_map(|acted| kinds.into_iter().flat_map(key(acted)));
        let verdicts = Counters::new(
            registry,
            "verdicts",
            "Verdicts of the panel; with acted=\"false\", verdicts in monitor mode",
            keys,
            |(stage, kind, acted)| {
                [
                    ("stage", stage_word(*stage)),
                    ("verdict", kind.word()),
                    ("acted", bool_word(*acted)),
                ]
            },
        );
        let answers =
            [Answer::Taken, Answer::RefusedByPanel, Answer::RefusedByRelay, Answer::ComeAgain];
        let recipients = Counters::new(
            registry,
            "recipients",
            "Recipients that the panel or the relay target has answered",
            answers,
            |answer| [("answer", answer.word())],
        );
        Self { verdicts, recipients }
    }

    /// Counts a verdict.
    pub(super) fn judged(&self, stage: Stage, tally: &Tally, verdict: &Verdict) {
        let kind = Kind::of(verdict);
        self.verdicts.count((stage, kind, true));
        match (stage, kind) {
            (Stage::Connect, Kind::Defer | Kind::Refuse) => self.monitored(tally),
            (Stage::Rcpt, Kind::Defer) => self.recipients.count(Answer::ComeAgain),
            (Stage::Rcpt, Kind::Refuse) => self.recipients.count(Answer::RefusedByPanel),
            _ => {}
        }
    }

    /// Counts the decisions of a transaction that were not acted on.
    pub(super) fn monitored(&self, tally: &Tally) {
        for decision in tally.decisions().filter(|decision| !decision.acted) {
            self.verdicts.count((decision.stage, Kind::of(&decision.verdict), false));
        }
    }

    /// Counts the relay target's answer to a recipient.
    pub(super) fn relayed(&self, outcome: &Outcome) {
        self.recipients.count(match outcome {
            Outcome::Accepted(_) => Answer::Taken,
            Outcome::Refused(refusal) if !refusal.is_transient() => Answer::RefusedByRelay,
            Outcome::Refused(_) | Outcome::Failed(_) => Answer::ComeAgain,
        });
    }
}

impl Kind {
    fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Tag(_) => Self::Tag,
            Verdict::Refuse(refusal) if refusal.is_transient() => Self::Defer,
            Verdict::Refuse(_) => Self::Refuse,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Tag => "tag",
            Self::Defer => "defer",
            Self::Refuse => "refuse",
        }
    }
}

impl Answer {
    fn word(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::RefusedByPanel => "refused_by_panel",
            Self::RefusedByRelay => "refused_by_relay",
            Self::ComeAgain => "come_again",
        }
    }
}

pub(super) fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "connect",
        Stage::Rcpt => "rcpt",
        Stage::Data => "data",
    }
}

fn bool_word(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
