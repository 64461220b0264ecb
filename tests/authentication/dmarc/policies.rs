//! Policies of domains above that of the author, and alignment.

use nobounce::authentication::DmarcMechanism::{self, Dkim, Spf};
use nobounce::authentication::{Dmarc, DmarcIdentifier, DmarcOutcome, dmarc};
use nobounce::dns::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};
use nobounce::testing::Zone;

/// A zone, author domains, verified identifiers (`dkim:` before those of signatures, `?` after those whose
/// lookup failed), the outcome, and the paragraph.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

const REJECT: &str = "_dmarc.a.example TXT v=DMARC1; p=reject";
const STRICT: &str = "_dmarc.a.example TXT v=DMARC1; p=reject; adkim=s; aspf=s";
const STRICT_SPF: &str = "_dmarc.a.example TXT v=DMARC1; p=reject; aspf=S";
const BANK: &str = "_dmarc.bank.example TXT v=DMARC1; psd=y; p=quarantine; np=reject\n\
                    _dmarc.giant.bank.example TXT v=DMARC1; p=reject";
const SUB: &str =
    "_dmarc.a.example TXT v=DMARC1; p=none; sp=quarantine; np=reject\nb.a.example A 192.0.2.9";
const LEVELS: &str = "_dmarc.a.example TXT v=DMARC1; p=reject; sp=none\n\
                      _dmarc.b.a.example TXT v=DMARC1; p=quarantine; sp=reject";
const DEEP: &str = "_dmarc.x.example TXT v=DMARC1; p=reject";
const LONG: &str = "1.2.3.4.5.6.7.8.9.x.example";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Alignment.
    (REJECT, "a.example", "", "fail reject", "RFC 9989 5.3.5: no identifier"),
    (REJECT, "a.example", "a.example", "pass", "RFC 9989 4.4.2"),
    (REJECT, "a.example", "dkim:a.example", "pass", "RFC 9989 4.4.1"),
    (REJECT, "a.example", "b.example", "fail reject", "RFC 9989 4.4"),
    (REJECT, "a.example", "b.test dkim:a.example", "pass", "RFC 9989 5.3.5: one is enough"),
    (REJECT, "a.example", "b.a.example", "pass", "RFC 9989 3.2.10.1: relaxed"),
    (REJECT, "a.example", "dkim:c.b.a.example", "pass", "RFC 9989 3.2.10.1: relaxed"),
    (REJECT, "b.a.example", "a.example", "pass", "RFC 9989 3.2.10.1: relaxed"),
    (REJECT, "b.a.example", "dkim:c.a.example", "pass", "RFC 9989 3.2.10.1: relaxed"),
    (REJECT, "b.a.example", "example", "fail reject", "RFC 9989 4.10.2"),
    (REJECT, "a.example", "xa.example", "fail reject", "RFC 9989 4.4: whole labels"),
    (STRICT, "a.example", "b.a.example dkim:b.a.example", "fail reject", "RFC 9989 3.2.10.2: strict"),
    (STRICT, "a.example", "dkim:a.example", "pass", "RFC 9989 3.2.10.2: strict"),
    (STRICT, "b.a.example", "a.example", "fail reject", "RFC 9989 3.2.10.2: strict"),
    (STRICT, "b.a.example", "b.a.example", "pass", "RFC 9989 3.2.10.2: strict"),
    (STRICT_SPF, "a.example", "b.a.example", "fail reject", "RFC 9989 4.7: aspf"),
    (STRICT_SPF, "a.example", "b.a.example dkim:b.a.example", "pass", "RFC 9989 4.7: adkim"),
    // The policy of a domain above.
    ("", "a.example", "a.example", "none", "RFC 9989 4.10.1: no record"),
    ("_dmarc.example TXT other", "a.example", "", "none", "RFC 9989 4.10.1: no record"),
    (SUB, "a.example", "", "fail none", "RFC 9989 4.7: p"),
    (SUB, "b.a.example", "", "fail quarantine", "RFC 9989 4.7: sp"),
    (SUB, "c.a.example", "", "fail reject", "RFC 9989 4.7: np"),
    (SUB, "d.c.a.example", "", "fail reject", "RFC 8020 2: np"),
    (SUB, "c.a.example", "c.a.example", "pass", "RFC 9989 4.10.1: np"),
    ("_dmarc.a.example TXT v=DMARC1; p=none; np=reject", "b.a.example", "", "fail reject", "RFC 9989 4.7: np"),
    ("_dmarc.a.example TXT v=DMARC1; p=none; np=reject\nx.b.a.example A 192.0.2.9", "b.a.example", "", "fail none", "RFC 2308 2.2: NODATA"),
    ("_dmarc.a.example TXT v=DMARC1; p=none; np=reject\nb.a.example A fails", "b.a.example", "", "temperror", "RFC 9989 5.3.6"),
    ("_dmarc.a.example TXT v=DMARC1; p=reject; sp=none", "b.a.example", "", "fail none", "RFC 9989 4.7: np is sp"),
    ("_dmarc.a.example TXT v=DMARC1; p=reject; t=y", "b.a.example", "", "fail quarantine", "RFC 9989 4.7: t"),
    ("_dmarc.a.example TXT v=DMARC1; p=reject; sp=quarantine; t=y", "b.a.example", "", "fail none", "RFC 9989 4.7: t"),
    // The organizational domain.
    (LEVELS, "b.a.example", "", "fail quarantine", "RFC 9989 4.10.1: the author domain first"),
    (LEVELS, "c.b.a.example", "", "fail none", "RFC 9989 4.10.2: the fewest labels"),
    (LEVELS, "b.a.example", "c.a.example", "pass", "RFC 9989 4.10.2: the fewest labels"),
    ("_dmarc.a.example TXT v=DMARC1; p=none\n_dmarc.b.a.example TXT v=DMARC1; p=reject; psd=n", "c.b.a.example", "a.example", "fail reject", "RFC 9989 4.10.2: psd=n"),
    ("_dmarc.a.example TXT v=DMARC1; p=none\n_dmarc.b.a.example TXT v=DMARC1; p=reject; psd=n", "b.a.example", "dkim:x.b.a.example", "pass", "RFC 9989 4.10.2: psd=n"),
    (BANK, "giant.bank.example", "mail.giant.bank.example", "pass", "RFC 9989 B.4.3"),
    (BANK, "giant.bank.example", "dkim:mail.mega.bank.example", "fail reject", "RFC 9989 B.4.3"),
    (BANK, "mega.bank.example", "", "fail reject", "RFC 9989 4.10.1: np of a PSD"),
    (BANK, "bank.example", "", "fail quarantine", "RFC 9989 4.10.1: a PSD itself"),
    (BANK, "bank.example", "giant.bank.example", "fail quarantine", "RFC 9989 4.10.2: below a PSD"),
    (BANK, "mega.bank.example", "x.mega.bank.example", "pass", "RFC 9989 4.10.2: one label below a PSD"),
    (BANK, "x.mega.bank.example", "y.mega.bank.example", "pass", "RFC 9989 4.10.2: one label below a PSD"),
    (BANK, "mega.bank.example", "tiny.bank.example", "fail reject", "RFC 9989 4.10.2: one label below a PSD"),
    ("_dmarc.example TXT v=DMARC1; p=reject", "a.example", "b.example", "pass", "RFC 9989 11.8: without psd=y"),
    // Many labels.
    (DEEP, LONG, "", "fail reject", "RFC 9989 4.10: 8 names"),
    (DEEP, LONG, "x.example", "pass", "RFC 9989 B.4.2"),
    (DEEP, LONG, "dkim:signing.x.example", "pass", "RFC 9989 B.4.2"),
    ("_dmarc.2.3.4.5.6.7.8.9.x.example TXT v=DMARC1; p=reject", LONG, "", "none", "RFC 9989 4.10: skipped names"),
    ("_dmarc.5.6.7.8.9.x.example TXT v=DMARC1; p=reject", LONG, "", "fail reject", "RFC 9989 4.10: seven labels"),
    // Failed lookups.
    ("_dmarc.a.example TXT fails", "a.example", "a.example", "temperror", "RFC 9989 5.3.6"),
    ("_dmarc.b.a.example TXT fails\n_dmarc.a.example TXT v=DMARC1; p=reject", "b.a.example", "", "temperror", "RFC 9989 5.3.6"),
    ("_dmarc.a.example TXT fails", "b.a.example", "", "temperror", "RFC 9989 4.10.1"),
    ("_dmarc.example TXT fails\n_dmarc.a.example TXT v=DMARC1; p=reject", "a.example", "b.example", "fail reject", "a top-level domain"),
    ("_dmarc.example TXT fails\n_dmarc.a.example TXT v=DMARC1; p=reject", "b.a.example", "c.a.example", "pass", "a top-level domain"),
    ("_dmarc.example TXT fails", "a.example", "", "none", "a top-level domain"),
    ("_dmarc.co.example TXT fails\n_dmarc.a.co.example TXT v=DMARC1; p=reject", "a.co.example", "b.co.example", "temperror", "RFC 9989 5.3.6: it may be aligned"),
    ("_dmarc.co.example TXT fails\n_dmarc.a.co.example TXT v=DMARC1; p=reject", "a.co.example", "b.a.co.example", "pass", "RFC 9989 5.3.6: aligned without it"),
    ("_dmarc.co.example TXT fails\n_dmarc.a.co.example TXT v=DMARC1; p=reject", "a.co.example", "b.example", "fail reject", "RFC 9989 5.3.6: it cannot be aligned"),
    ("_dmarc.b.example TXT fails\n_dmarc.a.example TXT v=DMARC1; p=reject", "a.example", "b.example", "fail reject", "RFC 9989 5.3.6: it cannot be aligned"),
    (REJECT, "a.example", "a.example?", "temperror", "RFC 9989 5.3.6: an aligned identifier"),
    (REJECT, "a.example", "dkim:b.a.example?", "temperror", "RFC 9989 5.3.6: an aligned identifier"),
    (REJECT, "a.example", "b.example? dkim:c.test?", "fail reject", "RFC 9989 5.3.6: unaligned identifiers"),
    (REJECT, "a.example", "a.example? dkim:a.example", "pass", "RFC 9989 5.3.5: another identifier"),
    (STRICT, "a.example", "b.a.example?", "fail reject", "RFC 9989 5.3.6: unaligned identifiers"),
    // Several author domains.
    (REJECT, "a.example b.test", "b.test", "fail reject", "RFC 9989 11.5: the strictest"),
    (REJECT, "b.test a.example", "a.example", "none", "RFC 9989 11.5: one is not verified"),
    (LEVELS, "a.example b.a.example", "", "fail reject", "RFC 9989 11.5: the strictest"),
    (LEVELS, "x.a.example b.a.example", "", "fail quarantine", "RFC 9989 11.5: the strictest"),
    ("_dmarc.a.example TXT fails\n_dmarc.b.example TXT v=DMARC1; p=reject", "a.example b.example", "", "fail reject", "RFC 9989 11.5: the strictest"),
    ("_dmarc.a.example TXT fails\n_dmarc.b.example TXT v=DMARC1; p=quarantine", "b.example a.example", "", "temperror", "RFC 9989 11.5: it may be stricter"),
    (REJECT, "", "a.example", "none", "RFC 9989 5.3.1: no author domain"),
];

fn evaluate(zone: impl Resolver, authors: &str, identifiers: &str) -> DmarcOutcome {
    let authors = authors.split_whitespace().map(|name| name.parse().unwrap());
    let identifiers = identifiers.split_whitespace().map(identifier);
    pollster::block_on(dmarc(&zone, Dmarc::new(authors.collect::<Vec<DomainName>>(), identifiers)))
}

fn identifier(text: &str) -> DmarcIdentifier {
    let (mechanism, text): (DmarcMechanism, _) = match text.strip_prefix("dkim:") {
        Some(text) => (Dkim, text),
        None => (Spf, text),
    };
    let domain = text.trim_end_matches('?').parse().unwrap();
    DmarcIdentifier { mechanism, domain, is_verified: !text.ends_with('?') }
}

#[test]
fn policy_and_alignment_are_those_of_rfc_9989() {
    assert!(ROWS.len() >= 60, "{}", ROWS.len());
    for (zone, authors, identifiers, expected, why) in ROWS {
        let outcome = evaluate(Zone::new(zone), authors, identifiers);
        let policy = outcome.policy.filter(|_| expected.starts_with("fail"));
        let found =
            [outcome.result.as_str(), policy.map_or("", |policy| policy.as_str())].join(" ");
        assert_eq!(
            found.trim(),
            *expected,
            "{zone}: {authors}, {identifiers} ({why}): {outcome:?}"
        );
    }
}

/// Every name has the same answer.
struct Everywhere(Vec<Record>);

#[nobounce::async_trait]
impl Resolver for Everywhere {
    async fn lookup(&self, _: &DomainName, _: RecordKind) -> Result<Answer, ResolveError> {
        Ok(Answer::new(self.0.clone(), std::time::Duration::ZERO))
    }
}

/// Names with octets that host names do not have, and names that are too long for a record.
#[test]
fn any_name_can_be_an_author_domain() {
    let record = || Everywhere(vec![Record::Txt(b"v=DMARC1; p=reject"[..].into())]);
    let label = "x".repeat(63);
    let long = format!("{label}.{label}.{label}.{}", &label[..61]);
    for name in ["a'b.example", "a b.example", "*.example", "a\\.b", &long, "localhost"] {
        let domain = DomainName::from_octets(name.as_bytes()).unwrap();
        let outcome = pollster::block_on(dmarc(&record(), Dmarc::new([domain], [])));
        assert!(outcome.is_rejected(), "{name}: {outcome:?}");
    }
}
