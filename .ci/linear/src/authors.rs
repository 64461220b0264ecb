//! Shapes of `From` fields and of DMARC records.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use nobounce::authentication::{Authors, Dmarc, DmarcResult, DmarcStep};
use nobounce::dns::{Answer, Record};
use nobounce::envelope::SessionId;
use nobounce::mailbox::ReversePath;
use nobounce::message::MailData;
use nobounce::{Envelope, Message, Peer};

use crate::{Shape, Work};

/// Sizes in octets. Twice as many are below the bound of 65,536 octets of `From` fields.
const VALUE: usize = 30_000;
const FIELDS: usize = 40_000;
const HEADER: usize = 1_000_000;
/// Size of a record in octets. The largest TXT record has twice as many.
const RECORD: usize = 30_000;

macro_rules! shape {
    ($name:literal, $size:expr, $prepare:expr) => {
        Shape { name: $name, size: $size, least: 0.5, prepare: $prepare }
    };
}

pub(crate) const SHAPES: &[Shape] = &[
    shape!("from-addresses", VALUE, |size| value("a@b.example,", size)),
    shape!("from-names", VALUE, |size| value("a@b.example ", size)),
    shape!("from-routes", VALUE, |size| value("<@a,@b:c@d>,", size)),
    shape!("from-u-labels", VALUE, |size| value("a@b\u{fc}cher.example,", size)),
    shape!("from-one-domain", VALUE, |size| value("@b.b .b.", size)),
    shape!("from-comments", VALUE, |size| value("((\\)", size)),
    shape!("from-comments-without-end", VALUE, |size| value("a@b(", size)),
    shape!("from-strings-without-end", VALUE, |size| value("a@b\" \" \\", size)),
    shape!("from-encoded-words", VALUE, |size| value("=?utf-8?q?a=40b?= ", size)),
    shape!("from-broken-encoded-words", VALUE, |size| value("=?utf-8?q?a", size)),
    shape!("from-quoted-local-parts", VALUE, |size| value("\"a@b\"@c,", size)),
    shape!("from-folded-strings", VALUE, |size| value("\"\r\n @", size)),
    shape!("from-folded-comments", VALUE, |size| value("(\r\n @", size)),
    shape!("from-split-domains", VALUE, |size| value("@a.b x ", size)),
    shape!("from-odd-domains", VALUE, |size| value("@a.b|c.d!", size)),
    shape!("from-one-u-label", VALUE, |size| value("\u{fc}\u{e4}", size)),
    shape!("from-fields", FIELDS, |size| header("From: a@b.example\r\n", size)),
    shape!("from-many-domains", FIELDS, domains),
    shape!("from-folded-names", FIELDS, |size| header("From\r\n : a@b.example\r\n", size)),
    shape!("from-lines-that-are-no-fields", HEADER, |size| header("no field\r\n From\r\n", size)),
    shape!("dmarc-tags", RECORD, |size| record("x=y;", size)),
    shape!("dmarc-known-tags", RECORD, |size| record("sp=x; rua=mailto:a;", size)),
    shape!("dmarc-addresses", RECORD, |size| record("mailto:a%20,", size)),
    shape!("dmarc-blanks", RECORD, |size| record("    ", size)),
];

fn value(part: &str, size: usize) -> Work {
    authors(format!("From: {}\r\n", part.repeat(size / part.len())))
}

fn header(part: &str, size: usize) -> Work {
    authors("X: y\r\n".to_owned() + &part.repeat(size / part.len()))
}

fn domains(size: usize) -> Work {
    authors((0..size / 25).map(|at| format!("From: a@b{at:06}.example\r\n")).collect())
}

fn authors(header: String) -> Work {
    let sender = ReversePath::parse("<>").expect("a path");
    let id = SessionId::new("linear").transaction(1);
    let envelope = Envelope::new(id, Arc::new(Peer::local()), sender);
    let content = MailData::normalise((header + "\r\n").as_bytes());
    let message = Message::new("mx.example", &envelope, UNIX_EPOCH, content);
    Box::new(move || {
        let authors = Authors::read(&message);
        assert!(
            authors.are_several()
                || authors.malformation().is_some()
                || authors.domains().len() == 1
        );
        message.len()
    })
}

fn record(part: &str, size: usize) -> Work {
    let parts = part.repeat(size / part.len());
    let text = format!("v=DMARC1; rua={parts}; p=reject; {parts}");
    Box::new(move || {
        let record = Record::Txt(text.as_bytes().into());
        let mut dmarc = Dmarc::new(["a.example".parse().expect("a name")], []);
        dmarc.answer(Ok(Answer::new([record], Duration::ZERO)));
        let DmarcStep::Done(outcome) = dmarc.poll() else { panic!("nothing else is needed") };
        assert_ne!(outcome.result, DmarcResult::Pass);
        text.len()
    })
}
