//! The cases of espoofer (Chen, Paxson, Jiang: "Composition Kills", USENIX Security 2020) for servers, with
//! our own messages. Each is refused, or it has a finding with a score above zero.

use nobounce::testing::Zone;
use nobounce::{Score, ScorerError};

use super::{ZONE, judge};

/// Number in espoofer, HELO name, sender, header section, and the part of the paper.
type Case = (&'static str, &'static str, &'static str, &'static [u8], &'static str);

const GOOD: &[u8] = b"From: <admin@legit.example>\r\n";
const SENDER: &str = "<any@attack.example>";

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("a1", "helo.attack.example", "<any@mailfrom.notexist.legit.example>", GOOD, "a subdomain that does not exist"),
    ("a2", "attack.example", "<(any@legit.example>", GOOD, "an empty MAIL FROM for some"),
    ("a3", "attack.example", SENDER, b"DKIM-Signature: v=1; a=rsa-sha256; d=legit.example; s=s._domainkey.attack.example.\0.any; h=from; bh=AAAA; b=AAAA\r\nFrom: <admin@legit.example>\r\n", "NUL in a selector"),
    ("a4", "attack.example", SENDER, b"DKIM-Signature: v=1; a=rsa-sha256; d=legit.example'a.attack.example; s=s; h=from; bh=AAAA; b=AAAA\r\nFrom: <admin@legit.example>\r\n", "a quote in d="),
    ("a5", "attack.example", "<any@legit.example(a.attack.example>", GOOD, "a parenthesis in MAIL FROM"),
    ("a6", "attack.example", "<any@legit.example'@any.attack.example>", GOOD, "a quote in MAIL FROM"),
    ("a7", "attack.example", "<@legit.example,@any.example:'any@attack.example>", GOOD, "a route in MAIL FROM"),
    ("a8", "attack.example", SENDER, b"From: <first@attack.example>\r\nFrom: <admin@legit.example>\r\n", "two fields"),
    ("a9", "attack.example", SENDER, b" From: <first@attack.example>\r\nFrom: <admin@legit.example>\r\n", "a blank before the name"),
    ("a10", "attack.example", SENDER, b"From: <first@attack.example>\r\nFrom : <admin@legit.example>\r\n", "a blank after the name"),
    ("a11", "attack.example", SENDER, b"From\r\n : <first@attack.example>\r\nFrom: <admin@legit.example>\r\n", "a folded name"),
    ("a12", "attack.example", SENDER, b"From\r\n : <first@attack.example>\r\nSender: <admin@legit.example>\r\n", "a folded name and Sender"),
    ("a13", "attack.example", SENDER, b"From\r\n : <first@attack.example>\r\nResent-From: <admin@legit.example>\r\n", "a folded name and Resent-From"),
    ("a14", "attack.example", SENDER, b"From: <first@attack.example>, <admin@legit.example>\r\nSender: <s@sender.legit.example>\r\n", "two addresses"),
    ("a15", "attack.example", SENDER, b"From: =?utf-8?B?PGFkbWluQGxlZ2l0LmV4YW1wbGU+?=,<second@attack.example>\r\n", "an encoded address"),
    ("a16", "attack.example", SENDER, b"From: <@attack.example,@any.example:admin@legit.example>\r\n", "a route"),
    ("a17", "attack.example", SENDER, b"From: <admin@legit.example>\\,<second@attack.example>\r\n", "a quoted pair"),
    ("a18", "attack.example", SENDER, b"From: admin@legit.example,<second@attack.example>\r\n", "two kinds of addresses"),
    ("a19", "attack.example", SENDER, b"From: <any@attack.example>admin@legit.example\r\n", "an address after an address"),
];

#[test]
fn espoofer_cases_are_refused_or_have_a_score() {
    for (number, helo, sender, header, what) in CASES {
        // The line before the header section, as in the original, and another field before it.
        for before in [&b""[..], b"To: <bob@example.net>\r\n"] {
            let content = [before, header, b"Subject: x\r\n\r\nHello\r\n"].concat();
            let zone = Zone::new(ZONE);
            let answer = judge(zone, helo, sender, &content, true);
            let opinion = answer.as_ref().unwrap_or_else(ScorerError::opinion);
            let scored = opinion
                .findings
                .iter()
                .any(|it| it.symbol().starts_with("FROM_") && it.score() > Score::ZERO);
            assert!(opinion.refusal.is_some() || scored, "{number}: {what}: {opinion:?}");
            assert!(answer.is_ok(), "{number}: {what}");
        }
    }
}
