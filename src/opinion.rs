//! Opinions: the answers of scorers, and their failures.

use std::fmt;
use std::sync::Arc;

use crate::header::HeaderField;
use crate::score::{Finding, Score};
use crate::unwind::{caught, drop_caught};
use crate::verdict::Refusal;
use crate::wire::text::Printable;

/// The answer of a scorer: findings, header fields and an optional refusal. A scorer can neither
/// accept nor discard mail.
///
/// Findings, header fields and refusals convert to an opinion with `From`. [`and`](Self::and)
/// combines opinions.
///
/// ```
/// use nobounce::{Finding, Opinion, Refusal, Score};
/// use nobounce::message::HeaderField;
/// use nobounce::reply::EnhancedStatus;
///
/// assert!(Opinion::silent().is_silent());
/// assert_eq!(Opinion::from(None::<Finding>), Opinion::silent());
///
/// let finding = Finding::new("MACRO_VIRUS", Score::points(3));
/// let opinion = Opinion::from(finding).and(HeaderField::new("X-Macros", "2")?);
/// assert_eq!(opinion.findings[0].symbol(), "MACRO_VIRUS");
///
/// let refusal = Refusal::permanent(550, EnhancedStatus::new(7, 1), "No macros here");
/// let opinion = opinion.and(refusal.clone());
/// assert_eq!(opinion.refusal, Some(refusal));
/// # Ok::<(), nobounce::message::FieldNameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Opinion {
    /// Findings with their scores. The panel adds the scores up.
    pub findings: Vec<Finding>,
    /// Header fields to add to the message when it is relayed. They have no effect before the DATA
    /// stage.
    pub fields: Vec<HeaderField>,
    /// A refusal that applies regardless of the other scorers and of the score.
    pub refusal: Option<Refusal>,
}

impl Opinion {
    /// Returns an opinion without findings, header fields or refusal.
    pub const fn silent() -> Self {
        Self { findings: Vec::new(), fields: Vec::new(), refusal: None }
    }

    /// Returns whether the opinion has no findings, header fields or refusal.
    pub fn is_silent(&self) -> bool {
        self.findings.is_empty() && self.fields.is_empty() && self.refusal.is_none()
    }

    /// Adds the findings, header fields and refusal of `other`. If both refuse, a permanent refusal
    /// has priority over a transient one. Otherwise the refusal of `self` has priority.
    #[must_use]
    pub fn and(mut self, other: impl Into<Self>) -> Self {
        let other = other.into();
        self.findings.extend(other.findings);
        self.fields.extend(other.fields);
        self.refusal = match (self.refusal, other.refusal) {
            (Some(own), Some(other)) if own.is_transient() && !other.is_transient() => Some(other),
            (own, other) => own.or(other),
        };
        self
    }
}

impl From<Finding> for Opinion {
    fn from(finding: Finding) -> Self {
        vec![finding].into()
    }
}

impl From<Option<Finding>> for Opinion {
    fn from(finding: Option<Finding>) -> Self {
        finding.map_or(Self::silent(), Self::from)
    }
}

impl From<Vec<Finding>> for Opinion {
    fn from(findings: Vec<Finding>) -> Self {
        Self { findings, ..Self::silent() }
    }
}

impl FromIterator<Finding> for Opinion {
    fn from_iter<I: IntoIterator<Item = Finding>>(findings: I) -> Self {
        findings.into_iter().collect::<Vec<_>>().into()
    }
}

impl From<HeaderField> for Opinion {
    fn from(field: HeaderField) -> Self {
        Self { fields: vec![field], ..Self::silent() }
    }
}

impl From<Refusal> for Opinion {
    fn from(refusal: Refusal) -> Self {
        Self { refusal: Some(refusal), ..Self::silent() }
    }
}

/// The reason why a scorer gave no opinion, or only part of one. The text is passed to observers
/// and never to a client.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct ScorerError {
    reason: Reason,
    /// The part of the opinion that the scorer could give.
    opinion: Box<Opinion>,
    /// Whether the missing part could only have raised the score or refused the mail.
    adds_only: bool,
}

impl ScorerError {
    /// Creates the error of a scorer that failed for this reason.
    pub fn new(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            reason: Reason(Some(Arc::from(reason.into()))),
            opinion: Box::default(),
            adds_only: false,
        }
    }

    /// Adds a partial opinion, for a scorer that got some of its answers. The partial opinion
    /// counts in addition to the effect of the failure policy.
    ///
    /// ```
    /// use nobounce::{Finding, Score, ScorerError};
    ///
    /// let listed = Finding::new("ONE_LIST", Score::points(3));
    /// let error = ScorerError::new("the other list does not answer").but_says(listed.into());
    /// assert_eq!(error.to_string(), "the other list does not answer");
    /// ```
    #[must_use]
    pub fn but_says(mut self, opinion: Opinion) -> Self {
        self.opinion = opinion.into();
        self
    }

    /// States that the missing part could only have counted against the mail. If the rest is enough
    /// for a permanent refusal, the missing part cannot have changed that. The panel then refuses
    /// instead of deferring ([`FailurePolicy::Defer`]).
    ///
    /// ```
    /// use nobounce::ScorerError;
    ///
    /// let error = ScorerError::new("a list of bad senders does not answer").adds_only();
    /// assert!(error.could_only_add());
    /// ```
    #[must_use]
    pub fn adds_only(mut self) -> Self {
        self.adds_only = true;
        self
    }

    /// Returns whether the missing part could only have counted against the mail.
    pub fn could_only_add(&self) -> bool {
        self.adds_only
    }

    /// Returns the part of the opinion that the scorer could give.
    pub fn opinion(&self) -> &Opinion {
        &self.opinion
    }
}

/// The error value of a scorer. A panic while it is displayed or dropped is caught.
#[derive(Debug, Clone)]
struct Reason(Option<Arc<dyn std::error::Error + Send + Sync>>);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = caught(|| self.0.as_ref().map(ToString::to_string));
        let text = text.ok().flatten();
        // The text may quote a daemon or a sender, so unprintable characters are replaced.
        Printable(text.as_deref().unwrap_or("an error that cannot be displayed")).fmt(f)
    }
}

impl Drop for Reason {
    fn drop(&mut self) {
        drop_caught(self.0.take());
    }
}

/// The effect of a scorer's failure: an error, a panic or a missed deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FailurePolicy {
    /// The failure has no effect: the scorer counts as silent.
    Ignore,
    /// The failure counts as a finding with this score.
    Score(Score),
    /// The client is asked to try again later (`451 4.3.0`, before the greeting `421 4.3.0`). This
    /// is the default. The scorer might have refused the mail, and a delayed message is not lost.
    #[default]
    Defer,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reply::EnhancedStatus;

    fn refusal(code: u16, text: &str) -> Refusal {
        let refuse = if code < 500 { Refusal::transient } else { Refusal::permanent };
        refuse(code, EnhancedStatus::new(7, 1), text)
    }

    #[test]
    fn merged_opinions_prefer_a_permanent_refusal_and_then_the_first() {
        let told = |one, other| {
            let [one, other] = [one, other].map(Opinion::from);
            one.and(other).refusal.unwrap().to_string()
        };
        for (one, other, expected) in [
            ((451, "a"), (452, "b"), "451 4.7.1 a"),
            ((451, "a"), (550, "b"), "550 5.7.1 b"),
            ((550, "a"), (451, "b"), "550 5.7.1 a"),
            ((550, "a"), (554, "b"), "550 5.7.1 a"),
        ] {
            assert_eq!(told(refusal(one.0, one.1), refusal(other.0, other.1)), expected);
        }
        assert_eq!(
            Opinion::from(refusal(451, "a")).and(Opinion::silent()).refusal,
            Some(refusal(451, "a"))
        );
        assert_eq!(Opinion::silent().and(refusal(451, "a")).refusal, Some(refusal(451, "a")));
    }

    #[test]
    fn merged_opinions_keep_findings_and_fields_in_order() {
        let [a, b] = ["A", "B"].map(|symbol| Finding::new(symbol, Score::points(1)));
        let [x, y] = ["X-A", "X-B"].map(|name| HeaderField::new(name, "1").unwrap());
        let opinion =
            Opinion::from(a.clone()).and(x.clone()).and(Opinion::from(y.clone()).and(b.clone()));
        assert_eq!((opinion.findings, opinion.fields), (vec![a.clone(), b.clone()], vec![x, y]));
        assert_eq!(Opinion::from_iter([a.clone(), b.clone()]), Opinion::from(vec![a, b]));
        assert!(Opinion::from(Vec::new()).and(None::<Finding>).is_silent());
    }
}
