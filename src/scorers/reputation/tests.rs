use super::*;
use crate::rehearsal::{Rehearsal, envelope, recipient, session};
use crate::store::Memory;

fn reputation(runtime: &Rehearsal) -> Reputation<Rehearsal> {
    Reputation::new(runtime.clone(), Arc::new(Memory::new()))
}

fn peer(address: &str) -> Peer {
    Peer::new((address.parse::<std::net::IpAddr>().unwrap(), 1).into())
}

fn learn(
    reputation: &Reputation<Rehearsal>,
    address: &str,
    impression: Impression,
    strangers: u32,
) {
    let lesson = Lesson { peer: Arc::new(peer(address)), impression, strangers };
    reputation.runtime.run(reputation.learn(&lesson)).unwrap();
}

/// Returns the scores of address and network, in hundredths of a point.
fn found(reputation: &Reputation<Rehearsal>, address: &str) -> [i32; 2] {
    let opinion = reputation
        .runtime
        .run(reputation.on_connect(&ConnectContext::new(&session(), &peer(address))))
        .unwrap();
    let findings = opinion.findings;
    SYMBOLS.map(|symbol| {
        let finding = findings.iter().find(|finding| finding.symbol() == symbol);
        finding.map_or(0, |finding| finding.score().as_hundredths())
    })
}

#[test]
fn reputation_depends_on_previous_outcomes() {
    use Impression::{Bad, Good, Unknown};
    // The history of the client with counts, and the expected scores of address and network.
    type Row<'t> = (&'t [(Impression, u32, u32)], [i32; 2]);
    let table: &[Row<'_>] = &[
        (&[], [0, 0]),
        (&[(Bad, 0, 1)], [27, 14]),
        (&[(Bad, 0, 10)], [150, 75]),
        (&[(Bad, 0, 1000)], [297, 149]),
        (&[(Good, 0, 10)], [-50, -25]),
        (&[(Good, 0, 1000)], [-99, -50]),
        (&[(Good, 0, 10), (Bad, 0, 10)], [0, 0]),
        (&[(Good, 0, 90), (Bad, 0, 10)], [-73, -36]),
        (&[(Unknown, 0, 100)], [0, 0]),
        // Unknown recipients: ten count as one bad message. More than ten in one transaction count
        // as ten.
        (&[(Unknown, 10, 10)], [150, 75]),
        (&[(Unknown, 1_000_000, 10)], [150, 75]),
        (&[(Good, 1, 10)], [-43, -21]),
    ];
    for (history, expected) in table {
        let runtime = Rehearsal::new();
        let reputation = reputation(&runtime);
        for (impression, strangers, times) in *history {
            (0..*times).for_each(|_| learn(&reputation, "192.0.2.1", *impression, *strangers));
        }
        assert_eq!(found(&reputation, "192.0.2.1"), *expected, "{history:?}");
        // A client in the same network gets the network's score, others get none.
        assert_eq!(found(&reputation, "192.0.2.2"), [0, expected[1]], "{history:?}");
        assert_eq!(found(&reputation, "192.0.3.1"), [0, 0]);
    }
}

#[test]
fn reputation_decays() {
    let runtime = Rehearsal::new();
    let reputation = reputation(&runtime).half_life(DAY);
    (0..20).for_each(|_| learn(&reputation, "192.0.2.1", Impression::Bad, 0));
    let mut scores = Vec::new();
    for _ in 0..6 {
        scores.push(found(&reputation, "192.0.2.1")[0]);
        runtime.run(runtime.sleep(DAY));
    }
    assert_eq!(scores, [200, 150, 100, 60, 33, 18]);
    runtime.run(runtime.sleep(DAY));
    assert_eq!(found(&reputation, "192.0.2.1"), [0, 0], "below a tenth of a point");
}

#[test]
fn network_shares_one_reputation() {
    let runtime = Rehearsal::new();
    let reputation = reputation(&runtime).exempt("198.51.100.0/24".parse().unwrap());
    for n in 0..10 {
        learn(&reputation, &format!("2001:db8:1:2::{n}"), Impression::Bad, 0);
        learn(&reputation, "198.51.100.1", Impression::Bad, 0);
    }
    assert_eq!(found(&reputation, "2001:db8:1:2:3::"), [150, 75]);
    assert_eq!(found(&reputation, "2001:db8:1:3::"), [0, 75]);
    assert_eq!(found(&reputation, "198.51.100.1"), [0, 0]);
}

#[test]
fn client_named_by_xforward_is_scored_at_rcpt() {
    let runtime = Rehearsal::new();
    let reputation = reputation(&runtime);
    (0..10).for_each(|_| learn(&reputation, "192.0.2.1", Impression::Bad, 0));
    let mut envelope = envelope("<a@example.org>");
    for (voucher, speaks) in [(Voucher::Socket, false), (Voucher::XForward(None), true)] {
        let mut peer = peer("192.0.2.1");
        peer.vouched.address = voucher;
        envelope.peer = Arc::new(peer);
        let opinion =
            runtime.run(reputation.on_rcpt(&RcptContext::new(&envelope, &recipient()))).unwrap();
        assert_eq!(opinion != Opinion::silent(), speaks);
    }
}

#[test]
fn failing_balance_does_not_hide_the_other() {
    for (declines, symbol) in
        [("reputation-address", "REPUTATION_NETWORK"), ("reputation-network", "REPUTATION_ADDRESS")]
    {
        let runtime = Rehearsal::new();
        let store = Arc::new(crate::store::faulty::Faulty::new(declines));
        let reputation = Reputation::new(runtime.clone(), store);
        let lesson =
            Lesson { peer: Arc::new(peer("192.0.2.1")), impression: Impression::Bad, strangers: 0 };
        for _ in 0..100 {
            runtime.run(reputation.learn(&lesson)).unwrap_err();
        }
        let error = runtime
            .run(reputation.on_connect(&ConnectContext::new(&session(), &lesson.peer)))
            .unwrap_err();
        assert!(error.opinion().findings[0].symbol() == symbol, "{error:?}");
    }
}

#[test]
fn own_networks_have_no_reputation() {
    let runtime = Rehearsal::new();
    let reputation = reputation(&runtime);
    let own = Peer { own: true, ..peer("192.0.2.1") };
    let lesson = Lesson { peer: Arc::new(own.clone()), impression: Impression::Bad, strangers: 0 };
    for _ in 0..100 {
        runtime.run(reputation.learn(&lesson)).unwrap();
    }
    assert_eq!(found(&reputation, "192.0.2.1"), [0, 0], "nothing was learned");
    learn(&reputation, "192.0.2.1", Impression::Bad, 0);
    assert_ne!(found(&reputation, "192.0.2.1"), [0, 0]);
    let opinion =
        runtime.run(reputation.on_connect(&ConnectContext::new(&session(), &own))).unwrap();
    assert_eq!(opinion, Opinion::silent(), "nothing is found");
}
