//! CPU time for reading a message: its structure, its texts, and its links. `cargo bench --bench mime
//! --features links,testing`.
//!
//! The baseline is mail-parser, which reads a message in one way and decodes all its parts. The view decodes a
//! part when it is asked for. `all` asks for all texts and files, as a content scorer does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

mod measure;

use std::time::{Duration, UNIX_EPOCH};

use mail_parser::MessageParser;
use measure::{Figure, interleaved, is_quick, repeated, table};
use nobounce::Message;
use nobounce::message::MailData;
use nobounce::testing::envelope;

fn main() {
    let rounds = if is_quick() { 1 } else { 21 };
    let rows = mails().into_iter().map(|(name, content)| {
        let times = if is_quick() { 1 } else { u32::try_from((2 << 20) / content.len()).unwrap() };
        let message = Message::new(
            "mx.example.net",
            &envelope("<ann@example.org>"),
            UNIX_EPOCH,
            MailData::normalise(content.as_bytes()),
        );
        // A clone has not been read.
        let read = |work: &dyn Fn(&Message) -> usize| -> Duration {
            repeated(times, || work(&message.clone())) / times
        };
        let figures = interleaved(
            rounds,
            [
                &mut || repeated(times, || MessageParser::new().parse(content.as_bytes())) / times,
                &mut || read(&|message| message.view().parts().len()),
                &mut || read(&all),
                &mut || read(&|message| all(message) + message.rendered().links().len()),
            ],
        );
        let time = |figure: &Figure| format!("{:.1}", figure.seconds * 1e6);
        let ratio = |figure: &Figure| format!("{:.2}", figure.ratio);
        let ours = figures[1..].iter().flat_map(|figure| [time(figure), ratio(figure)]);
        [name.to_owned(), content.len().to_string(), time(&figures[0])]
            .into_iter()
            .chain(ours)
            .collect()
    });
    table(
        "Reading a message: CPU time in microseconds, and as a multiple of that of mail-parser",
        &["message", "octets", "mail-parser", "view", "", "all", "", "and links", ""],
        &rows.collect::<Vec<_>>(),
    );
}

/// Reads all texts and all decoded bodies.
fn all(message: &Message) -> usize {
    let view = message.view();
    let texts = view.texts().map(str::len).sum::<usize>();
    texts + view.parts().iter().map(|part| part.octets().len()).sum::<usize>()
}

/// Returns ordinary messages with their names.
fn mails() -> Vec<(&'static str, String)> {
    let header = "Received: from mail.example.org (mail.example.org [192.0.2.1])\r\n\
                  \tby mx.example.net with ESMTPS id 4711; Mon, 30 Nov 2026 12:00:00 +0000\r\n\
                  From: =?utf-8?q?J=C3=BCrgen?= <ann@example.org>\r\nTo: Bob <bob@example.net>\r\n\
                  Subject: =?utf-8?b?RGllIFphaGxlbiBkZXMgTW9uYXRz?=\r\n\
                  Date: Mon, 30 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\
                  MIME-Version: 1.0\r\n";
    let line = "Each line of this text has the length that lines of text usually have.\r\n";
    let plain = "Content-Type: text/plain; charset=utf-8\r\n\r\n".to_owned() + &line.repeat(40);
    let quoted = "Content-Type: text/plain; charset=utf-8\r\n\
                  Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        .to_owned()
        + &"Gr=C3=BC=C3=9Fe aus M=C3=BCnchen, und noch viel mehr Text in dieser =\r\n".repeat(40);
    let paragraph = "<tr><td style=3D\"color:#333;padding:4px\"><p>Some text &amp; a =\r\n\
                     <a href=3D\"https://www.example.org/x?id=3D4711\">link</a></p></td></tr>\r\n";
    let html = "Content-Type: text/html; charset=utf-8\r\n\
                Content-Transfer-Encoding: quoted-printable\r\n\r\n<html><body><table>\r\n"
        .to_owned()
        + &paragraph.repeat(200);
    let file = "Content-Type: application/pdf; name=\"figures.pdf\"\r\n\
                Content-Disposition: attachment; filename=\"figures.pdf\"\r\n\
                Content-Transfer-Encoding: base64\r\n\r\n"
        .to_owned()
        + &("JVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoKPDwvTGVuZ3RoIDMgMCBSL0ZpbHRlci9GbGF0ZURl\r\n"
            .repeat(3_000));
    let multipart = |kind: &str, boundary: &str, parts: &[&str]| {
        let parts: String =
            parts.iter().map(|part| format!("--{boundary}\r\n{part}\r\n")).collect();
        format!(
            "Content-Type: multipart/{kind}; boundary=\"{boundary}\"\r\n\r\n{parts}--{boundary}--\r\n"
        )
    };
    let alternative = multipart("alternative", "----=_Part_1", &[&quoted, &html]);
    let mixed = multipart("mixed", "----=_Part_2", &[&alternative, &file]);
    let forwarded = format!("Content-Type: message/rfc822\r\n\r\n{header}{alternative}");
    let forward = multipart("mixed", "----=_Part_3", &[&plain, &forwarded]);
    [
        ("plain text", plain),
        ("text and HTML", alternative),
        ("with a file", mixed),
        ("forwarded", forward),
    ]
    .map(|(name, content)| (name, header.to_owned() + &content))
    .into()
}
