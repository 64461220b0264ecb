//! DKIM and ARC with messages of an independent signer, and with the vectors of the RFCs.

#![cfg(feature = "sender-authentication")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod arc;
mod bounds;
mod differential;
mod dkim;
mod dmarc;
#[allow(unreachable_pub, reason = "fuzz targets use it, too")]
mod signer;
mod vectors;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nobounce::authentication::dkim::{Signatures, Verification};
use nobounce::authentication::{Content, Keys};
use nobounce::dns::{Answer, DomainName, Record, ResolveError};
use nobounce::envelope::SessionId;
use nobounce::message::MailData;
use nobounce::{Envelope, Message, Peer, ReversePath};

fn message(content: &[u8]) -> Message {
    let id = SessionId::new("test").transaction(1);
    let sender = ReversePath::parse("<>").unwrap();
    let envelope = Envelope::new(id, Arc::new(Peer::local()), sender);
    Message::new("mx.example.net", &envelope, UNIX_EPOCH, MailData::normalise(content))
}

fn content(text: &str) -> Content {
    Content::read(&message(text.as_bytes()))
}

/// TXT records of one name: texts, or `None` for a failure of the server.
type Txt<'t> = (&'t str, Option<&'t [&'t str]>);

fn keys(records: &[Txt<'_>]) -> Keys {
    let mut keys = Keys::default();
    for (name, texts) in records {
        let record = |text: &&str| Record::Txt(text.as_bytes().into());
        let answer = match texts {
            Some(texts) => Ok(Answer::new(texts.iter().map(record), Duration::from_secs(60))),
            None => Err(ResolveError::Declined(2)),
        };
        keys.insert(name.parse::<DomainName>().unwrap(), answer);
    }
    keys
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn verify(text: &str, records: &[Txt<'_>], now: u64) -> Vec<Verification> {
    Signatures::read(&content(text)).verify(&keys(records), at(now))
}
