//! The header section and the body of a message, as signatures cover them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::body::{BodyHash, BodyHashes};
use super::canonicalization::Canonicalization;
use crate::message::Message;
use crate::message::section::{MBOX_LINES, continues, is_mbox, line_end, split_field};

/// Maximum length of a header section whose signatures are evaluated, in octets.
pub(super) const HEADER: usize = 256 << 10;
/// Maximum number of fields of a header section whose signatures are evaluated.
pub(super) const FIELDS: usize = 2_000;
/// Number of fields for which there is room at first.
const USUAL: usize = 14;

/// The header section and the body of a message, parsed for DKIM and ARC.
///
/// The fields are those that the client sent, without the fields that this gate adds. The body is
/// the relayed one. If the first line of a message is not a header field, the message has no header
/// section: it is relayed with an empty line before it, so that no mail program finds fields in it.
///
/// A header section is not evaluated if it has more than 262,144 octets or 2,000 fields, or a line
/// that is not a header field, because mail programs disagree about the end of that header section
/// (RFC 6376 section 3.8). Its signatures are `permerror`.
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::UNIX_EPOCH;
/// # use nobounce::{Envelope, Message, Peer, ReversePath};
/// # use nobounce::envelope::SessionId;
/// # use nobounce::message::MailData;
/// # let id = SessionId::new("example").transaction(1);
/// # let envelope = Envelope::new(id, Arc::new(Peer::local()), ReversePath::parse("<>")?);
/// use nobounce::authentication::Content;
/// use nobounce::authentication::dkim::Signatures;
///
/// let data = MailData::normalise(b"DKIM-Signature: v=1\r\nFrom: a@example.org\r\n\r\nHello!\r\n");
/// let message = Message::new("mx.example.net", &envelope, UNIX_EPOCH, data);
/// let content = Content::read(&message);
/// assert_eq!(Signatures::read(&content).len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Content {
    header: Arc<Header>,
    body: Vec<Bytes>,
    /// Hashes of the whole body that were computed before, by canonicalization.
    whole: [OnceLock<BodyHash>; 2],
}

/// A header section with an index of its names.
#[derive(Debug)]
pub(super) struct Header {
    octets: Bytes,
    fields: Vec<FieldPlace>,
    fault: Option<HeaderFault>,
    /// Names in lower case, with the place of each in `named`.
    names: HashMap<Box<[u8]>, usize>,
    /// The fields of each name, in order.
    named: Vec<Vec<usize>>,
}

#[derive(Debug, Clone)]
struct FieldPlace {
    /// The field without its final CRLF.
    octets: Range<usize>,
    /// Place of its colon.
    colon: usize,
    /// The field in relaxed form with its final CRLF, computed for the first signature that covers it.
    relaxed: OnceLock<Vec<u8>>,
}

/// Reason why a header section is not evaluated. The sender is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderFault {
    #[error("the header section has more than {HEADER} octets")]
    TooLong,
    #[error("the header section has more than {FIELDS} fields")]
    TooManyFields,
    #[error("a line of the header section is not a header field")]
    NotAField,
}

impl Content {
    /// Parses the content of a message. Takes linear time. The header section is copied if it spans
    /// several blocks of 64 KiB. The body is not copied.
    pub fn read(message: &Message) -> Self {
        // With the empty line at its end.
        let head = message.content_head(HEADER + 2);
        let segments = message.content_segments();
        let is_whole = segments.iter().map(Bytes::len).sum::<usize>() == head.len();
        let (header, end) = Header::parse(head, is_whole);
        let body = slice_from(segments, end);
        Self { header: Arc::new(header), body, whole: Default::default() }
    }

    pub(super) fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// Computes the body hashes that these signatures need, in at most one pass over the body. A
    /// request is a canonicalization and the number of octets to hash (`l=`).
    pub(super) fn hash_body(&self, requests: &[(Canonicalization, Option<u64>)]) -> Vec<BodyHash> {
        let is_missing = |it: &&(Canonicalization, Option<u64>)| self.known(**it).is_none();
        let mut hashes = BodyHashes::new(requests.iter().filter(is_missing).copied());
        if !hashes.is_empty() {
            self.body.iter().for_each(|segment| hashes.update(segment));
        }
        let computed = hashes.finish();
        let hash = |request: &(Canonicalization, Option<u64>)| match self.known(*request) {
            Some(known) => known.clone(),
            None => {
                let hash = computed.hash(*request);
                if request.1.is_none() {
                    let _ = self.whole[request.0 as usize].set(hash.clone());
                }
                hash
            }
        };
        requests.iter().map(hash).collect()
    }

    fn known(&self, request: (Canonicalization, Option<u64>)) -> Option<&BodyHash> {
        self.whole[request.0 as usize].get().filter(|_| request.1.is_none())
    }
}

impl Header {
    /// Parses a header section. Also returns where the body begins. `is_whole` tells whether the
    /// message ends with these octets.
    fn parse(octets: Bytes, is_whole: bool) -> (Self, usize) {
        let mut header = Self {
            octets,
            fields: Vec::with_capacity(USUAL),
            fault: None,
            names: HashMap::with_capacity(USUAL),
            named: Vec::with_capacity(USUAL),
        };
        let end = header.add_all(is_whole);
        (header, end)
    }

    /// Adds all fields. Returns where the body begins.
    fn add_all(&mut self, is_whole: bool) -> usize {
        let octets = self.octets.clone();
        let mut at = 0;
        for _ in 0..MBOX_LINES {
            if is_mbox(&octets[at..]) {
                at = line_end(&octets, at);
            }
        }
        // Otherwise, the message is relayed with an empty line before it.
        let has_fields = split_field(&octets[at..line_end(&octets, at)]).is_some();
        while has_fields && at < octets.len() {
            if octets[at..].starts_with(b"\r\n") {
                return at + 2;
            }
            let mut end = line_end(&octets, at);
            while continues(&octets[end..]) {
                end = line_end(&octets, end);
            }
            if end == octets.len() && !is_whole {
                break;
            }
            self.add(at..end);
            at = end;
        }
        if has_fields && !is_whole {
            self.fault = Some(HeaderFault::TooLong);
        }
        octets.len()
    }

    /// Adds the field in this range, which includes its CRLF.
    fn add(&mut self, range: Range<usize>) {
        let field = &self.octets[range.clone()];
        let Some((name, value)) = split_field(field) else {
            self.fault.get_or_insert(HeaderFault::NotAField);
            return;
        };
        if self.fields.len() == FIELDS {
            self.fault = Some(HeaderFault::TooManyFields);
            return;
        }
        let colon = field.len() - value.len() - 1;
        let end = if field.ends_with(b"\r\n") { range.end - 2 } else { range.end };
        let name = name.to_ascii_lowercase().into_bytes();
        let group = *self.names.entry(name.into()).or_insert(self.named.len());
        if group == self.named.len() {
            self.named.push(Vec::with_capacity(1));
        }
        self.named[group].push(self.fields.len());
        self.fields.push(FieldPlace {
            octets: range.start..end,
            colon: range.start + colon,
            relaxed: OnceLock::new(),
        });
    }

    pub(super) fn fault(&self) -> Option<HeaderFault> {
        self.fault
    }

    /// Returns the fields of this name in order. The case is ignored.
    pub(super) fn named(&self, name: &str) -> &[usize] {
        self.group(name.as_bytes()).map_or(&[], |group| &self.named[group])
    }

    /// Returns the place of a name in `named`. The case is ignored.
    fn group(&self, name: &[u8]) -> Option<usize> {
        let mut short = [0; 64];
        match short.get_mut(..name.len()) {
            Some(key) => {
                key.copy_from_slice(name);
                key.make_ascii_lowercase();
                self.names.get(&*key).copied()
            }
            None => self.names.get(&*name.to_ascii_lowercase()).copied(),
        }
    }

    /// Returns the value of a field without its final CRLF.
    pub(super) fn value(&self, field: usize) -> &[u8] {
        let place = &self.fields[field];
        &self.octets[place.colon + 1..place.octets.end]
    }

    /// Appends a field in canonical form, with its final CRLF.
    pub(super) fn append(&self, field: usize, form: Canonicalization, to: &mut Vec<u8>) {
        let place = &self.fields[field];
        let octets = &self.octets[place.octets.clone()];
        let append = |to: &mut Vec<u8>| {
            form.append_field(octets, place.colon - place.octets.start, to);
            to.extend_from_slice(b"\r\n");
        };
        match form {
            Canonicalization::Simple => append(to),
            Canonicalization::Relaxed => to.extend_from_slice(place.relaxed.get_or_init(|| {
                let mut relaxed = Vec::with_capacity(octets.len() + 2);
                append(&mut relaxed);
                relaxed
            })),
        }
    }

    /// Appends a field without this part of its value, in canonical form and without its final CRLF:
    /// the signature field itself, without its signature (RFC 6376 section 3.7).
    pub(super) fn append_without(
        &self,
        field: usize,
        part: Range<usize>,
        form: Canonicalization,
        to: &mut Vec<u8>,
    ) {
        let place = &self.fields[field];
        let value = self.value(field);
        let head = &self.octets[place.octets.start..=place.colon];
        let rest = [head, &value[..part.start], &value[part.end..]].concat();
        form.append_field(&rest, place.colon - place.octets.start, to);
    }

    /// Appends the fields that `h=` names, in canonical form: for each name the last field that no
    /// earlier occurrence of the name has selected (RFC 6376 section 5.4.2). A name without a field
    /// selects nothing. The signature field itself is never selected (section 3.7).
    pub(super) fn append_signed<'n>(
        &self,
        names: impl Iterator<Item = &'n [u8]>,
        own: usize,
        form: Canonicalization,
        to: &mut Vec<u8>,
    ) {
        // The number of fields of each name that are selected or skipped.
        let mut selected = vec![0; self.named.len()];
        for name in names {
            let Some(group) = self.group(name) else { continue };
            let (fields, selected) = (&self.named[group], &mut selected[group]);
            let mut left = fields[..fields.len() - *selected].iter().rev();
            let next = left.find(|field| **field != own);
            *selected = fields.len() - left.len();
            if let Some(field) = next {
                self.append(*field, form, to);
            }
        }
    }
}

/// Returns the octets from this place on.
fn slice_from(segments: &[Bytes], place: usize) -> Vec<Bytes> {
    let mut skipped = place;
    let slice = |segment: &Bytes| {
        let begin = skipped.min(segment.len());
        skipped -= begin;
        segment.slice(begin..)
    };
    segments.iter().map(slice).filter(|segment| !segment.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_selects_the_last_field_that_is_left() {
        let header = "B: 1\r\nd: 2\r\nb: 3\r\nD: 4\r\nB : 5\r\n\r\n";
        let (header, end) = Header::parse(header.into(), true);
        assert_eq!((end, header.named("B"), header.named("c")), (33, &[0, 2, 4][..], &[][..]));
        for (names, own, selected) in [
            ("b:b:b:b:d", 9, "b:5 b:3 b:1 d:4"),
            ("D:C:D:C:D:A:E", 9, "d:4 d:2"),
            ("b:d:b:d:b", 2, "b:5 d:4 b:1 d:2"),
            ("b:b:b", 4, "b:3 b:1"),
            ("b:b:b", 0, "b:5 b:3"),
            ("d:d", 1, "d:4"),
            ("", 9, ""),
        ] {
            let mut octets = Vec::new();
            let list = names.split(':').map(str::as_bytes);
            header.append_signed(list, own, Canonicalization::Relaxed, &mut octets);
            let octets = String::from_utf8(octets).unwrap();
            assert_eq!(octets.trim_end().replace("\r\n", " "), selected, "{names} {own}");
        }
    }
}
