use super::*;
use crate::panel::{Panel, Seat, Sitting};
use crate::rehearsal::{Rehearsal, Script, Then, envelope, message};
use crate::tally::Tally;
use crate::verdict::{Subject, Verdict};
use std::time::Duration;

/// The reply of SpamAssassin 4.0.1 to a message with the GTUBE string.
const GTUBE: &str = "\
SPAMD/1.1 0 EX_OK\r
Content-length: 781\r
Spam: True ; 1005.2 / 5.0\r
\r
Spam detection software, running on the system \"vm\",
has identified this incoming email as possible spam.

Content preview:  XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X
   

Content analysis details:   (1005.2 points, 5.0 required)

 pts rule name              description
---- ---------------------- --------------------------------------------------
 0.6 MISSING_MID            Missing Message-Id: header
 1.0 MISSING_FROM           Missing From: header
-0.0 NO_RECEIVED            Informational: message has no Received headers
 2.7 MISSING_DATE           Missing Date: header
 0.9 MISSING_HEADERS        Missing To: header
1000 GTUBE                  BODY: Generic Test for Unsolicited Bulk Email
 0.0 TVD_SPACE_RATIO        No description available.

";

/// Returns a reply with this result and this table.
fn reply(result: &str, table: &str) -> String {
    let length = table.len();
    format!("SPAMD/1.1 0 EX_OK\r\nContent-length: {length}\r\nSpam: {result}\r\n\r\n{table}")
}

fn spamd(runtime: &Rehearsal) -> Spamd<Rehearsal> {
    Spamd::new(runtime.clone(), "127.0.0.1:783".parse().unwrap())
}

fn ask(spamd: &Spamd<Rehearsal>, content: &str) -> Result<Opinion, String> {
    let (envelope, message) = (envelope("<a@example.com>"), message(content));
    let opinion = spamd.runtime.run(spamd.on_data(&DataContext::new(&envelope, &message)));
    opinion.map_err(|error| error.to_string())
}

/// Returns header and body of the request that the daemon received.
fn heard(runtime: &Rehearsal) -> (String, String) {
    let heard = runtime.heard();
    let (header, body) = heard.split_once("\r\n\r\n").unwrap();
    (header.to_owned(), body.to_owned())
}

#[test]
fn a_request_is_spamcs() {
    let content = "Subject: x\r\n\r\n.dots stay\r\n";
    for sender in ["<a@example.com>", "<>"] {
        let runtime = Rehearsal::with(Script::new(GTUBE, 10, Then::Close));
        let spamd = spamd(&runtime).user("nobounce").unwrap();
        let (envelope, message) = (envelope(sender), message(content));
        runtime.run(spamd.on_data(&DataContext::new(&envelope, &message))).unwrap();

        let (header, body) = heard(&runtime);
        let length = body.len();
        assert_eq!(
            header,
            format!("REPORT SPAMC/1.5\r\nUser: nobounce\r\nContent-length: {length}")
        );
        let rest = body.strip_prefix(&format!("X-Envelope-From: {sender}\r\n")).unwrap();
        assert_eq!(rest.as_bytes(), message.segments().concat());
        assert!(rest.ends_with(content));
    }
}

#[test]
fn a_report_becomes_findings() {
    let below = reply("False ; -0.1 / 5.0", "-0.4 A x\n 0.3 B y\n");
    let rounded = reply("True ; 11.77 / 5.0", "  12 A x\n");
    let posing = reply("False ; -1 / 5.0", " 9.0 SPAMD x\n");
    let without = reply("False ; 1 / 5.0", "A,B\r\n");
    let comma = reply("True ; 7,5 / 5,0", " 2,5 A x\n 5,0 B x\n");
    let table = [
        (
            GTUBE,
            "score=1005.20 spamd:SPAMD=0.00 spamd:MISSING_MID=0.60 spamd:MISSING_FROM=1.00 spamd:NO_RECEIVED=0.00 \
             spamd:MISSING_DATE=2.70 spamd:MISSING_HEADERS=0.90 spamd:GTUBE=1000.00 spamd:TVD_SPACE_RATIO=0.00",
            "1005.20/5.00",
        ),
        // In the notation of the protocol documentation, and with an unknown header.
        (
            "SPAMD/1.9 0 EX_OK\r\nspam: False ; 2 / 5\r\nX-New: 1\r\ncontent-length:0\r\n\r\n",
            "score=2.00 spamd:SPAMD=2.00",
            "2.00/5.00",
        ),
        (&below, "score=-0.10 spamd:SPAMD=0.00 spamd:A=-0.40 spamd:B=0.30", "-0.10/5.00"),
        (&rounded, "score=11.77 spamd:SPAMD=-0.23 spamd:A=12.00", "11.77/5.00"),
        (&comma, "score=7.50 spamd:SPAMD=0.00 spamd:A=2.50 spamd:B=5.00", "7.50/5.00"),
        // A rule cannot replace the remainder.
        (&posing, "score=-1.00 spamd:SPAMD=-1.00", "-1.00/5.00"),
        (&without, "score=1.00 spamd:SPAMD=1.00", "1.00/5.00"),
        // Octets after the Content-length are ignored, however they arrive.
        (
            "SPAMD/1.1 0 EX_OK\r\nContent-length: 8\r\nSpam: False ; 1 / 5.0\r\n\r\n 0.5 A x\n 0.5 B x\n",
            "score=1.00 spamd:SPAMD=0.50 spamd:A=0.50",
            "1.00/5.00",
        ),
    ];
    for (reply, expected, detail) in table {
        // The connection is closed or left open after the reply, which arrives in pieces of any
        // size.
        for then in [Then::Close, Then::Hang] {
            for chunk in [1, 2, 7, 4096, usize::MAX] {
                let runtime = Rehearsal::with(Script::new(reply, chunk, then));
                let mut tally = Tally::new();
                let panel = Panel::new().scorer(spamd(&runtime));
                let (envelope, message) = (envelope("<a@example.com>"), message("x"));
                let subject = Subject::Content(&envelope, &message);
                runtime.run(panel.ask(&runtime, subject, &mut tally, &mut Sitting::new()));
                assert_eq!(tally.to_string(), expected, "{reply:?} in pieces of {chunk}");
                let total = tally.findings().find(|finding| finding.symbol() == SYMBOL).unwrap();
                assert_eq!(total.detail(), detail);
            }
        }
    }
}

#[test]
fn invalid_report_is_an_error() {
    let reply = |header: &str| format!("SPAMD/1.1 0 EX_OK\r\n{header}\r\n\r\n");
    let spam = |value: &str| reply(&format!("Content-length: 0\r\nSpam: {value}"));
    let length = |value: &str| reply(&format!("Content-length: {value}\r\nSpam: True ; 1 / 5"));
    let table = [
        (String::new(), "the daemon closed the connection before the end of its response"),
        (
            "SPAMD/1.1 0 EX_OK\r\n".into(),
            "the daemon closed the connection before the end of its response",
        ),
        (length("3") + "AB", "the daemon closed the connection before the end of its response"),
        (
            "SPAMD/1.1 0 EX_OK\nContent-length: 0\nSpam: True ; 1 / 5\n\n".into(),
            "the daemon closed the connection before the end of its response",
        ),
        (
            "SPAMD/1.0 76 Bad header line: (EOF)\r\n".into(),
            "spamd refused the request: \"76 Bad header line: (EOF)\"",
        ),
        ("SPAMD/1.1 0 PONG\r\n\r\n".into(), "spamd refused the request: \"0 PONG\""),
        ("SPAMD/1.1 00 EX_OK\r\n".into(), "spamd refused the request: \"00 EX_OK\""),
        ("HTTP/1.1 400 Bad Request\r\n\r\n".into(), "malformed response from spamd: status line"),
        ("SPAMD/2.0 0 EX_OK\r\n".into(), "malformed response from spamd: status line"),
        ("SPAMD/1. 0 EX_OK\r\n".into(), "malformed response from spamd: status line"),
        ("SPAMD/1.1  0 EX_OK\r\n".into(), "malformed response from spamd: status line"),
        ("SPAMD/1.1 -1 EX_OK\r\n".into(), "malformed response from spamd: status line"),
        ("\u{fffd}\0\r\n".into(), "malformed response from spamd: status line"),
        (
            reply("Content-length: 0"),
            "malformed response from spamd: missing or invalid Spam field",
        ),
        (reply("Spam: True ; 1 / 5"), "malformed response from spamd: no Content-length"),
        (reply("Spam True"), "malformed response from spamd: header"),
        (
            spam("True ; 1 / 5\r\nSpam: False ; 0 / 5"),
            "malformed response from spamd: repeated header field",
        ),
        (spam("Maybe ; 1 / 5"), "malformed response from spamd: missing or invalid Spam field"),
        (spam("True ; nan / 5"), "malformed response from spamd: missing or invalid Spam field"),
        (spam("True ; 1e9 / 5"), "malformed response from spamd: missing or invalid Spam field"),
        (
            spam("True ; 99999999999 / 5"),
            "malformed response from spamd: missing or invalid Spam field",
        ),
        (spam("True 1 / 5"), "malformed response from spamd: missing or invalid Spam field"),
        (length(""), "malformed response from spamd: Content-length"),
        (length("-1"), "malformed response from spamd: Content-length"),
        (length("+1"), "malformed response from spamd: Content-length"),
        (length("65537"), "the response exceeds the size limit"),
        (length("99999999999999999999999"), "the response exceeds the size limit"),
        ("x".repeat(1 << 20), "the response exceeds the size limit"),
        (reply(&format!("X: {}", "x".repeat(1 << 20))), "the response exceeds the size limit"),
    ];
    for (reply, expected) in table {
        for chunk in [1_000, usize::MAX, 1].into_iter().take(if reply.len() > 4096 { 2 } else { 3 })
        {
            let runtime = Rehearsal::with(Script::new(reply.clone(), chunk, Then::Close));
            let error = ask(&spamd(&runtime), "x").unwrap_err();
            assert_eq!(error, expected, "{:?}", &reply[..reply.len().min(80)]);
        }
    }
}

#[test]
fn a_report_may_quote_any_octets() {
    let octets =
        b"SPAMD/1.1 0 EX_OK\r\nContent-length: 10\r\nSpam: False ; 1 / 5\r\n\r\n 1.0 A \xff\xfe\n";
    let runtime = Rehearsal::with(Script::new(octets, 9, Then::Close));
    let found = ask(&spamd(&runtime), "x").unwrap().findings;
    assert_eq!((found[1].symbol(), found[1].detail()), ("A", "\u{fffd}\u{fffd}"));
}

#[test]
fn a_scan_that_was_cut_short_is_a_failure_with_findings() {
    let table = " 0.0 TIME_LIMIT_EXCEEDED    Exceeded time limit / deadline\n 3.0 A x\n";
    let runtime = Rehearsal::with(Script::new(reply("False ; 3 / 5", table), 10, Then::Close));
    let (envelope, message) = (envelope("<a@example.com>"), message("x"));
    let error =
        runtime.run(spamd(&runtime).on_data(&DataContext::new(&envelope, &message))).unwrap_err();
    assert_eq!(error.to_string(), "SpamAssassin stopped the scan at its time_limit");
    let found = &error.opinion().findings;
    assert_eq!(found.iter().map(Finding::score).sum::<Score>(), Score::points(3));
}

#[test]
fn a_result_that_contradicts_itself_is_a_failure_with_findings() {
    let table = [
        ("False ; 0 / 0", Some("spamd did not scan the message (False ; 0 / 0)")),
        ("False ; 0.0 / 0.0", Some("spamd did not scan the message (False ; 0 / 0)")),
        ("True ; 0 / 5", Some("the verdict of spamd contradicts its score (True ; 0.00 / 5.00)")),
        (
            "True ; 4.8 / 5.0",
            Some("the verdict of spamd contradicts its score (True ; 4.80 / 5.00)"),
        ),
        (
            "False ; 15 / 5",
            Some("the verdict of spamd contradicts its score (False ; 15.00 / 5.00)"),
        ),
        (
            "False ; -1 / -5",
            Some("the verdict of spamd contradicts its score (False ; -1.00 / -5.00)"),
        ),
        // SpamAssassin rounds 4.96 and 5.04 to this.
        ("False ; 5.0 / 5.0", None),
        ("True ; 5.0 / 5.0", None),
        ("True ; 0 / 0", None),
        ("False ; -0.4 / 0", None),
        ("False ; 0 / 5", None),
    ];
    for (result, expected) in table {
        let runtime = Rehearsal::with(Script::new(reply(result, " 0.5 A x\n"), 10, Then::Close));
        let (envelope, message) = (envelope("<a@example.com>"), message("x"));
        let result = runtime.run(spamd(&runtime).on_data(&DataContext::new(&envelope, &message)));
        let error = result.as_ref().err().map(ToString::to_string);
        assert_eq!(error.as_deref(), expected);
        let said = result.as_ref().unwrap_or_else(|error| error.opinion());
        assert_eq!(said.findings.len(), 2, "{said:?}");
    }
}

#[test]
fn network_failures_are_errors() {
    let good = Script::new(GTUBE, 10, Then::Close);
    let table = [
        (
            Script { listens: false, ..good.clone() },
            "connecting to the daemon failed: connection refused",
        ),
        (Script { takes: 0, ..good.clone() }, "sending to the daemon failed: connection reset"),
        (Script { takes: 60, ..good }, "sending to the daemon failed: connection reset"),
        (
            Script::new("SPAMD", 10, Then::Reset),
            "receiving from the daemon failed: connection reset",
        ),
    ];
    for (script, expected) in table {
        assert_eq!(ask(&spamd(&Rehearsal::with(script)), "x").unwrap_err(), expected);
    }
}

#[test]
fn a_daemon_that_hangs_costs_its_budget() {
    let runtime = Rehearsal::with(Script::new(&GTUBE[..40], 10, Then::Hang));
    let panel = Panel::new().seat(Seat::new(spamd(&runtime)).budget(Duration::from_secs(7)));
    let (envelope, message) = (envelope("<a@example.com>"), message("x"));
    let mut tally = Tally::new();
    let subject = Subject::Content(&envelope, &message);
    let verdict = runtime.run(panel.ask(&runtime, subject, &mut tally, &mut Sitting::new()));
    assert_eq!(runtime.elapsed(), Duration::from_secs(7));
    let Verdict::Refuse(refusal) = verdict else { panic!("{verdict:?}") };
    assert_eq!(refusal.to_string(), "451 4.3.0 Message cannot be checked now, try again later");
    let failure = tally.failures().next().unwrap();
    assert_eq!(failure.cause.to_string(), "no answer within 7s");
}

#[test]
fn a_large_message_is_cut_at_a_line_or_skipped() {
    let content = format!("Subject: x\r\n\r\n{}", "0123456789\r\n".repeat(100));
    let whole = message(&content).len();
    let lines = |octets: usize| 14 + (octets - 14) / 12 * 12;
    let trace = whole - content.len();
    // A message of exactly the limit is sent whole; one octet less removes a line.
    for (limit, kept) in [
        (whole, content.len()),
        (whole + 1, content.len()),
        (whole - 1, content.len() - 12),
        (trace + 500, lines(500)),
        (trace, 0),
    ] {
        let runtime = Rehearsal::with(Script::new(GTUBE, 10, Then::Close));
        ask(&spamd(&runtime).size_limit(limit, Oversize::Head), &content).unwrap();
        let (header, body) = heard(&runtime);
        assert!(header.ends_with(&format!("Content-length: {}", body.len())));
        let sent = body.strip_prefix("X-Envelope-From: <a@example.com>\r\n").unwrap();
        assert_eq!(sent.as_bytes(), &message(&content).segments().concat()[..trace + kept]);
    }

    let runtime = Rehearsal::with(Script::new(GTUBE, 10, Then::Close));
    let skipping = spamd(&runtime).size_limit(whole - 1, Oversize::Skip);
    assert_eq!(ask(&skipping, &content), Ok(Opinion::silent()));
    assert_eq!(runtime.heard(), "");
}

#[test]
fn a_user_is_one_line() {
    let runtime = Rehearsal::new();
    for name in ["", "a\r\nContent-length: 0", "a\0", &"x".repeat(257)] {
        assert!(spamd(&runtime).user(name).is_err(), "{name:?}");
    }
    assert!(spamd(&runtime).user("jane.doe@example.org").is_ok());
}
