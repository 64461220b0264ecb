//! DNS messages (RFC 1035 section 4): encodes questions and parses answers.

use std::time::Duration;

use super::packet::{HEADER, IN, NAME_ERROR, NO_ERROR, Packet, Resource, Type, is_truncated};
use super::{Answer, DomainName, Record, RecordKind, ResolveError};

/// Largest datagram that is asked for (RFC 6891 section 6.2.3). Longer answers come by TCP. Larger
/// datagrams would be fragmented on some paths, and fragments can be forged (RFC 9715 section 3).
const DATAGRAM: u16 = 1_232;
/// Maximum length of a CNAME chain (unbound: 11).
const ALIASES: usize = 11;

/// An encoded question.
#[derive(Debug)]
pub(super) struct Query<'n> {
    id: u16,
    name: &'n DomainName,
    kind: RecordKind,
    octets: Vec<u8>,
}

/// Meaning of a received message for a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The answer.
    Answer(Answer),
    /// The answer, but truncated. The question must be sent again by TCP.
    Truncated,
    /// The answer to another question, a forgery, or noise.
    Unrelated(&'static str),
    /// An error response.
    Failed(ResolveError),
}

impl<'n> Query<'n> {
    /// Creates a question to a recursive resolver. `id` must be unpredictable.
    pub(super) fn new(id: u16, name: &'n DomainName, kind: RecordKind) -> Self {
        let mut query = Self::without_edns(id, name, kind);
        // An OPT record (RFC 6891 section 6.1.2): the root, the type, the size, no flags, no options.
        query.octets[HEADER - 1] = 1;
        query.octets.push(0);
        for number in [Type::OPT.0, DATAGRAM, 0, 0, 0] {
            query.octets.extend_from_slice(&number.to_be_bytes());
        }
        query
    }

    /// Creates a question for a server that does not know EDNS. Its datagrams have up to 512 octets.
    pub(super) fn without_edns(id: u16, name: &'n DomainName, kind: RecordKind) -> Self {
        // One question, recursion desired.
        let header = [id, 0x0100, 1, 0, 0, 0];
        let mut octets: Vec<u8> = header.iter().flat_map(|it| it.to_be_bytes()).collect();
        for label in name.labels() {
            // A label has at most 63 octets.
            octets.push(label.len() as u8);
            octets.extend_from_slice(&label);
        }
        octets.push(0);
        octets.extend([record_type(kind).0, IN].iter().flat_map(|it| it.to_be_bytes()));
        Self { id, name, kind, octets }
    }

    /// Returns the encoded question.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Parses a received message. It is the answer only if its ID and question match this query
    /// (RFC 5452 section 9.1).
    pub(super) fn read(&self, octets: &[u8]) -> Reply {
        if octets.get(..2) != Some(&self.id.to_be_bytes()[..]) {
            return Reply::Unrelated("wrong ID");
        }
        let packet = match Packet::parse(octets) {
            Ok(packet) => packet,
            Err(why) => return Reply::Unrelated(why),
        };
        if !packet.is_response() {
            return Reply::Unrelated("not a response");
        }
        if !self.is_question_of(&packet) {
            return Reply::Unrelated("wrong question");
        }
        match packet.response_code() {
            NO_ERROR | NAME_ERROR if is_truncated(octets) => Reply::Truncated,
            NO_ERROR | NAME_ERROR => match self.answer(&packet) {
                Ok(answer) => Reply::Answer(answer),
                Err(fault) => Reply::Failed(ResolveError::Malformed(fault)),
            },
            declined => Reply::Failed(ResolveError::Declined(declined)),
        }
    }

    fn is_question_of(&self, packet: &Packet<'_>) -> bool {
        let [question] = &packet.questions[..] else {
            // Some servers omit the question in error responses.
            return packet.questions.is_empty() && packet.is_error();
        };
        question.kind == record_type(self.kind)
            && question.class == IN
            && question.name.as_ref() == Some(self.name)
    }

    /// Follows the CNAME chain and returns the well-formed records of its last name.
    ///
    /// # Errors
    ///
    /// Returns an error if the chain is too long or a loop. Returns an error also if no record is
    /// left because the records are malformed: that is not a negative answer.
    fn answer(&self, packet: &Packet<'_>) -> Result<Answer, &'static str> {
        let mut name = self.name.clone();
        let mut ttl = u32::MAX;
        for _ in 0..=ALIASES {
            let own = || of_name(&packet.answers, &name);
            let record = |it: &Resource| Some((self.record(packet, it)?, it.ttl));
            let records: Vec<_> = own().filter_map(record).collect();
            if !records.is_empty() {
                let ttl = records.iter().map(|(_, ttl)| seconds(*ttl)).fold(ttl, u32::min);
                let records = records.into_iter().map(|(record, _)| record);
                return Ok(Answer::new(records, Duration::from_secs(ttl.into())));
            }
            let alias = own().find(|it| it.kind == Type::CNAME);
            let target = alias.and_then(|it| Some((packet.name(it, 0)??, it.ttl)));
            let Some((target, alias_ttl)) = target else {
                let is_malformed =
                    packet.is_malformed || own().any(|it| self.is_malformed(packet, it));
                return match is_malformed {
                    true => Err("malformed records"),
                    // No records, or an alias to the root.
                    false => Ok(nothing(packet, ttl)),
                };
            };
            ttl = ttl.min(seconds(alias_ttl));
            name = target;
        }
        Err("CNAME loop, or too many CNAME records")
    }

    /// Returns whether a record of this type, or an alias, is malformed.
    fn is_malformed(&self, packet: &Packet<'_>, record: &Resource) -> bool {
        match record.kind {
            // The root is a well-formed name.
            Type::CNAME => packet.name(record, 0).is_none(),
            kind if kind != record_type(self.kind) => false,
            Type::PTR => packet.name(record, 0).is_none(),
            _ => self.record(packet, record).is_none(),
        }
    }

    /// Returns the record, if it has this type and is well-formed.
    fn record(&self, packet: &Packet<'_>, record: &Resource) -> Option<Record> {
        if record.kind != record_type(self.kind) {
            return None;
        }
        let data = packet.data(record);
        Some(match self.kind {
            RecordKind::A => Record::A(<[u8; 4]>::try_from(data).ok()?.into()),
            RecordKind::Aaaa => Record::Aaaa(<[u8; 16]>::try_from(data).ok()?.into()),
            RecordKind::Mx => Record::Mx {
                preference: u16::from_be_bytes(*data.first_chunk()?),
                exchange: packet.name(record, 2)?,
            },
            RecordKind::Ptr => Record::Ptr(packet.name(record, 0)??),
            RecordKind::Txt => Record::Txt(packet.text(record)?),
        })
    }
}

fn record_type(kind: RecordKind) -> Type {
    match kind {
        RecordKind::A => Type::A,
        RecordKind::Aaaa => Type::AAAA,
        RecordKind::Mx => Type::MX,
        RecordKind::Ptr => Type::PTR,
        RecordKind::Txt => Type::TXT,
    }
}

/// Returns the records of this name, of any type.
fn of_name<'p>(records: &'p [Resource], name: &DomainName) -> impl Iterator<Item = &'p Resource> {
    records.iter().filter(move |it| it.class == IN && it.owner.as_ref() == Some(name))
}

/// Returns the negative answer, valid for the time given by the zone (RFC 2308 section 5). Without
/// an SOA record the time is zero.
fn nothing(packet: &Packet<'_>, ttl: u32) -> Answer {
    let zone = packet.authority.iter().filter(|it| it.kind == Type::SOA);
    let minimum = |it: &Resource| Some(seconds(it.ttl).min(seconds(packet.minimum(it)?)));
    let ttl = zone.filter_map(minimum).next().unwrap_or(0).min(ttl);
    let ttl = Duration::from_secs(ttl.into());
    match packet.response_code() {
        NAME_ERROR => Answer::no_such_domain(ttl),
        _ => Answer::new([], ttl),
    }
}

/// Returns a valid TTL. A TTL with the highest bit set counts as zero (RFC 2181 section 8).
fn seconds(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

#[cfg(test)]
mod tests;
