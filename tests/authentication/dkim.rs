//! DKIM signatures, each with one property that decides its result.

use nobounce::authentication::dkim::SignatureResult::{self, *};
use nobounce::authentication::dkim::Verification;

use super::signer::{Form, Key, Sign};
use super::{Txt, verify};
use Form::{Relaxed, Simple};

const MAIL: &str = "Received: from b.example by c.example\r\n\
    Received: from a.example by b.example\r\n\
    From: Ann <ann@example.org>\r\n\
    To: Bob <bob@example.net>,\r\n\
    \tCarol <carol@example.net>\r\n\
    Subject:  Lunch   today?\t\r\n\
    \r\n\
    Hello \t Bob,\r\n\
    \r\n\
    shall we have  lunch? \r\n\
    \r\n\
    \r\n";

const TAGS: &str = "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=rsa; \
                    h=From:To:Subject; bh={bh}; b={b}";

fn sign() -> Sign<'static> {
    Sign {
        name: "DKIM-Signature",
        key: Key::Rsa2048,
        header: Relaxed,
        body: Relaxed,
        length: None,
        names: "From:To:Subject",
        tags: TAGS,
    }
}

/// Verifies a message with a key record for each key under `rsa`, `ed`, `rsa512`, `rsa1024` and `rsa4096`.
fn check(text: &str) -> Verification {
    let records = [
        ("rsa._domainkey.example.org", Key::Rsa2048),
        ("ed._domainkey.example.org", Key::Ed25519),
        ("rsa512._domainkey.example.org", Key::Rsa512),
        ("rsa1024._domainkey.example.org", Key::Rsa1024),
        ("rsa4096._domainkey.example.org", Key::Rsa4096),
        ("rsa._domainkey.xn--mnchen-3ya.example", Key::Rsa2048),
        ("xn--schlssel-95a._domainkey.example.org", Key::Rsa2048),
        ("a.b._domainkey.example.org", Key::Rsa2048),
    ];
    let records = records.map(|(name, key)| (name, key.record()));
    let texts = records.each_ref().map(|(_, record)| [&**record]);
    let records: Vec<Txt<'_>> =
        records.iter().zip(&texts).map(|((name, _), texts)| (*name, Some(&texts[..]))).collect();
    let [result] = &verify(text, &records, 1_000_000_000)[..] else { panic!("{text}") };
    result.clone()
}

fn holds(text: &str, result: SignatureResult, reason: &str) {
    let found = check(text);
    let said = found.reason.as_deref().unwrap_or_default();
    assert_eq!((found.result, said), (result, reason), "{text}");
}

fn signed(sign: &Sign<'_>, mail: &str) -> String {
    sign.field(mail) + mail
}

#[test]
fn both_algorithms_and_canonicalizations_pass() {
    for key in [Key::Rsa2048, Key::Rsa1024, Key::Rsa4096, Key::Ed25519] {
        for header in [Simple, Relaxed] {
            for body in [Simple, Relaxed] {
                let selector = match key {
                    Key::Rsa1024 => "rsa1024",
                    Key::Rsa4096 => "rsa4096",
                    Key::Ed25519 => "ed",
                    _ => "rsa",
                };
                let algorithm = key.algorithm();
                let tags = format!(
                    "v=1; a={algorithm}; c={}/{};\r\n\td=example.org; s={selector};\r\n h=From : \
                     To\r\n : subject; bh={{bh}};\r\n b={{b}}",
                    header.name(),
                    body.name()
                );
                let sign = Sign { key, header, body, tags: &tags, ..sign() };
                let text = signed(&sign, MAIL);
                holds(&text, Pass, "");
                let found = check(&text);
                assert_eq!(found.domain.as_deref(), Some("example.org"));
                assert_eq!(found.selector.as_deref(), Some(selector));
                assert_eq!(found.identity.as_deref(), Some("@example.org"));
                assert_eq!(found.algorithm.as_deref(), Some(algorithm));
                assert!(!found.testing);

                let mismatch = "the signature does not match";
                holds(&text.replace("Lunch", "Dinner"), Fail, mismatch);
                holds(&text.replace("shall", "should"), Fail, "the body hash does not match");
                let change = |old: &str, new: &str, form| match form {
                    Relaxed => holds(&text.replace(old, new), Pass, ""),
                    Simple => assert_eq!(check(&text.replace(old, new)).result, Fail),
                };
                change("Subject:  Lunch", "SUBJECT : Lunch", header);
                change("have  lunch? ", "have\tlunch?", body);
                // Empty lines at the end of the body never count.
                holds(&format!("{text}\r\n\r\n"), Pass, "");
                holds(text.trim_end_matches("\r\n"), Pass, "");
            }
        }
    }
}

#[test]
fn without_c_both_forms_are_simple() {
    let tags = TAGS.replace(" c=relaxed/relaxed;", "");
    let sign = Sign { header: Simple, body: Simple, tags: &tags, ..sign() };
    holds(&signed(&sign, MAIL), Pass, "");
    let tags = TAGS.replace("relaxed/relaxed", "relaxed");
    holds(&signed(&Sign { header: Relaxed, tags: &tags, ..sign }, MAIL), Pass, "");
}

#[test]
fn empty_bodies_are_signed() {
    for (body, form) in [("", Simple), ("", Relaxed), ("\r\n\r\n", Simple), (" \r\n\r\n", Relaxed)]
    {
        let (header, _) = MAIL.split_once("\r\n\r\n").unwrap();
        let mail = format!("{header}\r\n\r\n{body}");
        let tags = TAGS.replace("/relaxed", &format!("/{}", form.name()));
        holds(&signed(&Sign { body: form, tags: &tags, ..sign() }, &mail), Pass, "");
    }
    // No empty line behind the header.
    let mail = "From: ann@example.org\r\n";
    holds(&signed(&sign(), mail), Pass, "");
}

#[test]
fn tags_are_held_to_their_grammar() {
    // Replaces part of the tags before signing.
    for (old, new, result, reason) in [
        ("v=1", "v=1 ", Pass, ""),
        ("v=1; ", "", PermError, "no v="),
        ("v=1", "v=2", Neutral, "unknown v="),
        ("v=1", "v=", PermError, "malformed v="),
        ("v=1", "V=1", PermError, "no v="),
        ("a=rsa-sha256; ", "", PermError, "no a="),
        ("a=rsa-sha256", "a=rsa-sha1", PermError, "rsa-sha1 is not secure"),
        ("a=rsa-sha256", "a=rsa-sha512", Neutral, "unknown a="),
        ("a=rsa-sha256", "a=RSA-sha256", Neutral, "unknown a="),
        (
            "a=rsa-sha256",
            "a=ed25519-sha256",
            PermError,
            "the key is of another type than the signature",
        ),
        ("c=relaxed/relaxed", "c=nofws", Neutral, "unknown c="),
        ("c=relaxed/relaxed", "c=", Neutral, "unknown c="),
        ("d=example.org; ", "", PermError, "no d="),
        ("d=example.org", "d=", PermError, "malformed d="),
        ("d=example.org", "d=example..org", PermError, "malformed d="),
        ("d=example.org", "d=example.org.", PermError, "malformed d="),
        ("d=example.org", "d=exa mple.org", PermError, "malformed d="),
        ("d=example.org", "d=EXAMPLE.org", Pass, ""),
        ("d=example.org", "d=m\u{fc}nchen.example", Pass, ""),
        ("d=example.org", "d=xn--mnchen-3ya.example", Pass, ""),
        ("s=rsa; ", "", PermError, "no s="),
        ("s=rsa", "s=", PermError, "malformed s="),
        ("s=rsa", "s=schl\u{fc}ssel", Pass, ""),
        ("s=rsa", "s=a.b", Pass, ""),
        ("s=rsa", "s=other", TempError, "key lookup: not looked up"),
        ("h=From:To:Subject; ", "", PermError, "no h="),
        ("h=From:To:Subject", "h=", PermError, "h= without From"),
        ("h=From:To:Subject", "h=To:Subject", PermError, "h= without From"),
        ("h=From:To:Subject", "h=Fromm:To:Subject", PermError, "h= without From"),
        ("h=From:To:Subject", "h=fROM\r\n\t:\r\n To : Subject", Pass, ""),
        ("bh={bh}; ", "", PermError, "no bh="),
        ("bh={bh}", "bh=", PermError, "malformed bh="),
        ("bh={bh}", "bh=!", PermError, "malformed bh="),
        ("bh={bh}", "bh=TWFu", Fail, "the body hash does not match"),
        ("; b={b}", "", PermError, "no b="),
        ("b={b}", "b=", PermError, "malformed b="),
        ("b={b}", "b=!", PermError, "malformed b="),
        ("b={b}", "b=TWFu", Fail, "the signature does not match"),
        ("b={b}", "b={b};", Pass, ""),
        ("b={b}", "b={b}; \r\n\t", Pass, ""),
        ("b={b}", "b=\r\n {b}\r\n ; x=1000000001", Pass, ""),
        ("b={b}", "b={b};;", PermError, "malformed tag list"),
        ("v=1;", "v=1;;", PermError, "malformed tag list"),
        ("v=1;", ";v=1;", PermError, "malformed tag list"),
        ("v=1;", "v=1; d=example.org;", PermError, "duplicate tag"),
        ("v=1;", "v=1; x-y=1;", PermError, "malformed tag list"),
        ("v=1;", "v=1; new_tag=1; D=2; z=From:ann|To:bob;", Pass, ""),
        ("v=1;", "v=1; q=dns/txt;", Pass, ""),
        ("v=1;", "v=1; q=http : dns/txt;", Pass, ""),
        ("v=1;", "v=1; q=http;", Neutral, "unknown q="),
        ("v=1;", "v=1; i=@example.org;", Pass, ""),
        ("v=1;", "v=1; i=ann@example.org;", Pass, ""),
        ("v=1;", "v=1; i=ann=40x@sub.EXAMPLE.org;", Pass, ""),
        ("v=1;", "v=1; i=a@b@example.org;", Pass, ""),
        ("v=1;", "v=1; i=ann@xexample.org;", PermError, "i= is not in the domain of d="),
        ("v=1;", "v=1; i=ann@example.com;", PermError, "i= is not in the domain of d="),
        ("v=1;", "v=1; i=ann@org;", PermError, "i= is not in the domain of d="),
        ("v=1;", "v=1; i=example.org;", PermError, "malformed i="),
        ("v=1;", "v=1; i=ann@;", PermError, "malformed i="),
        ("v=1;", "v=1; i=;", PermError, "malformed i="),
        ("v=1;", "v=1; t=999999999;", Pass, ""),
        ("v=1;", "v=1; t=99999999999999999999999999;", Pass, ""),
        ("v=1;", "v=1; t=;", PermError, "malformed t="),
        ("v=1;", "v=1; t=-1;", PermError, "malformed t="),
        ("v=1;", "v=1; x=1000000000;", Pass, ""),
        ("v=1;", "v=1; x=999999700;", Pass, ""),
        ("v=1;", "v=1; x=999999699;", PermError, "the signature has expired"),
        ("v=1;", "v=1; x=0;", PermError, "the signature has expired"),
        ("v=1;", "v=1; x=99999999999999999999999999;", Pass, ""),
        ("v=1;", "v=1; x=soon;", PermError, "malformed x="),
        ("v=1;", "v=1; t=1; x=1;", PermError, "the signature expires before it is made"),
        ("v=1;", "v=1; t=1000000000; x=1000000001;", Pass, ""),
        ("v=1;", "v=1; l=x;", PermError, "malformed l="),
        ("v=1;", "v=1; l=;", PermError, "malformed l="),
        ("s=rsa", "s=rsa512", Policy, "an RSA key of 512 bits"),
    ] {
        let tags = TAGS.replace(old, new);
        assert_ne!(tags, TAGS, "{old}");
        let text = signed(&Sign { tags: &tags, ..sign() }, MAIL);
        holds(&text, result, reason);
    }
}

#[test]
fn a_body_that_is_not_signed_whole_is_policy() {
    let body = Relaxed.body(MAIL.split_once("\r\n\r\n").unwrap().1).len();
    for (length, tag, result, reason) in [
        (0, "0".to_owned(), Policy, "l= does not cover the whole body"),
        (body - 1, (body - 1).to_string(), Policy, "l= does not cover the whole body"),
        (body, body.to_string(), Pass, ""),
        (body, format!("{body:076}"), Pass, ""),
        (body, (body + 1).to_string(), PermError, "l= exceeds the length of the body"),
        (body, "9".repeat(76), PermError, "l= exceeds the length of the body"),
    ] {
        let tags = TAGS.replace("v=1;", &format!("v=1; l={tag};"));
        let text = signed(&Sign { length: Some(length), tags: &tags, ..sign() }, MAIL);
        holds(&text, result, reason);
        // A signature that does not match is not half as good.
        if result == Policy {
            holds(&text.replace("Lunch", "Dinner"), Fail, "the signature does not match");
        }
        // Appended text.
        if length == body && result == Pass {
            holds(&(text + "More\r\n"), Policy, "l= does not cover the whole body");
        }
    }
}

#[test]
fn repeated_fields_are_signed_from_the_bottom() {
    let names = "from:received:received:received:subject:subject:comments";
    let tags = TAGS.replace("From:To:Subject", names);
    let sign = Sign { names, tags: &tags, ..sign() };
    let text = signed(&sign, MAIL);
    holds(&text, Pass, "");
    // Fields that were absent when the message was signed must remain absent.
    for field in ["Received: x", "SUBJECT: x", "Subject:", "Comments: x"] {
        holds(&format!("{field}\r\n{text}"), Fail, "the signature does not match");
    }
    holds(&format!("To: x\r\n{text}"), Pass, "");
    let swapped = text
        .replace("from b.example by c.example", "-")
        .replace("from a.example by b.example", "from b.example by c.example")
        .replace("Received: -", "Received: from a.example by b.example");
    holds(&swapped, Fail, "the signature does not match");

    // With one name, only the last of the fields is signed.
    let tags = TAGS.replace("From:To:Subject", "from:received");
    let text = signed(&Sign { names: "from:received", tags: &tags, ..sign }, MAIL);
    holds(&format!("Received: x\r\n{text}"), Pass, "");
    holds(&text.replace("from b.example by c.example", "x"), Pass, "");
    holds(&text.replace("from a.example by b.example", "x"), Fail, "the signature does not match");
}

#[test]
fn a_signature_never_signs_itself() {
    let older = signed(&sign(), MAIL);
    let names = "from:dkim-signature:dkim-signature";
    let tags = TAGS.replace("From:To:Subject", names);
    let text = signed(&Sign { names, tags: &tags, ..sign() }, &older);
    let record = Key::Rsa2048.record();
    let texts = [&*record];
    let records: [Txt<'_>; 1] = [("rsa._domainkey.example.org", Some(&texts))];
    let results =
        |text: &str| -> Vec<_> { verify(text, &records, 0).iter().map(|it| it.result).collect() };
    assert_eq!(results(&text), [Pass, Pass]);
    assert_eq!(results(&text.replacen("s=rsa", "s=rsa ", 1)), [Fail, Pass]);
}

#[test]
fn key_records_decide() {
    let key = Key::Rsa2048.public();
    let other = Key::Rsa1024.record();
    let p = format!("p={key}");
    let spaced = format!("p={} \t{}", &key[..20], &key[20..]);
    let text = signed(&sign(), MAIL);
    let subdomain = TAGS.replace("v=1;", "v=1; i=ann@sub.example.org;");
    let subdomain = signed(&Sign { tags: &subdomain, ..sign() }, MAIL);
    let small = "v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJB";
    let mismatch = "the signature does not match";
    let no_key = "no key";
    let malformed = "malformed key record";
    for (texts, result, reason, testing) in [
        (&[&*p][..], Pass, "", false),
        (&[&*spaced], Pass, "", false),
        (&[&format!("v=DKIM1; h=sha256; s=email; t=x; n=a; {p};")], Pass, "", false),
        (&[&format!("t=y; {p}")], Pass, "", true),
        (&[&format!("t=y:s; {p}")], Pass, "", true),
        (&[&format!("v=DKIM2; {p}")], PermError, "key record of another version", false),
        (&[&format!("h=sha1; {p}")], PermError, "the key is not for SHA-256", false),
        (&[&format!("h=sha1:sha256; {p}")], Pass, "", false),
        (&[&format!("s=tlsrpt; {p}")], PermError, "the key is not for mail", false),
        (&[&format!("s=tlsrpt : *; {p}")], Pass, "", false),
        (&[&format!("k=ed25519; {p}")], PermError, malformed, false),
        (&[&format!("k=new; {p}")], Neutral, "unknown key type", false),
        (&[&format!("{p}; {p}")], PermError, malformed, false),
        (&["v=DKIM1; p="], PermError, "the key was revoked", false),
        (&["v=DKIM1; t=y; p="], PermError, "the key was revoked", true),
        (&[], PermError, no_key, false),
        (&["v=spf1 -all"], PermError, "key record of another version", false),
        (&["hello"], PermError, malformed, false),
        (&[small], PermError, malformed, false),
        (&[&other], Fail, mismatch, false),
        // Several records: the one that verifies.
        (&[&other, &p], Pass, "", false),
        (&["v=DKIM1; p=", "hello", &p], Pass, "", false),
        (&["v=DKIM1; p=", &other], Fail, mismatch, false),
        (&[&other, "v=DKIM1; p="], Fail, mismatch, false),
    ] {
        let records: [Txt<'_>; 1] = [("rsa._domainkey.example.org", Some(texts))];
        let found = verify(&text, &records, 0).remove(0);
        let said = found.reason.as_deref().unwrap_or_default();
        assert_eq!((found.result, said), (result, reason), "{texts:?}");
        assert_eq!(found.testing, testing, "{texts:?}");
    }
    let strict = format!("t=s; {p}");
    for (record, result) in [(&p, Pass), (&strict, PermError)] {
        let texts = [&**record];
        let records: [Txt<'_>; 1] = [("rsa._domainkey.example.org", Some(&texts))];
        assert_eq!(verify(&subdomain, &records, 0)[0].result, result);
    }
    let failed: [Txt<'_>; 1] = [("rsa._domainkey.example.org", None)];
    let found = verify(&text, &failed, 0).remove(0);
    assert_eq!(found.result, TempError);
    assert_eq!(found.reason.as_deref(), Some("key lookup: DNS response code 2"));
}

#[test]
fn only_a_header_section_that_goes_onward_is_read() {
    let text = signed(&sign(), MAIL);
    // A separator of an mbox file becomes a field.
    holds(&format!("From ann Mon Jan  1\r\n{text}"), Pass, "");
    // Readers disagree about the end of such a header section.
    let reason = "a line of the header section is not a header field";
    holds(&text.replace("Subject", "no field\r\nSubject"), PermError, reason);
    holds(&text.replace("Subject", "No Field: x\r\nSubject"), PermError, reason);
    holds(&text.replace("Subject", ": x\r\nSubject"), PermError, reason);
    // An empty line precedes such a message, so it has no header section.
    for first in ["no field", " folded: x", ": x"] {
        assert!(verify(&format!("{first}\r\n{text}"), &[], 0).is_empty());
    }
    // A separator is only recognised in the first 4,096 octets of its line.
    let separator = |quotes| ">".repeat(quotes) + "From x\r\n";
    holds(&(separator(4_091) + &text), Pass, "");
    for quotes in [4_092, 5_000] {
        let text = separator(quotes) + &text;
        assert!(verify(&text, &[], 0).is_empty());
        let onward = super::message(text.as_bytes()).segments().concat();
        let header = onward.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        assert!(!onward[..header].windows(14).any(|it| it == b"DKIM-Signature"));
    }
    assert!(verify("", &[], 0).is_empty());
    assert!(verify(MAIL, &[], 0).is_empty());
}

#[test]
fn signatures_are_independent() {
    let first = signed(&sign(), MAIL);
    let tags =
        TAGS.replace("rsa-", "ed25519-").replace("s=rsa", "s=ed").replace("/relaxed", "/simple");
    let second = Sign { key: Key::Ed25519, body: Simple, tags: &tags, ..sign() };
    let text = second.field(MAIL) + "DKIM-Signature: v=1; a=\r\nDKIM-Signature:\r\n" + &first;
    let records = [("rsa", Key::Rsa2048.record()), ("ed", Key::Ed25519.record())];
    let names = records.each_ref().map(|(name, _)| format!("{name}._domainkey.example.org"));
    let texts = records.each_ref().map(|(_, record)| [&**record]);
    let records: Vec<Txt<'_>> =
        names.iter().zip(&texts).map(|(name, texts)| (&**name, Some(&texts[..]))).collect();
    let results: Vec<_> = verify(&text, &records, 0).iter().map(|it| it.result).collect();
    assert_eq!(results, [Pass, PermError, PermError, Pass]);
}
