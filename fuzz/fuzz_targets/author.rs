//! The author domains of a header section. For any input, each must occur in it, and none that a naive
//! reader finds may be missing. A field that is made from the input must have the domains it is made with.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use nobounce::authentication::Authors;
use nobounce_fuzz::{Dice, message, shown};

fuzz_target!(|input: &[u8]| {
    any(input);
    let (_, mut dice) = Dice::split(input);
    made(&mut dice);
});

fn any(input: &[u8]) {
    let authors = Authors::read(&message(input));
    assert!(authors.domains().len() <= 8);
    assert!(!authors.are_truncated() || authors.domains().len() == 8);
    let different: BTreeSet<_> = authors.domains().iter().collect();
    assert_eq!(different.len(), authors.domains().len());
    assert!(!authors.domains().is_empty() || authors.malformation().is_some());
    // Text without comments, strings, encoded words, and characters that no domain has.
    let mut content = b"From: ".to_vec();
    content.extend(
        input
            .iter()
            .copied()
            .filter(|octet| octet.is_ascii_alphanumeric() || b" <>,;:@.-_[]".contains(octet)),
    );
    content.extend(b"\r\n\r\n");
    let authors = Authors::read(&message(&content));
    if authors.are_truncated() {
        return;
    }
    let found: BTreeSet<_> = authors.domains().iter().map(|domain| domain.to_string()).collect();
    assert_eq!(found, naive(&content[6..content.len() - 4]), "{}", shown(&content));
}

/// Each text after an `@` is a domain, without its blanks, unless the word after a blank is a local part or
/// the name of a group. The text before the first blank is a domain, too, if it has several labels.
fn naive(value: &[u8]) -> BTreeSet<String> {
    let value = String::from_utf8(value.to_vec()).expect("ASCII");
    let mut domains = BTreeSet::new();
    for (at, _) in value.match_indices('@') {
        let part = value[at + 1..].trim_start();
        let end = part.find(['@', '<', '>', '[', ']', ',', ';', ':']).unwrap_or(part.len());
        if part.starts_with('[') {
            continue;
        }
        let text = &part[..end];
        let is_other = part[end..].starts_with(['@', ':']) && !text.ends_with(' ');
        let words: Vec<_> = text.split_whitespace().collect();
        let (mut domain, mut is_split) = (String::new(), false);
        for (nth, word) in words.iter().enumerate() {
            if nth > 0 {
                let is_obsolete = domain.ends_with('.') || word.starts_with('.');
                if !is_obsolete && is_other && nth + 1 == words.len() {
                    break;
                }
                let before = domain.strip_suffix('.').unwrap_or(&domain);
                if before.contains('.') && !std::mem::replace(&mut is_split, true) {
                    add(before, &mut domains);
                }
            }
            domain += word;
        }
        add(&domain, &mut domains);
    }
    domains
}

fn add(domain: &str, domains: &mut BTreeSet<String>) {
    let labels: Vec<_> = domain.split('.').filter(|label| !label.is_empty()).collect();
    let name = labels.join(".").to_ascii_lowercase();
    let fits = |label: &&str| label.len() < 64;
    if !name.is_empty() && labels.iter().all(fits) && name.len() < 254 {
        domains.insert(
            nobounce::dns::DomainName::from_octets(name.as_bytes()).expect("a name").to_string(),
        );
    }
}

/// A mailbox list with anything that RFC 5322 allows in it.
fn made(dice: &mut Dice) {
    let mut value = String::new();
    let mut expected = BTreeSet::new();
    for place in 0..=dice.below(4) {
        if place > 0 {
            value += [",", " ,", ",\r\n "][dice.below(3)];
        }
        let domain = ["example.org", "b.example", "A.Test", "x.y.z", "localhost"][dice.below(5)];
        expected.insert(domain.to_ascii_lowercase());
        blank(dice, &mut value);
        // A quoted local part with an address would be another author domain.
        let local = ["ann", "\"a b\"", "a.b", "\"<x>, \""][dice.below(4)];
        let mut address = local.to_owned();
        blank(dice, &mut address);
        address.push('@');
        blank(dice, &mut address);
        address += domain;
        blank(dice, &mut address);
        if dice.below(2) == 0 {
            value += &address;
            continue;
        }
        let name = [
            "",
            "Ann",
            "\"a@attack.example\"",
            "\"<a@attack.example>, (\"",
            "Ann B. Example",
            "=?utf-8?q?a=40attack.example?=",
            "=?utf-8?b?YUBhdHRhY2suZXhhbXBsZQ==?=",
        ];
        value += name[dice.below(7)];
        blank(dice, &mut value);
        value += &format!("<{address}>");
        blank(dice, &mut value);
    }
    let authors = Authors::read(&message(format!("From:{value}\r\n\r\n").as_bytes()));
    let found: BTreeSet<_> = authors.domains().iter().map(|domain| domain.to_string()).collect();
    assert_eq!(found, expected, "{value}");
    assert_eq!(authors.malformation(), None, "{value}");
    assert_eq!(authors.are_several(), expected.len() > 1);
}

/// Appends blanks and comments, or nothing.
fn blank(dice: &mut Dice, to: &mut String) {
    *to += ["", " ", "\r\n\t", "(x)", " (a@attack.example (<b@attack.example>)) ", "(\"(<)>)"]
        [dice.below(6)];
}
