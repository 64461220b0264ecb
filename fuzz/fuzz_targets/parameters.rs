//! ESMTP parameters: the parser is compared with a naive implementation of the RFC grammars.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nobounce::command::{Body, MailParameters, ParameterError, RcptParameters};
use nobounce_fuzz::shown;

fuzz_target!(|input: &[u8]| {
    let words = words(input);

    let read = MailParameters::parse(input);
    is_read(read.as_ref().err(), &faults(&words, mail), input);
    if let Ok(parameters) = read {
        let value = |name| words.iter().find(|word| word.keyword == name).map(|word| word.value);
        // A number with more than 18 digits exceeds every limit. Leading zeros do not count.
        let number = |digits: Option<&[u8]>| {
            let digits = str::from_utf8(digits?).ok()?.trim_start_matches('0');
            if digits.len() > 18 { Some(u64::MAX) } else { format!("0{digits}").parse().ok() }
        };
        assert_eq!(parameters.size, value("SIZE").and_then(number));
        let body = value("BODY").flatten().map(|body| match body.len() {
            4 => Body::SevenBit,
            _ => Body::EightBitMime,
        });
        assert_eq!(parameters.body, body);
        assert_eq!(parameters.smtp_utf8, value("SMTPUTF8").is_some());
        assert_eq!(parameters.dsn, value("RET").or(value("ENVID")).is_some());
        is_raw(input, parameters.raw());
        assert_eq!(MailParameters::parse(parameters.raw()), Ok(parameters));
    }

    let read = RcptParameters::parse(input);
    is_read(read.as_ref().err(), &faults(&words, rcpt), input);
    if let Ok(parameters) = read {
        assert_eq!(parameters.dsn, !words.is_empty());
        is_raw(input, parameters.raw());
        assert_eq!(RcptParameters::parse(parameters.raw()), Ok(parameters));
    }
});

/// Checks that the parameters are forwarded unchanged and contain no control octets.
fn is_raw(input: &[u8], raw: &[u8]) {
    let text = String::from_utf8_lossy(input).trim_matches(' ').to_owned();
    assert_eq!(String::from_utf8_lossy(raw), text);
    assert!(!raw.iter().any(u8::is_ascii_control));
}

struct Word<'i> {
    /// The keyword in upper case.
    keyword: String,
    value: Option<&'i [u8]>,
}

fn words(input: &[u8]) -> Vec<Word<'_>> {
    let words = input.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    words
        .map(|word| {
            let equals = word.iter().position(|octet| *octet == b'=');
            let keyword = &word[..equals.unwrap_or(word.len())];
            Word {
                keyword: keyword.escape_ascii().to_string().to_uppercase(),
                value: equals.map(|at| &word[at + 1..]),
            }
        })
        .collect()
}

/// Checks that the parser reports one of the expected faults, or no fault if none is expected.
fn is_read(fault: Option<&ParameterError>, faults: &[ParameterError], input: &[u8]) {
    // Other tests check which non-ASCII characters are accepted.
    if !input.is_ascii() {
        return;
    }
    let named = fault.map_or(faults.is_empty(), |fault| faults.contains(fault));
    assert!(named, "{fault:?}, not one of {faults:?}: {}", shown(input));
}

/// Returns all faults: invalid syntax (RFC 5321 section 4.1.2), an unknown keyword, an invalid
/// value, or a repeated keyword.
fn faults(
    words: &[Word<'_>],
    check: fn(&Word<'_>) -> Result<(), ParameterError>,
) -> Vec<ParameterError> {
    let mut faults = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let keyword = word.keyword.as_bytes();
        let name = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
        let is_value = |value: &[u8]| {
            // As in Postfix, these two may contain `=`, which xtext (RFC 3461 section 4) does not
            // allow.
            let equals = matches!(word.keyword.as_str(), "ORCPT" | "ENVID");
            let plain = |octet: &u8| *octet > 32 && (*octet != b'=' || equals) && *octet != 127;
            !value.is_empty() && value.iter().all(plain) && str::from_utf8(value).is_ok()
        };
        let sound = keyword.first().is_some_and(u8::is_ascii_alphanumeric)
            && keyword.iter().all(name)
            && word.value.is_none_or(is_value);
        let again = words[..at].iter().any(|before| before.keyword == word.keyword);
        faults.extend((!sound || again).then_some(ParameterError::Bad));
        faults.extend(check(word).err());
    }
    faults
}

/// Checks a parameter of MAIL (RFC 1870, 6152, 6531, 3461).
fn mail(word: &Word<'_>) -> Result<(), ParameterError> {
    let value = word.value.map(<[u8]>::to_ascii_uppercase);
    let value = value.as_deref();
    let sound = match word.keyword.as_str() {
        "SIZE" => value.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit)),
        "BODY" if value == Some(b"BINARYMIME") => return Err(ParameterError::Unknown),
        "BODY" => matches!(value, Some(b"7BIT" | b"8BITMIME")),
        "SMTPUTF8" => value.is_none(),
        "RET" => matches!(value, Some(b"FULL" | b"HDRS")),
        "ENVID" => word.value.is_some_and(|value| value.len() <= 100 && is_xtext(value)),
        _ => return Err(ParameterError::Unknown),
    };
    sound.then_some(()).ok_or(ParameterError::Bad)
}

/// Checks a parameter of RCPT (RFC 3461, 6533).
fn rcpt(word: &Word<'_>) -> Result<(), ParameterError> {
    let sound = match (word.keyword.as_str(), word.value) {
        ("NOTIFY", Some(value)) => {
            // As in Postfix, elements of the list may be empty.
            let value = value.to_ascii_uppercase();
            let words = value.split(|octet| *octet == b',').filter(|word| !word.is_empty());
            let words: Vec<_> = words.collect();
            let some = |word: &&[u8]| matches!(*word, b"SUCCESS" | b"FAILURE" | b"DELAY");
            let never = words.iter().all(|word| *word == b"NEVER");
            !words.is_empty() && (never || words.iter().all(some))
        }
        ("ORCPT", Some(value)) => {
            let mut halves = value.splitn(2, |octet| *octet == b';');
            let kind = halves.next().unwrap_or_default().to_ascii_lowercase();
            let name = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
            let is_kind = kind.first().is_some_and(u8::is_ascii_alphanumeric);
            let is_kind = is_kind && kind.iter().all(name);
            // As in Postfix, the address may be empty.
            let is_address = |address: &[u8]| kind == b"utf-8" || is_xtext(address);
            is_kind && value.len() <= 500 && halves.next().is_some_and(is_address)
        }
        ("NOTIFY" | "ORCPT", None) => false,
        _ => return Err(ParameterError::Unknown),
    };
    sound.then_some(()).ok_or(ParameterError::Bad)
}

/// Returns whether `text` is xtext (RFC 3461 section 4), with `=` also allowed.
fn is_xtext(text: &[u8]) -> bool {
    let mut at = 0;
    while at < text.len() {
        at += match (text[at], text.get(at + 1..at + 3)) {
            (b'+', Some(digits)) if digits.iter().all(u8::is_ascii_hexdigit) => 3,
            (b'+', _) => return false,
            (33..=126, _) => 1,
            _ => return false,
        };
    }
    true
}
