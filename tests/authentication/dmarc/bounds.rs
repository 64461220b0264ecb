//! The bounds of DMARC (`nobounce::docs::bounds`).

use std::collections::BTreeSet;

use nobounce::authentication::DmarcMechanism::Dkim;
use nobounce::authentication::{Authors, Dmarc, DmarcIdentifier, DmarcResult, DmarcStep};
use nobounce::dns::{Answer, DomainName, Record, RecordKind};

use crate::message;

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn signed(domain: String) -> DmarcIdentifier {
    DmarcIdentifier { mechanism: Dkim, domain: name(&domain), is_verified: true }
}

/// Evaluates to the end. Returns the result and the questions.
fn evaluate(
    mut dmarc: Dmarc,
    answer: impl Fn(&DomainName, RecordKind) -> Answer,
) -> (DmarcResult, Vec<String>) {
    let mut questions = Vec::new();
    loop {
        let (name, kind) = match dmarc.poll() {
            DmarcStep::Ask { name, kind } => (name.clone(), kind),
            DmarcStep::Done(outcome) => return (outcome.result, questions),
        };
        questions.push(format!("{kind:?} {name}"));
        dmarc.answer(Ok(answer(&name, kind)));
    }
}

fn nothing() -> Answer {
    Answer::no_such_domain(std::time::Duration::ZERO)
}

fn text(text: &str) -> Answer {
    Answer::new([Record::Txt(text.as_bytes().into())], std::time::Duration::ZERO)
}

fn authors(content: &str) -> Authors {
    Authors::read(&message(content.as_bytes()))
}

#[test]
fn seven_author_domains_and_the_last_one_are_read() {
    for (count, expected) in
        [(8, "1 2 3 4 5 6 7 8"), (9, "1 2 3 4 5 6 7 9"), (30, "1 2 3 4 5 6 7 30")]
    {
        let list: Vec<_> = (1..=count).map(|at| format!("a@{at}")).collect();
        let found = authors(&format!("From: {}\r\n\r\n", list.join(", ")));
        let domains: Vec<_> = found.domains().iter().map(|domain| &**domain).collect();
        assert_eq!(domains.join(" "), expected);
        assert_eq!((found.are_several(), found.are_truncated()), (true, count > 8));
        // The evaluator has the same bound.
        let all = (1..=count).map(|at| name(&at.to_string()));
        let questions = evaluate(Dmarc::new(all, []), |_, _| nothing()).1;
        assert_eq!(questions.len(), 8);
    }
}

#[test]
fn from_fields_of_64_kib_are_read() {
    for parts in [1, 64] {
        for beyond in [0, 1] {
            let last = " a@b.example\r\n";
            let octets = (64 << 10) - last.len() + beyond;
            let rest = "x".repeat(octets - 4 * (parts - 1) - 2);
            let header = "From: x\r\n".repeat(parts - 1) + "From:" + &rest + "\r\n" + last;
            let found = authors(&format!("{header}\r\n"));
            let long = "From fields of more than 65,536 octets";
            assert_eq!(found.malformation() == Some(long), beyond == 1, "{parts}: {found:?}");
        }
    }
}

#[test]
fn eight_names_are_walked() {
    for labels in [2, 7, 8, 9, 100] {
        let author = format!("{}example", "a.".repeat(labels - 1));
        let questions = evaluate(Dmarc::new([name(&author)], []), |_, _| nothing()).1;
        assert_eq!(questions.len(), labels.min(8), "{questions:?}");
        assert_eq!(questions.last().unwrap(), "Txt _dmarc.example");
    }
}

#[test]
fn organizational_domains_of_eight_identifiers_are_looked_up() {
    let record = |domain: &DomainName, _: RecordKind| match &**domain {
        "_dmarc.a.example" => text("v=DMARC1; p=reject"),
        _ => nothing(),
    };
    for (foreign, expected) in [(7, DmarcResult::Pass), (8, DmarcResult::Fail)] {
        let others = (0..foreign).map(|at| signed(format!("x{at}.test")));
        let identifiers = others.chain([signed("b.a.example".into())]);
        let (result, _) = evaluate(Dmarc::new([name("a.example")], identifiers), record);
        assert_eq!(result, expected);
        // It is aligned with itself in any case.
        let others = (0..foreign).map(|at| signed(format!("x{at}.test")));
        let identifiers = others.chain([signed("a.example".into())]);
        let (result, _) = evaluate(Dmarc::new([name("a.example")], identifiers), record);
        assert_eq!(result, DmarcResult::Pass);
    }
}

/// Every author domain and every identifier needs its whole walk, and each author domain a question about
/// its existence.
#[test]
fn dmarc_questions_are_bounded() {
    let deep = |top: &str| format!("{}{top}", "l.".repeat(9));
    let authors = (0..20).map(|at| name(&deep(&format!("a{at}.example"))));
    let identifiers = (0..20).map(|at| signed(deep(&format!("i{at}.example"))));
    let (result, questions) =
        evaluate(Dmarc::new(authors, identifiers), |domain, _| match &**domain {
            "_dmarc.example" => text("v=DMARC1; p=none; sp=none; np=quarantine; adkim=r"),
            _ => nothing(),
        });
    assert_eq!(result, DmarcResult::Pass);
    let (result, more) = evaluate(
        Dmarc::new(
            (0..20).map(|at| name(&deep(&format!("a{at}.example")))),
            (0..20).map(|at| signed(deep(&format!("psd.i{at}.example")))),
        ),
        |domain, _| match &**domain {
            "_dmarc.example" => text("v=DMARC1; p=none; sp=none; np=quarantine"),
            psd if psd.starts_with("_dmarc.psd.") => text("v=DMARC1; p=none; psd=n"),
            _ => nothing(),
        },
    );
    assert_eq!(result, DmarcResult::Fail);
    for questions in [questions, more] {
        let different: BTreeSet<_> = questions.iter().collect();
        assert_eq!(different.len(), questions.len(), "each question is asked once");
        assert!((64..=136).contains(&questions.len()), "{} questions", questions.len());
    }
}
