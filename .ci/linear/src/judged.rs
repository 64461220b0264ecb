//! Shapes of mail in a complete session with everything enabled: every scorer with its daemon, DNS,
//! an observer that writes records, an onward server.

use nobounce::message::Budget;

use crate::input::Input;
use crate::service::{Got, Service};
use crate::{Shape, Work};

/// A shape of mail data: a beginning and a generated unit.
pub struct Mail {
    pub name: &'static str,
    begin: &'static str,
    unit: fn(usize) -> Vec<u8>,
}

macro_rules! mails {
    ($($name:literal, $begin:expr, $unit:expr;)*) => {
        pub const MAILS: &[Mail] = &[$(Mail { name: $name, begin: $begin, unit: $unit }),*];
        pub(crate) const SHAPES: &[Shape] = &[$(Shape {
            name: concat!("judged-", $name),
            size: SIZE,
            least: 1.0,
            prepare: |size| judged($begin, $unit, size),
        }),*];
    };
}

/// Size in octets. Twice this size is below every limit of the scorers. The smallest limit is 64
/// KiB of header.
const SIZE: usize = 30_000;

const BODY: &str = "From: a@example.org\r\nSubject: x\r\n\r\n";
const HTML: &str = "From: a@example.org\r\nContent-Type: text/html; charset=utf-8\r\n\r\n";
const JUNK: &str = "From: a@example.org\r\njunk\r\n";
const TO: &str = "From: a@example.org\r\nTo: ";
const MIXED: &str = "From: a@example.org\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
const BASE64: &str = "Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n";
const QUOTED: &str =
    "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
const ENCODED: &str = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
                       Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
                       Content-Type: text/html\r\n\r\n";

fn of(unit: &str) -> Vec<u8> {
    unit.into()
}

mails! {
    "lines", BODY, |_| of("one line of text, as it stands in a letter to somebody or other\r\n");
    "one-line", BODY, |_| of("one line of text, as it stands in a letter to somebody or other, ");
    "dots", BODY, |_| of("..\r\n");
    "one-line-of-dots", BODY, |_| of("........");
    "crlf", BODY, |_| of("\r\n");
    "lf", BODY, |_| of("\n");
    "cr", BODY, |_| of("\r");
    "nul", BODY, |_| of("\0\0\0\0\0\0\0\0");
    "binary", BODY, |n| (0..=255).map(|it: u8| it.wrapping_mul(n as u8 | 1)).collect();
    "gtube-halves", BODY, |_| of("XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34");
    "fields", "", |_| of("X-Field: value\r\n");
    "short-fields", "", |_| of("a:\r\n");
    "no-names", JUNK, |_| of(":\r\n");
    "no-colons", "From: a@example.org\r\n", |_| of("junk\r\n");
    "colons", JUNK, |_| of("::::::::");
    "spaces", JUNK, |_| of("        ");
    "empty-folds", TO, |_| of("\r\n ");
    "folded", "From: a@example.org\r\nSubject: x\r\n", |_| of(" folded\r\n");
    "forged", "", |_| of("X-Nobounce-A:\r\nb:\r\n");
    "forged-folded", "", |_| of("X-Nobounce-A:\r\n x\r\nb:\r\n");
    "mailbox-lines", "", |_| of("From \r\n");
    "results", JUNK, |_| of("Authentication-Results: x\r\n");
    "results-in-our-name", JUNK, |_| of("Authentication-Results: mx.example\r\nb:\r\n");
    "results-after-junk", JUNK, |_| of(" Authentication-Results: x\r\n");
    "results-in-comments", JUNK, |_| of(" Authentication-Results: (\r\n");
    "results-in-quotes", JUNK, |_| of(" Authentication-Results: \"\r\n");
    "results-unnamed", JUNK, |_| of(" Authentication-Results:\r\n");
    "addresses", TO, |_| of("a@b.example,\r\n ");
    "quoted-addresses", TO, |_| of("\"a\\\" <b>\" <c@d.example>, ");
    "quotes", TO, |_| of("\"\"");
    "backslashes", TO, |_| of("\"\\\\");
    "comments", TO, |_| of("(a) ");
    "open-comments", TO, |_| of("((((");
    "angles", TO, |_| of("<<<<");
    "groups", TO, |_| of("g:a@b;,");
    "commas", TO, |_| of(",,,,");
    "from-fields", "", |n| format!("From: a@b{n}.example\r\n").into();
    "from-addresses", "From: ", |n| format!("a@b{n}.example,").into();
    "from-comments", "From: ", |_| of("((((");
    "from-quotes", "From: ", |_| of("\"\\\\");
    "words", "Subject:", |_| of("\r\n =?gbk?q?=C4=E3?=");
    "broken-words", "Subject: ", |_| of("=?q?");
    "open-words", "Subject: ", |_| of("=?utf-8?q?");
    "words-in-one", "Subject: =?utf-8?q?", |_| of("=41");
    "content-types", "", |_| of("Content-Type: text/plain; a*0*=utf-8''%41; charset=x; name=\"y\"\r\n");
    "parameters", "Content-Type: text/plain", |_| of("; a*0*=utf-8''%41");
    "parts", MIXED, |_| of("--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n");
    "small-parts", MIXED, |_| of("--b\r\n\r\n");
    "named-parts", MIXED, |n| format!("--b\r\nContent-Type: a/b; name={n}{}\r\n\r\n", "x".repeat(900)).into();
    "long-headers", MIXED, |_| format!("--b\r\nx: {}\r\n\r\n", "x".repeat(7_000)).into();
    "delimiters", MIXED, |_| of("--bx\r\n--\r\n");
    "nested", "", |n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n").into();
    "nested-prefixes", "", |n| {
        let boundary = "b".repeat(n.min(90));
        format!("Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n--{boundary}\r\n").into()
    };
    "messages", "", |_| of("Content-Type: message/rfc822\r\n\r\n");
    "digests", "", |_| of("Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n");
    "encoded-messages", ENCODED, |_| of("<a href=3D\"http://x.example.com/\">x</a>\r\n");
    "encoded-parts", MIXED, |_| of("--b\r\nContent-Type: message/rfc822\r\n\
                                    Content-Transfer-Encoding: base64\r\n\r\nYTpiCgpjCg==\r\n");
    "base64", BASE64, |_| of("PGEgaHJlZj0iaHR0cDovL2EuZXhhbXBsZS5jb20iPmE8L2E+ICAgICAg\r\n");
    "broken-base64", BASE64, |_| of("!Y!Q!=!");
    "quoted-printable", QUOTED, |_| of("=C3=A9=\r\n");
    "soft-breaks", QUOTED, |_| of("=\r\n");
    "equals-signs", QUOTED, |_| of("====");
    "gbk", "Content-Type: text/html; charset=gbk\r\n\r\n", |_| of("\u{4f60}\u{e9}");
    "iso-2022-jp", "Content-Type: text/html; charset=iso-2022-jp\r\n\r\n", |_| of("\x1b$B!!\x1b(B");
    "utf-7", "Content-Type: text/html; charset=utf-7\r\n\r\n", |_| of("+AGE-+");
    "utf-16", "Content-Type: text/html; charset=utf-16\r\n\r\n", |_| of("a\0b\0");
    "links", HTML, |n| format!("http://a{n}.example.com/ ").into();
    "domains", HTML, |n| format!("http://a{n}.com/ ").into();
    "bare-links", HTML, |_| of("www.a.com/(");
    "link-addresses", HTML, |_| of("a@b.com ");
    "ats", HTML, |_| of("a@");
    "periods", HTML, |_| of("a.");
    "slashes", HTML, |_| of("////");
    "backslash-links", HTML, |_| of("http:\\\\a");
    "schemes", HTML, |_| of("http://");
    "logins", HTML, |_| of("@//[");
    "references", HTML, |_| of("&#");
    "named-references", HTML, |_| of("&amp;&period;&nosuch;");
    "percents", HTML, |_| of("//%2e%2e%");
    "brackets", HTML, |_| of("<<a<!--<![");
    "signatures", "From: a@example.org\r\n", |_| {
        of("DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=from; bh=AAAA; b=AAAA\r\n")
    };
    "signed-names", "From: a@example.org\r\n\
                     DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; bh=AAAA; b=AAAA; h=from",
        |_| of(":x\r\n ");
    "seals", "From: a@example.org\r\n", |n| {
        format!("ARC-Seal: i={}; a=rsa-sha256; cv=pass; d=example.org; s=s; b=AAAA\r\n", n + 1).into()
    };
}

const COMMANDS: &str = "EHLO client.example.org\r\nMAIL FROM:<a@example.org>\r\n\
                        RCPT TO:<b@example.net>\r\nDATA\r\n";

impl Mail {
    /// Serves a client that sends this many octets of the shape.
    pub fn serve(&self, octets: usize, budget: Budget) -> Got {
        Service::new(budget).serve(input(self.begin, self.unit, octets))
    }
}

/// Serves a client that repeats this seed. The seed is mail data, or the whole input if it begins
/// with a command.
pub fn seed(seed: Vec<u8>, octets: usize, budget: Budget) -> Got {
    let is_session = [b"EHLO", b"HELO", b"ehlo"].iter().any(|word| seed.starts_with(&word[..]));
    let begin = if is_session { "" } else { COMMANDS };
    let input = Input::new(begin, move |_| seed.clone(), octets, "\r\n.\r\n");
    Service::new(budget).serve(input)
}

fn input(begin: &str, unit: fn(usize) -> Vec<u8>, octets: usize) -> Input {
    Input::new(format!("{COMMANDS}{begin}"), unit, octets, "\r\n.\r\n")
}

fn judged(begin: &'static str, unit: fn(usize) -> Vec<u8>, size: usize) -> Work {
    let input = input(begin, unit, size);
    let service = Service::new(Budget::default());
    Box::new(move || {
        let got = service.serve(input);
        assert_eq!(got.last, 2, "{got:?}");
        assert!(got.onward > 200 && got.daemons > 3 * 200, "{got:?}");
        size
    })
}
