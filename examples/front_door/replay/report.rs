//! The report of a replay.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::SystemTime;

use nobounce::Score;
use nobounce::recording::{Decided, RecordedSession};
use nobounce::replay::{ProtocolReplay, ReplayedQuestion, ReplayedTransaction};

use super::change::Change;
use crate::output::escaped;
use crate::time::stamp;

/// Counts and changes of all sessions.
pub(super) struct Report {
    sessions: u64,
    first: Option<SystemTime>,
    end: Option<SystemTime>,
    counts: BTreeMap<Change, u64>,
    /// Explanations of changes, or differences.
    told: Vec<String>,
    most: usize,
    untold: u64,
    unasked: BTreeSet<Arc<str>>,
    /// Questions without any answer in the recording.
    silent: u64,
    same: u64,
    differing: u64,
    unknown: u64,
}

impl Report {
    pub(super) fn new(most: usize) -> Self {
        Self {
            sessions: 0,
            first: None,
            end: None,
            counts: BTreeMap::new(),
            told: Vec::new(),
            most,
            untold: 0,
            unasked: BTreeSet::new(),
            silent: 0,
            same: 0,
            differing: 0,
            unknown: 0,
        }
    }

    fn count(&mut self, session: &RecordedSession) {
        self.sessions += 1;
        self.first = self.first.into_iter().chain([session.time]).min();
        self.end = self.end.into_iter().chain([session.time]).max();
    }

    fn tell(&mut self, text: String) {
        match self.told.len() < self.most {
            true => self.told.push(text),
            false => self.untold += 1,
        }
    }

    /// Adds the transactions of a session, as judged now, and as judged before if not as recorded.
    pub(super) fn policy(
        &mut self,
        session: &RecordedSession,
        now: Vec<ReplayedTransaction>,
        before: Option<Vec<ReplayedTransaction>>,
    ) {
        self.count(session);
        for (place, transaction) in now.iter().enumerate() {
            let old = before.as_ref().and_then(|before| before.get(place));
            let was = old.map_or_else(|| transaction.recorded(), ReplayedTransaction::replayed);
            let change = Change { before: was, now: transaction.replayed() };
            *self.counts.entry(change).or_default() += 1;
            for question in &transaction.questions {
                self.unasked.extend(question.unasked.iter().cloned());
                let recorded = &question.recorded;
                let is_known = !recorded.silent.is_empty() || !question.failed.is_empty();
                let is_known = is_known || !question.counted.is_empty();
                self.silent += u64::from(!is_known && !question.unasked.is_empty());
            }
            if change.before != change.now {
                let text = explain(session, transaction, old, change);
                self.tell(text);
            }
        }
    }

    /// Adds the replay of a dialogue.
    pub(super) fn protocol(&mut self, session: &RecordedSession, replay: ProtocolReplay) {
        self.count(session);
        match replay {
            ProtocolReplay::Same => self.same += 1,
            ProtocolReplay::Diverged(divergence) => {
                self.differing += 1;
                self.tell(format!("{}\n", divergence.dialogue));
            }
            _ => self.unknown += 1,
        }
    }

    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.counts.keys()
    }

    pub(super) fn has_differences(&self) -> bool {
        self.differing > 0
    }

    pub(super) fn print(&self, protocol: bool) {
        let text = if protocol { self.protocol_text() } else { self.policy_text() };
        let text: String = text.lines().map(|line| escaped(line) + "\n").collect();
        let _ = io::stdout().write_all(text.as_bytes());
    }

    fn period(&self) -> String {
        match (self.first, self.end) {
            (Some(first), Some(end)) => format!(", from {} to {}", stamp(first), stamp(end)),
            _ => String::new(),
        }
    }

    fn protocol_text(&self) -> String {
        let (sessions, same) = (self.sessions, self.same);
        let mut text = format!("{sessions} sessions{}: {same} are the same", self.period());
        let _ = writeln!(text, ", {} differ, {} cannot be replayed", self.differing, self.unknown);
        if self.unknown > 0 {
            text += "A session cannot be replayed if a part of it that matters is not in the recording.\n";
        }
        self.told.iter().for_each(|told| text = format!("{text}\n{told}"));
        self.rest(&mut text);
        text
    }

    fn policy_text(&self) -> String {
        let transactions: u64 = self.counts.values().sum();
        let (sessions, period) = (self.sessions, self.period());
        let mut text = format!("{transactions} transactions in {sessions} sessions{period}\n\n");
        text += "before \\ now";
        Decided::ALL.iter().for_each(|now| text += &format!("{:>10}", now.word()));
        text.push('\n');
        for before in Decided::ALL {
            text += &format!("{:<12}", before.word());
            for now in Decided::ALL {
                let count = self.counts.get(&Change { before, now }).copied().unwrap_or_default();
                text += &format!("{count:>10}");
            }
            text.push('\n');
        }
        if !self.unasked.is_empty() {
            let names: Vec<&str> = self.unasked.iter().map(|name| &**name).collect();
            let names = names.join(", ");
            let _ = writeln!(
                text,
                "\nThese scorers were not asked in the recording, so they say nothing here: {names}"
            );
        }
        if self.silent > 0 {
            let _ = writeln!(text, "\n{} questions have no answers in the recording.", self.silent);
        }
        self.told.iter().for_each(|told| text = format!("{text}\n{told}"));
        self.rest(&mut text);
        text
    }

    fn rest(&self, text: &mut String) {
        if self.untold > 0 {
            let _ = writeln!(text, "\n{} more are not shown; see --last", self.untold);
        }
    }
}

/// Explains a changed verdict: totals, thresholds, and the symbols that made the difference.
fn explain(
    session: &RecordedSession,
    now: &ReplayedTransaction,
    old: Option<&ReplayedTransaction>,
    change: Change,
) -> String {
    let mut text = format!("{}  {}  {change}\n", now.id, stamp(session.time));
    for (place, question) in now.questions.iter().enumerate() {
        let old = old.and_then(|old| old.questions.get(place));
        let (was, counted) = match old {
            Some(old) => (&old.replayed, &old.counted),
            None => (&question.recorded, &question.before),
        };
        let is = &question.replayed;
        if was.verdict == is.verdict {
            continue;
        }
        let (stage, before, score) = (is.stage, was.score, is.score);
        let _ = writeln!(
            text,
            "  {stage}: {} with {before} before, {} with {score} now",
            was.verdict, is.verdict
        );
        differences(&mut text, counted, question);
        let levels = [was.thresholds, is.thresholds].map(|it| {
            it.map_or_else(String::new, |it| {
                let level = |score: Option<Score>| {
                    score.map_or_else(|| "never".to_owned(), |score| score.to_string())
                };
                let (tag, defer, refuse) = (level(it.tag()), level(it.defer()), level(it.refuse()));
                format!("tag {tag}, defer {defer}, refuse {refuse}")
            })
        });
        if levels[0] != levels[1] && !levels[0].is_empty() {
            let _ = writeln!(text, "    thresholds: {} before, {} now", levels[0], levels[1]);
        }
        for scorer in &question.failed {
            let _ = writeln!(text, "    {scorer} gave no complete answer");
        }
        if was.monitored != is.monitored {
            let mode = if is.monitored.is_some() { "now" } else { "before" };
            let _ = writeln!(text, "    monitor mode {mode}");
        }
        if now.replayed() < change.before && stage != nobounce::verdict::Stage::Data {
            text += "    what came after it is not known\n";
        }
    }
    text
}

/// Writes the findings whose scores differ.
fn differences(
    text: &mut String,
    before: &[(Arc<str>, Box<str>, Score)],
    question: &ReplayedQuestion,
) {
    let mut scores: BTreeMap<(&str, &str), [Option<Score>; 2]> = BTreeMap::new();
    for (place, findings) in [before, &question.counted].into_iter().enumerate() {
        for (scorer, symbol, score) in findings {
            scores.entry((scorer, symbol)).or_default()[place] = Some(*score);
        }
    }
    let score = |score: Option<Score>| score.map_or("none".to_owned(), |score| score.to_string());
    let is_other = |scores: &[Option<Score>; 2]| scores[0] != scores[1];
    let differing: Vec<_> = scores.iter().filter(|(_, scores)| is_other(scores)).collect();
    for ((scorer, symbol), [before, now]) in &differing {
        let (before, now) = (score(*before), score(*now));
        let _ = writeln!(text, "    {scorer}:{symbol} {before} before, {now} now");
    }
    if differing.is_empty() {
        for ((scorer, symbol), [_, now]) in &scores {
            let _ = writeln!(text, "    {scorer}:{symbol} {}", score(*now));
        }
    }
}
