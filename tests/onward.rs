//! The onward machine, driven directly, for cases that a dialogue cannot express, since a session
//! has a fixed order.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nobounce::attributes::{AttributeCommand, ClientAttributes};
use nobounce::envelope::SessionId;
use nobounce::message::MailData;
use nobounce::onward::{Identify, OnwardSettings, OnwardStep, ProxyVersion, TlsPolicy};
use nobounce::peer::NameLookup;
use nobounce::session::Awaiting;
use nobounce::{Envelope, ForwardPath, Message, Onward, Outcome, Peer, Request, ReversePath};

/// A command to the server, and its reply.
type Exchange = (&'static str, &'static str);

const CONNECT: Exchange = ("<connect>", "220 onward.example.com\r\n");
const EHLO: Exchange = ("EHLO gate.example.com\r\n", "250 onward.example.com\r\n");
const MAIL: Exchange = ("MAIL FROM:<a@example.org>\r\n", "250 2.1.0 Ok\r\n");
const RCPT_B: Exchange = ("RCPT TO:<b@example.com>\r\n", "250 2.1.5 Ok\r\n");
const RCPT_C: Exchange = ("RCPT TO:<c@example.com>\r\n", "250 2.1.5 Ok\r\n");
const RSET: Exchange = ("RSET\r\n", "250 2.0.0 Ok\r\n");
const DATA: Exchange = ("DATA\r\n", "354 Go ahead\r\n");

struct Played {
    onward: Onward,
    now: Instant,
    envelope: Envelope,
}

/// The state in which the machine waits.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    Receive,
    StartTls,
    Idle,
    /// Done, with this reply for the client.
    Done(String),
}

impl Played {
    fn new(identify: Identify, tls: TlsPolicy) -> Self {
        let mut settings = OnwardSettings::new("gate.example.com");
        (settings.identify, settings.tls) = (identify, tls);
        Self {
            onward: Onward::new(settings.into()),
            now: Instant::now(),
            envelope: envelope(1, client(1), "<a@example.org>"),
        }
    }

    /// Returns a machine with an idle connection.
    fn introduced() -> Self {
        let mut played = Self::new(Identify::None, TlsPolicy::Never);
        played.onward.introduce();
        played.exchange(&[CONNECT, EHLO]);
        assert_eq!(played.run(), said("", Rest::Idle));
        played
    }

    /// Returns a machine with an accepted recipient.
    fn with_recipient() -> Self {
        let mut played = Self::introduced();
        played.rcpt("<b@example.com>");
        played.exchange(&[MAIL, RCPT_B]);
        assert_eq!(played.run(), said("", Rest::Done("250 2.1.5 Ok".into())));
        played.envelope.forward_paths.push(path("<b@example.com>"));
        played
    }

    fn rcpt(&mut self, recipient: &str) {
        self.onward.request(Request::Recipient(&self.envelope, &path(recipient)));
    }

    fn content(&mut self, content: &str) {
        let content = MailData::normalise(content.as_bytes());
        let host = "gate.example.com";
        let message = Message::new(host, &self.envelope, SystemTime::UNIX_EPOCH, content);
        self.onward.request(Request::Content(&self.envelope, message));
    }

    /// Runs the machine until it waits, and returns its output. Connection attempts succeed.
    fn run(&mut self) -> (String, Rest) {
        let mut said = String::new();
        let rest = loop {
            match self.onward.poll(self.now) {
                OnwardStep::Transmit(octets) => {
                    said.push_str(str::from_utf8(&octets.concat()).unwrap());
                }
                OnwardStep::Connect => {
                    said.push_str("<connect>");
                    self.onward.connected();
                }
                OnwardStep::Disconnect => said.push_str("<close>"),
                OnwardStep::Receive => break Rest::Receive,
                OnwardStep::StartTls => break Rest::StartTls,
                OnwardStep::Idle => break Rest::Idle,
                OnwardStep::Done(Outcome::Failed(error)) => break Rest::Done(error.to_string()),
                OnwardStep::Done(outcome) => break Rest::Done(outcome.reply().to_string()),
            }
        };
        (said, rest)
    }

    fn exchange(&mut self, exchanges: &[Exchange]) {
        for (expected, reply) in exchanges {
            assert_eq!(self.run(), said(expected, Rest::Receive));
            self.onward.receive(reply.as_bytes());
        }
    }
}

fn said(text: &str, rest: Rest) -> (String, Rest) {
    (text.to_owned(), rest)
}

fn client(number: u8) -> Arc<Peer> {
    Peer::new(([192, 0, 2, number], 4321).into()).into()
}

fn envelope(n: u32, client: Arc<Peer>, reverse_path: &str) -> Envelope {
    let id = SessionId::new("test").transaction(n);
    Envelope::new(id, client, ReversePath::parse(reverse_path).unwrap())
}

fn path(path: &str) -> ForwardPath {
    ForwardPath::parse(path).unwrap()
}

// --- the state after a client ---

#[test]
fn connection_without_client_state_is_reusable() {
    let mut played = Played::new(Identify::None, TlsPolicy::Never);
    assert!(!played.onward.is_idle() && !played.onward.is_reusable(), "no connection yet");
    played.onward.introduce();
    played.exchange(&[CONNECT]);
    assert!(!played.onward.is_idle() && !played.onward.is_reusable(), "it is asked something");
    played.exchange(&[EHLO]);
    played.run();
    assert!(played.onward.is_idle() && played.onward.is_reusable());
    played.onward.reset();
    assert_eq!(played.run(), said("", Rest::Idle), "no transaction to reset");

    let mut played = Played::with_recipient();
    assert!(played.onward.is_idle() && !played.onward.is_reusable(), "a transaction is open");
    played.onward.reset();
    played.exchange(&[RSET]);
    assert_eq!(played.run(), said("", Rest::Idle));
    assert!(played.onward.is_reusable());
}

/// Servers count errors, slow down and disconnect. An accepted message compensates for errors.
#[test]
fn connection_without_refusals_since_an_accepted_message_is_reusable() {
    let mut played = Played::with_recipient();
    for _ in 0..2 {
        played.rcpt("<c@example.com>");
        played.exchange(&[(RCPT_C.0, "550 5.1.1 No\r\n")]);
        assert_eq!(played.run(), said("", Rest::Done("550 5.1.1 No".into())));
    }
    played.onward.reset();
    played.exchange(&[RSET]);
    played.run();
    assert!(played.onward.is_idle() && !played.onward.is_reusable());

    played.envelope = envelope(2, client(1), "<a@example.org>");
    played.rcpt("<b@example.com>");
    played.exchange(&[MAIL, RCPT_B]);
    played.run();
    played.envelope.forward_paths.push(path("<b@example.com>"));
    played.content("");
    played.exchange(&[DATA]);
    assert!(played.run().0.ends_with("\r\n.\r\n"));
    played.onward.receive(b"250 2.0.0 Ok: queued as 1\r\n");
    assert!(matches!(played.run().1, Rest::Done(_)));
    assert!(played.onward.is_reusable());
}

/// The server accepted a recipient that the client does not count on, and got no further command.
#[test]
fn connection_with_unwanted_recipients_is_not_reusable() {
    let mut played = Played::with_recipient();
    played.envelope.forward_paths.clear();
    played.rcpt("<c@example.com> NOTIFY=NEVER");
    let (command, rest) = played.run();
    assert_eq!(command, "", "the server does not offer DSN");
    assert!(matches!(rest, Rest::Done(reply) if reply.starts_with("451 4.3.5 ")));
    assert!(played.onward.is_idle() && !played.onward.is_reusable());
    played.onward.reset();
    played.exchange(&[RSET]);
    played.run();
    assert!(played.onward.is_reusable());
}

#[test]
fn connection_that_cannot_be_written_is_not_reusable() {
    let mut played = Played::introduced();
    played.onward.transmit_failed();
    assert!(played.onward.is_idle() && !played.onward.is_reusable());
}

#[test]
fn connection_identified_as_a_client_is_not_reusable() {
    let proxy = Identify::Proxy(ProxyVersion::V1);
    for (identify, impersonates) in [
        (Identify::None, false),
        (Identify::XForward, false),
        (Identify::XClient, true),
        (proxy, true),
    ] {
        assert_eq!(identify.impersonates(), impersonates, "{identify:?}");
        let mut played = Played::new(identify, TlsPolicy::Never);
        played.onward.speak_for(client(1));
        played.onward.introduce();
        let header =
            if identify == proxy { "PROXY TCP4 192.0.2.1 0.0.0.0 4321 25\r\n" } else { "" };
        assert_eq!(played.run(), said(&format!("<connect>{header}"), Rest::Receive));
        played.onward.receive(b"220 onward.example.com\r\n");
        played.exchange(&[EHLO]);
        played.run();
        assert!(played.onward.is_idle());
        assert_eq!(played.onward.is_reusable(), !impersonates, "{identify:?}");
    }
}

// --- changes of the client ---

#[test]
fn reply_for_one_client_is_not_given_to_another() {
    let mut played = Played::introduced();
    played.onward.speak_for(client(1));
    played.onward.speak_for(client(2));
    assert!(played.onward.is_idle(), "nothing is asked for the first");
    played.onward.speak_for(client(1));
    played.rcpt("<b@example.com>");
    played.exchange(&[(MAIL.0, "")]);
    played.onward.speak_for(client(1));
    assert_eq!(played.run(), said("", Rest::Receive), "the same client");
    played.onward.speak_for(client(2));
    assert_eq!(played.run(), said("", Rest::Done("connection lost".into())));
    assert_eq!(played.run(), said("<close>", Rest::Idle));
}

/// Recipients of one transaction do not count for another, even if their number is the same.
#[test]
fn recipients_of_another_transaction_are_resent() {
    let mut played = Played::with_recipient();
    played.envelope = envelope(2, client(1), "<a@example.org>");
    played.envelope.forward_paths.push(path("<c@example.com>"));
    played.rcpt("<b@example.com>");
    played.exchange(&[RSET, MAIL, RCPT_C, RCPT_B]);
    assert_eq!(played.run(), said("", Rest::Done("250 2.1.5 Ok".into())));
}

/// A server without an open transaction gets no RSET.
#[test]
fn recipients_are_resent_without_rset_after_rset() {
    let mut played = Played::with_recipient();
    played.onward.reset();
    played.exchange(&[RSET]);
    played.run();
    played.rcpt("<c@example.com>");
    played.exchange(&[MAIL, RCPT_B, RCPT_C]);
    assert_eq!(played.run(), said("", Rest::Done("250 2.1.5 Ok".into())));
}

// --- identification of the client ---

#[test]
fn login_is_sent_with_xclient() {
    let mut played = Played::new(Identify::XClient, TlsPolicy::Never);
    let mut peer = Peer::clone(&client(1));
    peer.login = Some("user".into());
    played.envelope.peer = peer.into();
    played.rcpt("<b@example.com>");
    let offer = "250-onward.example.com\r\n250 XCLIENT NAME ADDR PORT LOGIN\r\n";
    played.exchange(&[CONNECT, (EHLO.0, offer)]);
    let told = "XCLIENT NAME=[TEMPUNAVAIL] ADDR=192.0.2.1 PORT=4321 LOGIN=user\r\n";
    assert_eq!(played.run(), said(told, Rest::Receive));
}

/// A client is only reported as nameless if DNS says that it has no name, since the server may
/// refuse it permanently.
#[test]
fn name_without_a_lookup_is_tempunavail() {
    let no_name = "NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE]";
    let unknown = "NAME=[TEMPUNAVAIL] REVERSE_NAME=[TEMPUNAVAIL]";
    for (name_lookup, reverse_name, told) in [
        (NameLookup::NotAsked, None, unknown),
        (NameLookup::Failed, None, unknown),
        (NameLookup::Answered, None, no_name),
        (NameLookup::Answered, Some("a.example"), "NAME=[UNAVAILABLE] REVERSE_NAME=a.example"),
    ] {
        let mut played = Played::new(Identify::XClient, TlsPolicy::Never);
        let mut peer = Peer::clone(&client(1));
        (peer.name_lookup, peer.reverse_name) = (name_lookup, reverse_name.map(Into::into));
        played.envelope.peer = peer.into();
        played.rcpt("<b@example.com>");
        let offer = "250-onward.example.com\r\n250 XCLIENT NAME REVERSE_NAME ADDR PORT\r\n";
        played.exchange(&[CONNECT, (EHLO.0, offer)]);
        let told = format!("XCLIENT {told} ADDR=192.0.2.1 PORT=4321\r\n");
        assert_eq!(played.run(), said(&told, Rest::Receive));
    }
}

#[test]
fn received_xforward_is_forwarded_unchanged() {
    for (argument, told) in [
        ("IDENT=4711 SOURCE=LOCAL", "IDENT=4711 SOURCE=LOCAL"),
        ("SOURCE=[UNAVAILABLE]", "IDENT=test.1 SOURCE=REMOTE"),
    ] {
        let mut played = Played::new(Identify::XForward, TlsPolicy::Never);
        let attributes = ClientAttributes::parse(AttributeCommand::Xforward, argument.as_bytes());
        played.envelope.xforward = Some(attributes.unwrap().into());
        played.rcpt("<b@example.com>");
        let offer = "250-onward.example.com\r\n250 XFORWARD ADDR IDENT SOURCE\r\n";
        played.exchange(&[CONNECT, (EHLO.0, offer)]);
        let command = format!("XFORWARD ADDR=192.0.2.1 {told}\r\n");
        assert_eq!(played.run(), said(&command, Rest::Receive));
    }
}

// --- extensions that the server must offer ---

#[test]
fn unoffered_extensions_are_not_used() {
    for (offered, reverse_path, recipient) in [
        ("SIZE", "<a@example.org> SIZE=3", "<b@example.com>"),
        ("8BITMIME", "<a@example.org> BODY=8BITMIME", "<b@example.com>"),
        ("SMTPUTF8", "<a@example.org> SMTPUTF8", "<b@example.com>"),
        ("DSN", "<a@example.org> RET=HDRS", "<b@example.com>"),
        ("DSN", "<a@example.org>", "<b@example.com> NOTIFY=NEVER"),
    ] {
        for only in ["SIZE", "8BITMIME", "SMTPUTF8", "DSN"] {
            let mut played = Played::new(Identify::None, TlsPolicy::Never);
            played.envelope = envelope(1, client(1), reverse_path);
            played.rcpt(recipient);
            played.exchange(&[CONNECT, (EHLO.0, "250-onward.example.com\r\n250 ")]);
            played.onward.receive(format!("{only}\r\n").as_bytes());
            let (command, rest) = played.run();
            if only == offered {
                assert_eq!(command, format!("MAIL FROM:{reverse_path}\r\n"));
            } else {
                assert_eq!(command, "", "{reverse_path} {recipient} with {only}");
                assert!(matches!(rest, Rest::Done(reply) if reply.starts_with("451 4.3.5 ")));
            }
        }
    }
}

// --- connections that end ---

/// Without PIPELINING, each command waits for the previous reply.
#[test]
fn void_commands_are_not_sent() {
    let mut played = Played::introduced();
    played.rcpt("<b@example.com>");
    played.exchange(&[(MAIL.0, "550 5.7.1 No\r\n")]);
    assert_eq!(played.run(), said("", Rest::Done("550 5.7.1 No".into())));
    assert_eq!(played.run(), said("", Rest::Idle), "behind a refusal");
    played.rcpt("<b@example.com>");
    assert_eq!(played.run(), said(MAIL.0, Rest::Receive));
    played.onward.disconnected();
    played.exchange(&[CONNECT, EHLO, MAIL, RCPT_B]);
    assert_eq!(played.run(), said("", Rest::Done("250 2.1.5 Ok".into())), "on another connection");
}

#[test]
fn abandoned_request_closes_its_connection() {
    let mut played = Played::new(Identify::None, TlsPolicy::Never);
    played.rcpt("<b@example.com>");
    assert!(matches!(played.onward.poll(played.now), OnwardStep::Connect));
    played.onward.quit();
    assert_eq!(played.run(), said("", Rest::Idle), "before it is there");

    let mut played = Played::introduced();
    played.onward.quit();
    assert_eq!(played.run(), said("QUIT\r\n", Rest::Receive));
    played.rcpt("<b@example.com>");
    assert_eq!(played.run(), said("<close><connect>", Rest::Receive), "amid QUIT");
}

/// The end of input is detected before the server's last reply is read.
#[test]
fn connection_closed_after_421_is_opened_again() {
    let mut played = Played::introduced();
    played.onward.receive(b"421 4.4.2 Idle too long\r\n");
    played.rcpt("<b@example.com>");
    played.onward.disconnected();
    played.exchange(&[CONNECT, EHLO, MAIL, RCPT_B]);
    assert_eq!(played.run(), said("", Rest::Done("250 2.1.5 Ok".into())));
}

#[test]
fn connection_lost_during_the_handshake_is_a_tls_failure() {
    let offer = "250-onward.example.com\r\n250 STARTTLS\r\n";
    for (policy, rest) in [
        (TlsPolicy::May, Rest::Receive),
        (TlsPolicy::Must, Rest::Done("TLS failed: handshake failed: connection lost".into())),
    ] {
        let mut played = Played::new(Identify::None, policy);
        played.rcpt("<b@example.com>");
        played.exchange(&[CONNECT, (EHLO.0, offer), ("STARTTLS\r\n", "220 Go ahead\r\n")]);
        assert_eq!(played.run(), said("", Rest::StartTls));
        played.onward.disconnected();
        let again = if policy == TlsPolicy::May { "<connect>" } else { "" };
        assert_eq!(played.run(), said(again, rest));
        if policy == TlsPolicy::May {
            played.onward.receive(b"220 onward.example.com\r\n");
            played.exchange(&[(EHLO.0, offer), MAIL, RCPT_B]);
            assert_eq!(played.run(), said("", Rest::Done("250 2.1.5 Ok".into())));
        }
    }
}

// --- timeouts and large writes ---

#[test]
fn a_deadline_does_not_move() {
    let mut played = Played::introduced();
    played.rcpt("<b@example.com>");
    assert_eq!(played.run(), said(MAIL.0, Rest::Receive));
    let deadline = played.onward.deadline();
    assert!(deadline.is_some());
    played.now += Duration::from_secs(1);
    assert_eq!(played.run(), said("", Rest::Receive));
    assert_eq!(played.onward.deadline(), deadline);
}

#[test]
fn a_message_of_many_batches_is_written_to_its_end() {
    let mut played = Played::with_recipient();
    let lines = 100_000;
    played.content(&".\r\n".repeat(lines));
    played.exchange(&[DATA]);
    let (written, rest) = played.run();
    assert_eq!(rest, Rest::Receive);
    assert!(written.ends_with(&("..\r\n".repeat(lines) + ".\r\n")), "{} octets", written.len());
}

#[test]
fn each_wait_has_a_separate_timeout() {
    let mut settings = OnwardSettings::new("gate.example.com");
    settings.tls = TlsPolicy::May;
    let timeouts = &mut settings.timeouts;
    let all = [
        &mut timeouts.connect,
        &mut timeouts.greeting,
        &mut timeouts.command,
        &mut timeouts.tls,
        &mut timeouts.data_initiation,
        &mut timeouts.data_block,
        &mut timeouts.data_termination,
        &mut timeouts.quit,
    ];
    all.into_iter().zip(1..).for_each(|(it, minutes)| *it = Duration::from_secs(60 * minutes));
    let timeouts = settings.timeouts.clone();
    let mut played = Played::new(Identify::None, TlsPolicy::May);
    played.onward = Onward::new(settings.into());
    let waits = |played: &mut Played, expected: Duration, awaiting: Awaiting| {
        let deadline = played.onward.deadline().unwrap();
        assert_eq!((deadline.awaiting, deadline.at), (awaiting, played.now + expected));
    };

    played.rcpt("<b@example.com>");
    assert!(matches!(played.onward.poll(played.now), OnwardStep::Connect));
    waits(&mut played, timeouts.connect, Awaiting::Connection);
    played.exchange(&[("<connect>", "")]);
    waits(&mut played, timeouts.greeting, Awaiting::Greeting);
    played.onward.receive(CONNECT.1.as_bytes());
    assert!(matches!(played.onward.poll(played.now), OnwardStep::Transmit(_)));
    waits(&mut played, timeouts.data_block, Awaiting::Transmission);
    for (reply, said_then, wait, awaiting) in [
        ("", "", timeouts.command, Awaiting::Hello),
        ("250-x\r\n250 STARTTLS\r\n", "STARTTLS\r\n", timeouts.tls, Awaiting::Tls),
        ("454 4.7.0 Not now\r\n", "<close><connect>", timeouts.greeting, Awaiting::Greeting),
        (CONNECT.1, EHLO.0, timeouts.command, Awaiting::Hello),
        (EHLO.1, MAIL.0, timeouts.command, Awaiting::Mail),
        (MAIL.1, RCPT_B.0, timeouts.command, Awaiting::Recipient),
    ] {
        played.onward.receive(reply.as_bytes());
        assert_eq!(played.run(), said(said_then, Rest::Receive));
        waits(&mut played, wait, awaiting);
    }
    played.onward.receive(RCPT_B.1.as_bytes());
    assert!(matches!(played.run().1, Rest::Done(_)));
    played.envelope.forward_paths.push(path("<b@example.com>"));
    played.content("");
    played.exchange(&[(DATA.0, "")]);
    waits(&mut played, timeouts.data_initiation, Awaiting::DataInitiation);
    played.onward.receive(DATA.1.as_bytes());
    assert!(played.run().0.ends_with("\r\n.\r\n"));
    waits(&mut played, timeouts.data_termination, Awaiting::DataTermination);
    played.onward.receive(b"250 2.0.0 Ok\r\n");
    assert!(matches!(played.run().1, Rest::Done(_)));
    played.onward.quit();
    assert_eq!(played.run(), said("QUIT\r\n", Rest::Receive));
    waits(&mut played, timeouts.quit, Awaiting::Quit);
}
