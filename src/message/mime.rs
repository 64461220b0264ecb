//! Takes a message apart by MIME: one pass over its lines, without recursion, in bounded memory.
//!
//! mail-parser has a parser for whole messages. It is not used: attached messages inside an encoded
//! one overflow its stack, in parsing and again when its result is dropped; it is quadratic in
//! multiparts that are never closed; and it takes a boundary in the middle of a line for one.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};

use super::section::{HEAD, is_mbox, split_field, without_end};
use super::view::{Encoding, Field, Fields, MessageView, MimePart, Stretch};
use crate::wire::blocks::Blocks;

/// Maximum number of nested transfer encodings of attached messages. Decoding each makes a copy.
const ENCODINGS: usize = 3;

/// Limits for parsing the MIME structure of a message. Scorers do not see what exceeds them, but see
/// that something is missing ([`MessageView::truncated`](crate::message::MessageView::truncated)).
/// The message is relayed unchanged.
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
    /// Octets of a MIME field that are parsed: 2,048 (Postfix `mime_boundary_length_limit` allows as
    /// many for the boundary alone). Parsing takes time quadratic in this length.
    pub field: usize,
    /// Octets of the header of a part that are parsed: 1 MiB (Exim `header_maxsize`).
    pub header: usize,
    /// Octets that are copied in total: 8 MiB. The parser copies headers that span blocks of the
    /// mail data, values of MIME fields, and attached messages that it decodes.
    pub copies: usize,
}

impl Default for MimeLimits {
    fn default() -> Self {
        Self { parts: 10_000, depth: 100, field: 2_048, header: 1 << 20, copies: 8 << 20 }
    }
}

/// State of the walk through a message: the parts found so far.
struct Walk {
    limits: MimeLimits,
    parts: Vec<MimePart>,
    /// Octets that may still be copied.
    room: usize,
    truncated: bool,
}

/// A part whose end has not been seen.
struct Open {
    /// Its index.
    part: usize,
    /// Offset of its body.
    body: usize,
    /// Boundary between its parts. `None` if it has no parts, or its last one has ended.
    boundary: Option<String>,
}

/// What follows a header.
enum Next {
    Body,
    /// The header of an attached message.
    Header,
    /// Nothing more is parsed.
    End,
}

impl MessageView {
    pub(super) fn new(content: Blocks, limits: MimeLimits) -> Self {
        let (parts, truncated) = Walk::through(content, limits);
        Self::of(parts, truncated)
    }
}

impl Walk {
    /// Returns the parts, and whether the limits were exceeded.
    fn through(content: Blocks, limits: MimeLimits) -> (Vec<MimePart>, bool) {
        let room = limits.copies;
        let mut walk = Self { limits, parts: Vec::new(), room, truncated: false };
        walk.message(&Arc::new(content), 0, ENCODINGS);
        (walk.parts, walk.truncated)
    }

    /// Walks through a message. `encodings` is the number of nested transfer encodings that may
    /// still be decoded. It limits the recursion of this function.
    fn message(&mut self, source: &Arc<Blocks>, depth: usize, encodings: usize) {
        // Outermost first.
        let mut open: Vec<Open> = Vec::new();
        // Offset of the header that is being read.
        let mut header = Some(0);
        let mut at = 0;
        let len = source.len();
        while at < len {
            let (line, end) = source.line(at, HEAD);
            let line = without_end(&line);
            if let Some((level, last)) = delimiter(&open, line) {
                if let Some(start) = header.take() {
                    self.begin(source, start..at, at, depth, &mut open);
                }
                // The CRLF before a delimiter is part of it.
                let before = before_line_end(source, at);
                self.close(source, before, &mut open, level + 1, (depth, encodings));
                if last {
                    open[level].boundary = None;
                } else {
                    header = Some(end);
                }
            } else if let Some(start) = header {
                let bare = at == start && split_field(line).is_none() && !is_mbox(line);
                if line.is_empty() || bare {
                    let body = if line.is_empty() { end } else { at };
                    match self.begin(source, start..at, body, depth, &mut open) {
                        Next::Body => header = None,
                        Next::Header => header = Some(body),
                        Next::End => break,
                    }
                    // The first line of the body may be a delimiter of the part that has begun.
                    at = body;
                    continue;
                }
            } else if open.iter().all(|part| part.boundary.is_none()) {
                break;
            }
            at = end;
        }
        if let Some(start) = header {
            self.begin(source, start..len, len, depth, &mut open);
        }
        self.close(source, len, &mut open, 0, (depth, encodings));
    }

    /// Begins a part whose header is in this range and whose body begins at `body`.
    fn begin(
        &mut self,
        source: &Blocks,
        header: Range<usize>,
        body: usize,
        depth: usize,
        open: &mut Vec<Open>,
    ) -> Next {
        // The message itself is a part in any case.
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
        let (part, mut boundary) = self.read(header, depth, digest);
        let mut attached = part.is_message() && part.encoding == Encoding::Identity;
        if depth >= self.limits.depth && (attached || boundary.is_some()) {
            (attached, boundary) = (false, None);
            self.truncated = true;
        }
        open.push(Open { part: self.parts.len(), body, boundary });
        self.parts.push(part);
        if attached { Next::Header } else { Next::Body }
    }

    /// Returns the header in this range, truncated at the limit. `None` if it must be copied and may
    /// not be.
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

    /// Subtracts a copy of this many octets. Returns false if it exceeds the limit; then no further
    /// part is parsed.
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
        (depth, encodings): (usize, usize),
    ) {
        while open.len() > level
            && let Some(Open { part: index, body, .. }) = open.pop()
        {
            let Some(part) = self.parts.get_mut(index) else { continue };
            let range = body.min(end)..end;
            part.body = Stretch { source: source.clone(), range, joined: OnceLock::new() };
            if part.is_message() && part.encoding != Encoding::Identity {
                let depth = depth + open.len() + 1;
                // Two copies: the contiguous body, and the decoded one.
                let octets = 2 * part.body.range.len();
                if depth > self.limits.depth || encodings == 0 {
                    self.truncated = true;
                } else if self.has_room(octets)
                    && let Some(part) = self.parts.get(index)
                {
                    let attached = Arc::new(Blocks::from(part.octets().clone()));
                    self.message(&attached, depth, encodings - 1);
                }
            }
        }
    }

    /// Creates a part from its header. If it is a multipart, also returns its boundary.
    fn read(&mut self, header: Bytes, depth: usize, digest: bool) -> (MimePart, Option<String>) {
        let (mut kind, mut disposition, mut encoding) = (None, None, Encoding::Identity);
        // If a field is repeated, the last one counts, as in Postfix.
        for field in Fields(&header) {
            match field.name() {
                name if name.eq_ignore_ascii_case("Content-Type") => {
                    kind = self.parameters(&field).or(kind);
                }
                name if name.eq_ignore_ascii_case("Content-Disposition") => {
                    disposition = self.parameters(&field).or(disposition);
                }
                name if name.eq_ignore_ascii_case("Content-Transfer-Encoding") => {
                    encoding = transfer_encoding(field.value());
                }
                _ => {}
            }
        }
        let parameter = |field: &Option<ContentType<'_>>, name| {
            let value = field.as_ref()?.attribute(name)?.trim();
            (!value.is_empty()).then(|| Box::<str>::from(value))
        };
        let named =
            kind.as_ref().and_then(|kind| Some(format!("{}/{}", kind.ctype(), kind.subtype()?)));
        let default = if digest { "message/rfc822" } else { "text/plain" };
        let content_type = named.map_or(default.into(), |name| name.to_ascii_lowercase().into());
        let part = MimePart {
            depth,
            header,
            body: Stretch::default(),
            content_type,
            charset: parameter(&kind, "charset"),
            file_name: parameter(&disposition, "filename").or_else(|| parameter(&kind, "name")),
            disposition: disposition.map(|value| value.ctype().to_ascii_lowercase().into()),
            encoding,
            container: false,
            octets: OnceLock::new(),
            text: OnceLock::new(),
        };
        let values = [&part.charset, &part.file_name, &part.disposition].into_iter().flatten();
        self.has_room(part.content_type.len() + values.map(|value| value.len()).sum::<usize>());
        let boundary = kind.filter(|_| part.is_multipart());
        let boundary =
            boundary.and_then(|kind| Some(kind.attribute("boundary")?.trim_end().into()));
        (part, boundary.filter(|boundary: &String| !boundary.is_empty()))
    }

    /// Parses value and parameters of a field with the syntax of Content-Type.
    fn parameters(&mut self, field: &Field<'_>) -> Option<ContentType<'static>> {
        let value = field.value();
        self.truncated |= value.len() > self.limits.field;
        let value = [&value[..value.len().min(self.limits.field)], b"\r\n"].concat();
        match MessageStream::new(&value).parse_content_type().into_owned() {
            HeaderValue::ContentType(parameters) => Some(parameters),
            _ => None,
        }
    }
}

/// Returns the offset of the CRLF or LF that ends at `at`, or `at` if there is none.
fn before_line_end(source: &Blocks, at: usize) -> usize {
    let is = |place: Option<usize>, octet| place.and_then(|place| source.get(place)) == Some(octet);
    match at.checked_sub(1) {
        Some(lf) if is(Some(lf), b'\n') && is(lf.checked_sub(1), b'\r') => lf - 1,
        Some(lf) if is(Some(lf), b'\n') => lf,
        _ => at,
    }
}

/// Returns the index of the open part whose delimiter this line is, and whether it is the closing
/// delimiter (RFC 2046 section 5.1.1). Boundary and line had the same lossy conversion to UTF-8.
fn delimiter(open: &[Open], line: &[u8]) -> Option<(usize, bool)> {
    let line = String::from_utf8_lossy(line.strip_prefix(b"--")?);
    let line = line.trim_end();
    open.iter().enumerate().rev().find_map(|(level, part)| {
        let rest = line.strip_prefix(part.boundary.as_ref()?.as_str())?;
        (rest.is_empty() || rest.starts_with("--")).then_some((level, !rest.is_empty()))
    })
}

/// Parses the value of Content-Transfer-Encoding.
fn transfer_encoding(value: &[u8]) -> Encoding {
    let word = value.trim_ascii().split(|octet| b" \t\r\n;(".contains(octet)).next();
    match word.unwrap_or_default() {
        word if word.eq_ignore_ascii_case(b"base64") => Encoding::Base64,
        word if word.eq_ignore_ascii_case(b"quoted-printable") => Encoding::QuotedPrintable,
        _ => Encoding::Identity,
    }
}

#[cfg(test)]
mod tests;
