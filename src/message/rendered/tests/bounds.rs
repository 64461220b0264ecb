//! Limits of the text that is read, and of the links that are kept.

use super::*;

/// Returns the number of links, and whether something was omitted.
fn links(content: &str) -> (usize, bool) {
    let rendered = rendered(content);
    (rendered.links().len(), rendered.truncated())
}

const HTML: &str = "Content-Type: text/html\n\n";

#[test]
fn no_more_than_a_mebibyte_is_searched() {
    let line = format!("{}\n", "x".repeat(63));
    // Line ends are two octets in a message.
    let lines = TEXT / (line.len() + 1);
    let of = |lines: usize| rendered(&format!("\n{}http://example.com/", line.repeat(lines)));
    let rendered = of(lines - 10);
    assert_eq!((&*hosts(&rendered), rendered.truncated()), ("example.com", false));
    let rendered = of(lines + 10);
    assert_eq!((&*hosts(&rendered), rendered.truncated()), ("", true));
    // The rest of the message is not searched either.
    let part = |text: &str| format!("--b\n\n{text}\n");
    let mixed = format!(
        "Content-Type: multipart/mixed; boundary=b\n\n{}{}--b--\n",
        part(&line.repeat(lines + 10)),
        part("http://example.com/")
    );
    let rendered = super::rendered(&mixed);
    assert_eq!((&*hosts(&rendered), rendered.truncated()), ("", true));
}

#[test]
fn first_and_last_links_are_kept() {
    let text = |count: usize| (0..count).map(|n| format!("a{n}.com\n")).collect::<String>();
    let markup =
        |count: usize| (0..count).map(|n| format!("<a href=//b{n}.com>")).collect::<String>();
    assert_eq!(links(&format!("\n{}", text(10_000))), (10_000, false));
    assert_eq!(links(&format!("\n{}", text(10_001))), (10_000, true));
    let both = |n: usize| links(&format!("{HTML}{}{}", markup(n), text(n)));
    assert_eq!(both(10_000), (20_000, false));
    assert_eq!(both(10_001), (20_000, true));
    let rendered = rendered(&format!("\n{}", text(10_001)));
    let links = rendered.links();
    let urls = [4_999, 5_000, 9_999].map(|at| links[at].url());
    assert_eq!(urls, ["http://a4999.com/", "http://a5001.com/", "http://a10000.com/"]);
}

#[test]
fn memory_for_links_is_bounded() {
    // Each relative URL repeats its base.
    let base = format!("<base href=http://a.com/{}/>", "x".repeat(900));
    let of = |count: usize| rendered(&format!("{HTML}{base}{}", "<a href=x>".repeat(count)));
    let rendered = of(4_000);
    assert_eq!((rendered.links().len(), rendered.truncated()), (4_001, false));
    let rendered = of(9_000);
    let links = rendered.links();
    let octets: usize = links.iter().map(|link| link.url().len()).sum();
    assert!(octets < 4 << 20 && octets > 3 << 20 && rendered.truncated(), "{octets}");
}

#[test]
fn long_url_keeps_its_host() {
    for (before, after) in [
        ("http://a.com/".to_owned(), ""),
        ("http://".to_owned(), "@a.com/"),
        ("http://".to_owned(), ".a.com/"),
        ("http:///".to_owned(), "a.com"),
        ("mailto:".to_owned(), "@a.com"),
        ("http://a.com?u=".to_owned(), "&u=b.com"),
    ] {
        let fill = if before.ends_with("///") { "/" } else { "x" };
        let of = |length: usize| {
            let fill = fill.repeat(length - before.len() - after.len());
            rendered(&format!("{HTML}<a href={before}{fill}{after}>"))
        };
        let rendered = of(4_096);
        assert!(hosts(&rendered).starts_with("a.com") && !rendered.truncated(), "{before}{after}");
        for length in [4_097, 100_000] {
            let rendered = of(length);
            assert_eq!(
                (&*hosts(&rendered), rendered.truncated()),
                ("a.com", true),
                "{before}{after}"
            );
            assert!(rendered.links()[0].url().len() <= 4_096);
        }
    }
}

#[test]
fn visible_text_of_a_link_is_cut() {
    let of = |text: &str| {
        let rendered = rendered(&format!("{HTML}<a href=http://a.com>{text}"));
        let link = &rendered.links()[0];
        (link.text().unwrap().len(), link.differs())
    };
    assert_eq!(of(&"x".repeat(256)), (256, false));
    assert_eq!(of(&"x".repeat(257)), (256, false));
    // The host is searched further.
    assert_eq!(of(&format!("{} b.com", "x".repeat(2_000))), (256, true));
    assert_eq!(of(&format!("{} b.com", "x".repeat(2_050))), (256, false));
}

#[test]
fn five_redirectors_are_followed() {
    let url = |count: usize| {
        let redirectors = (0..count).map(|n| format!("http://a{n}.com/?u="));
        redirectors.collect::<String>() + "http://b.com/"
    };
    let of = |count: usize| rendered(&format!("{HTML}<a href={}>", url(count)));
    let rendered = of(5);
    assert_eq!((rendered.links()[5].redirectors(), rendered.truncated()), (5, false));
    let rendered = of(6);
    assert_eq!((rendered.links().len(), rendered.truncated()), (6, true));
    assert!(!hosts(&rendered).contains("b.com"));
}

#[test]
fn html_is_read_two_levels_deep() {
    assert_eq!(links(&format!("{HTML}<noscript><noembed>http://a.com")), (1, false));
    let html = format!("{HTML}<noscript><noembed><iframe>http://a.com");
    assert_eq!(links(&html), (0, true));
}

#[test]
fn header_fields_of_64_kib_are_searched() {
    let subject = |length: usize| format!("Subject: {} a.com\n\n", "x".repeat(length));
    // The space after the colon counts.
    let fits = (64 << 10) - " ".len() - " a.com".len();
    assert_eq!(links(&subject(fits)), (1, false));
    assert_eq!(links(&subject(fits + 1)), (0, true));
    let two = format!("Subject: {}\n{}", "x".repeat(10), subject(fits));
    assert_eq!(links(&two), (0, true));
}

#[test]
fn base_of_a_kibibyte_is_used() {
    let of = |length: usize| {
        let base = "http://a.com/";
        let base = format!("{base}{}", "x".repeat(length - base.len()));
        let rendered = rendered(&format!("{HTML}<base href={base}><a href=y>"));
        let links = rendered.links();
        assert_eq!(links.len(), 2);
        (links[1].url().to_owned(), rendered.truncated())
    };
    assert_eq!(of(1_024), ("http://a.com/y".to_owned(), false));
    assert_eq!(of(1_025), ("http://a.com/y".to_owned(), true));
}
