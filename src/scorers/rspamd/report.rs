//! rspamd's reply to `/checkv2`: score, action, symbols and requested changes.

mod milter;

use serde::Deserialize;
use serde_json::Value;

use crate::opinion::{Opinion, ScorerError};
use crate::score::{Finding, Score};
use crate::verdict::Refusal;
use crate::wire::reply::EnhancedStatus;

use super::RspamdActions;
use milter::Milter;

/// Maximum number of symbols taken from a report, in alphabetical order.
const SYMBOLS: usize = 256;
/// The symbol of the part of the score that no other symbol accounts for.
const SYMBOL: &str = "RSPAMD";
/// The symbol by which rspamd's greylisting reports its result.
const GREYLIST: &str = "GREYLIST";

/// The JSON object sent by rspamd. A field that is missing, `null` or of an undocumented type has
/// no effect. A duplicate field makes the report malformed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reply {
    score: Value,
    required_score: Value,
    action: Value,
    is_skipped: Value,
    symbols: Value,
    messages: Value,
    milter: Value,
    #[serde(rename = "dkim-signature")]
    dkim_signature: Value,
    error: Value,
}

/// A parsed report of rspamd about a message.
#[derive(Debug)]
pub(super) struct Report {
    score: Score,
    required: Option<Score>,
    action: Action,
    /// Whether the settings of rspamd exempt the message.
    is_skipped: bool,
    symbols: Vec<Symbol>,
    /// The reply text for the client; empty if rspamd sent none.
    smtp_message: String,
    milter: Milter,
    /// The reason if the report holds no complete scan result.
    gap: Option<Gap>,
}

/// A report without the result of a scan. Server fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Gap {
    #[error("rspamd reported the error {0:?}")]
    Error(Box<str>),
    #[error("the report of rspamd has no action")]
    Action,
    #[error("the report of rspamd has no valid score")]
    Score,
}

#[derive(Debug)]
struct Symbol {
    name: Box<str>,
    score: Score,
    options: Vec<String>,
}

/// The action that rspamd proposes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Reject,
    /// rspamd would drop the message. We never drop mail, so the client gets a refusal.
    Discard,
    SoftReject,
    /// The score is in the range for greylisting. rspamd has not greylisted the message yet.
    Greylist,
    /// Any other action: `no action`, `add header`, `rewrite subject`, `quarantine`, a custom
    /// action of the site, or none.
    Other(Box<str>),
}

impl Action {
    /// Parses an action. rspamd writes spaces; its configuration also accepts underscores.
    fn new(name: &str) -> Self {
        match &*name.trim().to_ascii_lowercase().replace('_', " ") {
            "reject" => Self::Reject,
            "discard" => Self::Discard,
            "soft reject" => Self::SoftReject,
            "greylist" => Self::Greylist,
            _ => Self::Other(name.into()),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Reject => "reject",
            Self::Discard => "discard",
            Self::SoftReject => "soft reject",
            Self::Greylist => "greylist",
            Self::Other(name) => name,
        }
    }
}

/// The reason why a body is not a report. Server fault.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadReport {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("error {0:?}")]
    Error(Box<str>),
    #[error("it has neither a score nor an action")]
    Empty,
}

impl BadReport {
    /// Returns the error that a body holds instead of a report.
    pub(super) fn error(body: &[u8]) -> Option<Box<str>> {
        let reply: Reply = serde_json::from_slice(body).ok()?;
        text(&reply.error).map(Into::into)
    }
}

/// No scan took place: rspamd answered before its rules ran.
#[derive(Debug, thiserror::Error)]
#[error("rspamd answered before its rules ran ({0}), so there is no score")]
struct NotJudged(Box<str>);

impl Report {
    pub(super) fn parse(body: &[u8]) -> Result<Self, BadReport> {
        // Options quote the message, which may not be valid UTF-8.
        let reply: Reply = serde_json::from_str(&String::from_utf8_lossy(body))?;
        // serde would also accept a JSON array for the struct.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(BadReport::Empty);
        }
        let action = text(&reply.action).filter(|action| !action.trim().is_empty());
        let error = (!milter::is_empty(&reply.error))
            .then(|| text(&reply.error).unwrap_or_else(|| reply.error.to_string()));
        if let (None, Some(error)) = (&action, &error) {
            return Err(BadReport::Error(error.as_str().into()));
        }
        let symbols = Symbol::all(&reply.symbols);
        let score = points(&reply.score);
        if score.is_none() && action.is_none() && symbols.is_empty() {
            return Err(BadReport::Empty);
        }
        let gap = match (error, &action, score) {
            (Some(error), ..) => Some(Gap::Error(error.into())),
            (None, None, _) => Some(Gap::Action),
            (None, Some(_), None) => Some(Gap::Score),
            (None, Some(_), Some(_)) => None,
        };
        let smtp_message = text(&reply.messages["smtp_message"]).unwrap_or_default();
        Ok(Self {
            score: score.unwrap_or_else(|| symbols.iter().map(|symbol| symbol.score).sum()),
            required: points(&reply.required_score),
            action: Action::new(&action.unwrap_or_default()),
            is_skipped: is_true(&reply.is_skipped),
            symbols,
            smtp_message: smtp_message.split_whitespace().collect::<Vec<_>>().join(" "),
            milter: Milter::new(&reply.milter, &reply.dkim_signature),
            gap,
        })
    }

    pub(super) fn into_opinion(self, actions: RspamdActions) -> Result<Opinion, ScorerError> {
        let findings = self.findings();
        if actions == RspamdActions::Obey {
            if let Some(refusal) = self.refusal() {
                return Ok(Opinion::from(refusal).and(findings));
            }
        } else if self.is_unjudged() {
            let reason = NotJudged(self.action.name().into());
            return Err(ScorerError::new(reason).but_says(findings.into()));
        }
        if let Some(gap) = self.gap {
            return Err(ScorerError::new(gap).but_says(findings.into()));
        }
        let fields = self.milter.fields(self.action.name());
        Ok(fields.into_iter().fold(findings.into(), Opinion::and))
    }

    /// Returns the symbols, preceded by the finding that makes the sum equal to the score.
    fn findings(&self) -> Vec<Finding> {
        let symbols: Vec<_> = self
            .symbols
            .iter()
            .filter(|symbol| &*symbol.name != SYMBOL)
            .take(SYMBOLS)
            .map(|symbol| {
                Finding::new(&symbol.name, symbol.score).with_detail(&symbol.options.join(", "))
            })
            .collect();
        let sum: Score = symbols.iter().map(Finding::score).sum();
        let rest = Finding::new(SYMBOL, self.score + -sum).with_detail(&self.detail());
        std::iter::once(rest).chain(symbols).collect()
    }

    /// Returns `score/required, action`, followed by `skipped` and the requests not carried out.
    fn detail(&self) -> String {
        let required = self.required.map_or("-".into(), |required| required.to_string());
        let mut detail = format!("{}/{required}, {}", self.score, self.action.name());
        if self.is_skipped {
            detail += ", skipped";
        }
        if !self.milter.undone.is_empty() {
            detail = format!("{detail}, not done: {}", self.milter.undone.join(" "));
        }
        detail
    }

    /// Returns the refusal for the action, if it refuses.
    fn refusal(&self) -> Option<Refusal> {
        const POLICY: EnhancedStatus = EnhancedStatus::new(7, 1);
        let text = |otherwise| match &*self.smtp_message {
            "" => otherwise,
            said => said,
        };
        match self.action {
            _ if self.milter.no_action => None,
            Action::Reject | Action::Discard => {
                Some(Refusal::permanent(550, POLICY, text("Message refused as spam")))
            }
            Action::Greylist if self.greylisting() != Some("greylisted") => None,
            Action::SoftReject | Action::Greylist => {
                Some(Refusal::transient(451, POLICY, text("Try again later")))
            }
            Action::Other(_) => None,
        }
    }

    /// Returns the result of rspamd's greylisting. It is `greylisted` if rspamd stored the time
    /// from which it accepts the message, and `pass` or `passed` if rspamd let the message pass.
    fn greylisting(&self) -> Option<&str> {
        let symbol = self.symbols.iter().find(|symbol| &*symbol.name == GREYLIST)?;
        let mut options = symbol.options.iter().map(String::as_str);
        match (options.next()?, options.next()) {
            ("greylisted", Some("passed")) => Some("passed"),
            (first, _) => Some(first),
        }
    }

    /// Returns whether a module of rspamd decided before the rules ran, so that score 0 does not
    /// mean ham. Greylisting (`too early`), rate limits and address lists do this.
    fn is_unjudged(&self) -> bool {
        let decided = match self.action {
            Action::Reject | Action::Discard | Action::SoftReject => true,
            Action::Greylist => self.greylisting() == Some("greylisted"),
            Action::Other(_) => false,
        };
        let weighs = |symbol: &Symbol| symbol.score != Score::ZERO;
        let too_early = |symbol: &Symbol| {
            &*symbol.name == GREYLIST && symbol.options.iter().any(|option| option == "too early")
        };
        decided
            && (self.symbols.iter().any(too_early)
                || self.score == Score::ZERO && !self.symbols.iter().any(weighs))
    }
}

impl Symbol {
    /// Parses the symbols by name: `{"NAME": {"score": 1.5, "options": ["…"]}}`.
    fn all(symbols: &Value) -> Vec<Self> {
        let symbols = symbols.as_object().into_iter().flatten();
        symbols.map(|(name, symbol)| Self::new(name, symbol)).collect()
    }

    /// Parses a symbol. Without a score it counts 0, and the missing part is in [`SYMBOL`].
    fn new(name: &str, symbol: &Value) -> Self {
        let score = points(&symbol["score"]).or_else(|| points(symbol)).unwrap_or_default();
        let options = match &symbol["options"] {
            Value::Array(options) => options.iter().filter_map(text).collect(),
            option => text(option).into_iter().collect(),
        };
        Self { name: name.into(), score, options }
    }
}

/// Parses decimal points from a number or a string, rounded to the nearest hundredth. Returns
/// `None` if the number is not finite or out of the range of [`Score`].
fn points(value: &Value) -> Option<Score> {
    let points: f64 = match value {
        Value::String(text) => text.trim().parse().ok()?,
        value => value.as_f64()?,
    };
    let hundredths = (points * 100.0).round();
    (hundredths.abs() <= f64::from(i32::MAX)).then_some(())?;
    #[allow(clippy::cast_possible_truncation, reason = "within the range of i32")]
    Some(Score::hundredths(hundredths as i32))
}

/// Returns a string, or a number as a string.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn is_true(value: &Value) -> bool {
    matches!(value, Value::Bool(true)) || value == "true"
}

#[cfg(test)]
mod tests;
