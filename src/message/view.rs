//! What scorers read of a message: header fields, parts, text.

#[cfg(any(test, feature = "dns"))]
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::decode;
use super::section::{continues, line_end, split_field, without_end};
use crate::wire::blocks::Blocks;

/// A message taken apart by MIME (RFC 2045, RFC 2046): all its parts in the order in which they
/// stand, whatever they are nested in. Attached messages are taken apart too.
///
/// Anything is a message here: what makes no sense as MIME is one part of plain text.
pub struct MessageView {
    /// The message itself, then what is in it.
    parts: Vec<MimePart>,
    truncated: bool,
}

impl MessageView {
    /// The message itself, then what is in it; `truncated` if a limit left something out.
    pub(super) fn of(parts: Vec<MimePart>, truncated: bool) -> Self {
        Self { parts, truncated }
    }

    /// The header fields of the message, in order.
    pub fn fields(&self) -> Fields<'_> {
        Fields(self.parts.first().map_or(b"", |message| &message.header))
    }

    /// The first header field of this name, in whatever case.
    pub fn field(&self, name: &str) -> Option<Field<'_>> {
        self.fields().find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// All parts: the message itself first, then depth first what is in it, containers included.
    pub fn parts(&self) -> &[MimePart] {
        &self.parts
    }

    /// The text of every part that people are shown as text: `text/plain` and `text/html` (markup
    /// included), and what claims to be of several parts and is not.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(MimePart::text)
    }

    /// Whether there is more in the message than is seen here, since it goes beyond its
    /// [`MimeLimits`](crate::MimeLimits), by default more than 10,000 parts, parts nested more than
    /// 100 deep, MIME fields of more than 2,048 octets, headers of more than 1 MiB or 8 MiB of attached
    /// messages that are encoded, or holds an attached message inside more
    /// than three transfer encodings. What mail for people does so?
    pub fn truncated(&self) -> bool {
        self.truncated
    }
}

impl fmt::Debug for MessageView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageView").field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// Part of a message: one with a body of its own, a container of others (`multipart/…`), or an
/// attached message, whose own header and body are the next part.
pub struct MimePart {
    pub(super) depth: usize,
    pub(super) header: Bytes,
    pub(super) body: Stretch,
    pub(super) content_type: Box<str>,
    pub(super) charset: Option<Box<str>>,
    pub(super) disposition: Option<Box<str>>,
    pub(super) file_name: Option<Box<str>>,
    pub(super) encoding: Encoding,
    /// Whether other parts were found in its body, as it stands.
    pub(super) container: bool,
    pub(super) octets: OnceLock<Bytes>,
    pub(super) text: OnceLock<Box<str>>,
}

/// A stretch of a message; joined when it is looked at.
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

/// How the body is encoded (RFC 2045 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Base64,
    QuotedPrintable,
}

impl MimePart {
    /// How deep it is nested; the message itself is at 0.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Its header fields, in order.
    pub fn fields(&self) -> Fields<'_> {
        Fields(&self.header)
    }

    /// Its media type in lower case, without parameters: `text/plain` if it does not say.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// Its character set as it was written.
    pub fn charset(&self) -> Option<&str> {
        self.charset.as_deref()
    }

    /// Its disposition in lower case, for example `attachment` (RFC 2183).
    pub fn disposition(&self) -> Option<&str> {
        self.disposition.as_deref()
    }

    /// Its file name, from Content-Disposition or Content-Type. It is what the sender wrote, slashes
    /// and all.
    pub fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// Whether it is a container, and its parts are among the next ones.
    pub fn is_container(&self) -> bool {
        self.container
    }

    /// Its body as it stands in the message. Where a block of 64 KiB ends within it, it is copied
    /// when this is first called, and once.
    pub fn body(&self) -> &Bytes {
        self.body.octets()
    }

    /// Its body without the transfer encoding; of a container, the body as it stands. Decoded when
    /// this is first called, and once. Octets that are wrong in the encoding are passed over, as
    /// mail programs do.
    pub fn octets(&self) -> &Bytes {
        self.octets.get_or_init(|| self.decoded(self.body()))
    }

    /// Its body as text, if people are shown it as text; see [`MessageView::texts`]. What cannot be
    /// read in its character set becomes U+FFFD.
    pub fn text(&self) -> Option<&str> {
        let read = || decode::text(self.charset(), self.octets()).into();
        self.is_shown().then(|| &**self.text.get_or_init(read))
    }

    /// Returns the beginning of [`text`](Self::text), of about this many octets or more. Takes memory
    /// and time for no more than that, and keeps nothing.
    #[cfg(any(test, feature = "dns"))]
    pub(crate) fn text_head(&self, octets: usize) -> Option<Cow<'_, str>> {
        if !self.is_shown() {
            return None;
        }
        if let Some(text) = self.text.get() {
            return Some((&**text).into());
        }
        // A quoted-printable octet takes three, of base64 there are 78 in a line for 57.
        let Range { start, end } = self.body.range;
        let body = self.body.source.join(start..end.min(start.saturating_add(3 * octets)));
        let octets = &self.decoded(&body)[..];
        Some(decode::text(self.charset(), octets).into())
    }

    /// Whether people are shown it as text.
    fn is_shown(&self) -> bool {
        matches!(&*self.content_type, "text/plain" | "text/html")
            || !self.container && self.is_multipart()
    }

    /// Takes the transfer encoding off the body, or off its beginning.
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
    /// Nothing of what somebody wrote to somebody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut part = f.debug_struct("MimePart");
        part.field("depth", &self.depth).field("content_type", &self.content_type);
        part.field("len", &self.body.range.len()).finish_non_exhaustive()
    }
}

/// The header fields of a part, in order.
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
    /// Its name as it was written. A line in the header section that is no field has no name: it
    /// is all value.
    pub fn name(&self) -> &'m str {
        self.name
    }

    /// Its value as it stands in the message behind the colon, folded, without the last CRLF.
    pub fn value(&self) -> &'m [u8] {
        self.value
    }

    /// Its value as people are shown it: unfolded, encoded words (RFC 2047) decoded. Addresses are
    /// not to be read off it, since an encoded word may hold anything.
    pub fn text(&self) -> String {
        decode::words(self.value)
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field").field("name", &self.name).finish_non_exhaustive()
    }
}
