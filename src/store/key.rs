//! Keys of stored records.

use std::fmt;
use std::fmt::Write as _;

/// Key of a stored record: its kind, its owner, and further parts. Two keys are equal if all their
/// parts are equal, in order.
///
/// A bounded store keeps all records of one owner in a small part of its capacity. One owner can
/// therefore evict only few records of others. Choose an owner that an attacker cannot vary easily:
/// the network of the client rather than the sender address.
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
    /// Length of the part that names kind and owner.
    owner: usize,
}

impl Key {
    /// Creates a key from a kind and an owner.
    pub fn new(kind: &str, owner: impl fmt::Display) -> Self {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write!(Plain(&mut text), "{kind}");
        text.push(' ');
        let _ = write!(Plain(&mut text), "{owner}");
        let owner = text.len();
        Self { text, owner }
    }

    /// Adds one more part to the key.
    #[must_use]
    pub fn and(mut self, part: impl fmt::Display) -> Self {
        self.text.push(' ');
        let _ = write!(Plain(&mut self.text), "{part}");
        self
    }

    /// Returns the text of kind and owner only.
    pub(super) fn owner(&self) -> &str {
        &self.text[..self.owner]
    }

    /// Returns the text of the whole key, in printable ASCII.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Key {
    /// Writes the parts separated by spaces. Within a part, spaces, `%` and everything except
    /// printable ASCII are percent-encoded: `%` and two hex digits per octet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Percent-encodes the parts, so that different lists of parts have different texts.
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
        fn keys_with_different_parts_differ(
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
