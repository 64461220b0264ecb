use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::dns::Answer;
use crate::envelope::{Envelope, SessionId};
use crate::opinion::FailurePolicy;
use crate::panel::{Panel, Seat, Sitting};
use crate::peer::{Helo, Peer};
use crate::rehearsal::{Rehearsal, envelope, message, recipient, session};
use crate::scorer::{ConnectContext, DataContext, RcptContext, Scorer};
use crate::tally::Tally;
use crate::verdict::{Subject, Verdict};
use crate::wire::mailbox::ReversePath;

/// Names and their codes. An entry without codes does not exist, and a query for `SILENT` never
/// ends.
#[derive(Clone, Default)]
struct Zones {
    codes: Arc<HashMap<String, Vec<Record>>>,
    rehearsal: Option<Rehearsal>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Zones {
    fn new(entries: &[(&str, &[&str])]) -> Self {
        let record = |code: &&str| Record::A(code.parse().unwrap());
        let entry = |(name, codes): &(&str, &[&str])| {
            ((*name).to_owned(), codes.iter().map(record).collect())
        };
        Self { codes: Arc::new(entries.iter().map(entry).collect()), ..Self::default() }
    }

    fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.sort();
        asked
    }
}

#[async_trait]
impl Resolver for Zones {
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
        assert_eq!(kind, RecordKind::A);
        self.asked.lock().unwrap().push(name.to_string());
        if let Some(rehearsal) = &self.rehearsal {
            rehearsal.sleep(Duration::from_secs(1)).await;
        }
        if name.ends_with("silent.example") {
            std::future::pending::<()>().await;
        }
        if name.ends_with("broken.example") {
            return Err(ResolveError::Declined(2));
        }
        let records = self.codes.get(&**name).cloned().unwrap_or_default();
        Ok(Answer::new(records, Duration::from_secs(60)))
    }
}

/// Returns the list's result for these codes: `SYMBOL=WEIGHT` each, or the failure.
fn says(list: &DnsList, codes: &[&str]) -> String {
    let codes: Vec<Ipv4Addr> = codes.iter().map(|code| code.parse().unwrap()).collect();
    match list.findings(&codes, "it") {
        Ok(findings) => listed(&findings),
        Err(fault) => fault.to_string(),
    }
}

fn listed(findings: &[Finding]) -> String {
    let words: Vec<_> =
        findings.iter().map(|it| format!("{}={}", it.symbol(), it.score())).collect();
    words.join(" ")
}

#[test]
fn rules_assign_scores_to_codes() {
    let plain = DnsList::new("plain.example").unwrap();
    let zen = DnsList::new("zen.example").unwrap().weight(Score::points(1));
    let zen = zen.codes("127.0.0.[2;3]", "SBL", Score::points(4)).unwrap();
    let zen = zen.codes("127.0.0.[4..7]", "XBL", Score::points(6)).unwrap();
    let multi = DnsList::new("multi.example").unwrap().symbol("MULTI");
    let multi = multi.bits(8, "PHISH", Score::points(7)).unwrap();
    let multi = multi.bits(16 | 64, "BAD", Score::points(5)).unwrap();
    let multi = multi.bits(1 << 8, "FRESH", Score::points(2)).unwrap();
    let good = DnsList::new("good.example").unwrap();
    let good = good.codes("127.0.[0..255].[1..3]", "GOOD", Score::points(-2)).unwrap();
    let good = good.refusing("127.0.0.255").unwrap();
    for (list, codes, expected) in [
        (&plain, &["127.0.0.2"][..], "PLAIN_EXAMPLE=0.00"),
        (&plain, &[], ""),
        (&zen, &["127.0.0.2"], "SBL=4.00"),
        (&zen, &["127.0.0.2", "127.0.0.3"], "SBL=4.00"),
        (&zen, &["127.0.0.2", "127.0.0.4"], "SBL=4.00 XBL=6.00"),
        (&zen, &["127.0.0.10"], "ZEN_EXAMPLE=1.00"),
        (&zen, &["127.0.0.10", "127.0.0.7"], "XBL=6.00 ZEN_EXAMPLE=1.00"),
        (&zen, &["127.1.0.2"], "ZEN_EXAMPLE=1.00"),
        (&multi, &["127.0.0.8"], "PHISH=7.00"),
        (&multi, &["127.0.0.88"], "PHISH=7.00 BAD=5.00"),
        (&multi, &["127.0.1.16"], "BAD=5.00 FRESH=2.00"),
        (&multi, &["127.0.0.2"], "MULTI=0.00"),
        (&good, &["127.0.9.3"], "GOOD=-2.00"),
        (&good, &["127.0.9.0"], "GOOD_EXAMPLE=0.00"),
        // These are not listings.
        (&good, &["127.0.0.255"], "good.example refuses to answer our queries: 127.0.0.255"),
        (&zen, &["127.255.255.254"], "zen.example refuses to answer our queries: 127.255.255.254"),
        (
            &zen,
            &["127.0.0.2", "127.255.255.252"],
            "zen.example refuses to answer our queries: 127.255.255.252",
        ),
        (&multi, &["127.0.0.1"], "multi.example refuses to answer our queries: 127.0.0.1"),
        (&plain, &["203.0.113.80"], "plain.example is not a DNS list: it returned 203.0.113.80"),
        (&plain, &["127.0.0.2", "0.0.0.0"], "plain.example is not a DNS list: it returned 0.0.0.0"),
    ] {
        assert_eq!(says(list, codes), expected, "{codes:?}");
    }
}

fn zen() -> DnsList {
    DnsList::new("zen.example").unwrap().symbol("ZEN").weight(Score::points(4))
}

fn at(address: &str) -> Peer {
    Peer::new(std::net::SocketAddr::new(address.parse().unwrap(), 25))
}

#[test]
fn dnsbl_queries_the_client_address() {
    let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";
    let zones = Zones::new(&[
        ("1.2.0.192.zen.example", &["127.0.0.2", "127.0.0.4"]),
        (&format!("{nibbles}.zen.example"), &["127.0.0.3"]),
    ]);
    let dnsbl = Dnsbl::new(zones.clone()).list(zen());
    for (peer, expected) in [
        (at("192.0.2.1"), "192.0.2.1 is on zen.example: 127.0.0.2, 127.0.0.4"),
        (at("::ffff:192.0.2.1"), "192.0.2.1 is on zen.example: 127.0.0.2, 127.0.0.4"),
        (at("2001:db8::1"), "2001:db8::1 is on zen.example: 127.0.0.3"),
        (at("192.0.2.2"), ""),
        (Peer::local(), ""),
    ] {
        let opinion =
            pollster::block_on(dnsbl.on_connect(&ConnectContext::new(&session(), &peer))).unwrap();
        assert_eq!(opinion.findings.first().map_or("", Finding::detail), expected);
    }
    assert_eq!(zones.asked().len(), 4, "a client without an address is not asked about");

    // A client announced by XFORWARD is looked up at its recipients.
    let mut envelope = envelope("<a@example.com>");
    envelope.peer = Arc::new(at("192.0.2.1"));
    let rcpt = |envelope: &Envelope| {
        pollster::block_on(dnsbl.on_rcpt(&RcptContext::new(envelope, &recipient()))).unwrap()
    };
    assert_eq!(rcpt(&envelope), Opinion::silent());
    let told = crate::wire::attributes::ClientAttributes::unavailable();
    envelope.xforward = Some(Arc::new(told));
    assert_eq!(rcpt(&envelope).findings[0].symbol(), "ZEN");
}

#[test]
fn rhsbl_queries_each_name_once() {
    let zones = Zones::new(&[("bad.example.dbl.example", &["127.0.1.2"])]);
    let dbl = DnsList::new("dbl.example").unwrap().symbol("DBL").weight(Score::points(5));
    let rhsbl = Rhsbl::new(zones.clone()).list(dbl);
    let latin = ReversePath::parse(b"<\xff\xfe@bad.example>").unwrap();
    let latin = Envelope { reverse_path: latin, ..envelope("<>") };
    pollster::block_on(rhsbl.on_rcpt(&RcptContext::new(&latin, &recipient()))).unwrap();
    assert_eq!(zones.asked(), ["bad.example.dbl.example"]);
    let table: &[(&str, &str, Option<&str>, &[&str])] = &[
        ("<a@Bad.Example>", "mx.bad.example", None, &["bad.example", "mx.bad.example"]),
        ("<a@bad.example>", "bad.example.", Some("BAD.example"), &["bad.example"]),
        ("<>", "[192.0.2.1]", None, &[]),
        ("<>", "192.0.2.1", None, &[]),
        ("<>", "localhost", Some("a.example"), &["a.example"]),
        ("<a@[192.0.2.1]>", "a b", None, &[]),
        // The domain that the onward server reads, in any notation.
        ("<a@bad.example.>", "localhost", None, &["bad.example"]),
        ("<a@bad..example>", "localhost", None, &["bad.example"]),
        ("<a@.bad.example>", "localhost", None, &["bad.example"]),
        ("<a@[bad.example]>", "[Bad.example]", None, &["bad.example"]),
        ("<a..b@bad.example>", "localhost", None, &["bad.example"]),
        ("<\"a b\"@bad.example>", "localhost", None, &["bad.example"]),
        ("<a@good.example@bad.example>", "localhost", None, &["bad.example"]),
        ("<@good.example,@y:a@bad.example>", "localhost", None, &["bad.example"]),
        ("< a @ bad . example (good.example) >", "localhost", None, &["bad.example"]),
        ("<a%bad.example>", "localhost", None, &["bad.example"]),
        ("<bad.example!a>", "localhost", None, &["bad.example"]),
        ("<a@b\u{fc}cher.example>", "localhost", None, &["xn--bcher-kva.example"]),
        ("<postmaster>", "localhost", Some("a.example.."), &["a.example"]),
    ];
    for ((sender, helo, name, asked), n) in table.iter().zip(2..) {
        let mut envelope = envelope(sender);
        envelope.id = SessionId::new("test").transaction(n);
        let mut peer = at("192.0.2.1");
        peer.helo = Some(Helo { extended: true, name: (*helo).into() });
        peer.name = name.map(Into::into);
        envelope.peer = Arc::new(peer);
        let opinion =
            pollster::block_on(rhsbl.on_rcpt(&RcptContext::new(&envelope, &recipient()))).unwrap();
        let expected: Vec<_> = asked.iter().map(|name| format!("{name}.dbl.example")).collect();
        assert_eq!(zones.asked(), expected);
        assert_eq!(opinion != Opinion::silent(), asked.contains(&"bad.example"));
    }
}

#[test]
fn uribl_queries_links() {
    let zones = Zones::new(&[("bad.com.uri.example", &["127.0.0.2"])]);
    let list = DnsList::new("uri.example").unwrap().bits(2, "URI", Score::points(5)).unwrap();
    let uribl = Uribl::new(zones.clone()).list(list);
    let ask = |content: &str| {
        let message = message(&format!("Subject: x\n\n{content}\n"));
        pollster::block_on(uribl.on_data(&DataContext::new(&envelope("<>"), &message))).unwrap()
    };
    let found = ask("http://www.bad.com/x").findings;
    assert_eq!(found[0].detail(), "bad.com is on uri.example: 127.0.0.2");
    assert_eq!(zones.asked(), ["bad.com.uri.example"]);
    assert_eq!(ask("http://3221225985/ http://good.org"), Opinion::silent());
    assert_eq!(zones.asked(), ["1.2.0.192.uri.example", "good.org.uri.example"]);
    assert_eq!(ask("no link"), Opinion::silent());
    assert_eq!(zones.asked(), [""; 0]);

    let many: String = (100..200).map(|n| format!("http://n{n}.com/\n")).collect();
    ask(&many);
    let expected: Vec<_> =
        (100..110).chain(190..200).map(|n| format!("n{n}.com.uri.example")).collect();
    assert_eq!(zones.asked(), expected, "the first ten and the last ten");
}

#[test]
fn lists_are_queried_concurrently() {
    let rehearsal = Rehearsal::new();
    let zones = Zones { rehearsal: Some(rehearsal.clone()), ..Zones::default() };
    let dnsbl = (0..20)
        .fold(Dnsbl::new(zones), |it, n| it.list(DnsList::new(&format!("l{n}.example")).unwrap()));
    assert_eq!(
        rehearsal
            .run(dnsbl.on_connect(&ConnectContext::new(&session(), &at("192.0.2.1"))))
            .unwrap(),
        Opinion::silent()
    );
    assert_eq!(rehearsal.elapsed(), Duration::from_secs(1));
}

#[test]
fn at_most_twenty_queries_run_at_a_time() {
    let rehearsal = Rehearsal::new();
    let zones = Zones { rehearsal: Some(rehearsal.clone()), ..Zones::default() };
    let dnsbl = (0..41)
        .fold(Dnsbl::new(zones), |it, n| it.list(DnsList::new(&format!("l{n}.example")).unwrap()));
    rehearsal.run(dnsbl.on_connect(&ConnectContext::new(&session(), &at("192.0.2.1")))).unwrap();
    assert_eq!(rehearsal.elapsed(), Duration::from_secs(3));
}

/// Ten thousand links and thirty lists; a thousand recipients.
#[test]
fn message_causes_at_most_two_hundred_queries() {
    let zones = Zones::default();
    let list = |n: u32| DnsList::new(&format!("l{n}.example")).unwrap();
    let uribl = (0..30).fold(Uribl::new(zones.clone()), |it, n| it.list(list(n)));
    let links: String = (0..10_000).map(|n| format!("http://n{n}.com/\n")).collect();
    let message = message(&format!("Subject: x\n\n{links}"));
    pollster::block_on(uribl.on_data(&DataContext::new(&envelope("<>"), &message))).unwrap();
    assert_eq!(zones.asked().len(), 180, "six domains at each list");

    let dnsbl = (0..10).fold(Dnsbl::new(zones.clone()), |it, n| it.list(list(n)));
    let rhsbl = (0..10).fold(Rhsbl::new(zones.clone()), |it, n| it.list(list(n)));
    let broken = DnsList::new("broken.example").unwrap();
    let (dnsbl, rhsbl) = (dnsbl.list(broken.clone()), rhsbl.list(broken));
    let mut envelope = envelope("<a@bad.example>");
    envelope.xforward = Some(Arc::new(crate::wire::attributes::ClientAttributes::default()));
    for _ in 0..1_000 {
        for scorer in [&dnsbl as &dyn Scorer, &rhsbl] {
            pollster::block_on(scorer.on_rcpt(&RcptContext::new(&envelope, &recipient())))
                .unwrap_err();
        }
    }
    assert_eq!(zones.asked().len(), 22, "each of two names once at each of eleven lists");
    envelope.id = SessionId::new("test").transaction(2);
    pollster::block_on(rhsbl.on_rcpt(&RcptContext::new(&envelope, &recipient()))).unwrap_err();
    assert_eq!(zones.asked().len(), 11, "the next transaction asks again");
}

#[test]
fn findings_count_although_other_lists_fail() {
    let zones = Zones::new(&[("1.2.0.192.zen.example", &["127.0.0.2"])]);
    let list = |zone: &str| DnsList::new(zone).unwrap();
    let lists = |also: &str| Dnsbl::new(zones.clone()).list(zen()).list(list(also));
    let peer = at("192.0.2.1");
    let ask = |dnsbl: Dnsbl, policy| {
        let rehearsal = Rehearsal::new();
        let seat = Seat::new(dnsbl).budget(Duration::from_secs(5)).on_failure(policy);
        let mut tally = Tally::new();
        let panel = Panel::new().seat(seat);
        let session = session();
        let (subject, mut sitting) = (Subject::Connection(&session, &peer), Sitting::new());
        let ask = panel.ask(&rehearsal, subject, &mut tally, &mut sitting);
        let verdict = rehearsal.run(ask);
        let failures: Vec<_> = tally.failures().map(|it| it.cause.to_string()).collect();
        (verdict, tally.to_string(), failures.join(", "))
    };
    let told = "failed: broken.example: DNS response code 2".to_owned();
    let (verdict, tally, failures) = ask(lists("broken.example"), FailurePolicy::Ignore);
    let expected = (Verdict::Pass, "score=4.00 dnsbl:ZEN=4.00".to_owned(), told.clone());
    assert_eq!((verdict, tally, failures), expected);
    let (_, tally, _) = ask(lists("broken.example"), FailurePolicy::Score(Score::points(1)));
    assert_eq!(tally, "score=5.00 dnsbl:ZEN=4.00 dnsbl:DNSBL_FAILED=1.00");
    let (verdict, tally, failures) = ask(lists("broken.example"), FailurePolicy::Defer);
    assert!(matches!(verdict, Verdict::Refuse(refusal) if refusal.is_transient()));
    assert_eq!((tally, failures), ("score=4.00 dnsbl:ZEN=4.00".to_owned(), told));
    // The findings of the other lists may be enough to refuse the client, unless the failed list
    // could have lowered the score.
    let enough = |failing: DnsList| {
        let bad = zen().weight(Score::points(7));
        ask(Dnsbl::new(zones.clone()).list(bad).list(failing), FailurePolicy::Defer).0
    };
    let is_permanent = |verdict| matches!(verdict, Verdict::Refuse(it) if !it.is_transient());
    assert!(is_permanent(enough(list("broken.example").weight(Score::points(3)))));
    assert!(!is_permanent(enough(list("broken.example").weight(Score::points(-3)))));
    let good = list("broken.example").bits(2, "GOOD", Score::points(-1)).unwrap();
    assert!(!is_permanent(enough(good)));
    // A query that times out fails all lists, because the budget belongs to the seat.
    let (_, tally, failures) = ask(lists("silent.example"), FailurePolicy::Ignore);
    assert_eq!((&*tally, &*failures), ("score=0.00", "no answer within 5s"));
}

#[test]
fn impossible_rule_is_refused() {
    let list = || DnsList::new("list.example").unwrap();
    let codes = |codes: &str| list().codes(codes, "X", Score::points(1)).map(|_| ());
    let unreachable = |codes: &str| Err(CodeError::Unreachable(codes.into()));
    assert_eq!(codes("127.0.0.2"), Ok(()));
    for never in ["127.0.0.1", "127.255.255.254", "127.255.255.[0..255]", "10.0.0.2", "0.0.0.0"] {
        assert_eq!(codes(never), unreachable(never));
    }
    for (mask, fits) in [(0, false), (1, true), (0x00ff_ffff, true), (0x0100_0000, false)] {
        let expected = if fits { Ok(()) } else { Err(CodeError::Mask(mask)) };
        assert_eq!(list().bits(mask, "X", Score::ZERO).map(|_| ()), expected);
    }
    // In either order.
    let refusing = list().refusing("127.0.0.255").unwrap();
    let never = refusing.codes("127.0.0.255", "X", Score::ZERO).map(|_| ());
    assert_eq!(never, unreachable("127.0.0.255"));
    let rule = list().codes("127.0.0.255", "X", Score::ZERO).unwrap();
    assert_eq!(rule.refusing("127.0.0.[254..255]").map(|_| ()), unreachable("127.0.0.[254..255]"));
}

#[test]
fn duplicate_rule_is_refused() {
    let list = DnsList::new("list.example").unwrap();
    let list = list.codes("127.0.0.[2;3]", "X", Score::points(1)).unwrap();
    let list = list.bits(2, "X", Score::points(1)).unwrap();
    let twice = Some(CodeError::Duplicate("X".into()));
    assert_eq!(list.clone().codes("127.0.0.[2;3]", "X", Score::points(2)).err(), twice);
    assert_eq!(list.clone().bits(2, "X", Score::points(1)).err(), twice);
    assert!(list.codes("127.0.0.[2;3]", "Y", Score::points(2)).is_ok());
}

#[test]
fn own_networks_are_not_queried() {
    let zones = Zones::default();
    let (dnsbl, rhsbl) =
        (Dnsbl::new(zones.clone()).list(zen()), Rhsbl::new(zones.clone()).list(zen()));
    let mut envelope = envelope("<a@bad.example>");
    for own in [true, false] {
        Arc::make_mut(&mut envelope.peer).own = own;
        for xforward in [None, Some(Arc::new(crate::wire::attributes::ClientAttributes::default()))]
        {
            envelope.xforward = xforward;
            pollster::block_on(dnsbl.on_connect(&ConnectContext::new(&session(), &envelope.peer)))
                .unwrap();
            pollster::block_on(dnsbl.on_rcpt(&RcptContext::new(&envelope, &recipient()))).unwrap();
            pollster::block_on(rhsbl.on_rcpt(&RcptContext::new(&envelope, &recipient()))).unwrap();
        }
        assert_eq!(zones.asked().is_empty(), own);
    }
    // Messages of these clients are still checked.
    Arc::make_mut(&mut envelope.peer).own = true;
    let uribl = Uribl::new(zones.clone()).list(zen());
    let message = message("Subject: x\n\nhttp://bad.com/\n");
    pollster::block_on(uribl.on_data(&DataContext::new(&envelope, &message))).unwrap();
    assert_eq!(zones.asked(), ["bad.com.zen.example"]);
}
