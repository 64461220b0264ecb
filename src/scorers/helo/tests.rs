use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::dns::{Answer, Record};
use crate::peer::{Helo, Peer};
use crate::rehearsal::{envelope, recipient};

/// A zone that has `a.example`, `six.example` and `mx.example` with one record type each. Lookups
/// of `fails.example` fail.
struct Zone;

#[async_trait]
impl Resolver for Zone {
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
        let record = match (&**name, kind) {
            ("fails.example", _)
            | ("half.example", RecordKind::Aaaa | RecordKind::Mx)
            | ("mail.example", RecordKind::A | RecordKind::Aaaa)
            | ("part.example", RecordKind::Aaaa) => return Err(ResolveError::Declined(2)),
            ("slow.example", RecordKind::Aaaa | RecordKind::Mx) => std::future::pending().await,
            ("half.example" | "slow.example", RecordKind::A) => {
                Some(Record::A([192, 0, 2, 1].into()))
            }
            ("mail.example", RecordKind::Mx) => Some(Record::Mx { preference: 1, exchange: None }),
            ("a.example", RecordKind::A) => Some(Record::A([192, 0, 2, 1].into())),
            ("six.example", RecordKind::Aaaa) => Some(Record::Aaaa(1.into())),
            ("mx.example", RecordKind::Mx) => Some(Record::Mx { preference: 1, exchange: None }),
            _ => None,
        };
        Ok(Answer::new(record, Duration::from_secs(60)))
    }
}

fn says(address: &str, helo: &str) -> Result<String, ScorerError> {
    let names = HeloNames::new(Zone)
        .ours("MX.example.net")
        .ours("192.0.2.25")
        .ours("2001:DB8::25")
        .ours("gate.example.");
    let names = names.weight(HeloFlaw::Unresolved, Score::points(9));
    let mut peer = Peer::new(std::net::SocketAddr::new(address.parse().unwrap(), 25));
    peer.helo = Some(Helo { extended: true, name: helo.into() });
    let mut envelope = envelope("<a@example.com>");
    envelope.peer = Arc::new(peer);
    let opinion = pollster::block_on(names.on_rcpt(&RcptContext::new(&envelope, &recipient())))?;
    let found = opinion.findings.first();
    Ok(found.map_or("Silent".into(), |it| format!("{} {}", it.symbol(), it.score())))
}

#[test]
fn flaws_are_found() {
    for (address, helo, expected) in [
        ("192.0.2.1", "a.example", "Silent"),
        ("192.0.2.1", "A.Example.", "Silent"),
        ("192.0.2.1", "six.example", "Silent"),
        ("192.0.2.1", "mx.example", "Silent"),
        // One record is enough, even if other queries fail or hang.
        ("192.0.2.1", "half.example", "Silent"),
        ("192.0.2.1", "mail.example", "Silent"),
        ("192.0.2.1", "slow.example", "Silent"),
        ("192.0.2.1", "other.example", "HELO_UNRESOLVED 9.00"),
        ("192.0.2.1", "localhost", "HELO_NO_DOT 2.00"),
        ("192.0.2.1", "localhost.", "HELO_NO_DOT 2.00"),
        ("192.0.2.1", "a b.example", "HELO_NO_NAME 2.00"),
        ("192.0.2.1", "a..example", "HELO_NO_NAME 2.00"),
        ("192.0.2.1", "", "HELO_NO_NAME 2.00"),
        ("192.0.2.1", "192.0.2.1", "HELO_BARE_ADDRESS 3.00"),
        ("192.0.2.1", "2001:db8::1", "HELO_BARE_ADDRESS 3.00"),
        ("192.0.2.1", "[192.0.2.1]", "HELO_LITERAL 1.00"),
        ("::ffff:192.0.2.1", "[192.0.2.1]", "HELO_LITERAL 1.00"),
        ("2001:db8::1", "[IPv6:2001:db8:0::1]", "HELO_LITERAL 1.00"),
        ("2001:db8::1", "[ipv6:2001:db8::2]", "HELO_LITERAL_OTHER 3.00"),
        ("192.0.2.1", "[192.0.2.2]", "HELO_LITERAL_OTHER 3.00"),
        ("192.0.2.1", "[nonsense]", "HELO_LITERAL_OTHER 3.00"),
        ("192.0.2.1", "mx.EXAMPLE.net", "HELO_OURS 5.00"),
        ("192.0.2.1", "mx.example.net.", "HELO_OURS 5.00"),
        ("192.0.2.1", "192.0.2.25", "HELO_OURS 5.00"),
        ("192.0.2.1", "[192.0.2.25]", "HELO_OURS 5.00"),
        ("192.0.2.1", "[IPv6:2001:db8:0::25]", "HELO_OURS 5.00"),
        ("192.0.2.1", "2001:db8:0:0::25", "HELO_OURS 5.00"),
        ("192.0.2.1", "Gate.example", "HELO_OURS 5.00"),
    ] {
        assert_eq!(says(address, helo).unwrap(), expected, "{address} says {helo:?}");
    }
    assert!(says("192.0.2.1", "fails.example").is_err());
    assert!(says("192.0.2.1", "part.example").is_err(), "the failure may hide a record");
}

#[test]
fn name_is_looked_up_once_per_message() {
    let zone = Counting::default();
    let names = HeloNames::new(zone.clone());
    let mut peer = crate::rehearsal::peer();
    peer.helo = Some(Helo { extended: true, name: "fails.example".into() });
    let mut envelope = envelope("<a@example.com>");
    envelope.peer = Arc::new(peer);
    for _ in 0..1_000 {
        pollster::block_on(names.on_rcpt(&RcptContext::new(&envelope, &recipient()))).unwrap_err();
    }
    assert!(zone.0.load(Ordering::Relaxed) <= 3);
}

/// The zone above, with a counter of queries.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicU32>);

#[async_trait]
impl Resolver for Counting {
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Zone.lookup(name, kind).await
    }
}

#[test]
fn helo_weights_are_in_the_order_of_flaws() {
    use HeloFlaw::*;
    let flaws = [Ours, LiteralOther, Literal, BareAddress, NoName, NoDot, Unresolved];
    for (place, flaw) in flaws.into_iter().enumerate() {
        assert_eq!(flaw as usize, place);
    }
    let (symbol, weight) = FLAWS[NoDot as usize];
    assert_eq!((symbol, weight), ("HELO_NO_DOT", Score::points(2)));
}

#[test]
fn helo_of_own_networks_is_not_checked() {
    let names = HeloNames::new(Zone);
    let mut envelope = envelope("<a@example.com>");
    for (own, expected) in [(true, 0), (false, 1)] {
        let peer = Arc::make_mut(&mut envelope.peer);
        peer.helo = Some(Helo { extended: true, name: "printer".into() });
        peer.own = own;
        let opinion =
            pollster::block_on(names.on_rcpt(&RcptContext::new(&envelope, &recipient()))).unwrap();
        assert_eq!(opinion.findings.len(), expected);
    }
}
