//! Faults that were found once, each as a plain case.

use bytes::BytesMut;
use nobounce::{EnhancedStatus, Refusal};

use super::cases::onward_settings;
use super::client::introduce;
use super::gate::{Chunks, Gate};
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

fn codes(gate: &mut Gate<Server>, octets: &[u8]) -> Vec<u16> {
    gate.say(octets).iter().map(|reply| reply.code).collect()
}

/// A status with three digits in each number made a line of 516 octets.
#[test]
fn the_longest_reply_line_has_512_octets() {
    let status = EnhancedStatus::new(999, 999);
    let refusal = Refusal::permanent(550, status, &"x".repeat(600));
    let mut line = BytesMut::new();
    refusal.reply().write(&mut line);
    assert_eq!(line.len(), 512);
}

/// The connection was given up between two requests, and with it the recipients before.
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
