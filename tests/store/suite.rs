//! Properties of every store.

use std::thread;
use std::time::{Duration, SystemTime};

use nobounce::store::{
    Balance, HalfLife, Key, MAX_OCTETS, Memory, Pace, Page, Rate, Retention, Sighting, Store,
    StoreError, Taken,
};
use pollster::block_on;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::model::{self, Model};

/// Defines the suite for a store: `$fresh` makes an empty one. The brackets contain an attribute
/// for each test.
macro_rules! suite {
    ([$($attribute:meta)?] $fresh:expr) => {
        suite!(all [$($attribute)?] $fresh; agrees_with_the_model agrees_whatever_the_clocks_say
            many_at_once_lose_and_double_nothing clocks_that_differ_do_little_harm
            keys_and_kinds_stay_apart extremes_are_brought_within_bounds
            values_and_logs_agree_with_the_model values_and_logs_agree_whatever_the_clocks_say
            many_append_and_one_reads large_values_and_records_pass_and_oversized_ones_are_refused);
    };
    (all $attribute:tt $fresh:expr; $($name:ident)*) => {
        $( suite!(test $attribute $name $fresh); )*
    };
    (test [$($attribute:meta)?] $name:ident $fresh:expr) => {
        #[test]
        $(#[$attribute])?
        fn $name() {
            $crate::suite::$name(&mut $fresh);
        }
    };
}

pub(crate) const START: SystemTime = SystemTime::UNIX_EPOCH;
const MINUTE: Duration = Duration::from_secs(60);
/// Nothing in the suite expires within a minute, so a server that expires records by its own clock
/// does not do so during a test.
const PACE: Pace =
    Pace { apart: MINUTE, once: MINUTE.saturating_mul(10), again: MINUTE.saturating_mul(60) };
const RATE: (u32, Duration) = (3, MINUTE.saturating_mul(3));
const HALF_LIFE: Duration = MINUTE.saturating_mul(5);

/// Returns a time in 2023, plus this many seconds.
pub(crate) fn at(seconds: f64) -> SystemTime {
    START + Duration::from_secs_f64(1_700_000_000.0 + seconds)
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    See,
    Recall,
    Take(u32),
    Weigh(u8, u8),
}

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![
        3 => Just(Asked::See),
        1 => Just(Asked::Recall),
        3 => (0_u32..5).prop_map(Asked::Take),
        3 => (0_u8..4, 0_u8..4).prop_map(|(good, bad)| Asked::Weigh(good, bad)),
    ]
}

/// Runs a property with few cases, since some stores write to disk.
fn check<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, test: impl FnMut(T)) {
    let config = Config { cases: 20, failure_persistence: None, ..Config::default() };
    let test = std::cell::RefCell::new(test);
    let run = TestRunner::new(config).run(&strategy, |input| {
        (test.borrow_mut())(input);
        Ok(())
    });
    run.unwrap();
}

pub(crate) fn agrees_with_the_model(fresh: &mut dyn FnMut() -> Box<dyn Store>) {
    // Steps of all lengths, from a millisecond to hours, including zero.
    let step = prop_oneof![Just(0), 1_u64..2_000, 0_u64..400_000, 0_u64..8_000_000];
    let questions = prop::collection::vec((asked(), 0_u8..2, step), 1..40);
    check(questions, |questions| {
        let (store, mut model) = (fresh(), Model::default());
        let mut now = at(0.0);
        for (asked, owner, step) in questions {
            now += Duration::from_millis(step);
            let key = Key::new("model", owner);
            let what = format!("{asked:?} of {key} at {now:?}");
            match asked {
                Asked::See => {
                    let sighting = block_on(store.see(&key, PACE, now)).unwrap();
                    assert_eq!(known(sighting), model.see(&key, PACE, now), "{what}");
                }
                Asked::Recall => {
                    let sighting = block_on(store.recall(&key, now)).unwrap();
                    assert_eq!(sighting.map(known), model.recall(&key, now), "{what}");
                }
                Asked::Take(tokens) => {
                    let taken = block_on(store.take(&key, model::rate(RATE), tokens, now));
                    assert_eq!(taken.unwrap(), model.take(&key, RATE, tokens, now), "{what}");
                }
                Asked::Weigh(good, bad) => {
                    let add = Balance::new(good.into(), bad.into());
                    let half_life = HalfLife::new(HALF_LIFE);
                    let balance = block_on(store.weigh(&key, add, half_life, now)).unwrap();
                    // A store drops weights below a thousandth of a thousandth.
                    alike(balance, model.weigh(&key, add, HALF_LIFE, now), 0.001, &what);
                }
            }
        }
    });
}

fn known(sighting: Sighting) -> model::Known {
    let Sighting { first, last, times, early, counted, .. } = sighting;
    (first, last, times, early, counted)
}

fn alike(one: Balance, other: Balance, tolerance: f64, what: &str) {
    let near = |one: f64, other: f64| (one - other).abs() <= tolerance * one.abs().max(1.0);
    assert!(near(one.good, other.good) && near(one.bad, other.bad), "{what}: {one:?} {other:?}");
}

/// With clocks that jump back and forth by hours, all stores answer like the one in memory.
pub(crate) fn agrees_whatever_the_clocks_say(fresh: &mut dyn FnMut() -> Box<dyn Store>) {
    let when = prop_oneof![0_u32..1_000, 0_u32..100_000_000];
    let questions = prop::collection::vec((asked(), 0_u8..2, when), 1..40);
    check(questions, |questions| {
        let (store, memory) = (fresh(), Memory::new());
        for (asked, owner, when) in questions {
            let now = at(f64::from(when) / 1000.0);
            let key = Key::new("clocks", owner);
            let what = format!("{asked:?} of {key} at {when}");
            let rate = model::rate(RATE);
            match asked {
                Asked::See => assert_eq!(
                    block_on(store.see(&key, PACE, now)).unwrap(),
                    block_on(memory.see(&key, PACE, now)).unwrap(),
                    "{what}"
                ),
                Asked::Recall => assert_eq!(
                    block_on(store.recall(&key, now)).unwrap(),
                    block_on(memory.recall(&key, now)).unwrap(),
                    "{what}"
                ),
                Asked::Take(tokens) => assert_eq!(
                    block_on(store.take(&key, rate, tokens, now)).unwrap(),
                    block_on(memory.take(&key, rate, tokens, now)).unwrap(),
                    "{what}"
                ),
                Asked::Weigh(good, bad) => {
                    let add = Balance::new(good.into(), bad.into());
                    let half_life = HalfLife::new(HALF_LIFE);
                    let one = block_on(store.weigh(&key, add, half_life, now)).unwrap();
                    let other = block_on(memory.weigh(&key, add, half_life, now)).unwrap();
                    alike(one, other, 1e-12, &what);
                }
            }
        }
    });
}

pub(crate) fn many_at_once_lose_and_double_nothing(fresh: &mut dyn FnMut() -> Box<dyn Store>) {
    const THREADS: u32 = 8;
    const EACH: u32 = 50;
    let store = &*fresh();
    let key = &Key::new("many", "at once");
    let (now, half_life) = (at(0.0), HalfLife::new(HALF_LIFE));
    let pace = Pace { apart: Duration::ZERO, ..PACE };
    let rate = Rate::new(250, MINUTE).unwrap();
    let granted: u32 = thread::scope(|scope| {
        let run = || {
            let each = (0..EACH).map(|_| {
                block_on(store.see(key, pace, now)).unwrap();
                block_on(store.weigh(key, Balance::new(1.0, 2.0), half_life, now)).unwrap();
                let taken = block_on(store.take(key, rate, 1, now)).unwrap();
                u32::from(matches!(taken, Taken::Granted { .. }))
            });
            each.sum::<u32>()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(granted, 250);
    let all = THREADS * EACH;
    assert_eq!(block_on(store.recall(key, now)).unwrap().unwrap().times, all);
    let balance = block_on(store.weigh(key, Balance::ZERO, half_life, now)).unwrap();
    assert_eq!(balance, Balance::new(all.into(), (2 * all).into()));
}

pub(crate) fn clocks_that_differ_do_little_harm(fresh: &mut dyn FnMut() -> Box<dyn Store>) {
    let store = fresh();
    let see = |key: &Key, seconds| block_on(store.see(key, PACE, at(seconds))).unwrap();
    let take =
        |key: &Key, seconds| block_on(store.take(key, model::rate(RATE), 3, at(seconds))).unwrap();

    // A gate whose clock is two seconds slow ends the wait by its own clock. The first sighting
    // keeps its time, and no wait is longer than it should be.
    let behind = Key::new("clocks", "behind");
    assert_eq!(see(&behind, 100.0).times, 1);
    assert_eq!((see(&behind, 98.0).times, see(&behind, 98.0).early), (1, 2));
    assert_eq!(see(&behind, 157.9).times, 1);
    assert_eq!(see(&behind, 158.0).times, 2);

    // A clock that was wrong by thirty years is corrected at the first access.
    let years = 30.0 * 365.0 * 86_400.0;
    let wrong = Key::new("clocks", "wrong");
    assert_eq!(see(&wrong, years).times, 1);
    assert_eq!(see(&wrong, 0.0).times, 1);
    assert_eq!(see(&wrong, 60.0).times, 2);
    assert_eq!(take(&wrong, years), Taken::Granted { left: 0 });
    assert_eq!(take(&wrong, 0.0), Taken::Exhausted { wait: RATE.1 });
    assert_eq!(take(&wrong, 180.0), Taken::Granted { left: 0 });

    // A bucket accessed with a clock two seconds slow takes two seconds longer to fill.
    let bucket = Key::new("clocks", "bucket");
    assert_eq!(take(&bucket, 100.0), Taken::Granted { left: 0 });
    assert_eq!(take(&bucket, 278.0), Taken::Exhausted { wait: Duration::from_secs(2) });
    assert_eq!(take(&bucket, 280.0), Taken::Granted { left: 0 });

    // A trial whose clock is an hour slow does not correct the bucket of the others.
    let tried = Key::new("clocks", "tried");
    let query = |seconds| block_on(store.take(&tried, model::rate(RATE), 0, at(seconds))).unwrap();
    assert_eq!(take(&tried, 3_600.0), Taken::Granted { left: 0 });
    assert_eq!(query(0.0), Taken::Granted { left: 0 });
    assert_eq!(query(3_600.0), Taken::Granted { left: 0 });
    assert_eq!(query(3_660.0), Taken::Granted { left: 1 });

    // A balance does not decay faster if clocks differ by a second.
    let balance = Key::new("clocks", "balance");
    let weigh = |add: f64, seconds| {
        let add = Balance::new(add, 0.0);
        block_on(store.weigh(&balance, add, HalfLife::new(HALF_LIFE), at(seconds))).unwrap().good
    };
    for _ in 0..50 {
        weigh(1.0, 101.0);
        weigh(1.0, 100.0);
    }
    assert_eq!(weigh(0.0, 101.0), 100.0);
    assert_eq!(weigh(0.0, 401.0), 50.0);
}

pub(crate) fn keys_and_kinds_stay_apart(fresh: &mut dyn FnMut() -> Box<dyn Store>) {
    let store = fresh();
    let keys = [
        Key::new("a", "b"),
        Key::new("a", "b c"),
        Key::new("a", "b").and("c"),
        Key::new("a", "b").and("c\r\n$1"),
        Key::new("a", "B"),
        Key::new("a", ""),
        Key::new("a", "ü").and("\0").and("%"),
        Key::new("a", "long").and("x".repeat(10_000)),
    ];
    let now = at(0.0);
    for key in &keys {
        assert_eq!(block_on(store.recall(key, now)).unwrap(), None, "{key}");
        for times in 1..=2 {
            let pace = Pace { apart: Duration::ZERO, ..PACE };
            assert_eq!(block_on(store.see(key, pace, now)).unwrap().times, times, "{key}");
        }
        let taken = block_on(store.take(key, model::rate(RATE), 1, now)).unwrap();
        assert_eq!(taken, Taken::Granted { left: 2 }, "{key}");
        let add = Balance::new(0.25, 0.5);
        let balance = block_on(store.weigh(key, add, HalfLife::new(HALF_LIFE), now)).unwrap();
        assert_eq!(balance, add, "{key}");
    }
}

pub(crate) fn extremes_are_brought_within_bounds(fresh: &mut dyn FnMut() -> Box<dyn Store>) {
    let store = fresh();
    let key = Key::new("extremes", "");
    let ever = Pace { apart: Duration::ZERO, once: Duration::MAX, again: Duration::MAX };
    let never = Pace { apart: Duration::MAX, ..ever };
    let early = START - Duration::from_secs(1_000_000);
    let late = START + Duration::from_secs(1 << 40);
    assert_eq!(block_on(store.see(&key, ever, early)).unwrap().first, START);
    assert_eq!(block_on(store.see(&key, ever, late)).unwrap().times, 1, "a hundred years later");
    assert_eq!(block_on(store.see(&key, never, at(0.0))).unwrap().times, 1);
    assert_eq!(block_on(store.see(&key, ever, at(0.0))).unwrap().times, 2);

    let whole = Rate::new(u32::MAX, Duration::from_secs(10 * 365 * 86_400)).unwrap();
    let all = block_on(store.take(&key, whole, u32::MAX, at(0.0))).unwrap();
    assert_eq!(all, Taken::Granted { left: 0 });
    let none = block_on(store.take(&key, whole, 0, at(0.0))).unwrap();
    assert_eq!(none, Taken::Granted { left: 0 });
    // The same bucket with another kind of rate fills in the time of that rate.
    let other = Rate::new(1, Duration::from_micros(1)).unwrap();
    let wait = Duration::from_micros(1);
    assert_eq!(block_on(store.take(&key, other, 1, at(0.0))).unwrap(), Taken::Exhausted { wait });

    let half_life = HalfLife::new(Duration::MAX);
    for add in [Balance::new(f64::INFINITY, f64::NAN), Balance::new(f64::MAX, -1.0)] {
        let balance = block_on(store.weigh(&key, add, half_life, at(0.0))).unwrap();
        assert_eq!(balance, Balance::new(1e12, 0.0));
    }
}

/// Number of records that a log of the suite keeps, and for how long.
const KEPT: u32 = 5;
const LOGGED: Duration = MINUTE.saturating_mul(10);

#[derive(Debug, Clone)]
enum Octets {
    /// A value, and the minutes until it expires.
    Put(Vec<u8>, u64),
    Get,
    Remove,
    Append(Vec<u8>),
    /// From this many positions before the reader's position; from 0.
    Read(u64),
    ReadAll,
}

fn octets() -> impl Strategy<Value = Octets> {
    let some = || {
        prop_oneof![
            6 => prop::collection::vec(any::<u8>(), 0..20),
            1 => (0_usize..=MAX_OCTETS).prop_map(|length| vec![b'\n'; length]),
        ]
    };
    prop_oneof![
        3 => (some(), 1_u64..100).prop_map(|(value, minutes)| Octets::Put(value, minutes)),
        4 => Just(Octets::Get),
        1 => Just(Octets::Remove),
        6 => some().prop_map(Octets::Append),
        4 => (0_u64..8).prop_map(Octets::Read),
        1 => Just(Octets::ReadAll),
    ]
}

fn retention() -> Retention {
    Retention::new(KEPT, LOGGED)
}

pub(crate) fn values_and_logs_agree_with_the_model(fresh: &mut dyn FnMut() -> Box<dyn Store>) {
    let step = prop_oneof![Just(0), 1_u64..2_000, 0_u64..400_000, 0_u64..8_000_000];
    let questions = prop::collection::vec((octets(), 0_u8..2, step), 1..60);
    check(questions, |questions| {
        let (store, mut model) = (fresh(), Model::default());
        let (mut now, mut at_position) = (at(0.0), [0_u64; 2]);
        for (asked, owner, step) in questions {
            now += Duration::from_millis(step);
            let key = Key::new("octets", owner);
            let next = &mut at_position[usize::from(owner)];
            let what = format!("{asked:?} of {key} at {now:?}");
            match asked {
                Octets::Put(value, minutes) => {
                    let until = now + MINUTE * u32::try_from(minutes).unwrap();
                    block_on(store.put(&key, &value, until, now)).unwrap();
                    model.put(&key, &value, until);
                }
                Octets::Get => {
                    let value = block_on(store.get(&key, now)).unwrap();
                    assert_eq!(value, model.get(&key, now), "{what}");
                }
                Octets::Remove => {
                    block_on(store.remove(&key)).unwrap();
                    model.remove(&key);
                }
                Octets::Append(record) => {
                    let position = block_on(store.append(&key, &record, retention(), now));
                    let expected = model.append(&key, &record, LOGGED, now);
                    assert_eq!(position.unwrap(), expected, "{what}");
                }
                Octets::Read(back) => {
                    let from = next.saturating_sub(back);
                    let page = block_on(store.read(&key, from, now)).unwrap();
                    *next = page.next;
                    let Page { records, next, missed, .. } = page;
                    let expected = model.read(&key, KEPT as usize, from, now);
                    assert_eq!((records, next, missed), expected, "{what} from {from}");
                }
                Octets::ReadAll => {
                    let Page { records, next, missed, .. } =
                        block_on(store.read(&key, 0, now)).unwrap();
                    let expected = model.read(&key, KEPT as usize, 0, now);
                    assert_eq!((records, next, missed), expected, "{what}");
                }
            }
        }
    });
}

pub(crate) fn values_and_logs_agree_whatever_the_clocks_say(
    fresh: &mut dyn FnMut() -> Box<dyn Store>,
) {
    let when = prop_oneof![0_u32..1_000, 0_u32..100_000_000];
    let questions = prop::collection::vec((octets(), when), 1..40);
    check(questions, |questions| {
        let (store, memory) = (fresh(), Memory::new());
        let key = Key::new("clocks", "octets");
        let mut from = 0;
        for (asked, when) in questions {
            let now = at(f64::from(when) / 1000.0);
            let what = format!("{asked:?} at {when}");
            for store in [&*store, &memory] {
                match &asked {
                    Octets::Put(value, minutes) => {
                        let until = now + MINUTE * u32::try_from(*minutes).unwrap();
                        block_on(store.put(&key, value, until, now)).unwrap();
                    }
                    Octets::Remove => block_on(store.remove(&key)).unwrap(),
                    _ => {}
                }
            }
            let each = |store: &dyn Store| match &asked {
                Octets::Append(record) => {
                    let position = block_on(store.append(&key, record, retention(), now));
                    let mut page = Page::default();
                    page.next = position.unwrap();
                    page
                }
                Octets::Read(back) => {
                    let page = block_on(store.read(&key, from - from.min(*back), now));
                    page.unwrap()
                }
                Octets::ReadAll => block_on(store.read(&key, 0, now)).unwrap(),
                _ => Page::default(),
            };
            let (one, other) = (each(&*store), each(&memory));
            assert_eq!(one, other, "{what}");
            from = one.next;
            let values = [&*store, &memory].map(|store| block_on(store.get(&key, now)).unwrap());
            assert_eq!(values[0], values[1], "{what}");
        }
    });
}

/// Many gates append training examples, and one trainer reads each of them once and in order.
pub(crate) fn many_append_and_one_reads(fresh: &mut dyn FnMut() -> Box<dyn Store>) {
    const THREADS: usize = 8;
    const EACH: usize = 50;
    let store = &*fresh();
    let (log, now) = (&Key::new("examples", ""), at(0.0));
    let retention = Retention::new(1_000, LOGGED);
    let all: Vec<String> = thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for n in 0..EACH {
                    let record = format!("{thread} {n}");
                    block_on(store.append(log, record.as_bytes(), retention, now)).unwrap();
                }
            });
        }
        let (mut all, mut from) = (Vec::new(), 0);
        while all.len() < THREADS * EACH {
            let page = block_on(store.read(log, from, now)).unwrap();
            assert!(!page.missed);
            from = page.next;
            all.extend(page.records.into_iter().map(|it| String::from_utf8(it).unwrap()));
        }
        all
    });
    for thread in 0..THREADS {
        let of_thread: Vec<_> =
            all.iter().filter(|it| it.starts_with(&format!("{thread} "))).cloned().collect();
        let expected: Vec<_> = (0..EACH).map(|n| format!("{thread} {n}")).collect();
        assert_eq!(of_thread, expected);
    }
}

pub(crate) fn large_values_and_records_pass_and_oversized_ones_are_refused(
    fresh: &mut dyn FnMut() -> Box<dyn Store>,
) {
    let store = fresh();
    let (key, now) = (Key::new("large", ""), at(0.0));
    let until = now + LOGGED;
    let large: Vec<u8> = (0..MAX_OCTETS).map(|n| (n % 256) as u8).collect();
    block_on(store.put(&key, &large, until, now)).unwrap();
    assert_eq!(block_on(store.get(&key, now)).unwrap().unwrap(), large);
    // A value that has expired when it is stored is not kept, and the previous value is removed.
    block_on(store.put(&key, b"over", now, now)).unwrap();
    assert_eq!(block_on(store.get(&key, now)).unwrap(), None);

    // Pages of one large record each, then a page with as many small records as fit.
    let retention = Retention::new(10_000, LOGGED);
    let first = block_on(store.append(&key, &large, retention, now)).unwrap();
    block_on(store.append(&key, &large, retention, now)).unwrap();
    for _ in 0..1_100 {
        block_on(store.append(&key, b"", retention, now)).unwrap();
    }
    let lengths = [0, first + 1, first + 2, first + 2 + 1_024].map(|from| {
        let page = block_on(store.read(&key, from, now)).unwrap();
        assert!(page.records.iter().all(|record| record.is_empty() || *record == large));
        page.records.len()
    });
    // Empty records fit next to a large one.
    assert_eq!(lengths, [1, 1_024, 1_024, 76]);

    let oversized = vec![0; MAX_OCTETS + 1];
    let refused = [
        block_on(store.put(&key, &oversized, until, now)),
        block_on(store.append(&key, &oversized, retention, now)).map(drop),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(StoreError::Oversized(65_537))), "{refused:?}");
    }
}
