use super::*;

#[test]
fn a_policy_begins_with_its_version() {
    for text in ["v=spf1", "V=SpF1", "v=spf1 ", "v=spf1 -all", "v=spf1  \u{fc}"] {
        assert!(is_policy(text.as_bytes()), "{text}");
    }
    for text in
        ["", "v=spf", "v=spf10", "v=spf1\t-all", " v=spf1", "v=spf2.0", "spf1 -all", "v=spf1-all"]
    {
        assert!(!is_policy(text.as_bytes()), "{text}");
    }
}

/// Terms, each with the form in which it is written.
#[test]
fn terms_are_parsed() {
    for (term, written) in [
        ("all", "all"),
        ("+ALL", "all"),
        ("-all", "-all"),
        ("~all", "~all"),
        ("?all", "?all"),
        ("include:%{d2}", "include:%{d2}"),
        ("a", "a"),
        ("A:mx.example.org", "a:mx.example.org"),
        ("a/24", "a/24"),
        ("a//64", "a//64"),
        ("a/0//0", "a/0//0"),
        ("a/32//128", "a"),
        ("a:a:b/c.example.org/24//64", "a:a:b/c.example.org/24//64"),
        ("a:%{d}/24", "a:%{d}/24"),
        ("a:%{d}.%{l/}/24", "a:%{d}.%{l/}/24"),
        ("mx:example.org.//1", "mx:example.org.//1"),
        ("ptr", "ptr"),
        ("ptr:example.org", "ptr:example.org"),
        ("ip4:192.0.2.1", "ip4:192.0.2.1"),
        ("ip4:192.0.2.1/0", "ip4:192.0.2.1/0"),
        ("ip6:2001:DB8:0::1/128", "ip6:2001:db8::1"),
        ("ip6:::ffff:192.0.2.1/96", "ip6:::ffff:192.0.2.1/96"),
        ("exists:%{ir}.%{v}._spf.%{d2}", "exists:%{ir}.%{v}._spf.%{d2}"),
        ("redirect=example.org", "redirect=example.org"),
        ("REDIRECT=%{o}", "redirect=%{o}"),
    ] {
        let policy = Policy::parse(format!("v=spf1 {term}").as_bytes().to_vec().leak()).unwrap();
        assert_eq!(policy.to_string(), format!("v=spf1 {written}"), "{term}");
    }
    for term in [
        "exp=example.org",
        "eXp=%{d}",
        "a=",
        "moo.cow-far_out=man:dog/cat",
        "x=%{s}%%",
        "all=x",
        "ip4=1",
    ] {
        let policy = Policy::parse(format!("v=spf1 {term} {term}x").as_bytes().to_vec().leak());
        let is_explanation = term.to_ascii_lowercase().starts_with("exp");
        assert_eq!(policy.map(|it| it.to_string()).is_err(), is_explanation, "{term}, repeated");
    }
}

/// RFC 7208 section 4.6: an error anywhere makes the whole policy void.
#[test]
fn a_malformed_term_anywhere_is_an_error() {
    for term in [
        "all.",
        "all:x.org",
        "all/8",
        "-",
        "+-all",
        "!all",
        "moo",
        "=x",
        "1=x",
        "-a=x",
        "include",
        "include:",
        "include:x",
        "include:x.org/24",
        "a:",
        "a/",
        "a//",
        "a:/24",
        "a/33",
        "a//129",
        "a/024",
        "a/24/64",
        "a//64/24",
        "a///64",
        "a/999999999999999999999",
        "a:org",
        "a:192.0.2.1",
        "a:x.org:80",
        "mx:",
        "mx/-1",
        "mx/+1",
        "ptr:",
        "ptr/0",
        "ptr.x",
        "ip4",
        "ip4:",
        "ip4:192.0.2",
        "ip4:192.0.2.1.1",
        "ip4:192.0.2.256",
        "ip4:192.0.2.01",
        "ip4:192.0.2.1/33",
        "ip4:192.0.2.1//8",
        "ip4:192.0.2.1/",
        "ip4:%{i}",
        "ip4/24",
        "ip6",
        "ip6:192.0.2.1",
        "ip6:::1/129",
        "ip6:::1/01",
        "ip6:1:2:3:4:5:6:7:8:9",
        "ip6:fe80::1%1",
        "ip6:[::1]",
        "exists",
        "exists:",
        "exists:x",
        "exists/24",
        "redirect",
        "redirect=",
        "redirect=x",
        "redirect:x.org",
        "exp=",
        "exp=%{c}",
        "x=%",
        "x=%{c}",
        "x=\t",
        "x/y=z",
        "x:y=z",
        "a\tb",
        "ip4:192.0.2.1\n",
        "\u{fc}",
    ] {
        for policy in [format!("v=spf1 {term} all"), format!("v=spf1 all  {term}")] {
            let first = term.split(' ').find(|it| !it.is_empty()).unwrap();
            assert_eq!(
                Policy::parse(policy.as_bytes()),
                Err(Malformed(first.as_bytes())),
                "{policy}"
            );
        }
    }
    for policy in ["v=spf1 redirect=a.b -all redirect=a.b", "v=spf1 exp=a.b EXP=a.b"] {
        assert!(Policy::parse(policy.as_bytes()).is_err(), "{policy}");
    }
    assert_eq!(Policy::parse(b"v=spf1 a \xff"), Err(Malformed(b"\xff")));
    assert_eq!(Policy::parse(b"v=spf2 all"), Err(Malformed(b"v=spf2 all")));
}

#[test]
fn a_network_has_the_octets_of_its_prefix() {
    let prefixes = |text: &str| with_prefixes(text.as_bytes()).unwrap().1;
    for (text, client, address, expected) in [
        ("", "192.0.2.1", "192.0.2.1", true),
        ("", "192.0.2.1", "192.0.2.0", false),
        ("/31", "192.0.2.1", "192.0.2.0", true),
        ("/31", "192.0.2.1", "192.0.2.2", false),
        ("/0", "192.0.2.1", "255.255.255.255", true),
        ("/1", "192.0.2.1", "64.0.0.0", false),
        ("/24", "2001:db8::1", "2001:db8::2", false),
        ("//127", "2001:db8::1", "2001:db8::", true),
        ("//0", "2001:db8::1", "::", true),
        ("//1", "2001:db8::1", "8000::", false),
        ("/0//0", "192.0.2.1", "::", false),
        ("/0//0", "::1", "192.0.2.1", false),
    ] {
        let [client, address] = [client, address].map(|it| it.parse().unwrap());
        assert_eq!(prefixes(text).contain(client, address), expected, "{text} {client} {address}");
    }
}
