//! PRDR: the client gets a true reply for each recipient, and a true final reply for the message.

use proptest::prelude::*;

use nobounce::Settings;
use nobounce::session::{Capabilities, EndCause};

use super::cases::{acts, chunks, onward_settings};
use super::gate::{Chunks, Gate};
use super::oracle::Reply;
use super::server::{Act, Profile, Server};

/// Runs a transaction with these recipients. Returns the gate, the accepted recipients, and the
/// replies to the content.
fn transact(
    recipients: usize,
    server: Vec<Act>,
    pipelining: bool,
    chunks: (Chunks, Chunks),
) -> (Gate<Server>, Vec<Vec<u8>>, Vec<Reply>) {
    let profile = Profile { pipelining, chunking: false, helo_only: false, lmtp: true };
    let server = Server::new(profile, server);
    let onward = onward_settings(profile);
    let mut gate = Gate::new(Settings::new("gate.example"), onward, server, Vec::new(), chunks);
    let mut through = Capabilities::all();
    (through.prdr, through.recipients_max) = (true, Some(1));
    gate.session.offer(&through);
    gate.say(b"");
    gate.say(b"EHLO client.example\r\n");
    gate.say(b"MAIL FROM:<a@client.example> PRDR\r\n");
    let mut accepted = Vec::new();
    for n in 0..recipients {
        let recipient = format!("TO:<r{n}@example.org>").into_bytes();
        let replies = gate.say(&[b"RCPT ", &recipient[..], b"\r\n"].concat());
        if replies.iter().any(Reply::is_yes) {
            accepted.push(recipient);
        }
    }
    let mut answers = Vec::new();
    if gate.say(b"DATA\r\n").iter().any(|reply| reply.code == 354) {
        answers = gate.say(b"Subject: x\r\n\r\ntext\r\n.\r\n");
    }
    gate.finish();
    (gate, accepted, answers)
}

/// Checks the client's replies for these recipients against the server's state.
fn audit(gate: &Gate<Server>, accepted: &[Vec<u8>], answers: &[Reply]) {
    let server = &gate.server;
    assert!(server.faults.is_empty(), "towards the onward server: {:?}", server.faults);
    let each = match answers {
        [begin, each @ .., overall] if begin.code == 353 => {
            assert!(accepted.len() > 1 && each.len() == accepted.len(), "{answers:?}");
            let codes = || each.iter().map(|reply| reply.code / 100);
            let expected = codes().min().unwrap();
            assert_eq!(overall.code / 100, expected, "{answers:?}");
            each
        }
        [only] if accepted.len() == 1 => std::slice::from_ref(only),
        // The session had ended, or no recipient was accepted.
        [] => {
            assert!(server.kept.is_empty(), "accepted without a reply");
            &[]
        }
        _ => panic!("{} recipients, {answers:?}", accepted.len()),
    };
    let mut yes = Vec::new();
    for (recipient, reply) in accepted.iter().zip(each) {
        let kept = server.kept.iter().find(|kept| kept.recipients[..] == [recipient.clone()]);
        let heard = kept.is_some_and(|kept| server.was_heard(kept));
        if reply.is_yes() {
            assert!(heard, "{reply:?} and not taken");
            let said = server.said.iter().any(|said| said.text == reply.octets);
            assert!(said, "{reply:?} is not the onward server's");
            yes.push(recipient);
        } else {
            // In doubt, the reply is transient.
            assert!(kept.is_none() || reply.code == 451, "{reply:?} and taken");
        }
    }
    let Some(end) = gate.ends.first() else { return };
    let recorded: Vec<_> = end.envelope.forward_paths.iter().map(|it| it.path.written()).collect();
    if end.reply.is_some() && accepted.len() > 1 {
        let yes: Vec<_> = yes.iter().map(|recipient| &recipient[3..]).collect();
        assert_eq!(recorded, yes, "the record");
        assert_eq!(end.cause == EndCause::Accepted, !yes.is_empty(), "{:?}", end.cause);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn replies_to_recipients_match_the_onward_server(
        recipients in 1..6_usize,
        acts in acts(),
        pipelining: bool,
        chunks in (chunks(), chunks()),
    ) {
        let (gate, accepted, answers) = transact(recipients, acts, pipelining, chunks);
        audit(&gate, &accepted, &answers);
    }

    /// No fault occurs before the replies to the content.
    #[test]
    fn prdr_replies_match_the_onward_server_after_a_fault(
        recipients in 2..6_usize,
        acts in acts(),
        chunks in (chunks(), chunks()),
    ) {
        // Connection, greeting, LHLO, MAIL, the recipients, DATA.
        let before = vec![Act::Accept; 5 + recipients];
        let (gate, accepted, answers) =
            transact(recipients, [before, acts].concat(), true, chunks);
        prop_assert_eq!(accepted.len(), recipients);
        prop_assert_eq!(answers[0].code, 353);
        audit(&gate, &accepted, &answers);
    }
}
