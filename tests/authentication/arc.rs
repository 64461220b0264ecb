//! Chains of ARC. The cases have the names and expectations of ValiMail's `arc_test_suite`; their
//! messages are our own.

mod builder;
mod cases;

use std::collections::BTreeSet;
use std::time::Duration;

use nobounce::authentication::arc::{Chain, ChainResult, ChainValidation};
use nobounce::dns::{Answer, DomainName, Record, ResolveError};

use super::signer::{Key, seal};
use super::{Txt, at, content, keys};
use builder::build;
use cases::CASES;

/// Names of the keys.
pub(crate) const KEYS: [(&str, Key); 5] = [
    ("dummy._domainkey.example.org", Key::Rsa2048),
    ("dummy2._domainkey.example2.org", Key::Ed25519),
    ("512._domainkey.example.org", Key::Rsa512),
    ("1024._domainkey.example.org", Key::Rsa1024),
    ("2048._domainkey.example.org", Key::Rsa2048),
];

fn validate(text: &str) -> ChainValidation {
    let records = KEYS.map(|(name, key)| (name, key.record()));
    let texts = records.each_ref().map(|(_, record)| [&**record]);
    let mut all: Vec<Txt<'_>> =
        records.iter().zip(&texts).map(|((name, _), texts)| (*name, Some(&texts[..]))).collect();
    all.push(("na._domainkey.example.org", Some(&[])));
    all.push(("invalid._domainkey.example.org", Some(&["v=DKIM1; p=TWFu"])));
    Chain::read(&content(text)).verify(&keys(&all), at(1_000))
}

#[test]
fn every_case_has_the_result_that_the_suite_expects() {
    let names: BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
    assert_eq!((CASES.len(), names.len()), (171, 171));
    let mut faults = Vec::new();
    for case in CASES {
        let text = build(case);
        let found = validate(&text);
        if !case.expected.is(&found) {
            faults.push(format!("{}: {:?}: {found:?}\n{text}", case.name, case.expected));
        }
    }
    assert!(faults.is_empty(), "{}: {}", faults.len(), faults.join("\n"));
}

#[test]
fn sealers_are_named() {
    let of = |name| CASES.iter().find(|case| case.name == name).unwrap();
    let found = validate(&build(of("cv_pass_i3_1")));
    assert_eq!((found.result, found.instance), (ChainResult::Pass, 3));
    assert_eq!(found.sealers.iter().map(|it| &**it).collect::<Vec<_>>(), ["example.org"; 3]);
    let found = validate(&build(of("ams_as_diff_s_d")));
    assert_eq!(found.sealers.iter().map(|it| &**it).collect::<Vec<_>>(), ["example2.org"]);
}

#[test]
fn a_key_that_cannot_be_looked_up_is_a_temporary_error_unless_the_chain_fails_anyway() {
    let of = |name| CASES.iter().find(|case| case.name == name).unwrap();
    let mut keys = keys(&[]);
    let name: DomainName = "dummy._domainkey.example.org".parse().unwrap();
    let lost: Result<Answer, _> = Err(ResolveError::Late);
    keys.insert(name, lost);
    let record = Record::Txt(Key::Rsa512.record().into_bytes().into());
    let answer = Answer::new([record], Duration::from_secs(60));
    keys.insert("512._domainkey.example.org".parse().unwrap(), Ok(answer));
    for (case, result, reason) in [
        ("cv_pass_i2_1", ChainResult::TempError, "ARC-Seal of set 2: key lookup: "),
        ("as_fields_b_512", ChainResult::Fail, "ARC-Seal of set 1: an RSA key of 512 bits"),
    ] {
        let found = Chain::read(&content(&build(of(case)))).verify(&keys, at(0));
        assert_eq!(found.result, result);
        assert!(found.reason.as_deref().unwrap().starts_with(reason), "{found:?}");
    }
}

/// A message with these sets, whose message signatures have these tags.
fn sealed(sets: impl IntoIterator<Item = usize>, tags: &str) -> String {
    sets.into_iter().fold(MAIL.to_owned(), |text, at| seal(&text, at, "mx.example", tags))
}

const MAIL: &str = "From: ann@example.org\r\n\r\nHello\r\n";

fn validate_sealed(text: &str, now: u64) -> ChainValidation {
    let record = Key::Ed25519.record();
    let texts = [&*record];
    let keys = keys(&[("s._domainkey.example.org", Some(&texts))]);
    Chain::read(&content(text)).verify(&keys, at(now))
}

#[test]
fn only_a_complete_chain_passes() {
    let tags = "h=from; bh={bh};";
    assert_eq!(validate_sealed(&sealed(1..=3, tags), 0).result, ChainResult::Pass);
    for (sets, reason) in [(vec![2, 3], "set 1 is incomplete"), (vec![1, 3], "set 2 is incomplete")]
    {
        let found = validate_sealed(&sealed(sets, tags), 0);
        let found = (found.result, found.instance, found.reason.as_deref());
        assert_eq!(found, (ChainResult::Fail, 0, Some(reason)));
    }
}

#[test]
fn tags_of_the_newest_message_signature_decide() {
    use ChainResult::{Fail, Pass};
    for (tags, result, reason) in [
        ("h=from; bh={bh};", Pass, ""),
        ("h=; bh={bh};", Pass, ""),
        ("h=to; bh={bh};", Fail, "h= without From"),
        ("h=:; bh={bh};", Fail, "h= without From"),
        ("h=from; bh={bh}; l=7;", Pass, ""),
        ("h=from; bh={bh}; l=6;", Fail, "l= does not cover the whole body"),
        ("h=from; bh={bh}; q=http:dns/txt;", Pass, ""),
        ("h=from; bh={bh}; q=http;", Fail, "unknown q="),
        ("h=from; bh={bh}; t=2000;", Pass, ""),
        ("h=from; bh={bh}; t=now;", Fail, "malformed t="),
        ("h=from; bh={bh}; x=now;", Fail, "malformed x="),
        ("h=from; bh={bh}; t=2000; x=2000;", Fail, "the signature expires before it is made"),
        ("h=from; bh={bh}; x=700;", Pass, ""),
        ("h=from; bh={bh}; x=699;", Fail, "the signature has expired"),
    ] {
        let found = validate_sealed(&sealed([1], tags), 1_000);
        assert_eq!(found.result, result, "{tags}: {found:?}");
        let prefix = "ARC-Message-Signature of set 1: ";
        let reason = (result == Fail).then(|| format!("{prefix}{reason}"));
        assert_eq!(found.reason.as_deref(), reason.as_deref(), "{tags}");
    }
    // An older message signature has done its work.
    let text = seal(&sealed([1], "h=from; bh={bh}; x=1;"), 2, "mx.example", "h=from; bh={bh};");
    assert_eq!(validate_sealed(&text, 1_000).result, Pass);
}

#[test]
fn chain_of_a_changed_body_names_its_sealers() {
    let text = sealed(1..=2, "h=from; bh={bh};").replace("Hello", "Bye");
    let found = validate_sealed(&text, 0);
    assert_eq!((found.result, found.instance), (ChainResult::Fail, 2));
    assert_eq!(found.sealers.iter().map(|it| &**it).collect::<Vec<_>>(), ["example.org"; 2]);
    let reason = "ARC-Message-Signature of set 2: the body hash does not match";
    assert_eq!(found.reason.as_deref(), Some(reason));
    assert_eq!(Chain::read(&content(&text)).key_names().count(), 0);
}

/// Cases whose expectation the last edition of the suite has corrected, each with the reason.
const CORRECTED: [(&str, ChainResult, &str); 3] = [
    ("ams_fields_a_sha1", ChainResult::Fail, "rsa-sha1 must not be used (RFC 8301 section 3.1)"),
    ("as_fields_a_sha1", ChainResult::Fail, "rsa-sha1 must not be used (RFC 8301 section 3.1)"),
    ("ams_fields_c_na", ChainResult::Pass, "c= is optional (RFC 6376 section 3.5)"),
];

/// The original suite, as JSON: `.ci/programs/arc_suite.sh` converts it and runs this test.
#[test]
#[ignore = "needs a copy of ValiMail's suite: see .ci/programs/arc_suite.sh"]
fn the_original_suite_is_passed() {
    let path = std::env::var("NOBOUNCE_ARC_SUITE").expect("NOBOUNCE_ARC_SUITE names the suite");
    let text = std::fs::read_to_string(path).expect("the suite can be read");
    let suite: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (mut passed, mut corrected, mut faults) = (0, Vec::new(), Vec::new());
    for scenario in suite.as_array().unwrap() {
        let records: Vec<(String, String)> = (scenario["txt-records"].as_object().unwrap().iter())
            .map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned()))
            .collect();
        let texts: Vec<[&str; 1]> = records.iter().map(|(_, text)| [&**text]).collect();
        let mut all: Vec<Txt<'_>> =
            records.iter().zip(&texts).map(|((name, _), it)| (&**name, Some(&it[..]))).collect();
        all.push(("na._domainkey.example.org", Some(&[])));
        for (name, case) in scenario["tests"].as_object().unwrap() {
            let chain = Chain::read(&content(case["message"].as_str().unwrap()));
            let mut all = all.clone();
            for name in chain.key_names() {
                if !all.iter().any(|(known, _)| *known == &**name) {
                    all.push((Box::leak(name.to_string().into()), Some(&[])));
                }
            }
            let found = chain.verify(&keys(&all), at(0));
            // The suite leaves open what a chain is that says of itself that it failed.
            let mut expected = match case["cv"].as_str().unwrap_or("None").to_lowercase().as_str() {
                "none" => ChainResult::None,
                "pass" => ChainResult::Pass,
                _ => ChainResult::Fail,
            };
            let exception = CORRECTED.iter().find(|exception| exception.0 == name);
            if let Some((_, corrected_to, why)) = exception
                && *corrected_to != expected
            {
                expected = *corrected_to;
                corrected.push(format!("{name} is {expected}: {why}"));
            }
            if found.result == expected {
                passed += 1;
            } else {
                faults.push(format!("{name}: expected {expected}, found {found:?}"));
            }
        }
    }
    println!("{passed} of {}", passed + faults.len());
    corrected.iter().for_each(|case| println!("corrected: {case}"));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // The last edition has a case more than the one in source packages.
    assert!(passed >= 170, "{passed}");
}
