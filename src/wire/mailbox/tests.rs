use proptest::prelude::*;

use super::*;

fn scan(argument: &str) -> Option<(SmtpPath, &[u8])> {
    SmtpPath::scan(argument.as_bytes())
}

fn path(argument: &str) -> SmtpPath {
    scan(argument).unwrap_or_else(|| panic!("{argument} is a path")).0
}

/// Addresses on which servers disagree. Each is accepted as a path and sent to the onward server
/// octet by octet.
const ODD_ADDRESSES: [&str; 56] = [
    "<>",
    "<a>",
    "<a@b>",
    "<a@b.>",
    "<a@.b>",
    "<a@b..c>",
    "<.a@b>",
    "<a.@b>",
    "<a..b@c>",
    "<@>",
    "<@b>",
    "<a@>",
    "<a@b@c>",
    "<a%b@c>",
    "<b!a@c>",
    "<a b@c>",
    "< a@b >",
    "< >",
    "<a@b c>",
    "<postmaster>",
    "<POSTMASTER>",
    "<@a:b@c>",
    "<@a,@b:c@d>",
    "<@a:@b:c@d>",
    "<@a,b@c>",
    "<a@[127.0.0.1]>",
    "<a@[IPv6:::1]>",
    "<a@[::1]>",
    "<a@[300.1.1.1]>",
    "<a@[127.0.0.1>",
    "<a@127.0.0.1>",
    "<a@b:25>",
    "<mailto:a@b>",
    "<a,b@c>",
    "<a;b@c>",
    "<a:b@c>",
    "<a(comment)@b>",
    "<(>",
    "<a@b(comment)>",
    "<\"a b\"@c>",
    "<\"a>b\"@c>",
    "<\"a\\\"b\"@c>",
    "<\"a\\\\\"@c>",
    "<\"\"@c>",
    "<\"a\"b@c>",
    "<a\"b\"@c>",
    "<\"a@b\">",
    "<a\\>b@c>",
    "<a\\ b@c>",
    "<a\\\"b@c>",
    "<|/bin/sh@c>",
    "</etc/passwd>",
    "<DOMAIN\\user@c>",
    "<a_b@c_d>",
    "<\u{e9}@b>",
    "<\u{5b6b}\u{5b50}@\u{e1}\u{e9}.org>",
];

#[test]
fn odd_addresses_are_unchanged() {
    for odd in ODD_ADDRESSES {
        for lead in ["", " ", "   "] {
            for (tail, rest) in [("", ""), (" ", ""), (" SIZE=3", "SIZE=3"), ("   X Y", "X Y")] {
                let argument = format!("{lead}{odd}{tail}");
                let (path, behind) = scan(&argument).unwrap_or_else(|| panic!("{argument}"));
                assert_eq!(path.written(), format!("{lead}{odd}").as_bytes(), "{argument}");
                assert_eq!(behind, rest.as_bytes(), "{argument}");
                assert_eq!(path.address(), &odd.as_bytes()[1..odd.len() - 1], "{argument}");
                assert_eq!(path.is_null(), odd == "<>", "{argument}");
            }
        }
    }
}

#[test]
fn octets_that_are_not_utf8_are_unchanged() {
    let argument = b"<\xff\xfe\x80@b\xc3> SIZE=3";
    let (path, rest) = SmtpPath::scan(argument).unwrap();
    assert_eq!(path.written(), b"<\xff\xfe\x80@b\xc3>");
    assert_eq!(rest, b"SIZE=3");
    assert_eq!(path.mailbox(), None);
    assert_eq!(path.to_string(), "<???@b?>");
}

#[test]
fn brackets_can_be_missing() {
    for (argument, written, rest) in [
        ("a@b", "a@b", ""),
        ("  a@b SIZE=3", "  a@b", "SIZE=3"),
        ("a", "a", ""),
        ("a@b>", "a@b>", ""),
        ("A<a@b>", "A<a@b>", ""),
        ("\"a b\"@c", "\"a", "b\"@c"),
        ("\\<a@b>", "\\<a@b>", ""),
    ] {
        let (path, behind) = scan(argument).unwrap();
        assert_eq!((path.written(), behind), (written.as_bytes(), rest.as_bytes()));
        assert_eq!(path.address(), written.trim_start().as_bytes());
        assert!(!path.is_null());
    }
}

#[test]
fn unterminated_path_is_refused() {
    for argument in [
        "",
        " ",
        "<",
        " <",
        "<a@b",
        "<a@b SIZE=3",
        "<\"a@b>",
        "<\"a\\\"@b>",
        "<a@b\\>",
        "<a@b\\",
        "<a@b>SIZE=3",
        "<a@b>>",
        "<<a@b>>",
        "<>>",
        "<a@b>,<c@d>",
        "<a\0b@c>",
        "<a\r\nRSET@c>",
        "<a\tb@c>",
        "<a\x7fb@c>",
        "\t<a@b>",
        "a\nb",
    ] {
        assert_eq!(scan(argument), None, "{argument:?}");
    }
}

#[test]
fn an_injected_parameter_is_part_of_the_path() {
    let argument = "<\"a> NOTIFY=NEVER <b\"@x>";
    let recipient = ForwardPath::parse(argument).unwrap();
    assert_eq!(recipient.path.written(), argument.as_bytes());
    assert_eq!(recipient.parameters, RcptParameters::default());
    let mailbox = recipient.path.mailbox().unwrap();
    assert_eq!(mailbox.local_part, "\"a> NOTIFY=NEVER <b\"");
    assert_eq!(mailbox.domain, Some("x"));
}

#[test]
fn postmaster_is_not_the_null_path() {
    assert_ne!(path("<postmaster>"), path("<>"));
    assert!(!path("<postmaster>").is_null());
    assert!(path("<>").is_null());
}

#[test]
fn mailboxes() {
    let some = |local_part, domain: &'static str| {
        Some(Mailbox { local_part, domain: (!domain.is_empty()).then_some(domain) })
    };
    for (argument, mailbox) in [
        ("<a@b>", some("a", "b")),
        (" a@b", some("a", "b")),
        ("<a.b+c=d@e-f.g9>", some("a.b+c=d", "e-f.g9")),
        ("<prvs=0123456789=a@b>", some("prvs=0123456789=a", "b")),
        ("<!#$%&'*+-/=?^_`{|}~@b>", some("!#$%&'*+-/=?^_`{|}~", "b")),
        ("<\"a b\"@c>", some("\"a b\"", "c")),
        ("<\"a@b\"@c>", some("\"a@b\"", "c")),
        ("<\"a>\\\"\\\\b\"@c>", some("\"a>\\\"\\\\b\"", "c")),
        ("<\"\"@c>", some("\"\"", "c")),
        ("<postmaster>", some("postmaster", "")),
        ("<PostMaster>", some("PostMaster", "")),
        ("<Postmaster@b>", some("Postmaster", "b")),
        ("<@a:b@c>", some("b", "c")),
        ("<@a,@b.c:\"d:e\"@f>", some("\"d:e\"", "f")),
        ("<@a:postmaster>", some("postmaster", "")),
        ("<a@[192.0.2.1]>", some("a", "[192.0.2.1]")),
        ("<a@[IPv6:2001:db8::1]>", some("a", "[IPv6:2001:db8::1]")),
        ("<a@[ipv6:::ffff:192.0.2.1]>", some("a", "[ipv6:::ffff:192.0.2.1]")),
        ("<\u{e9}.\u{5b6b}@\u{e1}.org>", some("\u{e9}.\u{5b6b}", "\u{e1}.org")),
        ("<\"\u{e9} x\"@b>", some("\"\u{e9} x\"", "b")),
        ("<>", None),
        ("<a>", None),
        ("<root>", None),
        ("<\"postmaster\">", None),
        ("<postmaster@>", None),
        ("<a@>", None),
        ("<@b>", None),
        ("<@>", None),
        ("<a@b@c>", None),
        ("<.a@b>", None),
        ("<a.@b>", None),
        ("<a..b@c>", None),
        ("<a b@c>", None),
        ("< a@b>", None),
        ("<a@b >", None),
        ("<a(b)@c>", None),
        ("<\"a\"b@c>", None),
        ("<a\"b\"@c>", None),
        ("<\"a\\\u{e9}\"@b>", None),
        ("<a\\ b@c>", None),
        ("<a@b.>", None),
        ("<a@.b>", None),
        ("<a@-b>", None),
        ("<a@b->", None),
        ("<a@b_c>", None),
        ("<a@[192.0.2.1>", None),
        ("<a@[192.0.2]>", None),
        ("<a@[192.0.2.01]>", None),
        ("<a@[2001:db8::1]>", None),
        ("<a@[IPv6:1]>", None),
        ("<a@[IPv6:::1%eth0]>", None),
        ("<a@[x-tag:y]>", None),
        ("<a@[:]>", None),
        ("<a@[]>", None),
        ("<@a>", None),
        ("<@a,b:c@d>", None),
        ("<@a,:c@d>", None),
        ("<@-a:c@d>", None),
        ("<@[192.0.2.1]:c@d>", None),
    ] {
        assert_eq!(path(argument).mailbox(), mailbox, "{argument}");
    }
}

#[test]
fn a_log_line_stays_a_line() {
    // A path from the wire contains no control octets, but C1 controls can be encoded in UTF-8.
    assert_eq!(path("  <a@b>").to_string(), "<a@b>");
    assert_eq!(path("<a\u{85}\u{2028}b\u{9b}31m@\u{e9}>").to_string(), "<a??b?31m@\u{e9}>");
    assert_eq!(path("<\u{85}>").to_string(), "<?>");
    let mailbox = |argument| path(argument).mailbox().unwrap().to_string();
    assert_eq!(mailbox("<@x:\"a b\"@example.org>"), "\"a b\"@example.org");
    assert_eq!(mailbox("<postmaster>"), "postmaster");
}

#[test]
fn paths_for_envelopes() {
    let sender = ReversePath::parse("<a@b> SIZE=3").unwrap();
    assert_eq!(sender.path.written(), b"<a@b>");
    assert_eq!(sender.parameters.size, Some(3));
    assert_eq!(ReversePath::parse("<a@b>\r\nDATA"), Err(PathError::Control));
    assert_eq!(ReversePath::parse("<a@b> SIZE=3\r\n"), Err(PathError::Control));
    assert_eq!(ReversePath::parse("<a\0@b>"), Err(PathError::Control));
    assert_eq!(ReversePath::parse(""), Err(PathError::NoPath));
    assert_eq!(ReversePath::parse("<a@b"), Err(PathError::NoPath));
    assert_eq!(ReversePath::parse("<a@b> NOTIFY=NEVER"), Err(ParameterError::Unknown.into()));
    assert_eq!(ForwardPath::parse("<a@b> SIZE=3"), Err(ParameterError::Unknown.into()));
    assert_eq!(ForwardPath::parse("<a@b> NOTIFY="), Err(ParameterError::Bad.into()));
    assert!(ForwardPath::parse(b"<\xff@b> NOTIFY=NEVER").is_ok());
}

/// Reference parser, which follows the grammar of `SmtpPath` octet by octet. A path is `<` *( `\` any /
/// quoted / other ) `>`, followed by SP or the end. Without brackets, it is any octets except SP.
fn oracle(argument: &[u8]) -> Option<usize> {
    fn any(text: &[u8]) -> Option<&[u8]> {
        text.split_first().map(|(_, rest)| rest)
    }
    fn quoted(text: &[u8]) -> Option<&[u8]> {
        match text {
            [b'"', rest @ ..] => Some(rest),
            [b'\\', rest @ ..] => quoted(any(rest)?),
            _ => quoted(any(text)?),
        }
    }
    fn bracketed(text: &[u8]) -> Option<&[u8]> {
        match text {
            [b'>', rest @ ..] => Some(rest),
            [b'"', rest @ ..] => bracketed(quoted(rest)?),
            [b'\\', rest @ ..] => bracketed(any(rest)?),
            _ => bracketed(any(text)?),
        }
    }
    match argument {
        [b' ', rest @ ..] => oracle(rest).map(|length| length + 1),
        [b'<', rest @ ..] => {
            let rest = bracketed(rest)?;
            (rest.is_empty() || rest[0] == b' ').then(|| argument.len() - rest.len())
        }
        [] => None,
        _ => Some(argument.split(|octet| *octet == b' ').next()?.len()),
    }
}

/// Any octets, or octets with a meaning in paths.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let telling = prop::sample::select(b"<<>>\"\"\\\\ @a:,.\xc3\xa9\0".to_vec());
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(telling.clone(), 0..24),
        prop::collection::vec(telling, 0..24).prop_map(|mut octets| {
            octets.insert(0, b'<');
            octets
        }),
    ]
}

fn local_part() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~\u{e9}\u{5b6b}-]{1,8}(\\.[a-z0-9=+]{1,4}){0,3}",
        "\"([ !#-\\[\\]-~\u{e9}]|\\\\[ -~]){0,10}\"",
    ]
}

fn domain() -> impl Strategy<Value = String> {
    let literal = prop_oneof![
        any::<Ipv4Addr>().prop_map(|address| format!("[{address}]")),
        any::<Ipv6Addr>().prop_map(|address| format!("[IPv6:{address}]")),
    ];
    prop_oneof![name(), literal]
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9\u{e9}]([a-z0-9\u{5b6b}-]{0,4}[A-Z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?){0,3}"
}

proptest! {
    #[test]
    fn scan_agrees_with_the_grammar(argument in octets()) {
        let length = oracle(&argument)
            .filter(|length| !argument[..*length].iter().any(u8::is_ascii_control));
        let scanned = SmtpPath::scan(&argument);
        prop_assert_eq!(scanned.as_ref().map(|(path, _)| path.written().len()), length);
        if let Some((path, rest)) = scanned {
            let length = path.written().len();
            prop_assert_eq!(path.written(), &argument[..length]);
            prop_assert!(argument.ends_with(rest));
            prop_assert!(argument[length..argument.len() - rest.len()].iter().all(|o| *o == b' '));
            let shown = path.to_string();
            prop_assert!(!shown.chars().any(char::is_control), "{:?}", shown);
            if let Some(mailbox) = path.mailbox() {
                let again = SmtpPath::scan(format!("<{mailbox}>").as_bytes()).unwrap().0;
                prop_assert_eq!(again.mailbox(), Some(mailbox));
                prop_assert!(path.address().ends_with(mailbox.to_string().as_bytes()));
            }
        }
    }

    #[test]
    fn mailboxes_of_the_grammar_are_parsed(
        local_part in local_part(),
        domain in domain(),
        route in prop::collection::vec(name(), 0..3),
        parameters in prop_oneof![Just(""), Just(" SIZE=3")],
    ) {
        let hops: Vec<_> = route.iter().map(|hop| format!("@{hop}")).collect();
        let colon = if hops.is_empty() { "" } else { ":" };
        let written = format!("<{}{colon}{local_part}@{domain}>", hops.join(","));
        let sender = ReversePath::parse(format!("{written}{parameters}")).unwrap();
        prop_assert_eq!(sender.path.written(), written.as_bytes());
        let mailbox = Mailbox { local_part: &local_part, domain: Some(&domain) };
        prop_assert_eq!(sender.path.mailbox(), Some(mailbox));
    }
}
