use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::dns::Answer;

/// A zone of lines `NAME TYPE DATA`. With data `fails` the lookup fails, and with `hangs` it never
/// ends.
struct Zone(&'static str);

#[async_trait]
impl Resolver for Zone {
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
        let mut records = Vec::new();
        for line in self.0.lines() {
            let [owner, of, data] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                continue;
            };
            if *owner != **name || !of.eq_ignore_ascii_case(&format!("{kind:?}")) {
                continue;
            }
            records.push(match kind {
                _ if data == "fails" => return Err(ResolveError::Declined(2)),
                _ if data == "hangs" => std::future::pending().await,
                RecordKind::A => Record::A(data.parse().unwrap()),
                RecordKind::Aaaa => Record::Aaaa(data.parse().unwrap()),
                RecordKind::Ptr => Record::Ptr(data.parse().unwrap()),
                other => panic!("nobody asks for {other:?}"),
            });
        }
        Ok(Answer::new(records, Duration::ZERO))
    }
}

#[test]
fn reverse_name_is_confirmed_if_it_resolves_to_the_address() {
    let name = |text: &str| text.parse::<DomainName>().unwrap();
    let ptr = |names: &str| {
        names.split(' ').map(|it| format!("1.2.0.192.in-addr.arpa PTR {it}\n")).collect::<String>()
    };
    let confirmed = |text| Ok(ReverseName::Confirmed(name(text)));
    let unconfirmed = |text| Ok(ReverseName::Unconfirmed(name(text)));
    let failed = Err(ResolveError::Declined(2));
    let many: Vec<String> = (0..12).map(|n| format!("n{n}.example")).collect();
    for (zone, expected) in [
        (String::new(), Ok(ReverseName::Nameless)),
        (ptr("a.example") + "a.example A 192.0.2.1", confirmed("a.example")),
        (ptr("a.example") + "a.example A 192.0.2.9\na.example A 192.0.2.1", confirmed("a.example")),
        (ptr("a.example"), unconfirmed("a.example")),
        (ptr("a.example") + "a.example A 192.0.2.9", unconfirmed("a.example")),
        (ptr("a.example") + "a.example AAAA ::ffff:192.0.2.1", unconfirmed("a.example")),
        (ptr("a.example b.example") + "b.example A 192.0.2.1", confirmed("b.example")),
        (
            ptr("a.example b.example") + "a.example A 192.0.2.1\nb.example A 192.0.2.1",
            confirmed("a.example"),
        ),
        // A failed lookup might have confirmed a name, but it does not undo a confirmed one.
        (ptr("fails"), failed.clone()),
        (ptr("a.example") + "a.example A fails", failed.clone()),
        (
            ptr("a.example b.example") + "a.example A fails\nb.example A 192.0.2.1",
            confirmed("b.example"),
        ),
        (
            ptr("a.example b.example c.example")
                + "a.example A fails\nb.example A hangs\nc.example A 192.0.2.1",
            confirmed("c.example"),
        ),
        // At most ten names are checked.
        (ptr(&many.join(" ")) + "n9.example A 192.0.2.1", confirmed("n9.example")),
        (ptr(&many.join(" ")) + "n10.example A 192.0.2.1", unconfirmed("n0.example")),
    ] {
        for address in ["192.0.2.1", "::ffff:192.0.2.1"] {
            let zone = Zone(zone.clone().leak());
            let found = pollster::block_on(reverse_name(&zone, address.parse().unwrap()));
            assert_eq!(found, expected, "{}", zone.0);
        }
    }
    // The addresses of one family are enough.
    for (zone, expected) in [
        ("a.example A 192.0.2.1\na.example AAAA fails", Ok(1)),
        ("a.example A fails\na.example AAAA ::1", Ok(1)),
        ("a.example A 192.0.2.1\na.example AAAA ::1", Ok(2)),
        ("a.example A fails", failed.clone().map(|_: ReverseName| 0)),
        ("", Ok(0)),
    ] {
        let found = pollster::block_on(Zone(zone).addresses(&name("a.example")));
        assert_eq!(found.map(|it| it.len()), expected, "{zone}");
    }
    let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    let zone = Zone(format!("{nibbles} PTR six.example\nsix.example AAAA 2001:db8::1").leak());
    let found = pollster::block_on(reverse_name(&zone, "2001:db8::1".parse().unwrap()));
    assert_eq!(found, confirmed("six.example"));
}
