//! Parses the MIME structure of a message: one pass over its lines, without recursion, in bounded
//! memory.
//!
//! If mail programs disagree about a malformed message, it is parsed once for each of their
//! readings (`reading.rs`). The result contains the parts of all readings.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::declared::Declared;
use super::part::{MimePart, Stretch};
use super::pkcs7;
use super::reading::{Choice, Choices, Reading, Readings};
use super::section::{HEAD, continues, is_field, is_mbox, is_strict_field, without_end};
use super::transfer::{Encoding, with_line_ends};
use super::view::MessageView;
use crate::wire::blocks::Blocks;

/// Maximum nesting of encoded bodies whose parts are parsed: attached messages and multiparts with
/// a transfer encoding, and signed data of S/MIME. Each is decoded into a copy.
const ENCODINGS: usize = 3;
/// Maximum length of a boundary. A delimiter with its dashes fits into the examined octets of a
/// line.
const BOUNDARY: usize = HEAD - 8;

/// Limits for parsing the MIME structure of a message. Scorers do not see content beyond a limit,
/// and [`MessageView::truncated`](crate::message::MessageView::truncated) tells them that something
/// is missing. The message is relayed unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MimeLimits {
    /// Number of parts, the message itself included: 10,000 (Dovecot
    /// `MESSAGE_PARSER_DEFAULT_MAX_TOTAL_MIME_PARTS`). Each takes about 400 octets of memory in
    /// addition to the mail data.
    pub parts: usize,
    /// Nesting depth of parts: 100 (Postfix `mime_nesting_limit`). In the worst case, each line is
    /// compared with this number of boundaries.
    pub depth: usize,
    /// Octets of a MIME field that are parsed: 16,384. Postfix `mime_boundary_length_limit` allows
    /// 2,048 for a boundary.
    pub field: usize,
    /// Octets of the header of a part that are parsed: 1 MiB (Exim `header_maxsize`).
    pub header: usize,
    /// Octets that are copied in total: 8 MiB. The parser copies headers that span blocks of the
    /// mail data, values of MIME fields, and attached messages that it decodes.
    pub copies: usize,
    /// Number of readings of a malformed message: 4. Each further reading takes as long as the
    /// first one.
    pub readings: usize,
}

impl Default for MimeLimits {
    fn default() -> Self {
        Self {
            parts: 10_000,
            depth: 100,
            field: 16 << 10,
            header: 1 << 20,
            copies: 8 << 20,
            readings: 4,
        }
    }
}

/// State of the walk through a message, in one reading of it: the parts found so far.
struct Walk<'w> {
    limits: MimeLimits,
    reading: Reading,
    /// Questions that came up in this reading.
    met: Choices,
    parts: Vec<MimePart>,
    /// Decoded bodies that contain parts, by their source, range and encoding. All readings share
    /// them.
    opened: &'w mut HashMap<(usize, Range<usize>, Encoding), Opened>,
    /// Octets that may still be copied.
    room: usize,
    truncated: bool,
}

/// The decoded octets of an encoded body, in which its parts are found.
#[derive(Clone)]
struct Opened {
    source: Arc<Blocks>,
    /// The body without its transfer encoding.
    octets: Bytes,
}

/// A part whose end has not been seen.
#[derive(Default)]
struct Open {
    /// Its index.
    part: usize,
    /// Offset of its body.
    body: usize,
    /// Boundary between its parts. `None` if it has no parts.
    boundary: Option<Box<[u8]>>,
    /// Whether the closing delimiter was seen.
    is_closed: bool,
    /// Whether the first line that begins with `--` has its boundary.
    is_guessed: bool,
    /// Begin of the first delimiter and end of the last one.
    delimiters: Option<Range<usize>>,
    /// The encoded body, whose parts can be found after it is decoded.
    sealed: Option<Sealed>,
    /// Whether the body is the decoded one, which the walk goes through.
    is_decoded: bool,
}

/// A body whose parts are found after it is decoded.
enum Sealed {
    Message,
    /// A multipart. Its encoding is ignored if its undecoded body contains parts.
    Multipart,
    SignedData,
}

/// The part of the input that follows a header.
enum Next {
    Body,
    /// The header of an attached message.
    Header,
    /// Nothing more is parsed.
    End,
}

/// Nesting: depth of the source, and the number of nested bodies that may still be decoded.
type Nesting = (usize, usize);

impl MessageView {
    pub(super) fn new(content: Blocks, limits: MimeLimits) -> Self {
        let content = Arc::new(content);
        let mut readings = Readings::new(limits.readings.max(1));
        let mut opened = HashMap::new();
        let mut union = Vec::new();
        let mut known = HashSet::new();
        let (mut room, mut truncated) = (limits.copies, false);
        while let Some(reading) = readings.next() {
            let mut walk = Walk {
                limits,
                reading,
                met: Choices::default(),
                parts: Vec::new(),
                opened: &mut opened,
                room,
                truncated,
            };
            walk.walk(&content, Vec::new(), Some(0), (0, ENCODINGS));
            (room, truncated) = (walk.room, walk.truncated);
            readings.add(reading, walk.met);
            let (met, parts) = (walk.met, walk.parts);
            if union.is_empty() && met == Choices::default() {
                union = parts;
                break;
            }
            union.extend(parts.into_iter().filter(|part| known.insert(part.identity())));
        }
        truncated |= readings.are_exceeded() || union.len() > limits.parts.max(1);
        union.truncate(limits.parts.max(1));
        Self::of(union, readings.are_several(), truncated)
    }
}

impl Walk<'_> {
    /// Answers a question on which mail programs disagree.
    fn takes(&mut self, choice: Choice) -> bool {
        self.met.insert(choice);
        self.reading.takes(choice)
    }

    /// Walks through the lines of a source. `open` contains the open parts, the outermost one
    /// first. `header` is the offset of the header that is being read.
    fn walk(
        &mut self,
        source: &Arc<Blocks>,
        mut open: Vec<Open>,
        mut header: Option<usize>,
        nesting: Nesting,
    ) {
        let mut at = 0;
        let len = source.len();
        while at < len {
            let (line, end) = source.line(at, HEAD);
            let line = without_end(&line);
            if let Some((level, last)) = self.delimiter(&mut open, line) {
                if let Some(start) = header.take() {
                    self.begin(source, start..at, at, nesting, &mut open);
                }
                // The CRLF before a delimiter is part of it.
                let before = before_line_end(source, at);
                self.close(source, before, &mut open, level + 1, nesting);
                let part = &mut open[level];
                let begin = part.delimiters.take().map_or(before.max(part.body), |it| it.start);
                part.delimiters = Some(begin..end);
                part.is_closed = last;
                header = (!last).then_some(end);
            } else if let Some(start) = header {
                let body = match self.header_end(line, at == start) {
                    None => {
                        at = end;
                        continue;
                    }
                    Some(HeaderEnd::Before) => at,
                    Some(HeaderEnd::After) => end,
                };
                match self.begin(source, start..at, body, nesting, &mut open) {
                    Next::Body => header = None,
                    Next::Header => header = Some(body),
                    Next::End => break,
                }
                // The first line of the body may be a delimiter of the part that has begun.
                at = body;
                continue;
            } else if open.iter().all(|part| part.boundary.is_none() && !part.is_guessed) {
                break;
            }
            at = end;
        }
        if let Some(start) = header {
            self.begin(source, start..len, len, nesting, &mut open);
        }
        self.close(source, len, &mut open, 0, nesting);
    }

    /// Returns whether the header ends before or after this line.
    fn header_end(&mut self, line: &[u8], is_first: bool) -> Option<HeaderEnd> {
        if line.is_empty() {
            return Some(HeaderEnd::After);
        }
        if is_strict_field(line) || is_first && is_mbox(line) {
            return None;
        }
        if continues(line) && line.trim_ascii().is_empty() {
            return self.takes(Choice::BlankEndsHeader).then_some(HeaderEnd::After);
        }
        if continues(line) && !is_first || is_field(line) && !self.takes(Choice::StrictName) {
            return None;
        }
        self.takes(Choice::JunkEndsHeader).then_some(HeaderEnd::Before)
    }

    /// Returns the index of the open part whose delimiter this line is, and whether it is the closing
    /// delimiter (RFC 2046 section 5.1.1).
    fn delimiter(&mut self, open: &mut [Open], line: &[u8]) -> Option<(usize, bool)> {
        let line = line.strip_prefix(b"--")?.trim_ascii_end();
        let (mut closed, mut loose) = (None, None);
        for (level, part) in open.iter_mut().enumerate().rev() {
            let is_guessed = part.is_guessed && part.boundary.is_none() && !line.is_empty();
            if is_guessed && self.takes(Choice::GuessedBoundary) {
                part.boundary = Some(line.into());
            }
            let Some(boundary) = &part.boundary else { continue };
            let Some((begin, rest)) = line.split_at_checked(boundary.len()) else { continue };
            if !begin.eq_ignore_ascii_case(boundary) {
                continue;
            }
            match rest {
                // The case matters, but not for all programs.
                _ if *begin != **boundary => {
                    loose = loose.or(Some((level, rest.starts_with(b"--"))));
                }
                b"" | b"--" if !part.is_closed => return Some((level, !rest.is_empty())),
                b"" => closed = closed.or(Some(level)),
                b"--" => {}
                _ if !part.is_closed => loose = loose.or(Some((level, rest.starts_with(b"--")))),
                _ => {}
            }
        }
        if let Some(level) = closed
            && self.takes(Choice::Reopened)
        {
            return Some((level, false));
        }
        loose.filter(|_| self.takes(Choice::LooseDelimiter))
    }

    /// Begins a part whose header is in this range and whose body begins at `body`.
    fn begin(
        &mut self,
        source: &Blocks,
        header: Range<usize>,
        body: usize,
        (depth, _): Nesting,
        open: &mut Vec<Open>,
    ) -> Next {
        // The message itself is always a part.
        let is_full = self.parts.len() >= self.limits.parts || self.room == 0;
        if is_full && !self.parts.is_empty() {
            self.truncated = true;
            return Next::End;
        }
        let Some(header) = self.header(source, header) else { return Next::End };
        let mut digest = false;
        if let Some(parent) = open.last().and_then(|parent| self.parts.get_mut(parent.part)) {
            parent.container = true;
            digest = &*parent.content_type == "multipart/digest";
        }
        let depth = depth + open.len();
        let (mut part, boundary) = self.read(header, depth, digest);
        let mut begun = Open { part: self.parts.len(), body, ..Open::default() };
        let mut next = Next::Body;
        let (is_message, is_multipart) = (part.is_message(), part.is_multipart());
        let is_encoded = part.encoding != Encoding::Identity;
        if (is_message || is_multipart || part.is_signed_data()) && depth >= self.limits.depth {
            self.truncated = true;
        } else if part.is_signed_data() {
            begun.sealed = Some(Sealed::SignedData);
        } else if is_message && is_encoded && !self.reading.takes(Choice::NoOuterEncoding) {
            begun.sealed = Some(Sealed::Message);
        } else if is_message {
            part.encoding = Encoding::Identity;
            next = Next::Header;
        } else if is_multipart {
            begun.sealed = is_encoded.then_some(Sealed::Multipart);
            begun.is_guessed = boundary.is_none();
            begun.boundary = boundary;
        }
        open.push(begun);
        self.parts.push(part);
        next
    }

    /// Returns the header in this range, truncated at the limit. Returns `None` if this needs a
    /// copy that the limit for copies does not allow.
    fn header(&mut self, source: &Blocks, range: Range<usize>) -> Option<Bytes> {
        let most = self.limits.header;
        self.truncated |= range.len() > most;
        let range = range.start..range.end.min(range.start.saturating_add(most));
        let is_copied = !self.parts.is_empty() && source.slices(range.clone()).nth(1).is_some();
        if is_copied && !self.has_room(range.len()) {
            return None;
        }
        Some(source.join(range))
    }

    /// Subtracts a copy of this many octets from the limit for copies. Returns false if the limit
    /// is exceeded. No further part is parsed then.
    fn has_room(&mut self, octets: usize) -> bool {
        let left = self.room.checked_sub(octets);
        self.truncated |= left.is_none();
        self.room = left.unwrap_or(0);
        left.is_some()
    }

    /// Ends the open parts at `level` and deeper. Their bodies end at `end`.
    fn close(
        &mut self,
        source: &Arc<Blocks>,
        end: usize,
        open: &mut Vec<Open>,
        level: usize,
        (depth, encodings): Nesting,
    ) {
        while open.len() > level
            && let Some(closed) = open.pop()
        {
            let Some(part) = self.parts.get_mut(closed.part) else { continue };
            let begin = closed.body.min(end);
            if let Some(inner) = &closed.delimiters {
                let inner_end = if closed.is_closed { inner.end.min(end) } else { end };
                part.inner = inner.start.saturating_sub(begin)..inner_end.saturating_sub(begin);
            }
            if closed.is_decoded {
                continue;
            }
            let range = begin..end;
            part.body = Stretch { source: source.clone(), range, joined: OnceLock::new() };
            if part.is_multipart() && closed.delimiters.is_some() {
                part.encoding = Encoding::Identity;
            } else {
                self.unseal(closed, (depth + open.len(), encodings));
            }
        }
    }

    /// Decodes the body of a part, if it is sealed, and walks through the parts in it. `depth` is the
    /// depth of the part.
    fn unseal(&mut self, closed: Open, (depth, encodings): Nesting) {
        let Some(sealed) = closed.sealed else { return };
        if encodings == 0 {
            self.truncated = true;
            return;
        }
        let is_signed_data = matches!(sealed, Sealed::SignedData);
        let Some(Opened { source, .. }) = self.open(closed.part, is_signed_data) else { return };
        match sealed {
            Sealed::Message | Sealed::SignedData => {
                if let Some(part) = self.parts.get_mut(closed.part) {
                    part.container = true;
                }
                self.walk(&source, Vec::new(), Some(0), (depth + 1, encodings - 1));
            }
            Sealed::Multipart => {
                let Open { part, boundary, is_guessed, .. } = closed;
                let decoded =
                    Open { part, boundary, is_guessed, is_decoded: true, ..Open::default() };
                self.walk(&source, vec![decoded], None, (depth, encodings - 1));
            }
        }
    }

    /// Decodes the body of a part, or takes it from an earlier reading. Returns `None` if it
    /// exceeds the limit, or if signed data has no content.
    fn open(&mut self, index: usize, is_signed_data: bool) -> Option<Opened> {
        let part = self.parts.get(index)?;
        let Stretch { source, range, .. } = &part.body;
        let key = (Arc::as_ptr(source).addr(), range.clone(), part.encoding);
        if let Some(opened) = self.opened.get(&key) {
            part.octets.get_or_init(|| opened.octets.clone());
            return Some(opened.clone());
        }
        // The contiguous body, the decoded body, and the content of signed data.
        let copies = 2 + usize::from(is_signed_data);
        if !self.has_room(copies * range.len()) {
            return None;
        }
        let part = self.parts.get(index)?;
        let (octets, is_valid) = part.decoded(part.body());
        if part.is_message() && !(is_valid && part.encoding == Encoding::Base64) {
            self.met.insert(Choice::NoOuterEncoding);
        }
        part.octets.get_or_init(|| octets.clone());
        let content = match is_signed_data {
            true => pkcs7::signed_content(&octets)?.into(),
            false => octets.clone(),
        };
        let content = with_line_ends(content);
        let opened = Opened { source: Arc::new(Blocks::from(content)), octets };
        self.opened.insert(key, opened.clone());
        Some(opened)
    }

    /// Creates a part from its header. If it is a multipart, also returns its boundary.
    fn read(&mut self, header: Bytes, depth: usize, digest: bool) -> (MimePart, Option<Box<[u8]>>) {
        let limit = self.limits.field;
        let declared = Declared::read(&header, limit, &mut |choice| self.takes(choice));
        let default = if digest { "message/rfc822" } else { "text/plain" };
        let part = MimePart {
            depth,
            header,
            body: Stretch::default(),
            content_type: declared.content_type.unwrap_or_else(|| default.into()),
            charset: declared.charset,
            file_name: declared.file_name,
            disposition: declared.disposition,
            url: declared.url,
            encoding: declared.encoding,
            container: false,
            inner: 0..0,
            octets: OnceLock::new(),
            text: OnceLock::new(),
        };
        let mut boundary = declared.boundary;
        let is_long = boundary.as_ref().is_some_and(|boundary| boundary.len() > BOUNDARY);
        if is_long {
            boundary = None;
        }
        self.truncated |= declared.truncated || is_long;
        let values = [&part.charset, &part.file_name, &part.disposition, &part.url];
        let values = values.into_iter().flatten().map(|value| value.len()).sum::<usize>();
        let boundary_len = boundary.as_ref().map_or(0, |boundary| boundary.len());
        self.has_room(part.content_type.len() + values + boundary_len);
        (part, boundary)
    }
}

/// Where the header ends: before or after a line.
enum HeaderEnd {
    Before,
    After,
}

/// Returns the offset of the CRLF or LF that ends at `at`, or `at` if no line end precedes it.
fn before_line_end(source: &Blocks, at: usize) -> usize {
    let is = |place: Option<usize>, octet| place.and_then(|place| source.get(place)) == Some(octet);
    match at.checked_sub(1) {
        Some(lf) if is(Some(lf), b'\n') && is(lf.checked_sub(1), b'\r') => lf - 1,
        Some(lf) if is(Some(lf), b'\n') => lf,
        _ => at,
    }
}

#[cfg(test)]
mod tests;
