//! The testing kit as used by other crates: gates and panels in virtual time, and sessions that are
//! recorded and replayed.

#![cfg(all(feature = "serve", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nobounce::panel::Sitting;
use nobounce::relay::Smtp;
use nobounce::scorers::{Greylist, Gtube};
use nobounce::session::EndCause;
use nobounce::store::Memory;
use nobounce::tally::Tally;
use nobounce::testing::{
    Chunking, Scribe, Script, Then, Transcript, VirtualRuntime, envelope, message, peer, recipient,
};
use nobounce::verdict::Subject;
use nobounce::{Event, Gate, Observer, Panel, Settings, serve};

const HOST: &str = "gate.example.com";
const ONWARD: &str = "192.0.2.25:25";
const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

fn gate(runtime: &VirtualRuntime) -> Gate<VirtualRuntime> {
    let target = Smtp::new(runtime.clone(), ONWARD.parse().unwrap(), HOST);
    Gate::new(runtime.clone(), Settings::new(HOST), target)
}

/// Serves a client that sends this script. Returns everything that the client received.
fn talk(runtime: &VirtualRuntime, gate: &Gate<VirtualRuntime>, client: Script) -> String {
    let client = runtime.client(client);
    let heard = client.heard();
    // An error because the client has gone is expected.
    let _ = runtime.run(serve(client, peer(), gate));
    heard.text()
}

#[test]
fn an_onward_server_that_hangs_costs_virtual_time_only() {
    let runtime = VirtualRuntime::new();
    let server = Script::smtp_server().replying("RCPT TO:<b@example.com>", "");
    let onward = runtime.listen(&ONWARD.parse().unwrap(), server);
    let says = ["HELO c.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "QUIT"];
    let heard = talk(&runtime, &gate(&runtime), Script::smtp_client(says));
    assert!(heard.contains("451 4.4.7 The next server did not answer in time"), "{heard}");
    assert!(onward.text().contains("RCPT TO:<b@example.com>\r\n"));
    assert!(runtime.elapsed() >= Duration::from_secs(240), "{:?}", runtime.elapsed());
}

#[test]
fn peers_break_their_connections_as_they_are_told() {
    for (script, expected) in [
        (Script::refuses(), "451 4.4.1 "),
        (Script::smtp_server().resetting_after(30), "451 4.4.2 "),
        (Script::smtp_server().in_chunks(1), "250 2.1.5 "),
        (Script::smtp_server().replying("rcpt to:", "550 5.1.1 Nobody"), "550 5.1.1 Nobody"),
        (
            Script::smtp_server().replying("DATA", "354 Go").replying(".", "554 5.6.0 No"),
            "554 5.6.0 No",
        ),
        (Script::turns(b"\r\n", &["220 x\r\n"], Then::Close), "451 4.4"),
    ] {
        let runtime = VirtualRuntime::new();
        runtime.listen(&ONWARD.parse().unwrap(), script.clone());
        let says = [
            "HELO c.example",
            "MAIL FROM:<a@example.org>",
            "RCPT TO:<b@example.com>",
            "DATA",
            "Subject: x\r\n\r\nx\r\n.",
            "QUIT",
        ];
        let heard = talk(&runtime, &gate(&runtime), Script::smtp_client(says));
        assert!(heard.contains(expected), "{script:?}: {heard}");
        assert_eq!(runtime.connections().1, 0, "connections are left open");
    }
}

/// A faulty session can be recorded as a transcript. The replay shows the same fault without
/// scorers and server.
#[test]
fn sessions_of_a_gate_are_written_down_and_played_again() {
    let spam = format!("Subject: x\r\n\r\n{GTUBE}\r\n.");
    let clients: [&[&str]; 6] = [
        &["QUIT"],
        &[
            "EHLO c.example",
            "MAIL FROM:<a@example.org> SIZE=100",
            "RCPT TO:<b@example.com>",
            "RSET",
        ],
        &[
            "EHLO c.example",
            "MAIL FROM:<a@example.org>\r\nRCPT TO:<nobody@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA",
            "Subject: x\r\n\r\n..dot \\ <tag> \u{fc}\r\n.",
            "QUIT",
        ],
        &[
            "HELO c.example",
            "MAIL FROM:<a@example.org>",
            "RCPT TO:<b@example.com>",
            "DATA",
            &spam,
            "QUIT",
        ],
        &[
            "HELO c.example",
            "BAD\tcommand \\x",
            "MAIL FROM:<a@example.org>",
            "RCPT TO:<late@example.com>",
        ],
        &[
            "HELO c.example",
            "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nearly",
        ],
    ];
    let runtime = VirtualRuntime::new();
    let server = Script::smtp_server()
        .replying("RCPT TO:<nobody@", "550-5.1.1 No such user\r\n550 5.1.1 here")
        .replying("RCPT TO:<late@", "");
    runtime.listen(&ONWARD.parse().unwrap(), server);
    let scribe = Arc::new(Scribe::new(runtime.clone()));
    let gate = gate(&runtime).panel(Panel::new().scorer(Gtube)).observed_by(scribe.clone());
    let heard: Vec<_> =
        clients.iter().map(|says| talk(&runtime, &gate, Script::smtp_client(*says))).collect();
    let written = scribe.transcripts();
    assert_eq!(written.len(), clients.len());
    for (text, heard) in written.iter().zip(heard) {
        let transcript = Transcript::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        for chunking in [Chunking::Whole, Chunking::Octets, Chunking::Random(11)] {
            transcript.play(chunking).unwrap_or_else(|error| panic!("{error}\n{text}"));
        }
        let said = text.lines().filter(|line| line.starts_with("S: ") && !line.starts_with("S: <"));
        assert_eq!(said.count(), heard.lines().count(), "{text}\n{heard}");
    }
}

/// A dialogue and its scorers share one clock, and each transaction has its own tally.
#[test]
fn a_transcript_is_played_against_a_panel_with_a_fresh_tally_for_each_transaction() {
    let text = format!(
        "@ relay accepts
         S: 220 {HOST} ESMTP nobounce
         C: HELO client.example.org
         S: 250 {HOST}
         C: MAIL FROM:<a@example.org>
         S: 250 2.1.0 Sender ok
         C: RCPT TO:<b@example.com>
         S: 451 4.7.1 Greylisted, try again in 300 seconds (play.1)
         T: 299s
         C: NOOP
         S: 250 2.0.0 Ok
         C: RCPT TO:<b@example.com>
         S: 451 4.7.1 Greylisted, try again in 1 seconds (play.1)
         T: 1s
         C: RCPT TO:<b@example.com>
         S: 250 2.1.5 Ok
         C: DATA
         S: 354 ...
         C: Subject: x
         C:
         C: {GTUBE}
         C: .
         S: 550 5.7.1 Message refused: GTUBE (play.1)
         C: MAIL FROM:<a@example.org>
         S: 250 2.1.0 Sender ok
         C: RCPT TO:<b@example.com>
         S: 250 2.1.5 Ok
         C: DATA
         S: 354 ...
         C: Subject: y
         C: .
         S: 250 2.0.0 Ok: queued as 1"
    );
    let transcript = Transcript::parse(&text).unwrap();
    for chunking in [Chunking::Whole, Chunking::Octets, Chunking::Random(5)] {
        let runtime = VirtualRuntime::new();
        let greylist = Greylist::new(runtime.clone(), Arc::new(Memory::new()));
        let panel = Panel::new().scorer(greylist).scorer(Gtube);
        let records = transcript.on(&runtime).panel(&panel).play(chunking).unwrap();
        assert_eq!(runtime.elapsed(), Duration::from_secs(300));
        let causes: Vec<_> = records.iter().map(|record| record.end.cause).collect();
        assert_eq!(causes, [EndCause::RefusedByPanel, EndCause::Accepted]);
        let has_gtube = |tally: &Tally| tally.to_string().contains("GTUBE");
        assert!(has_gtube(&records[0].tally));
        assert!(!has_gtube(&records[1].tally), "{}", records[1].tally);
        assert_eq!(records[1].queue_id.as_deref(), Some("1"));
    }
    // Without a panel, no message is refused.
    let error = transcript.on(&VirtualRuntime::new()).play(Chunking::Whole).unwrap_err();
    assert_eq!(error.line, 8, "{error}");
}

/// A scorer named `marks` with a finding worth this many points for every recipient, and one of two
/// points for every client that has a name.
struct Marks(i32);

#[nobounce::async_trait]
impl nobounce::Scorer for Marks {
    fn name(&self) -> &str {
        "marks"
    }

    async fn on_connect(
        &self,
        at: &nobounce::ConnectContext<'_>,
    ) -> Result<nobounce::Opinion, nobounce::ScorerError> {
        let named = at.peer.name.as_ref().map(|name| {
            nobounce::Finding::new(&name.to_string().to_uppercase(), nobounce::Score::points(2))
        });
        Ok(named.into())
    }

    async fn on_rcpt(
        &self,
        _: &nobounce::RcptContext<'_>,
    ) -> Result<nobounce::Opinion, nobounce::ScorerError> {
        Ok(nobounce::Finding::new("MARK", nobounce::Score::points(self.0)).into())
    }
}

/// As in the record of a gate.
#[test]
fn findings_about_a_refused_recipient_do_not_count_in_the_record_of_a_transcript() {
    let transcript = Transcript::parse(&format!(
        "@ relay accepts
         S: 220 {HOST} ESMTP nobounce
         C: HELO client.example.org
         S: 250 {HOST}
         C: MAIL FROM:<a@example.org>
         S: 250 2.1.0 Sender ok
         C: RCPT TO:<b@example.com>
         S: 550 5.7.1 ...
         C: RSET
         S: 250 2.0.0 Ok"
    ));
    let (runtime, panel) = (VirtualRuntime::new(), Panel::new().scorer(Marks(9)));
    let play = transcript.unwrap();
    let records = play.on(&runtime).panel(&panel).play(Chunking::Whole).unwrap();
    assert_eq!(records[0].tally.total(), nobounce::Score::ZERO, "{}", records[0].tally);
    assert_eq!(records[0].tally.entries().count(), 1);
}

/// An observer that keeps the names of the events, and the lines of the records.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl Observer for Kept {
    fn observe(&self, event: &Event<'_>) {
        let line = match event {
            Event::Ended(record) => format!("Ended {record} {:?}", record.onward),
            // The extensions of a transcript are among its settings.
            Event::Offered { .. } => return,
            other => {
                let debug = format!("{other:?}");
                debug.split(|c: char| !c.is_alphanumeric()).next().unwrap().into()
            }
        };
        self.0.lock().unwrap().push(line);
    }
}

impl Kept {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[test]
fn a_transcript_has_the_events_and_records_of_a_gate() {
    let says = [
        "EHLO c.example",
        "MAIL FROM:<a@example.org>",
        "RCPT TO:<nobody@example.com>",
        "RCPT TO:<b@example.com>",
        "DATA",
        "Subject: x\r\n\r\nx\r\n.",
        "MAIL FROM:<a@example.org>",
        "RSET",
        "QUIT",
    ];
    let runtime = VirtualRuntime::new();
    let server = Script::smtp_server().replying("RCPT TO:<nobody@", "550 5.1.1 No such user");
    runtime.listen(&ONWARD.parse().unwrap(), server);
    let (scribe, served) = (Arc::new(Scribe::new(runtime.clone())), Kept::default());
    let panel = || Panel::new().scorer(Marks(1));
    let gate = gate(&runtime).session_prefix("gate").panel(panel());
    let gate = gate.observed_by(scribe.clone()).observed_by(served.clone());
    talk(&runtime, &gate, Script::smtp_client(says));

    // The panel answers in place of the transcript.
    let text = scribe.transcripts().pop().unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("J:")).collect();
    let transcript = Transcript::parse(&lines.join("\n")).unwrap();
    let played = Kept::default();
    let virtual_time = VirtualRuntime::new();
    let play = transcript.on(&virtual_time);
    play.panel(&panel()).observer(&played).play(Chunking::Whole).unwrap();
    let played = played.take().into_iter().map(|line| line.replace("id=play.", "id=gate-0."));
    let played: Vec<String> = played.collect();
    let served = served.take();
    assert!(served.iter().any(|line| line.contains(" score=1.00 marks:MARK=1.00 result=accepted")));
    assert_eq!(served, played, "{text}");
}

#[test]
fn a_client_announced_in_a_transcript_begins_a_new_tally() {
    let transcript = Transcript::parse(&format!(
        "@ client 192.0.2.1:4321 proxy.example
         @ xclient_from 192.0.2.1/32
         @ relay accepts
         S: 220 {HOST} ESMTP nobounce
         C: HELO proxy.example
         S: 250 {HOST}
         C: XCLIENT NAME=other.example ADDR=198.51.100.9
         S: 220 {HOST} ESMTP nobounce
         C: HELO other.example
         S: 250 {HOST}
         C: MAIL FROM:<a@example.org>
         S: 250 2.1.0 Sender ok
         C: RCPT TO:<b@example.com>
         S: 250 2.1.5 Ok
         C: RSET
         S: 250 2.0.0 Ok"
    ))
    .unwrap();
    let (runtime, panel, kept) =
        (VirtualRuntime::new(), Panel::new().scorer(Marks(1)), Kept::default());
    let play = transcript.on(&runtime).panel(&panel).observer(&kept);
    let records = play.play(Chunking::Whole).unwrap();
    let tally = records[0].tally.to_string();
    assert_eq!(tally, "score=3.00 marks:OTHER.EXAMPLE=2.00 marks:MARK=1.00");
    assert_eq!(kept.take().iter().filter(|name| *name == "ClientChanged").count(), 1);
}

#[test]
fn values_are_made_in_one_call() {
    let mut envelope = envelope("<>");
    assert!(envelope.reverse_path.path.is_null());
    assert_eq!(envelope.peer.address, Some(([192, 0, 2, 1], 4711).into()));
    envelope.forward_paths.push(recipient("<b@example.com>"));
    assert_eq!(message("Subject: x\n\nbare\n").content(), "Subject: x\r\n\r\nbare\r\n");
    assert_eq!(message(&[0xff][..]).content(), &[0xff, b'\r', b'\n'][..]);

    let (runtime, panel) = (VirtualRuntime::new(), Panel::new().scorer(Gtube));
    let (mut tally, spam) = (Tally::new(), message(&format!("\r\n{GTUBE}\r\n")));
    runtime.run(panel.ask(
        &runtime,
        Subject::Content(&envelope, &spam),
        &mut tally,
        &mut Sitting::new(),
    ));
    assert!(tally.to_string().contains("GTUBE"));
}
