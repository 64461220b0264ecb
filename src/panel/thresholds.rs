//! Thresholds: turn a total score into a verdict, and write the reply text and the header field.

use crate::header::{HeaderField, OURS};
use crate::score::{Disclosure, Finding, Score, Thresholds};
use crate::tally::Tally;
use crate::verdict::{Refusal, Stage, Verdict};
use crate::wire::reply::EnhancedStatus;

/// Maximum number of findings in the header field of a tagged message.
pub(super) const SYMBOLS: usize = 128;
/// Maximum size of the findings in the header field of a tagged message, in octets. It is an eighth
/// of Postfix's limit for one header (`header_size_limit`), and less than the default
/// [`Limits::added_fields`](crate::session::Limits::added_fields).
pub(super) const OCTETS: usize = 12 << 10;

impl Thresholds {
    /// Returns the verdict for the total of `tally`.
    pub(super) fn judge(&self, stage: Stage, tally: &Tally) -> Verdict {
        const POLICY: EnhancedStatus = EnhancedStatus::new(7, 1);
        let total = tally.total();
        let reached = |threshold: Option<Score>| threshold.filter(|score| total >= *score);
        if reached(self.refuse()).is_some() {
            let code = if stage == Stage::Connect { 554 } else { 550 };
            let text = reasons(stage, "refused", " as unwanted", tally);
            Verdict::Refuse(Refusal::permanent(code, POLICY, &text))
        } else if reached(self.defer()).is_some() {
            let text = reasons(stage, "deferred", " as suspicious, try again later", tally);
            Verdict::Refuse(Refusal::transient(later(stage), POLICY, &text))
        } else if let Some(required) = reached(self.tag()).filter(|_| stage == Stage::Data) {
            Verdict::Tag(vec![status(total, required, tally)])
        } else {
            Verdict::Pass
        }
    }
}

/// Returns the reply for a failed scorer. It does not disclose which scorer failed.
pub(super) fn unchecked(stage: Stage) -> Refusal {
    let text = format!("{} cannot be checked now, try again later", noun(stage));
    Refusal::transient(later(stage), EnhancedStatus::new(3, 0), &text)
}

/// Returns the code of a deferral. Before the greeting it is 421, which closes the connection.
fn later(stage: Stage) -> u16 {
    if stage == Stage::Connect { 421 } else { 451 }
}

/// Returns the noun for the subject of this stage in a reply text.
fn noun(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "Connection",
        Stage::Rcpt => "Recipient",
        Stage::Data => "Message",
    }
}

/// Returns the reply text: the public findings that count against the mail, or `otherwise` if there
/// are none.
fn reasons(stage: Stage, done: &str, otherwise: &str, tally: &Tally) -> String {
    let told = |finding: &&Finding| {
        finding.disclosure() == Disclosure::Public && finding.score() > Score::ZERO
    };
    let reasons: Vec<String> = tally
        .findings()
        .filter(told)
        .map(|finding| match finding.detail() {
            "" => finding.symbol().to_owned(),
            detail => format!("{} ({detail})", finding.symbol()),
        })
        .collect();
    let noun = noun(stage);
    if reasons.is_empty() {
        format!("{noun} {done}{otherwise}")
    } else {
        format!("{noun} {done}: {}", reasons.join("; "))
    }
}

/// Returns the header field of a tagged message. [`Panel`] documents its grammar.
fn status(total: Score, required: Score, tally: &Tally) -> HeaderField {
    let mut symbols = String::new();
    for entry in tally.counted().take(SYMBOLS) {
        let finding = entry.to_string();
        if symbols.len() + finding.len() + 2 > OCTETS {
            break;
        }
        let separator = if symbols.is_empty() { "" } else { ", " };
        symbols.extend([separator, &finding]);
    }
    let value = format!("Yes, score={total} required={required} symbols={symbols}");
    HeaderField::fold(&format!("{OURS}Status"), value.as_bytes())
}
