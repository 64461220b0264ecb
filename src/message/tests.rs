use std::net::SocketAddr;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;
use crate::envelope::SessionId;
use crate::peer::{Helo, Peer};
use crate::wire::blocks::Blocks;
use crate::wire::command::MailParameters;
use crate::wire::content::ContentDecoder;
use crate::wire::mailbox::{ReversePath, SmtpPath};

fn path(written: &str) -> SmtpPath {
    SmtpPath::scan(written.as_bytes()).unwrap().0
}

fn envelope() -> Envelope {
    let mut peer = Peer::new("192.0.2.1:25".parse::<SocketAddr>().unwrap());
    peer.helo = Some(Helo { extended: true, name: "client.example".into() });
    let reverse_path = ReversePath { path: path("<>"), parameters: MailParameters::default() };
    Envelope::new(SessionId::new("s").transaction(1), Arc::new(peer), reverse_path)
}

fn message(content: &[u8]) -> Message {
    Message::new("mx.example", &envelope(), UNIX_EPOCH, MailData::normalise(content))
}

const TRACE: &str = "Received: from client.example ([192.0.2.1]) by mx.example (nobounce) with\r\n \
                     ESMTP id s.1; Thu, 01 Jan 1970 00:00:00 +0000\r\n";

/// Returns header fields and bodies of a view.
fn seen(view: &MessageView) -> Vec<(String, Bytes)> {
    let fields = |part: &MimePart| {
        let field = |field: Field<'_>| format!("{}|{}", field.name(), field.value().escape_ascii());
        part.fields().map(field).collect::<Vec<_>>().join("|")
    };
    view.parts().iter().map(|part| (fields(part), part.body().clone())).collect()
}

/// Returns everything after the trace header.
fn behind_trace(message: &Message) -> String {
    let whole = String::from_utf8(message.segments().concat()).unwrap();
    whole.strip_prefix(TRACE).unwrap_or_else(|| panic!("{whole}")).to_owned()
}

#[test]
fn our_fields_do_not_merge_with_the_content() {
    for (content, expected) in [
        // Nothing, an empty line, or a header field: nothing is inserted.
        ("", ""),
        ("\r\n", "\r\n"),
        ("\r\nbody\r\n", "\r\nbody\r\n"),
        ("A: b\r\n\r\nbody\r\n", "A: b\r\n\r\nbody\r\n"),
        ("A:\r\n", "A:\r\n"),
        ("A \t: b\r\n", "A \t: b\r\n"),
        ("!$%=: b\r\n", "!$%=: b\r\n"),
        (".: b\r\n", ".: b\r\n"),
        // White space, or not a header field: an empty line is inserted.
        (" A: b\r\n", "\r\n A: b\r\n"),
        ("\tA: b\r\n", "\r\n\tA: b\r\n"),
        (" \r\nA: b\r\n", "\r\n \r\nA: b\r\n"),
        ("hello\r\nA: b\r\n", "\r\nhello\r\nA: b\r\n"),
        ("hello world: b\r\n", "\r\nhello world: b\r\n"),
        (": b\r\n", "\r\n: b\r\n"),
        ("\u{e9}: b\r\n", "\r\n\u{e9}: b\r\n"),
        ("A\0: b\r\n", "\r\nA\0: b\r\n"),
        ("A\x0c: b\r\n", "\r\nA\x0c: b\r\n"),
        (".\r\n", "\r\n.\r\n"),
        // An mbox line becomes a field and does not hide the lines after it.
        ("From a\r\nB: c\r\n", "Mailbox-Line: From a\r\nB: c\r\n"),
        (">From a\r\nB: c\r\n", "Mailbox-Line: >From a\r\nB: c\r\n"),
        (">>From a\r\n\r\nc\r\n", "Mailbox-Line: >>From a\r\n\r\nc\r\n"),
        ("From a\r\nFrom b\r\n", "Mailbox-Line: From a\r\nMailbox-Line: From b\r\n"),
        ("From a\r\n b\r\n", "Mailbox-Line: From a\r\n\r\n b\r\n"),
        ("From a\r\nb\r\n", "Mailbox-Line: From a\r\n\r\nb\r\n"),
        ("A: b\r\nFrom a\r\n", "A: b\r\nFrom a\r\n"),
        ("From: a\r\n", "From: a\r\n"),
        ("from a\r\n", "\r\nfrom a\r\n"),
        ("> From a\r\n", "\r\n> From a\r\n"),
        // Removed fields at the start do not affect the boundary.
        ("X-Nobounce-A: b\r\n", ""),
        ("X-Nobounce-A: b\r\nC: d\r\n", "C: d\r\n"),
        ("X-Nobounce-A: b\r\n\r\nC\r\n", "\r\nC\r\n"),
        ("X-Nobounce-A: b\r\nC\r\n", "\r\nC\r\n"),
        ("X-Nobounce-A: b\r\n C\r\n\tD\r\nE\r\n", "\r\nE\r\n"),
        ("X-Nobounce-A: b\r\nFrom c\r\nD: e\r\n", "Mailbox-Line: From c\r\nD: e\r\n"),
        ("From c\r\nX-Nobounce-A: b\r\nD\r\n", "Mailbox-Line: From c\r\n\r\nD\r\n"),
    ] {
        let message = message(content.as_bytes());
        assert_eq!(behind_trace(&message), expected, "{content:?}");
        assert_view_is_relayed(&message);
    }
}

/// Checks that the view is the one of the octets that are relayed.
fn assert_view_is_relayed(message: &Message) {
    let relayed = Bytes::from(behind_trace(message));
    let expected = MessageView::new(relayed.into(), MimeLimits::default());
    assert_eq!(seen(message.view()), seen(&expected));
}

#[test]
fn view_is_the_message_that_is_relayed() {
    let mut message = message(b"X-Nobounce-A: b\r\nFrom c\r\nSubject: d\r\n\r\ne\r\n");
    let fields = |message: &Message| {
        let names = message.view().fields().map(|field| field.name().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(fields(&message.clone()), ["Mailbox-Line", "Subject"]);
    message.tag(vec![HeaderField::new("X-Nobounce-Score", "5").unwrap()]);
    assert_eq!(fields(&message), ["Mailbox-Line", "Subject"]);
    // An inserted empty line ends the header.
    let bare = self::message(b"hello\r\nSubject: a\r\n\r\nb\r\n");
    assert_eq!(fields(&bare), [""; 0]);
    assert_eq!(bare.view().texts().collect::<String>(), "hello\r\nSubject: a\r\n\r\nb\r\n");
    // Only the first 16 mbox lines become fields.
    let many = self::message(("From a\r\n".repeat(17) + "Subject: b\r\n\r\n").as_bytes());
    assert_eq!(fields(&many), ["Mailbox-Line"; 16]);
    assert_eq!(many.view().texts().collect::<String>(), "From a\r\nSubject: b\r\n\r\n");
}

#[test]
fn forged_fields_are_left_out() {
    for (content, expected) in [
        ("A: b\r\nX-Nobounce-C: d\r\nE: f\r\n", "A: b\r\nE: f\r\n"),
        ("A: b\r\nX-Nobounce-C: d\r\n", "A: b\r\n"),
        ("A: b\r\nx-nobounce-c: d\r\nX-NOBOUNCE-C:\r\n\r\ng\r\n", "A: b\r\n\r\ng\r\n"),
        ("A: b\r\nX-Nobounce-C \t: d\r\nE: f\r\n", "A: b\r\nE: f\r\n"),
        ("A: b\r\nX-Nobounce-: d\r\nE: f\r\n", "A: b\r\nE: f\r\n"),
        ("A: b\r\nX-Nobounce-C\0\u{e9}: d\r\nE: f\r\n", "A: b\r\nE: f\r\n"),
        // Continuation lines are removed too, including lines of white space.
        ("A: b\r\nX-Nobounce-C: d\r\n e\r\n\tf\r\nG: h\r\n", "A: b\r\nG: h\r\n"),
        ("A: b\r\nX-Nobounce-C: d\r\n \r\n e\r\nG: h\r\n", "A: b\r\nG: h\r\n"),
        ("A: b\r\n c\r\nX-Nobounce-C: d\r\nE: f\r\n g\r\n", "A: b\r\n c\r\nE: f\r\n g\r\n"),
        ("A: b\r\nX-Nobounce-C:\r\nX-Nobounce-C:\r\nE: f\r\n", "A: b\r\nE: f\r\n"),
        // After a line that is not a field: some readers continue.
        ("A: b\r\njunk\r\nX-Nobounce-C: d\r\n\r\n", "A: b\r\njunk\r\n\r\n"),
        ("A: b\r\njunk\r\n\tX-Nobounce-C: d\r\n e\r\nF: g\r\n", "A: b\r\njunk\r\nF: g\r\n"),
        ("A: b\r\njunk\r\n more\r\n X-Nobounce-C: d\r\n\r\n", "A: b\r\njunk\r\n more\r\n\r\n"),
        ("A: b\r\n: X-Nobounce-C: d\r\n\x0cX-Nobounce-C: d\r\n\r\n", "A: b\r\n\r\n"),
        ("A: b\r\n \r\nX-Nobounce-C: d\r\n\r\n", "A: b\r\n \r\n\r\n"),
        // Fields in the body are kept, and a name without a colon is not a field.
        ("A: b\r\n\r\nX-Nobounce-C: d\r\n", "A: b\r\n\r\nX-Nobounce-C: d\r\n"),
        ("\r\nX-Nobounce-C: d\r\n", "\r\nX-Nobounce-C: d\r\n"),
        ("X-Nobounce-C is: it\r\n", "\r\nX-Nobounce-C is: it\r\n"),
        ("hello\r\nX-Nobounce-C: d\r\n", "\r\nhello\r\nX-Nobounce-C: d\r\n"),
        ("A: b\r\n X-Nobounce-C: d\r\n", "A: b\r\n X-Nobounce-C: d\r\n"),
        ("A: X-Nobounce-C: d\r\nX-Nobounced: e\r\n", "A: X-Nobounce-C: d\r\nX-Nobounced: e\r\n"),
    ] {
        let message = message(content.as_bytes());
        assert_eq!(behind_trace(&message), expected, "{content:?}");
        assert_eq!(message.content(), content, "the content is what the client sent");
        assert_view_is_relayed(&message);
    }
}

#[test]
fn tags_come_first() {
    let mut message = message(b"X-Nobounce-Score: -100\r\nA: b\r\n\r\nc\r\n");
    let tag = |value| HeaderField::new("X-Nobounce-Score", value).unwrap();
    message.tag(vec![tag("5"), tag("6")]);
    let expected =
        format!("X-Nobounce-Score: 5\r\nX-Nobounce-Score: 6\r\n{TRACE}A: b\r\n\r\nc\r\n");
    assert_eq!(message.segments().concat(), expected.as_bytes());
    assert_eq!(message.len(), expected.len());
    assert!(!message.is_empty());
}

#[test]
fn content_without_leading_dots_is_not_scanned_again() {
    let tagged = |name: &str| {
        let mut decoder = ContentDecoder::new(Budget::default(), 0, 1000);
        decoder.data(b"A: b\r\n\r\nc\r\n.\r\n");
        let content = decoder.finish().unwrap();
        let mut message = Message::new("mx.example", &envelope(), UNIX_EPOCH, content);
        message.tag(vec![HeaderField::new(name, ". .").unwrap()]);
        message.dots()
    };
    assert_eq!(tagged("X-A"), Dots::None, "it is folded at a space");
    assert_eq!(tagged(".X-A"), Dots::Perhaps);
}

#[test]
fn large_content_is_readable_in_blocks_and_contiguously() {
    let content = "A: b\r\n\r\n".to_owned() + &"0123456789\r\n".repeat(20_000);
    let message = message(content.as_bytes());
    assert!(message.content_segments().len() > 3);
    assert_eq!(message.content_segments().concat(), content.as_bytes());
    assert!(message.content() == content.as_bytes());
    assert_eq!(message.content().as_ptr(), message.content().as_ptr(), "joined once");
    assert!(message.view().parts()[0].body() == &content.as_bytes()[8..]);
}

#[test]
fn content_is_not_copied_and_not_logged() {
    let message = message(b"A: secret\r\n\r\nbody\r\n");
    let content = message.content().as_ptr_range();
    assert_eq!(message.segments().len(), 2);
    assert!(message.segments()[1..].iter().all(|segment| content.contains(&segment.as_ptr())));
    let places = |message: &Message| message.segments().iter().map(|it| it.as_ptr()).collect();
    let (view, before): (_, Vec<_>) = (message.view(), places(&message));
    let clone = message.clone();
    assert!(std::ptr::eq(clone.view(), view) && before == places(&clone));
    assert!(clone.into_segments().iter().map(|it| it.as_ptr()).eq(before));
    let told = format!("{message:?} {:?}", message.view());
    assert!(!told.contains("secret") && !told.contains("body"), "{told}");
}

/// Generates hostile contents for the property tests.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("X-Nobounce-Score: 1"),
        Just("x-nobounce-a \t: 1"),
        Just("X-Nobounce-"),
        Just("Received: from a by b; Thu, 01 Jan 1970 00:00:00 +0000"),
        Just("Subject: s"),
        Just(" continued"),
        Just("\t"),
        Just(""),
        Just("From a@b.example Thu Jan"),
        Just(">>From "),
        Just("junk"),
        Just("no field: at all"),
        Just("."),
        Just(":"),
    ];
    let line = prop_oneof![
        4 => line.prop_map(|line| line.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    let end = prop_oneof![8 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")];
    prop::collection::vec((line, end), 0..12)
        .prop_map(|lines| lines.iter().flat_map(|(l, e)| [l, e.as_bytes()].concat()).collect())
}

/// Returns the expected octets after our field, computed line by line from the rules.
fn onward(content: &[u8]) -> Vec<u8> {
    let mut onward: Vec<Vec<u8>> = Vec::new();
    let (mut forged, mut header, mut first, mut field) = (false, true, true, true);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        let text = String::from_utf8_lossy(line).to_ascii_lowercase();
        let wsp = [' ', '\t', '\x0c'];
        let begins = !text.starts_with([' ', '\t']);
        if header && (begins || !field && !forged) {
            let name = text
                .trim_start_matches(|c: char| c == ' ' || c == ':' || c.is_ascii_control())
                .split_once(':')
                .map(|(name, _)| name.trim_end_matches(wsp));
            forged = name.is_some_and(|name| {
                name.starts_with("x-nobounce-")
                    && !name.contains(['\r', '\n'])
                    && !name.contains(wsp)
            });
        }
        if begins {
            field = section::split_field(line).is_some();
        }
        if header && forged {
            continue;
        }
        let quoted = line.iter().position(|octet| *octet != b'>').unwrap_or(0);
        if header && first && line[quoted..].starts_with(b"From ") {
            onward.push(b"Mailbox-Line: ".into());
        } else {
            if header && first && line != b"\r\n" && section::split_field(line).is_none() {
                onward.push(b"\r\n".into());
                header = false;
            }
            first = false;
        }
        header &= line != b"\r\n";
        onward.push(line.into());
    }
    onward.concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The relayed message is our field, at most one empty line, and the content without forged
    /// fields.
    #[test]
    fn content_is_relayed_unchanged(content in content()) {
        let message = message(&content);
        let whole = message.segments().concat();
        let rest = whole.strip_prefix(TRACE.as_bytes()).unwrap();
        let expected = onward(message.content());
        prop_assert_eq!(String::from_utf8_lossy(rest), String::from_utf8_lossy(&expected));
        prop_assert_eq!(message.len(), whole.len());
        let relayed = MessageView::new(Bytes::from(expected).into(), MimeLimits::default());
        prop_assert_eq!(seen(message.view()), seen(&relayed));
    }

    /// The positions of the block boundaries do not affect the relayed message.
    #[test]
    fn blocks_do_not_change_the_content(content in content(), place in any::<prop::sample::Index>()) {
        let content = MailData::normalise(&content).segments().concat();
        let blocks = Blocks::cut(&content, place.index(content.len() + 1));
        let mut segments = Vec::new();
        joint::append(&blocks, None, &Budget::default(), &mut segments, &mut |_| ()).unwrap();
        prop_assert!(segments.iter().all(|segment| !segment.is_empty()));
        let (found, expected) = (segments.concat(), onward(&content));
        prop_assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected));
    }

    /// Another parser reads our field first and unchanged, whatever follows. It finds no field of
    /// ours that the client wrote.
    #[test]
    fn views_agree_with_another_parser(content in content()) {
        let whole = message(&content).segments().concat();
        let parser = mail_parser::MessageParser::new().default_header_raw();
        let read = parser.parse_headers(&whole).unwrap();
        let fields = read.headers();
        prop_assert_eq!(fields[0].name.as_str(), "Received");
        let value = &whole[fields[0].offset_start as usize..fields[0].offset_end as usize];
        prop_assert_eq!([b"Received:", value].concat(), TRACE.as_bytes());
        for field in fields {
            let name = field.name.as_str().to_ascii_lowercase();
            prop_assert!(!name.starts_with("x-nobounce-") || name.contains(' '), "{}", whole.escape_ascii());
        }
    }
}

#[test]
fn authentication_results_in_our_name_are_removed() {
    let ours = [
        "Authentication-Results: mx.example; spf=pass\n",
        "authentication-results:MX.EXAMPLE;\n\tdkim=pass\n",
        "Authentication-Results:\n mx.example; dkim=pass\n",
        "Authentication-Results : (really; (yes) \\)) mx.example 1; dkim=pass\n",
        "Authentication-Results: \"mx.ex\\ample\"; dkim=pass\n",
        "Authentication-Results: mx.example\n",
        "Authentication-Results\n : mx.example; spf=pass\n",
        // White space of any kind, and comments.
        "Authentication-Results:\x0bmx.example; spf=pass\n",
        "Authentication-Results\x0c:\x0c\x0bmx.example\x0b; spf=pass\n",
        "Authentication-Results:\n \x0bmx.example\x0c1; spf=pass\n",
        "Authentication-Results: \n \n\tmx.example\n ; spf=pass\n",
        "Authentication-Results (:) (a\n b) : mx.example; spf=pass\n",
        "Authentication-Results: mx.example(a)1; spf=pass\n",
        "Authentication-Results: mx.(a)example; spf=pass\n",
        "Authentication-Results: mx.example.; spf=pass\n",
        "Authentication-Results:\0mx.ex\0ample; spf=pass\n",
        "Authentication-Results: mx.example\0x; spf=pass\n",
        "Authentication-Results: mx.example/1; spf=pass\n",
        "Authentication-Results: mx.example, spf=pass\n",
        "Authentication-Results: =?utf-8?q?mx.example?=; spf=pass\n",
        "Authentication-Results: =?utf-8?b?bXguZXhhbXBsZTs=?= spf=pass\n",
        // The server name is not within the examined octets.
        &format!("Authentication-Results: ({}) mx.other.example; spf=pass\n", "x".repeat(600)),
        &format!("Authentication-Results{}: mx.other.example; spf=pass\n", " ".repeat(600)),
    ];
    let others = [
        &format!("Authentication-Results: ({}) mx.other.example\n", "x".repeat(400)),
        &format!("Authentication-Results: {}\n", "x".repeat(600)),
        "Authentication-Results: mx.other.example; spf=pass\n",
        "Authentication-Results: =?utf-8?q?mx.other.example?=; spf=pass\n",
        "Authentication-Results: mx.example.org; spf=pass\n",
        "Authentication-Results: other.example (mx.example); spf=pass\n",
        "Authentication-Results-Archive: mx.example; spf=pass\n",
        "ARC-Authentication-Results: i=1; mx.example; spf=pass\n",
        "Subject: mx.example; spf=pass\n",
        "Authentication-Results: other.example(mx.example)1; spf=pass\n",
        "Authentication-Results: other.example\x0bmx.example; spf=pass\n",
        "Authentication-Results (mx.example): other.example; spf=pass\n",
    ];
    let whole = |content: &str, id| {
        let content = MailData::normalise(content.as_bytes());
        let envelope = envelope();
        let message = Message::within(
            MimeLimits::default(),
            id,
            "mx.example",
            &envelope,
            UNIX_EPOCH,
            content,
            &mut |_| (),
        )
        .unwrap();
        let octets = message.segments().concat();
        assert_eq!(octets.len(), message.len());
        String::from_utf8(octets).unwrap().replace('\r', "")
    };
    for (fields, taken) in [(&ours[..], true), (&others, false)] {
        for field in fields {
            let content = format!("From: a@b\n{field}To: c@d\n\n{field}");
            let expected =
                if taken { format!("From: a@b\nTo: c@d\n\n{field}") } else { content.clone() };
            let got = whole(&content, Some("mx.example"));
            assert!(got.ends_with(&expected), "{field:?}: {got}");
            assert!(whole(&content, None).ends_with(&content), "{field:?} stays if nothing is set");
        }
    }
}

/// Any number of forged fields makes only few segments. A segment costs 32 octets.
#[test]
fn header_surgery_makes_few_segments() {
    for (line, count) in [
        ("X-Nobounce-A:\r\nb:\r\n", 100_000),
        ("From \r\n", 100_000),
        ("From a\r\nX-Nobounce-A:\r\n", 100_000),
        ("Authentication-Results:mx.example\r\nb:\r\n", 50_000),
        (&format!("X-Nobounce-A:\r\nb:{}\r\n", "x".repeat(3_000)), 500),
        (&format!("X-Nobounce-A:\r\nb:{}\r\n", "x".repeat(5_000)), 500),
    ] {
        let content = MailData::normalise((line.repeat(count) + "\r\nbody\r\n").as_bytes());
        let most = 2 + content.len() / 2_048;
        let mut segments = Vec::new();
        let budget = Budget::new(3 * content.len() + BLOCK);
        let complete = joint::append(
            content.blocks(),
            Some("mx.example"),
            &budget,
            &mut segments,
            &mut |_| (),
        );
        assert!(complete.is_ok(), "{line:?}");
        assert!(segments.len() <= most, "{} segments for {line:?}", segments.len());
    }
}

/// Octets copied by header changes are charged to the mail data budget.
#[test]
fn header_surgery_is_charged_to_the_budget() {
    let kept = format!("B: {}\r\n", "x".repeat(95));
    let content = format!("X-Nobounce-A:\r\n{kept}").repeat(5_000);
    let whole = content.len() + kept.len() * 5_000;
    let others = 8 * BLOCK;
    for (budget, held, expected) in [
        (whole + 3 * BLOCK, 0, Ok(())),
        (whole + others, others, Err(ContentFault::NoMemory)),
        // Waiting for other messages cannot help.
        (whole - BLOCK, 0, Err(ContentFault::TooBig)),
    ] {
        let budget = Budget::new(budget);
        let mut charge = budget.charge();
        assert!(charge.grow(held));
        let mut decoder = ContentDecoder::new(budget.clone(), 0, u64::MAX);
        decoder.chunk(content.as_bytes());
        let data = decoder.finish().unwrap();
        let mime = MimeLimits::default();
        let message = Message::within(mime, None, "mx", &envelope(), UNIX_EPOCH, data, &mut |_| ());
        assert_eq!(message.as_ref().map(|_| ()).map_err(|it| *it), expected);
        if let Ok(message) = &message {
            assert!(budget.used() > whole && message.len() > kept.len() * 5_000);
        }
        drop((message, charge));
        assert_eq!(budget.used(), 0, "everything is returned to the budget");
    }
}

/// A message of mbox lines takes no more memory than its content.
#[test]
fn mbox_lines_are_bounded() {
    for count in [1, 16, 17, 100_000] {
        let content = "From a\r\n".repeat(count);
        let budget = Budget::new(content.len() + 3 * BLOCK);
        let mut decoder = ContentDecoder::new(budget.clone(), 0, u64::MAX);
        decoder.chunk(content.as_bytes());
        let data = decoder.finish().unwrap();
        let mime = MimeLimits::default();
        let message =
            Message::within(mime, None, "mx.example", &envelope(), UNIX_EPOCH, data, &mut |_| ());
        let message = message.unwrap();
        let onward = behind_trace(&message);
        let fields = "Mailbox-Line: From a\r\n".repeat(count.min(16));
        let text = "From a\r\n".repeat(count.saturating_sub(16));
        let between = if text.is_empty() { "" } else { "\r\n" };
        assert!(onward == format!("{fields}{between}{text}"), "{count}");
    }
}

#[test]
fn forged_field_is_removed_at_any_length() {
    let long = |octets: &str| octets.repeat(70_000);
    for (field, removed) in [
        (format!("junk\r\n{}X-Nobounce-Score: 1\r\n", long(" ")), true),
        (format!("{}X-Nobounce-Score: 1\r\n", long(":")), true),
        (format!("X-Nobounce-{}: 1\r\n", long("a")), true),
        (format!("X-Nobounce-Score: {}\r\n", long("a")), true),
        (format!("X-Nobounce-Score: 1\r\n{}", long(" a\r\n")), true),
        (format!("X-Score: {}\r\n", long("a")), false),
    ] {
        let content = format!("A: b\r\n{field}\r\n");
        let onward = behind_trace(&message(content.as_bytes()));
        assert!(!onward.contains("X-Nobounce"), "{:?}", &onward[..onward.len().min(99)]);
        assert_eq!(onward == content, !removed);
    }
}
