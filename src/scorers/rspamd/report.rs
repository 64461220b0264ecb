//! rspamd's reply to `/checkv2`: score, action, symbols.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::score::{Finding, Score};
use crate::scorer::Opinion;
use crate::verdict::Refusal;
use crate::wire::reply::EnhancedStatus;

use super::RspamdActions;

/// Most symbols that are taken from a report, in the order of their names.
const SYMBOLS: usize = 256;
/// The symbol of what no other symbol accounts for.
const SYMBOL: &str = "RSPAMD";

/// What rspamd says of a message. Fields that are not named here are of no use to us.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    #[serde(deserialize_with = "score")]
    score: Score,
    #[serde(default, deserialize_with = "score")]
    required_score: Score,
    action: Action,
    #[serde(default)]
    symbols: BTreeMap<Box<str>, Symbol>,
    /// An object as a rule; an empty list from some versions.
    #[serde(default)]
    messages: serde_json::Value,
}

#[derive(Debug, Deserialize)]
struct Symbol {
    #[serde(deserialize_with = "score")]
    score: Score,
    #[serde(default)]
    options: Vec<Box<str>>,
}

/// What rspamd proposes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
enum Action {
    Reject,
    /// Nobody is to have the message. The client is told so, and can tell its sender.
    Discard,
    SoftReject,
    Greylist,
    /// Anything else: `no action`, `add header`, `rewrite subject`, `quarantine`, or one that a
    /// site has defined for itself.
    Other(Box<str>),
}

impl From<String> for Action {
    fn from(name: String) -> Self {
        match &*name {
            "reject" => Self::Reject,
            "discard" => Self::Discard,
            "soft reject" => Self::SoftReject,
            "greylist" => Self::Greylist,
            _ => Self::Other(name.into()),
        }
    }
}

impl Action {
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

/// Not JSON, or not what rspamd writes. The fault is the server's.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct BadReport(#[from] serde_json::Error);

impl Report {
    pub(super) fn parse(body: &[u8]) -> Result<Self, BadReport> {
        // Options quote the message, in whatever octets it came.
        Ok(serde_json::from_str(&String::from_utf8_lossy(body))?)
    }

    pub(super) fn into_opinion(self, actions: RspamdActions) -> Opinion {
        let findings = self.findings();
        match self.refusal().filter(|_| actions == RspamdActions::Obey) {
            Some(refusal) => Opinion::RefuseWith(refusal, findings),
            None => Opinion::Evidence(findings),
        }
    }

    /// The symbols, behind what makes them add up to the score.
    fn findings(&self) -> Vec<Finding> {
        let symbols: Vec<_> = self
            .symbols
            .iter()
            .filter(|(name, _)| &***name != SYMBOL)
            .take(SYMBOLS)
            .map(|(name, symbol)| {
                Finding::new(name, symbol.score).with_detail(&symbol.options.join(", "))
            })
            .collect();
        let sum: Score = symbols.iter().map(Finding::score).sum();
        let detail = format!("{}/{}, {}", self.score, self.required_score, self.action.name());
        let rest = Finding::new(SYMBOL, self.score + -sum).with_detail(&detail);
        std::iter::once(rest).chain(symbols).collect()
    }

    /// What the action comes to at SMTP time.
    fn refusal(&self) -> Option<Refusal> {
        const POLICY: EnhancedStatus = EnhancedStatus::new(7, 1);
        let said = self.messages.get("smtp_message").and_then(serde_json::Value::as_str);
        let said = said.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        let text = |otherwise| if said.is_empty() { otherwise } else { &*said };
        match self.action {
            Action::Reject | Action::Discard => {
                Some(Refusal::permanent(550, POLICY, text("Message refused as spam")))
            }
            Action::SoftReject | Action::Greylist => {
                Some(Refusal::transient(451, POLICY, text("Try again later")))
            }
            Action::Other(_) => None,
        }
    }
}

/// Points with decimals, to the nearest hundredth.
fn score<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Score, D::Error> {
    let points = f64::deserialize(deserializer)?;
    let hundredths = (points * 100.0).round();
    if hundredths.abs() > f64::from(i32::MAX) {
        return Err(serde::de::Error::custom("a score out of range"));
    }
    #[allow(clippy::cast_possible_truncation, reason = "within the range of i32")]
    Ok(Score::hundredths(hundredths as i32))
}

#[cfg(test)]
mod tests;
