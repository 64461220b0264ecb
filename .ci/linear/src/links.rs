//! Shapes of messages for the view of links and visible text.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use nobounce::envelope::SessionId;
use nobounce::message::MailData;
use nobounce::{Envelope, Message, Peer, ReversePath};

use crate::{Shape, Work};

/// Size in octets. Twice as much is below the limit of the text that is searched.
const SIZE: usize = 250_000;

const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n\r\n";
const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n\r\n";
const FLOWED: &str = "Content-Type: text/plain; format=flowed; delsp=yes\r\n\r\n";

macro_rules! shapes {
    ($($name:literal, $begin:expr, $unit:expr;)*) => {
        pub(crate) const SHAPES: &[Shape] = &[$(Shape {
            name: concat!("rendered-", $name),
            size: SIZE,
            least: 2.0,
            prepare: |size| rendered($begin, $unit, size),
        }),*];
    };
}

fn of(unit: &str) -> String {
    unit.into()
}

shapes! {
    "urls", TEXT, |n| format!("http://a{n}.com/ ");
    "bare-domains", TEXT, |n| format!("a{n}.com ");
    "mail-addresses", TEXT, |_| of("a@b.com,");
    "one-word", TEXT, |_| of("http://a.com'");
    "paths", TEXT, |_| of("a.com/)");
    "ports", TEXT, |_| of("a.com:(");
    "double-slashes", TEXT, |_| of("//a/b");
    "at-signs", TEXT, |_| of("http://a@");
    "wrapped", TEXT, |_| of("<http://a\r\n");
    "schemes", TEXT, |_| of("http:");
    "addresses-after-schemes", TEXT, |_| of("http:1.1");
    "labels", TEXT, |_| of("a.");
    "ideographs", TEXT, |_| of("a.com\u{8c22}");
    "flowed", FLOWED, |_| of("http://a \r\nb.com\r\n");
    "anchors", HTML, |n| format!("<a href=//a{n}.com>b{n}.com</a>");
    "long-anchors", HTML, |_| of("<a href=//a.com>x x x x x x x x");
    "relative-urls", "Content-Type: text/html\r\n\r\n<base href=http://a.com/>", |_| of("<a href=x>");
    "references", HTML, |_| of("&#0097;&CounterClockwiseContourIntegral;&x;");
    "references-in-url", "Content-Type: text/html\r\n\r\n<a href='http://", |_| of("&#46;&colon;&commat;");
    "attributes", "Content-Type: text/html\r\n\r\n<a ", |n| format!("a{n}=//a.com ");
    "same-attributes", "Content-Type: text/html\r\n\r\n<a ", |_| of("href=//a.com ");
    "unclosed-tags", HTML, |_| of("<a href='");
    "hidden", HTML, |_| of("<div hidden>x");
    "comments", HTML, |_| of("<!--[if mso]><a href=//a.com><!-->");
    "raw-text", HTML, |_| of("<noscript><style>@import '//a.com';</style>");
    "styles", "Content-Type: text/html\r\n\r\n<style>", |_| of("url(//a.com)");
    "unclosed-styles", "Content-Type: text/html\r\n\r\n<style>", |_| of("url(");
    "css-comments", "Content-Type: text/html\r\n\r\n<style>", |_| of("/*");
    "text-sections", HTML, |_| of("<![CDATA[//a.com");
    "data-urls", HTML, |_| of("<a href='data:text/css,//a.com'>");
    "image-sets", "Content-Type: text/html\r\n\r\n<img srcset='", |_| of("//a.com 1x,");
    "redirectors", "Content-Type: text/html\r\n\r\n<a href='", |_| of("http://a.com/?u=");
    "nested-redirectors", HTML, |_| "<a href='".to_owned() + &"http://a.com/?u=".repeat(200) + "'>";
    "encoded-paths", HTML, |_| "<a href='//a.com".to_owned() + &"/aHR0c/68747470".repeat(200) + "'>";
    "redirector-parameters", HTML, |_| "<a href='//a.com?".to_owned() + &"u=//b.com&".repeat(300) + "'>";
    "long-hosts", HTML, |_| format!("<a href=http://{}.com>", "\u{e4}".repeat(900));
    "many-labels", HTML, |_| format!("<a href=http://{}com>", "\u{e4}.".repeat(900));
    "words-without-end", "Subject: ", |_| of("=?utf-8?q?a");
    "subjects", "", |_| of("Subject: http://a.com\r\n");
}

/// Renders a message of this shape.
fn rendered(begin: &str, unit: fn(usize) -> String, size: usize) -> Work {
    let sender = ReversePath::parse("<a>").expect("a path");
    let id = SessionId::new("linear").transaction(1);
    let envelope = Envelope::new(id, Arc::new(Peer::local()), sender);
    let mut content = begin.to_owned();
    let mut count = 0;
    while content.len() < size {
        content += &unit(count);
        count += 1;
    }
    // Ends an open attribute and its tag.
    content += "'>\r\n";
    Box::new(move || {
        let message = Message::new(
            "mx.example",
            &envelope,
            UNIX_EPOCH,
            MailData::normalise(content.as_bytes()),
        );
        let rendered = message.rendered();
        // A header with a line that is not a field is read in two ways.
        assert!(rendered.visible_texts(message.view()).count() <= 2);
        content.len()
    })
}
