use super::*;

/// A session whose client is to say its next command.
fn waiting() -> (Session, Instant) {
    let (now, time_of_day) = (Instant::now(), SystemTime::UNIX_EPOCH);
    let settings = Settings::new("mx.example").into();
    let mut session =
        Session::new(settings, SessionId::new("test"), Peer::local(), now, time_of_day);
    wait(&mut session, now);
    (session, now)
}

/// Answers until the client is waited for.
fn wait(session: &mut Session, now: Instant) {
    loop {
        match session.poll(now) {
            Step::Ask(question) => question.answer(Verdict::Pass),
            Step::Transmit(_) => {}
            Step::Receive => return,
            step => panic!("{step:?}"),
        }
    }
}

/// Whoever has sent much at once and sits idle holds no more than others.
#[test]
fn an_idle_session_holds_no_large_buffer() {
    for (octets, is_kept) in [(state::IDLE_BUFFER, true), (state::IDLE_BUFFER + 1, false)] {
        // At once, and octet by octet, for which the buffer grows.
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
