//! Every reply to the client is true.

use proptest::prelude::*;

use nobounce::session::Awaiting;

use super::cases::{Case, case};
use super::client::{Account, Ending, Plan, Transfer, introduce, transact};
use super::gate::{Chunks, Gate, Judgement};
use super::oracle::{Octets, Reply, has_bare};
use super::server::{Act, Profile, SECRET, Server};
use super::words::is_known;

pub fn play(case: &Case) -> (Gate<Server>, Vec<Account>) {
    let mut gate = case.gate();
    let accounts = play_on(&mut gate, case);
    (gate, accounts)
}

pub fn play_on(gate: &mut Gate<Server>, case: &Case) -> Vec<Account> {
    let mut accounts = Vec::new();
    if introduce(gate) {
        for (n, plan) in case.plans.iter().enumerate() {
            accounts.push(transact(gate, n, plan));
            if gate.is_closed() {
                break;
            }
        }
    }
    gate.finish();
    accounts
}

/// Checks what the client believes against what the onward server knows.
pub fn audit(gate: &Gate<Server>, accounts: &[Account]) {
    let server = &gate.server;
    assert!(server.faults.is_empty(), "towards the onward server: {:?}", server.faults);
    for account in accounts {
        let token = account.token.as_bytes();
        let kept: Vec<_> = server.kept.iter().filter(|kept| holds(&kept.content, token)).collect();
        let accepted = account.accepted();
        for kept in &kept {
            assert_eq!(
                kept.recipients, accepted,
                "the recipients that the client regards as accepted"
            );
            assert!(kept.content.ends_with(&account.content), "the content is relayed unchanged");
            let added = &kept.content[..kept.content.len() - account.content.len()];
            assert_is_header(added);
        }
        for (recipient, reply) in account.recipients.iter().filter(|(_, reply)| reply.is_yes()) {
            let said = server.said.iter().any(|said| {
                said.verb == "RCPT" && &said.argument == recipient && said.text == reply.octets
            });
            assert!(said, "{reply:?} is not the onward server's");
        }
        assert!(kept.len() <= 1, "taken twice");
        match &account.answer {
            Some(answer) if answer.is_yes() => {
                assert_eq!(kept.len(), 1, "the client was told {answer:?}");
                assert!(server.was_heard(kept[0]), "replied before the result was known");
                let said = |verb: &str| {
                    server.said.iter().any(|said| said.verb == verb && said.text == answer.octets)
                };
                assert!(said("content"), "{answer:?} is not the onward server's");
            }
            Some(answer) => {
                assert!(answer.is_no());
                // A reply in doubt is transient, and only sent if no reply of the server arrived
                // (RFC 1047).
                let doubt = kept.iter().all(|kept| !server.was_heard(kept)) && answer.code == 451;
                assert!(kept.is_empty() || doubt, "taken, and the client was told {answer:?}");
            }
            None => {}
        }
    }
    let replies = super::oracle::read_replies(&gate.to_client).0;
    assert!(!holds(&gate.to_client, SECRET.as_bytes()), "reply contains internal text");
    for reply in &replies {
        assert!(is_known(reply, &server.said), "a reply from nowhere: {reply:?}");
    }
}

/// Checks that there are only header fields, except for the empty line that separates them from a
/// content without a header.
fn assert_is_header(octets: &[u8]) {
    assert!(octets.is_empty() || octets.ends_with(b"\r\n"));
    let text = String::from_utf8(octets.to_vec()).expect("added header fields are text");
    for line in text.split_inclusive("\r\n") {
        let line = line.strip_suffix("\r\n").unwrap();
        let folded = line.starts_with([' ', '\t']) && !line.trim().is_empty();
        let named = line.split(':').next().is_some_and(|name| {
            line.contains(':') && name.bytes().all(|octet| octet.is_ascii_graphic())
        });
        assert!(folded || named, "not a header line: {line:?}");
        assert!(!line.contains(['\r', '\n']), "not one line: {line:?}");
    }
}

fn holds(octets: &[u8], word: &[u8]) -> bool {
    octets.windows(word.len()).any(|window| window == word)
}

const PLAIN: Profile =
    Profile { pipelining: false, chunking: false, helo_only: false, lmtp: false };

pub fn plain(acts: &[Act], plans: usize) -> Case {
    let plan = Plan {
        recipients: 1,
        content: Octets(b"Hello".to_vec()),
        transfer: Transfer::Data,
        pipelined: false,
        size: false,
        ending: Ending::Complete,
    };
    Case {
        profile: PLAIN,
        acts: acts.to_vec(),
        judgements: Vec::new(),
        plans: vec![plan; plans],
        strict: false,
        limit: None,
        chunks: (Chunks::Whole, Chunks::Whole),
    }
}

/// The session's timeout is shorter than the sum of its onward timeouts.
#[test]
fn timeout_leads_to_451() {
    let connected = [Act::Accept, Act::Accept, Act::Accept];
    let slow_to_begin = [Act::Accept, Act::Accept, Act::AcceptAfter(110), Act::AcceptInSilence];
    let slow_recipient = [Act::AcceptAfter(100), Act::AcceptInSilence];
    for acts in [&slow_to_begin[..], &slow_recipient] {
        let (gate, accounts) = play(&plain(&[&connected, acts].concat(), 1));
        audit(&gate, &accounts);
        let told = String::from_utf8_lossy(&gate.to_client).into_owned();
        assert!(told.contains("451 4.4.7 "), "{acts:?}: {told}");
        let patience = [Awaiting::RecipientOutcome, Awaiting::ContentOutcome];
        assert!(gate.late.iter().any(|deadline| patience.contains(&deadline.awaiting)));
    }
}

/// A connection that the server closed while it was idle is replaced, invisibly for the client.
#[test]
fn dead_idle_connection_is_replaced() {
    let first = [const { Act::Accept }; 7];
    for end in [Act::Leave, Act::Close, Act::AcceptAndClose] {
        let (gate, accounts) = play(&plain(&[&first[..], &[end]].concat(), 2));
        audit(&gate, &accounts);
        assert_eq!(gate.server.kept.len(), 2);
        assert_eq!(gate.server.connections.len(), 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..Default::default() })]

    /// P1, I1, I2: a content gets 2xx only if the onward server replied 2xx for this very message.
    #[test]
    fn acceptance_comes_from_the_onward_server_for_this_message(case in case()) {
        let (gate, accounts) = play(&case);
        audit(&gate, &accounts);
    }

    /// I3: of a message that was refused here, no octet is forwarded.
    #[test]
    fn refused_mail_is_not_relayed(
        case in case(),
        judgement in prop_oneof![
            super::cases::refusal().prop_map(Judgement::Refuse),
            Just(Judgement::Late),
            Just(Judgement::ClientGone),
        ],
        why in 0..3_u8,
    ) {
        let mut case = case;
        case.plans.truncate(1);
        let plan = &mut case.plans[0];
        plan.recipients = 1;
        case.judgements = vec![Judgement::Pass, Judgement::Pass];
        match why {
            0 => case.judgements.push(judgement),
            1 => {
                case.strict = true;
                plan.content.0.extend_from_slice(b"\r\ra");
                prop_assert!(has_bare(&plan.content.0));
            }
            _ => {
                case.limit = Some(120);
                plan.content.0.extend_from_slice(&[b'a'; 120]);
            }
        }
        let (gate, accounts) = play(&case);
        audit(&gate, &accounts);
        for account in &accounts {
            prop_assert!(account.answer.as_ref().is_none_or(Reply::is_no));
            for connection in &gate.server.connections {
                prop_assert!(!holds(&connection.received, account.token.as_bytes()));
            }
        }
    }
}
