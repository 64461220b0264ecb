//! Parsed messages for scorers: header fields, parts and text.

#[cfg(any(test, feature = "dns"))]
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::decode;
use super::section::{continues, line_end, split_field, without_end};
use crate::wire::blocks::Blocks;

/// A message parsed as MIME (RFC 2045, RFC 2046): all its parts in order of appearance, at any
/// nesting depth. Attached messages are parsed too.
///
/// Any input is accepted. A message that is not valid MIME is one part of plain text.
pub struct MessageView {
    /// The message itself, then the parts in it.
    parts: Vec<MimePart>,
    truncated: bool,
}

impl MessageView {
    /// Creates a view of the message itself and the parts in it. `truncated` means that a limit
    /// excluded something.
    pub(super) fn of(parts: Vec<MimePart>, truncated: bool) -> Self {
        Self { parts, truncated }
    }

    /// Returns the header fields of the message, in order.
    pub fn fields(&self) -> Fields<'_> {
        Fields(self.parts.first().map_or(b"", |message| &message.header))
    }

    /// Returns the first header field of this name. The case is ignored.
    pub fn field(&self, name: &str) -> Option<Field<'_>> {
        self.fields().find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// Returns all parts: first the message itself, then its parts depth first, including
    /// containers.
    pub fn parts(&self) -> &[MimePart] {
        &self.parts
    }

    /// Returns the text of every part that mail programs display as text. These are `text/plain`
    /// and `text/html` (including markup), and parts declared as multipart that have no parts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(MimePart::text)
    }

    /// Returns whether the view is incomplete because the message exceeds its
    /// [`MimeLimits`](crate::message::MimeLimits). Ordinary mail does not. The default limits are:
    ///
    /// - 10,000 parts, nested up to 100 deep
    /// - MIME fields of 2,048 octets
    /// - 1 MiB of headers
    /// - 8 MiB of encoded attached messages
    /// - an attached message inside at most three transfer encodings
    pub fn truncated(&self) -> bool {
        self.truncated
    }
}

impl fmt::Debug for MessageView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageView").field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// A part of a message. It is a leaf with its own body, a container of other parts (`multipart/…`),
/// or an attached message. The header and body of an attached message are the next part.
pub struct MimePart {
    pub(super) depth: usize,
    pub(super) header: Bytes,
    pub(super) body: Stretch,
    pub(super) content_type: Box<str>,
    pub(super) charset: Option<Box<str>>,
    pub(super) disposition: Option<Box<str>>,
    pub(super) file_name: Option<Box<str>>,
    pub(super) encoding: Encoding,
    /// Whether other parts were found in its undecoded body.
    pub(super) container: bool,
    pub(super) octets: OnceLock<Bytes>,
    pub(super) text: OnceLock<Box<str>>,
}

/// A range of the message, joined on first access.
#[derive(Default)]
pub(super) struct Stretch {
    pub(super) source: Arc<Blocks>,
    pub(super) range: Range<usize>,
    pub(super) joined: OnceLock<Bytes>,
}

impl Stretch {
    pub(super) fn octets(&self) -> &Bytes {
        self.joined.get_or_init(|| self.source.join(self.range.clone()))
    }
}

/// Transfer encoding of the body (RFC 2045 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Base64,
    QuotedPrintable,
}

impl MimePart {
    /// Returns the nesting depth. The message itself has depth 0.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Returns the header fields of the part, in order.
    pub fn fields(&self) -> Fields<'_> {
        Fields(&self.header)
    }

    /// Returns the media type in lower case, without parameters. Default: `text/plain`.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// Returns the character set as written in the message.
    pub fn charset(&self) -> Option<&str> {
        self.charset.as_deref()
    }

    /// Returns the disposition in lower case, for example `attachment` (RFC 2183).
    pub fn disposition(&self) -> Option<&str> {
        self.disposition.as_deref()
    }

    /// Returns the file name from Content-Disposition or Content-Type. It is not sanitised: it may
    /// contain slashes.
    pub fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// Returns whether the part is a container. Its parts are among the next ones.
    pub fn is_container(&self) -> bool {
        self.container
    }

    /// Returns the body without decoding. A body that spans several blocks of 64 KiB is copied
    /// once, on the first call.
    pub fn body(&self) -> &Bytes {
        self.body.octets()
    }

    /// Returns the body with its transfer encoding removed. The body of a container is returned
    /// unchanged. It is decoded once, on the first call. Invalid octets in the encoding are
    /// skipped, as mail programs do.
    pub fn octets(&self) -> &Bytes {
        self.octets.get_or_init(|| self.decoded(self.body()))
    }

    /// Returns the body as text, if mail programs display it as text (see [`MessageView::texts`]).
    /// Octets that are invalid in the character set become U+FFFD.
    pub fn text(&self) -> Option<&str> {
        let read = || decode::text(self.charset(), self.octets()).into();
        self.is_shown().then(|| &**self.text.get_or_init(read))
    }

    /// Returns the beginning of [`text`](Self::text). It has about this number of octets, or more.
    /// Memory and time are limited accordingly, and nothing is cached.
    #[cfg(any(test, feature = "dns"))]
    pub(crate) fn text_head(&self, octets: usize) -> Option<Cow<'_, str>> {
        if !self.is_shown() {
            return None;
        }
        if let Some(text) = self.text.get() {
            return Some((&**text).into());
        }
        // A quoted-printable octet takes up to three octets. A base64 line of 78 octets encodes 57.
        let Range { start, end } = self.body.range;
        let body = self.body.source.join(start..end.min(start.saturating_add(3 * octets)));
        let octets = &self.decoded(&body)[..];
        Some(decode::text(self.charset(), octets).into())
    }

    /// Returns whether mail programs display the part as text.
    fn is_shown(&self) -> bool {
        matches!(&*self.content_type, "text/plain" | "text/html")
            || !self.container && self.is_multipart()
    }

    /// Removes the transfer encoding from the body, or from its beginning.
    fn decoded(&self, body: &Bytes) -> Bytes {
        match self.encoding {
            _ if self.container => body.clone(),
            Encoding::Identity => body.clone(),
            Encoding::Base64 => decode::base64(body).into(),
            Encoding::QuotedPrintable => decode::quoted_printable(body).into(),
        }
    }

    pub(super) fn is_multipart(&self) -> bool {
        self.content_type.starts_with("multipart/")
    }

    pub(super) fn is_message(&self) -> bool {
        matches!(&*self.content_type, "message/rfc822" | "message/global")
    }
}

impl fmt::Debug for MimePart {
    /// Shows no content, because messages are private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut part = f.debug_struct("MimePart");
        part.field("depth", &self.depth).field("content_type", &self.content_type);
        part.field("len", &self.body.range.len()).finish_non_exhaustive()
    }
}

/// Iterator over the header fields of a part, in order.
#[derive(Clone)]
pub struct Fields<'m>(pub(super) &'m [u8]);

impl<'m> Iterator for Fields<'m> {
    type Item = Field<'m>;

    fn next(&mut self) -> Option<Field<'m>> {
        if self.0.is_empty() {
            return None;
        }
        let mut end = line_end(self.0, 0);
        while continues(&self.0[end..]) {
            end = line_end(self.0, end);
        }
        let (field, rest) = self.0.split_at(end);
        self.0 = rest;
        let field = without_end(field);
        let (name, value) = split_field(field).unwrap_or(("", field));
        Some(Field { name, value })
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone().map(|field| field.name)).finish()
    }
}

/// A header field.
#[derive(Clone, Copy)]
pub struct Field<'m> {
    name: &'m str,
    value: &'m [u8],
}

impl<'m> Field<'m> {
    /// Returns the name as written. A line in the header section that is not a field has an empty
    /// name, and the whole line is its value.
    pub fn name(&self) -> &'m str {
        self.name
    }

    /// Returns the octets after the colon, still folded, without the final CRLF.
    pub fn value(&self) -> &'m [u8] {
        self.value
    }

    /// Returns the value as mail programs display it: unfolded, with encoded words (RFC 2047)
    /// decoded. Do not parse addresses from this text, because an encoded word may contain
    /// anything.
    pub fn text(&self) -> String {
        decode::words(self.value)
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field").field("name", &self.name).finish_non_exhaustive()
    }
}
