//! DNS messages (RFC 1035 section 4): the question out, the answer in.

use std::borrow::Cow;
use std::string::FromUtf8Error;
use std::time::Duration;

use simple_dns::rdata::{RData, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use simple_dns::{OPCODE, ResourceRecord};

use super::{Answer, DomainName, Record, RecordKind, ResolveError};

/// Octets of a message's header, and the least that a record has.
const HEADER: usize = 12;
const RECORD: usize = 11;
/// Most records that are looked at: a name with more has no use for mail.
const RECORDS: usize = 1_000;
/// Most aliases that are followed, one behind another (unbound: 11).
const ALIASES: usize = 11;

/// A question on its way.
#[derive(Debug)]
pub(super) struct Query<'n> {
    id: u16,
    name: &'n DomainName,
    kind: RecordKind,
    octets: Vec<u8>,
}

/// What a message is to a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Its answer.
    Answer(Answer),
    /// Its answer, cut off: it is to be asked for again by TCP.
    Truncated,
    /// The answer to another question, a forgery, or noise.
    Unrelated(&'static str),
    /// Its answer, which is none.
    Failed(ResolveError),
}

impl<'n> Query<'n> {
    /// Asks a recursive resolver. `id` must be such that nobody can guess it.
    pub(super) fn new(
        id: u16,
        name: &'n DomainName,
        kind: RecordKind,
    ) -> Result<Self, ResolveError> {
        let unwritable = |_| ResolveError::Malformed("the question");
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let (qtype, qclass) = (QTYPE::TYPE(record_type(kind)), QCLASS::CLASS(CLASS::IN));
        let qname = Name::new(name).map_err(unwritable)?;
        packet.questions.push(Question::new(qname, qtype, qclass, false));
        let octets = packet.build_bytes_vec().map_err(unwritable)?;
        Ok(Self { id, name, kind, octets })
    }

    /// As it goes to the server.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Reads what came back. Only a message with the id and the question of this query is its answer
    /// (RFC 5452 section 9.1).
    pub(super) fn read(&self, octets: &[u8]) -> Reply {
        if octets.get(..2) != Some(&self.id.to_be_bytes()[..]) {
            return Reply::Unrelated("another id");
        }
        if !has_room(octets) {
            return Reply::Unrelated("more records than octets");
        }
        // A truncated message may end within a record: its question is enough to know it.
        let truncated = octets[2] & 0x02 != 0;
        let octets: Cow<'_, [u8]> = if truncated { question_only(octets) } else { octets.into() };
        let Ok(packet) = Packet::parse(&octets) else {
            return Reply::Unrelated("not a DNS message");
        };
        if !packet.has_flags(PacketFlag::RESPONSE) || packet.opcode() != OPCODE::StandardQuery {
            return Reply::Unrelated("not a response");
        }
        if !self.is_question_of(&packet) {
            return Reply::Unrelated("another question");
        }
        match packet.rcode() {
            RCODE::NoError | RCODE::NameError if truncated => Reply::Truncated,
            RCODE::NoError | RCODE::NameError => match self.answer(&packet) {
                Some(answer) => Reply::Answer(answer),
                None => Reply::Failed(ResolveError::Malformed("endless aliases")),
            },
            declined => Reply::Failed(ResolveError::Declined(declined as u16)),
        }
    }

    fn is_question_of(&self, packet: &Packet<'_>) -> bool {
        let [question] = &packet.questions[..] else {
            // Some servers repeat no question when they decline.
            return packet.questions.is_empty() && !is_answer(packet.rcode());
        };
        question.qtype == QTYPE::TYPE(record_type(self.kind))
            && question.qclass == QCLASS::CLASS(CLASS::IN)
            && domain(&question.qname).as_ref() == Some(self.name)
    }

    /// The records of the name that the aliases end at; `None` if they do not end.
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
                // An alias for what cannot be looked up leads nowhere.
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

/// Whether the message can hold as many records as its header says, and holds no more than anybody
/// needs: room is made for all of them before the first is read.
fn has_room(octets: &[u8]) -> bool {
    let counts =
        |at: usize| octets.get(at..at + 2).map(|it| usize::from(it[0]) << 8 | usize::from(it[1]));
    let all: Option<usize> = (4..HEADER).step_by(2).map(counts).sum();
    all.is_some_and(|all| all <= RECORDS && all.saturating_sub(1) * RECORD <= octets.len())
}

/// The message with no records in it, if its header is believed.
fn question_only(octets: &[u8]) -> Cow<'static, [u8]> {
    let mut octets = octets.to_vec();
    octets[6..HEADER].fill(0);
    octets.into()
}

/// Whether the response code says that there is an answer, be it that there is nothing.
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

/// The records of this name, of whatever type.
fn of_name<'p>(
    records: &'p [ResourceRecord<'p>],
    name: &DomainName,
) -> impl Iterator<Item = &'p ResourceRecord<'p>> {
    let is_of = move |record: &&ResourceRecord<'_>| {
        record.class == CLASS::IN && domain(&record.name).as_ref() == Some(name)
    };
    records.iter().filter(is_of)
}

/// There is no such record, and for as long as the zone says so (RFC 2308 section 5), which is not
/// at all if it does not say.
fn nothing(packet: &Packet<'_>, ttl: u32) -> Answer {
    let zone = packet.name_servers.iter().find_map(|record| match &record.rdata {
        RData::SOA(soa) => Some(seconds(record.ttl).min(seconds(soa.minimum))),
        _ => None,
    });
    Answer::new([], Duration::from_secs(zone.unwrap_or(0).min(ttl).into()))
}

/// A time to live; one with the highest bit set is none (RFC 2181 section 8).
fn seconds(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

/// A name that came over the wire, if it is one that can be looked up. Its labels may hold anything,
/// dots included, which a name as text must not be mistaken for.
fn domain(name: &Name<'_>) -> Option<DomainName> {
    let labels: Result<Vec<&str>, _> =
        name.get_labels().iter().map(|label| str::from_utf8(label.as_ref())).collect();
    let labels = labels.ok()?;
    let plain = labels.iter().all(|label| !label.contains('.'));
    plain.then(|| labels.join(".").parse().ok()).flatten()
}

/// The strings of a record, joined, whether they are UTF-8 or not.
fn text(record: &TXT<'_>) -> Box<[u8]> {
    let text = String::try_from(record.clone());
    text.map_or_else(FromUtf8Error::into_bytes, String::into_bytes).into()
}

#[cfg(test)]
mod tests;
