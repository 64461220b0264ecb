//! A hand-written loop over `GateSession` compared with `serve`: the client gets the same replies, and
//! observers get the same events and records.

#![cfg(all(feature = "serve", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{Either, join, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use nobounce::admission::{Admission, AdmissionLimits, Tarpit};
use nobounce::gate::GateStep;
use nobounce::relay::Smtp;
use nobounce::testing::{Connection, Script, Then, VirtualRuntime, peer};
use nobounce::{
    Event, Finding, Gate, Opinion, Panel, Peer, RcptContext, Runtime, Score, Scorer, ScorerError,
    Settings, async_trait, serve,
};

const ONWARD: &str = "192.0.2.25:25";

/// A scorer with one finding for each recipient, worth 20 points for `trap@` and 1 point for others.
struct Marks;

#[async_trait]
impl Scorer for Marks {
    fn name(&self) -> &'static str {
        "marks"
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let address = String::from_utf8_lossy(at.recipient.path.address()).to_uppercase();
        let score = Score::points(if address.starts_with("TRAP") { 20 } else { 1 });
        Ok(Finding::new(&address.replace('@', "_"), score).into())
    }
}

/// The loop of an embedder.
async fn serve_in_own_loop(
    mut client: Connection,
    peer: Peer,
    gate: &Gate<VirtualRuntime>,
    runtime: &VirtualRuntime,
) {
    let mut session = match gate.open(peer).await {
        Ok(session) => session,
        Err(reason) => {
            let reply = format!("{}\r\n", reason.reply());
            return client.write_all(reply.as_bytes()).await.unwrap();
        }
    };
    loop {
        match session.poll(runtime.now()) {
            GateStep::Transmit(octets) => {
                if client.write_all(&octets).await.is_err() {
                    session.lose_client();
                }
            }
            GateStep::Receive => {
                let mut buffer = [0; 4_096];
                let deadline = session.deadline().map(|deadline| deadline.at);
                let timeout = async {
                    // Shutdown and eviction are noticed within a second.
                    let poll = runtime.now() + Duration::from_secs(1);
                    runtime.sleep_until(deadline.map_or(poll, |at| at.min(poll))).await;
                };
                match select(client.read(&mut buffer), Box::pin(timeout)).await {
                    Either::Left((Ok(0), _)) => session.receive_eof(),
                    Either::Left((Ok(length), _)) => session.receive(&buffer[..length]),
                    Either::Left((Err(_), _)) => session.lose_client(),
                    Either::Right(_) => session.handle_timeout(runtime.now()),
                }
            }
            GateStep::Ask(question) => question.ask().await,
            GateStep::Forward(forward) => forward.ask().await,
            GateStep::Delay(until) => runtime.sleep_until(until).await,
            GateStep::StartTls => session.tls_failed(),
            GateStep::Close => break,
        }
    }
    drop(client);
    session.close().await;
}

type Seen = Arc<Mutex<Vec<String>>>;

fn gate(runtime: &VirtualRuntime) -> (Gate<VirtualRuntime>, Seen) {
    let server = Script::smtp_server()
        .replying("RCPT TO:<nobody@example.com>", "550 5.1.1 No such user")
        .replying("RCPT TO:<silent@example.com>", "");
    runtime.listen(&ONWARD.parse().unwrap(), server);
    let target = Smtp::new(runtime.clone(), ONWARD.parse().unwrap(), "mx.example");
    let seen = Seen::default();
    let events = seen.clone();
    let gate = Gate::new(runtime.clone(), Settings::new("mx.example"), target)
        .session_prefix("test")
        .panel(Panel::new().scorer(Marks))
        .report_answers()
        .observer(move |event| {
            let line = match event {
                Event::Ended(record) => format!("Ended {record} {:?}", record.onward),
                Event::Unacknowledged(record) => format!("Unacknowledged {record}"),
                Event::Received { octets, .. } => format!("Received {}", octets.escape_ascii()),
                Event::Transmitted { octets, .. } => {
                    format!("Transmitted {}", octets.escape_ascii())
                }
                // `serve` lingers after its last reply, so the durations differ.
                Event::Disconnected(record) => format!("Disconnected {:?}", record.conduct),
                other => format!("{other:?}"),
            };
            let mut events = events.lock().unwrap();
            match events.last_mut() {
                // A chunk may be read in several pieces.
                Some(last) if last.starts_with("Received ") && line.starts_with("Received ") => {
                    last.push_str(&line["Received ".len()..]);
                }
                _ => events.push(line),
            }
        });
    (gate, seen)
}

/// The events and the replies of a session that was run in both ways, and the time of each run.
#[derive(Debug)]
struct Session {
    events: Vec<String>,
    heard: String,
    elapsed: [Duration; 2],
}

/// Runs a session with `serve` and in the loop above, and checks that both are the same.
fn same(
    client: &Script,
    configure: impl Fn(Gate<VirtualRuntime>) -> Gate<VirtualRuntime>,
) -> Session {
    let [served, looped] = [true, false].map(|served| {
        let runtime = VirtualRuntime::new();
        let (gate, seen) = gate(&runtime);
        let gate = configure(gate);
        let client = runtime.client(client.clone());
        let heard = client.heard();
        match served {
            true => drop(runtime.run(serve(client, peer(), &gate))),
            false => runtime.run(serve_in_own_loop(client, peer(), &gate, &runtime)),
        }
        assert_eq!(gate.sessions(), 0);
        let events = std::mem::take(&mut *seen.lock().unwrap());
        (events, heard.text(), runtime.elapsed())
    });
    for (served, looped) in served.0.iter().zip(&looped.0) {
        assert_eq!(served, looped);
    }
    assert_eq!((&served.0, &served.1), (&looped.0, &looped.1));
    Session { events: served.0, heard: served.1, elapsed: [served.2, looped.2] }
}

impl Session {
    /// Returns the events of this name.
    fn of<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s String> {
        self.events.iter().filter(move |event| event.starts_with(name))
    }
}

const MAIL: [&str; 4] =
    ["EHLO c.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA"];
const CONTENT: &str = "Subject: x\r\n\r\nx\r\n.";

#[test]
fn findings_of_refused_recipients_are_set_aside() {
    let says = [
        "EHLO c.example",
        "MAIL FROM:<a@example.org>",
        "RCPT TO:<nobody@example.com>",
        "RCPT TO:<trap@example.com>",
        "RCPT TO:<b@example.com>",
        "DATA",
        CONTENT,
        "QUIT",
    ];
    let session = same(&Script::smtp_client(says), |gate| gate);
    assert!(session.heard.contains("550 5.1.1 No such user\r\n550 5.7.1 "), "{}", session.heard);
    let [record] = &*session.of("Ended").collect::<Vec<_>>() else { panic!("{session:?}") };
    let score = "score=1.00 marks:B_EXAMPLE.COM=1.00 result=accepted";
    assert!(record.contains(score), "{record}");
    // The event of the verdict itself has the findings that led to it.
    let judged = session.of("Judged").find(|event| event.contains("TRAP_EXAMPLE")).unwrap();
    assert!(judged.contains("Refuse"), "{judged}");
    assert_eq!(session.of("Scored").count(), 5);
    assert!(session.events.last().unwrap().starts_with("Disconnected"));
}

#[test]
fn the_end_of_a_transaction_is_observed_after_the_reply_was_written() {
    let says = [&MAIL[..], &[CONTENT], &MAIL[1..], &[CONTENT, "QUIT"]].concat();
    let session = same(&Script::smtp_client(says), |gate| gate);
    let names = session.events.iter().map(|event| event.split([' ', '(']).next().unwrap());
    let names: Vec<&str> = names.collect();
    let content = names.windows(3).filter(|names| *names == ["Relayed", "Ended", "Transmitted"]);
    assert_eq!(content.count(), 2, "{names:?}");
}

#[test]
fn a_reply_that_may_be_unread_is_unacknowledged() {
    // The connection breaks while the reply is written.
    let mut broken = Script::smtp_client([&MAIL[..], &[CONTENT]].concat());
    let heard = same(&broken, |gate| gate).heard;
    broken = broken.resetting_after(heard.len() - 5);
    let session = same(&broken, |gate| gate);
    assert_eq!(session.of("Unacknowledged").count(), 1, "{session:?}");
    assert!(session.of("Ended").any(|event| event.contains("result=accepted")));
}

#[test]
fn waits_end_at_the_same_deadlines() {
    let silent = Script::turns(b"\r\n", &["EHLO c.example\r\n"], Then::Hang);
    let session = same(&silent, |gate| gate);
    assert!(session.heard.contains("421 4.4.2 "), "{session:?}");
    assert_eq!(session.of("Late").count(), 1);

    let says = ["HELO c", "MAIL FROM:<a@b>", "RCPT TO:<silent@example.com>", "QUIT"];
    let session = same(&Script::smtp_client(says), |gate| gate);
    assert!(session.heard.contains("\r\n451 4.4.7 "), "{session:?}");
    let record = session.of("Ended").next().unwrap();
    assert!(record.contains("relaying_ms=") && !record.contains("relaying_ms=0 "), "{record}");
}

#[test]
fn a_client_with_a_high_score_is_tarpitted() {
    let says = [&MAIL[..], &[CONTENT, "QUIT"]].concat();
    let tarpit = || Tarpit::from(Score::points(1)).delay(Duration::from_secs(7));
    let session = same(&Script::smtp_client(says), |gate| gate.tarpit(tarpit()));
    assert_eq!(session.of("Tarpitted").count(), 1);
    // RCPT, DATA and QUIT are delayed. The reply to the accepted message is not.
    assert_eq!(session.elapsed, [Duration::from_secs(3 * 7); 2]);
}

#[test]
fn a_client_over_a_limit_is_turned_away() {
    let mut none = AdmissionLimits::default();
    none.per_address = 0;
    let client = Script::smtp_client(["QUIT"]);
    let session = same(&client, |gate| gate.admission(Admission::new(none.clone())));
    assert!(session.heard.starts_with("421 4.7.0 "), "{session:?}");
    assert_eq!(session.events.len(), 1);
    assert!(session.events[0].starts_with("TurnedAway"), "{session:?}");
}

#[test]
fn a_gate_that_shuts_down_drains_both() {
    let client = Script::smtp_client(["EHLO c.example", "QUIT"]);
    let session = same(&client, |gate| {
        gate.shut_down();
        gate
    });
    assert!(session.heard.starts_with("421 4.3.2 "), "{session:?}");

    // Idle sessions, one of each kind.
    let runtime = VirtualRuntime::new();
    let (gate, _) = gate(&runtime);
    let idle = || runtime.client(Script::turns(b"\r\n", &["EHLO c.example\r\n"], Then::Hang));
    let clients = [idle(), idle()];
    let heard = clients.each_ref().map(Connection::heard);
    let [served, looped] = clients;
    let second = Duration::from_secs(1);
    let sessions =
        join(serve(served, peer(), &gate), serve_in_own_loop(looped, peer(), &gate, &runtime));
    let drained = async {
        runtime.sleep(second * 10).await;
        assert_eq!(gate.sessions(), 2);
        gate.shut_down();
        gate.drained().await;
        runtime.elapsed()
    };
    let (_, at) = runtime.run(join(sessions, drained));
    assert!(at <= second * 13, "{at:?}");
    for heard in heard {
        assert!(heard.text().contains("\r\n421 4.3.2 "), "{}", heard.text());
    }
}
