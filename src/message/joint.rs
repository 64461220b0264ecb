//! Where our header fields meet the client's content.

use std::ops::Range;

use bytes::Bytes;

use super::section::{HEAD, continues, is_field, is_mbox};
use crate::header::OURS;
use crate::wire::blocks::Blocks;
use crate::wire::budget::{BLOCK, Block, Budget, FIRST};

/// Longest name of a server that can be ours (RFC 1035 section 2.3.4).
const NAME: usize = 255;
/// Octets of `Authentication-Results`, behind its name, in which the name of the server that has
/// checked must end. A field with more white space and comments before that name counts as forged, so
/// that no field is read further.
const AUTHSERV_ID: usize = 2 * NAME + 2;

/// Most lines that mailbox files have before a message which become fields. Mail has one of them or none.
const MBOX_LINES: usize = 16;

/// Octets of a kept range that is worth a segment of its own. Shorter ranges are copied, since a
/// segment costs 32 octets.
const SEGMENT: usize = 4 << 10;

/// Appends the content to `segments`, which hold our fields: the joint first, forged fields left
/// out, and those `Authentication-Results` that claim to be by `authserv_id` (RFC 8601 section 5).
///
/// The header section is searched for forged fields down to the first empty line, as the most
/// lenient readers do: Dovecot, whose Sieve may well file mail by our fields, reads on behind a line
/// that is no field, and mail-parser (Stalwart) then takes an indented line for one. Continuation
/// lines go with their field, so that none is left to continue another.
///
/// Takes linear time: one pass over the lines, and a bounded number of octets behind each
/// `Authentication-Results`. There are at most two segments for each 4 KiB of content. What is copied
/// is charged to `budget`. If that has no memory for it, the segments are incomplete.
///
/// `visit` sees each line of the header section, top down, of a longer one the first [`HEAD`] octets.
pub(super) fn append(
    content: &Blocks,
    authserv_id: Option<&str>,
    budget: &Budget,
    segments: &mut Vec<Bytes>,
    visit: &mut dyn FnMut(&[u8]),
) -> Result<(), Starved> {
    let len = content.len();
    let mut kept = Kept { content, budget, segments, copied: 0, small: None, starved: false };
    // Where the range begins that is to be kept.
    let mut begin = 0;
    let mut joined = false;
    let mut mbox_lines = 0;
    let (mut forged, mut junk) = (false, false);
    let mut at = 0;
    while at < len {
        let line = content.head(at, HEAD);
        visit(&line);
        if *line == *b"\r\n" {
            break;
        }
        let begins = !continues(&line);
        let is_field = begins && is_field(&line);
        if begins {
            forged = is_forged(content, at, &line, authserv_id);
            junk = !is_field;
        } else if junk {
            forged |= is_forged(content, at, &line, authserv_id);
        }
        let is_mbox = !joined && mbox_lines < MBOX_LINES && is_mbox(&line);
        if !(joined || forged || is_mbox || is_field) {
            kept.keep(begin..at);
            kept.empty_line();
            begin = at;
            break;
        }
        let end = at + line.len();
        let end = if line.ends_with(b"\n") { end } else { content.line_end(end) };
        if forged {
            kept.keep(begin..at);
            begin = end;
        } else if is_mbox {
            kept.keep(begin..at);
            kept.insert(b"Mailbox-Line: ");
            mbox_lines += 1;
            begin = at;
        } else {
            joined = true;
        }
        at = end;
    }
    kept.finish(begin..len)
}

/// There is no memory for what is copied.
#[derive(Debug)]
pub(super) struct Starved {
    /// Octets that were copied until then.
    pub(super) copied: usize,
}

/// The ranges of the content that are kept, written in order.
struct Kept<'c> {
    content: &'c Blocks,
    budget: &'c Budget,
    segments: &'c mut Vec<Bytes>,
    /// Short ranges, joined.
    small: Option<Block>,
    /// Octets that were copied into blocks.
    copied: usize,
    starved: bool,
}

impl Kept<'_> {
    fn keep(&mut self, range: Range<usize>) {
        if range.len() < SEGMENT {
            self.content.slices(range).for_each(|slice| self.insert(&slice));
        } else {
            self.flush();
            self.segments.extend(self.content.slices(range));
        }
    }

    fn insert(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() && !self.starved {
            if self.small.as_ref().is_none_or(Block::is_full) {
                self.flush();
                // Most messages have one removed field, or none.
                self.small = self.budget.block(if self.copied == 0 { FIRST } else { BLOCK });
            }
            match &mut self.small {
                Some(block) => {
                    let count = block.fill(octets);
                    octets = &octets[count..];
                    self.copied += count;
                }
                None => self.starved = true,
            }
        }
    }

    /// Ends our header section.
    fn empty_line(&mut self) {
        self.flush();
        self.segments.push(Bytes::from_static(b"\r\n"));
    }

    fn flush(&mut self) {
        self.segments.extend(self.small.take().map(Bytes::from_owner));
    }

    /// Writes what is left of the content. Where nothing was changed nothing is copied.
    fn finish(mut self, range: Range<usize>) -> Result<(), Starved> {
        self.flush();
        self.segments.extend(self.content.slices(range));
        let copied = self.copied;
        if self.starved { Err(Starved { copied }) } else { Ok(()) }
    }
}

/// Whether the line, which begins at `at`, begins a field that no client may send: one of ours, or
/// `Authentication-Results` by `authserv_id`. White space and colons before the name are skipped.
fn is_forged(content: &Blocks, at: usize, line: &[u8], authserv_id: Option<&str>) -> bool {
    let before = |octet: u8| octet != b'\n' && (octet.is_ascii_whitespace() || octet == b':');
    let names_forged = |at, line: &[u8]| {
        is_ours(line) || authserv_id.is_some_and(|id| claims_to_be_by(id, content, at, line))
    };
    if !line.first().is_some_and(|first| before(*first)) {
        return names_forged(at, line);
    }
    let begin = content.skip(at..content.len(), before);
    names_forged(begin, &content.head(begin, HEAD))
}

/// Whether the line begins a field whose name begins like ours, in the eyes of a reader that does
/// not look closely at the rest of the name.
fn is_ours(line: &[u8]) -> bool {
    let Some((begin, rest)) = line.split_at_checked(OURS.len()) else { return false };
    if !begin.eq_ignore_ascii_case(OURS.as_bytes()) {
        return false;
    }
    let name = rest.split(|octet| *octet == b':').next().unwrap_or_default();
    // The colon may stand beyond the octets that are looked at.
    let has_colon = name.len() < rest.len() || !rest.ends_with(b"\n");
    has_colon && !name.trim_ascii_end().iter().any(u8::is_ascii_whitespace)
}

/// Whether `Authentication-Results` begins at `begin`, with this line, and names `id` as the one that
/// has checked. That is the first word of its value, comments and quotes left out (RFC 8601 section
/// 2.2).
fn claims_to_be_by(id: &str, content: &Blocks, begin: usize, line: &[u8]) -> bool {
    const NAME: &[u8] = b"Authentication-Results";

    let name = line.get(..NAME.len());
    if !name.is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
        return false;
    }
    let begin = begin + NAME.len();
    let end = content.len().min(begin + AUTHSERV_ID);
    let octets = content.join(begin..end);
    match authserv_id(&octets, end == content.len()) {
        AuthservId::Name(name) => name.eq_ignore_ascii_case(id.as_bytes()),
        AuthservId::Unknown => true,
        AuthservId::OtherField => false,
    }
}

/// Which server an `Authentication-Results` field is by.
enum AuthservId {
    Name(Vec<u8>),
    /// It is not in the octets that were looked at.
    Unknown,
    /// The name of the field goes on.
    OtherField,
}

/// Reads the first word of the structured field whose name ends before `octets`: comments before it
/// skipped, quotes taken off. `whole` says whether the message ends with them.
fn authserv_id(octets: &[u8], whole: bool) -> AuthservId {
    let field = field(octets);
    let whole = whole || field.len() < octets.len();
    let value = match (field.trim_ascii_start().strip_prefix(b":"), whole) {
        (Some(value), _) => value,
        (None, false) if field.trim_ascii().is_empty() => return AuthservId::Unknown,
        (None, _) => return AuthservId::OtherField,
    };
    let mut word = Vec::new();
    let (mut depth, mut quoted) = (0_usize, false);
    let mut octets = value.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            _ if word.len() > NAME => return AuthservId::Name(word),
            b'\\' if quoted || depth > 0 => {
                let escaped = octets.next();
                word.extend(escaped.filter(|_| quoted));
            }
            b'"' if depth == 0 => quoted = !quoted,
            _ if quoted => word.push(octet),
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            b';' => return AuthservId::Name(word),
            _ if octet.is_ascii_whitespace() && word.is_empty() => {}
            _ if octet.is_ascii_whitespace() => return AuthservId::Name(word),
            _ => word.push(octet),
        }
    }
    if whole { AuthservId::Name(word) } else { AuthservId::Unknown }
}

/// The rest of a field, down to the line that does not continue it.
fn field(octets: &[u8]) -> &[u8] {
    let ends = |pair: &[u8]| pair[0] == b'\n' && !continues(&pair[1..]);
    let end = octets.windows(2).position(ends);
    &octets[..end.map_or(octets.len(), |at| at + 1)]
}
