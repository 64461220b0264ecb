//! Forms of the `From` field. `legit.example` has `p=reject`, and the client may send for `attack.example`.

use nobounce::authentication::Authors;
use nobounce::testing::Zone;

use super::{ZONE, judge, symbols};
use crate::message;

/// A header section, the author domains in it, the symbol beside DMARC (`S`: `FROM_SEVERAL`, `M`:
/// `FROM_MALFORMED`), and the paragraph.
type Row = (&'static [u8], &'static str, &'static str, &'static str);

const L: &str = "legit.example";
const BOTH: &str = "attack.example legit.example";
const TURNED: &str = "legit.example attack.example";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // One mailbox.
    (b"From: admin@legit.example", L, "", "RFC 5322 3.4: addr-spec"),
    (b"From: <admin@legit.example>", L, "", "RFC 5322 3.4: angle-addr"),
    (b"From:<admin@legit.example>", L, "", "RFC 5322 2.2"),
    (b"FROM: admin@legit.example", L, "", "RFC 5322 1.2.2: names in any case"),
    (b"from:\tadmin@LEGIT.Example", L, "", "RFC 5321 2.3.5: domains in any case"),
    (b"From: Ann Example <admin@legit.example>", L, "", "RFC 5322 3.4: name-addr"),
    (b"From: \"Ann, Example\" <admin@legit.example>", L, "", "RFC 5322 3.2.4"),
    (b"From: Example, Ann <admin@legit.example>", L, "", "RFC 5322 4.4: null list members"),
    (b"From: A. N. Other <admin@legit.example>", L, "", "RFC 5322 4.1: obs-phrase"),
    (b"From: =?utf-8?q?J=C3=BCrgen?= <admin@legit.example>", L, "", "RFC 2047 5"),
    (b"From: J\xc3\xbcrgen <admin@legit.example>", L, "", "RFC 6532 3.2"),
    (b"From: J\xfcrgen <admin@legit.example>", L, "", "RFC 5322 3.4"),
    (b"From: \"admin\"@legit.example", L, "", "RFC 5322 3.4.1: quoted-string"),
    (b"From: \"a@attack.example\"@legit.example", BOTH, "S", "RFC 5322 3.4.1: programs that look for the first `@`"),
    (b"From: <\"<a@attack.example>\" @legit.example>", BOTH, "S", "RFC 5322 3.4.1"),
    (b"From: \"a@attack.example\".b@legit.example", L, "", "RFC 5322 4.4: obs-local-part"),
    (b"From: \"a\\\"@attack.example\"@legit.example", BOTH, "S", "RFC 5322 3.2.1: programs that know no quoted pairs"),
    (b"From: \"a\" . b . \"c\"@legit.example", L, "", "RFC 5322 4.4: obs-local-part"),
    (b"From: <admin@legit.example>,", L, "", "RFC 5322 4.4: obs-mbox-list"),
    (b"From: ,, <admin@legit.example>", L, "", "RFC 5322 4.4: obs-mbox-list"),
    // Display names are not the author domain, if they are quoted or encoded.
    (b"From: \"admin@legit.example\" <a@attack.example>", "attack.example", "", "RFC 9989 11.4"),
    (b"From: \"<admin@legit.example>\" <a@attack.example>", "attack.example", "", "RFC 9989 11.4"),
    (b"From: =?utf-8?q?admin=40legit.example?= <a@attack.example>", "attack.example", "", "RFC 9989 11.4"),
    (b"From: =?utf-8?q?admin@legit.example?= <a@attack.example>", "attack.example", "", "RFC 9989 11.4"),
    (b"From: (admin@legit.example) a@attack.example", "attack.example", "", "RFC 5322 3.2.2"),
    // Blanks, folds and comments.
    (b"From : admin@legit.example", "", "M", "RFC 4155: a first line with `From ` is no field"),
    (b"X: y\r\nFrom : admin@legit.example", L, "", "RFC 5322 4.5: obs-from"),
    (b"X: y\r\nFrom \t : admin@legit.example", L, "", "RFC 5322 4.5: obs-from"),
    (b"From: admin @ legit.example", L, "", "RFC 5322 4.4: obs-local-part"),
    (b"From: < admin@legit.example >", L, "", "RFC 5322 3.4"),
    (b"From: admin@legit . example", L, "", "RFC 5322 4.4: obs-domain"),
    (b"From: admin@legit. example", L, "", "RFC 5322 4.4: obs-domain"),
    (b"From: admin@legit\r\n .example", L, "", "RFC 5322 4.4: obs-domain"),
    (b"From:\r\n admin@legit.example", L, "", "RFC 5322 2.2.3"),
    (b"From:\r\n \r\n admin@legit.example", L, "", "RFC 5322 4.2: obs-FWS"),
    (b"From: admin\r\n @\r\n legit.example", L, "", "RFC 5322 2.2.3"),
    (b"From: <\r\n\tadmin@legit.example\r\n\t>", L, "", "RFC 5322 2.2.3"),
    (b"From: admin@\x0blegit.example", L, "", "RFC 5322 4.1: obs-NO-WS-CTL"),
    (b"From: admin@legit.example (Ann)", L, "", "RFC 5322 3.2.2"),
    (b"From: admin(x)@(y)legit.example", L, "", "RFC 5322 3.2.2"),
    (b"From: admin@legit(x).example", L, "", "RFC 5322 4.4: obs-domain"),
    (b"From: (a (nested (comment))) <admin@legit.example>", L, "", "RFC 5322 3.2.2"),
    (b"From: (a \\) <a@attack.example>) admin@legit.example", TURNED, "S", "RFC 5322 3.2.1: programs that know no quoted pairs"),
    (b"From: \"a \\\" <a@attack.example> \" <admin@legit.example>", TURNED, "S", "RFC 5322 3.2.1"),
    (b"From: \"a \\\"b\\\" c\" <admin@legit.example>", L, "", "RFC 5322 3.2.1"),
    (b"From: \"a\r\n <b@attack.example>\" <admin@legit.example>", TURNED, "S", "RFC 5322 2.2.3: programs that do not unfold first"),
    (b"From: (a\r\n <b@attack.example>) <admin@legit.example>", TURNED, "S", "RFC 5322 2.2.3"),
    (b"From: \"a\r\n b\" <admin@legit.example>", L, "", "RFC 5322 2.2.3"),
    (b"From: \"a\r\n b@attack.example\" <admin@legit.example>", L, "", "RFC 5322 2.2.3"),
    (b"From: \\\"a <admin@legit.example>, \"b\" <c@attack.example>", BOTH, "S", "RFC 5322 3.2.1: a quoted pair outside of a string"),
    (b"From: 'admin@legit.example' <admin@legit.example>", L, "", "RFC 5322 3.2.3: apostrophes are atext"),
    (b"From: 'admin@legit.example' <a@attack.example>", TURNED, "S", "RFC 5322 3.2.5: `@` in a phrase"),
    // Forms of the domain.
    (b"From: admin@legit.example.", L, "", "RFC 1034 3.1: the root"),
    (b"From: <admin@legit.example.>", L, "", "RFC 1034 3.1: the root"),
    (b"From: admin@legit..example", L, "M", "RFC 1034 3.5"),
    (b"From: admin@.legit.example", L, "M", "RFC 1034 3.5"),
    (b"From: admin@legit.example..", L, "M", "RFC 1034 3.5"),
    (b"From: admin@sub.legit.example", "sub.legit.example", "", "RFC 9989 4.10"),
    ("From: admin@b\u{fc}cher.example".as_bytes(), "xn--bcher-kva.example", "", "RFC 9989 5.3.1: U-labels"),
    ("From: admin@B\u{dc}CHER.example".as_bytes(), "xn--bcher-kva.example", "", "RFC 5890 2.3"),
    ("From: admin@legit\u{3002}example".as_bytes(), L, "", "UTS 46 2.3"),
    ("From: admin@\u{ff4c}egit.example".as_bytes(), L, "", "UTS 46 5"),
    ("From: admin@le\u{ad}git.example".as_bytes(), L, "", "UTS 46 5"),
    (b"From: admin@b\xfccher.example", "xn--bcher-kva.example", "M", "RFC 5322 3.4.1: not UTF-8"),
    (b"From: admin@legit.example\0.attack.example", "legit.example legit.example.attack.example", "S", "RFC 5322 4: NUL"),
    (b"From: admin@le\0git.example", "le legit.example", "S", "RFC 5322 4: NUL"),
    (b"From: admin@legit.example\0", L, "M", "RFC 5322 4: NUL"),
    (b"From: admin@le\x01git.example", L, "M", "RFC 5322 4.1: obs-NO-WS-CTL"),
    (b"From: admin@legit.example.\r\n attack.example", "legit.example legit.example.attack.example", "S", "RFC 5322 4.4: obs-domain"),
    (b"From: admin@le\tgit.example", "legit.example", "M", "RFC 5322 3.4.1: a blank in a domain"),
    (b"From: admin@legit.example x", "legit.example legit.examplex", "S", "RFC 5322 3.4.1: a blank in a domain"),
    (b"From: <admin@legit.example'>", L, "M", "RFC 5321 2.3.5: letters, digits, hyphens"),
    (b"From: <admin@legit.example|>", L, "M", "RFC 5321 2.3.5"),
    (b"From: admin@x!legit.example", L, "M", "RFC 5321 2.3.5"),
    (b"From: a@attack.example%@legit.example", BOTH, "S", "RFC 5322 3.4.1: two `@`"),
    (b"From: a@attack.example#legit.example", BOTH, "S", "RFC 5321 2.3.5"),
    (b"From: admin@\"legit.example\" (x)", L, "M", "RFC 5322 3.4.1: a quoted domain"),
    ("From: admin@legit\u{202e}.example".as_bytes(), L, "M", "RFC 5893 2: no bidi marks"),
    (b"From: \"admin@legit.example\"", L, "M", "RFC 5322 3.4: a name without an address"),
    (b"From: (admin@legit.example)", L, "M", "RFC 5322 3.4: a comment without an address"),
    (b"From: admin@[192.0.2.1]", "", "M", "RFC 5322 3.4.1: domain-literal"),
    (b"From: admin@[legit.example]", "", "M", "RFC 5322 3.4.1: domain-literal"),
    (b"From: a@[192.0.2.1 <admin@legit.example>", L, "M", "RFC 5322 3.4.1: domain-literal"),
    (b"From: admin", "", "M", "RFC 5322 3.4.1"),
    (b"From: <>", "", "M", "RFC 5322 3.4"),
    (b"From:", "", "M", "RFC 5322 3.6.2"),
    (b"From: @legit.example", L, "", "RFC 5322 3.4.1: no local part"),
    (b"From: admin@", "", "M", "RFC 5322 3.4.1: no domain"),
    (b"Subject: x", "", "M", "RFC 5322 3.6: one From field"),
    // Several addresses.
    (b"From: a@attack.example, admin@legit.example", BOTH, "S", "RFC 9989 11.5"),
    (b"From: <admin@legit.example>, <a@attack.example>", TURNED, "S", "RFC 9989 11.5"),
    (b"From: a@attack.example; admin@legit.example", BOTH, "S", "RFC 9989 11.5"),
    (b"From: a@legit.example, b@legit.example", L, "", "RFC 5322 3.6.2: mailbox-list"),
    (b"From: Group: a@attack.example, admin@legit.example;", BOTH, "S", "RFC 6854 2.1"),
    (b"From: Group: admin@legit.example;", L, "", "RFC 6854 2.1"),
    (b"From: Group:;", "", "M", "RFC 6854 2.1: no author domain"),
    (b"From: admin@legit.example: a@attack.example;", TURNED, "S", "RFC 5322 3.4: group"),
    (b"From: admin@legit.example <a@attack.example>", TURNED, "S", "RFC 5322 3.2.5: `@` in a phrase"),
    (b"From: <a@attack.example> admin@legit.example", BOTH, "S", "RFC 5322 3.4: text after an angle-addr"),
    (b"From: admin@legit.example <admin@legit.example>", L, "", "RFC 5322 3.2.5"),
    (b"From: a@attack.example admin@legit.example", BOTH, "S", "RFC 5322 3.4"),
    (b"From: admin@legit.example@attack.example", TURNED, "S", "RFC 5322 3.4.1: two `@`"),
    (b"From: <a@attack.example@legit.example>", BOTH, "S", "RFC 5322 3.4.1: two `@`"),
    (b"From: <@attack.example:admin@legit.example>", BOTH, "S", "RFC 5322 4.4: obs-route"),
    (b"From: <@legit.example,@b.example:a@attack.example>", "legit.example b.example attack.example", "S", "RFC 5322 4.4: obs-route"),
    (b"From: <@legit.example:admin@legit.example>", L, "", "RFC 5322 4.4: obs-route"),
    // Delimiters without their end.
    (b"From: <admin@legit.example", L, "M", "RFC 5322 3.4: angle-addr"),
    (b"From: admin@legit.example>", L, "M", "RFC 5322 3.4: angle-addr"),
    (b"From: <<admin@legit.example>>", L, "M", "RFC 5322 3.4: angle-addr"),
    (b"From: <admin@legit.example, <a@attack.example>", TURNED, "S", "RFC 5322 3.4"),
    (b"From: <admin@legit.example, a@legit.example>", L, "M", "RFC 5322 3.4"),
    (b"From: (a@attack.example <admin@legit.example>", BOTH, "S", "RFC 5322 3.2.2"),
    (b"From: a\" <a@attack.example>; <b@legit.example> x\"y\" <c@d.example>", "d.example attack.example legit.example", "S", "RFC 5322 3.2.4"),
    (b"From: <a\"@(c)legit.example>", L, "M", "RFC 5322 3.2.4"),
    (b"From: (x <admin@legit.example>", L, "M", "RFC 5322 3.2.2"),
    (b"From: \"x <admin@legit.example>", L, "M", "RFC 5322 3.2.4"),
    (b"From: \"x\" \" <admin@legit.example>", L, "M", "RFC 5322 3.2.4"),
    (b"From: <admin@legit.example>\\,<a@attack.example>", TURNED, "S", "RFC 5322 3.2.1"),
    (b"From: admin@legit.example\\", L, "M", "RFC 5322 3.2.1"),
    (b"From: admin@legit.example(.attack.example", "legit.example legit.example.attack.example", "S", "RFC 5322 3.2.2"),
    // Encoded words.
    (b"From: =?utf-8?b?PGFkbWluQGxlZ2l0LmV4YW1wbGU+?=,<a@attack.example>", BOTH, "S", "RFC 2047 5: no addr-spec in an encoded word"),
    (b"From: =?utf-8?b?PGFkbWluQGxlZ2l0LmV4YW1wbGU+?= <a@attack.example>", BOTH, "S", "RFC 2047 5"),
    (b"From: =?utf-8?q?admin=40legit.example?=", L, "M", "RFC 2047 5"),
    (b"From: =?utf-8?q?admin@legit.example?=", L, "M", "RFC 2047 5"),
    (b"From: <=?utf-8?q?admin=40legit.example?=>", L, "M", "RFC 2047 5"),
    (b"From: =?utf-8?q?=3Cadmin?=@legit.example>", L, "M", "RFC 2047 5"),
    // Several fields, and fields that some programs do not recognise.
    (b"From: a@attack.example\r\nFrom: admin@legit.example", BOTH, "S", "RFC 5322 3.6"),
    (b"From: admin@legit.example\r\nFrom: admin@legit.example", L, "S", "RFC 5322 3.6"),
    (b"From: a@attack.example\r\nFrom : admin@legit.example", BOTH, "S", "RFC 5322 4.5"),
    (b"X: y\r\nFrom\r\n : admin@legit.example", L, "M", "RFC 5322 2.2: a name is not folded"),
    (b"From: a@attack.example\r\nFrom\r\n : admin@legit.example", BOTH, "S", "RFC 5322 2.2"),
    (b"X: y\r\nFr\0om: admin@legit.example", L, "M", "RFC 5322 3.6.8: ftext"),
    (b"X: y\r\n\0From: admin@legit.example", L, "M", "RFC 5322 3.6.8: ftext"),
    (b"X: y\r\nno field\r\nFrom: admin@legit.example", L, "", "RFC 5322 2.2"),
    (b"From: a@attack.example\r\nno field\r\nFrom: admin@legit.example", BOTH, "S", "RFC 5322 2.2"),
    (b"X: y\r\nno field\r\n From: admin@legit.example", L, "M", "RFC 5322 2.2"),
    (b"From: a@attack.example\r\n From: admin@legit.example", "attack.example legit.example", "S", "RFC 5322 2.2.3: a continuation"),
    (b"X: y\r\n From: admin@legit.example", "", "M", "RFC 5322 2.2.3: a continuation"),
    (b" From: admin@legit.example", "", "M", "RFC 5322 2.2: no header section"),
    (b"no field\r\nFrom: admin@legit.example", "", "M", "RFC 5322 2.2: no header section"),
    (b"From a@attack.example Mon Jan  1 00:00:00 2026\r\nFrom: admin@legit.example", L, "", "RFC 4155"),
    (b"X-From: a@attack.example\r\nFrom: admin@legit.example", L, "", "RFC 5322 2.2"),
    (b"Sender: a@attack.example\r\nFrom: admin@legit.example", L, "", "RFC 9989 4.2"),
    (b"Resent-From: a@attack.example\r\nFrom: admin@legit.example", L, "", "RFC 9989 4.2"),
];

#[test]
fn author_domains_are_read_as_any_program_may() {
    assert!(ROWS.len() >= 100, "{}", ROWS.len());
    for (header, domains, symbol, why) in ROWS {
        let shown = header.escape_ascii();
        let content = [*header, b"\r\n\r\nHello\r\n"].concat();
        let authors = Authors::read(&message(&content));
        let found: Vec<_> = authors.domains().iter().map(|domain| &**domain).collect();
        assert_eq!(found.join(" "), *domains, "{shown} ({why})");
        let found = match (authors.are_several(), authors.malformation()) {
            (true, _) => "S",
            (false, Some(_)) => "M",
            (false, None) => "",
        };
        assert_eq!(found, *symbol, "{shown} ({why}): {authors:?}");
    }
}

/// Whatever the form is, a message that may seem to be from `legit.example` is refused.
#[test]
fn message_of_a_forged_author_is_refused_in_any_form() {
    for (header, domains, symbol, why) in ROWS {
        let content = [*header, b"\r\n\r\nHello\r\n"].concat();
        let answer = judge(Zone::new(ZONE), "attack.example", "<a@attack.example>", &content, true);
        let found = symbols(&answer, &["DMARC_", "FROM_"]);
        let is_forged = domains.split(' ').any(|domain| domain.ends_with(L));
        let dmarc = match *domains {
            _ if is_forged => "DMARC_FAIL_REJECT",
            _ => "DMARC_NONE",
        };
        let author = match *symbol {
            "S" => " FROM_SEVERAL",
            "M" => " FROM_MALFORMED",
            _ => "",
        };
        assert_eq!(found, [dmarc, author].concat(), "{} ({why})", header.escape_ascii());
        let refusal = answer.unwrap().refusal.map(|refusal| refusal.to_string());
        assert_eq!(refusal.is_some(), is_forged, "{} ({why})", header.escape_ascii());
    }
}

/// A form that has one author domain passes if that is verified.
#[test]
fn message_of_the_author_passes_in_any_form() {
    let zone = ZONE.replace("legit.example TXT v=spf1 -all", "legit.example TXT v=spf1 +all");
    for (header, domains, ..) in ROWS.iter().filter(|(_, domains, ..)| *domains == L) {
        let content = [*header, b"\r\n\r\nHello\r\n"].concat();
        let answer = judge(Zone::new(&zone), "x", "<admin@legit.example>", &content, true);
        assert_eq!(
            symbols(&answer, &["DMARC_"]),
            "DMARC_PASS",
            "{} {domains}",
            header.escape_ascii()
        );
    }
}
