//! The findings without which a verdict would have been milder.

use nobounce::Score;
use nobounce::observer::json::{Decision, DecisionWord, Finding, Judged, Levels, Policy};

/// The reason for a verdict of the panel.
pub(super) enum Reason<'j> {
    /// A scorer asked for the refusal, regardless of the total.
    Objection(&'j str),
    /// A scorer failed, and its failure policy is to defer.
    Failure(&'j nobounce::observer::json::ScorerFailure),
    /// The total reached a threshold.
    Threshold,
}

/// Returns the reason for a decision.
pub(super) fn reason<'j>(judged: &'j Judged, decision: &Decision) -> Reason<'j> {
    let is_same = |reply: &str| decision.reply.as_deref() == Some(reply);
    let objections = judged.objections.iter();
    let mut objections =
        objections.filter(|it| !it.monitored && it.stage == decision.stage && is_same(&it.reply));
    if let Some(objection) = objections.next() {
        return Reason::Objection(&objection.scorer);
    }
    // A deferral for a failure has a fixed text, and status 4.3.0.
    let unchecked = decision.reply.as_deref().is_some_and(|reply| reply.contains(" 4.3.0 "));
    let mut failures = judged.scorer_failures.iter().filter(|it| {
        unchecked && !it.monitored && it.policy == Policy::Defer && it.stage == decision.stage
    });
    failures.next().map_or(Reason::Threshold, Reason::Failure)
}

/// Returns the findings that were part of the total of a decision, highest score first.
pub(super) fn parts<'j>(judged: &'j Judged, decision: &Decision) -> Vec<&'j Finding> {
    let rank = |stage: &str| ["connect", "rcpt", "data"].iter().position(|it| *it == stage);
    let mut parts: Vec<&Finding> = judged
        .findings
        .iter()
        .filter(|it| rank(&it.stage) <= rank(&decision.stage))
        // A finding about a refused recipient counted in the decision about that recipient.
        .filter(|it| it.counted || it.aside && !it.monitored && decision.stage == "rcpt")
        .collect();
    parts.sort_by_key(|it| -it.score);
    parts
}

/// A set of findings without which the verdict would have been different.
pub(super) struct Change<'j> {
    pub(super) without: Vec<&'j Finding>,
    pub(super) score: Score,
    pub(super) verdict: Option<DecisionWord>,
}

/// Returns each finding without which the verdict would have been milder. If no single finding
/// makes the difference, returns the fewest findings that do together.
pub(super) fn changes<'j>(judged: &'j Judged, decision: &Decision) -> Vec<Change<'j>> {
    let Some(levels) = &judged.thresholds else { return Vec::new() };
    let verdict = |score| verdict(levels, score, &decision.stage);
    let now = verdict(decision.score);
    let parts = parts(judged, decision);
    let parts: Vec<_> = parts.into_iter().filter(|it| it.score > Score::ZERO).collect();
    let single = parts.iter().map(|part| {
        let score = decision.score + -part.score;
        Change { without: vec![part], score, verdict: verdict(score) }
    });
    let single: Vec<_> = single.filter(|change| change.verdict < now).collect();
    if !single.is_empty() {
        return single;
    }
    let (mut score, mut without) = (decision.score, Vec::new());
    for part in parts {
        score += -part.score;
        without.push(part);
        if verdict(score) < now {
            return vec![Change { without, score, verdict: verdict(score) }];
        }
    }
    Vec::new()
}

/// Returns the verdict for a total, or `None` for `pass`. The most severe verdict is returned.
pub(super) fn verdict(levels: &Levels, score: Score, stage: &str) -> Option<DecisionWord> {
    let reached = |level: Option<Score>| level.is_some_and(|level| score >= level);
    if reached(levels.refuse) {
        Some(DecisionWord::Refuse)
    } else if reached(levels.defer) {
        Some(DecisionWord::Defer)
    } else if reached(levels.tag) && stage == "data" {
        Some(DecisionWord::Tag)
    } else {
        None
    }
}
