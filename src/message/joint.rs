//! Where our header fields meet the client's content.

use bytes::Bytes;

use super::section::{continues, is_mbox, line_end, split_field};
use crate::header::OURS;

/// Appends the content to `segments`, which hold our fields: the joint first, forged fields left
/// out, and those `Authentication-Results` that claim to be by `authserv_id` (RFC 8601 section 5).
///
/// The header section is searched for forged fields down to the first empty line, as the most
/// lenient readers do: Dovecot, whose Sieve may well file mail by our fields, reads on behind a line
/// that is no field, and mail-parser (Stalwart) then takes an indented line for one. Continuation
/// lines go with their field, so that none is left to continue another.
pub(super) fn append(content: &Bytes, authserv_id: Option<&str>, segments: &mut Vec<Bytes>) {
    let is_forged = |at: usize, line: &[u8]| {
        is_forged(line) || authserv_id.is_some_and(|id| claims_to_be_by(id, content, at))
    };
    // Where the stretch begins that is to be kept.
    let mut kept = 0;
    let mut joined = false;
    let (mut forged, mut junk) = (false, false);
    let mut at = 0;
    while at < content.len() {
        let end = line_end(content, at);
        let line = &content[at..end];
        if !continues(line) {
            (forged, junk) = (is_forged(at, line), split_field(line).is_none());
        } else if junk {
            forged |= is_forged(at, line);
        }
        if forged {
            keep(content.slice(kept..at), segments);
            kept = end;
        } else if !joined && is_mbox(line) {
            keep(content.slice(kept..at), segments);
            keep([b"Mailbox-Line: ", line].concat().into(), segments);
            kept = end;
        } else if line == b"\r\n" {
            break;
        } else if !joined && split_field(line).is_none() {
            segments.push(Bytes::from_static(b"\r\n"));
            break;
        } else {
            joined = true;
        }
        at = end;
    }
    keep(content.slice(kept..), segments);
}

fn keep(stretch: Bytes, segments: &mut Vec<Bytes>) {
    if !stretch.is_empty() {
        segments.push(stretch);
    }
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
fn claims_to_be_by(id: &str, content: &[u8], at: usize) -> bool {
    const NAME: &[u8] = b"Authentication-Results";

    let before = |octet: &u8| matches!(octet, b' ' | b'\t' | 11 | 12 | b':');
    let begin = content[at..].iter().take_while(|octet| before(octet));
    let field = &content[at + begin.count()..];
    let Some((name, value)) = field.split_at_checked(NAME.len()) else {
        return false;
    };
    let space = value.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    if !name.eq_ignore_ascii_case(NAME) || value.get(space) != Some(&b':') {
        return false;
    }
    let mut end = line_end(value, space);
    while end < value.len() && continues(&value[end..]) {
        end = line_end(value, end);
    }
    first_word(&value[space + 1..end]).eq_ignore_ascii_case(id.as_bytes())
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
