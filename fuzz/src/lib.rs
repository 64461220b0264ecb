//! Shared by the fuzz targets: splitting the input, and naive implementations of the RFCs.

pub mod client;
pub mod content;
pub mod hidden;
pub mod replies;
pub mod server;
#[path = "../../tests/authentication/signer.rs"]
pub mod signer;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use nobounce::authentication::{Content, Keys};
use nobounce::dns::{Answer, Record};
use nobounce::envelope::SessionId;
use nobounce::mailbox::ReversePath;
use nobounce::message::MailData;
use nobounce::{Envelope, Message, Peer};

/// A random number generator seeded by the last octets of the input. The rest of a seed file stays
/// readable.
pub struct Dice(u64);

/// Number of octets at the end of an input that seed [`Dice`].
const SEED: usize = 4;

impl Dice {
    /// Splits the input into the data to read and a generator that decides how to cut it.
    pub fn split(input: &[u8]) -> (&[u8], Self) {
        let (input, seed) = input.split_at(input.len().saturating_sub(SEED));
        let seed = seed.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet));
        (input, Self(seed))
    }

    /// Returns the next number below `bound` (splitmix64).
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound as u64) as usize
    }

    /// Cuts octets as a network may: whole, octet by octet, or in pieces of any size, including
    /// empty ones.
    pub fn cut<'i>(&mut self, octets: &'i [u8]) -> Vec<&'i [u8]> {
        match self.below(4) {
            0 => return vec![octets],
            1 => return octets.chunks(1).collect(),
            _ => {}
        }
        let longest = [2, 8, 70, 3000][self.below(4)];
        let mut parts = Vec::new();
        let mut rest = octets;
        while !rest.is_empty() {
            let (part, remaining) = rest.split_at(self.below(longest + 1).min(rest.len()));
            parts.push(part);
            rest = remaining;
        }
        parts
    }
}

/// Parses a script of events: octets to send, each with the event after them (the last has none).
/// ASCII octets are sent; each octet above ASCII is an event; `0xff` quotes the next octet.
pub fn course(script: &[u8]) -> Vec<(Vec<u8>, Option<u8>)> {
    const QUOTE: u8 = 0xff;

    let mut course = Vec::new();
    let mut octets = Vec::new();
    let mut script = script.iter().copied();
    while let Some(octet) = script.next() {
        match octet {
            0..128 => octets.push(octet),
            QUOTE => octets.extend(script.next()),
            event => course.push((std::mem::take(&mut octets), Some(event))),
        }
    }
    course.push((octets, None));
    course
}

/// Formats octets as text for a report.
pub fn shown(octets: &[u8]) -> String {
    octets.escape_ascii().to_string()
}

/// Splits at the first CRLF.
pub fn line(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = octets.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&octets[..end], &octets[end + 2..]))
}

/// Returns the content of a message for DKIM and ARC.
pub fn signed(octets: &[u8]) -> Content {
    Content::read(&message(octets))
}

/// Returns a message with this content.
pub fn message(octets: &[u8]) -> Message {
    let sender = ReversePath::parse("<>").expect("a path");
    let id = SessionId::new("fuzz").transaction(1);
    let envelope = Envelope::new(id, Arc::new(Peer::local()), sender);
    Message::new("mx.example", &envelope, UNIX_EPOCH, MailData::normalise(octets))
}

/// Returns the keys of `s._domainkey.example.org`, with this record.
pub fn keys(record: &str) -> Keys {
    let record = Record::Txt(record.as_bytes().into());
    let mut keys = Keys::default();
    let name = "s._domainkey.example.org".parse().expect("a name");
    keys.insert(name, Ok(Answer::new([record], Duration::from_secs(60))));
    keys
}
