use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::future::FutureExt;

use super::*;
use crate::admission::{Admission, AdmissionError, AdmissionLimits};
use crate::envelope::Envelope;
use crate::gate::GateStep;
use crate::message::Message;
use crate::opinion::{Opinion, ScorerError};
use crate::outcome::{Outcome, Receipt};
use crate::panel::{Panel, Seat};
use crate::peer::Peer;
use crate::rehearsal::{Rehearsal, peer};
use crate::relay::{Relay, Target};
use crate::score::{Finding, Score};
use crate::scorer::{ConnectContext, RcptContext, Scorer};
use crate::session::Settings;
use crate::tarpit::Tarpit;
use crate::verdict::Refusal;
use crate::wire::mailbox::ForwardPath;
use crate::wire::reply::EnhancedStatus;

const MESSAGE: &str = "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 0 LAST\r\n";

/// A relay target that refuses recipients whose names begin with `no`.
struct Choosy;

impl Target for Choosy {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        Box::new(Self)
    }
}

#[async_trait]
impl Relay for Choosy {
    async fn rcpt(&mut self, _: &Envelope, recipient: &ForwardPath) -> Outcome {
        if recipient.path.address().starts_with(b"no") {
            let status = EnhancedStatus::new(1, 1);
            return Outcome::Refused(Refusal::permanent(550, status, "Unknown"));
        }
        Outcome::Accepted(Receipt::recipient())
    }

    async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
        Outcome::Accepted(Receipt::kept("1"))
    }
}

/// A scorer with one finding for each recipient.
struct Marks;

#[async_trait]
impl Scorer for Marks {
    fn name(&self) -> &'static str {
        "marks"
    }

    async fn on_rcpt(&self, at: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        let symbol = String::from_utf8_lossy(at.recipient.path.address()).to_ascii_uppercase();
        Ok(Finding::new(&symbol.replace('@', "_"), Score::points(1)).into())
    }
}

type Seen = Arc<Mutex<Vec<String>>>;

/// Returns a gate, and the names of its events. The end of a transaction has the line of its record.
fn gate(runtime: &Rehearsal) -> (Gate<Rehearsal>, Seen) {
    let seen = Seen::default();
    let events = seen.clone();
    let gate = Gate::new(runtime.clone(), Settings::new("mx.example"), Choosy)
        .panel(Panel::new().scorer(Marks))
        .observer(move |event| {
            let debug = format!("{event:?}");
            let name = debug.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            let line = match event {
                Event::Ended(record) => format!("Ended {record}"),
                _ => name.into(),
            };
            events.lock().unwrap().push(line);
        });
    (gate, seen)
}

fn open(gate: &Gate<Rehearsal>) -> Result<GateSession<'_, Rehearsal>, AdmissionError> {
    gate.open(peer()).now_or_never().expect("the target answers at once")
}

/// Polls until the next step that concerns the client. Returns `None` when the session is over.
fn go_on<'s>(session: &'s mut GateSession<'_, Rehearsal>) -> Option<GateStep<'s, Rehearsal>> {
    for _ in 0..1000 {
        let now = session.gate.runtime.now();
        match session.poll(now) {
            GateStep::Ask(question) => question.ask().now_or_never().unwrap(),
            GateStep::Forward(forward) => forward.ask().now_or_never().unwrap(),
            GateStep::Transmit(octets) => return Some(GateStep::Transmit(octets)),
            GateStep::Delay(until) => return Some(GateStep::Delay(until)),
            GateStep::Receive => return Some(GateStep::Receive),
            GateStep::StartTls => panic!("not offered"),
            GateStep::Close => return None,
        }
    }
    panic!("the session does not end");
}

/// Sends `octets` and returns the replies, up to the next wait for the client or to the end.
fn say(session: &mut GateSession<'_, Rehearsal>, octets: &str) -> String {
    let (mut heard, mut says) = (String::new(), Some(octets));
    loop {
        match go_on(session) {
            Some(GateStep::Transmit(octets)) => heard += str::from_utf8(&octets).unwrap(),
            Some(GateStep::Receive) => match says.take() {
                Some(octets) => session.receive(octets.as_bytes()),
                None => return heard,
            },
            Some(_) => {}
            None => return heard,
        }
    }
}

#[test]
fn findings_of_a_refused_recipient_do_not_count() {
    let (gate, seen) = gate(&Rehearsal::new());
    let mut session = open(&gate).unwrap();
    let heard = say(
        &mut session,
        "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<no@d>\r\nRCPT TO:<yes@d>\r\nBDAT 0 LAST\r\nQUIT\r\n",
    );
    assert!(heard.contains("550 5.1.1") && heard.contains("queued as 1"), "{heard}");
    session.close().now_or_never().unwrap();
    let seen = seen.lock().unwrap();
    let record = seen.iter().find(|line| line.starts_with("Ended")).unwrap();
    assert!(record.contains(" score=1.00 marks:YES_D=1.00 "), "{record}");
    assert_eq!(seen.last().unwrap(), "Disconnected");
}

#[test]
fn the_reply_to_a_content_is_written_before_observers_are_told() {
    let (gate, seen) = gate(&Rehearsal::new());
    let mut session = open(&gate).unwrap();
    say(&mut session, "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
    session.receive(b"BDAT 0 LAST\r\n");
    seen.lock().unwrap().clear();
    let Some(GateStep::Transmit(octets)) = go_on(&mut session) else { panic!("no reply") };
    assert!(octets.starts_with(b"250 2.0.0 Ok: queued as 1\r\n"));
    assert_eq!(*seen.lock().unwrap(), ["Judged"]);
    assert!(matches!(go_on(&mut session), Some(GateStep::Receive)));
    let names = seen.lock().unwrap().iter().map(|line| line[..5].to_owned()).collect::<Vec<_>>();
    assert_eq!(names, ["Judge", "Relay", "Ended", "Trans"]);
}

#[test]
fn a_reply_that_was_not_written_is_unacknowledged() {
    for written in [false, true] {
        let (gate, seen) = gate(&Rehearsal::new());
        let mut session = open(&gate).unwrap();
        say(&mut session, "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
        session.receive(b"BDAT 0 LAST\r\n");
        assert!(matches!(go_on(&mut session), Some(GateStep::Transmit(_))));
        if written {
            assert!(matches!(go_on(&mut session), Some(GateStep::Receive)));
        }
        session.lose_client();
        assert!(go_on(&mut session).is_none());
        let seen = seen.lock().unwrap();
        let count = seen.iter().filter(|name| *name == "Unacknowledged").count();
        assert_eq!(count, 1, "{written}: {seen:?}");
    }
}

#[test]
fn a_client_that_sends_more_has_read_its_reply() {
    let (gate, seen) = gate(&Rehearsal::new());
    let mut session = open(&gate).unwrap();
    say(&mut session, MESSAGE);
    say(&mut session, "NOOP\r\n");
    session.lose_client();
    assert!(go_on(&mut session).is_none());
    assert!(!seen.lock().unwrap().iter().any(|name| name == "Unacknowledged"));
}

#[test]
fn the_record_of_a_dropped_session_is_observed() {
    let (gate, seen) = gate(&Rehearsal::new());
    let mut session = open(&gate).unwrap();
    say(&mut session, "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
    session.receive(b"BDAT 0 LAST\r\n");
    assert!(matches!(go_on(&mut session), Some(GateStep::Transmit(_))));
    drop(session);
    let seen = seen.lock().unwrap();
    for name in ["Relayed", "Unacknowledged", "Disconnected"] {
        assert!(seen.iter().any(|seen| seen == name), "{name}: {seen:?}");
    }
}

#[test]
fn a_transaction_of_a_session_that_is_cut_off_is_recorded() {
    for closes in [false, true] {
        let (gate, seen) = gate(&Rehearsal::new());
        let mut session = open(&gate).unwrap();
        say(&mut session, "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
        match closes {
            true => session.close().now_or_never().unwrap(),
            false => drop(session),
        }
        let seen = seen.lock().unwrap();
        let records: Vec<_> = seen.iter().filter(|line| line.starts_with("Ended")).collect();
        let [record] = records[..] else { panic!("{closes}: {seen:?}") };
        assert!(record.contains(" result=client-lost"), "{record}");
        assert_eq!(seen.last().unwrap(), "Disconnected");
    }
}

#[test]
fn a_message_that_was_accepted_before_the_cut_is_unacknowledged() {
    let (gate, seen) = gate(&Rehearsal::new());
    let mut session = open(&gate).unwrap();
    say(&mut session, "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
    session.receive(b"BDAT 0 LAST\r\n");
    let now = gate.runtime.now();
    loop {
        match session.poll(now) {
            GateStep::Ask(question) => question.ask().now_or_never().unwrap(),
            // The target has accepted the message. The session is not polled again.
            GateStep::Forward(forward) => break forward.ask().now_or_never().unwrap(),
            step => panic!("{step:?}"),
        }
    }
    drop(session);
    let seen = seen.lock().unwrap();
    let record = seen.iter().find(|line| line.starts_with("Ended")).expect("a record");
    assert!(record.contains(" result=accepted"), "{record}");
    assert!(seen.iter().any(|name| name == "Unacknowledged"), "{seen:?}");
}

/// A scorer that never answers about a recipient, and counts the questions.
struct Silent(Arc<Mutex<usize>>);

#[async_trait]
impl Scorer for Silent {
    fn name(&self) -> &'static str {
        "silent"
    }

    async fn on_rcpt(&self, _: &RcptContext<'_>) -> Result<Opinion, ScorerError> {
        *self.0.lock().unwrap() += 1;
        pending().await
    }
}

#[test]
fn a_late_question_is_not_asked_again_if_the_clock_lags_behind_the_timer() {
    let runtime = Rehearsal::new();
    let (gate, _) = gate(&runtime);
    let asked = Arc::new(Mutex::new(0));
    let seat = Seat::new(Silent(asked.clone())).budget(Duration::from_secs(3_600));
    let panel = Panel::new().seat(seat).stage_budget(Duration::from_secs(3_600));
    let gate = gate.panel(panel);
    let mut session = open(&gate).unwrap();
    let mut says = Some("EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
    let mut heard = String::new();
    runtime.run(async {
        loop {
            // The clock of the loop is a little slow.
            let now = gate.runtime.now() - Duration::from_millis(1);
            match session.poll(now) {
                GateStep::Transmit(octets) => heard += str::from_utf8(&octets).unwrap(),
                GateStep::Ask(question) => question.ask().await,
                GateStep::Receive => match says.take() {
                    Some(octets) => session.receive(octets.as_bytes()),
                    None => break,
                },
                step => panic!("{step:?}"),
            }
        }
    });
    assert_eq!(*asked.lock().unwrap(), 1);
    assert!(heard.contains("\r\n451 4.3.0 "), "{heard}");
}

/// A scorer that does not answer the first question.
#[derive(Default)]
struct Hesitates(AtomicBool);

#[async_trait]
impl Scorer for Hesitates {
    fn name(&self) -> &'static str {
        "hesitates"
    }

    async fn on_connect(&self, _: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        if !self.0.swap(true, Ordering::Relaxed) {
            pending::<()>().await;
        }
        Ok(Finding::new("ASKED", Score::points(1)).into())
    }
}

#[test]
fn a_question_that_is_asked_again_is_about_the_same_client() {
    let (gate, seen) = gate(&Rehearsal::new());
    let gate = gate.panel(Panel::new().scorer(Hesitates::default()));
    let mut session = open(&gate).unwrap();
    let now = gate.runtime.now();
    let GateStep::Ask(question) = session.poll(now) else { panic!("no question") };
    assert!(question.ask().now_or_never().is_none());
    let heard = say(&mut session, MESSAGE);
    assert!(heard.contains("queued as 1"), "{heard}");
    let seen = seen.lock().unwrap();
    assert!(!seen.iter().any(|name| name == "ClientChanged"), "{seen:?}");
    let record = seen.iter().find(|line| line.starts_with("Ended")).unwrap();
    assert!(record.contains(" score=1.00 hesitates:ASKED=1.00 "), "{record}");
}

#[test]
fn sessions_are_counted_admitted_and_drained() {
    let limits = AdmissionLimits { per_address: 1, ..AdmissionLimits::default() };
    let (gate, seen) = gate(&Rehearsal::new());
    let gate = gate.admission(Admission::new(limits));
    let mut session = open(&gate).unwrap();
    assert_eq!(gate.sessions(), 1);
    assert_eq!(open(&gate).err(), Some(AdmissionError::Address));
    assert_eq!(gate.sessions(), 1);
    assert!(seen.lock().unwrap().iter().any(|name| name == "TurnedAway"));
    say(&mut session, "EHLO c\r\n");
    gate.shut_down();
    let heard = say(&mut session, "");
    assert_eq!(heard, "421 4.3.2 Service shutting down, try again later\r\n");
    assert!(gate.drained().now_or_never().is_none());
    session.close().now_or_never().unwrap();
    assert!(gate.drained().now_or_never().is_some());
    assert!(open(&gate).is_ok(), "the place is free again");
}

#[test]
fn an_idle_session_makes_room_for_another_client() {
    let limits = AdmissionLimits { connections: 1, ..AdmissionLimits::default() };
    let runtime = Rehearsal::new();
    let (gate, seen) = gate(&runtime);
    let gate = gate.admission(Admission::new(limits));
    let mut idle = open(&gate).unwrap();
    say(&mut idle, "EHLO c\r\n");
    runtime.run(runtime.sleep(Duration::from_secs(60)));
    let other = Peer::new(([198, 51, 100, 7], 4711).into());
    let _other = gate.open(other).now_or_never().unwrap().unwrap();
    let heard = say(&mut idle, "");
    assert!(heard.starts_with("421 4.3.2 "), "{heard}");
    assert!(seen.lock().unwrap().iter().any(|name| name == "Evicted"));
}

#[test]
fn replies_to_a_client_with_a_bad_score_are_delayed() {
    let runtime = Rehearsal::new();
    let (gate, _) = gate(&runtime);
    let gate = gate.tarpit(Tarpit::from(Score::points(1)).delay(Duration::from_secs(5)));
    let mut session = open(&gate).unwrap();
    say(&mut session, "EHLO c\r\nMAIL FROM:<a@b>\r\n");
    session.receive(b"RCPT TO:<c@d>\r\n");
    let Some(GateStep::Delay(until)) = go_on(&mut session) else { panic!("no delay") };
    assert_eq!(until - runtime.now(), Duration::from_secs(5));
    assert!(matches!(go_on(&mut session), Some(GateStep::Transmit(_))));
    assert!(matches!(go_on(&mut session), Some(GateStep::Receive)));
    // The reply to an accepted message is not delayed.
    session.receive(b"BDAT 0 LAST\r\n");
    assert!(matches!(go_on(&mut session), Some(GateStep::Transmit(_))));
}

/// A relay target that refuses every recipient.
struct Closed;

impl Target for Closed {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        Box::new(Self)
    }
}

#[async_trait]
impl Relay for Closed {
    async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
        Outcome::Refused(Refusal::permanent(550, EnhancedStatus::new(1, 1), "Closed"))
    }

    async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
        Outcome::failed("content without a recipient")
    }
}

#[test]
fn a_session_keeps_the_rules_with_which_it_began() {
    let runtime = Rehearsal::new();
    let (gate, seen) = gate(&runtime);
    let mut old = open(&gate).unwrap();
    let mut settings = Settings::new("new.example");
    settings.limits.recipients = 1;
    gate.replace(
        Gate::new(runtime.clone(), settings, Closed)
            .tarpit(Tarpit::from(Score::points(0)).delay(Duration::from_secs(5))),
    );
    let mut new = open(&gate).unwrap();

    // Settings, panel, relay target and tarpit.
    let heard = say(&mut old, MESSAGE);
    assert!(heard.starts_with("220 mx.example ESMTP") && heard.contains("queued as 1"), "{heard}");
    let is_record = |line: &&String| line.starts_with("Ended ");
    let record = seen.lock().unwrap().iter().find(is_record).unwrap().clone();
    assert!(record.contains(" marks:C_D=1.00"), "{record}");
    assert!(matches!(go_on(&mut new), Some(GateStep::Delay(_))));
    let heard = say(&mut new, "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
    assert!(heard.starts_with("220 new.example ESMTP"), "{heard}");
    assert!(heard.contains("RCPTMAX=1"), "{heard}");
    assert!(heard.ends_with("550 5.1.1 Closed\r\n"), "{heard}");

    // The ids, the observers, the counts and the shutdown are those of one gate.
    assert_ne!(old.session().id(), new.session().id());
    assert_eq!(gate.sessions(), 2);
    gate.shut_down();
    for session in [&mut old, &mut new] {
        let heard = say(session, "RSET\r\n");
        assert!(heard.contains("421 4.3.2 "), "{heard}");
    }
    drop((old, new));
    assert_eq!(gate.sessions(), 0);
    let ends = seen.lock().unwrap().iter().filter(|name| *name == "Disconnected").count();
    assert_eq!(ends, 2);
}

/// A scorer that panics when it is dropped.
struct Clings;

impl Scorer for Clings {
    fn name(&self) -> &'static str {
        "clings"
    }
}

impl Drop for Clings {
    fn drop(&mut self) {
        panic!("it clings");
    }
}

#[test]
fn panic_of_a_replaced_scorer_reaches_nobody() {
    let runtime = Rehearsal::new();
    let (gate, _) = gate(&runtime);
    let gate = gate.panel(Panel::new().scorer(Clings));
    let mut session = open(&gate).unwrap();
    let fresh = || Gate::new(runtime.clone(), Settings::new("mx.example"), Choosy);
    gate.replace(fresh());
    assert!(say(&mut session, MESSAGE).contains("queued as 1"));
    // The last session with the old rules drops the scorer.
    session.close().now_or_never().unwrap();
    gate.replace(fresh().panel(Panel::new().scorer(Clings)));
    gate.replace(fresh());
    assert!(open(&gate).is_ok());
}
