//! Sets of ARC: a chain that a naive sealer makes is valid, and one with a field too many or too few is
//! not.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nobounce::authentication::arc::{Chain, ChainResult};
use nobounce_fuzz::signer::{Form, Key, Sign};
use nobounce_fuzz::{Dice, keys, signed};

const MAIL: &str = "From: a\r\n\r\nx\r\n";

fuzz_target!(|input: &[u8]| {
    let (input, mut dice) = Dice::split(input);
    let keys = keys(&Key::Ed25519.record());
    let validate = |text: &[u8]| Chain::read(&signed(text)).verify(&keys, std::time::UNIX_EPOCH);

    // Anything at all: nothing but a chain of ours is valid.
    let found = validate(&[b"ARC-Seal: ", input, b"\nFrom: a\n\nx\n"].concat());
    assert_ne!(found.result, ChainResult::Pass);
    assert!(found.instance <= 50 && found.sealers.len() == found.instance);

    // A chain, whose results and further tags are input.
    // The signer replaces `{b}`.
    let clean = |octet: &&u8| octet.is_ascii_graphic() && !matches!(octet, b';' | b'{');
    let text: Vec<u8> = input.iter().filter(clean).copied().collect();
    let text = String::from_utf8(text).expect("ASCII");
    let count = 1 + dice.below(4);
    let mut fields: Vec<String> = Vec::new();
    let whole = |fields: &[String]| fields.iter().rev().cloned().collect::<String>() + MAIL;
    for at in 1..=count {
        let cv = if at == 1 { "none" } else { "pass" };
        fields.push(format!("ARC-Authentication-Results: i={at}; {text}\r\n"));
        let one = "arc-authentication-results:arc-message-signature:arc-seal:";
        let mut sign = |name: &str, names: &str, tags: &str| {
            let tags =
                format!("i={at}; a=ed25519-sha256; d=example.org; s=s; {tags} b={{b}}; w={text}");
            let (header, body) = (Form::Relaxed, Form::Relaxed);
            let key = Key::Ed25519;
            let sign = Sign { name, key, header, body, length: None, names, tags: &tags };
            let field = sign.field(&whole(&fields));
            fields.push(field);
        };
        sign("ARC-Message-Signature", "from", "h=from; bh={bh};");
        let names = &one.repeat(at)[..one.len() * at - "arc-seal:".len()];
        sign("ARC-Seal", names, &format!("cv={cv};"));
    }
    let found = validate(whole(&fields).as_bytes());
    assert_eq!(found.result, ChainResult::Pass, "{found:?}: {}", whole(&fields));
    assert_eq!((found.instance, found.sealers.len()), (count, count));

    let at = dice.below(fields.len());
    match dice.below(3) {
        0 => {
            fields.remove(at);
        }
        1 => fields.push(fields[at].clone()),
        _ => fields[at] = fields[at].replace("i=", "i=0"),
    }
    // Without its only field, there is no chain. Leading zeros are signed.
    let found = validate(whole(&fields).as_bytes());
    assert_eq!(found.result, ChainResult::Fail, "{found:?}: {}", whole(&fields));
});
