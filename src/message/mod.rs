//! A message on its way: trace header, added header fields, content; parsed on demand.

mod decode;
mod joint;
mod mime;
mod section;
mod trace;
mod view;

use std::fmt;
use std::sync::OnceLock;
use std::time::SystemTime;

use bytes::Bytes;

use crate::envelope::Envelope;
use crate::header::HeaderField;
use crate::wire::content::{Dots, MailData};

pub use view::{Field, Fields, MessageView, MimePart};

/// A message as scorers see it and as it goes onward: our header fields, then the content as the
/// client sent it, forged copies of our own fields removed.
pub struct Message {
    /// Our fields, the joint, the content.
    segments: Vec<Bytes>,
    /// Octets of all segments.
    len: usize,
    /// In all segments.
    dots: Dots,
    content: MailData,
    joined: OnceLock<Bytes>,
    view: OnceLock<MessageView>,
}

impl Message {
    /// The message of `envelope`, with the trace header that the onward MTA's clean-up would have
    /// put there before a filter saw it: `Received:` (RFC 5321 section 4.4), by `host` at `received`.
    ///
    /// Our fields stay apart from whatever the content begins with: an mbox line (`From `) becomes
    /// a field `Mailbox-Line:`, as Postfix has it, and before anything else that is neither header
    /// field nor empty line an empty line is put. Empty content makes a message of header only.
    pub fn new(host: &str, envelope: &Envelope, received: SystemTime, content: MailData) -> Self {
        Self::checked_by(None, host, envelope, received, content)
    }

    /// The same without those `Authentication-Results` fields of the content that claim to be by
    /// `authserv_id`.
    pub(crate) fn checked_by(
        authserv_id: Option<&str>,
        host: &str,
        envelope: &Envelope,
        received: SystemTime,
        content: MailData,
    ) -> Self {
        // The trace header, and the content if nothing is put between its blocks.
        let mut segments = Vec::with_capacity(1 + content.segments().len());
        segments.push(trace::received(host, envelope, received).into_octets());
        joint::append(content.blocks(), authserv_id, &mut segments);
        let (len, dots) = (segments.iter().map(Bytes::len).sum(), content.dots());
        Self { segments, len, dots, content, joined: OnceLock::new(), view: OnceLock::new() }
    }

    /// Puts these fields before all others.
    pub(crate) fn tag(&mut self, fields: Vec<HeaderField>) {
        self.len += fields.iter().map(|field| field.octets().len()).sum::<usize>();
        // A name may begin with anything; a line that goes on with it begins with a space.
        if fields.iter().any(|field| field.octets().starts_with(b".")) {
            self.dots = Dots::Perhaps;
        }
        self.segments.splice(..0, fields.iter().map(|field| field.octets().clone()));
    }

    /// The whole message in segments, in order: what goes onward, and what a scorer that has the
    /// message read elsewhere sends there. Lines may begin in one segment and end in another.
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// Whether lines of the segments begin with a dot.
    pub(crate) fn dots(&self) -> Dots {
        self.dots
    }

    /// Octets of all segments.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing at all; there always is a trace header.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The content as the client sent it (line ends normalised), forged fields included, in blocks.
    pub fn content_segments(&self) -> &[Bytes] {
        self.content.segments()
    }

    /// The content in one piece. What is larger than a block of 64 KiB is copied for that when this
    /// is first called, and once; prefer [`content_segments`](Self::content_segments) and
    /// [`view`](Self::view), which need no copy.
    pub fn content(&self) -> &Bytes {
        self.joined.get_or_init(|| self.content.blocks().join(0..self.content.len()))
    }

    /// The content taken apart by MIME: header fields, parts, their text. It is parsed when this is
    /// first called, and once.
    pub fn view(&self) -> &MessageView {
        self.view.get_or_init(|| MessageView::new(self.content.blocks().clone()))
    }
}

impl fmt::Debug for Message {
    /// Nothing of what somebody wrote to somebody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
