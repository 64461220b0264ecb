//! A message on its way: trace header, added header fields, content; parsed on demand.

use std::time::SystemTime;

use bytes::Bytes;

use crate::envelope::Envelope;
use crate::header::HeaderField;
use crate::wire::content::MailData;

/// A message as scorers see it and as it goes onward: our header fields, then the content as the
/// client sent it, forged copies of our own fields removed.
#[derive(Debug)]
pub struct Message {
    segments: Vec<Bytes>,
    content: Bytes,
}

impl Message {
    /// The message of `envelope`, with the trace header that the onward MTA's clean-up would have
    /// put there before a filter saw it: `Received:` (RFC 5321 section 4.4), by `host` at `received`.
    pub fn new(host: &str, envelope: &Envelope, received: SystemTime, content: MailData) -> Self {
        let _ = (envelope, received);
        let trace = Bytes::from(format!("Received: by {host}\r\n"));
        let content = content.octets().clone();
        Self { segments: vec![trace, content.clone()], content }
    }

    /// Puts these fields before all others.
    pub(crate) fn tag(&mut self, fields: Vec<HeaderField>) {
        let _ = fields;
        todo!("helper")
    }

    /// The whole message in segments of whole lines, in order: what goes onward, and what a scorer
    /// that has the message read elsewhere sends there.
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// Octets of all segments.
    pub fn len(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }

    /// The content as the client sent it (line ends normalised), forged fields included.
    pub fn content(&self) -> &Bytes {
        &self.content
    }
}
