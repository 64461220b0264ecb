//! Messages of a naive signer verify, and changed messages do not.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nobounce::authentication::dkim::{SignatureResult, Signatures};
use nobounce_fuzz::signer::{Form, Key, Sign, split};
use nobounce_fuzz::{Dice, keys, signed};

fuzz_target!(|input: &[u8]| {
    let (input, mut dice) = Dice::split(input);
    // The first line has the names to sign, and the rest is the message.
    let end = input.iter().position(|octet| *octet == b'\n').unwrap_or(0);
    let (names, mail) = input.split_at(end);
    // Anything at all must not panic.
    let whatever = [b"DKIM-Signature: ", names, b"\nFrom: a\n", mail].concat();
    let results = Signatures::read(&signed(&whatever)).verify(&keys(""), std::time::UNIX_EPOCH);
    assert!(results.iter().all(|it| it.result != SignatureResult::Pass));

    let mail = nobounce_fuzz::content::normalised(mail);
    let Ok(mail) = String::from_utf8([b"From: a\r\n", &*mail].concat()) else { return };
    if !is_well_formed(&mail) {
        return;
    }
    // The signer replaces `{b}`.
    let is_name = |octet: &u8| octet.is_ascii_graphic() && !matches!(octet, b';' | b'{');
    let names: Vec<u8> = names.iter().copied().filter(is_name).collect();
    let names = format!("from:{}", String::from_utf8_lossy(&names));
    let [header, body] = [(); 2].map(|()| [Form::Simple, Form::Relaxed][dice.below(2)]);
    let length = (dice.below(4) == 0).then(|| body.body(split(&mail).1).len());
    let tags = format!(
        "v=1; a=ed25519-sha256; c={}/{};{} d=example.org; s=s; h={names}; bh={{bh}}; b={{b}}",
        header.name(),
        body.name(),
        length.map_or(String::new(), |length| format!(" l={length};")),
    );
    let name = "DKIM-Signature";
    let sign = Sign { name, key: Key::Ed25519, header, body, length, names: &names, tags: &tags };
    let text = sign.field(&mail) + &mail;
    let keys = keys(&Key::Ed25519.record());
    let verify = |text: &str| {
        let signatures = Signatures::read(&signed(text.as_bytes()));
        signatures.verify(&keys, std::time::UNIX_EPOCH).remove(0)
    };
    let found = verify(&text);
    assert_eq!(found.result, SignatureResult::Pass, "{found:?}: {text}");
    // The last From is signed, and so is the body.
    let changed = verify(&text.replacen("s=s;", "s=s; z=1;", 1));
    assert_eq!(changed.result, SignatureResult::Fail, "{text}");
    let appended = verify(&(text.clone() + "x\r\n"));
    assert_ne!(appended.result, SignatureResult::Pass, "{text}");
});

/// Returns whether each line of the header section is a field or continues one, and no signature is
/// among them.
fn is_well_formed(mail: &str) -> bool {
    let (fields, _) = split(mail);
    fields.iter().all(|field| {
        let Some((name, _)) = field.split_once(':') else { return false };
        let name = name.trim_end_matches([' ', '\t']);
        let is_name = !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic());
        is_name && !name.eq_ignore_ascii_case("dkim-signature")
    })
}
