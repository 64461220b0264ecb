//! The relay test that a server must refuse.

use nobounce::onward::{Identify, ProxyVersion};
use nobounce::relay::SelfTestError;

use super::client::{RELAY_FORMS, open_relay_forms};
use super::postfix::Postfix;
use super::{gate, target};

#[test]
#[ignore = "needs root and an installed Postfix"]
fn self_test_passes_without_trusted_clients() {
    let postfix = Postfix::start();
    for (port, identify) in [
        (postfix.xclient, Identify::XClient),
        (postfix.strict, Identify::XClient),
        (postfix.xforward, Identify::XForward),
        (postfix.proxy, Identify::Proxy(ProxyVersion::V1)),
        (postfix.proxy, Identify::Proxy(ProxyVersion::V2)),
        (postfix.closed, Identify::None),
    ] {
        smol::block_on(target(port, identify).self_test())
            .unwrap_or_else(|error| panic!("{identify:?}: {error}"));
    }
}

#[test]
#[ignore = "needs root and an installed Postfix"]
fn self_test_finds_an_open_relay() {
    let postfix = Postfix::start();
    let result = smol::block_on(target(postfix.trusting, Identify::None).self_test());
    assert!(matches!(result, Err(SelfTestError::WouldRelay { .. })), "{result:?}");
    // The test is right: this is an open relay, and the relay forms confirm it.
    let open = smol::block_on(open_relay_forms(&gate(postfix.trusting, Identify::None)));
    assert!(open.len() > RELAY_FORMS.len() / 4, "{open:?}");
}

#[test]
#[ignore = "needs root and an installed Postfix"]
fn self_test_separates_configuration_faults_from_unreachable_servers() {
    let postfix = Postfix::start();
    let ask = |port, identify| smol::block_on(target(port, identify).self_test());
    for (port, identify) in [
        (postfix.trusting, Identify::XClient),
        (postfix.closed, Identify::XClient),
        (postfix.xclient, Identify::XForward),
    ] {
        let result = ask(port, identify);
        assert!(matches!(result, Err(SelfTestError::Unidentified(_))), "{identify:?}: {result:?}");
    }
    for (port, identify) in [
        (postfix.nobody, Identify::XClient),
        (postfix.nobody, Identify::None),
        // Both sides wait for the other, or receive invalid input.
        (postfix.proxy, Identify::None),
    ] {
        let result = ask(port, identify);
        assert!(matches!(result, Err(SelfTestError::Unanswered(_))), "{identify:?}: {result:?}");
    }
}
