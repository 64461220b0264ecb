//! A part of a message, and its text as mail programs display it.

#[cfg(any(test, feature = "links"))]
use std::borrow::Cow;
use std::fmt;
use std::hash::Hash;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::charset;
use super::field::Fields;
use super::prescan;
use super::transfer::{self, Encoding};
use crate::wire::blocks::Blocks;

/// Extensions of files that browsers open as documents with markup.
const MARKUP: &[&str] =
    &["hta", "htm", "html", "shtm", "shtml", "svg", "webloc", "xht", "xhtm", "xhtml", "xml", "xsl"];
/// Extensions of files with text in which programs find links.
const TEXT: &[&str] = &["ics", "rtf", "txt", "url", "vcf", "website"];

/// A part of a message. It is a leaf with its own body, a container of other parts (`multipart/…`),
/// or an attached message. The header and body of an attached message are the next part.
///
/// A part that mail programs read in different ways appears several times (see
/// [`MessageView::parts`](crate::message::MessageView::parts)).
pub struct MimePart {
    pub(super) depth: usize,
    pub(super) header: Bytes,
    pub(super) body: Stretch,
    pub(super) content_type: Box<str>,
    pub(super) charset: Option<Box<str>>,
    pub(super) disposition: Option<Box<str>>,
    pub(super) file_name: Option<Box<str>>,
    /// Location of an external body.
    pub(super) url: Option<Box<str>>,
    pub(super) encoding: Encoding,
    /// Whether other parts were found in its body.
    pub(super) container: bool,
    /// Range of the decoded body that consists of other parts.
    pub(super) inner: Range<usize>,
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

    /// Returns whether the part is a container. Its parts are among the parts that follow.
    pub fn is_container(&self) -> bool {
        self.container
    }

    /// Returns whether mail programs display the part as a document with markup: HTML, XHTML or SVG,
    /// by its media type or by its file name.
    ///
    /// ```
    /// # use std::time::SystemTime;
    /// # use nobounce::Message;
    /// # use nobounce::message::MailData;
    /// # use nobounce::testing::envelope;
    /// let content = MailData::normalise(b"Content-Type: application/x; name=page.htm\r\n\r\n<p>\r\n");
    /// let message = Message::new("mx.example", &envelope("<a@example.org>"), SystemTime::now(), content);
    /// assert!(message.view().parts()[0].is_markup());
    /// assert_eq!(message.view().parts()[0].text(), Some("<p>\r\n"));
    /// ```
    pub fn is_markup(&self) -> bool {
        let kind = &*self.content_type;
        kind.contains("html")
            || kind.ends_with("+xml")
            || kind.starts_with("image/svg")
            || matches!(kind, "text/xml" | "application/xml" | "application/hta")
            || matches!(kind, "text/sgml" | "text/vnd.wap.wml")
            || self.has_extension(MARKUP)
    }

    /// Returns whether the part is in Microsoft's format TNEF (`winmail.dat`). It may contain text
    /// and files. It is not opened.
    pub fn is_tnef(&self) -> bool {
        let is_named =
            self.file_name().is_some_and(|name| name.eq_ignore_ascii_case("winmail.dat"));
        is_named || matches!(&*self.content_type, "application/ms-tnef" | "application/vnd.ms-tnef")
    }

    /// Returns the body without decoding. A body that spans several blocks of 64 KiB is copied
    /// once, on the first call.
    pub fn body(&self) -> &Bytes {
        self.body.octets()
    }

    /// Returns the body with its transfer encoding removed. It is decoded once, on the first call.
    /// Invalid octets in the encoding are skipped, as mail programs do.
    pub fn octets(&self) -> &Bytes {
        self.octets.get_or_init(|| self.decoded(self.body()).0)
    }

    /// Returns the body as text, if mail programs display it as text (see
    /// [`MessageView::texts`](crate::message::MessageView::texts)). Octets that are invalid in the
    /// character set become U+FFFD.
    ///
    /// The text of a multipart is the text outside of its parts. Uuencoded files in the text are
    /// decoded and appended. If base64 is malformed, the undecoded text is appended, since some
    /// programs display it, and so is the decoded text before padding or an invalid octet.
    pub fn text(&self) -> Option<&str> {
        let read = || self.read(usize::MAX).into();
        let text = self.is_shown().then(|| &**self.text.get_or_init(read));
        text.filter(|text| !(self.container && text.is_empty()))
    }

    /// Returns the beginning of [`text`](Self::text), with about this number of octets or more.
    /// Memory and time are limited accordingly, and nothing is cached.
    #[cfg(any(test, feature = "links"))]
    pub(crate) fn text_head(&self, octets: usize) -> Option<Cow<'_, str>> {
        if !self.is_shown() {
            return None;
        }
        if let Some(text) = self.text.get() {
            return Some((&**text).into());
        }
        Some(self.read(octets).into())
    }

    /// Returns the character set of the decoded body: the one in the header, or the one that an HTML
    /// page declares.
    fn label<'o>(&'o self, octets: &'o [u8]) -> Option<&'o str> {
        let declared = || self.is_markup().then(|| prescan::charset(octets));
        self.charset().or_else(|| declared().flatten())
    }

    /// Returns whether mail programs display the part as text.
    fn is_shown(&self) -> bool {
        let kind = &*self.content_type;
        kind.starts_with("text/")
            || self.is_multipart()
            || self.is_report()
            || self.url.is_some()
            || self.is_markup()
            || matches!(
                kind,
                "application/ics" | "application/rtf" | "application/internet-shortcut"
            )
            || kind.starts_with("application/") && self.has_extension(TEXT)
    }

    /// Reads the text from about this number of octets of the body.
    fn read(&self, octets: usize) -> String {
        if self.is_multipart() {
            return self.outside(octets);
        }
        if let Some(url) = &self.url {
            return url.to_string();
        }
        let body = match octets {
            usize::MAX => self.body().clone(),
            // Quoted-printable uses up to three octets for one. A base64 line of 78 octets encodes
            // 57.
            _ => {
                let Range { start, end } = self.body.range;
                let most = start.saturating_add(octets.saturating_mul(3));
                self.body.source.join(start..end.min(most))
            }
        };
        let (octets, is_valid) = self.decoded(&body);
        let mut text = charset::decode(self.label(&octets), &octets);
        if matches!(&*self.content_type, "text/calendar" | "text/vcard" | "text/x-vcard") {
            // Lines are folded (RFC 5545 section 3.1).
            text = text.replace("\r\n ", "").replace("\r\n\t", "");
        }
        if !is_valid {
            text.push('\n');
            text.push_str(&charset::decode(self.label(&body), &body));
        }
        if self.encoding == Encoding::Base64
            && let Some(head) = transfer::base64_head(&body)
        {
            let octets = transfer::base64(head).0;
            text.push('\n');
            text.push_str(&charset::decode(self.label(&octets), &octets));
        }
        for file in transfer::uuencoded(&octets) {
            text.push('\n');
            text.push_str(&charset::decode(None, &file));
        }
        text
    }

    /// Returns the text of a multipart outside of its parts. Old programs display it above and below
    /// them.
    fn outside(&self, octets: usize) -> String {
        let decoded;
        let (source, body) = match self.encoding {
            Encoding::Identity => (&*self.body.source, self.body.range.clone()),
            _ => {
                decoded = Blocks::from(self.octets().clone());
                (&decoded, 0..decoded.len())
            }
        };
        let (end, begin) = (body.start + self.inner.start, body.start + self.inner.end);
        let mut text = String::new();
        for range in [body.start..end.min(body.end), begin.min(body.end)..body.end] {
            let range = range.start..range.end.min(range.start.saturating_add(octets));
            text.push_str(&charset::decode(self.charset(), &source.join(range)));
        }
        match self.container && text.trim().is_empty() {
            true => String::new(),
            false => text,
        }
    }

    /// Removes the transfer encoding from the body, or from its beginning. Also returns whether it
    /// was valid. Octets that cannot be decoded at all are returned unchanged.
    pub(super) fn decoded(&self, body: &Bytes) -> (Bytes, bool) {
        match self.encoding {
            Encoding::Identity => (body.clone(), true),
            Encoding::Base64 => {
                let (octets, is_valid) = transfer::base64(body);
                (octets.into(), is_valid)
            }
            Encoding::QuotedPrintable => (transfer::quoted_printable(body).into(), true),
            Encoding::Uuencode => {
                let files: Vec<_> = transfer::uuencoded(body).collect();
                (if files.is_empty() { body.clone() } else { files.concat().into() }, true)
            }
        }
    }

    /// Returns a key that identifies the part, to merge the parts that several readings of a
    /// message have in common.
    pub(super) fn identity(&self) -> impl Hash + Eq + use<> {
        let Stretch { source, range, .. } = &self.body;
        let place = (Arc::as_ptr(source).addr(), self.header.len(), range.clone());
        let kind = (self.content_type.clone(), self.charset.clone(), self.encoding);
        (place, kind, self.inner.clone(), self.file_name.clone())
    }

    pub(super) fn is_multipart(&self) -> bool {
        self.content_type.starts_with("multipart/")
    }

    /// Returns whether the body is a message. Mail programs display unknown subtypes of `message`
    /// as messages, and open files with these name extensions.
    pub(super) fn is_message(&self) -> bool {
        self.content_type.starts_with("message/") && !self.is_report()
            || &*self.content_type == "application/x-mimearchive"
            || self.is_file() && self.has_extension(&["eml", "mht", "mhtml"])
    }

    /// Returns whether the body is a list of header fields, which programs display as text.
    fn is_report(&self) -> bool {
        let Some(kind) = self.content_type.strip_prefix("message/") else { return false };
        kind.ends_with("-status")
            || kind.ends_with("-headers")
            || kind.ends_with("-notification")
            || kind == "feedback-report"
    }

    /// Returns whether the body may be signed data of S/MIME, which contains a part.
    pub(super) fn is_signed_data(&self) -> bool {
        matches!(&*self.content_type, "application/pkcs7-mime" | "application/x-pkcs7-mime")
            || self.is_file() && self.has_extension(&["p7m"])
    }

    /// Returns whether programs choose by the file name how to open the part.
    fn is_file(&self) -> bool {
        self.content_type.starts_with("application/")
    }

    fn has_extension(&self, extensions: &[&str]) -> bool {
        // Windows removes dots and blanks at the end of a name, and programs remove control characters.
        let is_ignored = |c: char| c == '.' || c.is_whitespace() || c.is_control();
        let name = self.file_name().unwrap_or_default().trim_end_matches(is_ignored);
        let Some((_, extension)) = name.rsplit_once('.') else { return false };
        let octets = || extension.bytes().filter(|octet| !octet.is_ascii_control());
        let is = |known: &&str| octets().map(|octet| octet.to_ascii_lowercase()).eq(known.bytes());
        extensions.iter().any(is)
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
