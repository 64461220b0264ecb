//! Regression tests of faults found by the property tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use nobounce::envelope::SessionId;
use nobounce::onward::{Identify, OnwardSettings, OnwardStep, ProxyVersion};
use nobounce::outcome::RelayError;
use nobounce::reply::EnhancedStatus;
use nobounce::{Envelope, ForwardPath, Onward, Outcome, Peer, Refusal, Request, ReversePath};

use super::cases::onward_settings;
use super::client::introduce;
use super::gate::{Chunks, Gate};
use super::hostile::Babbler;
use super::server::{Act, Profile, Server};

const PLAIN: Profile =
    Profile { pipelining: false, chunking: false, helo_only: false, lmtp: false };

fn gate(profile: Profile, acts: Vec<Act>) -> Gate<Server> {
    let settings = nobounce::Settings::new("gate.example");
    let server = Server::new(profile, acts);
    let chunks = (Chunks::Whole, Chunks::Whole);
    let mut gate = Gate::new(settings, onward_settings(profile), server, Vec::new(), chunks);
    assert!(introduce(&mut gate));
    gate
}

fn babbling(says: &[&[u8]]) -> Gate<Babbler> {
    let settings = nobounce::Settings::new("gate.example");
    let server = Babbler::new(says.iter().map(|line| line.to_vec()).collect(), None);
    let chunks = (Chunks::Whole, Chunks::Whole);
    let mut gate = Gate::new(settings, onward_settings(PLAIN), server, Vec::new(), chunks);
    assert!(introduce(&mut gate));
    gate
}

fn codes(gate: &mut Gate<Server>, octets: &[u8]) -> Vec<u16> {
    gate.say(octets).iter().map(|reply| reply.code).collect()
}

/// A status with three digits in each number led to a line of 516 octets.
#[test]
fn the_longest_reply_line_has_512_octets() {
    let status = EnhancedStatus::new(999, 999);
    let refusal = Refusal::permanent(550, status, &"x".repeat(600));
    let mut line = BytesMut::new();
    refusal.reply().write(&mut line);
    assert_eq!(line.len(), 512);
}

/// The connection was closed between two requests, and the earlier recipients were lost with it.
#[test]
fn a_second_recipient_goes_to_the_same_connection() {
    let mut gate = gate(PLAIN, Vec::new());
    assert_eq!(codes(&mut gate, b"MAIL FROM:<a@example.org>\r\n"), [250]);
    assert_eq!(codes(&mut gate, b"RCPT TO:<b@example.net>\r\n"), [250]);
    assert_eq!(codes(&mut gate, b"RCPT TO:<c@example.net>\r\n"), [250]);
    assert_eq!(codes(&mut gate, b"DATA\r\n"), [354]);
    assert_eq!(codes(&mut gate, b"\r\nHello\r\n.\r\n"), [250]);
    assert_eq!(gate.server.connections.len(), 1);
    assert_eq!(gate.server.kept[0].recipients, [b"TO:<b@example.net>", b"TO:<c@example.net>"]);
}

/// A reply sent before its command counted as the answer to it.
#[test]
fn reply_before_its_command_is_invalid() {
    let mut gate = babbling(&[b"220 x\r\n250-x\r\n250 CHUNKING\r\n", b"250 x\r\n", b"250 x\r\n"]);
    gate.say(b"MAIL FROM:<>\r\n");
    let replies = gate.say(b"RCPT TO:<b@example.net>\r\n");
    assert_eq!(replies[0].code, 451);
}

/// The hour allowed for a chunk without a transaction also counted for the next message.
#[test]
fn refused_chunk_leaves_no_deadline() {
    let mut settings = nobounce::Settings::new("gate.example");
    settings.timeouts.content = Duration::from_secs(100);
    let server = Server::new(PLAIN, Vec::new());
    let chunks = (Chunks::Whole, Chunks::Whole);
    let mut gate = Gate::new(settings, onward_settings(PLAIN), server, Vec::new(), chunks);
    assert!(introduce(&mut gate));
    assert_eq!(codes(&mut gate, b"BDAT 4\r\na"), [0_u16; 0]);
    assert_eq!(codes(&mut gate, b"bcd"), [503]);
    gate.now += Duration::from_secs(99);
    let flight = b"MAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n";
    assert_eq!(codes(&mut gate, flight), [250, 250, 354]);
    let deadline = gate.session.deadline().unwrap();
    assert_eq!(deadline.at - gate.now, Duration::from_secs(100));
}

/// A connection that had been abandoned counted as an idle one, so the new connection was tried
/// twice.
#[test]
fn only_an_idle_connection_is_replaced_silently() {
    let nonsense = Act::Nonsense(b"what?\r\n");
    let acts = [Act::Accept, Act::Accept, Act::Accept, Act::Accept, nonsense, Act::Close];
    let mut gate = gate(PLAIN, acts.to_vec());
    let flight = b"MAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<b@example.net>\r\n";
    assert_eq!(codes(&mut gate, flight), [250, 451, 451]);
}

/// Octets that arrived on an abandoned connection were read as input of the next one.
#[test]
fn state_is_not_carried_over_to_the_next_connection() {
    let settings = nobounce::Settings::new("gate.example");
    let server = Server::new(PLAIN, vec![Act::Accept, Act::AcceptInSilence]);
    let chunks = (Chunks::Whole, Chunks::Whole);
    let gate = Gate::new(settings, onward_settings(PLAIN), server, Vec::new(), chunks);
    let mut gate = gate.restless();
    assert!(introduce(&mut gate));
    let flight = b"MAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<b@example.net>\r\n";
    assert_eq!(codes(&mut gate, flight), [250, 451, 250]);
}

/// In the middle of a line that was already refused, this octet is not a TLS handshake.
#[test]
fn a_handshake_begins_with_the_line() {
    let settings = nobounce::Settings::new("gate.example");
    let server = Server::new(PLAIN, Vec::new());
    let chunks = (Chunks::Whole, Chunks::Whole);
    let mut gate = Gate::new(settings, onward_settings(PLAIN), server, Vec::new(), chunks);
    assert_eq!(codes(&mut gate, &[b'x'; 3_000]), [220, 500]);
    assert_eq!(codes(&mut gate, b"\x16\x03\x01\r\n"), [0_u16; 0]);
    assert_eq!(codes(&mut gate, b"NOOP\r\n"), [250]);
    assert_eq!(codes(&mut gate, b"\x16\x03\x01"), [521]);
}

/// The line end that completed the last line exceeded the limit and emptied a message within the
/// limit. The client still got 250.
#[test]
fn a_content_as_long_as_the_limit_arrives() {
    for (content, arrives) in [("0123456789", "0123456789\r\n"), ("012345678\r", "012345678 \r\n")]
    {
        let mut settings = nobounce::Settings::new("gate.example");
        settings.limits.content = 10;
        let server = Server::new(PLAIN, Vec::new());
        let chunks = (Chunks::Whole, Chunks::Whole);
        let mut gate = Gate::new(settings, onward_settings(PLAIN), server, Vec::new(), chunks);
        assert!(introduce(&mut gate));
        let flight = b"MAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nBDAT 10 LAST\r\n";
        let flight = [&flight[..], content.as_bytes()].concat();
        assert_eq!(codes(&mut gate, &flight), [250, 250, 250]);
        assert!(gate.server.kept[0].content.ends_with(arrives.as_bytes()));
    }
}

/// Returns a fixed instant, since time does not pass in these tests.
#[allow(clippy::disallowed_methods, reason = "any instant is suitable")]
fn now() -> Instant {
    Instant::now()
}

/// Returns an onward connection that identifies the client, two clients, and a request for the
/// first.
fn speaking(identify: Identify) -> (Onward, Arc<Peer>, Envelope, ForwardPath) {
    let mut settings = OnwardSettings::new("gate.example");
    settings.identify = identify;
    let client = Arc::new(Peer::new(([192, 0, 2, 1], 4711).into()));
    let id = SessionId::new("gate").transaction(1);
    let envelope = Envelope::new(id, client, ReversePath::parse("<>").unwrap());
    let recipient = ForwardPath::parse("<b@example.net>").unwrap();
    (Onward::new(settings.into()), Arc::new(Peer::local()), envelope, recipient)
}

/// While the gate connected to the server, the client changed to one without an address. Nothing
/// was sent about it, and the server regarded our own address as the client's.
#[test]
fn no_connection_begins_without_the_proxy_header_that_it_was_made_for() {
    let now = now();
    let (mut onward, nobody, envelope, _) = speaking(Identify::Proxy(ProxyVersion::V1));
    onward.speak_for(envelope.peer.clone());
    onward.introduce();
    assert!(matches!(onward.poll(now), OnwardStep::Connect));
    onward.speak_for(nobody);
    onward.connected();
    assert!(matches!(onward.poll(now), OnwardStep::Disconnect));
    assert!(matches!(onward.poll(now), OnwardStep::Idle));
}

/// The client changed while the server was told of the first one. The server's acceptance then
/// counted for the second.
#[test]
fn request_of_one_client_is_not_sent_for_another() {
    let now = now();
    for identify in [Identify::XClient, Identify::Proxy(ProxyVersion::V2)] {
        for replies in 0..3 {
            let (mut onward, nobody, envelope, recipient) = speaking(identify);
            onward.request(Request::Recipient(&envelope, &recipient));
            let said = ["220 mx\r\n", "250-mx\r\n250 XCLIENT NAME ADDR\r\n"];
            let mut said = said.into_iter().take(replies);
            loop {
                match onward.poll(now) {
                    OnwardStep::Connect if replies == 0 => break,
                    OnwardStep::Connect => onward.connected(),
                    OnwardStep::Transmit(_) => {}
                    OnwardStep::Receive => match said.next() {
                        Some(octets) => onward.receive(octets.as_bytes()),
                        None => break,
                    },
                    step => panic!("{step:?}"),
                }
            }
            onward.speak_for(nobody);
            let OnwardStep::Done(outcome) = onward.poll(now) else {
                panic!("not answered");
            };
            assert!(matches!(outcome, Outcome::Failed(RelayError::Lost)), "{outcome:?}");
            assert!(replies == 0 || matches!(onward.poll(now), OnwardStep::Disconnect));
            assert!(matches!(onward.poll(now), OnwardStep::Idle));
        }
    }
}
