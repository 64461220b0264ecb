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
    let open = |n| format!("{MULTIPART}b{n}\r\n\r\n--b{n}\r\n");
    let begin: String = (0..size).map(open).collect();
    let end: String = (0..size).rev().map(|n| format!("--b{n}--\r\n")).collect();
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
    let open = |n| format!("{MULTIPART}b{n}\r\n\r\n--b{n}\r\n");
    let begin: String = (0..90).map(open).collect();
    let lines = "--b0x is no delimiter, nor is --b1\r\n".repeat(size);
    view(format!("{begin}\r\n{lines}"), |view| {
        assert_eq!((view.parts().len(), view.truncated()), (91, false));
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
        assert_eq!(view.fields().count(), 2 * size);
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
