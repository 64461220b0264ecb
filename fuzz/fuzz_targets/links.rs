//! Links and visible text of a message. Links have the hosts that the URL standard gives, simple URLs
//! in text are found, and text without markup is displayed as it is.

#![no_main]

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use libfuzzer_sys::fuzz_target;
use nobounce::envelope::SessionId;
use nobounce::message::{Link, LinkHost, MailData, Rendered};
use nobounce::{Envelope, Message, Peer, ReversePath};
use url::{Host, Url};

fuzz_target!(|input: &[u8]| {
    let Some((kind, text)) = input.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    // NUL is replaced in HTML, and a bare CR in mail data.
    let text = text.replace(['\0', '\r'], "0");
    match kind % 4 {
        0 => href(&text),
        1 => plain(&text),
        2 => html(&text),
        _ => check(message(&text).rendered()),
    }
});

fn message(content: &str) -> Message {
    let sender = ReversePath::parse("<>").expect("a path");
    let id = SessionId::new("fuzz").transaction(1);
    let envelope = Envelope::new(id, Arc::new(Peer::local()), sender);
    let content = MailData::normalise(content.as_bytes());
    Message::new("mx.example", &envelope, UNIX_EPOCH, content)
}

/// The link of a valid URL has the host of the standard.
fn href(text: &str) {
    let quoted = text.replace('&', "&amp;").replace('"', "&quot;");
    let content = format!("Content-Type: text/html; charset=utf-8\n\n<a href=\"{quoted}\">x</a>");
    let message = message(&content);
    let rendered = message.rendered();
    check(rendered);
    let Ok(url) = Url::parse(text) else { return };
    if !matches!(url.scheme(), "http" | "https" | "ftp" | "ws" | "wss") || text.len() > 4_000 {
        return;
    }
    let found =
        rendered.links().iter().any(|link| link.url() == url.as_str() && agrees(link, &url));
    assert!(found, "{url:?}: {:?}", rendered.links());
}

fn agrees(link: &Link, url: &Url) -> bool {
    match (link.host(), url.host()) {
        (Some(LinkHost::Domain(ours)), Some(Host::Domain(theirs))) => {
            ours.name() == theirs.trim_matches('.')
        }
        (Some(LinkHost::Address(ours)), Some(Host::Ipv4(theirs))) => *ours == theirs,
        (Some(LinkHost::Address(ours)), Some(Host::Ipv6(theirs))) => *ours == theirs.to_canonical(),
        (None, Some(Host::Domain(theirs))) => theirs.trim_matches('.').is_empty(),
        _ => false,
    }
}

/// A word that is a simple URL is a link.
fn plain(text: &str) {
    let message = message(&format!("Content-Type: text/plain; charset=utf-8\n\n{text}"));
    let rendered = message.rendered();
    check(rendered);
    for word in text.split_whitespace().filter(|word| is_simple(word)) {
        let url = Url::parse(word).expect("a simple URL");
        let found = rendered.links().iter().any(|link| agrees(link, &url));
        assert!(found, "{word}: {:?}", rendered.links());
    }
}

/// Returns whether the word is a URL of letters, with a path of letters.
fn is_simple(word: &str) -> bool {
    let Some(rest) = word.strip_prefix("http://") else { return false };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let letters = |text: &str| text.bytes().all(|octet| octet.is_ascii_lowercase());
    host.split('.').all(|label| !label.is_empty() && letters(label)) && letters(path)
}

/// Text without markup is displayed as it is, with white space collapsed.
fn html(text: &str) {
    let message = message(&format!("Content-Type: text/html; charset=utf-8\n\n{text}"));
    let rendered = message.rendered();
    check(rendered);
    if text.contains(['<', '&']) {
        return;
    }
    let words = text.split(|c: char| c.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let naive = words.collect::<Vec<_>>().join(" ");
    let shown = rendered.html(0).expect("an HTML part");
    assert_eq!((shown.visible().trim(), shown.hidden()), (naive.trim(), ""));
}

/// Checks what holds for all links.
fn check(rendered: &Rendered) {
    for link in rendered.links() {
        assert!(link.url().len() <= 3 * 4_096 + 64, "{link:?}");
        assert!(link.text().is_none_or(|text| !text.is_empty() && text.len() <= 256));
        assert!(link.redirectors() <= 5);
        for host in [link.host(), link.text_host()].into_iter().flatten() {
            let LinkHost::Domain(domain) = host else { continue };
            let name = domain.name();
            assert!(name.is_ascii() && !name.bytes().any(|it| it.is_ascii_uppercase()), "{name}");
            assert!(!name.is_empty() && !name.starts_with('.') && !name.ends_with('.'), "{name}");
            let Some(registered) = domain.registered() else { continue };
            let before = name.strip_suffix(registered).expect("the end of the name");
            assert!(before.is_empty() || before.ends_with('.'), "{name}");
            assert!(registered.contains('.') && !registered.starts_with('.'), "{name}");
        }
        assert!(!link.differs() || link.text_host().is_some());
        // The URL is read as itself.
        if let Ok(url) = Url::parse(link.url())
            && matches!(url.scheme(), "http" | "https" | "ftp" | "ws" | "wss")
        {
            assert!(agrees(link, &url), "{link:?}");
        }
    }
}
