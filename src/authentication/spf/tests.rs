use std::sync::Arc;
use std::time::Duration;

use super::record::Published;
use super::*;
use crate::dns::Record;
use crate::rehearsal::Zone;

fn check(zone: &str, client: &str, sender: &str) -> SpfOutcome {
    let spf_of = Spf::new(client.parse().unwrap(), "mx.example.org", sender);
    pollster::block_on(spf(&Zone::new(zone), spf_of))
}

/// Returns the outcome of this policy for 192.0.2.1, with these further records.
fn of(policy: &str, records: &str) -> String {
    let zone = format!("example.org TXT v=spf1 {policy}\n{records}");
    check(&zone, "192.0.2.1", "alice@example.org").to_string()
}

#[test]
fn mechanisms_match_and_the_first_decides() {
    let records = "example.org A 192.0.2.9
        example.org MX mx.example.org
        mx.example.org A 192.0.2.1
        mx.example.org AAAA 2001:db8::1
        1.2.0.192.in-addr.arpa PTR mx.example.org
        good.example TXT v=spf1 ip4:192.0.2.1 -all
        bad.example TXT v=spf1 -ip4:192.0.2.1 all
        soft.example TXT v=spf1 ~ip4:192.0.2.1 all
        neutral.example TXT v=spf1 ?all
        empty.example TXT v=spf1
        next.example TXT v=spf1 mx:example.org -all";
    for (policy, expected) in [
        ("", "neutral"),
        ("-all", "fail (-all)"),
        ("~all", "softfail (~all)"),
        ("?all", "neutral (?all)"),
        ("+all", "pass (all)"),
        ("ip4:192.0.2.2 -ip4:192.0.2.0/24 all", "fail (-ip4:192.0.2.0/24)"),
        ("ip6:::ffff:192.0.2.1 -all", "fail (-all)"),
        ("a -all", "fail (-all)"),
        ("a/24 -all", "pass (a/24)"),
        ("a:mx.example.org -all", "pass (a:mx.example.org)"),
        ("~mx -all", "softfail (~mx)"),
        ("ptr -all", "pass (ptr)"),
        ("ptr:example.net -all", "fail (-all)"),
        ("ptr:mx.example.org -all", "pass (ptr:mx.example.org)"),
        ("exists:%{p} -all", "pass (exists:%{p})"),
        ("exists:%{i}.no.example -all", "fail (-all)"),
        ("include:good.example -all", "pass (include:good.example)"),
        ("?include:good.example -all", "neutral (?include:good.example)"),
        ("include:bad.example -all", "fail (-all)"),
        ("include:soft.example -all", "fail (-all)"),
        ("include:neutral.example -all", "fail (-all)"),
        ("include:empty.example -all", "fail (-all)"),
        ("include:next.example -all", "pass (include:next.example)"),
        ("redirect=next.example", "pass (mx:example.org)"),
        ("redirect=empty.example", "neutral"),
        ("redirect=next.example ?all", "neutral (?all)"),
        ("ip4:192.0.2.2 redirect=bad.example", "fail (-ip4:192.0.2.1)"),
        ("exp=none.example -all", "fail (-all)"),
    ] {
        assert_eq!(of(policy, records), expected, "{policy}");
    }
}

#[test]
fn errors_are_named() {
    let records = "empty.example A 192.0.2.9
        twice.example TXT v=spf1
        twice.example TXT v=spf1
        faulty.example TXT v=spf1 all moo
        broken.example TXT fails
        broken.example A fails
        deep.example TXT v=spf1 include:broken.example all";
    for (policy, expected) in [
        ("moo", "permerror (example.org has a malformed SPF record: moo)"),
        ("all \u{fc}", r"permerror (example.org has a malformed SPF record: \xc3\xbc)"),
        (
            "include:none.example all",
            "permerror (the SPF record refers to none.example, which has no SPF record)",
        ),
        (
            "redirect=empty.example",
            "permerror (the SPF record refers to empty.example, which has no SPF record)",
        ),
        (
            "include:%{d1}",
            "permerror (the SPF record refers to a malformed name, which has no SPF record)",
        ),
        (
            "redirect=a..b",
            "permerror (the SPF record refers to a malformed name, which has no SPF record)",
        ),
        ("include:twice.example", "permerror (twice.example has more than one SPF record)"),
        ("include:faulty.example", "permerror (faulty.example has a malformed SPF record: moo)"),
        ("a:broken.example", "temperror (A lookup of broken.example failed)"),
        ("include:broken.example", "temperror (TXT lookup of broken.example failed)"),
        ("include:deep.example all", "temperror (TXT lookup of broken.example failed)"),
        ("redirect=broken.example", "temperror (TXT lookup of broken.example failed)"),
        ("all include:broken.example", "pass (all)"),
    ] {
        assert_eq!(of(policy, records), expected, "{policy}");
    }
}

#[test]
fn texts_of_a_policy_are_truncated() {
    for (length, shown) in [(64, "x".repeat(64)), (65, "x".repeat(61) + "...")] {
        let expected = format!("permerror (example.org has a malformed SPF record: {shown})");
        assert_eq!(of(&"x".repeat(length), ""), expected);
    }
    // `exists:` and the macros have 255 octets, then 256. Labels of the long name are removed.
    for (begin, shown) in [("x", 255), ("xx", 255)] {
        let spec = format!("exists:{begin}{}", ".%{d}".repeat(49) + ".a");
        assert_eq!(spec.len(), 7 + begin.len() + 247);
        let name = "example.org.".repeat(21) + "a";
        let outcome = check(
            &format!("example.org TXT v=spf1 {spec} -all\n{name} A 127.0.0.2"),
            "192.0.2.1",
            "a@example.org",
        );
        let mechanism = outcome.mechanism.unwrap();
        assert_eq!((outcome.result, mechanism.len()), (SpfResult::Pass, shown));
        assert_eq!(mechanism.ends_with("..."), begin.len() == 2);
    }
}

#[test]
fn the_identity_is_the_sender_or_the_helo_name() {
    let zone = "example.org TXT v=spf1 -all
        mx.example.org TXT v=spf1 exists:%{s}.%{o}
        postmaster@mx.example.org.mx.example.org A 127.0.0.2";
    let outcome = check(zone, "192.0.2.1", "");
    let domain = outcome.domain.as_deref();
    assert_eq!(
        (outcome.result, outcome.identity, domain),
        (SpfResult::Pass, SpfIdentity::Helo, Some("mx.example.org"))
    );
    let outcome = check(zone, "192.0.2.1", "@Example.Org");
    let domain = outcome.domain.as_deref();
    assert_eq!(
        (outcome.result, outcome.identity, domain),
        (SpfResult::Fail, SpfIdentity::MailFrom, Some("example.org"))
    );
    for (sender, expected) in [
        ("a@[192.0.2.1]", "none (the sender has no domain that can be checked)"),
        ("a", "none (the sender has no domain that can be checked)"),
        ("a@none.example", "none (none.example has no SPF record)"),
    ] {
        assert_eq!(check(zone, "192.0.2.1", sender).to_string(), expected);
    }
    let outcome =
        check("xn--bcher-kva.example TXT v=spf1 a:%{o} -all", "192.0.2.1", "ü@BÜCHER.example");
    assert_eq!(outcome.to_string(), "fail (-all)");
    assert_eq!(
        check("example.org TXT fails", "192.0.2.1", "a@example.org").result,
        SpfResult::TempError
    );
}

/// RFC 8616 section 4: terms with the macro `s` or `l` match nothing.
#[test]
fn terms_with_a_non_ascii_local_part_match_nothing() {
    let with = |policy: &str, sender: &str| {
        let zone = format!(
            "example.org TXT v=spf1 {policy}
            x.example TXT v=spf1 redirect=%{{l}}.x.example
            a.x.example TXT v=spf1 all
            a.x.example.a.x.example A 127.0.0.2
            a.x.example A 192.0.2.1
            a.x.example MX a.x.example
            1.2.0.192.in-addr.arpa PTR a.x.example"
        );
        check(&zone, "192.0.2.1", sender).to_string()
    };
    for term in [
        "include:%{l}.x.example",
        "include:x.example",
        "a:%{l}.x.example",
        "mx:%{l}.x.example",
        "ptr:%{l}.x.example",
        "exists:%{l}.x.example",
        "exists:%{p}.%{l}.x.example",
    ] {
        let policy = format!("{term} -all");
        assert_eq!(with(&policy, "a@example.org"), format!("pass ({term})"));
        assert_eq!(with(&policy, "\u{fc}@example.org"), "fail (-all)", "{term}");
    }
    for redirect in ["redirect=%{l}.x.example", "redirect=x.example"] {
        assert_eq!(with(redirect, "a@example.org"), "pass (all)");
        assert_eq!(with(redirect, "\u{fc}@example.org"), "neutral", "{redirect}");
    }
}

#[test]
fn addresses_are_of_the_kind_of_the_client() {
    let zone = "example.org TXT v=spf1 mx a/0//64 -all
        example.org MX mx.example.org
        example.org AAAA 2001:db8::2
        example.org A 198.51.100.1
        mx.example.org A 192.0.2.1
        mx.example.org AAAA 2001:db8:1::1";
    for (client, expected) in [
        ("192.0.2.1", "pass (mx)"),
        ("::ffff:192.0.2.1", "pass (mx)"),
        ("2001:db8:1::1", "pass (mx)"),
        ("192.0.2.2", "pass (a/0//64)"),
        ("2001:db8::1", "pass (a/0//64)"),
        ("2001:db8:2::1", "fail (-all)"),
    ] {
        assert_eq!(check(zone, client, "a@example.org").to_string(), expected, "{client}");
    }
}

/// RFC 7208 sections 5.5 and 7.3: a failed lookup of the client's names is not an error of the
/// policy.
#[test]
fn failed_lookups_of_the_clients_names_are_no_match() {
    for records in [
        "1.2.0.192.in-addr.arpa PTR fails",
        "1.2.0.192.in-addr.arpa PTR mx.example.org\nmx.example.org A fails",
        "1.2.0.192.in-addr.arpa PTR mx.example.org\nmx.example.org A 192.0.2.2",
        "1.2.0.192.in-addr.arpa PTR a(b.example.net",
    ] {
        assert_eq!(of("ptr -all", records), "fail (-all)");
        let unknown = format!("{records}\nunknown.example A 127.0.0.2");
        assert_eq!(of("exists:%{p}.example -all", &unknown), "pass (exists:%{p}.example)");
    }
    let second = "1.2.0.192.in-addr.arpa PTR mx.example.org
        1.2.0.192.in-addr.arpa PTR mx2.example.org
        mx.example.org A fails
        mx2.example.org A 192.0.2.1";
    assert_eq!(of("ptr -all", second), "pass (ptr)");
}

#[test]
fn the_macro_p_prefers_names_of_the_domain() {
    let names = "1.2.0.192.in-addr.arpa PTR other.example
        1.2.0.192.in-addr.arpa PTR mx.example.org
        other.example A 192.0.2.1
        mx.example.org A 192.0.2.1";
    let with = |records: &str| of("exists:%{p}.x.example -all", &format!("{names}\n{records}"));
    assert_eq!(with("mx.example.org.x.example A 127.0.0.2"), "pass (exists:%{p}.x.example)");
    assert_eq!(with("other.example.x.example A 127.0.0.2"), "fail (-all)");
    let itself = "1.2.0.192.in-addr.arpa PTR example.org
        example.org A 192.0.2.1
        example.org.x.example A 127.0.0.2";
    assert_eq!(with(itself), "pass (exists:%{p}.x.example)");
}

#[test]
fn ten_terms_with_lookups_are_evaluated() {
    let records = "a.example A 192.0.2.9\nb.example TXT v=spf1 a:a.example a:a.example";
    let terms =
        |count: usize| of(&format!("{}ip4:192.0.2.1", "a:a.example ".repeat(count)), records);
    assert_eq!(terms(10), "pass (ip4:192.0.2.1)");
    let beyond = "permerror (more than 10 terms need DNS lookups)";
    assert_eq!(terms(11), beyond);
    // Lookups of included policies count, too.
    let includes =
        |count: usize| of(&format!("{}?all", "include:b.example ".repeat(count)), records);
    assert_eq!((&*includes(3), &*includes(4)), ("neutral (?all)", beyond));
    assert_eq!(of("include:example.org", ""), beyond);
    assert_eq!(of("redirect=example.org", ""), beyond);
    // The names of the client are looked up for a term that counts already.
    let names = format!(
        "{records}\n1.2.0.192.in-addr.arpa PTR x.example\nx.example A 192.0.2.1\nx.example.p.example A 192.0.2.9"
    );
    assert_eq!(of(&format!("{}?all", "a:%{p}.p.example ".repeat(10)), &names), "neutral (?all)");
}

#[test]
fn two_terms_may_find_nothing() {
    let beyond = "permerror (the lookups of more than 2 terms find nothing)";
    let of_records = "example.org MX a.example\nexample.org MX b.example\nexample.org MX c.example";
    assert_eq!(of("a:a.example exists:b.example ?all", of_records), "neutral (?all)");
    assert_eq!(of("a:a.example exists:b.example mx:c.example ?all", ""), beyond);
    // Lookups about the client do not count: of its names, and of their addresses.
    let unknown = "1.2.0.192.in-addr.arpa PTR mx.example.org";
    for records in ["", unknown] {
        let policy = "a:a.example exists:b.example ptr a:%{p}.c.example ?all";
        assert_eq!(of("a:a.example exists:b.example ptr ?all", records), "neutral (?all)");
        assert_eq!(of(policy, records), beyond, "the target of the last term is not the client's");
        let known = format!("{records}\nunknown.c.example A 192.0.2.9");
        assert_eq!(of(policy, &known), "neutral (?all)");
    }
    // A term counts once, regardless of the number of its lookups.
    assert_eq!(of("mx ?all", of_records), "neutral (?all)");
    assert_eq!(of("mx mx mx ?all", of_records), beyond);
    // A malformed name is not looked up.
    assert_eq!(of("a:a..b a:a..b a:a..b ?all", ""), "neutral (?all)");
}

#[test]
fn a_domain_has_ten_mail_servers() {
    let servers = |count: usize| {
        let lines = (0..count)
            .map(|n| format!("example.org MX m{n}.example\nm{n}.example A 192.0.2.{n}\n"));
        of("mx -all", &lines.collect::<String>())
    };
    assert_eq!(servers(10), "pass (mx)");
    assert_eq!(servers(11), "permerror (example.org has more than 10 mail servers)");
}

#[test]
fn a_client_has_ten_names() {
    let names = |count: usize| {
        let mut lines: Vec<_> = (1..count)
            .map(|n| {
                format!("1.2.0.192.in-addr.arpa PTR n{n}.example.org\nn{n}.example.org A 192.0.2.9")
            })
            .collect();
        lines.push(
            "1.2.0.192.in-addr.arpa PTR right.example.org\nright.example.org A 192.0.2.1".into(),
        );
        of("ptr -all", &lines.join("\n"))
    };
    assert_eq!(names(10), "pass (ptr)");
    assert_eq!(names(11), "fail (-all)");
}

/// No more than 122 questions are asked. Questions about the client are asked once.
#[test]
fn questions_are_bounded() {
    let servers: String = (0..10).map(|n| format!("example.org MX m{n}.example\n")).collect();
    let names: String =
        (0..10).map(|n| format!("1.2.0.192.in-addr.arpa PTR n{n}.example.org\n")).collect();
    let addresses: String = (0..10)
        .map(|n| format!("m{n}.example A 192.0.2.9\nn{n}.example.org A 192.0.2.9\n"))
        .collect();
    let zone = Zone::new(&format!(
        "example.org TXT v=spf1 {}-all\n{servers}{names}{addresses}",
        "mx ".repeat(10)
    ));
    let evaluation = Spf::new("192.0.2.1".parse().unwrap(), "", "a@example.org");
    assert_eq!(pollster::block_on(spf(&zone, evaluation.clone())).result, SpfResult::Fail);
    assert_eq!(zone.lookups(), 1 + 10 * 11);
    // The largest number: the names of the client and their addresses are looked up as well.
    let servers: String = (0..10).map(|n| format!("unknown.x.example MX m{n}.example\n")).collect();
    let zone = Zone::new(&format!(
        "example.org TXT v=spf1 {}-all\n{servers}{names}{addresses}",
        "mx:%{p}.x.example ".repeat(10)
    ));
    assert_eq!(pollster::block_on(spf(&zone, evaluation.clone())).result, SpfResult::Fail);
    assert_eq!(zone.lookups(), 1 + 11 + 10 * 11);
    assert_eq!(zone.lookups(), 122);
    let zone = Zone::new(&format!(
        "example.org TXT v=spf1 ptr ptr exists:%{{p}} ptr -all\n{names}{addresses}"
    ));
    assert_eq!(pollster::block_on(spf(&zone, evaluation)).result, SpfResult::Fail);
    assert_eq!(zone.lookups(), 1 + 1 + 10 + 1);
}

#[test]
fn a_question_is_repeated_until_it_is_answered() {
    let mut spf = Spf::new("192.0.2.1".parse().unwrap(), "", "a@example.org");
    let ask = spf.clone();
    assert_eq!(spf.poll(), ask.poll());
    let policy = Record::Txt((*b"v=spf1 -all").into());
    spf.answer(Ok(Answer::new([policy], Duration::ZERO)));
    let done = spf.clone();
    assert!(matches!(done.poll(), SpfStep::Done(outcome) if outcome.result == SpfResult::Fail));
    spf.answer(Err(ResolveError::Late));
    assert_eq!(spf.poll(), done.poll(), "an answer to no question changes nothing");
    // An answer with records of other types counts as an answer without records.
    let mut spf = ask;
    spf.answer(Ok(Answer::new([Record::A([192, 0, 2, 1].into())], Duration::ZERO)));
    assert!(matches!(spf.poll(), SpfStep::Done(outcome) if outcome.result == SpfResult::None));
}

#[test]
fn a_long_policy_is_not_kept() {
    let is_kept = |terms: usize| {
        let policy = format!("v=spf1{}", " ip4:192.0.2.1".repeat(terms));
        let text = Record::Txt(policy.into_bytes().into());
        let answer = Answer::new([text], Duration::from_secs(60));
        let read = || answer.parsed(Published::read, Published::is_small);
        Arc::ptr_eq(&read(), &read())
    };
    assert!(is_kept(40));
    assert!(!is_kept(41));
}
