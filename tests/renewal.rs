//! Renewal of a transaction: DATA after the relay target has lost the state of the transaction. The
//! target is asked again before 354.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "any moment: all times are counted from it")]

use std::time::{Duration, Instant, SystemTime};

use nobounce::envelope::SessionId;
use nobounce::outcome::RelayError;
use nobounce::{Outcome, Peer, Receipt, Request, Session, Settings, Step, Verdict};

/// The replies of the session, and whether it asked to renew the transaction.
struct Played {
    session: Session,
    now: Instant,
    said: String,
    renewals: usize,
    /// Whether the relay target accepts the recipients at the next renewal.
    takes: bool,
}

impl Played {
    /// Returns a session with an accepted recipient.
    fn behind_rcpt() -> Self {
        let now = Instant::now();
        let (settings, id) = (Settings::new("mx.example"), SessionId::new("test"));
        let peer = Peer::new(([192, 0, 2, 1], 25).into());
        let session = Session::new(settings.into(), id, peer, now, SystemTime::UNIX_EPOCH);
        let mut played = Self { session, now, said: String::new(), renewals: 0, takes: true };
        played.run();
        played.say("EHLO c\r\n");
        played.say("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
        assert!(played.said.ends_with("250 2.1.5 Recipient OK\r\n"), "{}", played.said);
        played
    }

    /// Returns the replies to these octets.
    fn say(&mut self, octets: &str) -> String {
        self.said.clear();
        self.session.receive(octets.as_bytes());
        self.run();
        self.said.clone()
    }

    fn run(&mut self) {
        loop {
            match self.session.poll(self.now) {
                Step::Transmit(octets) => self.said += str::from_utf8(&octets).unwrap(),
                Step::Ask(question) => question.answer(Verdict::Pass),
                Step::Forward(forward) => {
                    let (request, pending) = forward.take();
                    let outcome = match request {
                        Request::Recipient(..) => Outcome::Accepted(Receipt::recipient()),
                        Request::Renewal(envelope) => {
                            assert_eq!(envelope.forward_paths.len(), 1);
                            self.renewals += 1;
                            match self.takes {
                                true => Outcome::Accepted(Receipt::recipient()),
                                false => Outcome::Failed(RelayError::TransactionLost),
                            }
                        }
                        _ => Outcome::Accepted(Receipt::kept("1")),
                    };
                    pending.complete(outcome);
                }
                Step::Ended(_) => {}
                Step::Receive | Step::Close | Step::StartTls => return,
            }
        }
    }
}

#[test]
fn data_sends_no_request_while_recipients_are_valid() {
    let mut played = Played::behind_rcpt();
    assert!(played.say("DATA\r\n").starts_with("354 "));
    assert_eq!(played.renewals, 0);
}

#[test]
fn data_gets_354_when_recipients_are_accepted_again() {
    let mut played = Played::behind_rcpt();
    played.session.doubt_recipients();
    assert!(played.say("DATA\r\n").starts_with("354 "));
    assert_eq!(played.renewals, 1);
    assert_eq!(played.say("x\r\n.\r\n"), "250 2.0.0 Ok: queued as 1\r\n");
}

#[test]
fn data_gets_451_when_a_recipient_is_refused_now() {
    let mut played = Played::behind_rcpt();
    played.session.doubt_recipients();
    played.takes = false;
    assert!(played.say("DATA\r\n").starts_with("451 4.4.2 "), "{}", played.said);
    // The session asks again, for the same recipients.
    played.takes = true;
    assert!(played.say("DATA\r\n").starts_with("354 "), "{}", played.said);
    assert_eq!(played.renewals, 2);
    // Mail data after a refused DATA is not read as commands.
    let mut played = Played::behind_rcpt();
    played.session.doubt_recipients();
    played.takes = false;
    let said = played.say("DATA\r\nSubject: x\r\n\r\nMAIL FROM:<x@y>\r\n.\r\n");
    assert!(said.starts_with("451 ") && !said.contains("250"), "{said}");
}

#[test]
fn late_relay_target_at_data_leads_to_451() {
    let mut played = Played::behind_rcpt();
    played.session.doubt_recipients();
    played.session.receive(b"DATA\r\n");
    assert!(matches!(played.session.poll(played.now), Step::Forward(_)));
    let deadline = played.session.deadline().unwrap();
    assert_eq!(deadline.at - played.now, Duration::from_secs(105));
    played.now = deadline.at;
    played.session.handle_timeout(played.now);
    played.run();
    assert!(
        played
            .said
            .ends_with("451 4.4.7 The next server did not answer in time, try again later\r\n")
    );
}

#[test]
fn recipients_are_checked_again_only_in_their_transaction() {
    let mut played = Played::behind_rcpt();
    played.session.doubt_recipients();
    played.say("RSET\r\n");
    played.say("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
    assert!(played.say("DATA\r\n").starts_with("354 "));
    assert_eq!(played.renewals, 0);
}
