//! Plaintext after STARTTLS, or after the reply to it, is never acted on (RFC 3207 section 6), for
//! every chunking and every position of the upgrade.

#![allow(clippy::disallowed_methods, clippy::panic, clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use nobounce::envelope::SessionId;
use nobounce::onward::{OnwardSettings, OnwardStep, TlsPolicy};
use nobounce::outcome::RelayError;
use nobounce::peer::TlsInfo;
use nobounce::reply::ReplyError;
use nobounce::{
    Envelope, ForwardPath, Onward, Outcome, Peer, Request, ReversePath, Session, Settings, Step,
    Verdict,
};

const HELLO: &str = "EHLO client.example\r\n";
/// Plaintext that an attacker tries to inject at the start of the TLS session.
const INJECTED: &str = "EHLO evil.example\r\nMAIL FROM:<evil@example.com>\r\n";

/// A plaintext session with its output.
struct Gate {
    session: Session,
    said: String,
    upgraded: bool,
}

/// The side that must act next.
#[derive(Debug, PartialEq)]
enum Turn {
    Client,
    Handshake,
    Nobody,
}

impl Gate {
    fn new() -> Self {
        let mut settings = Settings::new("gate.example");
        settings.capabilities.start_tls = true;
        let (now, time_of_day) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let id = SessionId::new("test");
        let session = Session::new(settings.into(), id, Peer::local(), now, time_of_day);
        let mut gate = Self { session, said: String::new(), upgraded: false };
        assert_eq!(gate.run(), Turn::Client);
        gate
    }

    fn hear(&mut self, octets: &str) -> Turn {
        self.session.receive(octets.as_bytes());
        self.run()
    }

    fn run(&mut self) -> Turn {
        loop {
            match self.session.poll(Instant::now()) {
                Step::Transmit(octets) => self.said += str::from_utf8(&octets).unwrap(),
                Step::Ask(question) => question.answer(Verdict::Pass),
                Step::Receive => return Turn::Client,
                Step::StartTls => return Turn::Handshake,
                Step::Close => return Turn::Nobody,
                step => panic!("{step:?}"),
            }
        }
    }

    fn upgrade(&mut self) {
        self.session.tls_started(TlsInfo::new("TLSv1.3", "TLS_AES_256_GCM_SHA384"));
        self.upgraded = true;
        self.said.clear();
        assert_eq!(self.run(), Turn::Client);
    }
}

#[test]
fn commands_after_starttls_are_not_executed() {
    for split in 0..=INJECTED.len() {
        let (with, after) = INJECTED.split_at(split);
        let mut gate = Gate::new();
        assert_eq!(gate.hear(HELLO), Turn::Client);
        assert!(gate.said.contains("STARTTLS"), "{}", gate.said);
        match gate.hear(&format!("STARTTLS\r\n{with}")) {
            // Input after STARTTLS is a violation, so TLS does not start.
            Turn::Nobody => {
                assert_ne!(split, 0);
                assert!(gate.said.ends_with("554 5.5.0 SMTP protocol synchronization error\r\n"));
                gate.session.tls_started(TlsInfo::new("TLSv1.3", "TLS_AES_256_GCM_SHA384"));
                assert_eq!(gate.hear(after), Turn::Nobody);
            }
            // There was none. Input that arrives now is too late to be read.
            Turn::Handshake => {
                assert_eq!(split, 0);
                assert_eq!(gate.hear(after), Turn::Handshake);
                gate.upgrade();
            }
            Turn::Client => panic!("STARTTLS was ignored: {}", gate.said),
        }
        assert!(!gate.said.contains("250 2.1.0"), "{}", gate.said);
    }
}

#[test]
fn input_before_the_handshake_is_discarded() {
    for length in 0..=INJECTED.len() {
        let mut gate = Gate::new();
        gate.hear(HELLO);
        assert_eq!(gate.hear("STARTTLS\r\n"), Turn::Handshake);
        // A caller that wrongly continues reading.
        for octet in INJECTED[..length].bytes() {
            gate.session.receive(&[octet]);
        }
        gate.upgrade();
        assert_eq!(gate.said, "", "after {length}");
        assert_eq!(gate.session.peer().helo, None);
        assert_eq!(gate.hear("MAIL FROM:<a@client.example>\r\n"), Turn::Client);
        assert_eq!(gate.said, "503 5.5.1 Send EHLO first\r\n", "after {length}");
        gate.said.clear();
        gate.hear(HELLO);
        assert!(gate.said.ends_with("\r\n") && !gate.said.contains("STARTTLS"), "{}", gate.said);
        assert_eq!(gate.session.peer().helo.as_ref().unwrap().name.as_ref(), "client.example");
    }
}

/// Returns an onward connection after STARTTLS was sent.
fn asked(policy: TlsPolicy) -> Onward {
    let mut settings = OnwardSettings::new("gate.example");
    settings.tls = policy;
    let mut onward = Onward::new(Arc::new(settings));
    let sender = ReversePath::parse("<a@client.example>").unwrap();
    let recipient = ForwardPath::parse("<b@mx.example>").unwrap();
    let id = SessionId::new("test").transaction(1);
    let envelope = Envelope::new(id, Arc::new(Peer::local()), sender);
    onward.request(Request::Recipient(&envelope, &recipient));
    assert!(matches!(onward.poll(Instant::now()), OnwardStep::Connect));
    onward.connected();
    onward.receive(b"220 mx.example\r\n");
    assert_eq!(said(&mut onward), "EHLO gate.example\r\n");
    onward.receive(b"250-mx.example\r\n250-PIPELINING\r\n250-DSN\r\n250 STARTTLS\r\n");
    assert_eq!(said(&mut onward), "STARTTLS\r\n");
    assert!(matches!(onward.poll(Instant::now()), OnwardStep::Receive));
    onward
}

fn said(onward: &mut Onward) -> String {
    match onward.poll(Instant::now()) {
        OnwardStep::Transmit(segments) => String::from_utf8(segments.concat()).unwrap(),
        step => panic!("{step:?}"),
    }
}

#[test]
fn replies_after_220_are_discarded() {
    const GO_AHEAD: &str = "220 Go ahead\r\n";
    const REPLIES: &str = "250-evil.example\r\n250 PIPELINING\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n";
    for policy in [TlsPolicy::May, TlsPolicy::Must] {
        for split in 0..=REPLIES.len() {
            let (with, after) = REPLIES.split_at(split);
            let mut onward = asked(policy);
            onward.receive(format!("{GO_AHEAD}{with}").as_bytes());
            if split > 0 {
                // In one piece with the 220 reply: the connection is abandoned.
                let OnwardStep::Done(Outcome::Failed(error)) = onward.poll(Instant::now()) else {
                    panic!("{policy:?} {split}: {onward:?}");
                };
                assert!(matches!(error, RelayError::Garbled(ReplyError::OutOfTurn)), "{error}");
                assert!(matches!(onward.poll(Instant::now()), OnwardStep::Disconnect));
                continue;
            }
            assert!(matches!(onward.poll(Instant::now()), OnwardStep::StartTls));
            assert_eq!(onward.capabilities(), None);
            // A caller that wrongly continues reading.
            onward.receive(after.as_bytes());
            onward.tls_started();
            assert_eq!(said(&mut onward), "EHLO gate.example\r\n");
            assert!(matches!(onward.poll(Instant::now()), OnwardStep::Receive), "{onward:?}");
            onward.receive(b"250 mx.example\r\n");
            // Extensions offered in plaintext are void, so pipelining is not used.
            assert_eq!(said(&mut onward), "MAIL FROM:<a@client.example>\r\n");
            let offered = onward.capabilities().unwrap();
            assert!(!offered.pipelining && !offered.dsn, "{offered:?}");
        }
    }
}

#[test]
fn spurious_calls_around_the_handshake_change_nothing() {
    let mut onward = asked(TlsPolicy::Must);
    onward.receive(b"220 Go ahead\r\n");
    assert!(matches!(onward.poll(Instant::now()), OnwardStep::StartTls));
    // Spurious calls have no effect.
    onward.connected();
    onward.handle_timeout(Instant::now());
    assert!(matches!(onward.poll(Instant::now()), OnwardStep::StartTls));
    onward.tls_started();
    onward.tls_started();
    onward.tls_failed("too late");
    assert_eq!(said(&mut onward), "EHLO gate.example\r\n");
}

/// RFC 3207 has the reply 454 for this, after which a client may continue in plaintext. An attacker
/// with many handshakes must not cause this for other clients.
#[test]
fn starttls_gets_421_while_no_handshake_can_begin() {
    let mut gate = Gate::new();
    gate.hear(HELLO);
    gate.said.clear();
    gate.session.hold_tls(true);
    assert_eq!(gate.hear("STARTTLS\r\n"), Turn::Nobody);
    assert_eq!(gate.said, "421 4.7.0 Too many TLS handshakes, try again later\r\n");
    let mut gate = Gate::new();
    gate.session.hold_tls(true);
    gate.session.hold_tls(false);
    gate.hear(HELLO);
    assert_eq!(gate.hear("STARTTLS\r\n"), Turn::Handshake);
}
