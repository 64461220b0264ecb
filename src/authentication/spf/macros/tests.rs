use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

const NIBBLES: &str = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";

/// The sender and the client of RFC 7208 section 7.4.
fn expand(spec: &str, client: &str) -> Option<String> {
    let client: IpAddr = client.parse().unwrap();
    let subject = Subject::mail_from(client, b"mx.example.org", b"strong-bad@email.example.com");
    let domain = "email.example.com".parse().unwrap();
    let name = "mx.example.org".parse().unwrap();
    let values = Values { subject: &subject, domain: &domain, reverse_name: Some(&name) };
    DomainSpec::parse(spec.as_bytes())?.expand(values).map(|it| it.to_string())
}

#[test]
fn macros_expand_as_in_rfc_7208_section_7_4() {
    for (spec, expected) in [
        ("%{s}", r"strong-bad\@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        // Others.
        ("%{p}", "mx.example.org"),
        ("%{p2r}", "example.mx"),
        ("%{h}", "mx.example.org"),
        ("%{S}", "strong-bad%40email.example.com"),
        ("%{D2}", "example.com"),
        ("%{L1R-}", "strong"),
        ("%{d99999999999999999999999}", "email.example.com"),
        ("%{d01}", "com"),
        ("%{d-}", "email.example.com"),
        ("a%%%_%-.example.org", r"a%\032%20.example.org"),
        ("a:b/c=~.example.org.", "a:b/c=~.example.org"),
    ] {
        assert_eq!(expand(spec, "192.0.2.3").as_deref(), Some(expected), "{spec}");
    }
    let expected = format!("{NIBBLES}.ip6._spf.example.com");
    assert_eq!(expand("%{ir}.%{v}._spf.%{d2}", "2001:db8::cb01"), Some(expected));
    assert_eq!(expand("%{v}.%{i}", "::ffff:192.0.2.3").as_deref(), Some("in-addr.192.0.2.3"));
}

#[test]
fn a_domain_spec_ends_in_a_macro_or_a_top_label() {
    for spec in [
        "a.example",
        "a.example.",
        ".example",
        "%{d}",
        "a%%",
        "%_",
        "%-",
        "a.b-c",
        "a.1-2",
        "a.0x",
        "a..b",
        "a:b.c",
        "%{d}.c",
        "!\"#$&'()*+,-/:;<=>?@[\\]^_`{|}~.a",
        "a.%{l5r.-+,/_=}",
        "%{S00012}",
    ] {
        assert!(DomainSpec::parse(spec.as_bytes()).is_some(), "{spec}");
    }
    for spec in [
        "", "a", "a.", "a.1", "a.-b", "a.b-", "a.b..", "a.b_", "a.b:8", "%{d}a", "%{d}.", "a.b ",
        "%", "a.%", "%a", "a%.b", "%{", "%{}", "%{d", "%{dd}", "%{d0}", "%{d00}", "%{d1r2}",
        "%{dr1}", "%{d:}", "%{s@}", "%{d.r}", "%{ d}", "%{c}", "%{r}", "%{t}", "%{z}", "%{1}",
        "%(d)", "%%%", "\t.a", "\u{7f}.a", "\u{fc}.a",
    ] {
        assert_eq!(DomainSpec::parse(spec.as_bytes()), None, "{spec}");
    }
}

#[test]
fn a_name_that_cannot_be_looked_up_has_no_expansion() {
    let label = "x".repeat(64);
    for spec in ["a..%{d}", ".%{d}", "%{l1+}..", &format!("{label}.%{{d}}")] {
        assert_eq!(expand(spec, "192.0.2.3"), None, "{spec}");
    }
}

#[test]
fn only_one_trailing_dot_is_removed() {
    let domain: DomainName = "example.org".parse().unwrap();
    let expand = |spec: &str, helo: &[u8]| {
        let subject = Subject::helo("192.0.2.3".parse().unwrap(), helo);
        let values = Values { subject: &subject, domain: &domain, reverse_name: None };
        DomainSpec::parse(spec.as_bytes()).unwrap().expand(values).map(|it| it.to_string())
    };
    let long = format!("{}.example.org", "x.".repeat(130));
    for (spec, helo, expected) in [
        ("%{h}", "mx.example.org", Some("mx.example.org")),
        ("%{h}", "mx.example.org.", Some("mx.example.org")),
        ("%{h}", "mx.example.org..", None),
        ("%{h}", "mx.example.org...", None),
        ("%{h}", ".", None),
        ("%{h}", "..", None),
        ("%{h}.example.org.", "mx", Some("mx.example.org")),
        ("%{h}", &format!("{long}.."), None),
    ] {
        assert_eq!(expand(spec, helo.as_bytes()).as_deref(), expected, "{spec} {helo}");
    }
}

/// RFC 8616 section 4: terms with the macros `s` and `l` match nothing. Terms with other macros can
/// match.
#[test]
fn a_term_with_a_non_ascii_local_part_does_not_match() {
    let client = "192.0.2.3".parse().unwrap();
    let domain: DomainName = "email.example.com".parse().unwrap();
    for sender in ["ü@bücher.example".as_bytes(), b"\xff@xn--bcher-kva.example"] {
        let subject = Subject::mail_from(client, b"", sender);
        let values = Values { subject: &subject, domain: &domain, reverse_name: None };
        let parse = |spec: &str| DomainSpec::parse(spec.as_bytes()).unwrap();
        for spec in ["%{l}.a.b", "%{s}", "%{L}.a.b", "%{S1}", "%{s1}"] {
            assert!(!parse(spec).may_match(&subject), "{spec}");
        }
        let expand = |spec: &str| {
            assert!(parse(spec).may_match(&subject), "{spec}");
            parse(spec).expand(values)
        };
        assert_eq!(expand("%{o}").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(expand("%{p}.%{d}").as_deref(), Some("unknown.email.example.com"));
    }
}

#[test]
fn long_names_lose_labels_on_the_left() {
    let expand = |length: usize, end: &str| {
        let spec = format!("first.{}.{}.b{end}", "x".repeat(length), "%{d}.".repeat(13) + "c");
        expand(&spec, "192.0.2.3")
    };
    let rest = format!("{}c.b", "email.example.com.".repeat(13));
    let whole = LONGEST - rest.len() - 1;
    for end in ["", "."] {
        assert_eq!(expand(whole - 6, end), Some(format!("first.{}.{rest}", "x".repeat(whole - 6))));
        for length in [whole - 5, whole] {
            assert_eq!(expand(length, end), Some(format!("{}.{rest}", "x".repeat(length))));
        }
        assert_eq!(expand(whole + 1, end), Some(rest.clone()));
    }
}

proptest! {
    /// The lazy expansion equals the plain one, which expands all pieces from left to right and
    /// then removes labels.
    #[test]
    fn expansion_is_that_of_a_naive_one(
        pieces in prop::collection::vec(0..12_usize, 1..30),
        local_part in "[a-c.+=/-]{1,40}",
    ) {
        const PIECES: [&str; 12] = [
            "%{l}", "%{lr-}", "%{l2+}", "%{L1=.}", "%{s}", "%{d}.", ".", "abc.d", "%{i}", "%{l1/.}.",
            "%{l3r.-}", "%%",
        ];
        let spec: String = pieces.iter().map(|it| PIECES[*it]).chain([".end"]).collect();
        let client = "192.0.2.3".parse().unwrap();
        let sender = format!("{local_part}@email.example.com");
        let subject = Subject::mail_from(client, b"", sender.as_bytes());
        let domain = "email.example.com".parse().unwrap();
        let values = Values { subject: &subject, domain: &domain, reverse_name: None };
        let spec = DomainSpec::parse(spec.as_bytes()).unwrap();

        let parts = |delimiters: &[char]| local_part.split(|c| delimiters.contains(&c)).collect::<Vec<_>>();
        let last = |parts: Vec<&str>, most: usize| parts[parts.len().saturating_sub(most)..].join(".");
        let reversed = |mut parts: Vec<_>| { parts.reverse(); parts };
        let percent = |text: String| text.replace('+', "%2B").replace('=', "%3D").replace('/', "%2F");
        let mut text: String = pieces.iter().map(|it| match it {
            0 => local_part.clone(),
            1 => last(reversed(parts(&['-'])), 99),
            2 => last(parts(&['+']), 2),
            3 => percent(last(parts(&['=', '.']), 1)),
            4 => sender.clone(),
            5 => "email.example.com.".to_owned(),
            8 => "192.0.2.3".to_owned(),
            9 => last(parts(&['/', '.']), 1) + ".",
            10 => last(reversed(parts(&['.', '-'])), 3),
            11 => "%".to_owned(),
            it => PIECES[*it].to_owned(),
        }).collect::<String>() + ".end";
        while text.len() > LONGEST {
            text = text.split_once('.').unwrap().1.to_owned();
        }
        prop_assert_eq!(spec.expand(values), DomainName::from_octets(text.as_bytes()).ok());
    }

    #[test]
    fn what_is_written_is_parsed_again(text in "(%\\{[slodiphv]{1,2}[0-9]{0,2}r?[.+=]{0,2}\\}|[a-c.:/]|%[%_-]){0,9}(\\.a|%\\{d\\})") {
        if let Some(spec) = DomainSpec::parse(text.as_bytes()) {
            prop_assert_eq!(DomainSpec::parse(spec.to_string().as_bytes()), Some(spec));
        }
    }
}
