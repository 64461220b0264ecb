//! A message in transit: trace header, added header fields and content, parsed on demand.

mod addresses;
pub(crate) mod charset;
mod declared;
mod field;
pub(crate) mod hops;
mod joint;
mod mime;
mod parameters;
mod part;
mod pkcs7;
mod prescan;
mod reading;
#[cfg(feature = "links")]
mod rendered;
pub(crate) mod section;
mod trace;
pub(crate) mod transfer;
mod view;
pub(crate) mod words;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;

use crate::envelope::Envelope;
pub use crate::header::{FieldNameError, HeaderField};
use crate::wire::blocks::Blocks;
use crate::wire::budget::BLOCK;
pub use crate::wire::budget::Budget;
use crate::wire::content::{ContentFault, Dots};
pub use crate::wire::content::{LineEndings, MailData};
use joint::Starved;

pub use addresses::FieldAddress;
pub use field::{Field, Fields};
pub use mime::MimeLimits;
pub use part::MimePart;
#[cfg(feature = "links")]
pub use rendered::{HtmlText, Link, LinkDomain, LinkHost, LinkPlace, Rendered};
pub use view::MessageView;

/// A message as scorers see it and as it is relayed: our header fields, then the client's content
/// without forged copies of our fields.
///
/// A `Message` has the size of a pointer. A clone shares the octets, so a relay target can keep one
/// for a second server.
///
/// ```
/// use std::time::SystemTime;
/// use nobounce::Message;
/// use nobounce::message::MailData;
/// use nobounce::testing::envelope;
///
/// let content = MailData::normalise(b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\nHello!\r\n");
/// let message = Message::new("mx.example", &envelope("<a@example.org>"), SystemTime::now(), content);
/// assert_eq!(message.view().field("subject").unwrap().text(), "grüße");
/// assert_eq!(message.view().texts().collect::<String>(), "Hello!\r\n");
/// let relayed = message.segments().concat();
/// assert!(relayed.starts_with(b"Received: ") && relayed.ends_with(b"Hello!\r\n"));
/// ```
#[derive(Clone)]
pub struct Message(Box<Parts>);

#[derive(Clone)]
struct Parts {
    /// Our fields, an empty line if inserted, and the content.
    segments: Vec<Bytes>,
    /// Number of segments that are our fields.
    ours: usize,
    /// Total length of the segments in octets.
    len: usize,
    /// Whether lines in the segments begin with a dot.
    dots: Dots,
    content: MailData,
    received: SystemTime,
    mime: MimeLimits,
    joined: OnceLock<Bytes>,
    view: OnceLock<Arc<MessageView>>,
    #[cfg(feature = "links")]
    rendered: OnceLock<Arc<Rendered>>,
}

impl Message {
    /// Creates the message of `envelope` with a trace header: `Received:` (RFC 5321 section 4.4),
    /// by `host` at `received`. Content filters expect this header, because a mail server adds it
    /// before its filter gets the message.
    ///
    /// Our fields are separated from the content:
    ///
    /// - A leading mbox line (`From `) becomes a `Mailbox-Line:` field, as in Postfix. Only the first
    ///   16 such lines are converted.
    /// - If the content begins with anything else that is neither a header field nor an empty line,
    ///   an empty line is inserted before it.
    /// - Empty content makes a message that consists of the header only.
    pub fn new(host: &str, envelope: &Envelope, received: SystemTime, content: MailData) -> Self {
        let trace = trace::received(host, envelope, received);
        let budget = Budget::new(usize::MAX);
        let mime = MimeLimits::default();
        Self::made(mime, None, &budget, (trace, received), content, &mut |_| ()).0
    }

    /// Creates the message as [`new`](Self::new) does, with these MIME limits, and removes
    /// `Authentication-Results` fields of the content that claim to be from `authserv_id`. `visit`
    /// gets each line of the content's header section in order. Of longer lines, it gets the first
    /// 4,096 octets.
    ///
    /// # Errors
    ///
    /// [`ContentFault::NoMemory`] if the content's budget has no memory left for the changes in the
    /// header. [`ContentFault::TooBig`] if the whole budget would not suffice for this message
    /// alone.
    pub(crate) fn within(
        mime: MimeLimits,
        authserv_id: Option<&str>,
        host: &str,
        envelope: &Envelope,
        received: SystemTime,
        content: MailData,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Self, ContentFault> {
        let trace = trace::received(host, envelope, received);
        let (budget, len) = (content.budget(), content.len());
        let trace = (trace, received);
        let (message, complete) = Self::made(mime, authserv_id, &budget, trace, content, visit);
        match complete {
            Ok(()) => Ok(message),
            // The message already uses the whole budget, except for partly filled blocks. Waiting
            // cannot help.
            Err(Starved { copied }) if len + copied + 3 * BLOCK > budget.limit() => {
                Err(ContentFault::TooBig)
            }
            Err(_) => Err(ContentFault::NoMemory),
        }
    }

    /// Creates the message with this trace header and the time in it. Also returns whether `budget` had
    /// enough memory.
    fn made(
        mime: MimeLimits,
        authserv_id: Option<&str>,
        budget: &Budget,
        (trace, received): (HeaderField, SystemTime),
        content: MailData,
        visit: &mut dyn FnMut(&[u8]),
    ) -> (Self, Result<(), Starved>) {
        // Capacity for the trace header, and for the content if nothing is inserted between its
        // blocks.
        let mut segments = Vec::with_capacity(1 + content.segments().len());
        segments.push(trace.into_octets());
        let complete = joint::append(content.blocks(), authserv_id, budget, &mut segments, visit);
        let (len, dots) = (segments.iter().map(Bytes::len).sum(), content.dots());
        let parts = Parts {
            segments,
            ours: 1,
            len,
            dots,
            content,
            received,
            mime,
            joined: OnceLock::new(),
            view: OnceLock::new(),
            #[cfg(feature = "links")]
            rendered: OnceLock::new(),
        };
        (Self(Box::new(parts)), complete)
    }

    /// Adds a `Date` field at the top, for a message generated by nobounce.
    #[cfg(feature = "serve")]
    pub(crate) fn date(&mut self, at: SystemTime) {
        self.tag(vec![trace::date(at)]);
    }

    /// Creates a message from the octets that would have been relayed, with the trace field that they
    /// have.
    #[cfg(all(feature = "json", unix))]
    pub(crate) fn relayed(octets: &[u8], received: SystemTime) -> Self {
        let content = MailData::normalise(octets);
        let (segments, len, dots) = (content.segments().to_vec(), content.len(), content.dots());
        let mime = MimeLimits::default();
        let (joined, view) = (OnceLock::new(), OnceLock::new());
        Self(Box::new(Parts {
            segments,
            ours: 0,
            len,
            dots,
            content,
            received,
            mime,
            joined,
            view,
            #[cfg(feature = "links")]
            rendered: OnceLock::new(),
        }))
    }

    /// Adds a field at the top which says that this message was refused and released later.
    #[cfg(all(feature = "json", unix))]
    pub(crate) fn mark_released(&mut self, what: &str, at: SystemTime) {
        self.tag(vec![trace::released(what, at)]);
    }

    /// Adds these fields at the top.
    pub(crate) fn tag(&mut self, fields: Vec<HeaderField>) {
        self.0.len += fields.iter().map(|field| field.octets().len()).sum::<usize>();
        // A field name may begin with a dot. Folded lines begin with a space.
        if fields.iter().any(|field| field.octets().starts_with(b".")) {
            self.0.dots = Dots::Perhaps;
        }
        self.0.ours += fields.len();
        self.0.segments.splice(..0, fields.iter().map(|field| field.octets().clone()));
    }

    /// Returns the whole message in segments, in order. These octets are relayed, and sent to
    /// external scanners. A line may span several segments.
    pub fn segments(&self) -> &[Bytes] {
        &self.0.segments
    }

    /// Returns the segments and drops the rest. If the message was not cloned, the caller is the
    /// only owner, and can free each segment as soon as it is written.
    pub fn into_segments(self) -> Vec<Bytes> {
        self.0.segments
    }

    /// Returns whether lines in the segments begin with a dot.
    pub(crate) fn dots(&self) -> Dots {
        self.0.dots
    }

    /// Returns when the message was received, as in its trace header.
    pub fn received(&self) -> SystemTime {
        self.0.received
    }

    /// Returns the total length of the segments in octets.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Returns whether the message is empty. It never is, because it has a trace header.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Returns the content in blocks, as the client sent it (line ends normalised), including
    /// forged fields.
    pub fn content_segments(&self) -> &[Bytes] {
        self.0.content.segments()
    }

    /// Returns the content in one piece. Content larger than a block of 64 KiB is copied once, on
    /// the first call. Prefer [`content_segments`](Self::content_segments) and
    /// [`view`](Self::view), which do not copy.
    pub fn content(&self) -> &Bytes {
        self.0.joined.get_or_init(|| self.0.content.blocks().join(0..self.0.content.len()))
    }

    /// Returns the first `most` octets of the content in one piece.
    #[cfg_attr(not(feature = "sender-authentication"), allow(dead_code, reason = "for DKIM alone"))]
    pub(crate) fn content_head(&self, most: usize) -> Bytes {
        self.0.content.blocks().join(0..most.min(self.0.content.len()))
    }

    /// Returns the message as it is relayed, without our own fields, parsed as MIME: header fields,
    /// parts and their text. It is parsed once, on the first call.
    ///
    /// Forged fields are not in it, and a content without header has no fields, as the onward server
    /// will see it.
    pub fn view(&self) -> &MessageView {
        self.0.view.get_or_init(|| Arc::new(MessageView::new(self.as_relayed(), self.0.mime)))
    }

    /// Returns the octets that are relayed, without our own fields.
    fn as_relayed(&self) -> Blocks {
        let segments = self.0.segments.get(self.0.ours..).unwrap_or_default();
        let content = self.0.content.blocks();
        let range = |segment: &Bytes| segment.as_ptr_range();
        match segments.iter().map(range).eq(content.as_slice().iter().map(range)) {
            true => content.clone(),
            false => Blocks::pieces(segments),
        }
    }

    /// Returns the message as a reader sees it: its links, and the visible text of its HTML parts.
    /// They are found once, on the first call.
    #[cfg(feature = "links")]
    pub fn rendered(&self) -> &Rendered {
        self.0.rendered.get_or_init(|| Arc::new(Rendered::of(self.view())))
    }
}

impl fmt::Debug for Message {
    /// Shows only the length, because messages are private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
