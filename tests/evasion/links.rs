//! Links hidden by the notation of their URL, by HTML, in plain text, and behind redirectors.

mod html;
mod redirectors;
mod text;
mod urls;

use nobounce::Message;
use nobounce::message::{LinkHost, Rendered};
use url::Url;

use crate::{Row, check};

/// Rows that scorers do not see, each with the reason.
const HIDDEN: &[(&str, &str)] = &[
    ("script that decodes the URL", "scripts are not run, and no mail program runs them"),
    ("URL in two strings of a script", "scripts are not run, and no mail program runs them"),
    ("content of a CSS rule", "CSS is not applied, and the text cannot be clicked"),
];

/// The field with the registered domain or the address that a reader sees.
const EXPECTED: &str = "X-Expected";

/// Returns a row. `content` begins with the header.
fn row(name: &'static str, reader: &'static str, expected: &str, content: &str) -> Row {
    Row { name, content: format!("{EXPECTED}: {expected}\n{content}").into(), reader }
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, expected, url) in urls::URLS {
        let url = url.replace('&', "&amp;").replace('"', "&quot;");
        let content = format!("{HTML}<a href=\"{url}\">click</a>\n");
        rows.push(row(name, "WHATWG URL", expected, &content));
    }
    for (name, expected, url) in redirectors::URLS {
        let url = url.replace('&', "&amp;").replace('"', "&quot;");
        let content = format!("{HTML}<a href=\"{url}\">click</a>\n");
        rows.push(row(name, "the redirector", expected, &content));
    }
    for (name, reader, expected, html) in html::PAGES {
        rows.push(row(name, reader, expected, &format!("{HTML}{html}\n")));
    }
    for (name, reader, expected, text) in text::TEXTS {
        let header = "Content-Type: text/plain; charset=utf-8\n\n";
        rows.push(row(name, reader, expected, &format!("{header}{text}\n")));
    }
    for (name, reader, expected, content) in text::MESSAGES {
        rows.push(row(name, reader, expected, content));
    }
    rows
}

const HTML: &str = "Content-Type: text/html; charset=utf-8\n\n";

/// Returns whether a link leads to this registered domain or address.
fn leads_to(rendered: &Rendered, expected: &str) -> bool {
    rendered.links().iter().filter_map(|link| link.host()).any(|host| match host {
        LinkHost::Address(address) => address.to_string() == expected,
        host => host.registered() == Some(expected),
    })
}

#[test]
fn link_that_readers_show_is_seen() {
    let rows = rows();
    assert!(rows.len() >= 180, "{} rows", rows.len());
    check(&rows, HIDDEN, |message: &Message| {
        let expected = message.view().field(EXPECTED).unwrap().text();
        leads_to(message.rendered(), &expected)
    });
}

/// The host of each valid URL is the one that the URL standard gives.
#[test]
fn hosts_of_valid_urls_are_those_of_the_standard() {
    let mut valid = 0;
    for (name, _, url) in urls::URLS {
        let Ok(parsed) = Url::parse(url) else { continue };
        let Some(host) = parsed.host_str().filter(|_| parsed.scheme().starts_with("http")) else {
            continue;
        };
        let text = url.replace('&', "&amp;").replace('"', "&quot;");
        let message = crate::message(format!("{HTML}<a href=\"{text}\">").as_bytes());
        let link = &message.rendered().links()[0];
        let ours = match link.host().unwrap() {
            LinkHost::Address(address) => Url::parse(&match address {
                std::net::IpAddr::V4(address) => format!("http://{address}"),
                std::net::IpAddr::V6(address) => format!("http://[{address}]"),
            })
            .unwrap(),
            host => Url::parse(&format!("http://{host}")).unwrap(),
        };
        let mapped = host.starts_with("[::ffff:");
        assert!(mapped || ours.host_str().unwrap() == host.trim_matches('.'), "{name}: {host}");
        assert_eq!(link.url(), parsed.as_str(), "{name}");
        valid += 1;
    }
    assert!(valid > 60, "{valid} valid URLs");
}

/// Names that are not links are not looked up.
#[test]
fn text_that_is_no_link_has_none() {
    for (kind, text) in [
        ("plain", "12:30//noon, and/or, e.g. this; i.e. that... 3.14 1.2.3.4 v1.0.2"),
        ("plain", "C:\\Windows\\system32 file.docx a.b.c @user #tag user@localhost"),
        ("plain", "http:// https:/// http://. http://- www. www.x ://"),
        ("html", "<html xmlns=\"http://www.w3.org/1999/xhtml\" xmlns:v=\"http://v.com\"><p>x"),
        ("html", "<!DOCTYPE html PUBLIC \"-//W3C//DTD\" \"http://www.w3.org/TR/x.dtd\">x"),
        ("html", "<!-- <a href=http://bad.com>x</a> --><?xml href='http://bad.com'?>"),
        (
            "html",
            "<a href=#top>x</a><a href=page.html>x</a><a href=/x>x</a><img src=cid:a@bad.com>",
        ),
        ("html", "<a href='javascript:void(0)'>x</a><a href='tel:+1'>x</a><a href=''>x</a>"),
    ] {
        let content = format!("Content-Type: text/{kind}; charset=utf-8\n\n{text}\n");
        let message = crate::message(content.as_bytes());
        let hosts: Vec<_> =
            message.rendered().links().iter().filter_map(|link| link.host()).collect();
        let known: Vec<_> = hosts.iter().filter_map(|host| host.registered()).collect();
        assert!(known.is_empty(), "{text}: {known:?}");
    }
}
