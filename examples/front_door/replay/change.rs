//! Changes of a verdict.

use std::fmt;
use std::str::FromStr;

use nobounce::recording::Decided;

/// A verdict before and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change {
    pub(super) before: Decided,
    pub(super) now: Decided,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.before, self.now)
    }
}

/// A pattern of changes: `None` stands for every verdict.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pattern {
    before: Option<Decided>,
    now: Option<Decided>,
}

impl Pattern {
    pub(super) fn matches(self, change: Change) -> bool {
        change.before != change.now
            && self.before.is_none_or(|it| it == change.before)
            && self.now.is_none_or(|it| it == change.now)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sides = text.split_once("->").or_else(|| text.split_once('\u{2192}'));
        let verdict = |word: &str| match word.trim() {
            "*" => Some(None),
            word => Decided::ALL.into_iter().find(|it| it.word() == word).map(Some),
        };
        let pattern = sides
            .and_then(|(before, now)| Some(Self { before: verdict(before)?, now: verdict(now)? }));
        pattern.ok_or_else(|| {
            "expected two of pass, tag, defer, refuse and * with -> between them, such as pass->refuse"
                .to_owned()
        })
    }
}
