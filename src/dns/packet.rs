//! The wire format of DNS messages (RFC 1035 section 4.1).
//!
//! A record whose data or owner is malformed is skipped. If the length of a part is wrong, the rest
//! of the message cannot be found, and the message is not read at all.

use std::ops::Range;

use super::{DomainName, DomainNameError};

/// Length of the message header in octets.
pub(super) const HEADER: usize = 12;
/// Maximum number of records in a message, its question included. A name with more is useless for
/// mail.
pub(super) const RECORDS: usize = 1_000;
/// Maximum number of labels and of compression pointers in a name. A name of 255 octets has at most
/// 127 labels.
const STEPS: usize = 256;

/// A record type (RFC 1035 section 3.2.2, RFC 3596, RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Type(pub(super) u16);

impl Type {
    pub(super) const A: Self = Self(1);
    pub(super) const CNAME: Self = Self(5);
    pub(super) const SOA: Self = Self(6);
    pub(super) const PTR: Self = Self(12);
    pub(super) const MX: Self = Self(15);
    pub(super) const TXT: Self = Self(16);
    pub(super) const AAAA: Self = Self(28);
    pub(super) const OPT: Self = Self(41);
}

/// Response codes (RFC 1035 section 4.1.1) of answers: the domain name exists, and it does not exist.
pub(super) const NO_ERROR: u16 = 0;
pub(super) const NAME_ERROR: u16 = 3;

/// The class of the Internet.
pub(super) const IN: u16 = 1;

/// A message with its questions and records.
#[derive(Debug)]
pub(super) struct Packet<'o> {
    octets: &'o [u8],
    pub(super) questions: Vec<Question>,
    pub(super) answers: Vec<Resource>,
    pub(super) authority: Vec<Resource>,
    /// Upper bits of the response code, from the OPT record (RFC 6891 section 6.1.3).
    extended: u16,
    /// Whether a record of the answer section was skipped because its owner name is malformed.
    pub(super) is_malformed: bool,
}

/// A question. A name that is the root is `None`.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) name: Option<DomainName>,
    pub(super) kind: Type,
    pub(super) class: u16,
}

/// A record, with the place of its data.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) owner: Option<DomainName>,
    pub(super) kind: Type,
    pub(super) class: u16,
    pub(super) ttl: u32,
    data: Range<usize>,
}

/// Returns whether the message is marked as truncated.
pub(super) fn is_truncated(octets: &[u8]) -> bool {
    octets.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

impl<'o> Packet<'o> {
    /// Parses a message. If it is truncated, only its questions are read, since it may end within a
    /// record. If the response code is an error, the message is read up to the first damaged part: some
    /// servers reply with the header alone.
    pub(super) fn parse(octets: &'o [u8]) -> Result<Self, &'static str> {
        let count = |place: usize| number(octets, 4 + 2 * place).map(usize::from);
        let counts = (0..4).map(count).collect::<Option<Vec<_>>>().ok_or("not a DNS message")?;
        if counts.iter().sum::<usize>() > RECORDS {
            return Err("too many records");
        }
        let mut packet = Self {
            octets,
            questions: Vec::new(),
            answers: Vec::new(),
            authority: Vec::new(),
            extended: 0,
            is_malformed: false,
        };
        match packet.read(&counts) {
            None if !packet.is_error() => Err("not a DNS message"),
            _ => Ok(packet),
        }
    }

    fn read(&mut self, counts: &[usize]) -> Option<()> {
        let mut at = HEADER;
        for _ in 0..counts[0] {
            let (name, end) = name(self.octets, at)?;
            let (kind, class) = (Type(number(self.octets, end)?), number(self.octets, end + 2)?);
            // A question that names nothing is never the right one.
            self.questions.push(Question { name: name.ok().flatten(), kind, class });
            at = end + 4;
        }
        if is_truncated(self.octets) {
            return Some(());
        }
        for (section, count) in counts.iter().enumerate().skip(1) {
            for _ in 0..*count {
                let (owner, end) = name(self.octets, at)?;
                let (kind, class) =
                    (Type(number(self.octets, end)?), number(self.octets, end + 2)?);
                let [high, low] = [number(self.octets, end + 4)?, number(self.octets, end + 6)?];
                let begin = end + 10;
                at = begin + usize::from(number(self.octets, end + 8)?);
                self.octets.get(begin..at)?;
                // An OPT record is an additional record of the root (RFC 6891 section 6.1.1).
                if kind == Type::OPT && section == 3 && owner == Ok(None) {
                    self.extended = high >> 8;
                }
                let ttl = u32::from(high) << 16 | u32::from(low);
                let Ok(owner) = owner else {
                    self.is_malformed |= section == 1;
                    continue;
                };
                let resource = Resource { owner, kind, class, ttl, data: begin..at };
                match section {
                    1 => self.answers.push(resource),
                    2 => self.authority.push(resource),
                    _ => {}
                }
            }
        }
        Some(())
    }

    /// Returns whether this is a response to a standard query.
    pub(super) fn is_response(&self) -> bool {
        self.octets[2] & 0xf8 == 0x80
    }

    /// Returns the response code, with its upper bits.
    pub(super) fn response_code(&self) -> u16 {
        self.extended << 4 | u16::from(self.octets[3] & 0x0f)
    }

    /// Returns whether the response code is an error. Then the message needs no question and no records.
    pub(super) fn is_error(&self) -> bool {
        !matches!(self.response_code(), NO_ERROR | NAME_ERROR)
    }

    /// Returns the data of a record.
    pub(super) fn data(&self, resource: &Resource) -> &'o [u8] {
        &self.octets[resource.data.clone()]
    }

    /// Returns the name that follows `skipped` octets of a record's data up to its end. `None`: the
    /// data is malformed. `Some(None)`: the name is the root.
    pub(super) fn name(&self, resource: &Resource, skipped: usize) -> Option<Option<DomainName>> {
        let (name, end) = name(self.octets, resource.data.start + skipped)?;
        name.ok().filter(|_| end == resource.data.end)
    }

    /// Returns the last field of an SOA record, which is the time for which a negative answer is
    /// valid (RFC 2308 section 4).
    pub(super) fn minimum(&self, resource: &Resource) -> Option<u32> {
        let (_, end) = name(self.octets, resource.data.start)?;
        let (_, end) = name(self.octets, end)?;
        let numbers = self.octets.get(end..resource.data.end)?;
        (numbers.len() == 20).then(|| numbers.last_chunk().map(|it| u32::from_be_bytes(*it)))?
    }

    /// Returns the strings of a TXT record, joined without separator.
    pub(super) fn text(&self, resource: &Resource) -> Option<Box<[u8]>> {
        let mut rest = self.data(resource);
        let mut text = Vec::with_capacity(rest.len());
        while let Some((length, behind)) = rest.split_first() {
            let (string, behind) = behind.split_at_checked(usize::from(*length))?;
            text.extend_from_slice(string);
            rest = behind;
        }
        Some(text.into())
    }
}

/// Reads a name, `None` for the root, and returns the position after it. Pointers must lead backwards,
/// so they come to an end. Returns `None` if the position after the name cannot be found.
fn name(
    octets: &[u8],
    begin: usize,
) -> Option<(Result<Option<DomainName>, DomainNameError>, usize)> {
    let mut labels: Vec<&[u8]> = Vec::new();
    let (mut at, mut lowest, mut end) = (begin, begin, None);
    for _ in 0..STEPS {
        let length = *octets.get(at)?;
        match length {
            0 => {
                let name = match labels.is_empty() {
                    true => Ok(None),
                    false => DomainName::from_labels(labels).map(Some),
                };
                return Some((name, end.unwrap_or(at + 1)));
            }
            1..=63 => {
                let next = at + 1 + usize::from(length);
                labels.push(octets.get(at + 1..next)?);
                at = next;
            }
            0xc0.. => {
                let target = usize::from(number(octets, at)? & 0x3fff);
                let behind = *end.get_or_insert(at + 2);
                if target >= lowest {
                    return Some((Err(DomainNameError), behind));
                }
                (at, lowest) = (target, target);
            }
            // The end of a name with an unknown label type cannot be found, except behind a pointer.
            _ => break,
        }
    }
    end.map(|end| (Err(DomainNameError), end))
}

fn number(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}
