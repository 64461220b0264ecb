use std::time::Duration;

use super::*;
use crate::peer::Peer;
use crate::rehearsal::{Rehearsal, envelope};
use crate::scorers::told;
use crate::store::Memory;

const MINUTE: Duration = Duration::from_secs(60);

fn rate(tokens: u32) -> Rate {
    Rate::new(tokens, MINUTE).unwrap()
}

fn limit(runtime: &Rehearsal) -> RateLimit<Rehearsal> {
    RateLimit::new(runtime.clone(), Arc::new(Memory::new()))
}

fn ask(limit: &RateLimit<Rehearsal>, address: &str, sender: &str, to: &str) -> String {
    let mut envelope = envelope(sender);
    let peer = match address {
        "local" => Peer::local(),
        address => Peer::new((address.parse::<std::net::IpAddr>().unwrap(), 1).into()),
    };
    envelope.peer = Arc::new(peer);
    let recipient = ForwardPath::parse(to).unwrap();
    told(&limit.runtime.run(limit.on_rcpt(&RcptContext::new(&envelope, &recipient))).unwrap())
}

#[test]
fn limits_are_counted_separately() {
    type Setting = fn(RateLimit<Rehearsal>, Rate) -> RateLimit<Rehearsal>;
    let first = ("192.0.2.1", "<a@example.org>", "<b@example.net>");
    let address = "451 4.7.1 Too many recipients from your address, try again in 60 seconds";
    let network = "451 4.7.1 Too many recipients from your network, try again in 60 seconds";
    let sender = "451 4.7.1 Too many recipients from this sender, try again in 60 seconds";
    let recipient = "451 4.7.1 Too much mail for this recipient, try again in 60 seconds";
    // The limit, the second question after the first one, and the expected reply.
    let table: &[(Setting, (&str, &str, &str), &str)] = &[
        (RateLimit::per_address, first, address),
        (RateLimit::per_address, ("192.0.2.1", "<c@example.org>", "<d@example.net>"), address),
        (RateLimit::per_address, ("192.0.2.2", "<a@example.org>", "<b@example.net>"), "silent"),
        (RateLimit::per_network, ("192.0.2.2", "<c@example.org>", "<d@example.net>"), network),
        (RateLimit::per_network, ("192.0.3.1", "<a@example.org>", "<b@example.net>"), "silent"),
        (RateLimit::per_sender, ("198.51.100.1", "<A@EXAMPLE.org>", "<d@example.net>"), sender),
        (RateLimit::per_sender, ("192.0.2.1", "<\"a\"@example.org.>", "<d@example.net>"), sender),
        (RateLimit::per_sender, ("192.0.2.1", "<@x:a@example.org>", "<d@example.net>"), sender),
        (RateLimit::per_sender, ("192.0.2.1", "< >", "<b@example.net>"), "silent"),
        (RateLimit::per_recipient, ("192.0.2.9", "<>", "<\\b@Example.net.>"), recipient),
        (RateLimit::per_recipient, ("192.0.2.9", "<>", "<b%example.net@example.net>"), recipient),
        (RateLimit::per_recipient, ("192.0.2.9", "<>", "<example.net!b@example.net>"), recipient),
        (RateLimit::per_sender, ("192.0.2.1", "<c@example.org>", "<b@example.net>"), "silent"),
        (RateLimit::per_sender, ("192.0.2.1", "<>", "<b@example.net>"), "silent"),
        (RateLimit::per_recipient, ("198.51.100.1", "<>", "<B@example.net>"), recipient),
        (RateLimit::per_recipient, ("192.0.2.1", "<a@example.org>", "<d@example.net>"), "silent"),
    ];
    for (setting, (from, sender, to), expected) in table {
        let runtime = Rehearsal::new();
        let limit = setting(limit(&runtime), rate(1));
        assert_eq!(ask(&limit, first.0, first.1, first.2), "silent");
        assert_eq!(ask(&limit, from, sender, to), *expected, "{from} {sender} {to}");
        runtime.run(runtime.sleep(MINUTE));
        assert_eq!(ask(&limit, first.0, first.1, first.2), "silent");
    }
}

#[test]
fn exceeded_limit_does_not_use_up_other_limits() {
    let runtime = Rehearsal::new();
    let limit = limit(&runtime).per_address(rate(2)).per_recipient(rate(3));
    for n in 0..10 {
        let heard = ask(&limit, "192.0.2.1", "<a@example.org>", "<b@example.net>");
        assert_eq!(heard == "silent", n < 2, "{heard}");
    }
    assert_eq!(ask(&limit, "198.51.100.1", "<c@example.org>", "<b@example.net>"), "silent");
    let heard = ask(&limit, "203.0.113.1", "<c@example.org>", "<b@example.net>");
    assert!(heard.starts_with("451 4.7.1 Too much mail for this recipient"), "{heard}");
}

#[test]
fn network_shares_one_limit() {
    let runtime = Rehearsal::new();
    let limit = limit(&runtime).per_address(rate(1));
    let ask = |address| ask(&limit, address, "<a@example.org>", "<b@example.net>");
    assert_eq!(ask("2001:db8:1:2::1"), "silent");
    assert!(ask("2001:db8:1:2:ffff::2").starts_with("451"));
    assert_eq!(ask("2001:db8:1:3::1"), "silent");
}

#[test]
fn exceeded_rate_can_add_a_score_or_nothing() {
    let runtime = Rehearsal::new();
    let limit = limit(&runtime)
        .per_address(rate(1))
        .over(Over::Score(Score::points(2)))
        .exempt("198.51.100.0/24".parse().unwrap());
    let ask = |address| ask(&limit, address, "<a@example.org>", "<b@example.net>");
    assert_eq!(ask("192.0.2.1"), "silent");
    assert_eq!(ask("192.0.2.1"), "RATE_ADDRESS=2.00 over the limit for 60 more seconds");
    for _ in 0..3 {
        assert_eq!(ask("198.51.100.1"), "silent");
        assert_eq!(ask("local"), "silent");
    }
}

#[test]
fn failing_limit_does_not_disable_the_others() {
    let runtime = Rehearsal::new();
    let store = Arc::new(crate::store::faulty::Faulty::new("rate-address"));
    let limit = RateLimit::new(runtime.clone(), store).per_address(rate(9)).per_sender(rate(1));
    let (envelope, recipient) = (envelope("<a@example.org>"), crate::rehearsal::recipient());
    let ask = || runtime.run(limit.on_rcpt(&RcptContext::new(&envelope, &recipient)));
    assert_eq!(ask().unwrap_err().to_string(), "store: operation refused: \"no\"");
    assert!(
        matches!(ask(), Ok(opinion) if opinion.refusal.as_ref().is_some_and(Refusal::is_transient))
    );
}

#[test]
fn own_networks_are_not_rate_limited() {
    let runtime = Rehearsal::new();
    let limit = limit(&runtime).per_address(rate(1)).per_sender(rate(1)).per_recipient(rate(1));
    let (mut envelope, to) = (envelope("<a@example.org>"), crate::rehearsal::recipient());
    Arc::make_mut(&mut envelope.peer).own = true;
    for _ in 0..100 {
        assert_eq!(
            runtime.run(limit.on_rcpt(&RcptContext::new(&envelope, &to))).unwrap(),
            Opinion::silent()
        );
    }
    Arc::make_mut(&mut envelope.peer).own = false;
    assert_eq!(
        runtime.run(limit.on_rcpt(&RcptContext::new(&envelope, &to))).unwrap(),
        Opinion::silent()
    );
    assert!(
        runtime.run(limit.on_rcpt(&RcptContext::new(&envelope, &to))).unwrap().refusal.is_some()
    );
}
