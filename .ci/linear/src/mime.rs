//! Shapes of messages for the MIME parser. Every part and every field is read.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use nobounce::envelope::SessionId;
use nobounce::message::{MailData, MessageView};
use nobounce::{Envelope, Message, Peer, ReversePath};

use crate::{Shape, Work};

pub(crate) const SHAPES: &[Shape] = &[
    Shape { name: "nested-multiparts", size: 10_000, least: 5.0, prepare: nested },
    Shape { name: "nested-messages", size: 30_000, least: 5.0, prepare: messages },
    Shape { name: "unclosed-multiparts", size: 3_000, least: 5.0, prepare: unclosed },
    Shape { name: "loose-delimiters", size: 2_000, least: 5.0, prepare: loose },
    Shape { name: "reopened-multiparts", size: 2_000, least: 5.0, prepare: reopened },
    Shape { name: "junk-in-header", size: 20_000, least: 5.0, prepare: junk },
    Shape { name: "continued-parameters", size: 100, least: 5.0, prepare: continuations },
    Shape { name: "odd-parameters", size: 100, least: 5.0, prepare: odd_parameters },
    Shape { name: "uuencoded-files", size: 5_000, least: 5.0, prepare: uuencoded },
    Shape { name: "signed-data", size: 20_000, least: 5.0, prepare: signed_data },
    Shape { name: "utf-7", size: 20_000, least: 5.0, prepare: utf7 },
    Shape { name: "utf-16", size: 50_000, least: 5.0, prepare: utf16 },
    Shape { name: "shifted-text", size: 20_000, least: 5.0, prepare: shifted },
    Shape { name: "many-parts", size: 4_000, least: 5.0, prepare: parts },
    Shape { name: "header-fields", size: 30_000, least: 5.0, prepare: fields },
    Shape { name: "forged-fields", size: 12_000, least: 5.0, prepare: forged },
    Shape { name: "folded-field", size: 50_000, least: 5.0, prepare: folded },
    Shape { name: "content-type-fields", size: 200, least: 5.0, prepare: content_types },
    Shape { name: "encoded-words", size: 20_000, least: 5.0, prepare: words },
    Shape { name: "broken-words", size: 100_000, least: 5.0, prepare: broken_words },
    Shape { name: "base64", size: 20_000, least: 2.0, prepare: base64 },
    Shape { name: "quoted-printable", size: 30_000, least: 2.0, prepare: quoted },
];

const MULTIPART: &str = "Content-Type: multipart/mixed; boundary=";

/// Nested deeper than the parser's limit, with all levels closed.
fn nested(size: usize) -> Work {
    let open = |n| format!("{MULTIPART}b{n}x\r\n\r\n--b{n}x\r\n");
    let begin: String = (0..size).map(open).collect();
    let end: String = (0..size).rev().map(|n| format!("--b{n}x--\r\n")).collect();
    view(format!("{begin}\r\nx\r\n{end}"), |view| {
        assert_eq!((view.parts().len(), view.truncated()), (101, true));
    })
}

fn messages(size: usize) -> Work {
    view("Content-Type: message/rfc822\r\n\r\n".repeat(size) + "x\r\n", |view| {
        assert_eq!((view.parts().len(), view.truncated()), (101, true));
    })
}

/// Multiparts nested almost to the parser's limit, followed by lines that look like delimiters of
/// each.
fn unclosed(size: usize) -> Work {
    let open = |n| format!("{MULTIPART}b{n}x\r\n\r\n--b{n}x\r\n");
    let begin: String = (0..90).map(open).collect();
    let lines = "--b0 is no delimiter, nor is --b1x\r\n".repeat(size);
    view(format!("{begin}\r\n{lines}"), |view| {
        assert_eq!((view.parts().len(), view.is_ambiguous()), (91, false));
    })
}

/// Lines that are delimiters for some readers only.
fn loose(size: usize) -> Work {
    let part = "--bjunk\r\n\r\none\r\n".repeat(size);
    view(format!("{MULTIPART}b\r\n\r\n--b\r\n\r\n{part}"), move |view| {
        assert_eq!((view.parts().len(), view.is_ambiguous()), (size + 3, true));
    })
}

/// Delimiters after the closing one.
fn reopened(size: usize) -> Work {
    let part = "--b\r\n\r\none\r\n--b--\r\n".repeat(size);
    view(format!("{MULTIPART}b\r\n\r\n{part}"), move |view| {
        assert_eq!((view.parts().len(), view.is_ambiguous()), (size + 2, true));
    })
}

/// Lines in the header that are not fields.
fn junk(size: usize) -> Work {
    view("A: b\r\n".to_owned() + &"junk\r\n \r\n".repeat(size) + "\r\n", |view| {
        assert!(view.is_ambiguous());
    })
}

/// Parts with parameters in many sections.
fn continuations(size: usize) -> Work {
    let sections: String = (0..300).map(|n| format!(";charset*{}*=%41", 299 - n)).collect();
    let part = format!("--b\r\nContent-Type: text/plain{sections}\r\n\r\nx\r\n").repeat(size);
    view(format!("{MULTIPART}b\r\n\r\n{part}--b--\r\n"), move |view| {
        assert_eq!(view.parts()[size].charset(), Some(&*"A".repeat(300)));
    })
}

/// Parts with parameters that are read in several ways.
fn odd_parameters(size: usize) -> Work {
    let values = ";x=y charset=\"\\z\"(c) ".repeat(200);
    let part = format!("--b\r\nContent-Type: text/plain{values}\r\n\r\nx\r\n").repeat(size);
    view(format!("{MULTIPART}b\r\n\r\n{part}--b--\r\n"), move |view| {
        assert_eq!(view.parts()[size].charset(), Some("z"));
        assert!(view.is_ambiguous());
    })
}

fn uuencoded(size: usize) -> Work {
    let file = "begin 644 begin\r\n#86)C\r\n`\r\nend\r\n".repeat(size);
    view(format!("Subject: x\r\n\r\n{file}"), move |view| {
        assert_eq!(view.texts().map(|text| text.matches("abc").count()).sum::<usize>(), size);
    })
}

/// Signed data in pieces of one octet, in quoted-printable.
fn signed_data(size: usize) -> Work {
    let head = "30 80 06 09 2A 86 48 86 F7 0D 01 07 02 A0 80 30 80 02 01 01 31 00 30 80 06 01 2A A0 80 24 80";
    let head: String = head.split(' ').map(|octet| format!("={octet}")).collect();
    let pieces = "=04=01x".repeat(size);
    let fields =
        "Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: quoted-printable";
    view(format!("{fields}\r\n\r\n{head}{pieces}\r\n"), move |view| {
        // In another reading, this line without a colon belongs to the header.
        assert!(view.parts().iter().any(|part| part.body().len() == size));
    })
}

fn utf7(size: usize) -> Work {
    text("utf-7", "+AGgAdA-+-", size, |size| "ht+".repeat(size))
}

fn utf16(size: usize) -> Work {
    text("utf-16be", "\0h\0t", size, |size| "ht".repeat(size))
}

fn shifted(size: usize) -> Work {
    text("iso-2022-kr", "\u{e}0!\u{f}\u{1b}$)Ca", size, |size| "\u{ac00}a".repeat(size))
}

/// Text in a character set, in binary.
fn text(charset: &str, piece: &str, size: usize, expected: fn(usize) -> String) -> Work {
    let field = format!("Content-Type: text/plain; charset={charset}");
    view(format!("{field}\r\n\r\n{}", piece.repeat(size)), move |view| {
        assert!(view.texts().any(|text| text.starts_with(&expected(size))));
    })
}

fn parts(size: usize) -> Work {
    let part = "--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n".repeat(size);
    view(format!("{MULTIPART}b\r\n\r\n{part}--b--\r\n"), move |view| {
        assert_eq!((view.parts().len(), view.texts().count()), (size + 1, size));
    })
}

fn fields(size: usize) -> Work {
    view("X-Field: value\r\n".repeat(size) + "\r\n", move |view| {
        assert_eq!(view.fields().filter(|field| field.text() == "value").count(), size);
    })
}

fn forged(size: usize) -> Work {
    view("X-Nobounce-Score: 0\r\n folded\r\nX: y\r\n".repeat(size) + "\r\n", move |view| {
        assert_eq!(view.fields().count(), size);
    })
}

fn folded(size: usize) -> Work {
    view(format!("Subject: x\r\n{}\r\n", " folded\r\n".repeat(size)), move |view| {
        let subject = view.field("subject").expect("a subject").text();
        assert_eq!(subject.matches("folded").count(), size);
    })
}

/// Content types of maximum length, full of parameters.
fn content_types(size: usize) -> Work {
    let field = format!("Content-Type: text/plain{}\r\n", "; a*0*=utf-8''%41".repeat(110));
    view(field.repeat(size) + "\r\n", |view| {
        assert_eq!(view.parts()[0].content_type(), "text/plain");
    })
}

fn words(size: usize) -> Work {
    view(format!("Subject:\r\n{}\r\n", " =?gbk?q?=C4=E3?=\r\n".repeat(size)), move |view| {
        let subject = view.field("subject").expect("a subject").text();
        assert_eq!(subject, "\u{4f60}".repeat(size));
    })
}

fn broken_words(size: usize) -> Work {
    view(format!("Subject: {}\r\n\r\n", "=?q?".repeat(size)), move |view| {
        let subject = view.field("subject").expect("a subject").text();
        assert_eq!(subject, "=?q?".repeat(size));
    })
}

fn base64(size: usize) -> Work {
    let line = "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4\r\n";
    let content = format!("Content-Transfer-Encoding: base64\r\n\r\n{}", line.repeat(size));
    view(content, move |view| {
        assert_eq!(view.texts().collect::<String>(), "x".repeat(42 * size));
    })
}

fn quoted(size: usize) -> Work {
    let line = "=C3=A9=\r\n";
    let field = "Content-Transfer-Encoding: quoted-printable";
    view(format!("{field}\r\n\r\n{}", line.repeat(size)), move |view| {
        assert_eq!(view.texts().collect::<String>(), "\u{e9}".repeat(size));
    })
}

/// Parses a message with this content, checks the view, and checks that all of it is forwarded.
fn view(content: String, check: impl FnOnce(&MessageView) + 'static) -> Work {
    let sender = ReversePath::parse("<a>").expect("a path");
    let id = SessionId::new("linear").transaction(1);
    let envelope = Envelope::new(id, Arc::new(Peer::local()), sender);
    Box::new(move || {
        let mail_data = MailData::normalise(content.as_bytes());
        let message = Message::new("mx.example", &envelope, UNIX_EPOCH, mail_data);
        for part in message.view().parts() {
            assert!(part.octets().len() <= content.len());
            part.text();
            part.fields().for_each(|field| assert!(field.text().len() <= content.len()));
        }
        check(message.view());
        content.len()
    })
}
