//! The bounds of DKIM and ARC (`nobounce::docs::bounds`): a message at the bound is evaluated, and one
//! beyond it is not.

use nobounce::authentication::arc::{Chain, ChainResult, ChainValidation};
use nobounce::authentication::dkim::SignatureResult::{self, *};
use nobounce::authentication::dkim::Signatures;

use super::signer::{Form, Key, Sign, seal, split};
use super::{Txt, content, keys, verify};

const MAIL: &str = "From: ann@example.org\r\n\r\nHello\r\n";

fn sign(names: &str, more: &str, mail: &str) -> String {
    sign_as("d=example.org", "s=ed", names, more, mail)
}

/// `domain` and `selector` are whole tags.
fn sign_as(domain: &str, selector: &str, names: &str, more: &str, mail: &str) -> String {
    let tags = format!(
        "v=1; a=ed25519-sha256; c=relaxed/relaxed; {domain}; {selector}; h={names}; \
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

/// Validates a chain of [`seal`].
fn validate(text: &str, now: u64) -> ChainValidation {
    let record = Key::Ed25519.record();
    let texts = [&*record];
    let keys = keys(&[("s._domainkey.example.org", Some(&texts))]);
    Chain::read(&content(text)).verify(&keys, super::at(now))
}

fn passes(chain: &str) {
    let found = validate(chain, 0);
    assert_eq!(found.result, ChainResult::Pass, "{found:?}");
}

fn fails(chain: &str, reason: &str) {
    let found = validate(chain, 0);
    assert_eq!((found.result, found.reason.as_deref()), (ChainResult::Fail, Some(reason)));
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

    let chain = |more| {
        let tags = format!("h=from{}; bh={{bh}};", ":x".repeat(more));
        seal(MAIL, 1, "mx.example", &tags)
    };
    passes(&chain(999));
    fails(&chain(1_000), "ARC-Message-Signature of set 1: more than 1000 names in h=");
}

#[test]
fn a_hundred_tags_are_read() {
    let tags = |count: usize| (0..count).map(|at| format!(" t{at}=;")).collect::<String>();
    // Beside the eight of every signature.
    holds(&sign("from", &tags(92), MAIL), Pass, "");
    holds(&sign("from", &tags(93), MAIL), PermError, "more than 100 tags");

    // Beside the seven of every message signature.
    let chain = |count| seal(MAIL, 1, "mx.example", &format!("h=from; bh={{bh}};{}", tags(count)));
    passes(&chain(93));
    fails(&chain(94), "an ARC-Message-Signature field: more than 100 tags");

    // Beside the three of the key record.
    let text = sign("from", "", MAIL);
    let result = |count| {
        let record = format!("{};{}", Key::Ed25519.record(), tags(count));
        let keys = keys(&[("ed._domainkey.example.org", Some(&[&record]))]);
        let found = Signatures::read(&content(&text)).verify(&keys, super::at(0)).remove(0);
        (found.result, found.reason.unwrap_or_default())
    };
    assert_eq!(result(97), (Pass, "".into()));
    assert_eq!(result(98), (PermError, "malformed key record".into()));
}

#[test]
fn domain_names_of_a_thousand_octets_are_read() {
    // The conversion to A-labels removes the first characters, which have two and three octets.
    let long = |octets: usize, name: &str| {
        let count = octets - name.len();
        let odd = count % 2;
        "\u{200b}".repeat(odd) + &"\u{ad}".repeat((count - 3 * odd) / 2) + name
    };
    for (octets, result, reasons) in
        [(1_000, Pass, [""; 2]), (1_001, PermError, ["malformed d=", "malformed s="])]
    {
        let domain = format!("d={}", long(octets, "example.org"));
        let selector = format!("s={}", long(octets, "ed"));
        assert_eq!((domain.len(), selector.len()), (octets + 2, octets + 2));
        holds(&sign_as(&domain, "s=ed", "from", "", MAIL), result, reasons[0]);
        holds(&sign_as("d=example.org", &selector, "from", "", MAIL), result, reasons[1]);
    }
}

#[test]
fn a_signature_is_valid_for_five_minutes_after_its_expiry() {
    let text = sign("from", " x=1000;", MAIL);
    let result = |now| {
        let keys = keys(&[("ed._domainkey.example.org", Some(&[&Key::Ed25519.record()]))]);
        let found = Signatures::read(&content(&text)).verify(&keys, super::at(now)).remove(0);
        (found.result, found.reason.unwrap_or_default())
    };
    assert_eq!(result(1_300), (Pass, "".into()));
    assert_eq!(result(1_301), (PermError, "the signature has expired".into()));

    let chain = seal(MAIL, 1, "mx.example", "h=from; bh={bh}; x=1000;");
    let result = |now| validate(&chain, now).reason;
    assert_eq!(result(1_300), None);
    let reason = "ARC-Message-Signature of set 1: the signature has expired";
    assert_eq!(result(1_301).as_deref(), Some(reason));
}

#[test]
fn the_identity_has_its_bound() {
    let identity = |length: usize| format!(" i={}@example.org;", "a".repeat(length - 12));
    holds(&sign("from", &identity(512), MAIL), Pass, "");
    holds(&sign("from", &identity(513), MAIL), PermError, "malformed i=");
}

#[test]
fn two_thousand_fields_are_read() {
    let reason = "the header section has more than 2000 fields";
    let text = |count: usize| sign("from", "", &("A: x\r\n".repeat(count - 2) + MAIL));
    holds(&text(2_000), Pass, "");
    holds(&text(2_001), PermError, reason);
    let text = |count: usize| {
        let mail = "A: x\r\n".repeat(count - 4) + MAIL;
        seal(&mail, 1, "mx.example", "h=from; bh={bh};")
    };
    passes(&text(2_000));
    fails(&text(2_001), reason);
}

#[test]
fn a_header_of_256_kib_is_read() {
    let text = |length: usize| {
        let one = sign("from", "", &format!("A: x\r\n{MAIL}"));
        let header = one.find("\r\n\r\n").unwrap() + 2;
        one.replace("A: x", &("A: ".to_owned() + &"x".repeat(1 + length - header)))
    };
    holds(&text(256 << 10), Pass, "");
    let reason = "the header section has more than 262144 octets";
    holds(&text((256 << 10) + 1), PermError, reason);

    let text = |length: usize| {
        let one = seal(&format!("A: x\r\n{MAIL}"), 1, "mx.example", "h=from; bh={bh};");
        let header = one.find("\r\n\r\n").unwrap() + 2;
        one.replace("A: x", &("A: ".to_owned() + &"x".repeat(1 + length - header)))
    };
    passes(&text(256 << 10));
    fails(&text((256 << 10) + 1), reason);
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

#[test]
fn fifty_sets_are_validated() {
    let add = |text: String, instance| seal(&text, instance, "mx.example", "h=from; bh={bh};");
    let text = (1..=50).fold(MAIL.to_owned(), add);
    let found = validate(&text, 0);
    assert_eq!((found.result, found.instance), (ChainResult::Pass, 50), "{found:?}");
    assert_eq!(Chain::read(&content(&text)).key_names().count(), 51);
    let beyond = add(text, 51);
    fails(&beyond, "more than 50 sets");
    assert_eq!(validate(&beyond, 0).instance, 0);
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
    passes(&at);
    let beyond = text((64 << 10) - others + 1);
    fails(&beyond, "the ARC fields have more than 65536 octets");
}
