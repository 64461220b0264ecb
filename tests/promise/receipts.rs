//! A receipt is only valid for the request that it answers.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::BytesMut;
use nobounce::envelope::SessionId;
use nobounce::onward::{OnwardSettings, OnwardStep};
use nobounce::{Onward, Outcome, Peer, Receipt, Session, Settings, Step, Verdict};

use super::gate::epoch;

/// A session up to the first request to its relay target.
struct Asked {
    session: Session,
    now: Instant,
    told: BytesMut,
}

impl Asked {
    fn about_a_recipient(name: &str) -> Self {
        let now = epoch();
        let settings = Arc::new(Settings::new("gate.example"));
        let id = SessionId::new(name);
        let time_of_day = SystemTime::UNIX_EPOCH;
        let session = Session::new(settings, id, Peer::local(), now, time_of_day);
        let mut asked = Self { session, now, told: BytesMut::new() };
        asked.say(b"EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\n");
        asked
    }

    fn about_content(name: &str) -> Self {
        let mut asked = Self::about_a_recipient(name);
        asked.complete(Outcome::Accepted(Receipt::recipient()));
        asked.say(b"BDAT 4 LAST\r\n\r\na\n");
        asked
    }

    /// Continues to the next request, or until more input is needed.
    fn say(&mut self, octets: &[u8]) {
        let mut octets = Some(octets);
        loop {
            match self.session.poll(self.now) {
                Step::Transmit(reply) => self.told.extend_from_slice(&reply),
                Step::Ask(question) => question.answer(Verdict::Pass),
                Step::Receive => match octets.take() {
                    Some(octets) => self.session.receive(octets),
                    None => return,
                },
                Step::Ended(_) => {}
                _ => return,
            }
        }
    }

    fn complete(&mut self, outcome: Outcome) {
        match self.session.poll(self.now) {
            Step::Forward(forward) => forward.complete(outcome),
            other => panic!("nothing is asked: {other:?}"),
        }
    }

    /// Returns the last reply to the client for this outcome.
    fn told(mut self, outcome: Outcome) -> String {
        self.complete(outcome);
        self.say(b"");
        let told = String::from_utf8(self.told.to_vec()).unwrap();
        told.lines().last().unwrap().into()
    }

    /// Returns the outcome of an onward server that accepts everything.
    fn outcome(&mut self) -> Outcome {
        let mut onward = Onward::new(Arc::new(OnwardSettings::new("gate.example")));
        match self.session.poll(self.now) {
            Step::Forward(forward) => onward.request(forward.take().0),
            other => panic!("nothing is asked: {other:?}"),
        }
        let mut says =
            ["220 x\r\n", "250-x\r\n250 PIPELINING\r\n", "250 ok\r\n", "250 taken\r\n"].iter();
        loop {
            match onward.poll(self.now) {
                OnwardStep::Connect => onward.connected(),
                OnwardStep::Transmit(_) => {}
                OnwardStep::Receive => onward.receive(says.next().unwrap().as_bytes()),
                OnwardStep::Done(outcome) => return outcome,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn receipt_answers_its_request() {
    let mut asked = Asked::about_a_recipient("A");
    let outcome = asked.outcome();
    assert_eq!(asked.told(outcome), "250 taken");
    let recipient = Outcome::Accepted(Receipt::recipient());
    assert!(Asked::about_a_recipient("A").told(recipient).starts_with("250 "));
    let content = Outcome::Accepted(Receipt::kept("Q1"));
    assert_eq!(Asked::about_content("A").told(content), "250 2.0.0 Ok: queued as Q1");
}

#[test]
fn receipt_does_not_answer_another_request() {
    let content = Outcome::Accepted(Receipt::kept("Q1"));
    assert!(Asked::about_a_recipient("A").told(content).starts_with("451 "));
    let recipient = Outcome::Accepted(Receipt::recipient());
    assert!(Asked::about_content("A").told(recipient).starts_with("451 "));
    let of_another = Asked::about_a_recipient("B").outcome();
    assert!(Asked::about_a_recipient("A").told(of_another).starts_with("451 "));
}
