//! Protocol violations that a session records, and how scorers, records and callers see them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test")]

use std::time::{Instant, SystemTime};

use nobounce::envelope::SessionId;
use nobounce::reply::EnhancedStatus;
use nobounce::session::{EarlyInput, Misconduct};
use nobounce::verdict::Subject;
use nobounce::{Outcome, Peer, Receipt, Refusal, Request, Session, Settings, Step, Verdict};

const MAIL: &str = "MAIL FROM:<a@b>\r\n";
const RCPT: &str = "RCPT TO:<c@d>\r\n";

/// Plays a session in which the client sends these pieces, each after all previous replies (with
/// `!`: before the greeting). Returns the violations at the end, and the violations that scorers
/// saw at their last question.
fn conduct(says: &[&str]) -> (String, String) {
    let mut settings = Settings::new("mx.example");
    settings.early_input = EarlyInput::Tolerate;
    settings.capabilities.start_tls = true;
    settings.xforward_from = "192.0.2.9".parse().unwrap();
    let peer = match says[0] {
        "server" => Peer::new(([192, 0, 2, 9], 4711).into()),
        _ => Peer::new(([192, 0, 2, 1], 4711).into()),
    };
    let now = Instant::now();
    let id = SessionId::new("test");
    let mut session = Session::new(settings.into(), id, peer, now, SystemTime::UNIX_EPOCH);
    let mut says = says.iter().filter(|piece| **piece != "server").peekable();
    if let Some(early) = says.next_if(|piece| piece.starts_with('!')) {
        session.receive(&early.as_bytes()[1..]);
    }
    let mut seen = String::new();
    loop {
        match session.poll(now) {
            Step::Transmit(_) | Step::Ended(_) => {}
            Step::Receive => match says.next() {
                Some(piece) => session.receive(piece.as_bytes()),
                None => break,
            },
            Step::Ask(question) => {
                if let Subject::Recipient(envelope, _) | Subject::Content(envelope, _) =
                    question.subject()
                {
                    seen = envelope.conduct.to_string();
                }
                question.answer(Verdict::Pass);
            }
            Step::Forward(forward) => {
                let (request, pending) = forward.take();
                let outcome = match request {
                    Request::Recipient(_, path) if path.path.address().starts_with(b"no") => {
                        let status = EnhancedStatus::new(1, 1);
                        Outcome::Refused(Refusal::permanent(550, status, "Unknown"))
                    }
                    Request::Recipient(..) | Request::Renewal(_) => {
                        Outcome::Accepted(Receipt::recipient())
                    }
                    Request::Content(..) | Request::Answer(..) => {
                        Outcome::Accepted(Receipt::kept("1"))
                    }
                };
                pending.complete(outcome);
            }
            Step::StartTls => session.tls_failed(),
            Step::Close => break,
        }
    }
    (session.conduct().to_string(), seen)
}

#[test]
fn every_violation_is_counted_and_nothing_else() {
    const EHLO: &str = "EHLO c\r\n";
    const HELO: &str = "HELO c\r\n";
    let group = &format!("{MAIL}{RCPT}DATA\r\n");
    let two = &format!("{RCPT}{RCPT}");
    let table: &[(&[&str], &str)] = &[
        // Allowed input.
        (&[EHLO, group, "x\r\n.\r\nMAIL FROM:<a@b>\r\nRSET\r\nQUIT\r\n"], ""),
        (&[HELO, MAIL, RCPT, "DATA\r\n", "x\r\n.\r\n", "NOOP\r\n"], ""),
        (&[EHLO, MAIL, RCPT, "BDAT 3\r\nx\r\nBDAT 0 LAST\r\n"], ""),
        // Input before its turn.
        (&["!HELO c\r\n", "QUIT\r\n"], "EARLY_TALKER=1"),
        (&["EHLO c\r\nMAIL FROM:<a@b>\r\n"], "UNAUTH_PIPELINING=1"),
        (&[EHLO, "NOOP\r\nNOOP\r\nNOOP\r\n"], "UNAUTH_PIPELINING=2"),
        (&[HELO, "MAIL FROM:<a@b>\r\nRSET\r\n"], "UNAUTH_PIPELINING=1"),
        (&[HELO, MAIL, two], "UNAUTH_PIPELINING=1"),
        (&[EHLO, MAIL, two], ""),
        (&[EHLO, MAIL, RCPT, "DATA\r\nx\r\n.\r\n"], "EARLY_DATA=1"),
        (&[EHLO, MAIL, "DATA\r\nx\r\n.\r\n"], "EARLY_DATA=2"),
        // Lines.
        (&[EHLO, group, "x\ny\r\n.\r\n"], "BARE_LINE_END=1"),
        (&[EHLO, MAIL, RCPT, "BDAT 3 LAST\r\nx\ry"], "BARE_LINE_END=1"),
        (&["NO\0OP\r\n", "NOOP\n\r\n"], "MALFORMED_COMMAND=2"),
        // Commands.
        (&["FROBNICATE\r\n", "XYZZY\r\n"], "UNKNOWN_COMMAND=2"),
        (&[EHLO, "MAIL FROM:<a@b\r\n", "MAIL FROM:<a@b> X=Y\r\n"], "COMMAND_SYNTAX=2"),
        (&[EHLO, MAIL, RCPT, "BDAT x\r\n"], "COMMAND_SYNTAX=1"),
        (&[MAIL, EHLO, RCPT, "DATA\r\n"], "COMMAND_SEQUENCE=3"),
        (&[EHLO, MAIL, "RCPT TO:<no@d>\r\n", "RCPT TO:<nobody@d>\r\n"], "RCPT_REFUSED=2"),
        (&["GET / HTTP/1.1\r\n"], "ANOTHER_PROTOCOL=1"),
        (&["\x16\x03\x01"], "ANOTHER_PROTOCOL=1"),
        (&[EHLO, "STARTTLS\r\n"], "TLS_HANDSHAKE_FAILED=1"),
    ];
    for (says, expected) in table {
        assert_eq!(conduct(says).0, *expected, "{says:?}");
    }
    for what in Misconduct::ALL {
        assert!(table.iter().any(|(_, noted)| noted.contains(what.symbol())), "{what:?}");
    }
}

#[test]
fn scorers_see_the_violations_so_far() {
    let (_, seen) = conduct(&["!EHLO c\r\n", MAIL, RCPT]);
    assert_eq!(seen, "EARLY_TALKER=1");
    let (noted, seen) = conduct(&["EHLO c\r\n", MAIL, RCPT, "XYZZY\r\n"]);
    assert_eq!((&*noted, &*seen), ("UNKNOWN_COMMAND=1", ""));
    let (_, seen) = conduct(&["EHLO c\r\n", MAIL, RCPT, "XYZZY\r\n", "DATA\r\n", "x\ny\r\n.\r\n"]);
    assert_eq!(seen, "BARE_LINE_END=1,UNKNOWN_COMMAND=1");
}

#[test]
fn violations_of_a_forwarding_server_do_not_count_for_clients() {
    let forwarded = ["server", "XYZZY\r\n", "EHLO s\r\n", "XFORWARD ADDR=198.51.100.1\r\n"];
    let (noted, seen) = conduct(&[&forwarded[..], &[MAIL, RCPT]].concat());
    assert_eq!((&*noted, &*seen), ("UNKNOWN_COMMAND=1", ""));
}
