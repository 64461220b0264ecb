//! Each command gets exactly one reply, in order, for every chunking.

use proptest::collection::vec;
use proptest::prelude::*;

use nobounce::session::EarlyInput;

use super::cases::{Case, case, chunks, content};
use super::gate::{Chunks, Gate};
use super::oracle::{Octets, Reply, read_replies, strict_end, stuffed};
use super::server::{Act, Profile, Server};

/// Generates groups of commands. The client waits after each group.
fn flights() -> impl Strategy<Value = Vec<Octets>> {
    vec(vec(speech(), 1..5).prop_map(|speeches| Octets(speeches.concat())), 1..8)
}

/// Generates one command, or several that belong together.
pub fn speech() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        b"EHLO client.example\r\n".as_slice(),
        b"HELO client.example\r\n",
        b"EHLO\r\n",
        b"MAIL FROM:<a@example.org>\r\n",
        b"MAIL FROM:<> BODY=8BITMIME\r\n",
        b"MAIL FROM:<a@example.org> SIZE=99999999999\r\n",
        b"MAIL FROM:<a@example.org> FLAVOUR=mint\r\n",
        b"MAIL a@example.org\r\n",
        b"RCPT TO:<b@example.net>\r\n",
        b"rcpt to:<c@example.net>\r\n",
        b"RCPT TO:\r\n",
        b"DATA\r\n",
        b"DATA now\r\n",
        b"BDAT 4\r\na\r\n\n",
        b"BDAT 0\r\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT 6 LAST\r\nQUIT\r\n",
        b"BDAT 18446744073709551617\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"NOOP one two\r\n",
        b"VRFY a\r\n",
        b"EXPN list\r\n",
        b"HELP\r\n",
        b"STARTTLS\r\n",
        b"XCLIENT ADDR=127.0.0.1\r\n",
        b"FOO\r\n",
        b"\r\n",
        b"NO\0OP\r\n",
        b"NOOP\nRSET\r\n",
        b"NOOP\rRSET\r\n",
        b"\xff\xfe\r\n",
    ]);
    let mail = (content(), any::<bool>(), 1..3_usize).prop_map(|(content, bdat, recipients)| {
        let Octets(content) = content;
        let mut octets = b"MAIL FROM:<a@example.org>\r\n".to_vec();
        for _ in 0..recipients {
            octets.extend_from_slice(b"RCPT TO:<b@example.net>\r\n");
        }
        if bdat {
            octets.extend(format!("BDAT {} LAST\r\n", content.len()).into_bytes());
            octets.extend_from_slice(&content);
        } else {
            octets.extend_from_slice(b"DATA\r\n");
            octets.extend(stuffed(&content));
        }
        octets
    });
    prop_oneof![
        20 => word.prop_map(<[u8]>::to_vec),
        8 => mail,
        1 => Just([vec![b'x'; 3_000], b"\r\n".to_vec()].concat()),
        1 => Just(b"QUIT\r\n".to_vec()),
        1 => Just(b"GET / HTTP/1.1\r\n".to_vec()),
    ]
}

/// Reads the client's input and the replies together, and matches each command with its one reply.
fn pair_up(said: &[u8], replies: &[Reply], closed: bool) {
    let mut replies = replies.iter();
    let greeting = replies.next().expect("a greeting");
    if !greeting.is_yes() {
        assert!(closed && replies.len() == 0, "{greeting:?} and yet more");
        return;
    }
    let mut last = greeting;
    let mut rest = said;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let line = String::from_utf8_lossy(&rest[..end]).to_ascii_uppercase();
        rest = &rest[end + 2..];
        // White space before a command is ignored, as in Postfix.
        if let Some(words) = line.trim_ascii_start().strip_prefix("BDAT ") {
            let size = words.split(' ').next().and_then(|size| size.parse::<usize>().ok());
            // If the size of a chunk is invalid, its end is unknown.
            let size = size.unwrap_or(usize::MAX);
            if rest.len() < size && size != usize::MAX {
                break;
            }
            rest = rest.get(size..).unwrap_or_default();
        }
        let Some(reply) = replies.next() else {
            let closing = matches!(last.code, 221 | 421 | 501 | 521 | 554);
            assert!(closed && closing, "{line:?} has no reply, the last was {last:?}");
            return;
        };
        last = reply;
        if line == "DATA" && reply.code == 354 {
            let Some(length) = strict_end(rest) else { break };
            rest = &rest[length..];
            last = replies.next().expect("mail data has a reply");
            assert!(last.is_yes() || last.is_no());
        } else {
            assert!(reply.is_yes() || reply.is_no(), "{line:?}: {reply:?}");
        }
    }
    let mut replies = replies.peekable();
    if rest.contains(&b'\n') {
        // A line with a bare LF is refused before its end, and the session ends (smuggling).
        if let Some(reply) = replies.next_if(|reply| reply.code == 521) {
            assert!(closed && replies.len() == 0, "{reply:?} and yet more");
            return;
        }
    }
    if let Some(reply) = replies.next() {
        assert_eq!(reply.code, 421, "a reply to nothing");
        assert!(closed && replies.len() == 0);
    }
}

fn tolerant(case: &Case, chunks: (Chunks, Chunks)) -> Gate<Server> {
    case.gate_in(chunks, EarlyInput::Tolerate)
}

/// Returns everything visible from outside: octets to the client and to the onward server.
fn seen(case: &Case, flights: &[Octets], chunks: (Chunks, Chunks)) -> (Octets, Vec<Octets>) {
    seen_at(tolerant(case, chunks), flights)
}

fn seen_at(mut gate: Gate<Server>, flights: &[Octets]) -> (Octets, Vec<Octets>) {
    for flight in flights {
        gate.say(&flight.0);
    }
    gate.finish();
    let connections = gate.server.connections.iter();
    let onward = connections.map(|connection| Octets(connection.received.clone())).collect();
    (Octets(gate.to_client), onward)
}

/// Mail data is not read as commands, even if the client did not wait for the reply to DATA.
#[test]
fn mail_data_after_a_refused_data_is_not_a_command() {
    let refused = case_of(&[Act::Refuse(550)]);
    let flight = b"EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\nDATA\r\n";
    let mail_data = b"Subject: x\r\n\r\nRSET\r\nMAIL FROM:<evil@example.org>\r\n.\r\n";
    for early_input in [EarlyInput::Refuse, EarlyInput::Tolerate] {
        let mut gate = refused.gate_in((Chunks::Whole, Chunks::Whole), early_input);
        let codes: Vec<_> = gate.say(flight).iter().map(|reply| reply.code).collect();
        assert_eq!(codes, [220, 250, 250, 550, 554]);
        let codes: Vec<_> = gate.say(mail_data).iter().map(|reply| reply.code).collect();
        assert_eq!((codes, gate.is_closed()), (vec![554], true));
        let mut gate = refused.gate_in((Chunks::Whole, Chunks::Whole), early_input);
        let replies = gate.say(&[&flight[..], mail_data].concat());
        assert_eq!(replies.last().map(|reply| reply.code), Some(554));
        assert!(gate.is_closed());
    }
}

#[test]
fn bare_lf_after_a_chunk_ends_the_session() {
    let case = case_of(&[]);
    let mut gate = tolerant(&case, (Chunks::Whole, Chunks::Whole));
    let said = b"EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nDATA x\r\nBDAT 5 LAST\r\n\r\r\n.\r\n";
    let codes: Vec<_> = gate.say(said).iter().map(|reply| reply.code).collect();
    assert_eq!(codes.last(), Some(&521), "{codes:?}");
    pair_up(said, &read_replies(&gate.to_client).0, gate.is_closed());
}

#[test]
fn chunk_of_an_indented_command_has_one_reply() {
    let case = case_of(&[Act::Refuse(550)]);
    let mut gate = tolerant(&case, (Chunks::Whole, Chunks::Whole));
    let said = b"EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\n BDAT 5 LAST\r\n\r\n.\r\n";
    let codes: Vec<_> = gate.say(said).iter().map(|reply| reply.code).collect();
    assert_eq!(codes, [220, 250, 250, 550, 554]);
    pair_up(said, &read_replies(&gate.to_client).0, gate.is_closed());
}

fn case_of(acts: &[Act]) -> Case {
    let profile = Profile { pipelining: false, chunking: false, helo_only: false, lmtp: false };
    let before = [const { Act::Accept }; 4];
    Case {
        profile,
        acts: [&before, acts].concat(),
        judgements: Vec::new(),
        plans: Vec::new(),
        strict: false,
        limit: None,
        chunks: (Chunks::Whole, Chunks::Whole),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..Default::default() })]

    /// Property P2: each command gets exactly one reply, in order.
    #[test]
    fn every_command_gets_exactly_one_reply(case in case().prop_map(Case::attended), flights in flights()) {
        let mut gate = tolerant(&case, case.chunks.clone());
        let mut said = b"EHLO client.example\r\n".to_vec();
        gate.say(&said.clone());
        for flight in &flights {
            if gate.is_closed() {
                break;
            }
            gate.say(&flight.0);
            said.extend_from_slice(&flight.0);
        }
        let closed = gate.is_closed();
        pair_up(&said, &read_replies(&gate.to_client).0, closed);
        gate.finish();
        pair_up(&said, &read_replies(&gate.to_client).0, true);
    }

    /// Property P3: the replies do not depend on the chunking of the octets.
    #[test]
    fn replies_do_not_depend_on_chunking(
        case in case().prop_map(Case::attended),
        flights in flights(),
        chunks in (chunks(), chunks()),
    ) {
        let flights = [vec![Octets(b"EHLO client.example\r\n".to_vec())], flights].concat();
        let whole = seen(&case, &flights, (Chunks::Whole, Chunks::Whole));
        let octets = Chunks::Of(vec![1]);
        prop_assert_eq!(&whole, &seen(&case, &flights, (octets.clone(), octets)));
        prop_assert_eq!(&whole, &seen(&case, &flights, chunks));
        let flood = Octets(flights.iter().flat_map(|flight| flight.0.clone()).collect());
        prop_assert_eq!(&whole, &seen(&case, &[flood], (Chunks::Whole, Chunks::Whole)));
    }

    /// Steps are repeated until they are done. Premature and repeated calls have no effect.
    #[test]
    fn spurious_calls_change_nothing(
        case in case().prop_map(Case::attended),
        flights in flights(),
    ) {
        let chunks = || case.chunks.clone();
        let quiet = seen(&case, &flights, chunks());
        prop_assert_eq!(quiet, seen_at(tolerant(&case, chunks()).restless(), &flights));
    }
}
