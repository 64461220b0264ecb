//! Parsed messages for scorers: header fields, parts and text.

use std::fmt;

use super::field::{Field, Fields};
use super::part::MimePart;

/// A message parsed as MIME (RFC 2045, RFC 2046): all its parts in order of appearance, at any
/// nesting depth. Attached messages are parsed too.
///
/// Any input is accepted. A message that is not valid MIME is one part of plain text. If mail
/// programs disagree about a malformed message, the view has the parts that any of them displays,
/// and [`is_ambiguous`](Self::is_ambiguous) returns true.
pub struct MessageView {
    /// The message itself, then the parts in it.
    parts: Vec<MimePart>,
    ambiguous: bool,
    truncated: bool,
}

impl MessageView {
    /// Creates a view of the message itself and the parts in it. `truncated` means that a limit
    /// excluded something.
    pub(super) fn of(parts: Vec<MimePart>, ambiguous: bool, truncated: bool) -> Self {
        Self { parts, ambiguous, truncated }
    }

    /// Returns the header fields of the message, in order.
    pub fn fields(&self) -> Fields<'_> {
        self.parts.first().map_or(Fields(b""), MimePart::fields)
    }

    /// Returns the first header field of this name. The case is ignored.
    pub fn field(&self, name: &str) -> Option<Field<'_>> {
        self.fields().find(|field| field.name().eq_ignore_ascii_case(name))
    }

    /// Returns all parts: first the message itself, then its parts depth first, including
    /// containers. If the message can be read in several ways, the parts that only another reading
    /// has follow, each reading in the same order.
    pub fn parts(&self) -> &[MimePart] {
        &self.parts
    }

    /// Returns the text of every part that mail programs display as text:
    ///
    /// - `text/…`, including markup, also of unknown subtypes
    /// - XHTML, SVG and other XML, and files with names such as `page.html`
    /// - reports such as `message/delivery-status`, and the location of `message/external-body`
    /// - the text of a multipart outside of its parts
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(MimePart::text)
    }

    /// Returns whether mail programs disagree about the structure or encoding of the message. Legitimate
    /// mail is rarely ambiguous. Examples:
    ///
    /// - repeated MIME fields or parameters with different values
    /// - a line in the header that is not a field
    /// - text after a boundary delimiter, or parts after the closing delimiter
    /// - a multipart without boundary, or with a transfer encoding
    ///
    /// ```
    /// # use std::time::SystemTime;
    /// # use nobounce::Message;
    /// # use nobounce::message::MailData;
    /// # use nobounce::testing::envelope;
    /// let content = b"Content-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: base64\r\n\r\naGk=\r\n";
    /// let content = MailData::normalise(content);
    /// let message = Message::new("mx.example", &envelope("<a@example.org>"), SystemTime::now(), content);
    /// assert!(message.view().is_ambiguous());
    /// assert_eq!(message.view().texts().collect::<Vec<_>>(), ["aGk=\r\n", "hi"]);
    /// ```
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// Returns whether the view is incomplete because the message exceeds its
    /// [`MimeLimits`](crate::message::MimeLimits). Ordinary mail does not. The default limits are:
    ///
    /// - 10,000 parts, nested up to 100 deep
    /// - MIME fields of 16,384 octets, and boundaries of 4,088 octets
    /// - 1 MiB of headers
    /// - 8 MiB of encoded attached messages
    /// - an attached message inside at most three transfer encodings
    /// - four readings of an ambiguous message
    pub fn truncated(&self) -> bool {
        self.truncated
    }
}

impl fmt::Debug for MessageView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageView").field("parts", &self.parts).finish_non_exhaustive()
    }
}
