//! Sessions in virtual time, for cases that a dialogue cannot express.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use nobounce::envelope::SessionId;
use nobounce::message::HeaderField;
use nobounce::onward::{OnwardSettings, OnwardStep};
use nobounce::outcome::RequestKind;
use nobounce::session::{Awaiting, Capabilities, Deadline, EndCause};
use nobounce::verdict::Subject;
use nobounce::{Onward, Outcome, Peer, Receipt};
use nobounce::{Request, Session, Settings, Step, Verdict};

const MINUTE: Duration = Duration::from_secs(60);

/// The peer that a session waits for after all its output was written.
#[derive(Debug, PartialEq, Eq)]
enum Waits {
    Client,
    Panel,
    Relay,
    Nobody,
}

struct Played {
    session: Session,
    now: Instant,
    said: String,
}

impl Played {
    fn new(settings: Settings) -> Self {
        let (now, time_of_day) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let id = SessionId::new("test");
        let session = Session::new(settings.into(), id, Peer::local(), now, time_of_day);
        Self { session, now, said: String::new() }
    }

    /// Returns a session whose client is about to send a message.
    fn with_recipient(settings: Settings) -> Self {
        let mut played = Self::new(settings);
        let commands = ["", "HELO c\r\n", "MAIL FROM:<a@b>\r\n", "RCPT TO:<c@d>\r\n", "DATA\r\n"];
        commands.into_iter().for_each(|command| played.say(command));
        played
    }

    /// Returns a session whose client has sent a message, and whose panel is being asked.
    fn with_content(settings: Settings) -> Self {
        let mut played = Self::with_recipient(settings);
        played.session.receive(b"Subject: x\r\n\r\n.\r\n");
        played
    }

    /// Sends a command and answers everything positively until it is the client's turn again.
    fn say(&mut self, command: &str) {
        self.session.receive(command.as_bytes());
        while !matches!(self.waits(), Waits::Client) {
            self.answer();
        }
    }

    /// Sends a command. Recipients are accepted and contents refused, until it is the client's turn
    /// or the session is over.
    fn try_say(&mut self, command: &str) {
        self.session.receive(command.as_bytes());
        loop {
            match self.waits() {
                Waits::Client | Waits::Nobody => return,
                Waits::Panel => self.answer(),
                Waits::Relay => {
                    let Step::Forward(forward) = self.session.poll(self.now) else { return };
                    let (request, pending) = forward.take();
                    let outcome = match request {
                        Request::Recipient(..) | Request::Renewal(_) => {
                            Outcome::Accepted(Receipt::recipient())
                        }
                        Request::Content(..) | Request::Answer(..) => Outcome::failed("no"),
                    };
                    pending.complete(outcome);
                }
            }
        }
    }

    fn waits(&mut self) -> Waits {
        loop {
            return match self.session.poll(self.now) {
                Step::Transmit(octets) => {
                    self.said.push_str(str::from_utf8(&octets).unwrap());
                    continue;
                }
                Step::Ended(_) => continue,
                Step::Receive => Waits::Client,
                Step::Ask(_) => Waits::Panel,
                Step::Forward(_) => Waits::Relay,
                Step::Close => Waits::Nobody,
                Step::StartTls => panic!("not offered"),
            };
        }
    }

    /// Answers positively for the panel or the relay target.
    fn answer(&mut self) {
        match self.session.poll(self.now) {
            Step::Ask(question) => question.answer(Verdict::Pass),
            Step::Forward(forward) => {
                let (request, pending) = forward.take();
                let receipt = match request {
                    Request::Recipient(..) | Request::Renewal(_) => Receipt::recipient(),
                    Request::Content(..) | Request::Answer(..) => Receipt::kept("1"),
                };
                pending.complete(Outcome::Accepted(receipt));
            }
            step => panic!("{step:?}"),
        }
    }

    /// Returns the time until the current deadline.
    fn patience(&mut self) -> Duration {
        let Deadline { at, .. } = self.session.deadline().unwrap();
        at.saturating_duration_since(self.now)
    }
}

/// A client waits ten minutes for the reply to its content (RFC 5321 section 4.5.3.2.6), whatever
/// causes the delay. If the reply comes later, the client sends the message again.
#[test]
fn panel_and_relay_target_share_one_deadline() {
    let settings = Settings::new("mx.example");
    let timeouts = settings.timeouts.clone();
    let mut played = Played::with_content(settings);
    assert_eq!(played.waits(), Waits::Panel);
    assert_eq!(played.patience(), timeouts.verdict);
    played.now += MINUTE;
    played.answer();
    assert_eq!(played.waits(), Waits::Relay);
    assert_eq!(played.patience(), timeouts.outcome - MINUTE);
    played.answer();
    assert_eq!(played.waits(), Waits::Client);
    assert!(played.said.ends_with("\r\n250 2.0.0 Ok: queued as 1\r\n"), "{}", played.said);

    // The next recipient has the full timeout again.
    played.session.receive(b"MAIL FROM:<a@b>\r\n");
    assert_eq!(played.waits(), Waits::Client);
    played.session.receive(b"RCPT TO:<c@d>\r\n");
    assert_eq!(played.waits(), Waits::Panel);
    assert_eq!(played.patience(), timeouts.verdict);
    played.answer();
    assert_eq!(played.waits(), Waits::Relay);
    assert_eq!(played.patience(), timeouts.recipient);
}

/// `Duration::MAX` means "never", and is more than an `Instant` can represent.
#[test]
fn maximum_duration_is_a_valid_timeout() {
    let mut settings = Settings::new("mx.example");
    let timeouts = &mut settings.timeouts;
    for timeout in [
        &mut timeouts.command,
        &mut timeouts.mail_data,
        &mut timeouts.content,
        &mut timeouts.verdict,
        &mut timeouts.recipient,
        &mut timeouts.outcome,
        &mut timeouts.transmission,
    ] {
        *timeout = Duration::MAX;
    }
    let mut played = Played::with_content(settings);
    assert_eq!(played.waits(), Waits::Panel);
    played.now += 1_000_000 * MINUTE;
    played.session.handle_timeout(played.now);
    let Step::Ask(question) = played.session.poll(played.now) else { panic!("timed out") };
    assert!(matches!(question.subject(), Subject::Content(..)));
}

/// The earlier a client knows that its message was accepted, the rarer are duplicates (RFC 1047).
/// Input after the message is processed later.
#[test]
fn reply_to_the_content_is_sent_first() {
    let mut played = Played::with_content(Settings::new("mx.example"));
    played.session.receive(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
    while !matches!(played.waits(), Waits::Relay) {
        played.answer();
    }
    played.answer();
    assert!(matches!(played.session.poll(played.now), Step::Ended(_)));
    match played.session.poll(played.now) {
        Step::Transmit(octets) => assert_eq!(octets, "250 2.0.0 Ok: queued as 1\r\n"),
        step => panic!("{step:?}"),
    }
    assert_eq!(played.waits(), Waits::Panel);
}

#[test]
fn question_has_a_deadline() {
    let settings = Settings::new("mx.example");
    let timeouts = settings.timeouts.clone();
    let mut played = Played::with_content(settings);
    assert_eq!(played.waits(), Waits::Panel);
    let now = played.now;
    match played.session.poll(now) {
        Step::Ask(question) => {
            let deadline = question.deadline().unwrap();
            assert_eq!(
                (deadline.awaiting, deadline.at),
                (Awaiting::Verdict, now + timeouts.verdict)
            );
        }
        step => panic!("{step:?}"),
    }
    played.answer();
    assert_eq!(played.waits(), Waits::Relay);
    match played.session.poll(now) {
        Step::Forward(forward) => {
            let deadline = forward.deadline().unwrap();
            assert_eq!(deadline.awaiting, Awaiting::ContentOutcome);
            assert_eq!(deadline.at, now + timeouts.outcome);
        }
        step => panic!("{step:?}"),
    }
}

/// The trace header has the time when the content was complete (RFC 5321 section 4.4).
#[test]
fn the_trace_header_tells_the_time_of_day() {
    let mut played = Played::with_recipient(Settings::new("mx.example"));
    played.now += 2 * MINUTE;
    played.session.receive(b".\r\n");
    match played.session.poll(played.now) {
        Step::Ask(question) => match question.subject() {
            Subject::Content(_, message) => {
                let trace = String::from_utf8(message.segments().concat()).unwrap();
                assert!(trace.ends_with("Thu, 01 Jan 1970 00:02:00 +0000\r\n"), "{trace}");
            }
            subject => panic!("{subject:?}"),
        },
        step => panic!("{step:?}"),
    }
}

/// An empty read is not mail data, so it does not extend the client's deadline.
#[test]
fn empty_input_changes_nothing() {
    let mut played = Played::with_recipient(Settings::new("mx.example"));
    let deadline = played.session.deadline();
    played.now += MINUTE;
    played.session.receive(b"");
    assert_eq!(played.waits(), Waits::Client);
    assert_eq!(played.session.deadline(), deadline);
    played.session.receive(b"x");
    assert_eq!(played.waits(), Waits::Client);
    assert_ne!(played.session.deadline(), deadline);
}

/// Mail data extends the client's deadline, wherever it was read to.
#[test]
fn mail_data_read_in_place_is_unchanged() {
    for rate in [0, 500] {
        let mut settings = Settings::new("mx.example");
        settings.limits.data_rate = rate;
        // A previous message, whose memory offers room.
        Played::with_recipient(settings.clone()).say(&"x".repeat(10_000));
        let [handed_over, in_room] = [false, true].map(|in_room| {
            let mut played = Played::with_recipient(settings.clone());
            played.say("x");
            let (deadline, octets) = (played.session.deadline(), [b'x'; 1000]);
            played.now += MINUTE;
            if in_room {
                played.session.room()[..octets.len()].copy_from_slice(&octets);
                played.session.receive_in_room(octets.len());
            } else {
                played.session.receive(&octets);
            }
            assert_eq!(played.waits(), Waits::Client);
            assert_ne!(played.session.deadline(), deadline);
            played.patience()
        });
        assert_eq!(in_room, handed_over);
    }
}

// --- handing over the message ---

/// Memory of written data is released before the rest is written, and all of it before the server
/// replies.
#[test]
fn written_message_frees_its_memory() {
    for offer in ["250 mx\r\n", "250-mx\r\n250 CHUNKING\r\n"] {
        let settings = Settings::new("mx.example");
        let budget = settings.budget.clone();
        let mut played = Played::with_recipient(settings);
        played.session.receive("sixteen octets.\r\n".repeat(20_000).as_bytes());
        played.session.receive(b".\r\n");
        assert_eq!(played.waits(), Waits::Panel);
        played.answer();
        let held = budget.used();
        assert!(held > 340_000);
        let mut onward = Onward::new(OnwardSettings::new("mx.example").into());
        let Step::Forward(forward) = played.session.poll(played.now) else { panic!("no") };
        let (request, pending) = forward.take();
        onward.request(request);
        assert_eq!(budget.used(), held, "nothing was written");
        let (mut used, mut reply) = (BTreeSet::new(), "220 mx\r\n");
        let outcome = loop {
            match onward.poll(played.now) {
                OnwardStep::Connect => onward.connected(),
                OnwardStep::Receive => onward.receive(reply.as_bytes()),
                OnwardStep::Transmit(segments) => {
                    reply = match &segments[0][..4] {
                        b"EHLO" => offer,
                        b"DATA" => "354 go on\r\n",
                        _ => "250 yes\r\n",
                    };
                    for segment in segments {
                        drop(segment);
                        used.insert(budget.used());
                    }
                }
                OnwardStep::Done(outcome) => break outcome,
                step => panic!("{step:?}"),
            }
        };
        assert!(used.len() > 5 && used.contains(&0), "{used:?}");
        pending.complete(outcome);
        assert_eq!(played.waits(), Waits::Client);
        assert!(played.said.ends_with("250 yes\r\n"), "{}", played.said);
    }
}

/// A message that was handed over and dropped is not offered again, and the client is not told that
/// it was accepted.
#[test]
fn a_message_is_handed_over_once() {
    let mut played = Played::with_content(Settings::new("mx.example"));
    played.answer();
    let mut onward = Onward::new(OnwardSettings::new("mx.example").into());
    let Step::Forward(forward) = played.session.poll(played.now) else { panic!("no") };
    let (request, _) = forward.take();
    assert!(matches!(request, Request::Content(_, message) if !message.is_empty()));
    let Step::Forward(forward) = played.session.poll(played.now) else { panic!("no") };
    assert_eq!(forward.kind(), RequestKind::Answer);
    assert_eq!(forward.recipient().unwrap().path.address(), b"c@d");
    let (request, pending) = forward.take();
    assert!(matches!(request, Request::Answer(_, to) if to.path.address() == b"c@d"));
    onward.request(request);
    let OnwardStep::Done(outcome) = onward.poll(played.now) else { panic!("it is unknown") };
    pending.complete(outcome);
    assert_eq!(played.waits(), Waits::Client);
    assert!(played.said.contains("\r\n451 4.4.2 "), "{}", played.said);
}

#[test]
fn inspecting_a_request_does_not_consume_it() {
    let mut played = Played::with_content(Settings::new("mx.example"));
    played.answer();
    for _ in 0..3 {
        let Step::Forward(forward) = played.session.poll(played.now) else { panic!("no") };
        assert_eq!(forward.kind(), RequestKind::Content);
        assert_eq!(forward.recipient(), None);
        assert_eq!(forward.envelope().forward_paths[0].path.address(), b"c@d");
    }
    played.answer();
    assert_eq!(played.waits(), Waits::Client);
    assert!(played.said.ends_with("250 2.0.0 Ok: queued as 1\r\n"), "{}", played.said);
}

/// An outcome counts from the moment it is given, whatever happens before the next `poll`.
#[test]
fn outcome_takes_precedence_over_timeout_and_lost_client() {
    type Then = fn(&mut Session, Instant);
    let late: Then = |session, now| session.handle_timeout(now + Duration::from_secs(100_000));
    let lost: Then = |session, _| session.lose_client();
    for then in [late, lost] {
        let mut played = Played::with_content(Settings::new("mx.example"));
        played.answer();
        let Step::Forward(forward) = played.session.poll(played.now) else { panic!("no") };
        let (_, pending) = forward.take();
        pending.complete(Outcome::Accepted(Receipt::kept("1")));
        then(&mut played.session, played.now);
        let Step::Ended(end) = played.session.poll(played.now) else { panic!("no end") };
        assert_eq!(end.cause, EndCause::Accepted);
    }
}

/// The rest of a line that is too long and the next command may arrive in one piece.
#[test]
fn command_after_a_faulty_line_is_read() {
    let mut played = Played::new(Settings::new("mx.example"));
    ["".into(), "x".repeat(3_000)].into_iter().for_each(|command: String| played.say(&command));
    assert!(played.said.ends_with("\r\n500 5.5.2 Line too long\r\n"));
    played.say("X\r\nNOOP\r\n");
    assert!(played.said.ends_with("long\r\n250 2.0.0 Ok\r\n"), "{}", played.said);
}

/// A MAIL sent before the shutdown, but read after it, begins no transaction.
#[test]
fn no_transaction_begins_during_shutdown() {
    let mut played = Played::new(Settings::new("mx.example"));
    ["", "HELO c\r\n"].into_iter().for_each(|command| played.say(command));
    assert!(!played.session.is_going_down() && !played.session.is_closed());
    played.session.receive(b"MAIL FROM:<a@b>\r\n");
    played.session.shut_down();
    assert!(played.session.is_going_down());
    assert_eq!(played.waits(), Waits::Nobody);
    let last = "250 mx.example\r\n421 4.3.2 Service shutting down, try again later\r\n";
    assert!(played.said.ends_with(last), "{}", played.said);
    assert!(played.session.is_closed());
}

/// A client's strategy: the input at its turn, and the pause before it.
type Habit = (&'static str, fn(u64) -> (u64, String));

/// Clients with the least effort for a session: an octet or a command just before each deadline.
/// The relay target accepts recipients and no content.
#[test]
fn session_without_mail_is_closed() {
    let habits: [Habit; 14] = [
        ("NOOP", |_| (290, "NOOP\r\n".into())),
        ("EHLO", |_| (290, "EHLO c\r\n".into())),
        ("HELP", |_| (290, "HELP\r\n".into())),
        ("a line octet by octet", |_| (10, "N".into())),
        ("RSET", |_| (290, "RSET\r\n".into())),
        ("MAIL and RSET", |n| (290, ["MAIL FROM:<a@b>\r\n", "RSET\r\n"][n as usize % 2].into())),
        ("MAIL and EHLO", |n| (290, ["MAIL FROM:<a@b>\r\n", "EHLO c\r\n"][n as usize % 2].into())),
        ("refused MAIL", |_| (290, "MAIL FROM:<a@b> X=1\r\n".into())),
        ("RCPT", |n| {
            (290, if n == 0 { "MAIL FROM:<a@b>\r\n" } else { "RCPT TO:<c@d>\r\n" }.into())
        }),
        ("refused contents", |n| {
            let part = ["MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", "x\r\n.\r\n"];
            ([0, 170][n as usize % 2], part[n as usize % 2].into())
        }),
        ("chunks of nobody", |_| (170, "BDAT 1\r\nx".into())),
        ("an endless chunk of nobody", |n| {
            (170, if n == 0 { "BDAT 9999999\r\n" } else { "x" }.into())
        }),
        ("chunks of an octet", |n| match n {
            0 => (0, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n".into()),
            _ => (170, "BDAT 1\r\nx".into()),
        }),
        ("commands between chunks", |n| match n {
            0 => (0, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 1\r\nx".into()),
            _ => (100, "NOOP\r\n".into()),
        }),
    ];
    for rate in [0, 500] {
        for (name, habit) in habits {
            let mut settings = Settings::new("mx.example");
            settings.limits.data_rate = rate;
            let mut played = Played::new(settings);
            ["", "EHLO c\r\n"].into_iter().for_each(|command| played.try_say(command));
            let began = played.now;
            for n in 0.. {
                let (wait, says) = habit(n);
                let patience = played.session.deadline().map(|it| it.at);
                let speaks = played.now + Duration::from_secs(wait);
                match patience {
                    Some(at) if at <= speaks => {
                        played.now = at;
                        played.session.handle_timeout(at);
                        played.try_say("");
                    }
                    _ => {
                        played.now = speaks;
                        played.try_say(&says);
                    }
                }
                if played.session.is_closed() {
                    break;
                }
                let lasted = played.now - began;
                assert!(lasted <= 125 * MINUTE, "{name}, rate {rate}: still there");
            }
        }
    }
}

/// A message of exactly the offered size fits into the onward server's SIZE, including everything
/// that is added. One octet more is refused here.
#[test]
fn the_size_that_is_offered_leaves_room_for_added_fields() {
    let name = "n".repeat(300);
    for (onward, offered) in [(10_240_000, 10_223_616), (40_000, 23_616), (20_000, 10_000)] {
        for beyond in [0, 1] {
            let mut settings = Settings::new(&name);
            settings.authserv_id = None;
            let mut played = Played::new(settings);
            let mut through = Capabilities::all();
            through.size = Some(onward);
            played.session.offer(&through);
            ["", "EHLO c\r\n"].into_iter().for_each(|command| played.say(command));
            assert!(played.said.contains(&format!("250-SIZE {offered}\r\n")), "{}", played.said);
            let to = "t".repeat(200);
            played.say(&format!("MAIL FROM:<a@b> SIZE={offered}\r\nRCPT TO:<{to}@d>\r\n"));
            let size = offered + beyond;
            played.session.receive(format!("BDAT {size} LAST\r\n").as_bytes());
            // Without a header, an empty line is added, too.
            played.session.receive(&[&vec![b'x'; size as usize - 2][..], b"\r\n"].concat());
            if beyond == 1 {
                assert_eq!(played.waits(), Waits::Client);
                assert!(
                    played.said.contains("552 5.3.4 Message size exceeds the limit"),
                    "{}",
                    played.said
                );
                continue;
            }
            assert_eq!(played.waits(), Waits::Panel);
            let Step::Ask(question) = played.session.poll(played.now) else { panic!("not asked") };
            let field = |_| HeaderField::new("X-Score", &"long word ".repeat(100)).unwrap();
            question.answer(Verdict::Tag((0..100).map(field).collect()));
            let Step::Forward(forward) = played.session.poll(played.now) else { panic!("no") };
            let (Request::Content(_, message), _) = forward.take() else { panic!("no content") };
            let added = message.len() as u64 - size;
            assert!(added > 13_000 || onward < 40_000, "{added} octets were added");
            if onward >= 40_000 {
                assert!(message.len() as u64 <= onward, "{added} octets were added");
            }
        }
    }
}
