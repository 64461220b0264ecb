//! Shapes of SPF policies and of answers about them.

use std::net::IpAddr;
use std::time::Duration;

use nobounce::authentication::{Spf, SpfResult, SpfStep};
use nobounce::dns::{Answer, Record, RecordKind};

use crate::{Shape, Work};

/// Size in octets. The largest TXT record has twice as many.
const SIZE: usize = 30_000;
/// Number of records in an answer. Our own resolver returns at most 1,000.
const RECORDS: usize = 4_000;

macro_rules! shape {
    ($name:literal, $size:expr, $least:expr, $prepare:expr) => {
        Shape { name: concat!("spf-", $name), size: $size, least: $least, prepare: $prepare }
    };
}

pub(crate) const SHAPES: &[Shape] = &[
    shape!("terms", SIZE, 2.0, |size| policy("", "ip4:198.51.100.1 ", "-all", size)),
    shape!("long-terms", SIZE, 2.0, |size| policy("", "ip6:2001:db8::a:b:c:d:e/64 ", "-all", size)),
    shape!("short-terms", SIZE, 2.0, |size| policy("", "a= ", "-all", size)),
    shape!("blanks", SIZE, 1.0, |size| policy("", "    ", "-all", size)),
    shape!("one-term", SIZE, 1.0, |size| policy("exists:", "xxxx", ".%{d} -all", size)),
    shape!("slashes", SIZE, 1.0, |size| policy("a:", "//1/1", ".%{d} -all", size)),
    shape!("labels", SIZE, 1.0, |size| policy("exists:", "x.x.", "x.%{d} -all", size)),
    shape!("macros", SIZE, 1.0, |size| policy("exists:", "%{d}", ".%{d} -all", size)),
    shape!("empty-macros", SIZE, 1.0, |size| policy("exists:", "%{l1-}", "%{l1-} -all", size)),
    shape!("percent", SIZE, 1.0, |size| policy("x=", "%%%%", " -all", size)),
    shape!("open-macros", SIZE, 0.01, |size| policy("x=", "%{d", " -all", size)),
    shape!("includes", SIZE, 2.0, |size| {
        let text = format!("include:d2.example {} -all", "ip4:198.51.100.1 ".repeat(size / 170));
        evaluation(text.into_bytes(), "a-@example.org".to_owned(), size)
    }),
    shape!("long-sender", SIZE, 1.0, |size| {
        let text = "exists:%{l-}.%{d} exists:%{s}.x.org exists:%{Lr-}.%{l1}.%{d} -all";
        evaluation(text.into(), format!("{}@example.org", "a-".repeat(size / 2)), size)
    }),
    shape!("other-texts", RECORDS, 5.0, |size| {
        records(size, RecordKind::Txt, |n| Record::Txt(format!("other={n}").into_bytes().into()))
    }),
    shape!("addresses", RECORDS, 5.0, |size| {
        records(size, RecordKind::A, |n| Record::A([203, 0, 113, n as u8].into()))
    }),
];

/// Evaluates a policy with this part repeated.
fn policy(begin: &str, part: &str, end: &str, size: usize) -> Work {
    let parts = part.repeat(size / part.len());
    evaluation(format!("{begin}{parts}{end}").into_bytes(), "a-@example.org".to_owned(), size)
}

/// Evaluates SPF when every domain has this policy, and every name has an address that is not the
/// client's.
fn evaluation(terms: Vec<u8>, sender: String, size: usize) -> Work {
    let text: Box<[u8]> = [b"v=spf1 ", &*terms].concat().into();
    let policy = Answer::new([Record::Txt(text)], Duration::ZERO);
    let address = Answer::new([Record::A([203, 0, 113, 1].into())], Duration::ZERO);
    Box::new(move || {
        let result = evaluate(&sender, |kind| match kind {
            RecordKind::Txt => policy.clone(),
            _ => address.clone(),
        });
        let results = [SpfResult::Pass, SpfResult::Fail, SpfResult::PermError];
        assert!(results.contains(&result), "{result}");
        size
    })
}

/// Evaluates SPF when each answer of this type has `size` records.
fn records(size: usize, of: RecordKind, record: impl Fn(usize) -> Record + 'static) -> Work {
    let policy = Record::Txt(b"v=spf1 a -all"[..].into());
    let many: Vec<Record> = (0..size).map(record).chain([policy.clone()]).collect();
    let many = Answer::new(many, Duration::ZERO);
    let policy = Answer::new([policy], Duration::ZERO);
    Box::new(move || {
        let result = evaluate("a@example.org", |kind| match kind {
            kind if kind == of => many.clone(),
            _ => policy.clone(),
        });
        assert_eq!(result, SpfResult::Fail);
        // Freeing the texts is not part of the measured work.
        std::mem::forget(many);
        size
    })
}

fn evaluate(sender: &str, answer: impl Fn(RecordKind) -> Answer) -> SpfResult {
    let client: IpAddr = [192, 0, 2, 1].into();
    let mut spf = Spf::new(client, "mx.example.org", sender);
    loop {
        let answer = match spf.poll() {
            SpfStep::Ask { kind, .. } => answer(kind),
            SpfStep::Done(outcome) => return outcome.result,
        };
        spf.answer(Ok(answer));
    }
}
