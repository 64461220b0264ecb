use proptest::prelude::*;

use super::*;

/// Longest reply line that is accepted, in octets.
const LONGEST: usize = 4_096;

fn code(code: u16) -> ReplyCode {
    ReplyCode::new(code).unwrap()
}

fn written(reply: &Reply) -> String {
    let mut output = BytesMut::new();
    reply.write(&mut output);
    String::from_utf8(output.to_vec()).unwrap()
}

#[test]
fn codes_are_codes() {
    for number in 0..=1000 {
        let valid = matches!(number, 200..=259 | 300..=359 | 400..=459 | 500..=559);
        assert_eq!(ReplyCode::new(number).is_some(), valid, "{number}");
    }
    for (number, class) in [
        (220, ReplyClass::Completion),
        (354, ReplyClass::Intermediate),
        (421, ReplyClass::Transient),
        (559, ReplyClass::Permanent),
    ] {
        assert_eq!(code(number).class(), class);
    }
}

#[test]
fn logs_show_codes_and_replies_as_they_are_written() {
    assert_eq!(format!("{} {0:?}", code(250)), "250 250");
    assert_eq!(format!("{:?}", Reply::plain(code(250), "a\nb")), r#""250-a\n250 b""#);
}

#[test]
fn replies_are_written() {
    let status = EnhancedStatus::new;
    let long = "x".repeat(600);
    for (reply, expected) in [
        (Reply::new(code(250), status(0, 0), "Ok"), "250 2.0.0 Ok\r\n"),
        (Reply::new(code(550), status(7, 1), "No"), "550 5.7.1 No\r\n"),
        (Reply::new(code(451), status(7, 123), ""), "451 4.7.123 \r\n"),
        (Reply::new(code(451), status(10, 99), ""), "451 4.10.99 \r\n"),
        (Reply::new(code(451), status(100, 9), ""), "451 4.100.9 \r\n"),
        (Reply::new(code(354), status(0, 0), "Go on"), "354 Go on\r\n"),
        (Reply::new(code(550), status(1001, 7), "a"), "550 5.1.7 a\r\n"),
        (Reply::plain(code(250), "host\nSIZE 1\nDSN"), "250-host\r\n250-SIZE 1\r\n250 DSN\r\n"),
        (Reply::plain(code(220), ""), "220 \r\n"),
        (Reply::new(code(550), status(7, 1), "a\nb"), "550-5.7.1 a\r\n550 5.7.1 b\r\n"),
        (Reply::plain(code(250), "a\n"), "250-a\r\n250 \r\n"),
        // Text that a peer could use for an attack.
        (Reply::plain(code(550), "a\r\n250 b"), "550-a?\r\n550 250 b\r\n"),
        (Reply::plain(code(550), "a\rb\0c\td\x7f"), "550 a?b?c d?\r\n"),
        (Reply::plain(code(550), "\u{e9}"), "550 ??\r\n"),
        (Reply::new(code(550), status(7, 1), &long), &format!("550 5.7.1 {}\r\n", &long[..500])),
        (Reply::plain(code(550), &long), &format!("550 {}\r\n", &long[..506])),
        (Reply::fixed(421, Some((3, 2)), "Bye"), "421 4.3.2 Bye\r\n"),
        (Reply::fixed(354, None, "Go on"), "354 Go on\r\n"),
        // A status at the start of the text is corrected if it contradicts the code.
        (Reply::plain(code(550), "2.0.0 Ok"), "550 5.0.0 Ok\r\n"),
        (Reply::plain(code(250), "5.1.1"), "250 2.1.1\r\n"),
        (Reply::plain(code(450), "a\n5.1.1 b"), "450-a\r\n450 4.1.1 b\r\n"),
        (Reply::plain(code(354), "2.0.0 Go on"), "354 2.0.0 Go on\r\n"),
        (Reply::plain(code(220), "1.2.3 ready"), "220 1.2.3 ready\r\n"),
        (Reply::plain(code(550), "02.0.0 a"), "550 02.0.0 a\r\n"),
        (Reply::plain(code(550), "2.0.0.0 a"), "550 2.0.0.0 a\r\n"),
        (Reply::plain(code(550), "2.0 a"), "550 2.0 a\r\n"),
        (Reply::plain(code(550), "2.0000.0 a"), "550 2.0000.0 a\r\n"),
        (Reply::plain(code(550), "2..0 a"), "550 2..0 a\r\n"),
    ] {
        assert_eq!(written(&reply), expected);
        assert_eq!(
            reply.to_string() + "\r\n",
            expected.replace("\r\n", "\n").trim_end_matches('\n').to_owned() + "\r\n"
        );
    }
    let many = Reply::plain(code(250), &"x\n".repeat(LINES * 2));
    assert_eq!(many.lines().count(), LINES);
}

/// Fixed replies are normally checked at compile time.
#[test]
fn fixed_replies_are_checked() {
    let is_fit = |code, status, text| {
        std::panic::catch_unwind(move || written(&Reply::fixed(code, status, text))).is_ok()
    };
    assert!(is_fit(250, None, " ~"));
    let text: &'static str = "x".repeat(LINE_TEXT - 9).leak();
    assert!(is_fit(250, None, &text[1..]) && !is_fit(250, None, text));
    for text in ["\x1f", "\x7f", "a\nb", "a\r\n250 b", "\u{e9}"] {
        assert!(!is_fit(250, None, text), "{text:?}");
    }
    for code in [199, 260, 600] {
        assert!(!is_fit(code, None, ""), "{code}");
    }
    assert!(is_fit(354, None, "") && !is_fit(354, Some((0, 0)), ""));
}

#[test]
fn the_status_is_found() {
    let status = |subject, detail| Some(EnhancedStatus::new(subject, detail));
    for (reply, expected) in [
        (Reply::new(code(550), EnhancedStatus::new(7, 26), "x"), status(7, 26)),
        (Reply::plain(code(550), "5.7.26 x"), status(7, 26)),
        (Reply::plain(code(550), "5.7.26"), status(7, 26)),
        (Reply::plain(code(550), "x 5.7.26"), None),
        (Reply::plain(code(550), ""), None),
        (Reply::plain(code(550), "5.7.x"), None),
        (Reply::plain(code(550), "3.7.1 x"), None),
    ] {
        assert_eq!(reply.status(), expected, "{reply}");
    }
    let fixed = Reply::fixed(550, None, "x");
    assert!(fixed == Reply::plain(code(550), "x") && fixed != Reply::plain(code(550), "y"));
    let status = EnhancedStatus::new(7, 1026);
    assert_eq!((status.subject(), status.detail()), (7, 26));
}

#[test]
fn a_reference_finds_room() {
    let status = EnhancedStatus::new(7, 1);
    let long = "x".repeat(600);
    for (reply, expected) in [
        (Reply::new(code(550), status, "No"), "550 5.7.1 No (s.1)\r\n"),
        (Reply::new(code(550), status, "No\nNo"), "550-5.7.1 No\r\n550 5.7.1 No (s.1)\r\n"),
        (Reply::plain(code(550), "5.7.1 No"), "550 5.7.1 No (s.1)\r\n"),
        (Reply::new(code(550), status, &long), &format!("550 5.7.1 {} (s.1)\r\n", &long[..494])),
        (Reply::plain(code(550), &long), &format!("550 {} (s.1)\r\n", &long[..500])),
    ] {
        assert_eq!(written(&reply.with_reference("s.1")), expected);
    }
    let reply = Reply::plain(code(550), "No");
    assert_eq!(written(&reply.with_reference("a\r\n250 b")), "550 No (a? 250 b)\r\n");
    assert!(written(&reply.with_reference(&long)).len() <= 512);
    let many = Reply::plain(code(550), &"x\n".repeat(LINES * 2)).with_reference("s.1");
    assert_eq!(many.lines().count(), LINES);
}

/// Reads these chunks. Returns the replies as they would be written, the fault that ends them, and
/// whether the reader is empty.
fn read<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> (Vec<String>, Option<ReplyError>, bool) {
    let mut reader = ReplyReader::default();
    let mut replies = Vec::new();
    for chunk in chunks {
        reader.receive(chunk);
        loop {
            match reader.next(ReplyLimits::default()) {
                Ok(Some(reply)) => replies.push(written(&reply)),
                Ok(None) => break,
                Err(fault) => return (replies, Some(fault), false),
            }
        }
    }
    (replies, None, reader.is_empty())
}

#[test]
fn replies_are_read_in_every_chunking() {
    use ReplyError::{BareLf, CodeChanged, Endless, Malformed};
    let longest = format!("250 {}\r\n", "x".repeat(LONGEST - 4));
    let longest_cut = format!("250 {}\r\n", "x".repeat(506));
    let many = format!("{}250 x\r\n", "250-x\r\n".repeat(LINES - 1));
    for (input, replies, fault) in [
        (&b""[..], &[][..], None),
        (b"250 Ok\r\n", &["250 Ok\r\n"], None),
        (b"250\r\n", &["250 \r\n"], None),
        (b"250 \r\n", &["250 \r\n"], None),
        (b"250-a\r\n250-\r\n250 b\r\n", &["250-a\r\n250-\r\n250 b\r\n"], None),
        (b"250-a\r\n250\r\n", &["250-a\r\n250 \r\n"], None),
        (b"250 a\r\n550 b\r\n", &["250 a\r\n", "550 b\r\n"], None),
        // Unchanged, including the status.
        (
            b"550-5.1.1 <a@b>: no\r\n550 5.1.1 such user\r\n",
            &["550-5.1.1 <a@b>: no\r\n550 5.1.1 such user\r\n"],
            None,
        ),
        // A status that contradicts the code.
        (b"550 2.0.0 Ok\r\n", &["550 5.0.0 Ok\r\n"], None),
        (b"250-5.7.1 a\r\n250 4.7.1 b\r\n", &["250-2.7.1 a\r\n250 2.7.1 b\r\n"], None),
        // Text with octets that are not printable.
        (b"250 a\0b\tc\xe9\x7f\r\n", &["250 a?b c??\r\n"], None),
        (b"550 2.0.0\tOk\r\n", &["550 5.0.0 Ok\r\n"], None),
        (b"250 a\rb\r\r\n", &["250 a?b?\r\n"], None),
        // Lines must end in CRLF. A line that ends in LF only is refused at once.
        (b"250 a\n", &[], Some(BareLf)),
        (b"250 a\n550 b\r\n", &[], Some(BareLf)),
        (b"250 a\r\n250-b\n250 c\n", &["250 a\r\n"], Some(BareLf)),
        // The first digit decides (RFC 5321 section 4.2.1).
        (b"571 5.7.1 No\r\n", &["571 5.7.1 No\r\n"], None),
        (b"595-5.7.512 a\r\n595 b\r\n", &["595-5.7.512 a\r\n595 b\r\n"], None),
        (b"299\r\n", &["299 \r\n"], None),
        (b"471 5.7.1 a\r\n", &["471 4.7.1 a\r\n"], None),
        // Malformed replies.
        (b"\r\n", &[], Some(Malformed)),
        (b"\n250 a\r\n", &[], Some(BareLf)),
        (b"25 a\r\n", &[], Some(Malformed)),
        (b"2500 a\r\n", &[], Some(Malformed)),
        (b"250_a\r\n", &[], Some(Malformed)),
        (b"250:a\r\n", &[], Some(Malformed)),
        (b"250\x0ba\r\n", &[], Some(Malformed)),
        // A tab is accepted instead of a space.
        (b"250\ta\r\n", &["250 a\r\n"], None),
        (b"250\t\r\n", &["250 \r\n"], None),
        (b"250-a\r\n250\t2.0.0\tb\r\n", &["250-a\r\n250 2.0.0 b\r\n"], None),
        (b" 250 a\r\n", &[], Some(Malformed)),
        (b"+25 a\r\n", &[], Some(Malformed)),
        (b"hello\r\n", &[], Some(Malformed)),
        (b"150 a\r\n", &[], Some(Malformed)),
        (b"600 a\r\n", &[], Some(Malformed)),
        (b"050 a\r\n", &[], Some(Malformed)),
        (b"250 a\r\n000 b\r\n", &["250 a\r\n"], Some(Malformed)),
        (b"250-a\r\nb\r\n", &[], Some(Malformed)),
        (b"250-a\r\n550 b\r\n", &[], Some(CodeChanged)),
        (b"250-a\r\n251-b\r\n354 c\r\n", &[], Some(CodeChanged)),
        (b"354-a\r\n250 b\r\n", &[], Some(CodeChanged)),
        (b"451-a\r\n551\tb\r\n", &[], Some(CodeChanged)),
        // The code of the last line counts, if the first digit is the same.
        (b"250-a\r\n251 b\r\n", &["251-a\r\n251 b\r\n"], None),
        (b"252-2.0.0 a\r\n299-b\r\n250\r\n", &["250-2.0.0 a\r\n250-b\r\n250 \r\n"], None),
        (b"451-a\r\n421 b\r\n", &["421-a\r\n421 b\r\n"], None),
        // At and over the limits.
        (longest.as_bytes(), &[&longest_cut], None),
        (&[b"250 x", &longest.as_bytes()[4..]].concat(), &[], Some(Endless)),
        (&[b'2'; LONGEST + 2], &[], Some(Endless)),
        (many.as_bytes(), &[&many], None),
        (&[b"250-x\r\n", many.as_bytes()].concat(), &[], Some(Endless)),
    ] {
        let expected: Vec<_> = replies.iter().map(|reply| (*reply).to_owned()).collect();
        let whole = read([input]);
        assert_eq!(whole, (expected, fault, fault.is_none()), "{:?}", input.escape_ascii());
        assert_eq!(read(input.chunks(1)), whole, "octet by octet");
        for at in 0..input.len().min(64) {
            assert_eq!(read([&input[..at], &input[at..]]), whole, "cut at {at}");
        }
    }
}

#[test]
fn reply_fault_is_permanent() {
    let mut reader = ReplyReader::default();
    reader.receive(b"nonsense\r\n250 Ok\r\n");
    assert_eq!(reader.next(ReplyLimits::default()), Err(ReplyError::Malformed));
    assert_eq!(reader.next(ReplyLimits::default()), Err(ReplyError::Malformed));
    reader.clear();
    reader.receive(b"250-a\r\n");
    assert_eq!(reader.next(ReplyLimits::default()), Ok(None));
    assert!(!reader.is_empty(), "part of a reply is held");
    reader.receive(b"250 b\r\n");
    assert_eq!(
        reader.next(ReplyLimits::default()).unwrap().unwrap().lines().collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(reader.is_empty());
}

/// Generates malformed replies of an onward server.
fn nonsense() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => "(250|250|251|550|354|199)[ \t-]?(2\\.0\\.0 |5\\.1\\.1 )?[a-z]{0,3}".prop_map(String::into_bytes),
        6 => Just(b"\r\n".to_vec()),
        1 => Just(b"\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Any text gives a valid reply: each line is a reply line within the limit, and its status
    /// agrees with its code.
    #[test]
    fn written_reply_is_parsed_again(
        number in 200..=559_u16, subject in 0..2000_u16, detail in 0..2000_u16,
        enhanced: bool, text in "(.|\n|[2-5]\\.[0-9]\\.[0-9] ){0,700}",
    ) {
        let Some(code) = ReplyCode::new(number) else { return Ok(()) };
        let reply = match enhanced {
            true => Reply::new(code, EnhancedStatus::new(subject, detail), &text),
            false => Reply::plain(code, &text),
        };
        for reply in [reply.with_reference("s.1"), reply] {
            let written = written(&reply);
            let lines: Vec<_> = written.strip_suffix("\r\n").unwrap().split("\r\n").collect();
            for (index, line) in lines.iter().enumerate() {
                let separator = if index + 1 == lines.len() { ' ' } else { '-' };
                let start = format!("{number}{separator}");
                prop_assert!(line.len() <= 510 && line.starts_with(&start), "{}", line);
                prop_assert!(line.bytes().all(|octet| (b' '..=b'~').contains(&octet)));
                let agrees = read_status(&line.as_bytes()[4..]).is_none()
                    || line.as_bytes()[4] == line.as_bytes()[0];
                prop_assert!(agrees || number / 100 == 3, "{}", line);
            }
            // Reading the written reply returns it unchanged.
            let (replies, fault, empty) = read([written.as_bytes()]);
            prop_assert_eq!((replies, fault, empty), (vec![written], None, true));
        }
    }

    /// The replies are valid and do not depend on how the octets are split.
    #[test]
    fn chunking_does_not_change_replies(octets in nonsense(), cuts in prop::collection::vec(1..9_usize, 1..40)) {
        let whole = read([&octets[..]]);
        prop_assert_eq!(&read(octets.chunks(1)), &whole);
        let mut rest = &octets[..];
        let mut chunks = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, behind) = rest.split_at((*cut).min(rest.len()));
            chunks.push(chunk);
            rest = behind;
        }
        prop_assert_eq!(&read(chunks), &whole);
        for reply in &whole.0 {
            let again = read([reply.as_bytes()]);
            prop_assert_eq!(again, (vec![reply.clone()], None, true));
        }
    }
}
