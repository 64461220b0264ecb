//! Where our header fields meet the client's content.

use bytes::Bytes;

use super::section::{continues, is_mbox, split_field};
use crate::header::OURS;
use crate::wire::blocks::Blocks;

/// Appends the content to `segments`, which hold our fields: the joint first, forged fields left
/// out.
///
/// The header section is searched for forged fields down to the first empty line, as the most
/// lenient readers do: Dovecot, whose Sieve may well file mail by our fields, reads on behind a line
/// that is no field, and mail-parser (Stalwart) then takes an indented line for one. Continuation
/// lines go with their field, so that none is left to continue another.
pub(super) fn append(content: &Blocks, segments: &mut Vec<Bytes>) {
    let len = content.len();
    // Where the stretch begins that is to be kept.
    let mut kept = 0;
    let mut joined = false;
    let (mut forged, mut junk) = (false, false);
    let mut at = 0;
    while at < len {
        let (line, end) = content.line(at);
        if !continues(&line) {
            (forged, junk) = (is_forged(&line), split_field(&line).is_none());
        } else if junk {
            forged |= is_forged(&line);
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
        } else if !joined && split_field(&line).is_none() {
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
