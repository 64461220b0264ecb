//! The onward server's output in good dialogues, cut after every octet.

use super::cases::Case;
use super::client::{Ending, Plan, Transfer, introduce, transact};
use super::gate::{Chunks, Gate};
use super::oracle::Octets;
use super::server::{Cut, Profile, Server};
use super::truth::{audit, play_on};

fn dialogue(profile: Profile) -> Case {
    let plan = |transfer, pipelined| Plan {
        recipients: if profile.lmtp { 1 } else { 2 },
        content: Octets(b"Hello\r\n.\r\n".to_vec()),
        transfer,
        pipelined,
        size: true,
        ending: Ending::Complete,
    };
    Case {
        profile,
        acts: Vec::new(),
        judgements: Vec::new(),
        plans: vec![plan(Transfer::Data, true), plan(Transfer::Chunks(vec![7]), false)],
        strict: false,
        limit: None,
        chunks: (Chunks::Whole, Chunks::Whole),
    }
}

/// P5: in eight dialogues, the server closes or falls silent after every octet that it sends. It
/// then accepts another connection or does not.
#[test]
fn lost_onward_connection_leads_to_451() {
    let flags = [false, true];
    let profiles = flags.iter().flat_map(|pipelining| {
        flags.iter().flat_map(|chunking| flags.map(|lmtp| (*pipelining, *chunking, lmtp)))
    });
    let mut runs = 0;
    for (pipelining, chunking, lmtp) in profiles {
        let profile = Profile { pipelining, chunking, helo_only: false, lmtp };
        let case = dialogue(profile);
        let mut whole = case.gate();
        let accounts = play_on(&mut whole, &case);
        audit(&whole, &accounts);
        assert_eq!(whole.server.kept.len(), 2, "the dialogue is good: {profile:?}");
        assert_eq!(whole.server.connections.len(), 1);
        let all = whole.server.connections[0].delivered;
        for octets in 0..all {
            for cut in [Cut::Eof, Cut::Silence] {
                for single in flags {
                    cut_off(&case, octets, cut, single);
                    runs += 1;
                }
            }
        }
    }
    assert!(runs > 8_000, "{runs}");
}

fn cut_off(case: &Case, octets: usize, cut: Cut, single: bool) {
    let mut server = Server::new(case.profile, Vec::new()).cut(octets, cut);
    if single {
        server = server.single();
    }
    let onward = super::cases::onward_settings(case.profile);
    let chunks = (Chunks::Whole, Chunks::Of(vec![16]));
    let mut gate = Gate::new(case.settings(), onward, server, Vec::new(), chunks);
    assert!(introduce(&mut gate));
    let accounts: Vec<_> =
        case.plans.iter().enumerate().map(|(n, plan)| transact(&mut gate, n, plan)).collect();
    gate.finish();
    audit(&gate, &accounts);
    for account in &accounts {
        let replies = account.recipients.iter().map(|(_, reply)| reply).chain(&account.answer);
        for no in replies.filter(|reply| !reply.is_yes()) {
            assert_eq!(no.code, 451, "after {octets} octets, {cut:?}: {no:?}");
        }
        assert!(account.answer.is_some() || account.accepted().is_empty());
    }
    assert!(
        accounts.iter().any(|account| account.answer.as_ref().is_none_or(|no| no.is_no()))
            || !single,
        "after {octets} octets, {cut:?}: nothing was missed"
    );
}
