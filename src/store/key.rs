//! Keys: under which name something is remembered.

use std::fmt;
use std::fmt::Write as _;

/// Under which name something is remembered: what it is, whose it is, and whatever else tells it
/// from others. Keys are equal if all their parts are, in order.
///
/// Bounded stores keep the records of one owner in a small part of their room, so that nobody
/// makes them forget more than that of others. So let the owner be what an attacker has little
/// choice of: the network of the client rather than the sender it claims to be.
///
/// ```
/// use nobounce::store::Key;
///
/// let key = Key::new("grey", "192.0.2.0/24").and("alice@example.org").and("bob smith@example.net");
/// assert_eq!(key.to_string(), "grey 192.0.2.0/24 alice@example.org bob%20smith@example.net");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    text: String,
    /// How much of it names kind and owner.
    owner: usize,
}

impl Key {
    /// The key of something of this kind and owner.
    pub fn new(kind: &str, owner: impl fmt::Display) -> Self {
        let mut text = String::new();
        // A string takes whatever it is given.
        let _ = write!(Plain(&mut text), "{kind}");
        text.push(' ');
        let _ = write!(Plain(&mut text), "{owner}");
        let owner = text.len();
        Self { text, owner }
    }

    /// The same key with one more part.
    #[must_use]
    pub fn and(mut self, part: impl fmt::Display) -> Self {
        self.text.push(' ');
        let _ = write!(Plain(&mut self.text), "{part}");
        self
    }

    /// Kind and owner alone.
    pub(super) fn owner(&self) -> &str {
        &self.text[..self.owner]
    }

    /// All of it: printable ASCII.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Key {
    /// The parts with spaces between them; in a part, all that is not printable ASCII, spaces and
    /// `%` are written as `%` and two hex digits for each octet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Writes parts so that no two lists of them look alike.
struct Plain<'t>(&'t mut String);

impl fmt::Write for Plain<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for octet in part.bytes() {
            match octet {
                b'!'..=b'~' if octet != b'%' => self.0.push(octet.into()),
                _ => write!(self.0, "%{octet:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn different_parts_make_different_keys(
            parts in prop::collection::vec("[ %a\u{0}é]{0,3}", 1..4),
            others in prop::collection::vec("[ %a\u{0}é]{0,3}", 1..4),
        ) {
            let key = |parts: &[String]| {
                parts[1..].iter().fold(Key::new("kind", &parts[0]), |key, part| key.and(part))
            };
            let (one, other) = (key(&parts), key(&others));
            prop_assert_eq!(one.text() == other.text(), parts == others);
            prop_assert_eq!(one.owner() == other.owner(), parts[0] == others[0]);
            prop_assert!(one.text().bytes().all(|octet| (b' '..=b'~').contains(&octet)));
        }
    }
}
