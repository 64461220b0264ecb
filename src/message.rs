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
    // helper: fields
}

impl Message {
    /// The message of `envelope`, with the trace header that the onward MTA's clean-up would have
    /// put there before a filter saw it: `Received:` (RFC 5321 section 4.4), by `host` at `received`.
    pub fn new(host: &str, envelope: &Envelope, received: SystemTime, content: MailData) -> Self {
        let _ = (host, envelope, received, content);
        todo!("helper")
    }

    /// Puts these fields before all others.
    pub(crate) fn tag(&mut self, fields: Vec<HeaderField>) {
        let _ = fields;
        todo!("helper")
    }

    /// The whole message in segments of whole lines, in order: what goes onward, and what a scorer
    /// that has the message read elsewhere sends there.
    pub fn segments(&self) -> &[Bytes] {
        todo!("helper")
    }

    /// Octets of all segments.
    pub fn len(&self) -> usize {
        todo!("helper")
    }

    /// The content as the client sent it (line ends normalised), forged fields included.
    pub fn content(&self) -> &Bytes {
        todo!("helper")
    }
}
