//! Every example as a process, with mail through it end to end over loopback.

#![cfg(all(feature = "serve", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod client;
#[cfg(feature = "front-door")]
mod config;
mod gate;
#[cfg(feature = "front-door")]
mod log;
#[cfg(feature = "front-door")]
mod nonsense;
#[cfg(feature = "front-door")]
mod operation;
#[cfg(feature = "front-door")]
mod release;
#[cfg(feature = "front-door")]
mod reload;
#[cfg(feature = "front-door")]
mod replay;
mod server;
#[cfg(feature = "front-door")]
mod status;
#[cfg(feature = "front-door")]
mod status_socket;
#[cfg(feature = "front-door")]
mod traces;
#[cfg(feature = "front-door")]
mod trial;
#[cfg(feature = "front-door")]
mod why;

use std::time::Duration;

use client::Client;
use gate::Gate;
use lettre::address::Envelope;
use lettre::transport::smtp::client::SmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error, response::Response};
use server::{ANSWERS, Onward, TAKEN, nowhere, spamd};

/// Timeout for every step of a test.
const PATIENCE: Duration = Duration::from_secs(60);

const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
const HEAD: &str = "From: a@example.com\r\nTo: b@example.org\r\nSubject: test\r\n\r\n";

/// Runs each test with each example gate.
macro_rules! on_each {
    ($($(#[$attribute:meta])* $example:ident)*) => { $(
        $(#[$attribute])*
        mod $example {
            const SELF: &str = stringify!($example);

            #[test]
            fn keeps_mail_in_a_maildir() {
                super::keeps_mail_in_a_maildir(SELF);
            }

            #[test]
            fn gives_mail_to_an_onward_server() {
                super::gives_mail_to_an_onward_server(SELF, "DATA");
            }

            #[test]
            fn gives_mail_to_an_onward_server_in_chunks() {
                super::gives_mail_to_an_onward_server(SELF, "BDAT");
            }

            #[test]
            fn refuses_with_the_reply_of_the_onward_server() {
                super::refuses_with_the_reply_of_the_onward_server(SELF);
            }

            #[test]
            fn defers_while_the_onward_server_is_away() {
                super::defers_while_the_onward_server_is_away(SELF);
            }

            #[test]
            fn asks_spamd() {
                super::asks_spamd(SELF);
            }

            #[test]
            fn shuts_down_gracefully_on_a_signal() {
                super::shuts_down_gracefully_on_a_signal(SELF, "TERM");
                super::shuts_down_gracefully_on_a_signal(SELF, "INT");
            }
        }
    )* };
}

on_each! {
    on_async_std
    on_blocking
    #[cfg(feature = "smol")]
    on_smol
    #[cfg(feature = "tokio")]
    on_tokio
}

/// Returns contents that some proxy has damaged. Each must arrive octet for octet.
fn contents() -> Vec<Vec<u8>> {
    let long = "x".repeat(100_000);
    let bodies: [&[u8]; 6] = [
        b"Hello,\r\n\r\nthere.\r\n",
        b".\r\n..\r\n.leading\r\n\r\n.\r\n\r\nend.\r\n.\r\n",
        long.as_bytes(),
        b"gr\xc3\xbc\xc3\x9fe, latin \xe9\xff, tab\tand \x0b\r\n",
        b"",
        b"\r\n\r\n \r\n",
    ];
    bodies.iter().map(|body| [HEAD.as_bytes(), body].concat()).collect()
}

fn lettre(gate: &Gate) -> SmtpConnection {
    let name = ClientId::Domain("client.example".into());
    SmtpConnection::connect(gate.address, Some(PATIENCE), &name, None, None).unwrap()
}

/// Sends a message. lettre adds CRLF to its end.
fn send(client: &mut SmtpConnection, to: &str, content: &[u8]) -> Result<Response, Error> {
    let from = "a@example.com".parse().unwrap();
    client.send(&Envelope::new(Some(from), vec![to.parse().unwrap()]).unwrap(), content)
}

fn gtube() -> Vec<u8> {
    format!("{HEAD}{GTUBE}\r\n").into_bytes()
}

/// Checks that a delivered message consists of our header fields with these names and the unchanged
/// content.
fn assert_delivered(delivered: &[u8], content: &[u8], fields: &[&str]) {
    let ours = delivered.strip_suffix(content).expect("the content is what was sent");
    let ours = str::from_utf8(ours).unwrap();
    let begins = |line: &&str| !line.starts_with([' ', '\t']);
    let names: Vec<_> =
        ours.lines().filter(begins).map(|line| line.split_once(':').unwrap().0).collect();
    assert_eq!(names, fields, "{ours}");
}

fn keeps_mail_in_a_maildir(example: &str) {
    const FIELDS: &[&str] = &["Return-Path", "Delivered-To", "Received"];
    let mut gate = Gate::start(example, &[]);
    let mut client = lettre(&gate);
    let mut known = Vec::new();
    for content in contents() {
        let reply = send(&mut client, "b@example.org", &content).unwrap();
        assert!(reply.first_line().unwrap().starts_with("2.0.0 Ok: queued as "), "{reply:?}");
        // It is in the Maildir before the client gets the reply.
        let new: Vec<_> = gate.maildir().into_iter().filter(|it| !known.contains(it)).collect();
        let [delivered] = &new[..] else { panic!("{} new messages", new.len()) };
        assert_delivered(delivered, &[&content, &b"\r\n"[..]].concat(), FIELDS);
        known.extend(new);
    }

    let refused = send(&mut client, "b@example.org", &gtube()).unwrap_err();
    assert!(refused.is_permanent() && refused.to_string().contains("5.7.1"), "{refused}");

    // Findings of one message do not count for the next.
    let mut client = Client::greet(gate.address);
    let gtube = format!("{HEAD}{GTUBE}\r\n.");
    let start = ["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA"];
    let refused = client.say_all(&[&start[..], &[&gtube]].concat());
    assert!(refused.starts_with("550 5.7.1 Message refused: GTUBE"), "{refused}");
    assert_eq!(gate.maildir().len(), known.len());
    let taken = client.say_all(&[&start[..], &[&format!("{HEAD}.")]].concat());
    assert!(taken.starts_with("250 2.0.0 "), "{taken}");
    assert_eq!(gate.maildir().len(), known.len() + 1);
    client.quit();
    gate.stop();
}

fn gives_mail_to_an_onward_server(example: &str, verb: &str) {
    let onward = Onward::start(verb == "BDAT");
    let mut gate = Gate::start(example, &["--relay", &onward.address.to_string()]);
    let mut client = lettre(&gate);
    for content in contents() {
        let reply = send(&mut client, "b@example.org", &content).unwrap();
        assert_eq!(reply.first_line(), Some("2.0.0 Ok: queued as 4Xyz"));
        let delivery =
            onward.deliveries.try_recv().expect("the onward server has it before the reply");
        let body = if content.is_ascii() { "" } else { " BODY=8BITMIME" };
        let sender = format!("<a@example.com>{body}");
        assert_eq!(delivery.verb, verb);
        assert_eq!(delivery.envelope, [&sender, "<b@example.org>"]);
        assert_delivered(&delivery.content, &[&content, &b"\r\n"[..]].concat(), &["Received"]);
    }
    let refused = send(&mut client, "b@example.org", &gtube()).unwrap_err();
    assert!(refused.is_permanent() && refused.to_string().contains("5.7.1"), "{refused}");
    gate.stop();
    assert!(onward.deliveries.try_recv().is_err(), "the refused message was relayed");
}

fn refuses_with_the_reply_of_the_onward_server(example: &str) {
    let onward = Onward::start(false);
    let mut gate = Gate::start(example, &["--relay", &onward.address.to_string()]);
    let mut client = Client::greet(gate.address);
    for &(local, to_recipient, to_content) in ANSWERS {
        assert!(client.say("MAIL FROM:<a@example.com>").starts_with("250 "));
        assert_eq!(client.say(&format!("RCPT TO:<{local}@example.org>")), to_recipient);
        if to_recipient.starts_with('2') {
            let reply = client.say_all(&["DATA", &format!("{HEAD}{local}\r\n.")]);
            match to_content {
                Some(to_content) => assert_eq!(reply, to_content),
                None => assert!(reply.starts_with("451 4."), "{reply}"),
            }
            assert!(onward.deliveries.try_recv().is_ok());
        } else {
            assert!(client.say("RSET").starts_with("250 "));
        }
    }

    // One of two recipients, after the onward server has dropped the connection.
    assert!(client.say("MAIL FROM:<a@example.com>").starts_with("250 "));
    assert!(client.say("RCPT TO:<b@example.org>").starts_with("250 "));
    assert!(client.say("RCPT TO:<nobody@example.org>").starts_with("550-5.1.1 "));
    assert_eq!(client.say_all(&["DATA", &format!("{HEAD}.")]), TAKEN);
    let delivery = onward.deliveries.try_recv().unwrap();
    assert_eq!(delivery.envelope, ["<a@example.com>", "<b@example.org>"]);
    client.quit();
    gate.stop();
}

fn defers_while_the_onward_server_is_away(example: &str) {
    let mut gate = Gate::start(example, &["--relay", &nowhere().to_string()]);
    let mut client = Client::greet(gate.address);
    let refused = client.say_all(&["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>"]);
    assert!(refused.starts_with("451 4."), "{refused}");
    client.quit();
    gate.stop();
}

fn asks_spamd(example: &str) {
    let cases = [
        (spamd("0.3"), "250 2.0.0 "),
        (spamd("5.5"), "250 2.0.0 "),
        (spamd("15.0"), "550 5.7.1 "),
        (nowhere(), "451 4.3.0 "),
    ];
    for (address, expected) in cases {
        let mut gate = Gate::start(example, &["--spamd", &address.to_string()]);
        let mut client = Client::greet(gate.address);
        let start = ["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA"];
        let reply = client.say_all(&[&start[..], &[&format!("{HEAD}.")]].concat());
        assert!(reply.starts_with(expected), "{reply}");
        let kept = gate.maildir();
        assert_eq!(kept.len(), usize::from(expected.starts_with('2')));
        client.quit();
        gate.stop();
    }
}

fn shuts_down_gracefully_on_a_signal(example: &str, signal: &str) {
    let mut gate = Gate::start(example, &[]);
    let mut idle = Client::greet(gate.address);
    let mut busy = Client::greet(gate.address);
    let start = ["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA"];
    assert!(busy.say_all(&start).starts_with("354 "));
    gate.signal(signal);

    let farewell = idle.reply();
    assert!(farewell.starts_with("421 4.3.2 "), "{farewell}");
    idle.assert_closed();

    let taken = busy.say(&format!("{HEAD}still here\r\n."));
    assert!(taken.starts_with("250 2.0.0 "), "{taken}");
    let farewell = busy.reply();
    assert!(farewell.starts_with("421 4.3.2 "), "{farewell}");
    busy.assert_closed();

    let status = gate.wait();
    assert!(status.success(), "{status}");
    assert_eq!(gate.maildir().len(), 1);
}

#[test]
fn demo_shows_three_messages_and_accepts_more() {
    let mut gate = Gate::run("demo", &[]);
    let said = gate.preface.join("\n");
    let expected = [
        "S: 220 localhost ESMTP nobounce",
        "C: ..",
        "S: 250 2.0.0 Ok: queued as ",
        "maildir/new/",
        "S: 550 5.7.1 Message refused: GTUBE",
        "result=refused-by-panel",
        "S: 550 5.1.1 ",
        "swaks ",
    ];
    let mut rest = &said[..];
    for part in expected {
        let (_, behind) = rest.split_once(part).unwrap_or_else(|| panic!("no {part} in {rest}"));
        rest = behind;
    }

    let mut client = Client::greet(gate.address);
    let start = ["MAIL FROM:<a@example.com>", "RCPT TO:<alice@example.org>", "DATA"];
    let taken = client.say_all(&[&start[..], &[&format!("{HEAD}.")]].concat());
    client.quit();
    let mut lines = std::iter::from_fn(|| gate.line());
    assert!(lines.any(|line| line == format!("   S: {}", taken.trim_end())));
    assert!(lines.any(|line| line.contains("result=accepted")));
    gate.stop();
}

#[test]
fn sample_scorer_refuses_a_bare_helo_name() {
    let gate = Gate::start("scorer", &[]);
    for (name, expected) in [
        ("me.example", "250 2.1.5 "),
        ("me", "550 5.7.1 Recipient refused: BARE_HELO"),
        ("[192.0.2.1]", "250 2.1.5 "),
    ] {
        let mut client = Client::greet(gate.address);
        let helo = format!("HELO {name}");
        let recipient = "RCPT TO:<b@example.org>";
        let reply = client.say_all(&[&helo, "MAIL FROM:<a@example.com>", recipient]);
        assert!(reply.starts_with(expected), "{name}: {reply}");
        client.quit();
    }
}

#[cfg(feature = "tokio")]
#[test]
fn the_minimal_gate_scores_relays_logs_and_ends() {
    let onward = Onward::start(false);
    let mut gate = Gate::run("minimal", &["127.0.0.1:0", &onward.address.to_string()]);
    let mut client = Client::connect(gate.address);
    assert!(client.reply().starts_with("220 mx.example.org ESMTP"));
    let message = format!("{HEAD}Hello\r\n.");
    let mail = ["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA", &message];
    assert_eq!(client.say_all(&[&["HELO client.example"], &mail[..]].concat()), TAKEN);
    assert!(onward.deliveries.try_recv().is_ok());
    assert!(gate.line().unwrap().contains("result=accepted"));
    let refused = client.say_all(&["HELO spammer", mail[0], mail[1]]);
    assert!(refused.starts_with("550 5.7.1 "), "{refused}");
    client.quit();
    let logged = gate.line().unwrap();
    assert!(logged.contains("because=\"550 5.7.1 Recipient refused"), "{logged}");

    let mut busy = Client::connect(gate.address);
    busy.reply();
    busy.say_all(&[&["HELO client.example"], &mail[..3]].concat());
    gate.signal("TERM");
    assert_eq!(busy.say(&message), TAKEN);
    assert!(busy.reply().starts_with("421 4.3.2 "));
    busy.assert_closed();
    assert!(gate.wait().success());
}

/// The process may open 40 file descriptors. Further clients wait in the backlog and are greeted
/// when others disconnect.
#[cfg(any(feature = "smol", feature = "tokio"))]
fn clients_wait_while_descriptors_run_out(example: &str) {
    let mut gate = Gate::start_with_descriptors(example, 40);
    let mut clients: Vec<_> = (0..60).map(|_| Client::connect(gate.address)).collect();
    // When a client disconnects, the next one gets its descriptor.
    for mut client in clients.drain(1..) {
        let greeting = client.reply();
        assert!(greeting.starts_with("220 "), "{greeting}");
        client.quit();
    }
    assert!(clients[0].reply().starts_with("220 "));
    gate.stop();
}

#[cfg(feature = "smol")]
#[test]
fn clients_wait_while_descriptors_run_out_on_smol() {
    clients_wait_while_descriptors_run_out("on_smol");
}

#[cfg(feature = "tokio")]
#[test]
fn clients_wait_while_descriptors_run_out_on_tokio() {
    clients_wait_while_descriptors_run_out("on_tokio");
}
