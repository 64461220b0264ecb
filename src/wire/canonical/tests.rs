use proptest::prelude::*;

use super::*;
use crate::wire::mailbox::{ForwardPath, ReversePath};

/// Returns the canonical local part and domain of a path.
fn parts(written: &[u8]) -> (String, Option<String>) {
    let path = ReversePath::parse(written).unwrap().path;
    let CanonicalMailbox { local_part, domain } = path.canonical();
    (local_part.into(), domain.map(Into::into))
}

/// The expected domains are those of Postfix 3.7 (`smtpd -v`: `extract_addr`, then `resolve_clnt`).
#[test]
fn domain_of_an_address_agrees_with_postfix() {
    let table: &[(&[u8], &str, Option<&str>)] = &[
        (b"<a@bad.example>", "a", Some("bad.example")),
        (b"a@bad.example", "a", Some("bad.example")),
        (b"  <a@bad.example>", "a", Some("bad.example")),
        (b"<a@BAD.Example>", "a", Some("bad.example")),
        (b"<Bob@bad.example>", "Bob", Some("bad.example")),
        // Dots.
        (b"<a@bad.example.>", "a", Some("bad.example")),
        (b"<a@bad.example\\.>", "a", Some("bad.example")),
        (b"<a..b@bad.example>", "a..b", Some("bad.example")),
        (b"<.a@bad.example>", ".a", Some("bad.example")),
        (b"<a.@bad.example>", "a.", Some("bad.example")),
        // Quotes, backslashes.
        (b"<\"bob\"@bad.example>", "bob", Some("bad.example")),
        (b"<\"bo b\"@bad.example>", "bo b", Some("bad.example")),
        (b"<\"b\\o\\b\"@bad.example>", "bob", Some("bad.example")),
        (b"<b\\ob@bad.example>", "bob", Some("bad.example")),
        (b"<\"a\".\"b\"@bad.example>", "a.b", Some("bad.example")),
        (b"<a.\"b c\"@bad.example>", "a.b c", Some("bad.example")),
        (b"<a\\ @bad.example>", "a ", Some("bad.example")),
        (b"<a@\"bad.example\">", "a", Some("bad.example")),
        (b"<\"a@bad.example\">", "a", Some("bad.example")),
        (b"<\"\"@bad.example>", "", Some("bad.example")),
        // More than one `@`.
        (b"<a@b@bad.example>", "a@b", Some("bad.example")),
        (b"<\"a@b\"@bad.example>", "a@b", Some("bad.example")),
        (b"<a\\@b@bad.example>", "a@b", Some("bad.example")),
        (b"<a@@bad.example>", "a@", Some("bad.example")),
        (b"<a@bad.example@>", "a", Some("bad.example")),
        (b"<a@bad.example.@>", "a", Some("bad.example")),
        (b"<@bad.example>", "", Some("bad.example")),
        // Source routes, groups, lists.
        (b"<@x,@y:a@bad.example>", "a", Some("bad.example")),
        (b"<@x:a@bad.example>", "a", Some("bad.example")),
        (b"<@x:@y:a@bad.example>", "a", Some("bad.example")),
        (b"<@:a@bad.example>", "a", Some("bad.example")),
        (b"<@[192.0.2.1]:a@bad.example>", "a", Some("bad.example")),
        (b"<\"@x:a\"@bad.example>", "a", Some("bad.example")),
        (b"<@x:@bad.example>", "", Some("bad.example")),
        (b"<a:b@bad.example>", "a:b", Some("bad.example")),
        (b"<:a@bad.example>", ":a", Some("bad.example")),
        (b"<g:a@bad.example;>", "a", Some("bad.example")),
        (b"<x:y:a@bad.example;>", "a", Some("bad.example")),
        (b"<a@bad.example;>", "a", Some("bad.example")),
        (b"<a@bad.example.,>", "a", Some("bad.example")),
        (b"<a@bad.example; (x) >", "a", Some("bad.example")),
        // White space, comments.
        (b"< a@bad.example >", "a", Some("bad.example")),
        (b"<a @ bad.example>", "a", Some("bad.example")),
        (b"<a@ bad . example>", "a", Some("bad.example")),
        (b"<a@bad.example(comment)>", "a", Some("bad.example")),
        (b"<(comment)a@bad.example>", "a", Some("bad.example")),
        (b"<a(com\\)(me)nt)@bad.example>", "a", Some("bad.example")),
        (b"<a@(x)bad.example>", "a", Some("bad.example")),
        (b"<a@bad.example(>", "a", Some("bad.example")),
        (b"<a(b@bad.example>", "a", None),
        (b"<a)b@bad.example>", "a)b", Some("bad.example")),
        // Address forms from before the DNS.
        (b"<a%b@c.example>", "a%b", Some("c.example")),
        (b"<a%bad.example>", "a", Some("bad.example")),
        (b"<a%b%bad.example>", "a%b", Some("bad.example")),
        (b"<a%b@>", "a", Some("b")),
        (b"<\"a%bad.example\">", "a", Some("bad.example")),
        (b"<bad.example!a>", "a", Some("bad.example")),
        (b"<b!c!a>", "c!a", Some("b")),
        (b"<c!a%b>", "a%b", Some("c")),
        (b"<c.example!a@bad.example>", "c.example!a", Some("bad.example")),
        // Address literals.
        (b"<a@[192.0.2.1]>", "a", Some("[192.0.2.1]")),
        (b"<a@[IPv6:2001:db8::1]>", "a", Some("[2001:db8::1]")),
        (b"<a@[ipv6:2001:DB8:0::1]>", "a", Some("[2001:db8::1]")),
        (b"<a@[IPv6:::ffff:192.0.2.1]>", "a", Some("[192.0.2.1]")),
        // U-labels, A-labels, and octets that are not UTF-8.
        ("<ü@bad.example>".as_bytes(), "ü", Some("bad.example")),
        (b"<\xff\xfe@bad.example>", "\u{ff}\u{fe}", Some("bad.example")),
        (b"<a@XN--bcher-kva.example>", "a", Some("xn--bcher-kva.example")),
        ("<a@bücher.example>".as_bytes(), "a", Some("xn--bcher-kva.example")),
        ("<a@BÜCHER.example.>".as_bytes(), "a", Some("xn--bcher-kva.example")),
        (b"<a@b\xfccher.example>", "a", Some("xn--bcher-kva.example")),
        ("<a@b。example>".as_bytes(), "a", Some("b.example")),
        ("<a@ｂad.example>".as_bytes(), "a", Some("bad.example")),
        // No domain.
        (b"<postmaster>", "postmaster", None),
        (b"<a>", "a", None),
        (b"<a@>", "a", None),
        (b"<@>", "@", None),
        (b"<>", "", None),
        (b"< >", "", None),
        (b"<\"\">", "", None),
        (b"<()>", "", None),
        (b"<@x:>", "", None),
        // Postfix refuses these as senders; other servers need not.
        (b"<a@bad..example>", "a", Some("bad.example")),
        (b"<a@.bad.example>", "a", Some("bad.example")),
        (b"<a@..bad...example.>", "a", Some("bad.example")),
        ("<a@b\u{fc}cher..example>".as_bytes(), "a", Some("xn--bcher-kva.example")),
        (b"<a@..>", "a", None),
        // Names in brackets.
        (b"<a@[bad.example]>", "a", Some("bad.example")),
        (b"<a@[.BAD..example.].>", "a", Some("bad.example")),
        (b"<a@[[bad.example]]>", "a", Some("bad.example")),
        (b"<a@[[192.0.2.1]]>", "a", Some("[192.0.2.1]")),
        (b"<a@[192.0.2.1].>", "a", Some("[192.0.2.1]")),
        (b"<a@[bad.example>", "a", Some("[bad.example")),
        (b"<a@[]>", "a", None),
        (b"<a@bad.example..>", "a", Some("bad.example")),
        (b"<@x,a@bad.example>", "@x,a", Some("bad.example")),
        (b"<a@b,c@bad.example>", "a@b,c", Some("bad.example")),
        (b"<\"a\"b@bad.example>", "ab", Some("bad.example")),
    ];
    for (written, local_part, domain) in table {
        let expected = ((*local_part).to_owned(), domain.map(str::to_owned));
        assert_eq!(parts(written), expected, "{}", written.escape_ascii());
    }
}

/// Postfix delivers all of these to `alice@example.net`, if it serves the domain `example.net`.
#[test]
fn repeated_domains_are_removed() {
    for written in [
        "<alice@example.net>",
        "<alice@EXAMPLE.net.>",
        "<\"alice\"@example.net>",
        "<alice@example.net@example.net>",
        "<\"alice@example.net\"@example.net>",
        "<alice%example.net@example.net>",
        "<alice%example.net%Example.NET@example.net>",
        "<example.net!alice@example.net>",
        "<alice%example.net>",
        "<@example.net:alice@example.net>",
        "<@x.example,@y.example:al\\ice(x)@example.net.>",
    ] {
        let path = ForwardPath::parse(written).unwrap().path;
        assert_eq!(path.canonical().to_string(), "alice@example.net", "{written}");
    }
}

#[test]
fn only_the_null_reverse_path_is_null() {
    for (written, null) in [
        ("<>", true),
        ("< >", true),
        ("<\"\">", true),
        ("<@x:>", true),
        ("<@>", false),
        ("<a>", false),
        ("<postmaster>", false),
        ("<@bad.example>", false),
        ("<\"\"@bad.example>", false),
    ] {
        assert_eq!(
            ReversePath::parse(written).unwrap().path.canonical().is_null(),
            null,
            "{written}"
        );
    }
}

#[test]
fn domains_are_canonical() {
    for (written, canonical) in [
        ("mx.example.", "mx.example"),
        ("MX.Example", "mx.example"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:2001:0db8::0001]", "[2001:db8::1]"),
        ("[no address]", "[no address]"),
        ("a_b.example", "a_b.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("x\u{ad}y.example", "xy.example"),
        ("", ""),
        (".", ""),
    ] {
        assert_eq!(canonical_domain(written), canonical, "{written}");
    }
}

proptest! {
    #[test]
    fn canonical_form_is_idempotent(address in prop::collection::vec("[ab.@!%:;,\\\\\"()\\[\\] üÜ]", 0..12)) {
        let address = address.concat();
        let CanonicalMailbox { domain, .. } = CanonicalMailbox::read(address.as_bytes());
        if let Some(domain) = domain {
            prop_assert_eq!(canonical_domain(&domain), &*domain);
        }
    }

    #[test]
    fn arbitrary_octets_have_a_canonical_form(octets in prop::collection::vec(any::<u8>(), 0..64)) {
        CanonicalMailbox::read(&octets);
    }
}
