use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::rehearsal::Rehearsal;

/// A resolver that counts its lookups. The name determines the answer: `SECONDS.…` sets the TTL, a
/// word in its place is a failure, `none` means no records, and `absent` no such name.
#[derive(Debug, Default, Clone)]
struct Counter(Arc<AtomicUsize>);

#[async_trait]
impl Resolver for Counter {
    async fn lookup(&self, name: &DomainName, _: RecordKind) -> Result<Answer, ResolveError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let mut labels = name.split('.');
        let seconds = match labels.next().unwrap() {
            "late" => return Err(ResolveError::Late),
            "malformed" => return Err(ResolveError::Malformed("")),
            "network" => return Err(ResolveError::Network("".into())),
            "nobody" => return Err(ResolveError::NoServer),
            label => label.parse().map_err(|_| ResolveError::Declined(2))?,
        };
        if name.contains("absent") {
            return Ok(Answer::no_such_domain(Duration::from_secs(seconds)));
        }
        let records = (!name.contains("none")).then_some(Record::A([127, 0, 0, 2].into()));
        Ok(Answer::new(records, Duration::from_secs(seconds)))
    }
}

struct Desk {
    rehearsal: Rehearsal,
    counter: Counter,
    cache: Cache<Counter, Rehearsal>,
}

impl Desk {
    fn new(capacity: usize) -> Self {
        let (rehearsal, counter) = (Rehearsal::new(), Counter::default());
        let cache = Cache::with_capacity(rehearsal.clone(), counter.clone(), capacity);
        Self { rehearsal, counter, cache }
    }

    /// Returns the answer for this name, and whether the resolver was asked.
    fn ask(&self, name: &str, kind: RecordKind) -> (Result<Answer, ResolveError>, bool) {
        let before = self.counter.0.load(Ordering::Relaxed);
        let answer = self.rehearsal.run(self.cache.lookup(&name.parse().unwrap(), kind));
        (answer, self.counter.0.load(Ordering::Relaxed) > before)
    }

    fn asks(&self, name: &str) -> bool {
        self.ask(name, RecordKind::A).1
    }

    fn pass(&self, seconds: u64) {
        self.rehearsal.run(self.rehearsal.sleep(Duration::from_secs(seconds)));
    }
}

#[test]
fn answers_are_cached_for_their_ttl() {
    for name in ["60.example", "60.none.example"] {
        let desk = Desk::new(10);
        assert!(desk.asks(name));
        desk.pass(59);
        assert!(!desk.asks(name));
        assert!(!desk.asks(&name.to_uppercase()));
        let (answer, _) = desk.ask(name, RecordKind::A);
        assert_eq!(answer.unwrap().ttl, Duration::from_secs(1), "the remaining TTL");
        assert!(desk.ask(name, RecordKind::Aaaa).1, "another question");
        desk.pass(1);
        assert!(desk.asks(name));
    }
}

#[test]
fn failures_and_zero_ttls_are_not_cached() {
    let desk = Desk::new(10);
    for name in ["0.example", "0.none.example", "network.example", "nobody.example"] {
        assert!(desk.asks(name) && desk.asks(name), "{name}");
    }
    assert!(desk.cache.is_empty());
}

/// RFC 9520 section 3.2: from one second to five minutes.
#[test]
fn a_failure_of_a_server_is_cached_for_a_moment() {
    for name in ["failure.example", "late.example", "malformed.example"] {
        let desk = Desk::new(10);
        let (first, asked) = desk.ask(name, RecordKind::A);
        assert!(asked && first.is_err());
        desk.pass(4);
        assert_eq!(desk.ask(name, RecordKind::A), (first, false), "{name}");
        assert!(desk.ask(name, RecordKind::Txt).1, "another question");
        desk.pass(1);
        assert!(desk.asks(name), "{name}");
    }
}

/// A resolver whose first lookup fails after 3 seconds. The second one answers at once.
struct Race(Rehearsal, AtomicUsize, Duration);

#[async_trait]
impl Resolver for Race {
    async fn lookup(&self, _: &DomainName, _: RecordKind) -> Result<Answer, ResolveError> {
        if self.1.fetch_add(1, Ordering::Relaxed) == 0 {
            self.0.sleep(Duration::from_secs(3)).await;
            return Err(ResolveError::Late);
        }
        Ok(Answer::new([Record::A([127, 0, 0, 2].into())], self.2))
    }
}

#[test]
fn a_failure_does_not_replace_a_valid_answer() {
    for (seconds, remains) in [(4, true), (2, false)] {
        let rehearsal = Rehearsal::new();
        let race = Race(rehearsal.clone(), AtomicUsize::new(0), Duration::from_secs(seconds));
        let cache = Cache::new(rehearsal.clone(), race);
        let name = "mx.example".parse().unwrap();
        let lookup = || cache.lookup(&name, RecordKind::A);
        let (first, second) = rehearsal.run(futures::future::join(lookup(), lookup()));
        assert!(first.is_err() && second.is_ok());
        assert_eq!(rehearsal.run(lookup()).is_ok(), remains, "TTL {seconds} s");
    }
}

#[test]
fn failures_are_evicted_before_answers() {
    let desk = Desk::new(100);
    for n in 0..50 {
        assert!(desk.asks(&format!("60.n{n}.example")));
    }
    for n in 0..1_000 {
        assert!(desk.asks(&format!("failure.n{n}.example")));
        assert!(desk.cache.len() <= 100);
    }
    for n in 0..50 {
        assert!(!desk.asks(&format!("60.n{n}.example")));
    }
}

#[test]
fn the_absence_of_a_name_is_cached() {
    let desk = Desk::new(10);
    let absent = |desk: &Desk| {
        let (answer, asked) = desk.ask("60.absent.example", RecordKind::A);
        (answer.unwrap().is_no_such_domain(), asked)
    };
    assert_eq!(absent(&desk), (true, true));
    desk.pass(59);
    assert_eq!(absent(&desk), (true, false));
}

#[test]
fn ttl_of_cached_answers_is_bounded() {
    let desk = Desk::new(10);
    assert!(desk.asks("2000000000.example") && desk.asks("2000000000.none.example"));
    desk.pass(3_599);
    assert!(!desk.asks("2000000000.none.example"));
    desk.pass(1);
    assert!(desk.asks("2000000000.none.example"));
    desk.pass(82_799);
    assert!(!desk.asks("2000000000.example"));
    desk.pass(1);
    assert!(desk.asks("2000000000.example"));
}

/// A resolver that has these records for every name.
struct Fixed(Vec<Record>);

#[async_trait]
impl Resolver for Fixed {
    async fn lookup(&self, _: &DomainName, _: RecordKind) -> Result<Answer, ResolveError> {
        Ok(Answer::new(self.0.clone(), Duration::from_secs(60)))
    }
}

#[test]
fn a_large_answer_is_not_cached() {
    let is_cached = |records: Vec<Record>| {
        let rehearsal = Rehearsal::new();
        let cache = Cache::new(rehearsal.clone(), Fixed(records));
        let name = "mx.example".parse().unwrap();
        let answer = rehearsal.run(cache.lookup(&name, RecordKind::Mx)).unwrap();
        assert!(!answer.records.is_empty(), "the answer is returned in any case");
        !cache.is_empty()
    };
    // A label of 63 octets that are not printable has 252 octets of text.
    let label = [0; 63];
    let name = DomainName::from_labels([&label[..], &label, &label, &label[..61]]).unwrap();
    assert_eq!(name.len(), 1_003);
    let mx = Record::Mx { preference: 5, exchange: Some(name.clone()) };
    for record in [mx, Record::Ptr(name.clone()), Record::Txt(name.as_bytes().into())] {
        let most = ANSWER / (size_of::<Record>() + name.len());
        assert!(is_cached(vec![record.clone(); most]));
        assert!(!is_cached(vec![record; most + 1]));
    }
    // A server can send 1,000 addresses.
    assert!(is_cached(vec![Record::A([127, 0, 0, 2].into()); 1_000]));
    let longest = ANSWER - size_of::<Record>();
    assert!(is_cached(vec![Record::Txt(vec![b'x'; longest].into())]));
    assert!(!is_cached(vec![Record::Txt(vec![b'x'; longest + 1].into())]));
}

#[test]
fn cache_is_bounded_by_its_capacity() {
    let desk = Desk::new(100);
    for n in 0..1_000 {
        assert!(desk.asks(&format!("60.n{n}.example")));
        assert!(desk.cache.len() <= 100);
    }
    assert!(!desk.asks("60.n999.example"));

    // Expired answers are removed first, then the answers that expire soonest.
    let desk = Desk::new(100);
    for n in 0..50 {
        desk.asks(&format!("10.n{n}.example"));
        desk.asks(&format!("1000.n{n}.example"));
    }
    desk.pass(10);
    desk.asks("60.one-more.example");
    assert_eq!(desk.cache.len(), 51);
    for n in 0..49 {
        desk.asks(&format!("{}.more.example", n + 100));
    }
    assert_eq!(desk.cache.len(), 100);
    desk.asks("60.the-last.example");
    assert!(desk.cache.len() <= 51);
    assert!(!desk.asks("60.the-last.example") && !desk.asks("1000.n7.example"));
}
