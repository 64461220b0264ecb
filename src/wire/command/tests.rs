use proptest::prelude::*;

use super::*;

fn parse(line: &str) -> Result<Command, CommandFault> {
    Command::parse(&spaced(line.as_bytes()))
}

fn mail(line: &str) -> ReversePath {
    match parse(line) {
        Ok(Command::Mail(sender)) => sender,
        other => panic!("{line}: {other:?}"),
    }
}

fn rcpt(line: &str) -> ForwardPath {
    match parse(line) {
        Ok(Command::Rcpt(recipient)) => recipient,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn commands() {
    for (line, command) in [
        ("EHLO client.example", Command::Ehlo("client.example".into())),
        ("ehlo   client.example  ", Command::Ehlo("client.example".into())),
        ("HELO [192.0.2.1]", Command::Helo("[192.0.2.1]".into())),
        ("EHLO a b\u{e9}", Command::Ehlo("a?b??".into())),
        ("DATA", Command::Data),
        ("data ", Command::Data),
        ("RSET", Command::Rset),
        ("QUIT", Command::Quit),
        ("qUiT   ", Command::Quit),
        ("NOOP", Command::Noop),
        ("NOOP whatever", Command::Noop),
        ("HELP", Command::Help),
        ("HELP MAIL", Command::Help),
        ("VRFY a", Command::Vrfy),
        ("EXPN list", Command::Expn),
        ("STARTTLS", Command::StartTls),
        ("BDAT 0", Command::Bdat { size: 0, last: false }),
        ("BDAT 0 LAST", Command::Bdat { size: 0, last: true }),
        ("bdat 86 last ", Command::Bdat { size: 86, last: true }),
        ("BDAT  86", Command::Bdat { size: 86, last: false }),
        ("\tBDAT\t 86  LAST\t", Command::Bdat { size: 86, last: true }),
        (" NOOP", Command::Noop),
        ("NOOP\t", Command::Noop),
        ("\tEHLO\t\tc\t", Command::Ehlo("c".into())),
        ("BDAT 000000000000000012", Command::Bdat { size: 12, last: false }),
        ("BDAT 00000000000000000000000000000012", Command::Bdat { size: 12, last: false }),
        ("BDAT 999999999999999999", Command::Bdat { size: 999_999_999_999_999_999, last: false }),
    ] {
        assert_eq!(parse(line), Ok(command), "{line}");
    }
}

#[test]
fn invalid_commands_are_refused() {
    use CommandFault::*;
    for (line, fault) in [
        ("", Unknown),
        ("   ", Unknown),
        ("NOOPE", Unknown),
        ("FOO bar", Unknown),
        ("AUTH PLAIN AGEAYg==", Unknown),
        ("ETRN example.org", Unknown),
        ("XCLIENT NAME=a", Unknown),
        ("LHLO a", Unknown),
        ("MAILFROM:<a@b>", Unknown),
        ("EHLO", Syntax("EHLO name")),
        ("EHLO   ", Syntax("EHLO name")),
        ("HELO", Syntax("HELO name")),
        ("VRFY", Syntax("VRFY address")),
        ("EXPN", Syntax("EXPN list")),
        ("RSET foo", Syntax("RSET")),
        ("QUIT now", Syntax("QUIT")),
        ("STARTTLS now", Syntax("STARTTLS")),
        ("MAIL", Syntax("MAIL FROM:<address>")),
        ("MAIL TO:<a@b>", Syntax("MAIL FROM:<address>")),
        ("MAIL <a@b>", Syntax("MAIL FROM:<address>")),
        ("MAIL FROM <a@b>", Syntax("MAIL FROM:<address>")),
        ("MAIL FROM :<a@b>", Syntax("MAIL FROM:<address>")),
        ("MAIL FROM:", ReversePath),
        ("MAIL FROM:   ", ReversePath),
        ("MAIL FROM:<a@b", ReversePath),
        ("MAIL FROM:<a\0@b>", ReversePath),
        ("MAIL FROM:<a\t@b>", ReversePath),
        ("MAIL FROM:<a@b>\tENVID=>", ReversePath),
        ("RCPT", Syntax("RCPT TO:<address>")),
        ("RCPT TO", Syntax("RCPT TO:<address>")),
        ("RCPT FROM:<a@b>", Syntax("RCPT TO:<address>")),
        ("RCPT TO:", ForwardPath),
        ("RCPT TO:<a@b>NOTIFY=NEVER", ForwardPath),
        ("GET / HTTP/1.1", Foreign),
        ("get / HTTP/1.1", Foreign),
        ("POST /x HTTP/1.0", Foreign),
        ("CONNECT mx.example:25 HTTP/1.1", Foreign),
        ("OPTIONS * HTTP/1.1", Foreign),
        ("Host: mx.example", Foreign),
        ("User-Agent:", Foreign),
        ("Subject: the body of a refused message", Foreign),
        ("GET", Unknown),
        (": x", Unknown),
        ("<a>: x", Unknown),
    ] {
        assert_eq!(parse(line), Err(fault), "{line}");
    }
}

#[test]
fn data_with_an_argument_is_refused() {
    assert_eq!(parse("DATA foo"), Err(CommandFault::Syntax("DATA")));
}

#[test]
fn wrapped_chunk_sizes_are_refused() {
    for line in [
        "BDAT 999999999999999999995",
        "BDAT 18446744073709551616",
        "BDAT 18446744073709551621 LAST",
        "BDAT 9223372036854775808",
        "BDAT 1000000000000000000",
        "BDAT 0000000000000000000999999999999999999999",
        "BDAT",
        "BDAT ",
        "BDAT -1",
        "BDAT +5",
        "BDAT 0x10",
        "BDAT 5a",
        "BDAT 5,",
        "BDAT 1_000",
        "BDAT 5 LASTLY",
        "BDAT 5 LAST LAST",
        "BDAT LAST",
        "BDAT 5 6",
        "BDAT \u{665}",
    ] {
        assert_eq!(parse(line), Err(CommandFault::ChunkSize), "{line}");
    }
}

#[test]
fn message_sizes_never_wrap() {
    for size in ["", "-1", "+1", "1x", "99999999999999999999x"] {
        let line = format!("MAIL FROM:<a@b> SIZE={size}");
        assert_eq!(parse(&line), Err(CommandFault::BadParameter), "{line}");
    }
    for size in ["999999999999999999995", "18446744073709551621", "1000000000000000000"] {
        let sender = mail(&format!("MAIL FROM:<a@b> SIZE={size}"));
        assert_eq!(sender.parameters.size, Some(u64::MAX), "larger than any limit");
    }
    for (size, octets) in [
        ("999999999999999999", 999_999_999_999_999_999),
        ("00000000000000000003", 3),
        ("00000000000000000000000000000300", 300),
        ("000000000000000999999999999999999", 999_999_999_999_999_999),
        ("00000000000000000000000000000000", 0),
    ] {
        assert_eq!(mail(&format!("MAIL FROM:<a@b> SIZE={size}")).parameters.size, Some(octets));
    }
}

/// The parser sees only one line, so a command that is incomplete on its line is an error.
#[test]
fn incomplete_command_does_not_swallow_the_next() {
    let mut input: &[u8] = b"MAIL FROM\r\nRSET\r\n";
    let mut reader = crate::wire::line::LineReader::new(512);
    let mut read = Vec::new();
    while let (taken, Some(line)) = reader.next(input) {
        read.push(Command::parse(line.unwrap()));
        input = &input[taken..];
    }
    assert_eq!(read, [Err(CommandFault::Syntax("MAIL FROM:<address>")), Ok(Command::Rset)]);
}

#[test]
fn an_injected_parameter_is_part_of_the_path() {
    let recipient = rcpt("RCPT TO:<\"a> NOTIFY=NEVER <b\"@x>");
    assert_eq!(recipient.path.written(), b"<\"a> NOTIFY=NEVER <b\"@x>");
    assert_eq!(recipient.parameters, RcptParameters::default());
}

#[test]
fn postmaster_is_not_the_null_path() {
    let postmaster = mail("MAIL FROM:<postmaster>");
    assert!(!postmaster.path.is_null());
    assert_ne!(postmaster, mail("MAIL FROM:<>"));
}

#[test]
fn address_literals_are_accepted() {
    for path in ["<a@[192.0.2.1]>", "<a@[IPv6:2001:db8::1]>"] {
        assert_eq!(mail(&format!("MAIL FROM:{path}")).path.written(), path.as_bytes());
        assert_eq!(rcpt(&format!("RCPT TO:{path}")).path.written(), path.as_bytes());
    }
}

#[test]
fn quoted_paths_keep_their_quotes() {
    let sender = mail("MAIL FROM: <\" hi \\\"there! \"@d> SIZE=3");
    assert_eq!(sender.path.written(), b" <\" hi \\\"there! \"@d>");
    assert_eq!(sender.path.mailbox().unwrap().local_part, "\" hi \\\"there! \"");
    assert_eq!(sender.parameters.size, Some(3));
}

#[test]
fn spaces_are_tolerated_where_postfix_does() {
    for line in ["MAIL FROM:<a@b>", "mail  from:<a@b>  ", "MAIL FROM: <a@b>", "MAIL FROM:a@b"] {
        assert_eq!(mail(line).path.address(), b"a@b", "{line}");
    }
    let sender = mail("MAIL FROM:<a@b>   SIZE=3   BODY=7BIT  ");
    assert_eq!(sender.parameters.raw.as_ref(), b"SIZE=3   BODY=7BIT");
}

#[test]
fn mail_parameters() {
    let read = |raw: &str| MailParameters::parse(raw.as_bytes()).unwrap();
    assert_eq!(read(""), MailParameters::default());
    let all = "size=42 Body=8bitmime SMTPUTF8 RET=HDRS ENVID=QQ314159+2B";
    let parameters = read(all);
    assert_eq!(parameters.raw().as_ref(), all.as_bytes());
    assert_eq!(parameters.size, Some(42));
    assert_eq!(parameters.body, Some(Body::EightBitMime));
    assert!(parameters.smtp_utf8 && parameters.dsn);
    assert_eq!(read("BODY=7BIT").body, Some(Body::SevenBit));
    assert_eq!(read("SIZE=0").size, Some(0));
    assert!(read("RET=FULL").dsn && read("ENVID=x").dsn && !read("SIZE=3").dsn);
}

#[test]
fn invalid_mail_parameters_are_refused() {
    use ParameterError::*;
    for (raw, fault) in [
        ("BODY=BINARYMIME", Unknown),
        ("AUTH=<>", Unknown),
        ("BY=120;R", Unknown),
        ("HOLDFOR=5", Unknown),
        ("REQUIRETLS", Unknown),
        ("MT-PRIORITY=3", Unknown),
        ("NOTIFY=NEVER", Unknown),
        ("XVERP", Unknown),
        ("SIZEX=3", Unknown),
        ("SIZE=3 SMTPUTF8X", Unknown),
        ("SIZE", Bad),
        ("SIZE=", Bad),
        ("SIZE=-1", Bad),
        ("SIZE=+1", Bad),
        ("SIZE=5k", Bad),
        ("SIZE= 5", Bad),
        ("SIZE=5=5", Bad),
        ("SIZE=5 size=5", Bad),
        ("BODY", Bad),
        ("BODY=9BIT", Bad),
        ("BODY=7BIT,", Bad),
        ("BODY=7BIT BODY=8BITMIME", Bad),
        ("SMTPUTF8=YES", Bad),
        ("SMTPUTF8 SMTPUTF8", Bad),
        ("RET=SOME", Bad),
        ("RET=FULL,HDRS", Bad),
        ("ENVID", Bad),
        ("ENVID=a+2", Bad),
        ("ENVID=a+XY", Bad),
        ("ENVID=\u{e9}", Bad),
        ("=3", Bad),
        (">", Bad),
        ("<c@d>", Bad),
        ("-X=3", Bad),
        ("SIZE=3\r\nRSET", Bad),
        ("SIZE=3\tSMTPUTF8", Bad),
        ("SIZE=3\0", Bad),
    ] {
        assert_eq!(MailParameters::parse(raw.as_bytes()), Err(fault), "{raw:?}");
    }
    let long = format!("ENVID={}", "x".repeat(101));
    assert_eq!(MailParameters::parse(long.as_bytes()), Err(Bad));
    assert_eq!(MailParameters::parse(b"ENVID=\xff"), Err(Bad));
}

#[test]
fn rcpt_parameters() {
    for raw in [
        "NOTIFY=NEVER",
        "notify=success,Failure,DELAY",
        "ORCPT=rfc822;a+2Bb@c",
        "NOTIFY=DELAY ORCPT=RFC822;a@b",
        "ORCPT=x400;/C=US".replace("/C=", "/C+3D").as_str(),
        "ORCPT=utf-8;\u{e9}@b",
        "ORCPT=utf-8;\\x{E9}@b",
    ] {
        let parameters = RcptParameters::parse(raw.as_bytes()).unwrap_or_else(|_| panic!("{raw}"));
        assert_eq!(parameters.raw().as_ref(), raw.as_bytes());
        assert!(parameters.dsn);
    }
    assert_eq!(RcptParameters::parse(b""), Ok(RcptParameters::default()));
}

#[test]
fn invalid_rcpt_parameters_are_refused() {
    use ParameterError::*;
    for (raw, fault) in [
        ("SIZE=3", Unknown),
        ("RRVS=2014-04-03T23:01:00Z", Unknown),
        ("CONNEG", Unknown),
        ("X", Unknown),
        ("NOTIFY", Bad),
        ("NOTIFY=", Bad),
        ("NOTIFY=ALWAYS", Bad),
        ("NOTIFY=NEVER,SUCCESS", Bad),
        ("NOTIFY=SUCCESS,never", Bad),
        ("NOTIFY=,", Bad),
        ("NOTIFY=NEVER,,DELAY", Bad),
        ("NOTIFY=SUCCESS NOTIFY=DELAY", Bad),
        ("ORCPT", Bad),
        ("ORCPT=", Bad),
        ("ORCPT=a@b", Bad),
        ("ORCPT=;a@b", Bad),
        ("ORCPT=rfc822;a+b", Bad),
        ("ORCPT=rfc822;\u{e9}@b", Bad),
        ("ORCPT=utf-8;a\r\nRSET", Bad),
        ("ORCPT=x_y;a", Bad),
        ("ORCPT=rfc822;a ORCPT=rfc822;b", Bad),
        ("b\"@x>", Bad),
    ] {
        assert_eq!(RcptParameters::parse(raw.as_bytes()), Err(fault), "{raw:?}");
    }
    assert_eq!(RcptParameters::parse(b"ORCPT=utf-8;\xff"), Err(Bad));
}

#[test]
fn invalid_parameters_in_commands_are_refused() {
    assert_eq!(parse("MAIL FROM:<a> X=1"), Err(CommandFault::UnknownParameter));
    assert_eq!(parse("RCPT TO:<a> NOTIFY=X"), Err(CommandFault::BadParameter));
}

#[test]
fn names_are_cut_and_printable() {
    let line = format!("EHLO {}", "x".repeat(300));
    assert_eq!(parse(&line), Ok(Command::Ehlo("x".repeat(255).into())));
    assert_eq!(Command::parse(b"HELO \xff\x7f\x00."), Ok(Command::Helo("???.".into())));
}

/// Generates lines with a valid start and any octets after it.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let starts: [&[u8]; 10] = [
        b"",
        b"MAIL FROM:",
        b"MAIL FROM:<a@b> ",
        b"MAIL FROM:<a@b> SIZE=",
        b"MAIL FROM:<a@b> ENVID=",
        b"RCPT TO:<a@b> ",
        b"RCPT TO:<a@b> NOTIFY=",
        b"RCPT TO:<a@b> ORCPT=rfc822;",
        b"BDAT ",
        b"EHLO ",
    ];
    let octet = prop_oneof![
        any::<u8>(),
        prop::sample::select(b" =<>\"\\@,;+09AFILNRSTU-\xc3\xa9".to_vec()),
    ];
    let tail = prop::collection::vec(octet, 0..60);
    (prop::sample::select(starts.to_vec()), tail).prop_map(|(start, tail)| [start, &tail].concat())
}

/// Generates well-formed parameters. Some are unknown and some occur twice.
fn parameters() -> impl Strategy<Value = String> {
    let parameter = prop_oneof![
        "SIZE=[0-9]{1,20}",
        "(BODY|body)=(7BIT|8BITMIME|8bitMIME)",
        "SMTPUTF8",
        "RET=(FULL|HDRS)",
        "ENVID=[a-z]{1,10}(\\+2[BD])?",
        "X[A-Z0-9-]{0,20}(=[!-<>-~]{1,9})?",
    ];
    prop::collection::vec(parameter, 0..4).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn arbitrary_lines_do_not_panic(line in line()) {
        let written = |verb: &str, path: &[u8], raw: &[u8]| {
            let space = if raw.is_empty() { "" } else { " " };
            [verb.as_bytes(), path, space.as_bytes(), raw].concat()
        };
        // The line as sent to the onward server: one space before the parameters and none after
        // them.
        let squeezed = |line: &[u8], path: &[u8]| {
            let start = line.iter().position(|octet| *octet == b':').unwrap() + 1 + path.len();
            let rest = trim_start(trim_end(&line[start..]));
            let space: &[u8] = if rest.is_empty() { b"" } else { b" " };
            [&line[..start], space, rest].concat()
        };
        match Command::parse(&line) {
            Ok(Command::Mail(it)) => {
                let onward = written("MAIL FROM:", it.path.written(), it.parameters.raw());
                prop_assert_eq!(&onward, &squeezed(&line, it.path.written()));
                prop_assert!(!onward.iter().any(u8::is_ascii_control));
                prop_assert_eq!(Command::parse(&onward), Ok(Command::Mail(it)));
            }
            Ok(Command::Rcpt(it)) => {
                let onward = written("RCPT TO:", it.path.written(), it.parameters.raw());
                prop_assert_eq!(&onward, &squeezed(&line, it.path.written()));
                prop_assert!(!onward.iter().any(u8::is_ascii_control));
                prop_assert_eq!(Command::parse(&onward), Ok(Command::Rcpt(it)));
            }
            Ok(Command::Ehlo(name) | Command::Helo(name)) => {
                prop_assert!((1..=255).contains(&name.len()));
                prop_assert!(name.bytes().all(|octet| octet.is_ascii_graphic()));
            }
            Ok(Command::Bdat { size, last }) => {
                let spelled = format!("BDAT {size}{}", if last { " LAST" } else { "" });
                prop_assert_eq!(parse(&spelled), Ok(Command::Bdat { size, last }));
            }
            _ => {}
        }
    }

    /// Accepted parameters have the values that a simple reference parser finds. Refused ones are
    /// unknown or occur twice.
    #[test]
    fn parameters_round_trip(raw in parameters()) {
        let words: Vec<String> = raw.split(' ').map(str::to_ascii_uppercase).collect();
        let value = |keyword: &str| {
            let prefix = format!("{keyword}=");
            words.iter().find_map(|word| word.strip_prefix(&prefix)).map(str::to_owned)
        };
        let keywords: Vec<&str> = words.iter().map(|word| word.split('=').next().unwrap()).collect();
        let known = |keyword: &&str| {
            ["SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", ""].contains(keyword)
        };
        let twice = (1..keywords.len()).any(|at| keywords[..at].contains(&keywords[at]));
        match MailParameters::parse(raw.as_bytes()) {
            Ok(read) => {
                prop_assert!(keywords.iter().all(known) && !twice);
                let octets = |size: String| {
                    let number = size.parse().ok().filter(|_| size.trim_start_matches('0').len() <= 18);
                    number.unwrap_or(u64::MAX)
                };
                prop_assert_eq!(read.size, value("SIZE").map(octets));
                let body = value("BODY").map(|body| match body.as_str() {
                    "7BIT" => Body::SevenBit,
                    _ => Body::EightBitMime,
                });
                prop_assert_eq!(read.body, body);
                prop_assert_eq!(read.smtp_utf8, keywords.contains(&"SMTPUTF8"));
                prop_assert_eq!(read.dsn, keywords.contains(&"RET") || keywords.contains(&"ENVID"));
            }
            Err(ParameterError::Unknown) => prop_assert!(!keywords.iter().all(known)),
            Err(ParameterError::Bad) => prop_assert!(twice),
        }
    }
}

#[test]
fn faulty_bdat_line_is_recognised_with_any_spacing() {
    for (line, is_cut, expected) in [
        ("BDAT", false, true),
        ("bdat 6\0", false, true),
        ("\0BDAT 6", false, true),
        (" \t\rBDAT\r6", false, true),
        ("BDAT\x7f6", false, true),
        ("BDAT\n", false, true),
        ("BDAT6\n", false, false),
        ("BDATA 6\n", false, false),
        ("BD\0AT 6", false, false),
        ("BDA", false, false),
        ("NOOP BDAT 6\0", false, false),
        ("", false, false),
        ("  \0", false, false),
        // The rest of the line may complete the verb BDAT.
        ("", true, true),
        ("    ", true, true),
        (" bd", true, true),
        ("BDAT", true, true),
        ("BDAT 6 ", true, true),
        ("BDATx", true, false),
        ("NOOP", true, false),
        ("NO", true, false),
        ("B ", true, false),
    ] {
        assert_eq!(announces_chunk(line.as_bytes(), is_cut), expected, "{line:?}, cut: {is_cut}");
    }
}
