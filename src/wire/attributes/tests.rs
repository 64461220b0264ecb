use proptest::prelude::*;

use super::AttributeCommand::{Xclient, Xforward};
use super::*;

const ALL_XCLIENT: &str = "NAME REVERSE_NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";
const ALL_XFORWARD: &str = "NAME ADDR PORT PROTO HELO IDENT SOURCE";

fn client(address: &str) -> ClientAttributes {
    ClientAttributes::new(address.parse().unwrap())
}

fn parse(command: AttributeCommand, argument: &str) -> Result<ClientAttributes, AttributeError> {
    ClientAttributes::parse(command, argument.as_bytes())
}

fn known(text: &str) -> Attribute<Box<str>> {
    Attribute::Known(text.into())
}

#[test]
fn xclient_is_one_command() {
    let unknown = client("192.0.2.1:4711");
    assert_eq!(
        unknown.xclient(ALL_XCLIENT).unwrap(),
        "XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=4711\r\n"
    );
    let mut named = client("[2001:db8::1]:25");
    named.name = known("mail.example");
    named.reverse_name = known("mail.example");
    named.helo = known("a+b=c d");
    assert_eq!(
        named.xclient("name addr helo").unwrap(),
        "XCLIENT NAME=mail.example ADDR=IPV6:2001:db8::1 HELO=a+2Bb+3Dc+20d\r\n"
    );
    named.name = Attribute::TemporarilyUnavailable;
    named.address = Attribute::TemporarilyUnavailable;
    assert_eq!(
        named.xclient("NAME ADDR").unwrap(),
        "XCLIENT NAME=[TEMPUNAVAIL] ADDR=[UNAVAILABLE]\r\n"
    );
}

#[test]
fn xclient_contains_the_destination() {
    let mut client = client("192.0.2.1:4711");
    client.destination_address = Attribute::Known("2001:db8::25".parse().unwrap());
    client.destination_port = Attribute::Known(25);
    assert_eq!(
        client.xclient("ADDR DESTADDR DESTPORT").unwrap(),
        "XCLIENT ADDR=192.0.2.1 DESTADDR=IPV6:2001:db8::25 DESTPORT=25\r\n"
    );
}

#[test]
fn xclient_marks_unknown_attributes_unavailable() {
    assert_eq!(
        ClientAttributes::default().xclient(ALL_XCLIENT).unwrap(),
        "XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] \
         PORT=[UNAVAILABLE]\r\n"
    );
    for offered in ["", "NAME PORT HELO", "ADDRESS", "REVERSE_NAME NAME"] {
        assert_eq!(client("192.0.2.1:25").xclient(offered), None, "{offered}");
    }
}

#[test]
fn mapped_addresses_are_sent_as_ipv4() {
    let mut mapped = client("[::ffff:192.0.2.1]:25");
    assert_eq!(mapped.xclient("ADDR").unwrap(), "XCLIENT ADDR=192.0.2.1\r\n");
    mapped.address = Attribute::Known("::ffff:192.0.2.1".parse().unwrap());
    assert_eq!(mapped.xclient("ADDR").unwrap(), "XCLIENT ADDR=192.0.2.1\r\n");
    let read = parse(Xclient, "ADDR=IPV6:::ffff:192.0.2.1").unwrap();
    assert_eq!(read.address, Attribute::Known("192.0.2.1".parse().unwrap()));
}

#[test]
fn values_are_not_truncated() {
    let mut attributes = client("192.0.2.1:25");
    attributes.helo = known(&"x".repeat(255));
    attributes.name = known(&"+".repeat(86));
    let command = attributes.xclient("ADDR NAME HELO").unwrap();
    let command = str::from_utf8(&command).unwrap();
    assert_eq!(
        command,
        format!("XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 HELO={}\r\n", "x".repeat(255))
    );
    attributes.helo = known("");
    assert_eq!(
        attributes.xforward("HELO"),
        ["XFORWARD HELO=[UNAVAILABLE]\r\n"],
        "an empty value counts as unavailable"
    );
}

#[test]
fn a_name_that_postfix_refuses_is_unavailable() {
    for name in ["203.0.113.7.", "host-.isp.example.", "*.example", "a..b", &"x".repeat(64)] {
        let mut attributes = client("192.0.2.1:25");
        attributes.name = known(name);
        attributes.reverse_name = known(name);
        assert_eq!(
            attributes.xclient("NAME REVERSE_NAME ADDR").unwrap(),
            "XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] ADDR=192.0.2.1\r\n"
        );
        assert_eq!(attributes.xforward("NAME"), ["XFORWARD NAME=[UNAVAILABLE]\r\n"]);
    }
    let mut attributes = client("192.0.2.1:25");
    attributes.name = known("mail.example.");
    assert_eq!(attributes.xforward("NAME"), ["XFORWARD NAME=mail.example\r\n"]);
}

#[test]
fn protocol_that_postfix_refuses_is_omitted() {
    for (protocol, in_xclient, in_xforward) in [
        ("esmtp", " PROTO=ESMTP", "esmtp"),
        ("SMTP", " PROTO=SMTP", "SMTP"),
        ("ESMTPS", "", "ESMTPS"),
        (&"x".repeat(64), "", &"x".repeat(64)),
        (&"x".repeat(65), "", "[UNAVAILABLE]"),
    ] {
        let mut attributes = client("192.0.2.1:25");
        attributes.protocol = known(protocol);
        let told = attributes.xclient("ADDR PROTO").unwrap();
        assert_eq!(told, format!("XCLIENT ADDR=192.0.2.1{in_xclient}\r\n"));
        assert_eq!(attributes.xforward("PROTO"), [format!("XFORWARD PROTO={in_xforward}\r\n")]);
    }
}

/// Only a DNS name can be temporarily unavailable. In HELO, `[TEMPUNAVAIL]` is text that the client
/// chose. (Found by fuzzing.)
#[test]
fn helo_tempunavail_is_literal_text() {
    for command in [Xclient, Xforward] {
        let attributes = parse(command, "ADDR=192.0.2.1 HELO=[TEMPUNAVAIL]").unwrap();
        assert_eq!(attributes.helo, known("[TEMPUNAVAIL]"));
        let told = match command {
            Xclient => attributes.xclient("ADDR HELO").unwrap(),
            Xforward => attributes.xforward("ADDR HELO").remove(0),
        };
        let expected = format!("{} ADDR=192.0.2.1 HELO=[TEMPUNAVAIL]\r\n", command.verb());
        assert_eq!(told, expected.as_bytes());
    }
    let mut attributes = client("192.0.2.1:25");
    attributes.name = Attribute::TemporarilyUnavailable;
    attributes.helo = Attribute::TemporarilyUnavailable;
    let told = attributes.xclient("ADDR NAME HELO").unwrap();
    assert_eq!(told, "XCLIENT NAME=[TEMPUNAVAIL] ADDR=192.0.2.1 HELO=[UNAVAILABLE]\r\n");
    assert_eq!(attributes.xforward("NAME"), ["XFORWARD NAME=[UNAVAILABLE]\r\n"]);
}

#[test]
fn xforward_splits_at_512() {
    let mut attributes = client("192.0.2.1:4711");
    attributes.protocol = known("ESMTP");
    attributes.origin = Attribute::Known(ClientOrigin::Remote);
    assert_eq!(
        attributes.xforward(ALL_XFORWARD),
        ["XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=4711 PROTO=ESMTP SOURCE=REMOTE\r\n"]
    );
    assert_eq!(attributes.xforward("PORT SOURCE"), ["XFORWARD PORT=4711 SOURCE=REMOTE\r\n"]);
    assert!(attributes.xforward("").is_empty());
    assert!(ClientAttributes::default().xforward(ALL_XFORWARD).is_empty());

    attributes.name = known(&("n.".repeat(127) + "n"));
    attributes.helo = known(&"h".repeat(255));
    attributes.ident = known(&"i".repeat(255));
    let commands = attributes.xforward(ALL_XFORWARD);
    assert_eq!(commands.len(), 3);
    assert!(commands.iter().all(|command| command.len() <= 512 && command.ends_with(b"\r\n")));
}

#[test]
fn xforward_fills_a_command_to_its_last_octet() {
    // `XFORWARD NAME=… HELO=…` and CRLF: 8 + 6 + 6 + 2 octets in addition to the values.
    for (helo, commands) in [(235, 1), (236, 2)] {
        let attributes = ClientAttributes {
            name: known(&("n.".repeat(127) + "n")),
            helo: known(&"h".repeat(helo)),
            ..ClientAttributes::default()
        };
        assert_eq!(attributes.xforward(ALL_XFORWARD).len(), commands);
    }
}

#[test]
fn attributes_are_read() {
    let read = parse(
        Xclient,
        " name=mail.example REVERSE_NAME=[TEMPUNAVAIL] ADDR=ipv6:2001:db8::1 PORT=4711 \
         PROTO=ESMTP HELO=a+2Bb LOGIN=[unavailable] DESTADDR=192.0.2.2 DESTPORT=25 ",
    );
    let expected = ClientAttributes {
        name: known("mail.example"),
        reverse_name: Attribute::TemporarilyUnavailable,
        address: Attribute::Known("2001:db8::1".parse().unwrap()),
        port: Attribute::Known(4711),
        protocol: known("ESMTP"),
        helo: known("a+b"),
        login: Attribute::Unavailable,
        destination_address: Attribute::Known("192.0.2.2".parse().unwrap()),
        destination_port: Attribute::Known(25),
        ..ClientAttributes::default()
    };
    assert_eq!(read, Ok(expected));
    let read = parse(Xforward, "IDENT=4Q0bZ SOURCE=local HELO=+E9+0D+0Ax").unwrap();
    assert_eq!(read.ident.known().map(AsRef::as_ref), Some("4Q0bZ"));
    assert_eq!(read.origin, Attribute::Known(ClientOrigin::Local));
    assert_eq!(read.helo, known("???x"), "CR and LF do not come in by the back door");
    assert_eq!(read.name, Attribute::Omitted);
}

#[test]
fn invalid_attributes_are_refused() {
    use AttributeError::*;
    for (command, argument, fault) in [
        (Xclient, "", Missing),
        (Xforward, "  ", Missing),
        (Xclient, "NAME", Malformed),
        (Xclient, "NAME=a=b", Value("NAME")),
        (Xclient, "HELO=a+2", Malformed),
        (Xclient, "HELO=a+zz", Malformed),
        (Xclient, "HELO=a\tb", Malformed),
        (Xclient, "HELO=\u{e9}", Malformed),
        (Xclient, "=a", Unknown),
        (Xclient, "FOO=a", Unknown),
        (Xclient, "IDENT=a", Unknown),
        (Xclient, "SOURCE=LOCAL", Unknown),
        (Xforward, "LOGIN=a", Unknown),
        (Xforward, "REVERSE_NAME=a", Unknown),
        (Xforward, "DESTADDR=192.0.2.1", Unknown),
        (Xclient, "NAME=a name=b", Duplicate("NAME")),
        (Xclient, "NAME=", Value("NAME")),
        (Xclient, "NAME=a+20b", Value("NAME")),
        (Xclient, "NAME=a(b)", Value("NAME")),
        (Xclient, "NAME=[TEMP]", Value("NAME")),
        (Xclient, "ADDR=", Value("ADDR")),
        (Xclient, "ADDR=::1", Value("ADDR")),
        (Xclient, "ADDR=2001:db8::1", Value("ADDR")),
        (Xclient, "ADDR=IPV6:192.0.2.1", Value("ADDR")),
        (Xclient, "ADDR=IPV6:", Value("ADDR")),
        (Xclient, "ADDR=192.0.2", Value("ADDR")),
        (Xclient, "ADDR=192.0.2.01", Value("ADDR")),
        (Xclient, "ADDR=mail.example", Value("ADDR")),
        (Xclient, "ADDR=[TEMPUNAVAIL]", Value("ADDR")),
        (Xclient, "PORT=65536", Value("PORT")),
        (Xclient, "PORT=-1", Value("PORT")),
        (Xclient, "PORT=+2525", Value("PORT")),
        (Xclient, "PORT=smtp", Value("PORT")),
        (Xclient, "PROTO=E+20SMTP", Value("PROTO")),
        (Xforward, "SOURCE=ELSEWHERE", Value("SOURCE")),
        (Xforward, "HELO=", Value("HELO")),
    ] {
        assert_eq!(parse(command, argument), Err(fault), "{argument}");
    }
    let long = format!("NAME={}", "x".repeat(256));
    assert_eq!(parse(Xclient, &long), Err(Value("NAME")));
}

#[test]
fn verbs() {
    for (line, split) in [
        ("XCLIENT NAME=a", Some((Xclient, " NAME=a"))),
        ("xforward", Some((Xforward, ""))),
        ("XCLIENTS NAME=a", None),
        ("XCLIENT=a", None),
        (" XCLIENT", Some((Xclient, ""))),
        ("", None),
    ] {
        let read = AttributeCommand::split(line.as_bytes());
        assert_eq!(read, split.map(|(command, rest)| (command, rest.as_bytes())), "{line}");
    }
}

#[test]
fn later_xforward_adds_attributes() {
    let mut attributes = parse(Xforward, "NAME=a ADDR=192.0.2.1").unwrap();
    attributes.update(parse(Xforward, "NAME=[UNAVAILABLE] PORT=25").unwrap());
    assert_eq!(attributes, parse(Xforward, "NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=25").unwrap());
}

#[test]
fn xtext_is_decoded_as_in_rfc_3461() {
    assert_eq!(xtext::encode(b"a+b=c d\xe9\n~!"), "a+2Bb+3Dc+20d+E9+0A~!");
    assert_eq!(xtext::decode(b"a+2Bb+3dc+20d+e9").unwrap(), b"a+b=c d\xe9");
    assert_eq!(xtext::decode(b"a=b").unwrap(), b"a=b");
    for broken in ["+", "+2", "+2G", "+-1", "a b", "\u{e9}", "a\x7f"] {
        assert_eq!(xtext::decode(broken.as_bytes()), None, "{broken}");
    }
}

fn attribute<T: std::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Attribute<T>> {
    prop_oneof![
        1 => Just(()).prop_map(|()| Attribute::Omitted),
        1 => Just(()).prop_map(|()| Attribute::Unavailable),
        4 => value.prop_map(Attribute::Known),
    ]
}

fn text(pattern: &'static str) -> impl Strategy<Value = Attribute<Box<str>>> {
    attribute(pattern.prop_map(|text: String| text.into()))
}

prop_compose! {
    fn xforward_attributes()(
        name in text("[a-zA-Z][a-zA-Z0-9_]{0,60}([.][a-zA-Z0-9_]([a-z-]{0,10}[0-9])?){0,14}"),
        address in attribute(any::<IpAddr>().prop_map(|address| address.to_canonical())),
        port in attribute(any::<u16>()),
        protocol in text("[A-Z0-9-]{1,20}"),
        // An octet can become three in xtext, so the encoded value has at most 255 octets.
        helo in text("[!-Z^-~]{1,85}"),
        ident in text("[!-Z^-~]{1,85}"),
        origin in attribute(prop_oneof![Just(ClientOrigin::Local), Just(ClientOrigin::Remote)]),
    ) -> ClientAttributes {
        ClientAttributes {
            name, address, port, protocol, helo, ident, origin, ..ClientAttributes::default()
        }
    }
}

proptest! {
    #[test]
    fn xforward_round_trips(attributes in xforward_attributes()) {
        let mut read = ClientAttributes::default();
        for command in attributes.xforward(ALL_XFORWARD) {
            prop_assert!(command.len() <= 512);
            let line = command.strip_suffix(b"\r\n").unwrap();
            prop_assert!(line.iter().all(|octet| (b' '..127).contains(octet)));
            let (verb, argument) = AttributeCommand::split(line).unwrap();
            prop_assert_eq!(verb, Xforward);
            read.update(ClientAttributes::parse(verb, argument).unwrap());
        }
        prop_assert_eq!(read, attributes);
    }

    #[test]
    fn xclient_round_trips(attributes in xforward_attributes(), login in text("[a-z@+= ]{1,40}")) {
        let command = attributes.xclient(ALL_XCLIENT).unwrap();
        let (verb, argument) = AttributeCommand::split(command.strip_suffix(b"\r\n").unwrap()).unwrap();
        let read = ClientAttributes::parse(verb, argument).unwrap();
        let or_unavailable = |it: &Attribute<Box<str>>| match it {
            Attribute::Omitted => Attribute::Unavailable,
            it => it.clone(),
        };
        prop_assert_eq!(read.name, or_unavailable(&attributes.name));
        prop_assert_eq!(read.helo, attributes.helo);
        prop_assert_eq!(read.address.known(), attributes.address.known());
        prop_assert_eq!(read.reverse_name, Attribute::Unavailable);
        // Login names may contain spaces, which are replaced when they are read back.
        let with_login = ClientAttributes { login: login.clone(), ..ClientAttributes::default() };
        let command = with_login.xclient(ALL_XCLIENT).unwrap();
        prop_assert!(!command[..command.len() - 2].iter().any(u8::is_ascii_control));
        let argument = &command["XCLIENT".len()..command.len() - 2];
        let spaced = |text: &str| text.replace(' ', "?");
        prop_assert_eq!(
            ClientAttributes::parse(Xclient, argument).unwrap().login.known().map(|it| it.to_string()),
            login.known().map(|it| spaced(it))
        );
    }

    #[test]
    fn any_text_is_one_word_of_xtext(octets in prop::collection::vec(any::<u8>(), 0..60)) {
        let written = xtext::encode(&octets);
        prop_assert!(written.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'='));
        prop_assert_eq!(xtext::decode(written.as_bytes()), Some(octets));
    }

    #[test]
    fn arbitrary_input_does_not_panic(
        argument in prop::collection::vec(any::<u8>(), 0..60),
        name in prop::sample::select(XCLIENT.to_vec()),
    ) {
        let argument = [name.as_bytes(), b"=", &argument].concat();
        for command in [Xclient, Xforward] {
            if let Ok(read) = ClientAttributes::parse(command, &argument) {
                for command in read.xforward(ALL_XFORWARD) {
                    prop_assert!(!command[..command.len() - 2].iter().any(u8::is_ascii_control));
                }
            }
        }
    }
}
