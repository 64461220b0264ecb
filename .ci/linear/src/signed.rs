//! Shapes of signed messages: signatures, names in `h=` and fields together.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use nobounce::authentication::dkim::{SignatureResult, Signatures};
use nobounce::authentication::{Content, Keys, arc};
use nobounce::dns::{Answer, Record};
use nobounce::envelope::SessionId;
use nobounce::mailbox::ReversePath;
use nobounce::message::MailData;
use nobounce::{Envelope, Message, Peer};

use crate::signer::{Key, seal};
use crate::{Shape, Work};

pub(crate) const SHAPES: &[Shape] = &[
    Shape { name: "signed-fields", size: 490, least: 5.0, prepare: fields },
    Shape { name: "signed-repeated-fields", size: 490, least: 5.0, prepare: repeated },
    Shape { name: "signed-names", size: 490, least: 5.0, prepare: names },
    Shape { name: "signed-absent-names", size: 490, least: 5.0, prepare: absent },
    Shape { name: "signed-long-fields", size: 60_000, least: 1.0, prepare: long },
    Shape { name: "signed-spaces", size: 60_000, least: 1.0, prepare: spaces },
    Shape { name: "signature-tags", size: 20_000, least: 1.0, prepare: tags },
    Shape { name: "signed-body", size: 100_000, least: 1.0, prepare: body },
    Shape { name: "signed-body-of-spaces", size: 500_000, least: 1.0, prepare: body_of_spaces },
    Shape { name: "signed-empty-lines", size: 500_000, least: 1.0, prepare: empty_lines },
    Shape { name: "sealed-sets", size: 25, least: 5.0, prepare: sets },
];

// Twice 490 is below the bound of 1,000 names in `h=`.

/// The body hash of an empty body in relaxed form.
const EMPTY: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
/// An Ed25519 key (RFC 8463 appendix A.2).
const KEY: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// Twenty signatures of an empty body, with these names.
fn signatures(names: &str) -> String {
    let one = format!(
        "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.org; s=s;\r\n\
         \th=from{names}; bh={EMPTY}; b=TWFu\r\n"
    );
    one.repeat(20) + "From: a@example.org\r\n"
}

fn fields(size: usize) -> Work {
    let names: String = (0..size).map(|at| format!(":x{at:06}")).collect();
    let fields: String = (0..size).map(|at| format!("X{at:06}: value\r\n")).collect();
    verified(signatures(&names) + &fields)
}

fn repeated(size: usize) -> Work {
    verified(signatures(&":xxxxxxxx".repeat(size)) + &"Xxxxxxxx: value\r\n".repeat(size))
}

fn names(size: usize) -> Work {
    verified(
        signatures(&":from".repeat(size)) + &"X: a value with some more octets\r\n".repeat(size),
    )
}

fn absent(size: usize) -> Work {
    verified(signatures(&":zzzzzzzz".repeat(size)) + &"X: value\r\n".repeat(size))
}

fn long(size: usize) -> Work {
    verified(signatures(":x") + "X: " + &"x".repeat(size) + "\r\n")
}

fn spaces(size: usize) -> Work {
    verified(signatures(":x") + "X: " + &"x \t".repeat(size / 3) + "x\r\n")
}

fn tags(size: usize) -> Work {
    verified(format!("{}DKIM-Signature: {}\r\n", signatures(""), "a=;".repeat(size)))
}

fn body(size: usize) -> Work {
    hashed("One line of text, as it stands in a letter.\r\n".repeat(size / 40))
}

fn body_of_spaces(size: usize) -> Work {
    hashed(" \t".repeat(size / 2))
}

fn empty_lines(size: usize) -> Work {
    hashed("\r\n".repeat(size / 2) + "x\r\n")
}

/// A valid chain with large results. Each seal signs all sets before it.
fn sets(size: usize) -> Work {
    let results = "x".repeat(700);
    let add = |text: String, at| seal(&text, at, &results, "h=from; bh={bh};");
    let text = (1..=size).fold("From: a@example.org\r\n".to_owned(), add);
    let message = message(&text);
    let keys = keys(&Key::Ed25519.record());
    Box::new(move || {
        let chain = arc::Chain::read(&Content::read(&message)).verify(&keys, UNIX_EPOCH);
        assert_eq!((chain.result, chain.instance), (arc::ChainResult::Pass, size));
        message.len()
    })
}

pub(crate) fn message(text: &str) -> Message {
    let sender = ReversePath::parse("<>").expect("a path");
    let id = SessionId::new("linear").transaction(1);
    let envelope = Envelope::new(id, Arc::new(Peer::local()), sender);
    Message::new("mx.example", &envelope, UNIX_EPOCH, MailData::normalise(text.as_bytes()))
}

pub(crate) fn keys(record: &str) -> Keys {
    let record = Record::Txt(record.as_bytes().into());
    let mut keys = Keys::default();
    let name = "s._domainkey.example.org".parse().expect("a name");
    keys.insert(name, Ok(Answer::new([record], Duration::from_secs(60))));
    keys
}

/// Verifies everything. Nothing passes, after all has been hashed.
fn verified(text: String) -> Work {
    let message = message(&text);
    let keys = keys(KEY);
    Box::new(move || {
        let content = Content::read(&message);
        let signatures = Signatures::read(&content);
        let results = signatures.verify(&keys, UNIX_EPOCH);
        let failed = results.iter().filter(|it| it.result == SignatureResult::Fail).count();
        assert_eq!(failed, signatures.len().min(20));
        message.len()
    })
}

/// Hashes a body in both forms.
fn hashed(body: String) -> Work {
    let simple = signatures("").replace("c=relaxed/relaxed", "c=simple/simple");
    let message = message(&(simple + &signatures("") + "\r\n" + &body));
    Box::new(move || {
        let signatures = Signatures::read(&Content::read(&message));
        assert_eq!(signatures.key_names().count(), 0);
        message.len()
    })
}
