//! Scores, findings, and the tally of them.

/// Hundredths of a point: scores add, compare and print exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Score(i32);

/// One reason, weighed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// A short name, as `GTUBE`.
    pub symbol: Box<str>,
    /// Its weight; below zero it speaks for the mail.
    pub score: Score,
}
