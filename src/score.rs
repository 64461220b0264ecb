//! Scores and findings: what evidence weighs, exactly.

use std::fmt::{self, Write};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg};
use std::str::FromStr;

use crate::wire::text::{TwoDigits, Written, is_printable};

/// Longest symbol, in octets: that of a SpamAssassin rule.
const SYMBOL: usize = 100;
/// Longest detail of a finding, in octets: a reply line has room for it (RFC 5321 section
/// 4.5.3.1.5).
const DETAIL: usize = 256;

/// Hundredths of a point: scores add, compare and print exactly. What would leave the range of
/// ±21,474,836.47 points stays at its end.
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
    /// Nothing, neither for nor against.
    pub const ZERO: Self = Self(0);

    /// Whole points.
    pub const fn points(points: i32) -> Self {
        Self(points.saturating_mul(100))
    }

    /// Hundredths of a point.
    pub const fn hundredths(hundredths: i32) -> Self {
        Self(hundredths)
    }

    /// The score in hundredths of a point.
    pub const fn as_hundredths(self) -> i32 {
        self.0
    }

    /// This many hundredths of it, to the nearest hundredth of a point, half of one away from zero.
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
    /// Saturates once, at the end: the order of the scores does not matter.
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
    /// Points with two decimals: `5.20`, `-0.10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

/// Not a score, or one out of range. The fault is that of whoever wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a score: digits, with a sign and decimals at will, within ±21474836.47")]
pub struct BadScore;

impl FromStr for Score {
    type Err = BadScore;

    /// Reads points: `5`, `5.2`, `-0.10`, `+3`. More than two decimals are rounded to the nearest
    /// hundredth, half a hundredth away from zero: `2.345` is `2.35`, `-2.345` is `-2.35`.
    fn from_str(text: &str) -> Result<Self, BadScore> {
        let negative = text.starts_with('-');
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (points, decimals) = match digits.split_once('.') {
            Some((points, decimals)) if !decimals.is_empty() => (points, decimals),
            Some(_) => return Err(BadScore),
            None => (digits, ""),
        };
        if points.is_empty()
            || !(points.bytes().chain(decimals.bytes())).all(|c| c.is_ascii_digit())
        {
            return Err(BadScore);
        }
        let decimal = |at| decimals.as_bytes().get(at).map_or(0, |digit| i64::from(digit - b'0'));
        // The third decimal alone decides: half a hundredth and all above it are rounded alike.
        let rounded = decimal(0) * 10 + decimal(1) + i64::from(decimal(2) >= 5);
        let points: i64 = points.parse().map_err(|_| BadScore)?;
        let size = points.checked_mul(100).and_then(|size| size.checked_add(rounded));
        let size = size.ok_or(BadScore)?;
        i32::try_from(if negative { -size } else { size }).map(Self).map_err(|_| BadScore)
    }
}

/// Whether the client may learn of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Disclosure {
    /// Symbol and detail may stand in a reply.
    Public,
    /// For records, and for the header of a tagged message. A sender who learns what gave a
    /// message away writes the next one without it.
    #[default]
    Private,
}

/// One reason, weighed.
///
/// ```
/// use nobounce::{Disclosure, Finding, Score};
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
    /// A finding without detail, not told to the client. A score below zero speaks for the mail.
    ///
    /// `symbol` is a short name, as `GTUBE`: letters, digits, `_`, `-` and `.`; anything else in it
    /// becomes `_`, and it is cut at 100 octets.
    pub fn new(symbol: &str, score: Score) -> Self {
        Self { symbol: word(symbol), score, detail: "".into(), disclosure: Disclosure::default() }
    }

    /// The same finding with this explanation, cut at 256 octets. Control, bidirectional and invisible
    /// characters in it become spaces.
    #[must_use]
    pub fn with_detail(mut self, detail: &str) -> Self {
        let fitting = detail.char_indices().take_while(|(at, c)| at + c.len_utf8() <= DETAIL);
        let detail: String = fitting.map(|(_, c)| if is_printable(c) { c } else { ' ' }).collect();
        self.detail = detail.into();
        self
    }

    /// The same finding, of this weight.
    #[must_use]
    pub fn with_score(mut self, score: Score) -> Self {
        self.score = score;
        self
    }

    /// The same finding, which the client may learn of or not.
    #[must_use]
    pub fn with_disclosure(mut self, disclosure: Disclosure) -> Self {
        self.disclosure = disclosure;
        self
    }

    /// Its short name.
    pub fn symbol(&self) -> &str {
        &self.symbol
    }

    /// Its weight.
    pub fn score(&self) -> Score {
        self.score
    }

    /// What explains it; empty if nothing does.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Whether the client may learn of it.
    pub fn disclosure(&self) -> Disclosure {
        self.disclosure
    }
}

/// A word that cannot be mistaken for two, nor for anything around it in a record or header.
pub(crate) fn word(text: &str) -> Box<str> {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' }
    };
    let word: String = text.chars().take(SYMBOL).map(plain).collect();
    if word.is_empty() { "_".into() } else { word.into() }
}

#[cfg(test)]
mod tests;
