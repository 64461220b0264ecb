//! A message on its way: trace header, added header fields, content; parsed on demand.

mod decode;
pub(crate) mod hops;
mod joint;
mod mime;
mod section;
mod trace;
mod view;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;

use crate::envelope::Envelope;
use crate::header::HeaderField;
use crate::wire::budget::{BLOCK, Budget};
use crate::wire::content::{ContentFault, Dots, MailData};
use joint::Starved;

pub use mime::MimeLimits;
pub use view::{Field, Fields, MessageView, MimePart};

/// A message as scorers see it and as it goes onward: our header fields, then the content as the
/// client sent it, forged copies of our own fields removed.
///
/// It is as small as a pointer, and a clone of it has no octets of its own: for a target that may have
/// to ask a second server.
#[derive(Clone)]
pub struct Message(Box<Parts>);

#[derive(Clone)]
struct Parts {
    /// Our fields, the joint, the content.
    segments: Vec<Bytes>,
    /// Octets of all segments.
    len: usize,
    /// In all segments.
    dots: Dots,
    content: MailData,
    mime: MimeLimits,
    joined: OnceLock<Bytes>,
    view: OnceLock<Arc<MessageView>>,
}

impl Message {
    /// The message of `envelope`, with the trace header that the onward MTA's clean-up would have
    /// put there before a filter saw it: `Received:` (RFC 5321 section 4.4), by `host` at `received`.
    ///
    /// Our fields stay apart from whatever the content begins with: an mbox line (`From `) becomes
    /// a field `Mailbox-Line:`, as Postfix has it, of many the first 16, and before anything else that is neither header
    /// field nor empty line an empty line is put. Empty content makes a message of header only.
    pub fn new(host: &str, envelope: &Envelope, received: SystemTime, content: MailData) -> Self {
        let trace = trace::received(host, envelope, received);
        let budget = Budget::new(usize::MAX);
        Self::made(MimeLimits::default(), None, &budget, trace, content, &mut |_| ()).0
    }

    /// The same, taken apart within these limits, and without those `Authentication-Results` fields
    /// of the content that claim to be by `authserv_id`. `visit` sees each line of the content's header section,
    /// top down, of a longer one the first 4,096 octets.
    ///
    /// # Errors
    ///
    /// [`ContentFault::NoMemory`] if the budget of the content has no memory for what is changed in its
    /// header, [`ContentFault::TooBig`] if it would have none for this message alone.
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
        let (message, complete) = Self::made(mime, authserv_id, &budget, trace, content, visit);
        match complete {
            Ok(()) => Ok(message),
            // It has all that there is, but for blocks that are not full: waiting cannot help.
            Err(Starved { copied }) if len + copied + 3 * BLOCK > budget.limit() => {
                Err(ContentFault::TooBig)
            }
            Err(_) => Err(ContentFault::NoMemory),
        }
    }

    /// The message, and whether `budget` had memory for all of it.
    fn made(
        mime: MimeLimits,
        authserv_id: Option<&str>,
        budget: &Budget,
        trace: HeaderField,
        content: MailData,
        visit: &mut dyn FnMut(&[u8]),
    ) -> (Self, Result<(), Starved>) {
        // The trace header, and the content if nothing is put between its blocks.
        let mut segments = Vec::with_capacity(1 + content.segments().len());
        segments.push(trace.into_octets());
        let complete = joint::append(content.blocks(), authserv_id, budget, &mut segments, visit);
        let (len, dots) = (segments.iter().map(Bytes::len).sum(), content.dots());
        let (joined, view) = (OnceLock::new(), OnceLock::new());
        let parts = Parts { segments, len, dots, content, mime, joined, view };
        (Self(Box::new(parts)), complete)
    }

    /// Puts a `Date` field before all others: for a message of our own.
    #[cfg(feature = "serve")]
    pub(crate) fn date(&mut self, at: SystemTime) {
        self.tag(vec![trace::date(at)]);
    }

    /// Puts these fields before all others.
    pub(crate) fn tag(&mut self, fields: Vec<HeaderField>) {
        self.0.len += fields.iter().map(|field| field.octets().len()).sum::<usize>();
        // A name may begin with anything; a line that goes on with it begins with a space.
        if fields.iter().any(|field| field.octets().starts_with(b".")) {
            self.0.dots = Dots::Perhaps;
        }
        self.0.segments.splice(..0, fields.iter().map(|field| field.octets().clone()));
    }

    /// The whole message in segments, in order: what goes onward, and what a scorer that has the
    /// message read elsewhere sends there. Lines may begin in one segment and end in another.
    pub fn segments(&self) -> &[Bytes] {
        &self.0.segments
    }

    /// The segments alone, of which the caller is the only owner then, unless the message was cloned:
    /// memory that was written onward can be given back before the rest is.
    pub fn into_segments(self) -> Vec<Bytes> {
        self.0.segments
    }

    /// Whether lines of the segments begin with a dot.
    pub(crate) fn dots(&self) -> Dots {
        self.0.dots
    }

    /// Octets of all segments.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there is nothing at all; there always is a trace header.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The content as the client sent it (line ends normalised), forged fields included, in blocks.
    pub fn content_segments(&self) -> &[Bytes] {
        self.0.content.segments()
    }

    /// The content in one piece. What is larger than a block of 64 KiB is copied for that when this
    /// is first called, and once; prefer [`content_segments`](Self::content_segments) and
    /// [`view`](Self::view), which need no copy.
    pub fn content(&self) -> &Bytes {
        self.0.joined.get_or_init(|| self.0.content.blocks().join(0..self.0.content.len()))
    }

    /// Returns the first `most` octets of the content in one piece.
    #[cfg_attr(not(feature = "auth"), allow(dead_code, reason = "for DKIM alone"))]
    pub(crate) fn content_head(&self, most: usize) -> Bytes {
        self.0.content.blocks().join(0..most.min(self.0.content.len()))
    }

    /// The content taken apart by MIME: header fields, parts, their text. It is parsed when this is
    /// first called, and once.
    pub fn view(&self) -> &MessageView {
        self.0.view.get_or_init(|| {
            Arc::new(MessageView::new(self.0.content.blocks().clone(), self.0.mime))
        })
    }
}

impl fmt::Debug for Message {
    /// Nothing of what somebody wrote to somebody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
