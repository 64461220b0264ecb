//! The store in memory: which records it evicts, and for whom.

use std::time::Duration;

use nobounce::store::{Balance, HalfLife, Key, Memory, Pace, Rate, Retention, Store, Taken};
use pollster::block_on;

use super::suite::at;

suite!([] || -> Box<dyn Store> { Box::new(Memory::new()) });

const DAY: Duration = Duration::from_secs(86_400);
const PACE: Pace = Pace { apart: Duration::from_secs(300), once: DAY, again: DAY };

fn see(store: &Memory, key: &Key, seconds: f64) -> u32 {
    block_on(store.see(key, PACE, at(seconds))).unwrap().times
}

fn knows(store: &Memory, key: &Key, seconds: f64) -> bool {
    block_on(store.recall(key, at(seconds))).unwrap().is_some()
}

#[test]
fn store_is_bounded_by_its_capacity() {
    let store = Memory::with_capacity(10_000);
    for n in 0..30_000 {
        let key = Key::new("n", n);
        see(&store, &key, 0.0);
        let rate = Rate::new(2, DAY).unwrap();
        block_on(store.take(&key, rate, 1, at(0.0))).unwrap();
        let half_life = HalfLife::new(DAY);
        block_on(store.weigh(&key, Balance::new(1.0, 0.0), half_life, at(0.0))).unwrap();
    }
    // Full shards, of each of the three kinds.
    assert!(store.len() <= 3 * (10_000 + 448), "{}", store.len());
    assert!(store.len() > 3 * 9_000, "{}", store.len());
}

#[test]
fn values_are_bounded_by_octets_and_evicted_by_expiry() {
    // 16,384 records are a mebibyte: four shards of 256 KiB.
    let store = Memory::with_capacity(16_384);
    let (now, kept) = (at(0.0), Key::new("kept", ""));
    block_on(store.put(&kept, b"kept", now + 2 * DAY, now)).unwrap();
    for n in 0..3_000 {
        let value = vec![0; n * 37 % 5_000];
        block_on(store.put(&Key::new("n", n), &value, now + DAY, now)).unwrap();
        assert!(store.octets() <= 1 << 20, "{}", store.octets());
    }
    assert!(store.octets() > (1 << 20) * 9 / 10, "{}", store.octets());
    assert_eq!(block_on(store.get(&kept, now)).unwrap().unwrap(), b"kept");
    for n in 0..3_000 {
        block_on(store.remove(&Key::new("n", n))).unwrap();
    }
    assert_eq!((store.octets(), store.len()), (4 + 64, 1));
}

#[test]
fn logs_are_bounded_by_octets_and_the_largest_loses_its_oldest_records() {
    let store = Memory::with_capacity(16_384);
    let (now, small, large) = (at(0.0), Key::new("small", ""), Key::new("large", ""));
    let retention = Retention::new(65_536, DAY);
    block_on(store.append(&small, b"small", retention, now)).unwrap();
    let first = block_on(store.append(&large, &[0; 10_000], retention, now)).unwrap();
    for _ in 0..1_000 {
        block_on(store.append(&large, &[0; 10_000], retention, now)).unwrap();
        assert!(store.octets() <= 1 << 20, "{}", store.octets());
    }
    assert_eq!(block_on(store.read(&small, 0, now)).unwrap().records, [b"small"]);
    let page = block_on(store.read(&large, first, now)).unwrap();
    assert!(page.missed && page.next > first + 800, "{}", page.next);
}

#[test]
fn many_logs_of_one_record_keep_the_octet_bound() {
    // 2,000 records are 128,000 octets: two records of 60,064.
    let (store, retention) = (Memory::with_capacity(2_000), Retention::new(10, DAY));
    let records = |n: u64| block_on(store.read(&Key::new("log", n), 0, at(0.0))).unwrap().records;
    for n in 0..20 {
        let now = at(n as f64);
        block_on(store.append(&Key::new("log", n), &[0; 60_000], retention, now)).unwrap();
        assert!(store.octets() <= 128_000, "{} octets after {n}", store.octets());
        assert_eq!(records(n).len(), 1, "the newest record of {n}");
    }
    let left: Vec<u64> = (0..20).filter(|n| !records(*n).is_empty()).collect();
    assert_eq!(left, [18, 19], "the logs that expire last");
}

#[test]
fn large_log_of_one_record_does_not_protect_the_other_logs() {
    let (store, now) = (Memory::with_capacity(2_000), at(0.0));
    let retention = Retention::new(65_536, DAY);
    let (large, small) = (Key::new("large", ""), Key::new("small", ""));
    block_on(store.append(&large, &[0; 65_536], retention, now)).unwrap();
    for _ in 0..100 {
        block_on(store.append(&small, &[0; 2_500], retention, now)).unwrap();
        assert!(store.octets() <= 128_000, "{}", store.octets());
    }
    let records = |log| block_on(store.read(log, 0, now)).unwrap().records.len();
    assert_eq!((records(&large), records(&small)), (1, 24));
}

#[test]
fn newest_record_stays_even_if_it_alone_exceeds_the_octet_bound() {
    let (store, retention) = (Memory::with_capacity(1), Retention::new(10, DAY));
    for n in 0..20_u64 {
        // The newest log expires first.
        let (log, now) = (Key::new("log", n), at(20.0 - n as f64));
        for _ in 0..2 {
            block_on(store.append(&log, &[0; 60_000], retention, now)).unwrap();
            assert_eq!(store.octets(), 60_064);
            assert_eq!(block_on(store.read(&log, 0, now)).unwrap().records.len(), 1);
        }
    }
}

#[test]
fn values_records_and_pages_are_bounded() {
    let mut fresh = || -> Box<dyn Store> { Box::new(Memory::new()) };
    super::suite::large_values_and_records_pass_and_oversized_ones_are_refused(&mut fresh);
}

#[test]
fn records_of_a_log_are_bounded() {
    for (asked, kept) in [(0, 1), (1, 1), (7, 7), (u32::MAX, 65_536)] {
        let (store, log, now) = (Memory::new(), Key::new("log", ""), at(0.0));
        let retention = Retention::new(asked, DAY);
        for _ in 0..kept.min(70_000) + 10 {
            block_on(store.append(&log, b"", retention, now)).unwrap();
        }
        assert_eq!(store.len(), kept, "{asked}");
    }
}

#[test]
fn logs_are_bounded_and_evicted_by_expiry() {
    let (store, now) = (Memory::new(), at(0.0));
    let retention = Retention::new(10, DAY);
    for n in 0..300 {
        let later = now + Duration::from_secs(n);
        block_on(store.append(&Key::new("log", n), b"", retention, later)).unwrap();
    }
    assert_eq!(store.len(), 256);
    let records = |n: u64| block_on(store.read(&Key::new("log", n), 0, now)).unwrap().records.len();
    assert_eq!([0, 43, 44, 299].map(records), [0, 0, 1, 1]);
}

/// A flood from one network only affects its own shards of the store.
#[test]
fn flood_from_one_network_does_not_evict_others() {
    let store = Memory::with_capacity(100_000);
    let others: Vec<_> = (0..10_000).map(|n| Key::new("grey", n).and("a").and("b")).collect();
    for key in &others {
        see(&store, key, 0.0);
    }
    for n in 0..30_000 {
        see(&store, &Key::new("grey", "192.0.2.0/24").and(n).and("b"), 1.0);
    }
    let lost = others.iter().filter(|key| !knows(&store, key, 2.0)).count();
    // Four of 224 shards were flooded: a fiftieth of the records, plus random deviation.
    assert!(lost < 10_000 / 25, "{lost} of 10,000 are forgotten");
}

#[test]
fn proven_records_are_not_evicted_by_new_ones() {
    let store = Memory::with_capacity(2_000);
    let proven: Vec<_> = (0..200).map(|n| Key::new("proven", n)).collect();
    for key in &proven {
        see(&store, key, 0.0);
        see(&store, key, 300.0);
    }
    for n in 0..20_000 {
        see(&store, &Key::new("flood", n), 400.0);
    }
    assert!(proven.iter().all(|key| knows(&store, key, 500.0)));
}

#[test]
fn client_over_its_rate_cannot_evict_its_bucket() {
    let store = Memory::with_capacity(2_000);
    let rate = Rate::new(100, DAY).unwrap();
    let spent = Key::new("rate", "192.0.2.0/24");
    let all = block_on(store.take(&spent, rate, 100, at(0.0))).unwrap();
    assert_eq!(all, Taken::Granted { left: 0 });
    for n in 0..20_000 {
        // Other buckets of the same owner, a little less than half used, and records of other
        // kinds.
        let key = spent.clone().and(n);
        block_on(store.take(&key, rate, 49, at(1.0))).unwrap();
        see(&store, &key, 1.0);
    }
    let taken = block_on(store.take(&spent, rate, 50, at(2.0))).unwrap();
    assert!(matches!(taken, Taken::Exhausted { .. }), "{taken:?}");
}

#[test]
fn expired_records_are_evicted_first() {
    let store = Memory::with_capacity(448);
    let keys: Vec<_> = (0..2_000).map(|n| Key::new("n", n)).collect();
    for key in &keys[..1_000] {
        see(&store, key, 0.0);
        see(&store, key, 300.0);
    }
    // Two days later all of that has expired, and there is room for records that were seen only
    // once.
    let later = 2.0 * 86_400.0;
    for key in &keys[1_000..] {
        see(&store, key, later);
    }
    let known = keys[1_000..].iter().filter(|key| knows(&store, key, later)).count();
    assert_eq!(known, 1_000);
}
