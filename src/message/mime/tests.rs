use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::message::MessageView;
use crate::wire::blocks::Blocks;

fn view(content: impl AsRef<[u8]>) -> MessageView {
    MessageView::new(Bytes::copy_from_slice(content.as_ref()).into(), MimeLimits::default())
}

/// Returns one line for each part: indented by depth, with the media type. The line of a part that
/// contains no other parts also has its body.
fn outline(view: &MessageView) -> Vec<String> {
    let line = |part: &MimePart| {
        let indent = " ".repeat(part.depth());
        let body = String::from_utf8_lossy(part.body()).replace("\r\n", "|");
        let body = if part.is_container() { String::new() } else { format!(" {body}") };
        format!("{indent}{}{body}", part.content_type())
    };
    view.parts().iter().map(line).collect()
}

/// Replaces each LF by CRLF, as a client sends it.
fn crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

/// Replaces each line `M` in the table.
const MIXED: &str = "Content-Type: multipart/mixed; boundary=b\n\n";

#[test]
fn parts_are_found() {
    for (content, expected) in [
        ("", &["text/plain "][..]),
        ("\n", &["text/plain "]),
        ("A: b\n", &["text/plain "]),
        ("A: b\n\nbody\n", &["text/plain body|"]),
        ("From a@b\nContent-Type: text/html\n\nc\n", &["text/html c|"]),
        ("Content-Type: TEXT/HTML; charset=x\n\nc\n", &["text/html c|"]),
        ("Content-Type: text\n\nc\n", &["text/plain c|"]),
        ("Content-Type: ;;\n\nc\n", &["text/plain c|"]),
        ("Content-Type: a/b\nContent-Type: a/b\n\n", &["a/b "]),
        // The preamble and the epilogue belong to no part, and neither does the CRLF before a
        // delimiter.
        (
            "M\n--b\n\none\n--b\n\ntwo\n--b--\n",
            &["multipart/mixed", " text/plain one", " text/plain two"],
        ),
        ("M\nbefore\n--b\n\none\n\n--b--\nafter\n", &["multipart/mixed", " text/plain one|"]),
        ("M\n--b\n--b\n\n--b--\n", &["multipart/mixed", " text/plain ", " text/plain "]),
        // Not closed, closed too early, empty, never begun.
        ("M\n--b\n\none\n", &["multipart/mixed", " text/plain one|"]),
        ("M\n--b--\none\n", &["multipart/mixed --b--|one|"]),
        ("M\n--b\n", &["multipart/mixed", " text/plain "]),
        ("M\none\n", &["multipart/mixed one|"]),
        ("Content-Type: multipart/mixed\n\n--\n\none\n", &["multipart/mixed --||one|"]),
        ("Content-Type: multipart/a; boundary=\"\"\n\n--\n\none\n", &["multipart/a --||one|"]),
        // A delimiter is a whole line. White space may follow it.
        ("M\none --b\n --b\n-b\n--\n", &["multipart/mixed one --b| --b|-b|--|"]),
        ("M\n--b \t\n\none\n--b-- \n", &["multipart/mixed", " text/plain one"]),
        // A part with a truncated header.
        ("M\n--b\nA: b\n\n--b--\n", &["multipart/mixed", " text/plain "]),
        ("M\n--b\nContent-Type: a/b\n--b--\n", &["multipart/mixed", " a/b "]),
        // The delimiter of an outer container ends the inner one.
        (
            "M\n--b\nContent-Type: multipart/x; boundary=c\n\n--c\n\none\n--b\n\ntwo\n--b--\n",
            &["multipart/mixed", " multipart/x", "  text/plain one", " text/plain two"],
        ),
        (
            "M\n--b\nContent-Type: multipart/x; boundary=b--\n\n--b--\n\none\n--b----\n--b--\n",
            &["multipart/mixed", " multipart/x", "  text/plain one"],
        ),
        (
            "M\n--b\nContent-Type: multipart/x; boundary=b\n\n--b\n\none\n--b--\ntwo\n--b\n\nthree\n",
            &["multipart/mixed", " multipart/x", "  text/plain one", " text/plain three|"],
        ),
        // Attached messages; encoded ones too, though RFC 2046 forbids it.
        (
            "M\n--b\nContent-Type: message/rfc822\n\nA: b\n\none\n--b\n\ntwo\n--b--\n",
            &["multipart/mixed", " message/rfc822", "  text/plain one", " text/plain two"],
        ),
        (
            "Content-Type: multipart/digest; boundary=b\n\n--b\n\nA: b\n\none\n--b\n\n\ntwo\n--b--\n",
            &[
                "multipart/digest",
                " message/rfc822",
                "  text/plain one",
                " message/rfc822",
                "  text/plain two",
            ],
        ),
        ("Content-Type: message/global\n\n", &["message/global", " text/plain "]),
        ("Content-Type: message/partial\n\nA: b\n\n", &["message/partial", " text/plain "]),
        ("Content-Type: message/delivery-status\n\nA: b\n", &["message/delivery-status A: b|"]),
        (
            "Content-Type: message/rfc822\nContent-Transfer-Encoding: BASE64\n\nQTogYgoKb25l\n",
            &["message/rfc822", " text/plain one"],
        ),
    ] {
        let content = crlf(&content.replace("M\n", MIXED));
        let view = view(&content);
        assert_eq!(outline(&view), expected, "{content}");
        assert!(!view.truncated() && !view.is_ambiguous(), "{content}");
    }
}

/// The first line of each reading has no indentation.
#[test]
fn malformed_messages_are_read_in_each_way() {
    for (content, expected) in [
        ("Content-Type : a/b\n\n", &["a/b ", "text/plain ", "text/plain Content-Type : a/b||"][..]),
        ("no header\n\nbody\n", &["text/plain body|", "text/plain no header||body|"]),
        (" no header\n\nbody\n", &["text/plain body|", "text/plain  no header||body|"]),
        ("A: b\njunk\nContent-Type: a/b\n\n", &["a/b ", "text/plain junk|Content-Type: a/b||"]),
        ("A: b\n \nContent-Type: a/b\n\nc\n", &["a/b c|", "text/plain Content-Type: a/b||c|"]),
        ("Content-Type: a/b\nContent-Type: c/d\n\n", &["a/b ", "c/d "]),
        ("Content-Type: a/b x\n\n", &["a/b ", "text/plain "]),
        // A part whose header does not begin with a field.
        (
            "M\n--b\none\nContent-Type: a/b\n\ntwo\n--b--\n",
            &["multipart/mixed", " a/b two", " text/plain one|Content-Type: a/b||two"],
        ),
        // A delimiter with text after it.
        (
            "M\n--b\n\none\n--b junk\n\ntwo\n--b--\n",
            &[
                "multipart/mixed",
                " text/plain one|--b junk||two",
                " text/plain one",
                " text/plain two",
            ],
        ),
        // Parts after the closing delimiter.
        (
            "M\n--b\n\none\n--b--\n--b\n\ntwo\n",
            &["multipart/mixed", " text/plain one", "multipart/mixed", " text/plain two|"],
        ),
        (
            "M\n--b\nContent-Type: multipart/x; boundary=c\n\n--c--\n--b\n\ntwo\n--c\n\none\n",
            &["multipart/mixed", " multipart/x --c--", " text/plain two|--c||one|"],
        ),
        // Two boundaries.
        (
            "Content-Type: multipart/mixed; boundary=b; boundary=c\n\n--b\n\none\n--c\n\ntwo\n",
            &[
                "multipart/mixed",
                " text/plain one|--c||two|",
                "multipart/mixed",
                " text/plain two|",
            ],
        ),
        // No boundary.
        (
            "Content-Type: multipart/mixed\n\n--c\n\none\n--c--\n",
            &["multipart/mixed --c||one|--c--|", "multipart/mixed", " text/plain one"],
        ),
        (
            "Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\nA=3A b\n\none\n",
            &[
                "message/rfc822",
                " text/plain one|",
                "message/rfc822",
                " text/plain one|",
                " text/plain A=3A b||one|",
            ],
        ),
        // Encoded multiparts and messages.
        (
            "Content-Type: multipart/x; boundary=b\nContent-Transfer-Encoding: base64\n\n\
             LS1iCgpvbmUKLS1iLS0K\n",
            &["multipart/x", " text/plain one"],
        ),
        (
            "Content-Type: multipart/x; boundary=b\nContent-Transfer-Encoding: base64\n\n--b\n\none\n",
            &["multipart/x", " text/plain one|"],
        ),
        (
            "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nA: b\n\none?\n",
            &[
                "message/rfc822",
                " text/plain ",
                "message/rfc822",
                " text/plain one?|",
                " text/plain \u{1}\u{fffd}'",
            ],
        ),
    ] {
        let content = crlf(&content.replace("M\n", MIXED));
        let view = view(&content);
        assert_eq!(outline(&view), expected, "{content}");
        assert!(!view.truncated());
    }
}

#[test]
fn fields_are_read() {
    let view = view(crlf(
        "Subject: =?utf-8?q?caf=C3=A9?=\n =?UTF-8?b?IQ==?= now\nX-A:1\njunk\n more\nX-A : 2\nEmpty:\n\nbody: no\n",
    ));
    let fields: Vec<_> = view.fields().map(|field| (field.name(), field.text())).collect();
    let expected = [
        ("Subject", "caf\u{e9}! now"),
        ("X-A", "1"),
        ("", "junk more"),
        ("X-A", "2"),
        ("Empty", ""),
    ];
    assert_eq!(fields, expected.map(|(name, text)| (name, text.to_owned())));
    assert_eq!(view.field("x-a").unwrap().value(), b"1");
    assert_eq!(
        view.field("subject").unwrap().value(),
        b" =?utf-8?q?caf=C3=A9?=\r\n =?UTF-8?b?IQ==?= now"
    );
    assert!(view.field("body").is_none());
}

#[test]
fn parts_tell_what_they_are() {
    let view = view(crlf(
        "Content-Type: multipart/mixed; boundary=\"=_b\"\n\n\
         --=_b\nContent-Type: text/html; charset=\"ISO-8859-1\"\n\
         Content-Transfer-Encoding: quoted-printable\n\ncaf=E9 =\nau lait\n\
         --=_b\nContent-Type: image/png; name=a.png\nContent-Disposition: Attachment;\n \
         filename*0=\"b\"; filename*1=\".png\"\nContent-Transfer-Encoding: base64\n\niVBO\n*Rw==\n\
         --=_b\nContent-Type: application/x; name=\"=?utf-8?q?=C3=A9?=\"\n\nraw\n\
         --=_b\nContent-Disposition: attachment; filename*=utf-8''%C3%A9\n\ntext\n\
         --=_b--\n",
    ));
    let [mixed, html, image, raw, text] = view.parts() else { panic!("{view:?}") };
    assert!(mixed.is_container() && mixed.depth() == 0 && html.depth() == 1);
    assert_eq!(mixed.octets(), mixed.body());
    assert_eq!((html.charset(), html.file_name()), (Some("ISO-8859-1"), None));
    assert_eq!(
        (html.text(), &html.octets()[..]),
        (Some("caf\u{e9} au lait"), &b"caf\xe9 au lait"[..])
    );
    assert_eq!((image.content_type(), image.file_name()), ("image/png", Some("b.png")));
    assert_eq!((image.disposition(), image.text()), (Some("attachment"), None));
    assert_eq!(&image.octets()[..], b"\x89PNG");
    assert_eq!((raw.file_name(), &raw.octets()[..]), (Some("\u{e9}"), &b"raw"[..]));
    assert_eq!((text.file_name(), text.text()), (Some("\u{e9}"), Some("text")));
    assert_eq!(text.fields().count(), 1);
    assert_eq!(view.texts().collect::<Vec<_>>(), ["caf\u{e9} au lait", "text"]);
}

/// Encodes in base64, octet by octet (reference implementation).
fn base64(octets: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | usize::from(*group.get(at).unwrap_or(&0)));
        let sextet = |at: usize| char::from(alphabet[bits >> (18 - 6 * at) & 63]);
        (0..4).map(|at| if at <= group.len() { sextet(at) } else { '=' }).collect::<String>()
    };
    octets.chunks(3).map(group).collect()
}

/// Runs on a stack that a recursion as deep as the message would overflow.
fn on_a_small_stack(content: String) -> MessageView {
    let small = std::thread::Builder::new().stack_size(256 * 1024);
    small.spawn(move || view(content)).unwrap().join().unwrap()
}

#[test]
fn nesting_costs_no_stack() {
    let attached = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000);
    let encoding = "Content-Transfer-Encoding: quoted-printable\r\n";
    let encoded = format!("{encoding}{attached}");
    let open = |(mut all, n): (String, u32), _| {
        write!(all, "Content-Type: multipart/x; boundary=b{n}x\r\n\r\n--b{n}x\r\n").unwrap();
        (all, n + 1)
    };
    let (multiparts, _) = (0..100_000).fold((String::new(), 0), open);
    // Two readings of the encoded message.
    for (content, readings) in [(attached, 1), (encoded, 2), (multiparts, 1)] {
        let view = on_a_small_stack(content);
        let deepest = MimeLimits::default().depth;
        assert_eq!(view.parts().len(), readings * (deepest + 1));
        assert_eq!(view.parts().last().unwrap().depth(), deepest);
        assert!(view.truncated());
    }
}

#[test]
fn encodings_inside_encodings_come_to_an_end() {
    let head = "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n";
    for (times, parts, truncated) in [(3, 4, false), (4, 4, true)] {
        let content = (0..times).fold("\ntext\n".to_owned(), |inner, _| {
            format!("{head}{}\n", base64(inner.as_bytes()))
        });
        let view = view(content);
        assert_eq!((view.parts().len(), view.truncated()), (parts, truncated));
    }
}

#[test]
fn limits_hold_and_are_told() {
    let MimeLimits { parts: most, field, .. } = MimeLimits::default();
    let many = |n: usize| format!("{MIXED}{}--b--\n", "--b\n\nx\n".repeat(n));
    for (parts, found, truncated) in [(most - 1, most, false), (most, most, true)] {
        let view = view(many(parts));
        assert_eq!((view.parts().len(), view.truncated()), (found, truncated));
    }
    let long = |n: usize| format!("Content-Type: text/html; x={}\n\nbody\n", "x".repeat(n));
    for (n, truncated) in [(field - 14, false), (field - 13, true)] {
        let view = view(long(n));
        assert_eq!((view.parts()[0].content_type(), view.truncated()), ("text/html", truncated));
    }
}

#[test]
fn a_header_is_looked_at_as_far_as_its_limit() {
    let most = MimeLimits::default().header;
    for (length, truncated) in [(most, false), (most + 1, true)] {
        let begin = "Subject: x\r\nX: ";
        let field = begin.to_owned() + &"x".repeat(length - begin.len() - 2);
        let view = view(format!("{field}\r\n\r\nbody\r\n"));
        let fields = view.fields().map(|field| field.value().len()).sum::<usize>();
        assert_eq!(view.truncated(), truncated, "{length}");
        assert!(fields < most && view.field("subject").is_some());
        assert_eq!(view.parts()[0].body(), &b"body\r\n"[..]);
    }
}

/// A longer boundary is guessed, in another reading.
#[test]
fn a_boundary_is_found_up_to_its_limit() {
    for (length, parts, truncated) in [(4_088, 2, false), (4_089, 3, true)] {
        let boundary = "b".repeat(length);
        let field = format!("Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n");
        let view = view(format!("{field}--{boundary}\r\n\r\none\r\n--{boundary}--\r\n"));
        assert_eq!((view.parts().len(), view.truncated()), (parts, truncated), "{length}");
    }
}

/// The limit applies to copies of all kinds.
#[test]
fn copies_come_to_an_end() {
    let most = MimeLimits::default().copies;
    let encoded = |length: usize| {
        let head = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n";
        // An empty line and `xxx…`.
        head.to_owned() + "DQp4" + &"eHh4".repeat(length / 4 - 1)
    };
    for (content, truncated) in [
        (encoded(most / 2 - 16), false),
        (encoded(most / 2 + 4), true),
        // Each header crosses a block boundary.
        (MIXED.to_owned() + &format!("--b\r\nx: {}\r\n\r\n", "x".repeat(90_000)).repeat(40), false),
        (MIXED.to_owned() + &format!("--b\r\nx: {}\r\n\r\n", "x".repeat(90_000)).repeat(99), true),
        (
            MIXED.to_owned()
                + &format!("--b\nContent-Type: a/{}\n\n", "b".repeat(1_900)).repeat(4_000),
            false,
        ),
        (
            MIXED.to_owned()
                + &format!("--b\nContent-Type: a/{}\n\n", "b".repeat(1_900)).repeat(5_000),
            true,
        ),
    ] {
        let view = MessageView::new(Blocks::cut(content.as_bytes(), 100), MimeLimits::default());
        assert_eq!(view.truncated(), truncated, "{:?}", &content[..99]);
    }
}

#[test]
fn the_head_of_a_text_is_its_beginning() {
    let encodings = [
        ("7bit", "some text\r\n".repeat(20_000)),
        ("quoted-printable", "=73=6f=6d=65=20=74=65=78=74=\r\n".repeat(20_000)),
        ("base64", "c29tZSB0ZXh0IHNvbWUgdGV4dCBzb21lIHRleHQg\r\n".repeat(20_000)),
    ];
    for (encoding, body) in encodings {
        let content = format!("Content-Transfer-Encoding: {encoding}\r\n\r\n{body}");
        let view = MessageView::new(Blocks::cut(content.as_bytes(), 77), MimeLimits::default());
        let part = &view.parts()[0];
        let heads = [0, 1_000, 100_000, usize::MAX / 4].map(|octets| {
            let head = part.text_head(octets).unwrap().into_owned();
            assert!(head.len() >= (octets / 2).min(part.body().len() / 4), "{encoding} {octets}");
            assert!(head.len() <= 3 * octets + 2 || octets > content.len(), "{encoding} {octets}");
            head
        });
        let text = part.text().unwrap();
        assert!(heads.iter().all(|head| text.starts_with(&head[..head.len() - head.len() % 9])));
        assert_eq!((&*heads[3], &*part.text_head(9).unwrap()), (text, text));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Any input is parsed, and a part contains only octets of the message.
    #[test]
    fn anything_is_a_message(lines in prop::collection::vec(line(), 0..24), end in "\n|\r\n") {
        let content = lines.iter().flat_map(|line| [line, end.as_bytes()].concat()).collect::<Vec<u8>>();
        let content = Bytes::from(content);
        let view = MessageView::new(content.clone().into(), MimeLimits::default());
        prop_assert!(!view.parts().is_empty());
        let mut depth = 0;
        for part in view.parts() {
            prop_assert!(part.depth() <= depth + 1 || view.is_ambiguous());
            depth = part.depth();
            part.octets();
            part.text();
            part.fields().for_each(|field| drop(field.text()));
        }
        // Text without MIME is one part, and all of it.
        if !view.is_ambiguous() && !content.windows(12).any(|name| name.eq_ignore_ascii_case(b"content-type")) {
            prop_assert_eq!(view.parts().len(), 1);
            let message = &view.parts()[0];
            let header: usize = message.fields().map(|field| field.value().len()).sum();
            prop_assert!(header + message.body().len() <= content.len());
            prop_assert!(content.ends_with(message.body()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// The positions of block boundaries do not affect the view.
    #[test]
    fn blocks_do_not_change_the_content(
        lines in prop::collection::vec(line(), 0..24),
        place in any::<prop::sample::Index>(),
    ) {
        let content = lines.iter().flat_map(|line| [line, &b"\r\n"[..]].concat());
        let content = content.collect::<Vec<u8>>();
        let cut = MessageView::new(
            Blocks::cut(&content, place.index(content.len() + 1)),
            MimeLimits::default(),
        );
        let whole = view(&content);
        let seen = |view: &MessageView| -> Vec<_> {
            let part = |part: &MimePart| {
                let fields = part.fields().map(|field| (field.name().to_owned(), field.value().to_vec()));
                let kind = (part.depth(), part.content_type().to_owned(), part.is_container());
                (kind, fields.collect::<Vec<_>>(), part.body().clone(), part.octets().clone())
            };
            view.parts().iter().map(part).collect()
        };
        prop_assert_eq!(seen(&cut), seen(&whole));
    }
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        4 => "(--b|--c|--b--|--c--|-- |--)",
        3 => "Content-Type: (multipart/(mixed|digest); boundary=\"?[bc]\"?|message/rfc822|text/html)",
        2 => "Content-Transfer-Encoding: (base64|quoted-printable)",
        2 => "Content-(Type|Disposition)[:;=*'()/a0\"\\\\% ?]{0,30}[\\x00-\\x7f]{0,8}",
        3 => "",
        2 => "[ \t=A-Za-z0-9+/?_:;*'\"\\\\(){}%-]{0,40}",
        1 => "(=\\?(utf-8|utf-16|iso-2022-jp|utf-7|x)\\?[bqx]\\?[a-z=0-9?_+]{0,9}\\??=? ?){1,4}",
    ];
    prop_oneof![
        16 => text.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(|octets| [b"Content-Type: a/b;", &octets[..]].concat()),
    ]
}
