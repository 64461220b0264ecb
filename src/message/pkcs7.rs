//! The content of S/MIME signed data (RFC 5652, RFC 8551). Mail programs display it, so scorers
//! must see it. Signatures are not verified.
//!
//! The reader accepts BER: indefinite lengths and strings in several pieces. It reads each octet once
//! and keeps no tree.

/// `signedData` (1.2.840.113549.1.7.2).
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// Maximum nesting of elements that are skipped or joined. Real messages have two or three.
const DEPTH: usize = 16;
/// Maximum nesting of signed data in signed data.
const ENVELOPES: usize = 4;

const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const EXPLICIT: u8 = 0xa0;
/// Bit of a tag: the value consists of elements.
const CONSTRUCTED: u8 = 0x20;

/// Returns the encapsulated content of signed data. If the content is truncated, returns its
/// beginning.
pub(super) fn signed_content(octets: &[u8]) -> Option<Vec<u8>> {
    let mut content = signed(octets)?;
    for _ in 1..ENVELOPES {
        let Some(inner) = signed(&content) else { break };
        content = inner;
    }
    Some(content)
}

fn signed(octets: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(octets);
    reader.enter(SEQUENCE)?;
    if reader.value(OBJECT_IDENTIFIER)? != SIGNED_DATA {
        return None;
    }
    reader.enter(EXPLICIT)?;
    reader.enter(SEQUENCE)?;
    // Version and digest algorithms.
    reader.skip()?;
    reader.skip()?;
    reader.enter(SEQUENCE)?;
    reader.value(OBJECT_IDENTIFIER)?;
    reader.enter(EXPLICIT)?;
    reader.string()
}

/// The octets that have not been read.
struct Reader<'d>(&'d [u8]);

/// Header of an element. The length is `None` if it is indefinite.
#[derive(Clone, Copy)]
struct Head {
    tag: u8,
    length: Option<usize>,
}

impl<'d> Reader<'d> {
    /// Reads the header of an element.
    fn head(&mut self) -> Option<Head> {
        let (tag, rest) = self.0.split_first()?;
        // Tags of several octets do not occur here.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match usize::from(*first) {
            0x80 => (None, rest),
            short @ ..0x80 => (Some(short), rest),
            long => {
                let (octets, rest) = rest.split_at_checked(long & 0x7f)?;
                let length = octets.iter().try_fold(0_usize, |length, octet| {
                    Some(length.checked_mul(256)? | usize::from(*octet))
                })?;
                (Some(length), rest)
            }
        };
        self.0 = rest;
        Some(Head { tag: *tag, length })
    }

    /// Reads the header of an element with this tag. Its elements follow. Its end is not checked.
    fn enter(&mut self, tag: u8) -> Option<()> {
        (self.head()?.tag == tag).then_some(())
    }

    /// Reads an element with this tag and a definite length.
    fn value(&mut self, tag: u8) -> Option<&'d [u8]> {
        let head = self.head().filter(|head| head.tag == tag)?;
        let (value, rest) = self.0.split_at_checked(head.length?)?;
        self.0 = rest;
        Some(value)
    }

    /// Skips an element.
    fn skip(&mut self) -> Option<()> {
        let mut open = 0;
        loop {
            let head = self.head()?;
            match head.length {
                None => open += 1,
                // End of an element with indefinite length.
                Some(0) if head.tag == 0 && open > 0 => open -= 1,
                Some(length) => self.0 = self.0.get(length..)?,
            }
            if open == 0 {
                return Some(());
            }
            if open > DEPTH {
                return None;
            }
        }
    }

    /// Reads an octet string and joins its pieces.
    fn string(&mut self) -> Option<Vec<u8>> {
        /// End of a piece: an offset from the end of the input, or an end mark.
        type End = Option<usize>;

        let mut joined = Vec::new();
        let mut open: Vec<End> = Vec::new();
        loop {
            while open.last().is_some_and(|end| end.is_some_and(|end| self.0.len() <= end)) {
                open.pop();
            }
            let is_first = joined.is_empty() && open.is_empty();
            let Some(head) = self.head() else { break };
            match (head.tag, head.length) {
                (OCTET_STRING, Some(length)) => {
                    let (piece, rest) = self.0.split_at(length.min(self.0.len()));
                    joined.extend_from_slice(piece);
                    self.0 = rest;
                }
                (tag, length) if tag == OCTET_STRING | CONSTRUCTED && open.len() < DEPTH => {
                    open.push(length.map(|length| self.0.len().saturating_sub(length)));
                }
                (0, Some(0)) if !open.is_empty() => drop(open.pop()),
                _ if is_first => return None,
                _ => break,
            }
            if open.is_empty() {
                break;
            }
        }
        Some(joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an element with a definite length.
    fn element(tag: u8, value: &[u8]) -> Vec<u8> {
        let length = match value.len() {
            short @ ..0x80 => vec![short as u8],
            long => {
                let octets: Vec<_> =
                    long.to_be_bytes().into_iter().skip_while(|it| *it == 0).collect();
                [&[0x80 | octets.len() as u8], &octets[..]].concat()
            }
        };
        [&[tag], &length[..], value].concat()
    }

    /// Returns an element with an indefinite length.
    fn indefinite(tag: u8, value: &[u8]) -> Vec<u8> {
        [&[tag, 0x80], value, &[0, 0]].concat()
    }

    /// Returns signed data whose content is this element.
    fn signed_data(string: &[u8], make: fn(u8, &[u8]) -> Vec<u8>) -> Vec<u8> {
        let data = element(OBJECT_IDENTIFIER, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1]);
        let content = make(SEQUENCE, &[data, make(EXPLICIT, string)].concat());
        let algorithms = make(0x31, &make(SEQUENCE, &element(OBJECT_IDENTIFIER, &[0x2a])));
        let signers = make(0x31, b"");
        let data = make(SEQUENCE, &[element(2, &[1]), algorithms, content, signers].concat());
        let envelope = [element(OBJECT_IDENTIFIER, SIGNED_DATA), make(EXPLICIT, &data)].concat();
        make(SEQUENCE, &envelope)
    }

    #[test]
    fn content_of_signed_data_is_found() {
        let plain = |text: &[u8]| element(OCTET_STRING, text);
        let constructed = OCTET_STRING | CONSTRUCTED;
        let pieces = [plain(b"a"), plain(b"bc"), plain(b"")].concat();
        let nested = [element(constructed, &pieces), plain(b"d")].concat();
        let long = "x".repeat(70_000);
        for (string, expected) in [
            (plain(b"abc"), "abc"),
            (plain(b""), ""),
            (plain(long.as_bytes()), &*long),
            (element(constructed, &pieces), "abc"),
            (indefinite(constructed, &pieces), "abc"),
            (indefinite(constructed, &nested), "abcd"),
            (element(constructed, &indefinite(constructed, &nested)), "abcd"),
        ] {
            for make in [element, indefinite] {
                let message = signed_data(&string, make);
                assert_eq!(signed_content(&message).unwrap(), expected.as_bytes());
                // Truncated in the content.
                let is_prefix = |cut: usize| match signed_content(&message[..cut]) {
                    Some(content) => expected.as_bytes().starts_with(&content),
                    None => true,
                };
                assert!((0..message.len().min(200)).all(is_prefix));
            }
        }
        let twice = signed_data(&plain(&signed_data(&plain(b"abc"), element)), indefinite);
        assert_eq!(signed_content(&twice).unwrap(), b"abc");
    }

    #[test]
    fn nesting_in_signed_data_is_bounded() {
        let piece = element(OCTET_STRING, b"abc");
        for (depth, is_read) in [(DEPTH, true), (DEPTH + 1, false)] {
            let string = (0..depth)
                .fold(piece.clone(), |inner, _| indefinite(OCTET_STRING | CONSTRUCTED, &inner));
            let content = signed_content(&signed_data(&string, element)).unwrap();
            assert_eq!(content == b"abc", is_read, "{depth}");
            // The version, which is skipped.
            let version = (0..depth).fold(Vec::new(), |inner, _| indefinite(SEQUENCE, &inner));
            let message = signed_data(&piece, indefinite);
            let at = message.windows(3).position(|three| three == [2, 1, 1]).unwrap();
            let message = [&message[..at], &version, &message[at + 3..]].concat();
            assert_eq!(signed_content(&message).is_some(), is_read, "{depth}");
        }
    }

    #[test]
    fn signed_data_in_signed_data_is_bounded() {
        let wrap = |inner: Vec<u8>| signed_data(&element(OCTET_STRING, &inner), element);
        for (times, is_opened) in [(ENVELOPES, true), (ENVELOPES + 1, false)] {
            let message = (0..times).fold(b"abc".to_vec(), |inner, _| wrap(inner));
            assert_eq!(signed_content(&message).unwrap() == b"abc", is_opened, "{times}");
        }
    }

    #[test]
    fn other_data_has_no_signed_content() {
        let mut enveloped = signed_data(&element(OCTET_STRING, b"abc"), element);
        let at = enveloped.windows(9).position(|nine| nine == SIGNED_DATA).unwrap();
        enveloped[at + 8] = 3;
        for octets in [&b""[..], b"0", b"text", &[SEQUENCE, 0x80], &[0x1f; 100], &enveloped] {
            assert_eq!(signed_content(octets), None);
        }
        // No content: a detached signature.
        assert_eq!(signed_content(&signed_data(&element(0x31, b""), element)), None);
        // Elements without end.
        assert_eq!(signed_content(&[SEQUENCE, 0x80].repeat(100_000)), None);
        let prefix = signed_data(b"", indefinite);
        let at = prefix.windows(2).rposition(|two| two == [EXPLICIT, 0x80]).unwrap();
        let deep =
            [&prefix[..at + 2], &[OCTET_STRING | CONSTRUCTED, 0x80].repeat(100_000)].concat();
        assert_eq!(signed_content(&deep), Some(Vec::new()));
    }
}
