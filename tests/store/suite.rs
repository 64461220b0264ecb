//! What is true of every store.

use std::thread;
use std::time::{Duration, SystemTime};

use nobounce::store::{Balance, HalfLife, Key, Memory, Pace, Rate, Sighting, Store, Taken};
use pollster::block_on;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::model::{self, Model};

/// The suite over a store: `$fresh` makes an empty one. In brackets, an attribute of each test.
macro_rules! suite {
    ([$($attribute:meta)?] $fresh:expr) => {
        suite!(all [$($attribute)?] $fresh; agrees_with_the_model agrees_whatever_the_clocks_say
            many_at_once_lose_and_double_nothing clocks_that_differ_do_little_harm
            keys_and_kinds_stay_apart extremes_are_brought_within_bounds);
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
/// Nothing in the suite is over sooner than in a minute: a server that forgets by its own clock does
/// not do so while a test runs.
const PACE: Pace =
    Pace { apart: MINUTE, once: MINUTE.saturating_mul(10), again: MINUTE.saturating_mul(60) };
const RATE: (u32, Duration) = (3, MINUTE.saturating_mul(3));
const HALF_LIFE: Duration = MINUTE.saturating_mul(5);

/// A day in 2023 and so many seconds.
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

/// Runs the property with few cases: some stores write to disk.
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
    // Steps of all lengths, from a millisecond to hours, zero among them.
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
                    // A store forgets a thousandth of a thousandth.
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

/// Clocks that jump back and forth by hours: all stores say what the one in memory says.
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

    // A gate that is two seconds behind ends the wait by its own clock, with the first sighting
    // where it saw it, and no wait is longer than it should be.
    let behind = Key::new("clocks", "behind");
    assert_eq!(see(&behind, 100.0).times, 1);
    assert_eq!((see(&behind, 98.0).times, see(&behind, 98.0).early), (1, 2));
    assert_eq!(see(&behind, 157.9).times, 1);
    assert_eq!(see(&behind, 158.0).times, 2);

    // A clock that was wrong by thirty years is forgiven at the first touch.
    let years = 30.0 * 365.0 * 86_400.0;
    let wrong = Key::new("clocks", "wrong");
    assert_eq!(see(&wrong, years).times, 1);
    assert_eq!(see(&wrong, 0.0).times, 1);
    assert_eq!(see(&wrong, 60.0).times, 2);
    assert_eq!(take(&wrong, years), Taken::Granted { left: 0 });
    assert_eq!(take(&wrong, 0.0), Taken::Exhausted { wait: RATE.1 });
    assert_eq!(take(&wrong, 180.0), Taken::Granted { left: 0 });

    // A bucket seen from two seconds behind takes two seconds more to fill.
    let bucket = Key::new("clocks", "bucket");
    assert_eq!(take(&bucket, 100.0), Taken::Granted { left: 0 });
    assert_eq!(take(&bucket, 278.0), Taken::Exhausted { wait: Duration::from_secs(2) });
    assert_eq!(take(&bucket, 280.0), Taken::Granted { left: 0 });

    // A balance does not fade faster for being touched by clocks that differ by a second.
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
    // The same bucket, asked with a rate of another kind, is full in that one's time.
    let other = Rate::new(1, Duration::from_micros(1)).unwrap();
    let wait = Duration::from_micros(1);
    assert_eq!(block_on(store.take(&key, other, 1, at(0.0))).unwrap(), Taken::Exhausted { wait });

    let half_life = HalfLife::new(Duration::MAX);
    for add in [Balance::new(f64::INFINITY, f64::NAN), Balance::new(f64::MAX, -1.0)] {
        let balance = block_on(store.weigh(&key, add, half_life, at(0.0))).unwrap();
        assert_eq!(balance, Balance::new(1e12, 0.0));
    }
}
