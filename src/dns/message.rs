//! DNS messages (RFC 1035 section 4): encodes questions and parses answers.

use std::borrow::Cow;
use std::string::FromUtf8Error;
use std::time::Duration;

use simple_dns::rdata::{RData, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use simple_dns::{OPCODE, ResourceRecord};

use super::{Answer, DomainName, Record, RecordKind, ResolveError};

/// Size of the message header, and minimum size of a record, in octets.
const HEADER: usize = 12;
const RECORD: usize = 11;
/// Maximum number of records in a message. A name with more is useless for mail.
const RECORDS: usize = 1_000;
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
    pub(super) fn new(
        id: u16,
        name: &'n DomainName,
        kind: RecordKind,
    ) -> Result<Self, ResolveError> {
        let unwritable = |_| ResolveError::Malformed("the name cannot be encoded");
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let (qtype, qclass) = (QTYPE::TYPE(record_type(kind)), QCLASS::CLASS(CLASS::IN));
        let qname = Name::new(name).map_err(unwritable)?;
        packet.questions.push(Question::new(qname, qtype, qclass, false));
        let octets = packet.build_bytes_vec().map_err(unwritable)?;
        Ok(Self { id, name, kind, octets })
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
        if !has_room(octets) {
            return Reply::Unrelated("more records than fit into the message");
        }
        // A truncated message may end within a record. To identify it, the question is enough.
        let truncated = octets[2] & 0x02 != 0;
        let octets: Cow<'_, [u8]> = if truncated { question_only(octets) } else { octets.into() };
        let Ok(packet) = Packet::parse(&octets) else {
            return Reply::Unrelated("not a DNS message");
        };
        if !packet.has_flags(PacketFlag::RESPONSE) || packet.opcode() != OPCODE::StandardQuery {
            return Reply::Unrelated("not a response");
        }
        if !self.is_question_of(&packet) {
            return Reply::Unrelated("wrong question");
        }
        match packet.rcode() {
            RCODE::NoError | RCODE::NameError if truncated => Reply::Truncated,
            RCODE::NoError | RCODE::NameError => match self.answer(&packet) {
                Some(answer) => Reply::Answer(answer),
                None => {
                    Reply::Failed(ResolveError::Malformed("CNAME loop, or too many CNAME records"))
                }
            },
            declined => Reply::Failed(ResolveError::Declined(declined as u16)),
        }
    }

    fn is_question_of(&self, packet: &Packet<'_>) -> bool {
        let [question] = &packet.questions[..] else {
            // Some servers omit the question in error responses.
            return packet.questions.is_empty() && !is_answer(packet.rcode());
        };
        question.qtype == QTYPE::TYPE(record_type(self.kind))
            && question.qclass == QCLASS::CLASS(CLASS::IN)
            && domain(&question.qname).as_ref() == Some(self.name)
    }

    /// Follows the CNAME chain and returns the records of its last name. Returns `None` if the
    /// chain is too long or a loop.
    fn answer(&self, packet: &Packet<'_>) -> Option<Answer> {
        let mut name = self.name.clone();
        let mut ttl = u32::MAX;
        for _ in 0..=ALIASES {
            let own = || of_name(&packet.answers, &name);
            let records: Vec<_> = own().filter_map(|it| Some((self.record(it)?, it.ttl))).collect();
            if !records.is_empty() {
                let ttl = records.iter().map(|(_, ttl)| seconds(*ttl)).fold(ttl, u32::min);
                let records = records.into_iter().map(|(record, _)| record);
                return Some(Answer::new(records, Duration::from_secs(ttl.into())));
            }
            let alias = own().find_map(|it| match &it.rdata {
                RData::CNAME(alias) => Some((domain(&alias.0), it.ttl)),
                _ => None,
            });
            match alias {
                Some((Some(target), alias_ttl)) => {
                    ttl = ttl.min(seconds(alias_ttl));
                    name = target;
                }
                // An alias to a name that cannot be looked up: no records.
                Some((None, _)) | None => return Some(nothing(packet, ttl)),
            }
        }
        None
    }

    fn record(&self, record: &ResourceRecord<'_>) -> Option<Record> {
        Some(match (&record.rdata, self.kind) {
            (RData::A(it), RecordKind::A) => Record::A(it.address.into()),
            (RData::AAAA(it), RecordKind::Aaaa) => Record::Aaaa(it.address.into()),
            (RData::MX(it), RecordKind::Mx) => {
                Record::Mx { preference: it.preference, exchange: domain(&it.exchange) }
            }
            (RData::PTR(it), RecordKind::Ptr) => Record::Ptr(domain(&it.0)?),
            (RData::TXT(it), RecordKind::Txt) => Record::Txt(text(it)),
            _ => return None,
        })
    }
}

/// Returns whether the message is long enough for the number of records in its header, and whether
/// that number is acceptable. The parser allocates memory for all records before it reads the
/// first.
fn has_room(octets: &[u8]) -> bool {
    let counts =
        |at: usize| octets.get(at..at + 2).map(|it| usize::from(it[0]) << 8 | usize::from(it[1]));
    let all: Option<usize> = (4..HEADER).step_by(2).map(counts).sum();
    all.is_some_and(|all| all <= RECORDS && all.saturating_sub(1) * RECORD <= octets.len())
}

/// Returns the message with all record counts set to zero.
fn question_only(octets: &[u8]) -> Cow<'static, [u8]> {
    let mut octets = octets.to_vec();
    octets[6..HEADER].fill(0);
    octets.into()
}

/// Returns whether the response code means an answer, which may be empty.
fn is_answer(rcode: RCODE) -> bool {
    matches!(rcode, RCODE::NoError | RCODE::NameError)
}

fn record_type(kind: RecordKind) -> TYPE {
    match kind {
        RecordKind::A => TYPE::A,
        RecordKind::Aaaa => TYPE::AAAA,
        RecordKind::Mx => TYPE::MX,
        RecordKind::Ptr => TYPE::PTR,
        RecordKind::Txt => TYPE::TXT,
    }
}

/// Returns the records of this name, of any type.
fn of_name<'p>(
    records: &'p [ResourceRecord<'p>],
    name: &DomainName,
) -> impl Iterator<Item = &'p ResourceRecord<'p>> {
    let is_of = move |record: &&ResourceRecord<'_>| {
        record.class == CLASS::IN && domain(&record.name).as_ref() == Some(name)
    };
    records.iter().filter(is_of)
}

/// Returns the negative answer, valid for the time given by the zone (RFC 2308 section 5). Without
/// an SOA record the time is zero.
fn nothing(packet: &Packet<'_>, ttl: u32) -> Answer {
    let zone = packet.name_servers.iter().find_map(|record| match &record.rdata {
        RData::SOA(soa) => Some(seconds(record.ttl).min(seconds(soa.minimum))),
        _ => None,
    });
    Answer::new([], Duration::from_secs(zone.unwrap_or(0).min(ttl).into()))
}

/// Returns a valid TTL. A TTL with the highest bit set counts as zero (RFC 2181 section 8).
fn seconds(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

/// Converts a name from the wire format, if it can be looked up. Labels may contain any octet. A
/// label that contains a dot is refused, because it would be ambiguous in the text form.
fn domain(name: &Name<'_>) -> Option<DomainName> {
    let labels: Result<Vec<&str>, _> =
        name.get_labels().iter().map(|label| str::from_utf8(label.as_ref())).collect();
    let labels = labels.ok()?;
    let plain = labels.iter().all(|label| !label.contains('.'));
    plain.then(|| labels.join(".").parse().ok()).flatten()
}

/// Joins the strings of a TXT record. They need not be UTF-8.
fn text(record: &TXT<'_>) -> Box<[u8]> {
    let text = String::try_from(record.clone());
    text.map_or_else(FromUtf8Error::into_bytes, String::into_bytes).into()
}

#[cfg(test)]
mod tests;
