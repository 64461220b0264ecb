//! Scores and findings: the exact weight of evidence.

mod thresholds;

use std::fmt::{self, Write};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg};
use std::str::FromStr;

use crate::wire::text::{TwoDigits, Written, is_printable};
pub use thresholds::{ThresholdError, Thresholds};

/// Maximum length of a symbol in octets: that of a SpamAssassin rule name.
const SYMBOL: usize = 100;
/// Maximum length of a finding's detail in octets. It fits into a reply line (RFC 5321 section
/// 4.5.3.1.5).
const DETAIL: usize = 256;

/// A score in hundredths of a point. Scores add, compare and print exactly. Arithmetic saturates at
/// ±21,474,836.47 points.
///
/// ```
/// use nobounce::Score;
///
/// let total: Score = ["5", "-0.10", "+1.2"].iter().filter_map(|text| text.parse::<Score>().ok()).sum();
/// assert_eq!(total, Score::hundredths(610));
/// assert_eq!(total.to_string(), "6.10");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Score(i32);

impl Score {
    /// The neutral score.
    pub const ZERO: Self = Self(0);

    /// Creates a score from whole points.
    pub const fn points(points: i32) -> Self {
        Self(points.saturating_mul(100))
    }

    /// Creates a score from hundredths of a point.
    pub const fn hundredths(hundredths: i32) -> Self {
        Self(hundredths)
    }

    /// Returns the score in hundredths of a point.
    pub const fn as_hundredths(self) -> i32 {
        self.0
    }

    /// Returns `percent` percent of the score, rounded to the nearest hundredth of a point. Half a
    /// hundredth is rounded away from zero.
    pub(crate) fn percent(self, percent: u16) -> Self {
        let product = i64::from(self.0) * i64::from(percent);
        let rounded = (product + 50 * product.signum()) / 100;
        Self(i32::try_from(rounded).unwrap_or(if rounded < 0 { i32::MIN } else { i32::MAX }))
    }
}

impl Add for Score {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Neg for Score {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Sum for Score {
    /// Saturates only once, at the end, so that the order of the scores does not matter.
    fn sum<I: Iterator<Item = Self>>(scores: I) -> Self {
        let sum = scores.fold(0_i64, |sum, score| sum.saturating_add(i64::from(score.0)));
        Self(sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32)
    }
}

impl Written for Score {
    fn write_to<W: Write>(&self, to: &mut W) -> fmt::Result {
        if self.0 < 0 {
            to.write_char('-')?;
        }
        let hundredths = u64::from(self.0.unsigned_abs());
        (hundredths / 100).write_to(to)?;
        to.write_char('.')?;
        TwoDigits(hundredths).write_to(to)
    }
}

impl fmt::Display for Score {
    /// Formats the points with two decimals: `5.20`, `-0.10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

/// The error for a text that is not a score, or whose score is out of range. Fault of the author of
/// the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a score: expected a number of points such as 6.31, within ±21474836.47")]
pub struct ScoreError;

impl FromStr for Score {
    type Err = ScoreError;

    /// Parses points: `5`, `5.2`, `-0.10`, `+3`. More than two decimals are rounded to the nearest
    /// hundredth, half a hundredth away from zero: `2.345` is `2.35`, `-2.345` is `-2.35`.
    fn from_str(text: &str) -> Result<Self, ScoreError> {
        let negative = text.starts_with('-');
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (points, decimals) = match digits.split_once('.') {
            Some((points, decimals)) if !decimals.is_empty() => (points, decimals),
            Some(_) => return Err(ScoreError),
            None => (digits, ""),
        };
        if points.is_empty()
            || !(points.bytes().chain(decimals.bytes())).all(|c| c.is_ascii_digit())
        {
            return Err(ScoreError);
        }
        let decimal = |at| decimals.as_bytes().get(at).map_or(0, |digit| i64::from(digit - b'0'));
        // The third decimal alone decides the rounding: from 5 on it rounds up.
        let rounded = decimal(0) * 10 + decimal(1) + i64::from(decimal(2) >= 5);
        let points: i64 = points.parse().map_err(|_| ScoreError)?;
        let size = points.checked_mul(100).and_then(|size| size.checked_add(rounded));
        let size = size.ok_or(ScoreError)?;
        i32::try_from(if negative { -size } else { size }).map(Self).map_err(|_| ScoreError)
    }
}

/// Visibility of a finding for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Disclosure {
    /// Symbol and detail may appear in a reply.
    Public,
    /// Only for records and for the header of a tagged message. A sender that learns why a message
    /// was refused can avoid it in the next message.
    #[default]
    Private,
}

/// A reason for or against the mail, with its score.
///
/// ```
/// use nobounce::{Finding, Score};
/// use nobounce::score::Disclosure;
///
/// let listed = Finding::new("DNSBL", Score::points(4))
///     .with_detail("192.0.2.1 is on dnsbl.example")
///     .with_disclosure(Disclosure::Public);
/// assert_eq!(listed.symbol(), "DNSBL");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    symbol: Box<str>,
    score: Score,
    detail: Box<str>,
    disclosure: Disclosure,
}

impl Finding {
    /// Creates a private finding without detail. A negative score counts in favour of the mail.
    ///
    /// `symbol` is a short name such as `GTUBE`. Letters, digits, `_`, `-` and `.` are kept, and
    /// any other character is replaced by `_`. Symbols are truncated to 100 octets.
    pub fn new(symbol: &str, score: Score) -> Self {
        Self { symbol: word(symbol), score, detail: "".into(), disclosure: Disclosure::default() }
    }

    /// Sets the detail: an explanation of the finding, truncated to 256 octets. Control,
    /// bidirectional and invisible characters are replaced by spaces.
    #[must_use]
    pub fn with_detail(mut self, detail: &str) -> Self {
        if detail.len() <= DETAIL && detail.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
            self.detail = detail.into();
            return self;
        }
        let fitting = detail.char_indices().take_while(|(at, c)| at + c.len_utf8() <= DETAIL);
        let detail: String = fitting.map(|(_, c)| if is_printable(c) { c } else { ' ' }).collect();
        self.detail = detail.into();
        self
    }

    /// Sets the score of the finding.
    #[must_use]
    pub fn with_score(mut self, score: Score) -> Self {
        self.score = score;
        self
    }

    /// Sets whether the client may see the finding.
    #[must_use]
    pub fn with_disclosure(mut self, disclosure: Disclosure) -> Self {
        self.disclosure = disclosure;
        self
    }

    /// Returns the symbol of the finding.
    pub fn symbol(&self) -> &str {
        &self.symbol
    }

    /// Returns the score of the finding.
    pub fn score(&self) -> Score {
        self.score
    }

    /// Returns the detail of the finding, or an empty string.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Returns whether the client may see the finding.
    pub fn disclosure(&self) -> Disclosure {
        self.disclosure
    }
}

/// Returns `text` as a single word, with every character replaced that could end a word in a record
/// or header.
pub(crate) fn word(text: &str) -> Box<str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !text.is_empty() && text.len() <= SYMBOL && text.chars().all(is_plain) {
        return text.into();
    }
    let word: String =
        text.chars().take(SYMBOL).map(|c| if is_plain(c) { c } else { '_' }).collect();
    if word.is_empty() { "_".into() } else { word.into() }
}

#[cfg(test)]
mod tests;
