//! Where our header fields meet the client's content.

use bytes::Bytes;

use super::section::{continues, is_field, is_mbox};
use crate::header::OURS;
use crate::wire::blocks::Blocks;

/// Appends the content to `segments`, which hold our fields: the joint first, forged fields left
/// out, and those `Authentication-Results` that claim to be by `authserv_id` (RFC 8601 section 5).
///
/// The header section is searched for forged fields down to the first empty line, as the most
/// lenient readers do: Dovecot, whose Sieve may well file mail by our fields, reads on behind a line
/// that is no field, and mail-parser (Stalwart) then takes an indented line for one. Continuation
/// lines go with their field, so that none is left to continue another.
pub(super) fn append(content: &Blocks, authserv_id: Option<&str>, segments: &mut Vec<Bytes>) {
    let len = content.len();
    let is_forged = |at: usize, line: &[u8]| {
        is_forged(line) || authserv_id.is_some_and(|id| claims_to_be_by(id, content, at))
    };
    // Where the stretch begins that is to be kept.
    let mut kept = 0;
    let mut joined = false;
    let (mut forged, mut junk) = (false, false);
    let mut at = 0;
    while at < len {
        let (line, end) = content.line(at);
        if !continues(&line) {
            (forged, junk) = (is_forged(at, &line), !is_field(&line));
        } else if junk {
            forged |= is_forged(at, &line);
        }
        if forged {
            segments.extend(content.slices(kept..at));
            kept = end;
        } else if !joined && is_mbox(&line) {
            segments.extend(content.slices(kept..at));
            segments.push([b"Mailbox-Line: ", &*line].concat().into());
            kept = end;
        } else if *line == *b"\r\n" {
            break;
        } else if !joined && !is_field(&line) {
            segments.push(Bytes::from_static(b"\r\n"));
            break;
        } else {
            joined = true;
        }
        at = end;
    }
    segments.extend(content.slices(kept..len));
}

/// Whether the line begins a field whose name begins like ours, in the eyes of a reader that does
/// not look closely at the rest of the name, nor at white space and colons before it.
fn is_forged(line: &[u8]) -> bool {
    let before = |octet: &u8| octet.is_ascii_whitespace() || *octet == b':';
    let line = &line[line.iter().take_while(|octet| before(octet)).count()..];
    let (Some(begin), Some(rest)) = (line.get(..OURS.len()), line.get(OURS.len()..)) else {
        return false;
    };
    let name = rest.split(|octet| *octet == b':').next().unwrap_or_default();
    begin.eq_ignore_ascii_case(OURS.as_bytes())
        && name.len() < rest.len()
        && !name.trim_ascii_end().iter().any(u8::is_ascii_whitespace)
}

/// Whether `Authentication-Results` begins at `at`, and names `id` as the one that has checked. That is
/// the first word of its value, comments and quotes left out (RFC 8601 section 2.2).
fn claims_to_be_by(id: &str, content: &Blocks, at: usize) -> bool {
    let (line, mut end) = content.line(at);
    let Some(value) = results(&line) else {
        return false;
    };
    let mut value = value.to_vec();
    while end < content.len() {
        let (line, next) = content.line(end);
        if !continues(&line) {
            break;
        }
        value.extend_from_slice(&line);
        end = next;
    }
    first_word(&value).eq_ignore_ascii_case(id.as_bytes())
}

/// What stands behind the colon of a line that begins `Authentication-Results`, with white space before it
/// and behind.
fn results(line: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"Authentication-Results";

    let begin = line.iter().take_while(|it| it.is_ascii_whitespace() || **it == b':').count();
    let (name, value) = line[begin..].split_at_checked(NAME.len())?;
    let value = value.trim_ascii_start().strip_prefix(b":")?;
    name.eq_ignore_ascii_case(NAME).then_some(value)
}

/// The first word of a structured field: comments before it skipped, quotes taken off.
fn first_word(value: &[u8]) -> Vec<u8> {
    let mut word = Vec::new();
    let (mut depth, mut quoted) = (0_usize, false);
    let mut octets = value.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' if quoted || depth > 0 => {
                let escaped = octets.next();
                word.extend(escaped.filter(|_| quoted));
            }
            b'"' if depth == 0 => quoted = !quoted,
            _ if quoted => word.push(octet),
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            b';' => break,
            _ if octet.is_ascii_whitespace() && word.is_empty() => {}
            _ if octet.is_ascii_whitespace() => break,
            _ => word.push(octet),
        }
    }
    word
}
