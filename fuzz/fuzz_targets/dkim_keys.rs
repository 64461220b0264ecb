//! Key records, held to the grammar of RFC 6376 sections 3.2 and 3.6.1, tag by tag.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use libfuzzer_sys::fuzz_target;
use nobounce::authentication::dkim::SignatureResult::{self, *};
use nobounce::authentication::dkim::Signatures;
use nobounce_fuzz::signer::{Form, Key, Sign};
use nobounce_fuzz::{keys, signed};

const MAIL: &str = "From: a\r\n\r\nx\r\n";

static SIGNATURES: LazyLock<Signatures> = LazyLock::new(|| {
    let sign = Sign {
        name: "DKIM-Signature",
        key: Key::Ed25519,
        header: Form::Simple,
        body: Form::Simple,
        length: None,
        names: "from",
        tags: "v=1; a=ed25519-sha256; d=example.org; s=s; i=@sub.example.org; h=from; bh={bh}; b={b}",
    };
    Signatures::read(&signed((sign.field(MAIL) + MAIL).as_bytes()))
});

fuzz_target!(|input: &[u8]| {
    // `P` stands for the public key, which is too long to be guessed.
    let Ok(text) = str::from_utf8(input) else { return };
    let text = text.replace("p=P", &format!("p={}", Key::Ed25519.public()));
    let found = SIGNATURES.verify(&keys(&text), UNIX_EPOCH).remove(0);
    let (result, testing) = expected(&text);
    assert_eq!((found.result, found.testing), (result, testing), "{found:?}: {text:?}");
});

/// Returns the result with this record, and whether the domain is testing.
fn expected(text: &str) -> (SignatureResult, bool) {
    let Some(tags) = tags(text) else { return (PermError, false) };
    let get = |name: &str| tags.get(name).map(String::as_str);
    let has = |name: &str, element: &str| {
        get(name).is_some_and(|list| list.split(':').any(|it| trim(it) == element))
    };
    if get("v").is_some_and(|version| version != "DKIM1") {
        return (PermError, false);
    }
    let Some(key) = get("p") else { return (PermError, false) };
    let solid: String = key.split([' ', '\t', '\r', '\n']).collect();
    let is_digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    let digits = solid.trim_end_matches('=');
    let padding = solid.len() - digits.len();
    let most = match digits.len() % 4 {
        0 => 0,
        2 => 2,
        3 => 1,
        _ => return (PermError, false),
    };
    if !digits.chars().all(is_digit) || padding > most {
        return (PermError, false);
    }
    let testing = has("t", "y");
    match get("k").unwrap_or("rsa") {
        // The input has no RSA key that can be parsed by chance; one without a key is revoked.
        "rsa" if digits.is_empty() => return (PermError, testing),
        "rsa" => return (PermError, false),
        "ed25519" if digits.is_empty() => return (PermError, testing),
        "ed25519" if digits.len() * 3 / 4 != 32 => return (PermError, false),
        "ed25519" => {}
        _ => return (Neutral, false),
    }
    let for_mail = get("s").is_none() || has("s", "*") || has("s", "email");
    let for_sha256 = get("h").is_none() || has("h", "sha256");
    if !for_mail || !for_sha256 {
        return (PermError, testing);
    }
    // The last digit has unused bits.
    let public = Key::Ed25519.public();
    let public = public.trim_end_matches('=');
    let end = public.len() - 1;
    match digits[..end] == public[..end] {
        true if has("t", "s") && same(digits, public) => (PermError, testing),
        true if same(digits, public) => (Pass, testing),
        _ => (Fail, testing),
    }
}

/// Returns whether the last digits differ in unused bits only.
fn same(one: &str, other: &str) -> bool {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits =
        |text: &str| text.chars().last().and_then(|last| DIGITS.find(last)).map(|at| at >> 2);
    bits(one) == bits(other)
}

/// Parses a tag list (RFC 6376 section 3.2).
fn tags(text: &str) -> Option<BTreeMap<String, String>> {
    let text = match text.rsplit_once(';') {
        Some((list, rest)) if trim(rest).is_empty() => list,
        _ => text,
    };
    let mut tags = BTreeMap::new();
    for tag in text.split(';') {
        let (name, value) = tag.split_once('=')?;
        let (name, value) = (trim(name), trim(value));
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let is_name = begins && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
        let is_value = value.chars().all(|c| c.is_ascii_graphic() || is_space(c) || !c.is_ascii());
        if !is_name || !is_value || tags.insert(name.to_owned(), value.to_owned()).is_some() {
            return None;
        }
    }
    (tags.len() <= 100).then_some(tags)
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}
