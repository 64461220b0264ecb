//! The registered domains and addresses of links.

mod bounds;

use proptest::prelude::*;

use super::*;
use crate::message::mime::MimeLimits;

/// Renders a message. Each LF becomes CRLF.
fn rendered(content: &str) -> Rendered {
    Rendered::of(&view(content))
}

fn view(content: &str) -> MessageView {
    let content = bytes::Bytes::from(content.replace('\n', "\r\n"));
    MessageView::new(content.into(), MimeLimits::default())
}

/// Returns the hosts of the links in a text as one line: registered domains and addresses.
fn of(kind: &str, text: &str) -> String {
    hosts(&rendered(&format!("Content-Type: {kind}; charset=utf-8\n\n{text}\n")))
}

fn hosts(rendered: &Rendered) -> String {
    let mut hosts: Vec<String> = Vec::new();
    for host in rendered.links().iter().filter_map(Link::host) {
        let host = match host {
            LinkHost::Domain(domain) => domain.registered().map(ToOwned::to_owned),
            LinkHost::Address(address) => Some(address.to_string()),
        };
        hosts.extend(host.filter(|host| !hosts.contains(host)));
    }
    hosts.join(" ")
}

fn html(text: &str) -> HtmlText {
    let rendered = rendered(&format!("Content-Type: text/html; charset=utf-8\n\n{text}\n"));
    rendered.html(0).unwrap().clone()
}

#[test]
fn links_in_plain_text_are_found() {
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
        // Names without a registered domain.
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
        // Mistakes that browsers accept.
        ("http:/example.com/ http:\\\\example.org\\x", "example.com example.org"),
        ("https:////example.com", "example.com"),
        ("and/or example", ""),
        ("http://ex%61mple%2ecom/", "example.com"),
        ("http://xn--mnchen-3ya.de/", "xn--mnchen-3ya.de"),
        // Names in any script.
        ("http://m\u{fc}nchen.de/", "xn--mnchen-3ya.de"),
        ("http://MU\u{308}NCHEN.DE", "xn--mnchen-3ya.de"),
        ("m\u{fc}nchen.de is nice", "xn--mnchen-3ya.de"),
        ("http://example\u{3002}com/", "example.com"),
        ("http://\u{ff45}\u{ff58}ample\u{ff0e}com/", "example.com"),
        ("http://exam\u{ad}ple.com exam\u{200b}ple.org", "example.com example.org"),
        ("\u{8bf7}\u{8bbf}\u{95ee}example.com\u{8c22}\u{8c22}", "example.com"),
        ("http://example.com\u{3002}\u{8c22}\u{8c22}", "example.com"),
        // Odd labels.
        ("http://a_b.-x-.example.com/", "example.com"),
        ("http://a..example.com/", "example.com"),
        ("http://a!b.example.com/", "example.com"),
        ("http://xn--\u{e4}.example.com/", "example.com"),
        ("http://example.com:99999/", "example.com"),
        // Wrapped in angle brackets. Programs that do not join the lines show two links.
        ("<http://www.exam\nple.com/x>", "example.com ple.com"),
        ("<URL:http://www.exam\n  ple.com/x>", "example.com ple.com"),
        // Next to each other.
        ("http://a.com,http://b.com;http://c.com|http://d.com", "a.com b.com c.com d.com"),
        ("a.com/x)b.com/y(http://c.com/)", "a.com b.com c.com"),
    ] {
        assert_eq!(of("text/plain", text), expected, "{text:?}");
    }
}

#[test]
fn targets_of_redirectors_are_found() {
    for (url, expected) in [
        ("https://a.com/?url=http%3A%2F%2Fb.com%2Fx", "a.com b.com"),
        ("https://a.com/?url=http://b.com/x?c=d", "a.com b.com"),
        ("https://a.com/r?q=b.com", "a.com b.com"),
        ("https://a.com/r?name=b.com", "a.com"),
        ("https://a.com/?u=http%253A%252F%252Fb.com", "a.com b.com"),
        ("https://a.com/https://b.com/x?y=http://c.com", "a.com b.com c.com"),
        ("https://a.com/#u=//b.com/", "a.com b.com"),
        ("https://a.com/?http://b.com", "a.com b.com"),
        ("https://a.com/?u=https://b.com/%3fu=https://c.com", "a.com b.com c.com"),
        ("https://www.google.com/amp/s/b.com/x", "google.com b.com"),
        ("https://b-com.cdn.ampproject.org/c/s/b.com/x", "ampproject.org b.com"),
        ("https://www-b--c-com.translate.goog/", "www-b--c-com.translate.goog b-c.com"),
        ("https://urldefense.com/v3/__https://b.com/x*y__;Kw!!abc$", "urldefense.com b.com"),
        (
            "https://urldefense.proofpoint.com/v2/url?u=https-3A__www.b.com_x&d=y",
            "proofpoint.com b.com",
        ),
        ("https://urldefense.proofpoint.com/v1/url?u=http://b.com&k=y", "proofpoint.com b.com"),
        (
            "https://eur01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fb.com%2F&data=x",
            "outlook.com b.com",
        ),
        ("https://www.bing.com/ck/a?!&&p=x&u=a1aHR0cHM6Ly9iLmNvbS8", "bing.com b.com"),
        ("mailto:a@b.com?cc=c@d.com", "b.com d.com"),
    ] {
        assert_eq!(of("text/html", &format!("<a href=\"{url}\">x</a>")), expected, "{url}");
    }
}

#[test]
fn html_is_read_with_its_attributes() {
    for (text, expected) in [
        ("<a href=\"http://example.com/\">example.org/</a>", "example.com example.org"),
        ("<a href='http://example.com/'>click</a>", "example.com"),
        ("<a href=http://example.com>click</a>", "example.com"),
        ("<img src=\"//example.com/pixel\">", "example.com"),
        ("<a href=\"http&colon;&sol;&sol;example&period;com\">", "example.com"),
        ("<a href=\"&#104;ttp://ex&#x61;mple&#46com/?a&amp;b\">", "example.com"),
        ("<a href=\"http://example.com/?a=1&copy=2&#999999999999;&#xZZ;&\">", "example.com"),
        ("<a href=\"mailto&#58;a&commat;example.com\">", "example.com"),
        ("<a href=\"&#0000000000000104;ttp://example.com\">", "example.com"),
        ("<a href=\" \x01ht\ntp\t://exam\n ple.com\">", ""),
        ("<a href=\" \x01ht\ntp\t://exam\nple.com\">", "example.com"),
        ("<a href=https:example.com>", "example.com"),
        ("<a href=\\\\example.com\\x>", "example.com"),
        ("<a href=www.example.com>", "example.com"),
        ("<a href=example.com:80/x>", "example.com"),
        ("<a href=x.html>", ""),
        ("<base href=http://example.com/a/><a href=x.html>", "example.com"),
        ("<a href=http://a.com href=http://b.com>", "a.com"),
        ("<a/href=http://a.com>x", "a.com"),
        ("<!-- <a href=http://a.com> --><a href=http://b.com>", "b.com"),
        ("<!--><a href=http://a.com>-->", "a.com"),
        ("<!--[if mso]><a href=http://a.com>x</a><![endif]-->", "a.com"),
        ("<form action=http://a.com><button formaction=http://b.com>", "a.com b.com"),
        ("<img srcset='http://a.com/1 1x, //b.com/2 2x,http://c.com/3'>", "a.com b.com c.com"),
        ("<td background=http://a.com/x style=\"background:url('http://b.com/')\">", "a.com b.com"),
        ("<style>@import 'http://a.com/';p{background:URL( //b.com )}</style>", "a.com b.com"),
        ("<meta http-equiv=refresh content=\"0; URL='http://a.com/'\">", "a.com"),
        ("<meta http-equiv=Refresh content=\"0,http://a.com/\">", "a.com"),
        ("<svg><a xlink:href=http://a.com><text>x", "a.com"),
        ("<map><area href=http://a.com></map><object data=http://b.com>", "a.com b.com"),
        ("<iframe srcdoc='&lt;a href=http://a.com>x&lt;/a>'></iframe>", "a.com"),
        ("<iframe><a href=http://a.com>x</a></iframe>", "a.com"),
        ("<noscript><a href=http://a.com>x</a></noscript>", "a.com"),
        ("<a href='data:text/html,<a href=http://a.com>x'>", "a.com"),
        ("<a href='data:text/html;base64,PGEgaHJlZj1odHRwOi8vYS5jb20+'>", "a.com"),
        ("<a href=\"java\nscript:location='http://a.com/'\">", "a.com"),
        ("<a onclick=\"location='http://a.com/'\">", "a.com"),
        ("<script>location.href='http://a.com/'</script>", "a.com"),
        ("<html xmlns=http://www.w3.org/1999/xhtml>", ""),
        ("<!DOCTYPE html PUBLIC '-//W3C//DTD' 'http://www.w3.org/x.dtd'>", ""),
        ("exam<b>ple</b><i></i>.com", "example.com"),
        ("exam<p>ple.com", "ple.com"),
        ("exam<span style='display: none'>x</span>ple.com", "example.com"),
        ("<a href=cid:x@example.com>", ""),
    ] {
        assert_eq!(of("text/html", text), expected, "{text:?}");
    }
    // Plain text has no character references.
    assert_eq!(of("text/plain", "http://ex&#x61;mple.com/"), "mple.com");
}

#[test]
fn links_in_displayed_header_fields_are_found() {
    let rendered = rendered(
        "Subject: =?utf-8?q?see_http=3A//a=2Ecom?=\nFrom: \"b.com support\" <x@from.com>\n\
         To: to@to.com\nReply-To: me@c.com\nList-Unsubscribe: <https://d.com/u>, <mailto:x@e.com>\n\
         X-Other: http://other.com\nContent-Type: text/plain\n\nhttp://f.com\n",
    );
    assert_eq!(hosts(&rendered), "a.com b.com c.com d.com e.com f.com");
}

#[test]
fn deleted_spaces_of_flowed_text_are_deleted() {
    let text = "http://www.exam \nple.com/\n";
    assert_eq!(of("text/plain; format=flowed; delsp=yes", text), "example.com ple.com");
    assert_eq!(of("text/plain; format=flowed", text), "ple.com");
}

#[test]
fn text_of_a_link_is_compared_with_its_host() {
    for (text, host, differs) in [
        ("<a href=http://a.com>click", None, false),
        ("<a href=http://a.com>www.a.com", Some("a.com"), false),
        ("<a href=http://x.a.com>y.a.com", Some("a.com"), false),
        ("<a href=http://a.com>https://b.com/", Some("b.com"), true),
        ("<a href=http://a.com>Go to <b>b</b>.com!", Some("b.com"), true),
        ("<a href=http://1.2.3.4>http://1.2.3.4/", None, false),
        ("<a href=http://1.2.3.4>http://1.2.3.5/", None, true),
        ("<a href=tel:1>b.com", Some("b.com"), true),
        ("<a href=http://a.com><i style=display:none>b.com</i>click", None, false),
    ] {
        let rendered = rendered(&format!("Content-Type: text/html\n\n{text}\n"));
        let link = &rendered.links()[0];
        assert_eq!(link.place(), LinkPlace::Anchor);
        assert_eq!(link.text_host().and_then(LinkHost::registered), host, "{text}");
        assert_eq!(link.differs(), differs, "{text}");
    }
}

#[test]
fn visible_text_of_html_is_separated_from_hidden_text() {
    for (text, visible, hidden) in [
        ("", "", ""),
        ("a  <b>b</b>\n c", "a b c", ""),
        ("<p>a<p>b<br>c<div>d</div>e", "a\nb\nc\nd\ne", ""),
        ("<tr><td>a<td>b<tr><td>c", "a b\nc", ""),
        ("&lt;&amp&eacute;&#8364;&nbsp", "<&\u{e9}\u{20ac}", ""),
        ("<title>t</title>a<style>b</style><script>c</script><!-- d -->", "a", "t"),
        (
            "<title>t</title>a<i hidden>b</i>c<i hidden>d</i><!--[if mso]>e<![endif]-->",
            "ac",
            "t\nb\nd\ne",
        ),
        ("a<div hidden>b<div>c</div>d</div>e", "a\ne", "b\nc\nd"),
        ("a<p style='DISPLAY : none !important'>b<p>c", "a\nc", "b"),
        ("<span style='font-size:0px'>b</span>a", "a", "b"),
        ("<span style='font-size:0.8em'>b</span>a", "ba", ""),
        ("<textarea>a<b></textarea><xmp><i></xmp>", "a<b>\n<i>", ""),
        ("<img style=display:none>a", "a", ""),
    ] {
        let read = html(text);
        assert_eq!((read.visible().trim(), read.hidden()), (visible, hidden), "{text}");
    }
}

#[test]
fn every_text_of_a_message_is_read() {
    let encoded = "aHR0cDovL2V4YW1wbGUubmV0Lwo=";
    let view = view(&format!(
        "Content-Type: multipart/mixed; boundary=b\n\nhttp://preamble.com/\n--b\n\nhttp://ex=\n\
         --b\nContent-Transfer-Encoding: quoted-printable\n\nhttp://exam=\nple.com/\n\
         --b\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\n{encoded}\n\
         --b\nContent-Type: image/png\n\nhttp://image.com/\n--b--\n"
    ));
    let rendered = Rendered::of(&view);
    assert_eq!(hosts(&rendered), "preamble.com example.com example.net");
    let texts: Vec<_> = rendered.visible_texts(&view).map(str::trim_end).collect();
    let preamble = "http://preamble.com/";
    assert_eq!(texts, [preamble, "http://ex=", "http://example.com/", "http://example.net/"]);
}

/// Returns whether a link has the host that the URL standard gives.
fn agrees(link: &Link, url: &url::Url) -> bool {
    match (link.host(), url.host()) {
        (Some(LinkHost::Domain(ours)), Some(url::Host::Domain(theirs))) => {
            ours.name() == theirs.trim_matches('.')
        }
        (Some(LinkHost::Address(ours)), Some(url::Host::Ipv4(theirs))) => *ours == theirs,
        (Some(LinkHost::Address(ours)), Some(url::Host::Ipv6(theirs))) => {
            *ours == theirs.to_canonical()
        }
        (None, Some(url::Host::Domain(theirs))) => theirs.trim_matches('.').is_empty(),
        _ => false,
    }
}

proptest! {
    #[test]
    fn anything_can_be_read(
        text in "(http:|//|[/@:.%&#\\[\\]\\\\<>\"'=]|<a href=|[a-z0-9]{1,4}|\\PC){0,60}",
    ) {
        of("text/plain", &text);
        of("text/html", &text);
    }

    #[test]
    fn valid_url_has_the_host_of_the_standard(
        text in "[ \t\n]?(https?|ftp|wss|HTTP):[/\\\\]{0,3}\
                 ([a-z0-9.@:%_-]|%[2-7][0-9a-f]|\\PC|[\u{ad}\u{3002}\u{ff0e}\u{ff41}\u{e4}\t]){1,20}\
                 ([.]com|[.]\u{440}\u{444}|\\[::1\\])?([/?#\\\\]\\PC{0,9})?",
    ) {
        let Ok(url) = url::Url::parse(&text) else { return Ok(()) };
        let quoted = text.replace('&', "&amp;").replace('"', "&quot;");
        let rendered = rendered(&format!("Content-Type: text/html; charset=utf-8\n\n<a href=\"{quoted}\">"));
        let link = &rendered.links()[0];
        prop_assert_eq!(link.url(), url.as_str());
        prop_assert!(agrees(link, &url), "{:?}: {:?}", url, link);
    }

    /// A host that the standard rejects still has its registered domain.
    #[test]
    fn odd_labels_cost_only_themselves(
        label in "([!-$&-,;-~&&[^/\\\\?#@:\\[\\]]]|[\u{200c}\u{200d}\u{202e}\u{fdd0}\u{64a}a]){1,9}",
        inner in "[a-z]{1,5}",
    ) {
        let url = format!("http://{label}.{inner}.example.com/x").replace('&', "&amp;").replace('"', "&quot;");
        let html = of("text/html", &format!("<a href=\"{url}\">"));
        prop_assert_eq!(html, "example.com", "{}", url);
    }

    /// An address is the same in any notation.
    #[test]
    fn notations_of_an_address_agree(number: u32, notation in 0..5_usize) {
        let [a, b, c, d] = number.to_be_bytes();
        let text = match notation {
            0 => format!("{number}"),
            1 => format!("0x{number:x}"),
            2 => format!("0{number:o}"),
            3 => format!("{a}.0x{b:X}.{}", u32::from(c) << 8 | u32::from(d)),
            _ => format!("{a}.{b}.0{c:o}.{d}"),
        };
        let address = std::net::Ipv4Addr::from(number).to_string();
        prop_assert_eq!(of("text/plain", &format!("http://{text}/")), &*address);
        prop_assert_eq!(of("text/html", &format!("<a href=http://{text}/>")), address);
    }
}
