//! SPF policies, held to the grammar of RFC 7208 section 12, which is matched rule by rule with all
//! possible divisions of the text. Then the policy is evaluated with random answers.

#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nobounce::authentication::{Spf, SpfOutcome, SpfResult, SpfStep};
use nobounce::dns::{Answer, DomainName, Record, RecordKind, ResolveError};
use nobounce::fuzzing::spf_policy;
use nobounce_fuzz::{Dice, shown};

fuzz_target!(|input: &[u8]| {
    let (text, mut dice) = Dice::split(input);
    let written = spf_policy(text);
    assert_eq!(written.is_some(), is_record(text), "{}", shown(text));
    if let Some(written) = written {
        assert_eq!(spf_policy(written.as_bytes()), Some(written));
    }
    let outcome = evaluate(text, &mut dice);
    let is_policy = text.get(..6).is_some_and(|it| it.eq_ignore_ascii_case(b"v=spf1"))
        && text.get(6).is_none_or(|it| *it == b' ');
    assert_eq!(is_policy, outcome.result != SpfResult::None);
    assert_eq!(
        is_record(text) || !is_policy,
        !outcome.to_string().contains("malformed SPF record")
    );
    assert!(outcome.to_string().len() < 1_000);
});

/// Evaluates the text as the policy of every domain.
fn evaluate(text: &[u8], dice: &mut Dice) -> SpfOutcome {
    let client = match dice.below(2) {
        0 => Ipv4Addr::new(192, 0, 2, 1).into(),
        _ => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    let mut spf = Spf::new(client, "mx.example.org", "a-b+c@example.org");
    for question in 0.. {
        assert!(question <= 122, "{question} questions");
        let kind = match spf.poll() {
            SpfStep::Ask { kind, .. } => kind,
            SpfStep::Done(outcome) => return outcome.clone(),
        };
        let answer = match (kind, dice.below(10)) {
            (RecordKind::Txt, _) => Ok(Answer::new([Record::Txt(text.into())], Duration::ZERO)),
            (_, 0) => Err(ResolveError::Late),
            (_, 1) => Ok(Answer::no_such_domain(Duration::ZERO)),
            _ => {
                let records = (0..=dice.below(12)).map(|_| record(kind, dice)).collect::<Vec<_>>();
                Ok(Answer::new(records, Duration::ZERO))
            }
        };
        spf.answer(answer);
    }
    unreachable!()
}

fn record(kind: RecordKind, dice: &mut Dice) -> Record {
    let last = dice.below(4) as u8;
    let name =
        || DomainName::from_octets(format!("h{last}.example.org").as_bytes()).expect("a name");
    match kind {
        RecordKind::A => Record::A([192, 0, 2, last].into()),
        RecordKind::Aaaa => Record::Aaaa([0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()].into()),
        RecordKind::Mx => Record::Mx { preference: 1, exchange: (last > 0).then(name) },
        _ => Record::Ptr(name()),
    }
}

// --- the grammar ---

/// `record = version terms *SP`; `redirect` and `exp` at most once (section 6).
fn is_record(text: &[u8]) -> bool {
    let terms: Vec<&[u8]> = text.split(|octet| *octet == b' ').collect();
    let names = |wanted: &str| {
        let begins = |term: &&&[u8]| {
            let begin = term.get(..wanted.len());
            begin.is_some_and(|it| it.eq_ignore_ascii_case(wanted.as_bytes()))
        };
        terms.iter().filter(begins).count()
    };
    terms[0].eq_ignore_ascii_case(b"v=spf1")
        && terms[1..].iter().all(|term| term.is_empty() || is_directive(term) || is_modifier(term))
        && names("redirect=") <= 1
        && names("exp=") <= 1
}

fn is_modifier(term: &[u8]) -> bool {
    let Some(equals) = term.iter().position(|octet| *octet == b'=') else { return false };
    let (name, value) = (&term[..equals], &term[equals + 1..]);
    let is_name = name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(it));
    let known = [&b"redirect"[..], b"exp"].iter().any(|it| it.eq_ignore_ascii_case(name));
    is_name && if known { is_domain_spec(value) } else { is_macro_string(value) }
}

fn is_directive(term: &[u8]) -> bool {
    let lower = term.to_ascii_lowercase();
    let qualified = [&b""[..], b"+", b"-", b"?", b"~"];
    let is = |name: &str, argument: fn(&[u8]) -> bool| {
        qualified.iter().any(|qualifier| {
            let begin = [qualifier, name.as_bytes()].concat();
            lower.starts_with(&begin) && argument(&term[begin.len()..])
        })
    };
    is("all", <[u8]>::is_empty)
        || is("include:", is_domain_spec)
        || is("exists:", is_domain_spec)
        || is("ptr", <[u8]>::is_empty)
        || is("ptr:", is_domain_spec)
        || is("a", is_dual_length)
        || is("mx", is_dual_length)
        || is("a:", is_domain_with_lengths)
        || is("mx:", is_domain_with_lengths)
        || is("ip4:", |it| divided(it, |it| parses::<Ipv4Addr>(it), |it| is_length(it, 32)))
        || is("ip6:", |it| divided(it, |it| parses::<Ipv6Addr>(it), |it| is_length(it, 128)))
}

fn is_domain_with_lengths(text: &[u8]) -> bool {
    divided(text, is_domain_spec, is_dual_length)
}

fn is_dual_length(text: &[u8]) -> bool {
    let with_slash =
        |it: &[u8]| it.is_empty() || it[0] == b'/' && is_length(&it[1..], 128) && it.len() > 1;
    text.len() < 9 && divided(text, |it| is_length(it, 32), with_slash)
}

/// Nothing, or a slash and a number without leading zeros.
fn is_length(text: &[u8], most: u32) -> bool {
    let Ok(text) = str::from_utf8(text) else { return false };
    text.is_empty() || text.len() < 5 && (0..=most).any(|number| text == format!("/{number}"))
}

/// Whether the text has two such parts, divided anywhere.
fn divided(text: &[u8], first: impl Fn(&[u8]) -> bool, second: impl Fn(&[u8]) -> bool) -> bool {
    (0..=text.len()).any(|at| second(&text[at..]) && first(&text[..at]))
}

fn parses<T: std::str::FromStr>(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok_and(|it| it.parse::<T>().is_ok())
}

/// `domain-spec = macro-string domain-end`
fn is_domain_spec(text: &[u8]) -> bool {
    divided(text, is_macro_string, |end| is_expand(end) || is_top_label(end))
}

/// `"." toplabel [ "." ]`
fn is_top_label(text: &[u8]) -> bool {
    let Some(label) = text.strip_prefix(b".") else { return false };
    let label = label.strip_suffix(b".").unwrap_or(label);
    let word = |it: &[u8]| !it.is_empty() && it.iter().all(u8::is_ascii_alphanumeric);
    let hyphens = label.split(|octet| *octet == b'-').collect::<Vec<_>>();
    match hyphens[..] {
        [label] => word(label) && label.iter().any(u8::is_ascii_alphabetic),
        [first, .., last] => {
            word(first) && word(last) && hyphens.iter().all(|it| it.is_empty() || word(it))
        }
        [] => false,
    }
}

/// `macro-string = *( macro-expand / macro-literal )`
fn is_macro_string(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b'%', b'{', ..] => text
            .iter()
            .position(|octet| *octet == b'}')
            .is_some_and(|end| is_expand(&text[..=end]) && is_macro_string(&text[end + 1..])),
        [b'%', ..] => text.get(..2).is_some_and(is_expand) && is_macro_string(&text[2..]),
        [octet, rest @ ..] => (0x21..=0x7e).contains(octet) && is_macro_string(rest),
    }
}

/// `macro-expand`
fn is_expand(text: &[u8]) -> bool {
    let Some(inner) = text.strip_prefix(b"%{").and_then(|it| it.strip_suffix(b"}")) else {
        return matches!(text, b"%%" | b"%_" | b"%-");
    };
    let Some((letter, rest)) = inner.split_first() else { return false };
    let is_number = |it: &[u8]| {
        it.iter().all(u8::is_ascii_digit)
            && (it.is_empty() || it.iter().any(|digit| *digit != b'0'))
    };
    let is_end = |it: &[u8]| {
        let it = it.strip_prefix(b"r").or(it.strip_prefix(b"R")).unwrap_or(it);
        it.iter().all(|octet| b".-+,/_=".contains(octet))
    };
    b"slodiphv".contains(&letter.to_ascii_lowercase()) && divided(rest, is_number, is_end)
}
