//! Forwarded data is interpreted in the same way by every server (guarantee G).

use proptest::collection::vec;
use proptest::prelude::*;

use super::cases::{Case, chunks, content, onward_settings, profile};
use super::client::{Ending, Plan, Transfer, introduce, transact};
use super::gate::{Chunks, Gate, Judgement};
use super::oracle::{Octets, RECOGNISERS, normalised, stuffed};
use super::server::{Profile, Server};

/// Sends this content, with or without a header, to a gate whose server has no faults.
fn deliver(profile: Profile, content: &[u8], transfer: &Transfer, tag: bool) -> Gate<Server> {
    let settings = nobounce::Settings::new("gate.example");
    let server = Server::new(profile, Vec::new());
    let mut judgements = vec![Judgement::Pass, Judgement::Pass];
    judgements.extend(tag.then_some(Judgement::Tag));
    let chunks = (Chunks::Whole, Chunks::Whole);
    let mut gate = Gate::new(settings, onward_settings(profile), server, judgements, chunks);
    assert!(introduce(&mut gate));
    gate.say(b"MAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\n");
    match transfer {
        Transfer::Data => {
            gate.say(b"DATA\r\n");
            gate.say(&stuffed(content));
        }
        Transfer::Chunks(sizes) => {
            gate.say(&super::client::chunked(content, sizes));
        }
    }
    gate.say(b"QUIT\r\n");
    gate
}

/// Checks everything that was forwarded against the guarantee.
fn assert_unambiguous(server: &Server) {
    assert!(server.faults.is_empty(), "{:?}", server.faults);
    let mut messages = 0;
    for connection in &server.connections {
        for (mail_data, octets) in &connection.writes {
            if *mail_data {
                messages += 1;
                for (name, ends) in RECOGNISERS {
                    assert_eq!(ends(octets), [octets.len()], "{name}: {}", octets.escape_ascii());
                }
            } else if octets.starts_with(b"BDAT ") {
                messages += 1;
                let end = octets.windows(2).position(|pair| pair == b"\r\n").unwrap();
                let line = format!("BDAT {} LAST", octets.len() - end - 2);
                assert_eq!(&octets[..end], line.as_bytes());
            }
        }
        for line in &connection.commands {
            let clean = line.iter().all(|octet| !octet.is_ascii_control());
            assert!(clean, "{}", line.escape_ascii());
        }
    }
    assert_eq!(messages, server.kept.len(), "one message for each acceptance");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

    /// Property P4: every reader, strict or lenient, sees one message with the same end.
    #[test]
    fn every_lenient_reader_sees_one_message(
        profile in profile(),
        content in content(),
        transfer in prop_oneof![
            Just(Transfer::Data),
            vec(1..20_usize, 1..5).prop_map(Transfer::Chunks),
        ],
        tag in any::<bool>(),
    ) {
        let gate = deliver(profile, &content.0, &transfer, tag);
        assert_unambiguous(&gate.server);
        prop_assert_eq!(gate.server.kept.len(), 1);
        let mut sent = content.0;
        if matches!(transfer, Transfer::Data) && !sent.is_empty() && !sent.ends_with(b"\r\n") {
            sent.extend_from_slice(b"\r\n");
        }
        let sent = normalised(&sent);
        let kept = &gate.server.kept[0].content;
        let first = sent.split(|octet| *octet == b'\n').next().unwrap_or_default();
        // An mbox line becomes a header field. Everything else is forwarded unchanged.
        prop_assert!(first.starts_with(b"From ") || kept.ends_with(&sent));
    }

    /// A forwarded command is octet for octet one that the client sent, and contains no invalid
    /// octets.
    #[test]
    fn addresses_do_not_inject_commands(
        profile in profile(),
        lines in vec(address_line(), 1..6),
        chunks in chunks(),
    ) {
        let settings = nobounce::Settings::new("gate.example");
        let server = Server::new(profile, Vec::new());
        let chunks = (chunks, Chunks::Whole);
        let mut gate = Gate::new(settings, onward_settings(profile), server, Vec::new(), chunks);
        prop_assert!(introduce(&mut gate));
        gate.say(b"MAIL FROM:<>\r\n");
        let mut sent = b"MAIL FROM:<>\r\n".to_vec();
        for line in &lines {
            if !gate.is_closed() {
                gate.say(&line.0);
                sent.extend_from_slice(&line.0);
            }
        }
        gate.finish();
        assert_unambiguous(&gate.server);
        let text = String::from_utf8_lossy(&sent).into_owned();
        let sent: Vec<_> = text.split("\r\n").map(str::trim_end).collect();
        for line in gate.server.connections.iter().flat_map(|connection| &connection.commands) {
            let line = String::from_utf8_lossy(line).into_owned();
            let own = ["EHLO ", "LHLO ", "HELO ", "RSET"].iter().any(|own| line.starts_with(own));
            prop_assert!(own || sent.contains(&line.as_str()), "{:?} of {:?}", line, sent);
        }
    }
}

/// Generates RCPT with invalid contents.
fn address_line() -> impl Strategy<Value = Octets> {
    let word = prop::sample::select(vec![
        b"a".as_slice(),
        b"b@example.net",
        b"@",
        b"<",
        b">",
        b"\"",
        b"\\",
        b" ",
        b"\t",
        b"\n",
        b"\r",
        b"\0",
        b"\x7f",
        b"\xc3\xa9",
        b"\nRCPT TO:<evil@example.org>",
        b"\rRSET",
        b"> NOTIFY=NEVER",
        b"> ORCPT=rfc822;a+0D+0ARSET",
        b"@a.example,@b.example:",
    ]);
    vec(word, 0..8).prop_map(|words| Octets([b"RCPT TO:<", &words.concat()[..], b">\r\n"].concat()))
}

/// G2: lines whose dot is at typical buffer boundaries.
#[test]
fn dot_stuffing_depends_on_lines_and_not_on_buffers() {
    for about in [511, 999, 1023, 2047, 4095, 8191, 65_535] {
        for length in about - 2..=about + 2 {
            let line = "x".repeat(length - 2);
            let content = format!("{line}\r\n.\r\n..\r\n.{line}\r\n.\r\n");
            for chunking in [false, true] {
                let profile = Profile { pipelining: true, chunking, helo_only: false, lmtp: false };
                for transfer in [Transfer::Data, Transfer::Chunks(vec![length, 3])] {
                    let gate = deliver(profile, content.as_bytes(), &transfer, false);
                    assert_unambiguous(&gate.server);
                    assert!(gate.server.kept[0].content.ends_with(content.as_bytes()));
                }
            }
        }
    }
}

/// One end of mail data, split at every position between two reads.
#[test]
fn the_end_of_mail_data_is_found_wherever_it_is_split() {
    let profile = Profile { pipelining: false, chunking: false, helo_only: false, lmtp: false };
    let plan = Plan {
        recipients: 1,
        content: Octets(b"\r\n.\r\n..\r\nend\r\n".to_vec()),
        transfer: Transfer::Data,
        pipelined: true,
        size: false,
        ending: Ending::Complete,
    };
    for first in 1..80 {
        let case = Case {
            profile,
            acts: Vec::new(),
            judgements: Vec::new(),
            plans: vec![plan.clone()],
            strict: true,
            limit: None,
            chunks: (Chunks::Of(vec![first, 1_000]), Chunks::Whole),
        };
        let mut gate = case.gate();
        assert!(introduce(&mut gate));
        let account = transact(&mut gate, 0, &plan);
        assert_eq!(gate.server.kept.len(), 1);
        assert!(gate.server.kept[0].content.ends_with(&account.content));
    }
}
