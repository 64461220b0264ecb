//! Peers that send arbitrary octets.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;

use nobounce::Settings;
use nobounce::session::{EarlyInput, EndCause};

use super::cases::{Case, case, onward_settings};
use super::client::{introduce, transact};
use super::gate::{Chunks, Gate};
use super::oracle::read_replies;
use super::replies::speech;
use super::server::{Connect, OnwardServer, Profile, Read, Server};

/// An onward server that ignores its input. It sends fixed octets, then repeats others forever, or
/// closes.
pub struct Babbler {
    says: VecDeque<Vec<u8>>,
    then: Option<Vec<u8>>,
    /// Number of writes after which it stops reading.
    reads: usize,
    /// Octets that it received.
    pub told: Vec<u8>,
    connections: usize,
    said: usize,
}

impl Babbler {
    pub fn new(says: Vec<Vec<u8>>, then: Option<&[u8]>) -> Self {
        Self {
            says: says.into(),
            then: then.map(<[u8]>::to_vec),
            reads: usize::MAX,
            told: Vec::new(),
            connections: 0,
            said: 0,
        }
    }
}

impl OnwardServer for Babbler {
    fn connect(&mut self) -> Connect {
        self.connections += 1;
        Connect::Made(self.connections - 1)
    }

    fn write(&mut self, _: usize, octets: &[u8]) -> bool {
        self.told.extend_from_slice(octets);
        self.reads = self.reads.saturating_sub(1);
        self.reads > 0
    }

    fn read(&mut self, _: usize, _: usize) -> Read {
        let octets = self.says.pop_front().or_else(|| self.then.clone());
        self.said += octets.as_ref().map_or(0, Vec::len);
        octets.map_or(Read::Eof, Read::Octets)
    }

    fn closed(&mut self, _: usize) {}
}

fn babble() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let word = prop::sample::select(vec![
        b"220 x\r\n".as_slice(),
        b"250 x\r\n",
        b"250 x\r\n",
        b"250 x\r\n",
        b"250-x\r\n",
        b"250-x\r\n250 CHUNKING\r\n",
        b"250-x\r\n250 PIPELINING\r\n",
        b"354 x\r\n",
        b"421 x\r\n",
        b"450 x\r\n",
        b"550 5.1.1 x\r\n",
        b"550 2.1.1 x\r\n",
        b"250\r\n",
        b"25",
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"999 x\r\n",
        b"250 \xff\x1b[2J\r\n",
    ]);
    let octets = vec(any::<u8>(), 0..20);
    vec(prop_oneof![9 => word.prop_map(<[u8]>::to_vec), 1 => octets], 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..Default::default() })]

    /// P6: any input of a client gets valid replies and comes to an end. `Gate` panics at an
    /// invalid reply and at a session without progress.
    #[test]
    fn arbitrary_client_input_gets_replies_and_an_end(
        case in case(),
        speeches in vec(prop_oneof![3 => speech(), 1 => vec(any::<u8>(), 0..60)], 0..20),
        polite in any::<bool>(),
    ) {
        let early_input = if polite { EarlyInput::Tolerate } else { EarlyInput::Refuse };
        let mut gate = case.gate_in(case.chunks.clone(), early_input);
        for speech in &speeches {
            gate.say(speech);
        }
        gate.finish();
        prop_assert!(gate.server.faults.is_empty(), "{:?}", gate.server.faults);
        let heard = gate.server.kept.iter().filter(|kept| gate.server.was_heard(kept)).count();
        let told = gate.ends.iter().filter(|end| end.cause == EndCause::Accepted).count();
        prop_assert_eq!(heard, told);
    }

    /// P6: any output of the onward server gets the client valid replies, and the session comes to
    /// an end.
    #[test]
    fn arbitrary_onward_server_input_is_survived(case in case(), babble in babble()) {
        let Case { profile, plans, chunks, .. } = &case;
        let yes = babble.concat().windows(2).filter(|pair| pair[0] == b'2').count();
        let server = Babbler::new(babble, None);
        let onward = onward_settings(*profile);
        let mut gate = Gate::new(case.settings(), onward, server, Vec::new(), chunks.clone());
        prop_assert!(introduce(&mut gate));
        let mut accepted = 0;
        for (n, plan) in plans.iter().enumerate() {
            let account = transact(&mut gate, n, plan);
            accepted += account.accepted().len();
            accepted += usize::from(account.answer.is_some_and(|answer| answer.is_yes()));
            if gate.is_closed() {
                break;
            }
        }
        gate.finish();
        prop_assert!(accepted <= yes);
    }
}

/// Runs one transaction with a server that sends these octets. Returns the replies to RCPT and to
/// the content or DATA, and the octets that the server received.
fn transaction(says: &[&str], reads: usize) -> (Vec<u16>, String) {
    let says = says.iter().map(|line| line.as_bytes().to_vec()).collect();
    let mut server = Babbler::new(says, None);
    server.reads = reads;
    let profile = Profile { pipelining: true, chunking: true, helo_only: false, lmtp: false };
    let (settings, onward) = (Settings::new("gate.example"), onward_settings(profile));
    let mut gate = Gate::new(settings, onward, server, Vec::new(), (Chunks::Whole, Chunks::Whole));
    assert!(introduce(&mut gate));
    gate.say(b"MAIL FROM:<>\r\n");
    let mut codes: Vec<_> =
        gate.say(b"RCPT TO:<a@example.net>\r\n").iter().map(|reply| reply.code).collect();
    let mut replies = gate.say(b"DATA\r\n");
    if replies.iter().any(|reply| reply.code == 354) {
        replies = gate.say(b"\r\nHello\r\n.\r\n");
    }
    codes.extend(replies.iter().map(|reply| reply.code));
    gate.finish();
    (codes, String::from_utf8_lossy(&gate.server.told).into_owned())
}

#[test]
fn unsolicited_2xx_is_not_an_acceptance() {
    const EHLO: &str = "250 x\r\n";
    const BDAT: &str = "250-x\r\n250 CHUNKING\r\n";
    const GREETING: &str = "220 x\r\n";
    const OK: &str = "250 ok\r\n";
    const GO: &str = "354 go\r\n";
    let all = usize::MAX;
    let cases: &[(&[&str], usize, &[u16])] = &[
        // output of the server, read by read; number of writes that it reads; replies to the client
        (&[GREETING, EHLO, OK, OK, GO, OK], all, &[250, 250]),
        (&[GREETING, BDAT, OK, OK, OK], all, &[250, 250]),
        // 250 instead of 354, and 354 instead of 250
        (&[GREETING, EHLO, OK, OK, OK, OK], all, &[250, 451]),
        (&[GREETING, EHLO, GO, OK, GO, OK], all, &[451, 554]),
        (&[GREETING, EHLO, OK, GO, GO, OK], all, &[451, 554]),
        (&[GREETING, EHLO, OK, OK, GO, GO], all, &[250, 451]),
        (&[GREETING, BDAT, OK, OK, GO, OK], all, &[250, 451]),
        // any 2yz is a greeting, as in Postfix, and nothing else
        (&[OK, EHLO, OK, OK, GO, OK], all, &[250, 250]),
        (&[GO, EHLO, OK, OK, GO, OK], all, &[451, 554]),
        (&["120 x\r\n", EHLO, OK, OK, GO, OK], all, &[451, 554]),
        // the reply to the content before the content was sent
        (&[GREETING, EHLO, OK, OK, "354 go\r\n250 queued\r\n"], all, &[250, 451]),
        (&[GREETING, EHLO, OK, "250 ok\r\n354 go\r\n", OK], all, &[250, 451]),
        (&[GREETING, BDAT, OK, "250 ok\r\n250 queued\r\n"], all, &[250, 451]),
        (&[GREETING, EHLO, "250 ok\r\n250 ok\r\n", GO, OK], all, &[451, 554]),
        // a server that stopped reading may still refuse
        (&[GREETING, EHLO, OK, OK, GO, OK], 5, &[250, 451]),
        (&[GREETING, EHLO, OK, OK, GO, "552 5.3.4 x\r\n"], 5, &[250, 552]),
        (&[GREETING, BDAT, OK, OK, OK], 4, &[250, 451]),
        (&[GREETING, BDAT, OK, OK, "452 4.3.1 x\r\n"], 4, &[250, 452]),
        // an incomplete positive reply
        (&[GREETING, EHLO, OK, OK, GO, "250 queued"], all, &[250, 451]),
        (&[GREETING, EHLO, OK, OK, GO, "250-queued\r\n"], all, &[250, 451]),
        (&[GREETING, EHLO, OK, OK, GO, "250 queued\n"], all, &[250, 451]),
        (&[GREETING, EHLO, OK, OK, GO, "250-queued\r\n550 no\r\n"], all, &[250, 451]),
    ];
    for (says, reads, expected) in cases {
        let (codes, _) = transaction(says, *reads);
        assert_eq!(&codes, expected, "{says:?}, {reads} writes");
    }
}

/// A recipient that was accepted after a refused MAIL must not get the next message.
#[test]
fn unknown_server_state_is_reset() {
    let says = [
        "220 x\r\n",
        "250-x\r\n250 PIPELINING\r\n",
        "450 not you\r\n250 but him\r\n",
        "250 reset\r\n250 ok\r\n250 ok\r\n",
    ];
    let says = says.iter().map(|line| line.as_bytes().to_vec()).collect();
    let profile = Profile { pipelining: true, chunking: false, helo_only: false, lmtp: false };
    let (settings, onward) = (Settings::new("gate.example"), onward_settings(profile));
    let server = Babbler::new(says, None);
    let mut gate = Gate::new(settings, onward, server, Vec::new(), (Chunks::Whole, Chunks::Whole));
    assert!(introduce(&mut gate));
    gate.say(b"MAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\nRCPT TO:<b@example.net>\r\n");
    let told = String::from_utf8_lossy(&gate.server.told).into_owned();
    let expected = "EHLO gate.example\r\n\
        MAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\n\
        RSET\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\n";
    assert_eq!(told, expected);
}

#[test]
fn endless_onward_server_is_cut_off() {
    let endless: &[&[u8]] = &[b"250-more\r\n", b"250-", b"2", b"\0", b"\r\n", b"250 ok\r\n", b"\n"];
    for before in 0..4 {
        for endless in endless {
            let begin = ["220 x\r\n", "250-x\r\n250 PIPELINING\r\n", "250 x\r\n"];
            let says = begin[..before.min(3)].iter().map(|line| line.as_bytes().to_vec());
            let endless = endless.repeat(512);
            let server = Babbler::new(says.collect(), Some(&endless));
            let settings = Settings::new("gate.example");
            let profile =
                Profile { pipelining: true, chunking: false, helo_only: false, lmtp: false };
            let chunks = (Chunks::Whole, Chunks::Whole);
            let onward = onward_settings(profile);
            let mut gate = Gate::new(settings, onward, server, Vec::new(), chunks);
            assert!(introduce(&mut gate));
            gate.say(b"MAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\n");
            gate.finish();
            let said = gate.server.said;
            assert!(said <= 600_000, "{said} octets of {:?}", &endless[..10]);
        }
    }
}

#[test]
fn endless_client_is_cut_off() {
    let endless: &[&[u8]] = &[
        b"a",
        b"\n",
        b"\r",
        b"\0",
        b"\r\n",
        b"NOOP\r\n",
        b"NOOP\n",
        b"RSET\r\n",
        b"EHLO a\r\n",
        b"HELO a\r\n",
        b"VRFY a\r\n",
        b"HELP\r\n",
        b"DATA\r\n",
        b"BDAT 1\r\na",
        b"MAIL FROM:<>\r\nRSET\r\n",
        b"MAIL FROM:<>\r\n",
        b"RCPT TO:<a@example.net>\r\n",
        b"\x16\x03\x01",
    ];
    for speech in endless {
        let profile = Profile { pipelining: false, chunking: false, helo_only: false, lmtp: false };
        let server = Server::new(profile, Vec::new());
        let chunks = (Chunks::Whole, Chunks::Whole);
        let settings = Settings::new("gate.example");
        let mut gate = Gate::new(settings, onward_settings(profile), server, Vec::new(), chunks);
        gate.say(b"");
        let speech = speech.repeat(64);
        let mut said = 0;
        while !gate.is_closed() {
            gate.say(&speech);
            said += speech.len();
            assert!(
                said < 200_000,
                "{said} octets of {:?}",
                String::from_utf8_lossy(&speech[..20])
            );
        }
        let (replies, _) = read_replies(&gate.to_client);
        assert!(replies.last().is_some_and(|last| last.is_no()), "{:?}", replies.last());
        assert!(replies.len() < 200);
    }
}
