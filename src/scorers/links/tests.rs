use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::rehearsal::message;

/// The hosts of a text as one line.
fn of(kind: &str, text: &str) -> String {
    let message = message(&format!("Content-Type: text/{kind}; charset=utf-8\n\n{text}\n"));
    let hosts = hosts(message.view()).into_iter().map(|host| match host {
        Host::Domain(domain) => domain.to_string(),
        Host::Address(address) => address.to_string(),
    });
    hosts.collect::<Vec<_>>().join(" ")
}

#[test]
fn links_lead_to_hosts() {
    for (text, expected) in [
        ("nothing to see", ""),
        ("http://example.com/", "example.com"),
        ("HTTP://WWW.Example.COM", "example.com"),
        ("see https://a.b.example.co.uk:8443/x?y#z.", "example.co.uk"),
        ("ftp://user:pass@example.net/", "example.net"),
        ("http://www.paypal.com@evil.example.com/", "example.com"),
        ("http://www.paypal.com:x@example.org:80", "example.org"),
        ("https://me.github.io/x", "me.github.io"),
        ("https://github.io/x", ""),
        ("(http://example.com)", "example.com"),
        ("<http://example.com>, \"http://example.org\"", "example.com example.org"),
        ("http://example.com. And http://example.com!", "example.com"),
        ("http://example.com./", "example.com"),
        ("www.example.com and example.org/path", "example.com example.org"),
        ("mail me: someone@lists.example.com.", "example.com"),
        ("mailto:someone@example.com", "example.com"),
        ("1. http://b.com 2. a.com 3. http://c.com", "b.com a.com c.com"),
        ("http://b.com http://www.b.com/2 B.COM", "b.com"),
        // No name of the world.
        ("http://localhost/ http://intranet.invalid/ file.docx", ""),
        ("http://com/ http://co.uk/", ""),
        ("12:30//noon // x", ""),
        // Addresses, in disguise too.
        ("http://192.0.2.1/ http://192.0.2.1:8080/x", "192.0.2.1"),
        ("http://3232235777/", "192.168.1.1"),
        ("http://0xC0A80101/", "192.168.1.1"),
        ("http://0300.0250.1.1/", "192.168.1.1"),
        ("http://192.168.257/", "192.168.1.1"),
        ("http://0xc0.0xa8.0x01.0x01./", "192.168.1.1"),
        ("http://256.1.1.1/ http://4294967296/ http://1.2.3.4.5/", ""),
        ("http://[2001:db8::1]:80/", "2001:db8::1"),
        ("http://[::ffff:192.0.2.9]/", "192.0.2.9"),
        ("http://[not v6]/", ""),
        ("call 3232235777 or 192.0.2.1", ""),
        // What browsers forgive.
        ("http:/example.com/ http:\\\\example.org\\x", "example.com example.org"),
        ("https:////example.com", "example.com"),
        ("and/or example", ""),
        ("http://ex%61mple%2ecom/", "example.com"),
        ("http://ex%zz/", ""),
        ("http://xn--mnchen-3ya.de/", "xn--mnchen-3ya.de"),
    ] {
        assert_eq!(of("plain", text), expected, "{text:?}");
    }
}

#[test]
fn html_is_read_with_its_attributes() {
    for (html, expected) in [
        ("<a href=\"http://example.com/\">example.org/</a>", "example.com example.org"),
        ("<a href='http://example.com/'>click</a>", "example.com"),
        ("<a href=http://example.com>click</a>", "example.com"),
        ("<img src=\"//example.com/pixel\">", "example.com"),
        ("<a href=\"http&colon;&sol;&sol;example&period;com\">", "example.com"),
        ("<a href=\"&#104;ttp://ex&#x61;mple&#46com/?a&amp;b\">", "example.com"),
        ("<a href=\"http://example.com/?a=1&copy=2&#999999999999;&#xZZ;&\">", "example.com"),
        ("<a href=\"mailto&#58;a&commat;example.com\">", "example.com"),
    ] {
        assert_eq!(of("html", html), expected, "{html:?}");
    }
    // In plain text they are what they are.
    assert_eq!(of("plain", "http://ex&#x61;mple.com/"), "mple.com");
}

#[test]
fn every_text_of_a_message_is_read() {
    let encoded = "aHR0cDovL2V4YW1wbGUubmV0Lwo=";
    let message = message(&format!(
        "Content-Type: multipart/mixed; boundary=b\n\nhttp://preamble.com/\n--b\n\nhttp://ex=\n\
         --b\nContent-Transfer-Encoding: quoted-printable\n\nhttp://exam=\nple.com/\n\
         --b\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\n{encoded}\n\
         --b\nContent-Type: image/png\n\nhttp://image.com/\n--b--\n"
    ));
    let expected = ["preamble.com", "example.com", "example.net"];
    let expected = expected.map(|name| Host::Domain(name.parse().unwrap()));
    assert_eq!(hosts(message.view()), expected);
}

#[test]
fn no_more_than_a_mebibyte_is_read() {
    let line = format!("{}\n", "x".repeat(63));
    let padding = |lines: usize| line.repeat(lines);
    // Line ends are two octets in a message.
    let lines = TEXT / (line.len() + 1);
    assert_eq!(of("plain", &(padding(lines - 10) + "http://example.com/")), "example.com");
    assert_eq!(of("plain", &(padding(lines + 10) + "http://example.com/")), "");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how long it takes is the point")]
fn hostile_texts_take_no_longer() {
    for unit in ["a@", "a.", "//", "http://", "//a", "@//[", "&#", "%", "//%2e", "www.a.com/("] {
        let text = unit.repeat(TEXT / unit.len() / 4);
        let began = Instant::now();
        of("html", &text);
        assert!(began.elapsed() < Duration::from_secs(20), "{unit:?}: {:?}", began.elapsed());
    }
}

proptest! {
    #[test]
    fn anything_can_be_read(text in "(http:|//|[/@:.%&#\\[\\]\\\\]|[a-z0-9]{1,4}|\\PC){0,60}") {
        of("plain", &text);
        of("html", &text);
    }

    /// An address is the same in any spelling.
    #[test]
    fn spellings_of_an_address_agree(number: u32, spelling in 0..5_usize) {
        let [a, b, c, d] = number.to_be_bytes();
        let text = match spelling {
            0 => format!("{number}"),
            1 => format!("0x{number:x}"),
            2 => format!("0{number:o}"),
            3 => format!("{a}.0x{b:X}.{}", u32::from(c) << 8 | u32::from(d)),
            _ => format!("{a}.{b}.0{c:o}.{d}"),
        };
        prop_assert_eq!(number_address(&text), Some(Ipv4Addr::from(number)));
    }
}
