//! The output of a trial: the answer and time of each scorer, and the verdict of each stage.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use nobounce::observer::json::{Entry, Line, Outcome, Word};
use nobounce::panel::Answer;
use nobounce::score::Disclosure;
use nobounce::tally::Tally;
use nobounce::verdict::Stage;
use nobounce::{Event, Finding, Verdict};

use crate::output::escaped;
use crate::time::today;

/// The report of a trial, and the outcomes of its transactions.
#[derive(Default)]
pub(super) struct Report {
    outcomes: Mutex<Vec<Outcome>>,
}

impl Report {
    pub(super) fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Connected { peer, .. } => print(&format!("   client: {peer}")),
            Event::Scored { stage, answer, .. } => answered(*stage, answer),
            Event::Judged { stage, tally, verdict, .. } => judged(*stage, tally, verdict),
            _ => {}
        }
        let Some(line) = Line::of(event, today()) else { return };
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        match line.entry {
            Entry::Transaction(it) => {
                outcomes.push(it.outcome);
                outcomes.extend(it.recipients.into_iter().map(|recipient| recipient.outcome));
            }
            Entry::Session(it) => outcomes.push(it.outcome),
            _ => {}
        }
    }

    /// Prints the result and returns the exit code: 0 if everything would pass, 1 if something would
    /// be refused, 2 if something would be deferred.
    pub(super) fn conclude(&self) -> u8 {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let has = |word| outcomes.iter().any(|outcome| outcome.result == word);
        let (code, result) = if has(Word::Refused) {
            (1, "the message or a recipient would be refused")
        } else if has(Word::Deferred) {
            (2, "the message or a recipient would be deferred")
        } else if has(Word::Accepted) {
            (0, "the message would pass")
        } else {
            (0, "nothing would be refused; no message was sent")
        };
        print(&format!("   result: {result}"));
        code
    }
}

fn answered(stage: Stage, answer: &Answer) {
    let milliseconds = answer.took.as_secs_f64() * 1_000.0;
    let told = |text: &str| {
        print(&format!("   {stage}: {} ({milliseconds:.1} ms): {text}", answer.scorer));
    };
    let opinion = match &answer.result {
        Ok(opinion) => opinion,
        Err(cause) => return told(&cause.to_string()),
    };
    if opinion.is_silent() {
        return told("nothing");
    }
    opinion.findings.iter().for_each(|it| told(&finding(it)));
    if let Some(refusal) = &opinion.refusal {
        told(&format!("refuses with {refusal}"));
    }
    if !opinion.fields.is_empty() {
        told(&format!("adds {} header fields", opinion.fields.len()));
    }
}

fn finding(finding: &Finding) -> String {
    let told = if finding.disclosure() == Disclosure::Public { ", told to the client" } else { "" };
    let colon = if finding.detail().is_empty() { "" } else { ": " };
    format!("{} {}{told}{colon}{}", finding.symbol(), finding.score(), finding.detail())
}

fn judged(stage: Stage, tally: &Tally, verdict: &Verdict) {
    let weighted = tally.counted().filter(|it| it.given != it.finding.score() && it.stage == stage);
    for entry in weighted {
        print(&format!("   {stage}: {entry} by weight, {} given", entry.given));
    }
    for failure in tally.failures().filter(|it| it.stage == stage) {
        let server = failure.server.as_ref().map_or(String::new(), |it| format!(" at {it}"));
        print(&format!("   {stage}: {}{server} failed: {}", failure.scorer, failure.cause));
    }
    let verdict = match verdict {
        Verdict::Refuse(refusal) if refusal.is_transient() => "defer",
        Verdict::Refuse(_) => "refuse",
        Verdict::Tag(_) => "pass with added header fields",
        _ => "pass",
    };
    let monitored = tally.decisions().any(|it| it.stage == stage && !it.acted);
    let monitored = if monitored { " (monitor mode)" } else { "" };
    print(&format!("   {stage}: total {}: {verdict}{monitored}", tally.total()));
}

/// Prints a line on standard output and ignores errors.
pub(super) fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{}", escaped(line));
}
