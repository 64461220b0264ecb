//! Forms of the record, for a message that fails.

use nobounce::testing::Zone;

use super::{judge, symbols};

/// The TXT records of `_dmarc.legit.example`, separated by `|`, the symbol, and the paragraph.
type Row = (&'static str, &'static str, &'static str);

const NONE: &str = "DMARC_NONE";
const MONITOR: &str = "DMARC_FAIL_NONE";
const QUARANTINE: &str = "DMARC_FAIL_QUARANTINE";
const REJECT: &str = "DMARC_FAIL_REJECT";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("v=DMARC1; p=reject", REJECT, "RFC 9989 4.7"),
    ("v=DMARC1; p=quarantine", QUARANTINE, "RFC 9989 4.7"),
    ("v=DMARC1; p=none", MONITOR, "RFC 9989 4.7"),
    ("v=DMARC1;p=reject;", REJECT, "RFC 9989 4.8: dmarc-sep"),
    ("v=DMARC1 ;\tp = reject ;", REJECT, "RFC 9989 4.8: WSP"),
    ("v = DMARC1; p=reject", REJECT, "RFC 9989 4.8: equals"),
    ("v=DMARC1; p=REJECT", REJECT, "RFC 5234 2.3: strings in any case"),
    ("V=DMARC1; P=reject", REJECT, "RFC 5234 2.3: strings in any case"),
    ("v=DMARC1; rua=mailto:a@b.example; p=reject", REJECT, "RFC 9989 4.8: tags in any order"),
    ("v=DMARC1;; p=reject", REJECT, "RFC 9989 4.8: syntax errors are ignored"),
    ("v=DMARC1; nonsense; p=reject", REJECT, "RFC 9989 4.8: syntax errors are ignored"),
    ("v=DMARC1; x=y; p=reject; z=1", REJECT, "RFC 9989 4.7: unknown tags"),
    ("v=DMARC1; p=reject; p=none", REJECT, "RFC 9989 4.8: the first one counts"),
    ("v=DMARC1; p=reject; adkim=x; aspf=y", REJECT, "RFC 9989 4.8: defaults"),
    ("v=DMARC1; p=reject; ruf=nonsense; fo=9; ri=x; rf=y", REJECT, "RFC 9989 4.8: defaults"),
    ("v=DMARC1; p=reject; rua=nonsense", REJECT, "RFC 9989 4.8: defaults"),
    ("v=DMARC1; p=reject; psd=x", REJECT, "RFC 9989 4.8: defaults"),
    ("v=DMARC1; p=reject; np=none; sp=none", REJECT, "RFC 9989 4.7: p of the domain itself"),
    // Whether it is a record.
    ("v=DMARC1.0; p=reject", NONE, "RFC 9989 4.7: v"),
    ("v=DMARC2; p=reject", NONE, "RFC 9989 4.7: v"),
    ("v=dmarc1; p=reject", NONE, "RFC 9989 4.7: v is case-sensitive"),
    ("v=DMARC1 p=reject", NONE, "RFC 9989 4.7: v"),
    ("v=DMARC1, p=reject", NONE, "RFC 9989 4.7: v"),
    ("v=; p=reject", NONE, "RFC 9989 4.7: v"),
    ("DMARC1; p=reject", NONE, "RFC 9989 4.7: v"),
    ("p=reject", NONE, "RFC 9989 4.7: v"),
    ("p=reject; v=DMARC1", NONE, "RFC 9989 4.7: v is first"),
    ("; v=DMARC1; p=reject", NONE, "RFC 9989 4.7: v is first"),
    (" v=DMARC1; p=reject", NONE, "RFC 9989 4.8: dmarc-version"),
    ("\"v=DMARC1; p=reject\"", NONE, "RFC 9989 4.7: v"),
    ("v=spf1 -all", NONE, "RFC 9989 4.7: v"),
    // Several records.
    ("v=DMARC1; p=reject|v=DMARC1; p=none", NONE, "RFC 9989 4.10: several are none"),
    ("v=DMARC1; p=reject|v=DMARC1; p=reject", NONE, "RFC 9989 4.10: several are none"),
    ("v=DMARC1; p=reject|v=DMARC1", NONE, "RFC 9989 4.10: several are none"),
    ("other|v=DMARC1; p=reject|v=spf1 -all", REJECT, "RFC 9989 4.10: others are discarded"),
    ("v=DMARC2; p=none|v=DMARC1; p=reject", REJECT, "RFC 9989 4.10: others are discarded"),
    // Policies that are not usable.
    ("v=DMARC1", NONE, "RFC 9989 4.10.1: p"),
    ("v=DMARC1;", NONE, "RFC 9989 4.10.1: p"),
    ("v=DMARC1; p=", NONE, "RFC 9989 4.10.1: p"),
    ("v=DMARC1; p=rejected", NONE, "RFC 9989 4.10.1: p"),
    ("v=DMARC1; p=none reject", NONE, "RFC 9989 4.10.1: p"),
    ("v=DMARC1; p=quarentine", NONE, "RFC 9989 4.10.1: p"),
    ("v=DMARC1; sp=reject", NONE, "RFC 9989 4.10.1: p"),
    ("v=DMARC1; rua=mailto:a@b.example", MONITOR, "RFC 9989 4.10.1: rua"),
    ("v=DMARC1; p=x; rua=mailto:a@b.example", MONITOR, "RFC 9989 4.10.1: rua"),
    ("v=DMARC1; p=x; rua=mailto:a@b.example!10m", MONITOR, "RFC 9989 4.8: obs-dmarc-uri"),
    ("v=DMARC1; p=x; rua=nonsense, mailto:a@b.example", MONITOR, "RFC 9989 4.10.1: at least one"),
    ("v=DMARC1; p=x; rua=https://b.example/report", MONITOR, "RFC 9989 4.7: any URI"),
    ("v=DMARC1; p=x; rua=a@b.example", NONE, "RFC 9989 4.10.1: no URI"),
    ("v=DMARC1; p=x; rua=mailto:", NONE, "RFC 9989 4.10.1: no address"),
    ("v=DMARC1; p=x; rua=mailto:a", NONE, "RFC 6068 2: no address"),
    ("v=DMARC1; p=x; rua=mailto:a b@c", NONE, "RFC 3986 2: no URI"),
    ("v=DMARC1; p=x; rua=mailto:a%4@b.example", NONE, "RFC 3986 2.1"),
    ("v=DMARC1; p=x; ruf=mailto:a@b.example", NONE, "RFC 9989 4.10.1: rua, not ruf"),
    ("v=DMARC1; p=reject; sp=x", NONE, "RFC 9989 4.10.1: sp"),
    ("v=DMARC1; p=reject; np=x", NONE, "RFC 9989 4.10.1: np"),
    ("v=DMARC1; p=reject; sp=x; rua=mailto:a@b.example", MONITOR, "RFC 9989 4.10.1: sp"),
    // Testing.
    ("v=DMARC1; p=reject; t=y", QUARANTINE, "RFC 9989 4.7: t"),
    ("v=DMARC1; p=quarantine; t=Y", MONITOR, "RFC 9989 4.7: t"),
    ("v=DMARC1; p=none; t=y", MONITOR, "RFC 9989 4.7: t"),
    ("v=DMARC1; p=reject; t=n", REJECT, "RFC 9989 4.7: t"),
    ("v=DMARC1; p=reject; t=x", REJECT, "RFC 9989 4.8: defaults"),
    ("v=DMARC1; p=reject; pct=0", QUARANTINE, "RFC 9989 A.6: pct=0"),
    ("v=DMARC1; p=quarantine; pct=00", MONITOR, "RFC 7489 6.3: pct"),
    ("v=DMARC1; p=reject; pct=0; t=n", REJECT, "RFC 9989 4.7: t"),
    ("v=DMARC1; p=reject; pct=50", REJECT, "RFC 9989 4.7: unknown tags"),
    ("v=DMARC1; p=reject; pct=100", REJECT, "RFC 7489 6.3: pct"),
    ("v=DMARC1; p=reject; pct=x", REJECT, "RFC 9989 4.8: defaults"),
    ("v=DMARC1; p=reject; pct=", REJECT, "RFC 9989 4.8: defaults"),
    // The server fails.
    ("fails", "DMARC_TEMPERROR", "RFC 9989 5.3.6"),
];

/// Forms of the author field that every program reads.
const AUTHORS: [&str; 4] = [
    "From: admin@legit.example",
    "From: \"Ann\" <admin@legit.example.>",
    "From:\r\n (ann) admin @ legit . example",
    "From: Group: <@legit.example:admin@legit.example>;",
];

#[test]
fn record_is_applied_in_any_form() {
    assert!(ROWS.len() >= 60, "{}", ROWS.len());
    for (records, expected, why) in ROWS {
        let lines = records.split('|').map(|text| format!("_dmarc.legit.example TXT {text}\n"));
        // `Zone` removes blanks at the begin of a line only.
        let zone = lines.collect::<String>();
        for author in AUTHORS {
            let content = format!("{author}\r\n\r\nHello\r\n");
            let answer = judge(Zone::new(&zone), "x", "<a@attack.test>", content.as_bytes(), false);
            assert_eq!(symbols(&answer, &["DMARC_"]), *expected, "{records} ({why})");
            assert_eq!(answer.is_err(), *records == "fails", "{records} ({why})");
        }
    }
}

/// No form of a record makes a verified message worse.
#[test]
fn verified_message_passes_with_any_record() {
    for (records, expected, why) in ROWS {
        let lines = records.split('|').map(|text| format!("_dmarc.legit.example TXT {text}\n"));
        let zone = lines.collect::<String>() + "legit.example TXT v=spf1 +all";
        let content = b"From: admin@legit.example\r\n\r\nHello\r\n";
        let answer = judge(Zone::new(&zone), "x", "<a@legit.example>", content, true);
        let expected = match *expected {
            "DMARC_NONE" | "DMARC_TEMPERROR" => expected,
            _ => "DMARC_PASS",
        };
        assert_eq!(symbols(&answer, &["DMARC_"]), expected, "{records} ({why})");
    }
}
