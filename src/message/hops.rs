//! Trace fields of a message (RFC 5321 section 4.4), counted to detect mail loops.

use super::section::continues;

/// Maximum length of a trace field value that is read. Our own fields are shorter.
const FIELD: usize = 2_048;

/// A parser that finds the `Received` fields in a header section, line by line. Values are
/// truncated at 2,048 octets.
#[derive(Debug, Default)]
pub(crate) struct TraceReader {
    /// Value of the current field, if it is a trace field.
    value: Option<Vec<u8>>,
}

impl TraceReader {
    /// Processes the next line. Returns the value of a trace field that ended before this line.
    pub(crate) fn next(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        if !continues(line) {
            let value = received(line).map(|value| value[..value.len().min(FIELD)].to_vec());
            return std::mem::replace(&mut self.value, value);
        }
        if let Some(value) = &mut self.value {
            let room = FIELD.saturating_sub(value.len());
            value.extend_from_slice(&line[..line.len().min(room)]);
        }
        None
    }

    /// Returns the value of a trace field that ended with the header section.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        self.value
    }
}

/// Returns the value on the first line of a `Received` field.
fn received(line: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"Received";

    let (name, rest) = line.split_at_checked(NAME.len())?;
    let is_name = name.eq_ignore_ascii_case(NAME);
    is_name.then(|| rest.trim_ascii_start().strip_prefix(b":")).flatten()
}

/// Returns the word after a clause name in the value of a trace field: `by HOST`, `id NAME`,
/// `for <PATH>`.
pub(crate) fn word_behind<'v>(value: &'v [u8], clause: &str) -> Option<&'v [u8]> {
    let is_space = |octet: &u8| octet.is_ascii_whitespace();
    let mut words = value.split(is_space).filter(|word| !word.is_empty());
    words.find(|word| *word == clause.as_bytes())?;
    words.next().map(|word| word.strip_suffix(b";").unwrap_or(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visited(header: &str) -> Vec<String> {
        let mut trace = TraceReader::default();
        let lines = header.split_inclusive('\n').filter_map(|line| trace.next(line.as_bytes()));
        let mut values: Vec<_> = lines.collect();
        values.extend(trace.finish());
        values.into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
    }

    #[test]
    fn every_received_field_of_the_header_section_is_visited() {
        let header = "Received: by a;\r\n\tnow\r\nSubject: x\r\n Received: folded\r\n\
                      RECEIVED : by b\r\nreceived:by c\r\nReceived-SPF: pass\r\n";
        let expected = [" by a;\r\n\tnow\r\n", " by b\r\n", "by c\r\n"];
        assert_eq!(visited(header), expected);
        assert_eq!(visited(&format!("{header}\r\n")), expected);
        assert_eq!(visited("").len(), 0);
        assert_eq!(visited("Received: by a"), [" by a"]);
    }

    #[test]
    fn a_long_field_is_cut() {
        let header = format!("Received: {}\r\n{}", "x".repeat(FIELD), "\tmore\r\n".repeat(FIELD));
        let values = visited(&header);
        assert_eq!(values.iter().map(String::len).collect::<Vec<_>>(), [FIELD]);
        let header = format!("Received: {}\r\n{}", "x".repeat(9), "\tmore\r\n".repeat(FIELD));
        assert_eq!(visited(&header)[0].len(), FIELD);
    }

    #[test]
    fn written_clauses_are_parsed_again() {
        let value =
            b" from a (a [192.0.2.1])\r\n\tby mx.example (nobounce) with ESMTP id p-1.2\r\n\
                      \tfor <b@c>; Mon, 1 Jan 2024 00:00:00 +0000\r\n";
        let words = ["by", "id", "for", "with"].map(|clause| word_behind(value, clause));
        let expected = [&b"mx.example"[..], b"p-1.2", b"<b@c>", b"ESMTP"].map(Some);
        assert_eq!(words, expected);
        assert_eq!(word_behind(value, "via"), None);
    }
}
