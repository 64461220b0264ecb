//! Limits that no dialogue can show: how much of a message scorers see, how long replies are held,
//! and peers that do not read.
#![allow(clippy::disallowed_methods, reason = "any moment: all times are counted from it")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nobounce::envelope::SessionId;
use nobounce::message::HeaderField;
use nobounce::onward::{OnwardSettings, OnwardStep};
use nobounce::testing::{Chunking, Transcript};
use nobounce::verdict::Subject;
use nobounce::{
    Envelope, ForwardPath, Onward, Outcome, Peer, Receipt, Request, ReversePath, Session, Settings,
    Step, Verdict,
};

/// Returns whether scorers see with this setting that the content is truncated for them. The
/// client's mail passes without a note.
fn is_truncated(setting: &str, content: &str) -> bool {
    let content: String = content.lines().map(|line| format!("C: {line}\n")).collect();
    let transcript = Transcript::parse(&format!(
        "@ limits.mime.{setting}\n@ relay accepts\nS: 220 ...\nC: HELO c\nS: 250 gate.example.com\n\
         C: MAIL FROM:<a@b>\nS: 250 2.1.0 Sender ok\nC: RCPT TO:<c@d>\nS: 250 2.1.5 Ok\n\
         C: DATA\nS: 354 ...\n{content}C: .\nS: 250 2.0.0 Ok: queued as 1"
    ));
    let mut truncated = None;
    let panel = |subject: Subject<'_>| {
        if let Subject::Content(_, message) = subject {
            truncated = Some(message.view().truncated());
        }
        Verdict::Pass
    };
    transcript.unwrap().play_with(Chunking::Whole, panel).unwrap();
    truncated.unwrap()
}

#[test]
fn mime_parts() {
    let parts = |count: usize| {
        let mixed = "Content-Type: multipart/mixed; boundary=b\n\n";
        format!("{mixed}{}--b--\n", "--b\n\nx\n".repeat(count - 1))
    };
    assert!(!is_truncated("parts 5", &parts(5)));
    assert!(is_truncated("parts 5", &parts(6)));
}

#[test]
fn mime_depth() {
    let nested = |depth: usize| "Content-Type: message/rfc822\n\n".repeat(depth) + "\nx\n";
    assert!(!is_truncated("depth 5", &nested(5)));
    assert!(is_truncated("depth 5", &nested(6)));
}

#[test]
fn mime_field() {
    // ` text/plain; x=` precedes the value.
    let field =
        |octets: usize| format!("Content-Type: text/plain; x={}\n\nx\n", "x".repeat(octets - 15));
    assert!(!is_truncated("field 50", &field(50)));
    assert!(is_truncated("field 50", &field(51)));
}

#[test]
fn mime_readings() {
    let twice = |name: &str| format!("{name}: a/b\n{name}: c/d\n");
    let two = twice("Content-Type");
    // Lines that are not fields make two more readings of each.
    let four = format!("{two}junk\n\nx\n");
    assert!(!is_truncated("readings 2", &format!("{two}\nx\n")));
    assert!(is_truncated("readings 1", &format!("{two}\nx\n")));
    assert!(!is_truncated("readings 4", &four));
    assert!(is_truncated("readings 3", &four));
}

/// Returns whether a field of this length is added after another field from a scorer.
fn is_added(octets: usize) -> bool {
    let mut settings = Settings::new("mx.example");
    settings.limits.added_fields = 100;
    let (now, id) = (Instant::now(), SessionId::new("test"));
    let peer = Peer::new(([192, 0, 2, 1], 4711).into());
    let mut session = Session::new(settings.into(), id, peer, now, SystemTime::UNIX_EPOCH);
    session.receive(b"");
    let mut says =
        [&b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"[..], b"BDAT 0 LAST\r\n"].into_iter();
    loop {
        match session.poll(now) {
            Step::Receive => session.receive(says.next().unwrap()),
            Step::Ask(question) => {
                // Each has two more octets for CRLF and three for the name.
                let fields = ["x".repeat(45), "y".repeat(octets - 5)];
                let fields = fields.map(|value| HeaderField::new("A", &value).unwrap());
                let is_content = matches!(question.subject(), Subject::Content(..));
                question.answer(match is_content {
                    true => Verdict::Tag(fields.into()),
                    false => Verdict::Pass,
                });
            }
            Step::Forward(forward) => match forward.take() {
                (Request::Content(_, message), _) => {
                    let message = message.segments().concat();
                    assert!(message.starts_with(b"A: x"));
                    return message.windows(2).any(|two| two == b"yy");
                }
                (_, pending) => pending.complete(Outcome::Accepted(Receipt::recipient())),
            },
            _ => {}
        }
    }
}

#[test]
fn added_fields() {
    assert!(is_added(50));
    assert!(!is_added(51));
}

/// Returns a session in a transaction, and the time.
fn session() -> (Session, Instant) {
    let (now, id) = (Instant::now(), SessionId::new("test"));
    let peer = Peer::new(([192, 0, 2, 1], 4711).into());
    let mut settings = Settings::new("mx.example");
    settings.limits.junk_commands = 1_000;
    let mut session = Session::new(settings.into(), id, peer, now, SystemTime::UNIX_EPOCH);
    pass(&mut session, now);
    assert!(matches!(session.poll(now), Step::Transmit(_)));
    session.receive(b"EHLO c\r\n");
    assert!(matches!(session.poll(now), Step::Transmit(_)));
    assert!(matches!(session.poll(now), Step::Receive));
    (session, now)
}

/// Answers the session's question to the panel without objection.
fn pass(session: &mut Session, now: Instant) {
    let Step::Ask(question) = session.poll(now) else { panic!("not asked") };
    question.answer(Verdict::Pass);
}

const GROUP: &str = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<c@d>\r\n";

#[test]
fn held_replies() {
    // A reply to NOOP has 14 octets, the reply to MAIL 21. The reply to EHLO has been sent.
    let held = |noops: usize| {
        let (mut session, now) = session();
        session.receive("NOOP\r\n".repeat(noops).as_bytes());
        session.receive(GROUP.as_bytes());
        match session.poll(now) {
            Step::Ask(_) => true,
            Step::Transmit(octets) => {
                assert_eq!(octets.len(), 14 * noops + 21);
                false
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(held(583), "8,183 octets");
    assert!(!held(584), "8,197 octets");
}

#[test]
fn held_time() {
    let held = |milliseconds: u64| {
        let (mut session, mut now) = session();
        session.receive(GROUP.as_bytes());
        // The reply to MAIL is held while the panel and then the relay target are asked.
        pass(&mut session, now);
        now += Duration::from_millis(milliseconds);
        matches!(session.poll(now), Step::Forward(_))
    };
    assert!(held(999));
    assert!(!held(1_000));
}

#[test]
fn reply_time() {
    for (seconds, is_over) in [(299, false), (300, true)] {
        let (mut session, now) = session();
        session.receive(b"NOOP\r\n");
        assert!(matches!(session.poll(now), Step::Transmit(_)));
        let after = now + Duration::from_secs(seconds);
        session.handle_timeout(after);
        let step = session.poll(after);
        assert_eq!(matches!(step, Step::Close), is_over, "{seconds}: {step:?}");
    }
}

/// Returns a session that waits for a command, and whose gate has just come under stress.
fn under_stress() -> (Session, Instant) {
    let (mut session, now) = session();
    session.set_stress(true, now);
    (session, now)
}

#[test]
fn stress_wait() {
    for (seconds, is_over) in [(9, false), (10, true)] {
        // The wait for the command begins before or after the stress.
        for begun in [true, false] {
            let (mut session, now) = under_stress();
            if !begun {
                session.receive(b"NOOP\r\n");
                assert!(matches!(session.poll(now), Step::Transmit(_)));
                assert!(matches!(session.poll(now), Step::Receive));
            }
            let after = now + Duration::from_secs(seconds);
            session.handle_timeout(after);
            let step = session.poll(after);
            assert_eq!(matches!(step, Step::Transmit(_)), is_over, "{seconds}: {step:?}");
        }
    }
}

/// One command every 9 s keeps a place for a minute, even if stress begins meanwhile.
#[test]
fn stress_commands_time() {
    for begins_at in [0, 20] {
        let (mut session, mut now) = session();
        session.receive(b"MAIL FROM:<a@b>\r\n");
        assert!(matches!(session.poll(now), Step::Transmit(_)));
        for n in 0.. {
            assert!(matches!(session.poll(now), Step::Receive), "{begins_at} {n}");
            if n == begins_at {
                session.set_stress(true, now);
            }
            now += Duration::from_secs(9);
            if session.deadline().is_some_and(|deadline| deadline.at <= now) {
                // The seventh command would come after 63 s.
                assert_eq!(n, begins_at + 6);
                break;
            }
            session.receive(format!("RCPT TO:<{n}@d>\r\n").as_bytes());
            pass(&mut session, now);
            let Step::Forward(forward) = session.poll(now) else { panic!("not forwarded") };
            forward.complete(Outcome::Accepted(Receipt::recipient()));
            assert!(matches!(session.poll(now), Step::Transmit(_)));
        }
        session.handle_timeout(now);
        let told = loop {
            match session.poll(now) {
                Step::Ended(_) => {}
                Step::Transmit(octets) => break octets,
                other => panic!("{other:?}"),
            }
        };
        assert!(told.starts_with(b"421 4.4.2 "), "{told:?}");
    }
}

/// Mail data with one octet per second is too slow after 10 s, even if stress begins meanwhile.
#[test]
fn stress_data_rate_credit() {
    for begins_at in [0, 20] {
        let (mut session, mut now) = session();
        session.receive(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n");
        pass(&mut session, now);
        let Step::Forward(forward) = session.poll(now) else { panic!("not forwarded") };
        forward.complete(Outcome::Accepted(Receipt::recipient()));
        assert!(matches!(session.poll(now), Step::Transmit(_)));
        for second in 0.. {
            assert!(matches!(session.poll(now), Step::Receive), "{begins_at} {second}");
            if second == begins_at {
                session.set_stress(true, now);
            }
            now += Duration::from_secs(1);
            if session.deadline().is_some_and(|deadline| deadline.at <= now) {
                // Each octet was worth 2 ms.
                assert_eq!(second + 1, begins_at + 11);
                break;
            }
            session.receive(b"z");
        }
        session.handle_timeout(now);
        let Step::Ended(_) = session.poll(now) else { panic!("not ended") };
        let Step::Transmit(octets) = session.poll(now) else { panic!("no reply") };
        assert!(octets.starts_with(b"421 4.4.2 Mail data received too slowly"), "{octets:?}");
    }
}

/// Returns the session's replies to these commands.
fn replies(session: &mut Session, now: Instant, commands: &[u8]) -> String {
    session.receive(commands);
    let Step::Transmit(octets) = session.poll(now) else { panic!("no reply") };
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn stress_errors() {
    let (mut session, now) = under_stress();
    assert_eq!(replies(&mut session, now, b"FOO\r\n"), "421 4.7.0 Too many errors\r\n");
    // Clients of own networks are exempt from stress limits.
    let settings = Settings::new("mx.example");
    let id = SessionId::new("own");
    let mut own = Session::new(settings.into(), id, Peer::local(), now, SystemTime::UNIX_EPOCH);
    own.set_stress(true, now);
    assert!(!own.is_stressed());
}

#[test]
fn stress_junk_commands() {
    let (mut session, now) = under_stress();
    assert_eq!(replies(&mut session, now, b"NOOP\r\n"), "250 2.0.0 Ok\r\n");
    let told = replies(&mut session, now, b"NOOP\r\n");
    assert_eq!(told, "421 4.7.0 Too many commands without a message\r\n");
}

#[test]
fn verdict_time() {
    for (seconds, is_over) in [(119, false), (120, true)] {
        let (mut session, now) = session();
        session.receive(GROUP.as_bytes());
        assert!(matches!(session.poll(now), Step::Ask(_)));
        let after = now + Duration::from_secs(seconds);
        session.handle_timeout(after);
        match session.poll(after) {
            Step::Ask(question) => {
                question.answer(Verdict::Pass);
                assert!(!is_over);
            }
            Step::Transmit(octets) => {
                let told = str::from_utf8(&octets).unwrap();
                assert!(is_over && told.contains("\r\n451 4.3.0 Checks timed out"), "{told}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn onward_data_block_time() {
    for (seconds, is_over) in [(179, false), (180, true)] {
        let now = Instant::now();
        let mut onward = Onward::new(OnwardSettings::new("gate.example").into());
        let sender = ReversePath::parse("<a@b>").unwrap();
        let peer = Arc::new(Peer::local());
        let envelope = Envelope::new(SessionId::new("test").transaction(1), peer, sender);
        let recipient = ForwardPath::parse("<c@d>").unwrap();
        onward.request(Request::Recipient(&envelope, &recipient));
        assert!(matches!(onward.poll(now), OnwardStep::Connect));
        onward.connected();
        onward.receive(b"220 o\r\n");
        // Same as for each block of mail data: the gate writes, but the server does not read.
        assert!(matches!(onward.poll(now), OnwardStep::Transmit(_)));
        onward.handle_timeout(now + Duration::from_secs(seconds));
        let after = onward.poll(now + Duration::from_secs(seconds));
        let late = matches!(&after, OnwardStep::Done(Outcome::Failed(_)) | OnwardStep::Disconnect);
        assert_eq!(late, is_over, "{seconds}: {after:?}");
    }
}
