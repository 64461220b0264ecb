use super::*;
use crate::panel::{Panel, Seat, Sitting};
use crate::peer::{Helo, Peer, TlsInfo};
use crate::rehearsal::{Rehearsal, Script, Then, envelope, message, peer, recipient};
use crate::tally::Tally;
use crate::verdict::{Subject, Verdict};
use crate::wire::mailbox::{ForwardPath, SmtpPath};
use std::sync::Arc;
use std::time::Duration;

const SOFT: &str =
    r#"{"score":3.5,"required_score":15,"action":"soft reject","symbols":{"A":{"score":3.5}}}"#;

fn response(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn rspamd(runtime: &Rehearsal) -> Rspamd<Rehearsal> {
    Rspamd::new(runtime.clone(), "127.0.0.1:11333".parse().unwrap())
}

fn ask(rspamd: &Rspamd<Rehearsal>, runtime: &Rehearsal, of: &Envelope) -> Result<Opinion, String> {
    let opinion = runtime.run(rspamd.on_data(&DataContext::new(of, &message("text\n"))));
    opinion.map_err(|error| error.to_string())
}

/// Returns the header of the request, after a check of body and length.
fn header(runtime: &Rehearsal) -> String {
    let heard = runtime.heard();
    let (header, body) = heard.split_once("\r\n\r\n").unwrap();
    let (header, length) = header.rsplit_once("\r\nContent-Length: ").unwrap();
    assert_eq!(body.as_bytes(), message("text\n").segments().concat());
    assert_eq!(length, body.len().to_string());
    header.to_owned()
}

fn answering(replies: &[&str], then: Then) -> Rehearsal {
    Rehearsal::with(Script::turns(b"\ntext\r\n", replies, then))
}

#[test]
fn request_contains_the_envelope() {
    let mut bare = envelope("<>");
    bare.peer = Arc::new(Peer::local());
    let mut full = envelope("<a@example.com>");
    let (path, _) = SmtpPath::scan(br#"<"x y"@example.org>"#).unwrap();
    full.forward_paths = vec![recipient(), ForwardPath { path, ..recipient() }];
    let mut client = peer().named("client.example");
    client.helo = Some(Helo { extended: true, name: "[192.0.2.1]".into() });
    client.tls = Some(TlsInfo::new("TLSv1.3", "TLS_AES_256_GCM_SHA384"));
    client.login = Some("jane".into());
    full.peer = Arc::new(client);

    let reply = response(SOFT);
    for (envelope, expected) in [
        (bare, "Queue-Id: test.1\r\nFrom: <>"),
        (
            full,
            "IP: 192.0.2.1\r\nHostname: client.example\r\nHelo: [192.0.2.1]\r\nUser: jane\r\n\
             TLS-Version: TLSv1.3\r\nTLS-Cipher: TLS_AES_256_GCM_SHA384\r\nQueue-Id: test.1\r\n\
             MTA-Name: mx.example\r\nSettings-ID: inbound\r\nFrom: <a@example.com>\r\n\
             Rcpt: <rcpt@example.org>\r\nRcpt: <\"x y\"@example.org>",
        ),
    ] {
        let runtime = answering(&[&reply], Then::Hang);
        let rspamd = rspamd(&runtime);
        let named = rspamd.mta_name("mx.example").settings("inbound");
        let scorer = if envelope.forward_paths.is_empty() { self::rspamd(&runtime) } else { named };
        ask(&scorer, &runtime, &envelope).unwrap();
        let start = "POST /checkv2 HTTP/1.1\r\nHost: 127.0.0.1:11333\r\n";
        assert_eq!(header(&runtime), format!("{start}{expected}"));
    }
}

#[test]
fn more_recipients_than_rspamd_reads_are_left_out() {
    let runtime = answering(&[&response(SOFT)], Then::Hang);
    let mut envelope = envelope("<a@example.com>");
    envelope.forward_paths = vec![recipient(); 50_000];
    ask(&rspamd(&runtime), &runtime, &envelope).unwrap();
    let header = header(&runtime);
    assert!((60_000..70_000).contains(&header.len()), "{}", header.len());
    assert!(header.ends_with("\r\nRcpt: <rcpt@example.org>"));
}

#[test]
fn a_soft_reject_defers_and_its_symbols_are_in_the_record() {
    let reply = response(SOFT);
    for (monitored, expected) in [(false, "451 4.7.1 Try again later"), (true, "pass")] {
        let runtime = answering(&[&reply], Then::Close);
        let seat = Seat::new(rspamd(&runtime)).scale(40);
        let panel = Panel::new().seat(if monitored { seat.monitor() } else { seat });
        let (envelope, message) = (envelope("<a@example.com>"), message("text\n"));
        let mut tally = Tally::new();
        let subject = Subject::Content(&envelope, &message);
        let verdict =
            match runtime.run(panel.ask(&runtime, subject, &mut tally, &mut Sitting::new())) {
                Verdict::Refuse(refusal) => refusal.to_string(),
                _ => "pass".into(),
            };
        assert_eq!(verdict, expected);
        let found: Vec<_> = tally.entries().map(|it| it.finding.score().to_string()).collect();
        assert_eq!(found, ["0.00", "1.40"]);
        assert_eq!(tally.objections().count(), 1);
    }
}

#[test]
fn a_connection_is_kept_if_the_server_keeps_it() {
    let reply = response(SOFT);
    let closing = reply.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    for (replies, connections) in [(&[&*reply, &*reply], (1, 1)), (&[&*closing, &*closing], (2, 0))]
    {
        let runtime = answering(replies, Then::Hang);
        let rspamd = rspamd(&runtime);
        for _ in 0..2 {
            ask(&rspamd, &runtime, &envelope("<>")).unwrap();
        }
        assert_eq!(runtime.connections(), connections);
    }
}

#[test]
fn network_failures_are_errors() {
    let whole = response(SOFT);
    let table = [
        (Script::refuses(), "connecting to the daemon failed: connection refused"),
        (
            Script::turns(b"\ntext\r\n", &[], Then::Close),
            "the daemon closed the connection before the end of its response",
        ),
        (
            Script::turns(b"\ntext\r\n", &[&whole[..whole.len() - 1]], Then::Close),
            "the daemon closed the connection before the end of its response",
        ),
        (
            Script::turns(b"\ntext\r\n", &["HTTP"], Then::Reset),
            "receiving from the daemon failed: connection reset",
        ),
        (
            Script::turns(b"\ntext\r\n", &["SPAMD/1.1 0 EX_OK\r\n\r\n"], Then::Hang),
            "malformed HTTP response: header",
        ),
        (
            Script::turns(b"\ntext\r\n", &[&"x".repeat(1 << 20)], Then::Hang),
            "the response exceeds the size limit",
        ),
        (
            Script { takes: 50, ..Script::refuses() },
            "connecting to the daemon failed: connection refused",
        ),
        (
            Script { takes: 50, ..Script::turns(b"\ntext\r\n", &[], Then::Hang) },
            "sending to the daemon failed: connection reset",
        ),
    ];
    for (script, expected) in table {
        let runtime = Rehearsal::with(script);
        assert_eq!(ask(&rspamd(&runtime), &runtime, &envelope("<>")).unwrap_err(), expected);
        assert_eq!(runtime.connections(), (1, 0));
    }
}

#[test]
fn a_daemon_that_hangs_costs_its_budget_and_its_connection() {
    let runtime = answering(&["HTTP/1.1 200 OK\r\n"], Then::Hang);
    let panel = Panel::new().seat(Seat::new(rspamd(&runtime)).budget(Duration::from_secs(7)));
    let (envelope, message) = (envelope("<a@example.com>"), message("text\n"));
    let mut tally = Tally::new();
    let subject = Subject::Content(&envelope, &message);
    runtime.run(panel.ask(&runtime, subject, &mut tally, &mut Sitting::new()));
    assert_eq!((runtime.elapsed(), runtime.connections()), (Duration::from_secs(7), (1, 0)));
    assert_eq!(tally.failures().next().unwrap().cause.to_string(), "no answer within 7s");
}
