//! DMARC records, held to the grammar of RFC 9989 section 4.8, which is matched with all possible divisions
//! of the text. The record is that of the author domain, of a domain above it, or of both, and the outcome
//! must be that of the tags.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nobounce::authentication::DmarcPolicy::{self, None as Monitor, Quarantine, Reject};
use nobounce::authentication::{
    Dmarc, DmarcIdentifier, DmarcMechanism, DmarcOutcome, DmarcResult, DmarcStep,
};
use nobounce::dns::{Answer, DomainName, Record, RecordKind, ResolveError};
use nobounce_fuzz::{Dice, shown};

fuzz_target!(|input: &[u8]| {
    let (text, mut dice) = Dice::split(input);
    own_record(text);
    record_above(text, dice.below(2) == 0);
    anywhere(text, &mut dice);
});

/// The record of the author domain.
fn own_record(text: &[u8]) {
    for (identifier, strict) in [("a.example", None), ("b.a.example", Some("adkim"))] {
        let outcome = evaluate("a.example", Some(identifier), |name, _| match name {
            "_dmarc.a.example" => found(text),
            _ => nothing(),
        });
        let expected = match policies(text) {
            None => DmarcResult::None,
            // Domains below a public suffix domain are those of others.
            Some(_) if strict.is_some_and(|tag| is(text, tag, "s") || is(text, "psd", "y")) => {
                DmarcResult::Fail
            }
            Some(_) => DmarcResult::Pass,
        };
        assert_eq!(outcome.result, expected, "{}", shown(text));
    }
    let outcome = evaluate("a.example", None, |name, _| match name {
        "_dmarc.a.example" => found(text),
        _ => nothing(),
    });
    let expected = policies(text).map(|[domain, ..]| applied(text, domain));
    assert_eq!(outcome.policy, expected, "{}", shown(text));
    assert_eq!(outcome.result != DmarcResult::None, expected.is_some());
}

/// The record of the domain above.
fn record_above(text: &[u8], exists: bool) {
    let outcome = evaluate("b.a.example", None, |name, kind| match (name, kind) {
        ("_dmarc.a.example", _) => found(text),
        (_, RecordKind::A) if exists => Answer::new([], Duration::ZERO),
        _ => nothing(),
    });
    let policy = |[_, subdomains, nonexistent]: [DmarcPolicy; 3]| {
        applied(text, if exists { subdomains } else { nonexistent })
    };
    assert_eq!(outcome.policy, policies(text).map(policy), "{}", shown(text));
}

/// Each name has this record, none, several, or a failure.
fn anywhere(text: &[u8], dice: &mut Dice) {
    let depth = dice.below(12);
    let author: DomainName = format!("{}example", "a.".repeat(depth)).parse().expect("a name");
    let identifier = |domain: String| DmarcIdentifier {
        mechanism: DmarcMechanism::Dkim,
        domain: domain.parse().expect("a name"),
        is_verified: domain.len() % 2 == 0,
    };
    let identifiers = (0..dice.below(12)).map(|at| identifier(format!("b{at}.{author}")));
    let mut dmarc = Dmarc::new([author.clone(), "x.test".parse().expect("a name")], identifiers);
    for question in 0.. {
        assert!(question <= 136, "{question} questions");
        let answer = match (dmarc.poll(), dice.below(5)) {
            (DmarcStep::Done(_), _) => return,
            (_, 0) => Err(ResolveError::Late),
            (_, 1) => Ok(nothing()),
            (_, 2) => Ok(Answer::new([record(text), record(text)], Duration::ZERO)),
            _ => Ok(found(text)),
        };
        dmarc.answer(answer);
    }
}

fn evaluate(
    author: &str,
    identifier: Option<&str>,
    answer: impl Fn(&str, RecordKind) -> Answer,
) -> DmarcOutcome {
    let identifier = identifier.map(|domain| DmarcIdentifier {
        mechanism: DmarcMechanism::Dkim,
        domain: domain.parse().expect("a name"),
        is_verified: true,
    });
    let mut dmarc = Dmarc::new([author.parse().expect("a name")], identifier);
    loop {
        let answer = match dmarc.poll() {
            DmarcStep::Ask { name, kind } => answer(name, kind),
            DmarcStep::Done(outcome) => return outcome.clone(),
        };
        dmarc.answer(Ok(answer));
    }
}

fn record(text: &[u8]) -> Record {
    Record::Txt(text.into())
}

fn found(text: &[u8]) -> Answer {
    Answer::new([record(text)], Duration::ZERO)
}

fn nothing() -> Answer {
    Answer::no_such_domain(Duration::ZERO)
}

// --- the grammar ---

/// The policies of the domain, of subdomains, and of those that do not exist.
fn policies(text: &[u8]) -> Option<[DmarcPolicy; 3]> {
    if !is_record(text) {
        return None;
    }
    let policy = |name| tag(text, name).map(|value| request(&value));
    let (p, sp, np) = (policy("p"), policy("sp"), policy("np"));
    match (p, sp.unwrap_or(Some(Monitor)), np.unwrap_or(Some(Monitor))) {
        (Some(Some(domain)), Some(_), Some(_)) => {
            let subdomains = sp.flatten().unwrap_or(domain);
            Some([domain, subdomains, np.flatten().unwrap_or(subdomains)])
        }
        _ if tag(text, "rua").is_some_and(|list| has_uri(&list)) => Some([Monitor; 3]),
        _ => None,
    }
}

fn applied(text: &[u8], policy: DmarcPolicy) -> DmarcPolicy {
    let zero = |value: Vec<u8>| !value.is_empty() && value.iter().all(|digit| *digit == b'0');
    let decided = is(text, "t", "y") || is(text, "t", "n");
    let testing = is(text, "t", "y") || !decided && tag(text, "pct").is_some_and(zero);
    match (policy, testing) {
        (Reject, true) => Quarantine,
        (Quarantine, true) => Monitor,
        _ => policy,
    }
}

fn is(text: &[u8], name: &str, value: &str) -> bool {
    tag(text, name).is_some_and(|it| it.eq_ignore_ascii_case(value.as_bytes()))
}

/// `dmarc-version`, and the end of the text or of the tag after it.
fn is_record(text: &[u8]) -> bool {
    let begin = text.split(|octet| *octet == b';').next().unwrap_or_default();
    let is_blank = |octet: &u8| matches!(octet, b' ' | b'\t');
    let solid: Vec<u8> = begin.iter().copied().filter(|octet| !is_blank(octet)).collect();
    let is_joined = begin.windows(6).any(|it| it == b"DMARC1");
    begin.first().is_some_and(|it| it.eq_ignore_ascii_case(&b'v'))
        && solid.get(1..) == Some(b"=DMARC1")
        && is_joined
}

/// The value of the first tag of this name.
fn tag(text: &[u8], name: &str) -> Option<Vec<u8>> {
    let text: String = text.iter().copied().map(char::from).collect();
    let blanks = [' ', '\t'];
    text.split(';').skip(1).find_map(|spec| {
        let (found, value) = spec.split_once('=')?;
        let value = value.trim_matches(blanks).chars().map(|c| c as u8).collect();
        found.trim_matches(blanks).eq_ignore_ascii_case(name).then_some(value)
    })
}

fn request(value: &[u8]) -> Option<DmarcPolicy> {
    let is = |word: &str| value.eq_ignore_ascii_case(word.as_bytes());
    [("none", Monitor), ("quarantine", Quarantine), ("reject", Reject)]
        .into_iter()
        .find_map(|(word, policy)| is(word).then_some(policy))
}

/// `dmarc-urilist` with at least one URI.
fn has_uri(list: &[u8]) -> bool {
    let list: String = list.iter().copied().map(char::from).collect();
    list.split(',').any(|address| {
        let uri = address.split('!').next().unwrap_or_default().trim_matches([' ', '\t']);
        let Some((scheme, rest)) = uri.split_once(':') else { return false };
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let mut ahead = rest.chars();
        let mut is_rest = !rest.is_empty();
        while let Some(c) = ahead.next() {
            is_rest &= match c {
                '%' => (0..2).all(|_| ahead.next().is_some_and(|c| c.is_ascii_hexdigit())),
                _ => c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=".contains(c),
            };
        }
        let is_mailbox =
            || rest.split_once('@').is_some_and(|it| !it.0.is_empty() && !it.1.is_empty());
        is_scheme && is_rest && (!scheme.eq_ignore_ascii_case("mailto") || is_mailbox())
    })
}
