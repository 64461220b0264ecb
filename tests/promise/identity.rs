//! The promise with client identification: the onward server gets no mail before it knows the
//! client.

use proptest::prelude::*;

use nobounce::onward::Identify;

use super::cases::{Case, case, onward_settings};
use super::client::Account;
use super::gate::Gate;
use super::server::Server;
use super::truth::{audit, plain, play_on};

fn play(case: &Case, identify: Identify) -> (Gate<Server>, Vec<Account>) {
    let command = if identify == Identify::XClient { "XCLIENT" } else { "XFORWARD" };
    let server = Server::new(case.profile, case.acts.clone()).told_by(command);
    let mut onward = onward_settings(case.profile);
    onward.identify = identify;
    let (judgements, chunks) = (case.judgements.clone(), case.chunks.clone());
    let mut gate = Gate::new(case.settings(), onward, server, judgements, chunks);
    let accounts = play_on(&mut gate, case);
    (gate, accounts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..Default::default() })]

    /// The server gets no mail of a client that was not identified to it, and every reply to the
    /// client is true. This holds for any behaviour of the server.
    #[test]
    fn no_mail_is_sent_for_an_unidentified_client(case in case(), xclient in any::<bool>()) {
        let identify = if xclient { Identify::XClient } else { Identify::XForward };
        let (gate, accounts) = play(&case, identify);
        audit(&gate, &accounts);
    }

    /// Without faults, identifying the client loses no message.
    #[test]
    fn identified_client_is_served(case in case(), xclient in any::<bool>()) {
        let mut case = case.attended();
        case.acts.clear();
        case.profile.helo_only = false;
        let identify = if xclient { Identify::XClient } else { Identify::XForward };
        let (gate, accounts) = play(&case, identify);
        audit(&gate, &accounts);
        let asked = accounts.iter().flat_map(|account| &account.recipients).count();
        let told = accounts.iter().flat_map(|account| &account.recipients);
        let unidentified =
            told.filter(|(_, reply)| reply.code == 451 && reply.octets.starts_with(b"451 4.3.5 The next server cannot"));
        prop_assert_eq!(unidentified.count(), 0, "of {}", asked);
    }
}

/// Checks the check: a server that was not told of the client reports it.
#[test]
fn missing_identification_is_noticed() {
    let case = plain(&[], 1);
    let server = Server::new(case.profile, case.acts.clone()).told_by("XCLIENT");
    let chunks = case.chunks.clone();
    let onward = onward_settings(case.profile);
    let mut gate = Gate::new(case.settings(), onward, server, Vec::new(), chunks);
    play_on(&mut gate, &case);
    assert_eq!(gate.server.faults, ["mail without an identified client"]);
}
