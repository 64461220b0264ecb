//! Readings of a message. Mail programs interpret malformed messages in different ways, and a
//! sender can use this to hide content from a filter. So a message is parsed in each of these ways,
//! and scorers see the parts of all readings.

/// A question on which mail programs disagree. A reading answers each with yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Choice {
    /// The last one of repeated fields counts (Postfix), not the first one (Python).
    LastField = 1,
    /// The last one of repeated parameters counts, or the one that is encoded by RFC 2231.
    LastParameter = 1 << 1,
    /// Parameters are parsed without comments and escapes.
    PlainParameters = 1 << 2,
    /// A media type that is followed by text is invalid, which means plain text.
    StrictType = 1 << 3,
    /// A transfer encoding with quotes, or followed by a comment or text, is unknown.
    StrictEncoding = 1 << 4,
    /// The transfer encoding of an attached message is ignored.
    NoOuterEncoding = 1 << 5,
    /// A line that is not a field ends the header and begins the body. Most readers skip it.
    JunkEndsHeader = 1 << 6,
    /// A line of white space ends the header. RFC 5322 section 4.2 makes it a continuation.
    BlankEndsHeader = 1 << 7,
    /// Text may follow a boundary delimiter.
    LooseDelimiter = 1 << 8,
    /// A delimiter after the closing delimiter begins another part.
    Reopened = 1 << 9,
    /// The boundary of a multipart that declares none is taken from its first line that begins with
    /// `--`.
    GuessedBoundary = 1 << 10,
    /// A name with white space before its colon is not a field name. RFC 5322 section 4.5 accepts it.
    StrictName = 1 << 11,
    /// Of three or more fields, one in the middle counts. rspamd takes the one with a boundary.
    OtherField = 1 << 12,
}

/// A way to read a message: the answer of a mail program to each question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reading(u16);

impl Reading {
    pub(super) fn takes(self, choice: Choice) -> bool {
        self.0 & choice as u16 != 0
    }
}

/// The questions that came up while a message was parsed in one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Choices(u16);

impl Choices {
    pub(super) fn insert(&mut self, choice: Choice) {
        self.0 |= choice as u16;
    }
}

/// The readings of a message, the most common one first. Each further reading differs from an
/// earlier one in one answer. Its question came up in the earlier reading.
pub(super) struct Readings {
    known: Vec<Reading>,
    tried: usize,
    most: usize,
    exceeded: bool,
}

impl Readings {
    /// Creates a list of readings with at most this number of entries.
    pub(super) fn new(most: usize) -> Self {
        Self { known: vec![Reading::default()], tried: 0, most, exceeded: false }
    }

    pub(super) fn next(&mut self) -> Option<Reading> {
        let reading = self.known.get(self.tried).copied();
        self.tried += usize::from(reading.is_some());
        reading
    }

    /// Adds the readings that differ from this one in the answer to one of the questions.
    pub(super) fn add(&mut self, reading: Reading, choices: Choices) {
        let bits = (0..u16::BITS).map(|bit| 1 << bit).filter(|bit| choices.0 & bit != 0);
        for other in bits.map(|bit| Reading(reading.0 ^ bit)) {
            if self.known.contains(&other) {
                continue;
            }
            if self.known.len() < self.most {
                self.known.push(other);
            } else {
                self.exceeded = true;
            }
        }
    }

    /// Returns whether the message can be read in several ways.
    pub(super) fn are_several(&self) -> bool {
        self.known.len() > 1 || self.exceeded
    }

    /// Returns whether there are more readings than are allowed.
    pub(super) fn are_exceeded(&self) -> bool {
        self.exceeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns all readings of a message whose every reading depends on these questions.
    fn readings(choices: &[Choice], most: usize) -> (Vec<u16>, bool) {
        let mut readings = Readings::new(most);
        let mut met = Choices::default();
        choices.iter().for_each(|choice| met.insert(*choice));
        let mut found = Vec::new();
        while let Some(reading) = readings.next() {
            readings.add(reading, met);
            found.push(reading.0);
        }
        (found, readings.are_exceeded())
    }

    #[test]
    fn every_combination_is_read_up_to_the_limit() {
        use Choice::{LastField, LastParameter, PlainParameters};
        assert_eq!(readings(&[], 4), (vec![0], false));
        assert_eq!(readings(&[LastField], 4), (vec![0, 1], false));
        assert_eq!(readings(&[LastField, LastParameter], 4), (vec![0, 1, 2, 3], false));
        let three = [LastField, LastParameter, PlainParameters];
        assert_eq!(readings(&three, 4), (vec![0, 1, 2, 4], true));
        assert_eq!(readings(&three, 8), (vec![0, 1, 2, 4, 3, 5, 6, 7], false));
        assert_eq!(readings(&[LastField], 1), (vec![0], true));
    }
}
