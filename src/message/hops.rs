//! The way that a message has come: its trace fields (RFC 5321 section 4.4), counted to find loops.

use std::ops::ControlFlow;

use super::section::continues;
use crate::wire::blocks::Blocks;

/// Octets of a trace field that are read: more than one of ours can have.
const FIELD: usize = 2_048;

/// Calls `visit` with the value of each `Received` field of the header section, top down, until it
/// breaks. A value is cut after 2,048 octets.
pub(crate) fn visit_received(content: &Blocks, mut visit: impl FnMut(&[u8]) -> ControlFlow<()>) {
    let len = content.len();
    let mut value: Option<Vec<u8>> = None;
    let mut at = 0;
    while at < len {
        let (line, end) = content.line(at, FIELD);
        at = end;
        if let (true, Some(value)) = (continues(&line), &mut value) {
            let room = FIELD.saturating_sub(value.len());
            value.extend_from_slice(&line[..line.len().min(room)]);
            continue;
        }
        if value.take().is_some_and(|value| visit(&value).is_break()) || *line == *b"\r\n" {
            return;
        }
        value = received(&line).map(<[u8]>::to_vec);
    }
    if let Some(value) = value {
        let _ = visit(&value);
    }
}

/// The value of a line that begins a `Received` field.
fn received(line: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"Received";

    let (name, rest) = line.split_at_checked(NAME.len())?;
    let is_name = name.eq_ignore_ascii_case(NAME);
    is_name.then(|| rest.trim_ascii_start().strip_prefix(b":")).flatten()
}

/// The word behind this one in the value of a trace field: `by HOST`, `id NAME`, `for <PATH>`.
pub(crate) fn word_behind<'v>(value: &'v [u8], clause: &str) -> Option<&'v [u8]> {
    let is_space = |octet: &u8| octet.is_ascii_whitespace();
    let mut words = value.split(is_space).filter(|word| !word.is_empty());
    words.find(|word| *word == clause.as_bytes())?;
    words.next().map(|word| word.strip_suffix(b";").unwrap_or(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::budget::BLOCK;

    fn visited(content: &str, first: usize) -> Vec<String> {
        let mut values = Vec::new();
        visit_received(&Blocks::cut(content.as_bytes(), first), |value| {
            values.push(String::from_utf8(value.to_vec()).unwrap());
            ControlFlow::Continue(())
        });
        values
    }

    #[test]
    fn every_received_field_of_the_header_section_is_visited() {
        let content = "Received: by a;\r\n\tnow\r\nSubject: x\r\n Received: folded\r\n\
                       RECEIVED : by b\r\nreceived:by c\r\nReceived-SPF: pass\r\n\r\nReceived: no\r\n";
        for first in 0..content.len() {
            assert_eq!(visited(content, first), [" by a;\r\n\tnow\r\n", " by b\r\n", "by c\r\n"]);
        }
        assert_eq!(visited("", 0).len(), 0);
        assert_eq!(visited("Received: by a", 0), [" by a"]);
    }

    #[test]
    fn a_long_field_is_cut() {
        let content = format!("Received: {}\r\n{}", "x".repeat(BLOCK), "\tmore\r\n".repeat(BLOCK));
        let values = visited(&content, 7);
        assert_eq!(values.iter().map(String::len).collect::<Vec<_>>(), [FIELD]);
    }

    #[test]
    fn clauses_are_read_as_we_write_them() {
        let value =
            b" from a (a [192.0.2.1])\r\n\tby mx.example (nobounce) with ESMTP id p-1.2\r\n\
                      \tfor <b@c>; Mon, 1 Jan 2024 00:00:00 +0000\r\n";
        let words = ["by", "id", "for", "with"].map(|clause| word_behind(value, clause));
        let expected = [&b"mx.example"[..], b"p-1.2", b"<b@c>", b"ESMTP"].map(Some);
        assert_eq!(words, expected);
        assert_eq!(word_behind(value, "via"), None);
    }
}
