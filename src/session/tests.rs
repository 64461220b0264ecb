use std::time::Duration;

use super::output::{HOLD, HOLD_OCTETS};
use super::*;
use crate::outcome::{Outcome, Receipt};

/// Returns a session that waits for a command.
#[allow(clippy::disallowed_methods, reason = "any instant is suitable")]
fn waiting() -> (Session, Instant) {
    let (now, time_of_day) = (Instant::now(), SystemTime::UNIX_EPOCH);
    let settings = Settings::new("mx.example").into();
    let mut session =
        Session::new(settings, SessionId::new("test"), Peer::local(), now, time_of_day);
    wait(&mut session, now);
    (session, now)
}

/// Answers questions and requests until the session reads from the client.
fn wait(session: &mut Session, now: Instant) {
    loop {
        match session.poll(now) {
            Step::Ask(question) => question.answer(Verdict::Pass),
            Step::Forward(forward) => forward.complete(Outcome::Accepted(Receipt::recipient())),
            Step::Transmit(_) | Step::Ended(_) => {}
            Step::Receive => return,
            step => panic!("{step:?}"),
        }
    }
}

/// A client that sent much at once and is now idle holds no more memory than others.
#[test]
fn an_idle_session_holds_no_large_buffer() {
    for (octets, is_kept) in [(advance::IDLE_BUFFER, true), (advance::IDLE_BUFFER + 1, false)] {
        // All at once, and octet by octet, which makes the buffer grow.
        for size in [octets, 1] {
            let (mut session, now) = waiting();
            let command = format!("NOOP {}\r\n", "x".repeat(octets - 7));
            for part in command.as_bytes().chunks(size) {
                session.receive(part);
                wait(&mut session, now);
            }
            assert!(session.input.is_empty());
            let held = (0..).find(|it| !session.input.try_reclaim(it + 1)).unwrap();
            assert_eq!(held, if is_kept { octets } else { 0 }, "{octets} by {size}");
        }
    }
}

/// Mail data is read in portions. Discarded mail data is read without a limit.
#[test]
#[cfg(feature = "serve")]
fn read_size_depends_on_the_state() {
    use crate::wire::budget::FIRST;

    let (mut session, now) = waiting();
    for (octets, portion) in [
        ("EHLO client.example\r\n", None),
        ("BDAT 9\r\n", Some(usize::MAX)),
        ("123456789", None),
        ("MAIL FROM:<a@client.example>\r\n", None),
        ("RCPT TO:<b@mx.example>\r\n", None),
        ("BDAT 9\r\n", Some(FIRST)),
        ("1234567", Some(FIRST - 7)),
        ("\r\n", None),
        ("RSET\r\n", None),
        ("MAIL FROM:<a@client.example>\r\n", None),
        ("RCPT TO:<b@mx.example>\r\n", None),
        ("DATA\r\n", Some(FIRST)),
        ("123456789\r\n", Some(FIRST - 11)),
    ] {
        session.receive(octets.as_bytes());
        wait(&mut session, now);
        assert_eq!(session.portion(), portion, "after {octets:?}");
    }
}

/// The client's total time does not include the time that the relay target takes.
#[test]
fn time_of_the_relay_target_does_not_count_for_the_client() {
    let (mut session, mut now) = waiting();
    let patience = session.patience.unwrap();
    let took = Duration::from_secs(100);
    for command in ["EHLO client.example\r\n", "MAIL FROM:<a@client.example>\r\n"] {
        session.receive(command.as_bytes());
        wait(&mut session, now);
    }
    for (command, answers) in [("RCPT TO:<b@mx.example>\r\n", 1), ("DATA\r\n", 2)] {
        session.receive(command.as_bytes());
        loop {
            match session.poll(now) {
                Step::Ask(question) => question.answer(Verdict::Pass),
                Step::Forward(forward) => {
                    forward.complete(Outcome::Accepted(Receipt::recipient()));
                    break;
                }
                step => assert!(matches!(step, Step::Transmit(_)), "{step:?}"),
            }
        }
        now += took;
        wait(&mut session, now);
        assert_eq!(session.patience, Some(patience + answers * took), "{command}");
        session.doubt_recipients();
    }
}

/// Replies are held back for their group, for at most a second and 8 KiB.
#[test]
fn replies_are_held_neither_long_nor_in_large_numbers() {
    let just_before = HOLD - Duration::from_nanos(1);
    for (octets, held, leave) in [
        (0, HOLD, false),
        (1, Duration::ZERO, false),
        (1, just_before, false),
        (1, HOLD, true),
        (HOLD_OCTETS, just_before, false),
        (HOLD_OCTETS + 1, Duration::ZERO, true),
    ] {
        let (mut session, now) = waiting();
        session.output.resize(octets, b' ');
        let wait = Duration::from_secs(60);
        for (now, leave) in [(now, octets > HOLD_OCTETS), (now + held, leave)] {
            session.deadline = None;
            let next = session.hold_or(Next::Ask, Awaiting::Verdict, wait, now, now);
            assert_eq!(matches!(next, Next::Transmit), leave, "{octets} octets for {held:?}");
        }
    }
}

/// Extensions that the gate implements itself do not depend on the relay target.
#[test]
fn client_side_extensions_are_offered_for_any_relay_target() {
    let (mut session, now) = waiting();
    session.offer(&Capabilities::none());
    session.receive(b"EHLO client.example\r\n");
    match session.poll(now) {
        Step::Transmit(octets) => assert_eq!(
            octets,
            "250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n\
             250 LIMITS RCPTMAX=1000\r\n"
        ),
        step => panic!("{step:?}"),
    }
    let mut settings = Settings::new("mx.example");
    settings.capabilities.start_tls = true;
    session.settings = settings.into();
    session.offer(&Capabilities::none());
    assert!(session.offered.start_tls);
}

#[test]
fn end_cause_is_one_word() {
    for (cause, word) in [
        (EndCause::Accepted, "accepted"),
        (EndCause::RefusedByPanel, "refused-by-panel"),
        (EndCause::RefusedByRelay, "refused-by-relay"),
        (EndCause::RelayFailed, "relay-failed"),
        (EndCause::RefusedBySession, "refused-by-session"),
        (EndCause::Reset, "reset"),
        (EndCause::ClientLost, "client-lost"),
        (EndCause::TimedOut, "timed-out"),
        (EndCause::Closed, "closed"),
    ] {
        assert_eq!(cause.to_string(), word);
    }
}
