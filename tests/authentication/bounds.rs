//! The bounds of DKIM and ARC (`nobounce::docs::bounds`): a message at the bound is evaluated, and one
//! beyond it is not.

use nobounce::authentication::Keys;
use nobounce::authentication::arc::{Chain, ChainResult, ChainValidation};
use nobounce::authentication::dkim::SignatureResult::{self, *};
use nobounce::authentication::dkim::Signatures;

use super::signer::{Form, Key, Sign, seal, split};
use super::{Txt, content, keys, verify};

const MAIL: &str = "From: ann@example.org\r\n\r\nHello\r\n";

fn sign(names: &str, more: &str, mail: &str) -> String {
    let tags = format!(
        "v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.org; s=ed; h={names}; \
         bh={{bh}};{more} b={{b}}"
    );
    let sign = Sign {
        name: "DKIM-Signature",
        key: Key::Ed25519,
        header: Form::Relaxed,
        body: Form::Relaxed,
        length: None,
        names,
        tags: &tags,
    };
    sign.field(mail) + mail
}

fn results(text: &str) -> Vec<(SignatureResult, String)> {
    let record = Key::Ed25519.record();
    let texts = [&*record];
    let records: [Txt<'_>; 1] = [("ed._domainkey.example.org", Some(&texts))];
    let results = verify(text, &records, 0);
    results.iter().map(|it| (it.result, it.reason.clone().unwrap_or_default().into())).collect()
}

fn holds(text: &str, result: SignatureResult, reason: &str) {
    assert_eq!(results(text), [(result, reason.to_owned())]);
}

#[test]
fn twenty_signatures_are_evaluated() {
    let text = (0..21).fold(MAIL.to_owned(), |mail, _| sign("from", "", &mail));
    let found = results(&text);
    assert_eq!(found.len(), 21);
    assert!(found[..20].iter().all(|(result, _)| *result == Pass));
    assert_eq!(found[20], (PermError, "more than 20 signatures".to_owned()));
    assert_eq!(Signatures::read(&content(&text)).key_names().count(), 20);
}

#[test]
fn a_thousand_names_are_signed() {
    holds(&sign(&("from".to_owned() + &":x".repeat(999)), "", MAIL), Pass, "");
    let beyond = sign(&("from".to_owned() + &":x".repeat(1_000)), "", MAIL);
    holds(&beyond, PermError, "more than 1000 names in h=");
}

#[test]
fn a_hundred_tags_are_read() {
    let tags = |count: usize| (0..count).map(|at| format!(" t{at}=;")).collect::<String>();
    // Beside the eight of every signature.
    holds(&sign("from", &tags(92), MAIL), Pass, "");
    holds(&sign("from", &tags(93), MAIL), PermError, "more than 100 tags");
}

#[test]
fn the_identity_has_its_bound() {
    let identity = |length: usize| format!(" i={}@example.org;", "a".repeat(length - 12));
    holds(&sign("from", &identity(512), MAIL), Pass, "");
    holds(&sign("from", &identity(513), MAIL), PermError, "malformed i=");
}

#[test]
fn two_thousand_fields_are_read() {
    let text = |count: usize| sign("from", "", &("A: x\r\n".repeat(count - 2) + MAIL));
    holds(&text(2_000), Pass, "");
    holds(&text(2_001), PermError, "the header section has more than 2000 fields");
}

#[test]
fn a_header_of_256_kib_is_read() {
    let text = |length: usize| {
        let one = sign("from", "", &format!("A: x\r\n{MAIL}"));
        let header = one.find("\r\n\r\n").unwrap() + 2;
        one.replace("A: x", &("A: ".to_owned() + &"x".repeat(1 + length - header)))
    };
    holds(&text(256 << 10), Pass, "");
    let beyond = text((256 << 10) + 1);
    holds(&beyond, PermError, "the header section has more than 262144 octets");
    // Its chain, too.
    let beyond = format!("ARC-Seal: i=1\r\n{beyond}");
    let chain = Chain::read(&content(&beyond)).verify(&Keys::default(), super::at(0));
    assert_eq!(chain.result, ChainResult::Fail);
}

#[test]
fn two_key_records_are_tried() {
    let (ed25519, other) = (Key::Ed25519.record(), Key::Rsa1024.record());
    let text = sign("from", "", MAIL);
    for (before, result) in [(1, Pass), (2, PermError)] {
        let texts: Vec<_> = std::iter::repeat_n(&*other, before).chain([&*ed25519]).collect();
        let keys = keys(&[("ed._domainkey.example.org", Some(&texts))]);
        let signatures = Signatures::read(&content(&text));
        assert_eq!(signatures.verify(&keys, super::at(0))[0].result, result);
    }
}

fn validate(text: &str) -> ChainValidation {
    let record = Key::Ed25519.record();
    let texts = [&*record];
    let keys = keys(&[("s._domainkey.example.org", Some(&texts))]);
    Chain::read(&content(text)).verify(&keys, super::at(0))
}

#[test]
fn fifty_sets_are_validated() {
    let add = |text: String, instance| seal(&text, instance, "mx.example", "h=from; bh={bh};");
    let text = (1..=50).fold(MAIL.to_owned(), add);
    let found = validate(&text);
    assert_eq!((found.result, found.instance), (ChainResult::Pass, 50), "{found:?}");
    assert_eq!(Chain::read(&content(&text)).key_names().count(), 51);
    let found = validate(&add(text, 51));
    assert_eq!((found.result, found.instance), (ChainResult::Fail, 0));
    assert_eq!(found.reason.as_deref(), Some("more than 50 sets"));
}

#[test]
fn arc_fields_of_64_kib_are_read() {
    let text = |results: usize| seal(MAIL, 1, &"x".repeat(results), "h=from; bh={bh};");
    let octets = |text: &str| {
        let (fields, _) = split(text);
        let fields = fields.iter().filter(|field| field.starts_with("ARC-"));
        let values = fields.map(|field| field.split_once(':').unwrap().1.len() - "\r\n".len());
        values.sum::<usize>()
    };
    let others = octets(&text(0));
    let at = text((64 << 10) - others);
    assert_eq!(octets(&at), 64 << 10);
    assert_eq!(validate(&at).result, ChainResult::Pass);
    let beyond = validate(&text((64 << 10) - others + 1));
    assert_eq!(beyond.result, ChainResult::Fail);
    assert_eq!(beyond.reason.as_deref(), Some("the ARC fields have more than 65536 octets"));
}
