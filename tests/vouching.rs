//! The client of a session after XCLIENT and XFORWARD, and the peer that vouches for it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use nobounce::envelope::SessionId;
use nobounce::peer::{TlsInfo, Vouched};
use nobounce::proxy::ProxyHeader;
use nobounce::verdict::Subject;
use nobounce::{Outcome, Peer, Receipt, Request, Session, Settings, Step, Verdict};

/// Sends these lines, each when the session waits for it, to a gate that accepts everything.
/// Returns the client of each question to the panel.
#[expect(clippy::disallowed_methods, reason = "any instant is suitable")]
fn clients(server: Peer, lines: &[&str]) -> Vec<String> {
    let mut settings = Settings::new("gate.example.com");
    settings.xclient_from = "192.0.2.0/24, local".parse().unwrap();
    settings.xforward_from = settings.xclient_from.clone();
    settings.capabilities.start_tls = true;
    let (now, id) = (Instant::now(), SessionId::new("vouching"));
    let mut session = Session::new(Arc::new(settings), id, server, now, SystemTime::UNIX_EPOCH);
    let mut lines = lines.iter();
    let mut clients = Vec::new();
    let mut replies = Vec::new();
    loop {
        match session.poll(now) {
            Step::Transmit(octets) => replies.extend_from_slice(&octets),
            Step::Receive => match lines.next() {
                Some(line) => session.receive(format!("{line}\r\n").as_bytes()),
                None => session.receive_eof(),
            },
            Step::StartTls => session.tls_started(TlsInfo::new("TLSv1.3", "some")),
            Step::Ask(question) => {
                clients.push(match question.subject() {
                    Subject::Connection(_, peer) => format!("connect {}", described(peer)),
                    Subject::Recipient(envelope, _) => {
                        format!("rcpt {}", described(&envelope.peer))
                    }
                    Subject::Content(envelope, _) => {
                        let ident = envelope.xforward.as_ref().and_then(|it| it.ident.known());
                        let ident = ident.map(|ident| format!(" ident={ident}"));
                        format!("data {}{}", described(&envelope.peer), ident.unwrap_or_default())
                    }
                });
                question.answer(Verdict::Pass);
            }
            Step::Forward(forward) => {
                let (request, pending) = forward.take();
                let receipt = match request {
                    Request::Recipient(..) | Request::Renewal(_) => Receipt::recipient(),
                    Request::Content(..) | Request::Answer(..) => Receipt::kept("1"),
                };
                pending.complete(Outcome::Accepted(receipt));
            }
            Step::Ended(_) => {}
            Step::Close => break,
        }
    }
    let replies = String::from_utf8(replies).unwrap();
    let bad = replies
        .lines()
        .find(|line| line.starts_with('5') && !line.contains("Message size exceeds the limit"));
    assert_eq!(bad, None, "{replies}");
    clients
}

fn described(peer: &Peer) -> String {
    let mut text = peer.to_string();
    let port = peer.address.map(|address| format!(":{}", address.port()));
    text += &port.unwrap_or_default();
    if let Some(name) = &peer.reverse_name {
        text += &format!(" reverse={name}");
    }
    if let Some(helo) = &peer.helo {
        text += &format!(" {}={}", if helo.extended { "ehlo" } else { "helo" }, helo.name);
    }
    if let Some(login) = &peer.login {
        text += &format!(" login={login}");
    }
    if peer.tls.is_some() {
        text += " tls";
    }
    if peer.vouched != Vouched::default() {
        text += &format!(" via={}", peer.vouched);
    }
    text
}

fn server() -> Peer {
    Peer::new(([192, 0, 2, 7], 25).into()).named("front.example.net")
}

const CONNECT: &str = "connect front.example.net[192.0.2.7]:25";
const MAIL: &str = "MAIL FROM:<a@example.org>";
const RCPT: &str = "RCPT TO:<b@example.com>";

#[test]
fn xclient_replaces_the_client() {
    let cases: [(&[&str], &[&str]); 12] = [
        (
            &[
                "XCLIENT NAME=a.example REVERSE_NAME=b.example ADDR=198.51.100.7 PORT=99 LOGIN=joe+40x",
                "EHLO c.example",
                MAIL,
                RCPT,
            ],
            &[
                "connect a.example[198.51.100.7]:99 reverse=b.example login=joe@x via=xclient[192.0.2.7]",
                "rcpt a.example[198.51.100.7]:99 reverse=b.example ehlo=c.example login=joe@x \
                 via=xclient[192.0.2.7]",
            ],
        ),
        // An address is sent without its name or port. The name and port of the server do not apply
        // to the client.
        (
            &["XCLIENT ADDR=198.51.100.7"],
            &["connect unknown[198.51.100.7]:0 via=xclient[192.0.2.7]"],
        ),
        (
            &["XCLIENT ADDR=ipv6:::FFFF:198.51.100.7 NAME=[tempunavail]"],
            &["connect unknown[198.51.100.7]:0 via=xclient[192.0.2.7]"],
        ),
        (&["XCLIENT ADDR=[UNAVAILABLE]"], &["connect unknown[unknown] via=xclient[192.0.2.7]"]),
        // Attributes that are not sent are unchanged.
        (&["XCLIENT NAME=a.example"], &["connect a.example[192.0.2.7]:25 via=xclient[192.0.2.7]"]),
        (&["XCLIENT PORT=99"], &["connect front.example.net[192.0.2.7]:25"]),
        // HELO and PROTO come from one command, and a later EHLO overrides them.
        (
            &[
                "XCLIENT HELO=a PROTO=ESMTP",
                "XCLIENT HELO=a",
                "XCLIENT PROTO=ESMTP",
                "HELO b",
                MAIL,
                RCPT,
            ],
            &[
                "connect front.example.net[192.0.2.7]:25 ehlo=a via=xclient[192.0.2.7]",
                "connect front.example.net[192.0.2.7]:25 helo=a via=xclient[192.0.2.7]",
                "connect front.example.net[192.0.2.7]:25",
                "rcpt front.example.net[192.0.2.7]:25 helo=b",
            ],
        ),
        // In parts, in any order.
        (
            &["XCLIENT NAME=a.example", "XCLIENT ADDR=198.51.100.7", "XCLIENT PORT=99 LOGIN=joe"],
            &[
                "connect a.example[192.0.2.7]:25 via=xclient[192.0.2.7]",
                "connect a.example[198.51.100.7]:0 via=xclient[192.0.2.7]",
                "connect a.example[198.51.100.7]:99 login=joe via=xclient[192.0.2.7]",
            ],
        ),
        // A new address resets all other attributes. The permission to send XCLIENT remains.
        (
            &[
                "XCLIENT NAME=a.example ADDR=198.51.100.7 PORT=99 LOGIN=joe",
                "EHLO a",
                "XCLIENT ADDR=198.51.100.8",
                "XCLIENT LOGIN=[UNAVAILABLE]",
            ],
            &[
                "connect a.example[198.51.100.7]:99 login=joe via=xclient[192.0.2.7]",
                "connect unknown[198.51.100.8]:0 via=xclient[192.0.2.7]",
                "connect unknown[198.51.100.8]:0 via=xclient[192.0.2.7]",
            ],
        ),
        // TLS belongs to the server's connection, so it is unchanged.
        (
            &[
                "EHLO front.example.net",
                "STARTTLS",
                "XCLIENT ADDR=198.51.100.7",
                "EHLO a",
                MAIL,
                RCPT,
            ],
            &[
                "connect unknown[198.51.100.7]:0 tls via=xclient[192.0.2.7]",
                "rcpt unknown[198.51.100.7]:0 ehlo=a tls via=xclient[192.0.2.7]",
            ],
        ),
        // XCLIENT discards forwarded attributes.
        (
            &["XFORWARD ADDR=203.0.113.1", "XCLIENT ADDR=198.51.100.7", "HELO a", MAIL, RCPT],
            &[
                "connect unknown[198.51.100.7]:0 via=xclient[192.0.2.7]",
                "rcpt unknown[198.51.100.7]:0 helo=a via=xclient[192.0.2.7]",
            ],
        ),
        // A server that sent XCLIENT for one client may send XFORWARD for another. The server
        // vouches for both.
        (
            &["XCLIENT ADDR=198.51.100.7", "HELO a", "XFORWARD ADDR=203.0.113.1", MAIL, RCPT],
            &[
                "connect unknown[198.51.100.7]:0 via=xclient[192.0.2.7]",
                "rcpt unknown[203.0.113.1]:0 via=xforward[192.0.2.7]",
            ],
        ),
    ];
    for (lines, expected) in cases {
        let asked = clients(server(), lines);
        assert_eq!(asked[0], CONNECT);
        assert_eq!(asked[1..], *expected, "{lines:#?}");
    }
}

#[test]
fn xforward_lasts_for_one_transaction() {
    const OWN: &str = "rcpt front.example.net[192.0.2.7]:25 ehlo=front";
    const TOLD: &str = "rcpt unknown[198.51.100.7]:0 via=xforward[192.0.2.7]";
    const HELLO: &str = "EHLO front";
    const FORWARD: &str = "XFORWARD ADDR=198.51.100.7";
    let cases: [(&[&str], &[&str]); 12] = [
        (&[HELLO, MAIL, RCPT], &[OWN]),
        (&[HELLO, FORWARD, MAIL, RCPT, RCPT], &[TOLD, TOLD]),
        // All attributes. The panel is not asked about the connection again.
        (
            &[
                HELLO,
                "XFORWARD NAME=a.example ADDR=IPV6:2001:db8::7 PORT=99 PROTO=SMTP HELO=a+2Bb IDENT=4711",
                MAIL,
                RCPT,
                "DATA",
                "Subject: x\r\n.",
            ],
            &[
                "rcpt a.example[IPv6:2001:db8::7]:99 helo=a+b via=xforward[192.0.2.7]",
                "data a.example[IPv6:2001:db8::7]:99 helo=a+b via=xforward[192.0.2.7] ident=4711",
            ],
        ),
        // Several commands are merged. For a repeated attribute, the last value counts.
        (
            &[
                HELLO,
                "XFORWARD NAME=a.example ADDR=198.51.100.9",
                FORWARD,
                "XFORWARD HELO=a",
                MAIL,
                RCPT,
            ],
            &["rcpt a.example[198.51.100.7]:0 helo=a via=xforward[192.0.2.7]"],
        ),
        (
            &[HELLO, FORWARD, "XFORWARD NAME=a.example", "XFORWARD NAME=[UNAVAILABLE]", MAIL, RCPT],
            &[TOLD],
        ),
        // No attribute of the server is used. Without an address, the server forwards local mail.
        (
            &[HELLO, "XFORWARD HELO=a PROTO=ESMTP", MAIL, RCPT],
            &["rcpt unknown[unknown] ehlo=a via=xforward[192.0.2.7]"],
        ),
        (
            &[HELLO, "STARTTLS", HELLO, FORWARD, MAIL, RCPT],
            &["rcpt unknown[198.51.100.7]:0 via=xforward[192.0.2.7]"],
        ),
        // Valid until the end of the transaction, however it ends. RSET and EHLO also discard the
        // attributes before MAIL.
        (&[HELLO, FORWARD, MAIL, RCPT, "RSET", MAIL, RCPT], &[TOLD, OWN]),
        (&[HELLO, FORWARD, "RSET", MAIL, RCPT], &[OWN]),
        (&[HELLO, FORWARD, HELLO, MAIL, RCPT], &[OWN]),
        (
            &[HELLO, FORWARD, MAIL, RCPT, "DATA", "\r\n.", MAIL, RCPT],
            &[TOLD, "data unknown[198.51.100.7]:0 via=xforward[192.0.2.7]", OWN],
        ),
        // A refused MAIL begins no transaction.
        (&[HELLO, FORWARD, "MAIL FROM:<a@b> SIZE=99999999999", MAIL, RCPT], &[TOLD]),
    ];
    for (lines, expected) in cases {
        let asked = clients(server(), lines);
        assert_eq!(asked[0], CONNECT);
        assert_eq!(asked[1..], *expected, "{lines:#?}");
    }
}

#[test]
fn server_on_a_unix_socket_can_identify_clients() {
    let asked = clients(Peer::local(), &["XCLIENT ADDR=198.51.100.7"]);
    assert_eq!(asked[1..], ["connect unknown[198.51.100.7]:0 via=xclient[local]"]);
}

#[test]
fn proxy_header_identifies_only_the_client() {
    let source = "[::ffff:198.51.100.7]:99".parse().unwrap();
    let header = ProxyHeader::tcp(source, "192.0.2.1:25".parse().unwrap());
    let cases = [
        (header, "unknown[198.51.100.7]:99 via=proxy[192.0.2.7]"),
        (ProxyHeader::Unspecified, "unknown[unknown] via=proxy[192.0.2.7]"),
        (ProxyHeader::Local, "front.example.net[192.0.2.7]:25"),
    ];
    for (header, expected) in cases {
        assert_eq!(described(&server().behind(&header)), expected);
    }
}

/// Whether a client is in our own networks: the connecting server, and the client that it names.
#[test]
#[expect(clippy::disallowed_methods, reason = "any instant is suitable")]
fn own_networks_apply_to_the_identified_client() {
    let header = |address: &str| ProxyHeader::Tcp4 {
        source: format!("{address}:25").parse().unwrap(),
        destination: "203.0.113.1:25".parse().unwrap(),
    };
    let server = || Peer::new(([192, 0, 2, 1], 25).into());
    let ours = || Peer::new(([198, 51, 100, 7], 25).into());
    let rcpt = ["EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<c@d>"];
    let with = |first: &'static str| [&[first][..], &rcpt].concat();
    let hello = |then: &'static str| [&["EHLO c", then][..], &rcpt[1..]].concat();
    // Whether each client that the panel is asked about is in our own networks.
    for (peer, lines, own) in [
        (server(), rcpt.to_vec(), &[false, false][..]),
        (ours(), rcpt.to_vec(), &[true, true]),
        (Peer::local(), rcpt.to_vec(), &[false, false]),
        (server().behind(&header("198.51.100.9")), rcpt.to_vec(), &[true, true]),
        (ours().behind(&header("192.0.2.9")), rcpt.to_vec(), &[false, false]),
        (server(), with("XCLIENT ADDR=198.51.100.9"), &[false, true, true]),
        (server(), with("XCLIENT ADDR=[UNAVAILABLE]"), &[false, false, false]),
        (server(), with("XCLIENT NAME=ours.example"), &[false, false, false]),
        (server(), hello("XFORWARD ADDR=198.51.100.9"), &[false, true]),
        (server(), hello("XFORWARD ADDR=[UNAVAILABLE]"), &[false, false]),
    ] {
        let mut settings = Settings::new("gate.example.com");
        settings.own_networks = "198.51.100.0/24".parse().unwrap();
        settings.xclient_from = "192.0.2.0/24".parse().unwrap();
        settings.xforward_from = settings.xclient_from.clone();
        let (now, id) = (Instant::now(), SessionId::new("own"));
        let mut session =
            Session::new(Arc::new(settings), id, peer.clone(), now, SystemTime::UNIX_EPOCH);
        let (mut told, mut found) = (lines.iter(), Vec::new());
        loop {
            match session.poll(now) {
                Step::Receive => match told.next() {
                    Some(line) => session.receive(format!("{line}\r\n").as_bytes()),
                    None => break,
                },
                Step::Ask(question) => {
                    found.push(match question.subject() {
                        Subject::Connection(_, peer) => peer.own,
                        Subject::Recipient(envelope, _) | Subject::Content(envelope, _) => {
                            envelope.peer.own
                        }
                    });
                    question.answer(Verdict::Pass);
                }
                Step::Forward(forward) => {
                    forward.complete(Outcome::Accepted(Receipt::recipient()));
                }
                Step::Transmit(_) | Step::StartTls | Step::Ended(_) => {}
                Step::Close => break,
            }
        }
        assert_eq!(found, own, "{peer} {lines:?}");
    }
}
