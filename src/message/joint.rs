//! The boundary between our header fields and the client's content.

use std::ops::Range;

use bytes::Bytes;

use super::section::{HEAD, MBOX_LINES, continues, is_field, is_mbox};
use super::words;
use crate::header::OURS;
use crate::wire::blocks::Blocks;
use crate::wire::budget::{BLOCK, Block, Budget, FIRST};

/// Maximum length of a server name that can be ours (RFC 1035 section 2.3.4).
const NAME: usize = 255;
/// Number of octets after the name `Authentication-Results` in which the server name (authserv-id)
/// must end. If more white space and comments precede the server name, the field counts as forged.
/// This limits how far each field is read.
const AUTHSERV_ID: usize = 2 * NAME + 2;

/// Minimum size of a kept range that gets its own segment. Smaller ranges are copied, because a
/// segment costs 32 octets.
const SEGMENT: usize = 4 << 10;

/// Appends the content to `segments`, which already contain our fields. Forged fields are removed,
/// including every `Authentication-Results` that claims to be from `authserv_id` (RFC 8601 section
/// 5). An empty line is inserted before the content if necessary.
///
/// The search for forged fields ends at the first empty line, because the most lenient readers also
/// continue to that line. Dovecot continues after a line that is not a field, and its Sieve scripts
/// may well sort mail by our fields. mail-parser (Stalwart) then accepts an indented line as a
/// field. Continuation lines are removed with their field, so they cannot continue another field.
///
/// The time is linear: one pass over the lines, plus a bounded number of octets after each
/// `Authentication-Results`. There are at most two segments per 4 KiB of content. Copied octets are
/// charged to `budget`. If the budget is exhausted, an error is returned and the segments are
/// incomplete.
///
/// `visit` gets each line of the header section in order. Of longer lines, it gets the first
/// [`HEAD`] octets.
pub(super) fn append(
    content: &Blocks,
    authserv_id: Option<&str>,
    budget: &Budget,
    segments: &mut Vec<Bytes>,
    visit: &mut dyn FnMut(&[u8]),
) -> Result<(), Starved> {
    let len = content.len();
    let mut kept = Kept { content, budget, segments, copied: 0, small: None, starved: false };
    // Start of the current range to keep.
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

/// The budget has no memory left for the copied octets.
#[derive(Debug)]
pub(super) struct Starved {
    /// Octets copied before the failure.
    pub(super) copied: usize,
}

/// Writer of the kept ranges of the content, in order.
struct Kept<'c> {
    content: &'c Blocks,
    budget: &'c Budget,
    segments: &'c mut Vec<Bytes>,
    /// Short ranges, joined into one block.
    small: Option<Block>,
    /// Octets copied into blocks.
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
                // Most messages have at most one removed field, so start with a small block.
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

    /// Ends our header section with an empty line.
    fn empty_line(&mut self) {
        self.flush();
        self.segments.push(Bytes::from_static(b"\r\n"));
    }

    fn flush(&mut self) {
        self.segments.extend(self.small.take().map(Bytes::from_owner));
    }

    /// Writes the rest of the content. Unchanged content is not copied.
    fn finish(mut self, range: Range<usize>) -> Result<(), Starved> {
        self.flush();
        self.segments.extend(self.content.slices(range));
        let copied = self.copied;
        if self.starved { Err(Starved { copied }) } else { Ok(()) }
    }
}

/// Returns whether the line at `at` begins a field that the client must not send: one of ours, or
/// `Authentication-Results` from `authserv_id`. White space and colons before the name are skipped.
fn is_forged(content: &Blocks, at: usize, line: &[u8], authserv_id: Option<&str>) -> bool {
    let before = |octet: u8| octet != b'\n' && (is_blank(octet) || octet == b':');
    let names_forged = |at, line: &[u8]| {
        is_ours(line) || authserv_id.is_some_and(|id| claims_to_be_by(id, content, at, line))
    };
    if !line.first().is_some_and(|first| before(*first)) {
        return names_forged(at, line);
    }
    let begin = content.skip(at..content.len(), before);
    names_forged(begin, &content.head(begin, HEAD))
}

/// Returns whether the field name begins with our prefix. The rest of the name is not fully
/// validated, because some readers do not validate it either.
fn is_ours(line: &[u8]) -> bool {
    let Some((begin, rest)) = line.split_at_checked(OURS.len()) else { return false };
    if !begin.eq_ignore_ascii_case(OURS.as_bytes()) {
        return false;
    }
    let name = rest.split(|octet| *octet == b':').next().unwrap_or_default();
    // The colon may be after the octets examined here.
    let has_colon = name.len() < rest.len() || !rest.ends_with(b"\n");
    has_colon && !name.trim_ascii_end().iter().any(u8::is_ascii_whitespace)
}

/// Returns whether an `Authentication-Results` field with this server name `id` begins at `begin`,
/// where `line` starts. The server name is the first word of the value, without comments and quotes
/// (RFC 8601 section 2.2).
fn claims_to_be_by(id: &str, content: &Blocks, begin: usize, line: &[u8]) -> bool {
    const NAME: &[u8] = b"Authentication-Results";

    let name = line.get(..NAME.len());
    if !name.is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
        return false;
    }
    let begin = begin + NAME.len();
    let end = content.len().min(begin + AUTHSERV_ID);
    let octets = content.join(begin..end);
    let octets = field(&octets);
    let whole = end == content.len() || octets.len() < end - begin;
    // Some programs decode encoded words first.
    let has_word = memchr::memmem::find(octets, b"=?").is_some();
    names(id, octets, whole) || has_word && names(id, words::decode(octets).as_bytes(), whole)
}

/// Returns whether the first word of a structured field may be read as this server name. `octets` begin
/// after the field name. `whole` tells whether the field ends with `octets`.
///
/// Comments and white space are skipped, also before the colon, and quotes are removed. A word ends at a
/// comment or at a character that is in no token (RFC 2045 section 5.1), or goes on after it. Other control characters are ignored, or end the word. If there is no
/// word in these octets, it may be the name: programs differ in what they take for a continuation line.
fn names(id: &str, octets: &[u8], whole: bool) -> bool {
    let is_id =
        |word: &[u8]| word.strip_suffix(b".").unwrap_or(word).eq_ignore_ascii_case(id.as_bytes());
    let mut word = Vec::new();
    let (mut depth, mut quoted, mut in_value) = (0_usize, false, false);
    let mut octets = octets.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' if quoted || depth > 0 => {
                let escaped = octets.next();
                word.extend(escaped.filter(|_| quoted));
            }
            b'"' if depth == 0 && in_value => quoted = !quoted,
            _ if quoted => word.push(octet),
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            b':' if !in_value => in_value = true,
            _ if is_blank(octet) => {}
            // Another field, whose name begins as this one does.
            _ if !in_value => return false,
            b';' => return is_id(&word),
            b',' | b'/' | b'=' | b'<' | b'>' | b'@' | b'[' | b']' | b'?' if is_id(&word) => {
                return true;
            }
            _ => word.push(octet),
        }
        let ends = depth > 0 || is_blank(octet);
        if ends && !quoted && is_id(&word) {
            return true;
        }
        if word.len() > NAME || is_space(octet) && !word.is_empty() && depth == 0 && !quoted {
            return false;
        }
    }
    !whole || word.is_empty() || is_id(&word)
}

/// Returns whether programs may skip this octet between words.
fn is_blank(octet: u8) -> bool {
    is_space(octet) || octet.is_ascii_control()
}

/// Returns whether this is white space, including vertical tab and form feed.
fn is_space(octet: u8) -> bool {
    octet.is_ascii_whitespace() || octet == b'\x0b'
}

/// Returns the rest of the field, including its continuation lines.
fn field(octets: &[u8]) -> &[u8] {
    let ends = |pair: &[u8]| pair[0] == b'\n' && !continues(&pair[1..]);
    let end = octets.windows(2).position(ends);
    &octets[..end.map_or(octets.len(), |at| at + 1)]
}
