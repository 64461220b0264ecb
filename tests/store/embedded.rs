//! The store in a file: an acknowledged change survives the death of the process.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::future::join_all;
use nobounce::store::{
    Balance, Embedded, HalfLife, Key, OpenError, Pace, Rate, Retention, Store, Taken,
};
use pollster::block_on;
use tempfile::TempDir;

use super::suite::at;

suite!([] {
    // The folders are deleted at the end of the test.
    let mut folders = Vec::<TempDir>::new();
    move || -> Box<dyn Store> {
        folders.push(tempfile::tempdir().unwrap());
        let path = folders.last().unwrap().path().join("store.redb");
        Box::new(Embedded::with_capacity(path, 10_000).unwrap())
    }
});

const HOUR: Duration = Duration::from_secs(3600);
const PACE: Pace = Pace { apart: Duration::ZERO, once: HOUR, again: HOUR };

#[test]
fn answered_operations_are_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let (key, now) = (Key::new("k", "v"), at(0.0));
    let (rate, half_life) = (Rate::new(5, HOUR).unwrap(), HalfLife::new(HOUR));
    for round in 1..=4 {
        let store = Embedded::open(&path).unwrap();
        let sighting = block_on(store.see(&key, PACE, now)).unwrap();
        assert_eq!((sighting.times, sighting.first), (round, now));
        let taken = block_on(store.take(&key, rate, 1, now)).unwrap();
        assert_eq!(taken, Taken::Granted { left: 5 - round });
        let balance = block_on(store.weigh(&key, Balance::new(1.5, 2.5), half_life, now)).unwrap();
        let round = f64::from(round);
        assert_eq!(balance, Balance::new(1.5 * round, 2.5 * round));
    }
    // A full bucket leaves no record.
    let store = Embedded::open(&path).unwrap();
    let later = now + 2 * HOUR;
    assert_eq!(block_on(store.take(&key, rate, 0, later)).unwrap(), Taken::Granted { left: 5 });
}

#[test]
fn values_and_logs_are_stored_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let (key, gone, now) = (Key::new("k", "v"), Key::new("k", "gone"), at(0.0));
    let (until, retention) = (now + HOUR, Retention::new(3, HOUR));
    let mut position = 0;
    for round in 1..=5_u8 {
        let store = Embedded::open(&path).unwrap();
        block_on(store.put(&gone, b"gone", until, now)).unwrap();
        block_on(store.remove(&gone)).unwrap();
        block_on(store.put(&key, &[round; 300], until, now)).unwrap();
        let at = block_on(store.append(&key, &[round], retention, now)).unwrap();
        assert!(position == 0 || at == position + 1);
        position = at;
    }
    let store = Embedded::open(&path).unwrap();
    assert_eq!(block_on(store.get(&key, now)).unwrap().unwrap(), [5; 300]);
    assert_eq!(block_on(store.get(&gone, now)).unwrap(), None);
    let page = block_on(store.read(&key, position, now)).unwrap();
    assert_eq!((page.records, page.missed), (vec![vec![5]], false));
    assert_eq!(block_on(store.read(&key, 0, now)).unwrap().records, [[3], [4], [5]]);
}

/// When opened with a smaller size, it keeps the values that expire last and the newest records.
#[test]
fn file_is_reduced_to_its_octet_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let (now, retention) = (at(0.0), Retention::new(65_536, HOUR));
    let log = Key::new("log", "");
    let store = Embedded::with_capacity(&path, 100_000).unwrap();
    let last = block_on(async {
        let mut last = 0;
        for n in 0..40_u64 {
            let until = now + HOUR + Duration::from_secs(n);
            store.put(&Key::new("value", n), &[0; 60_000], until, now).await.unwrap();
            last = store.append(&log, &[0; 60_000], retention, now).await.unwrap();
        }
        last
    });
    drop(store);
    for _ in 0..2 {
        let store = Embedded::with_capacity(&path, 1).unwrap();
        let known = |n: &u64| block_on(store.get(&Key::new("value", n), now)).unwrap().is_some();
        assert!((0..40).filter(known).count() <= 16);
        let page = block_on(store.read(&log, last, now)).unwrap();
        assert_eq!((page.records.len(), page.missed), (1, false));
        assert!(block_on(store.read(&log, last - 1, now)).unwrap().missed);
    }
}

/// A log that is removed for the octet bound is removed from the file too, while the store is open
/// and when it is opened with a smaller size.
#[test]
fn file_loses_the_logs_that_the_octet_bound_removes() {
    let folder = tempfile::tempdir().unwrap();
    let retention = Retention::new(10, HOUR);
    for (size, path) in [(2_000, "small.redb"), (100_000, "large.redb")] {
        let path = folder.path().join(path);
        let store = Embedded::with_capacity(&path, size).unwrap();
        for n in 0..20_u32 {
            let now = at(f64::from(n));
            block_on(store.append(&Key::new("log", n), &[0; 60_000], retention, now)).unwrap();
        }
        drop(store);
        // The second opening has room for all logs and shows which ones are in the file.
        for size in [2_000, 100_000] {
            let store = Embedded::with_capacity(&path, size).unwrap();
            let has = |n: &u32| {
                let page = block_on(store.read(&Key::new("log", *n), 0, at(0.0))).unwrap();
                !page.records.is_empty()
            };
            assert_eq!((0..20).filter(has).collect::<Vec<_>>(), [18, 19]);
        }
    }
}

#[test]
fn file_is_locked_by_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let first = Embedded::open(&path).unwrap();
    assert!(matches!(Embedded::open(&path), Err(OpenError::InUse)));
    drop(first);
    Embedded::open(&path).unwrap();

    let other = folder.path().join("other");
    std::fs::write(&other, "this text is not a database".repeat(1000)).unwrap();
    assert!(matches!(Embedded::open(&other), Err(OpenError::File(_))));
    let nowhere = folder.path().join("nowhere/store.redb");
    assert!(matches!(Embedded::open(&nowhere), Err(OpenError::File(_))));
}

/// When opened for fewer records, it keeps the most valuable ones, and the file shrinks.
#[test]
fn file_with_too_many_records_loses_the_least_valuable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let (now, proven) = (at(0.0), Key::new("proven", ""));
    let store = Embedded::with_capacity(&path, 5_000).unwrap();
    let keys: Vec<_> = (0..4_000).map(|n| Key::new("n", n)).collect();
    let writes = join_all(keys.iter().map(|key| store.see(key, PACE, now)));
    assert!(block_on(writes).iter().all(Result::is_ok));
    for _ in 0..3 {
        block_on(store.see(&proven, PACE, now)).unwrap();
    }
    drop(store);
    for _ in 0..2 {
        let store = Embedded::with_capacity(&path, 1).unwrap();
        assert_eq!(block_on(store.recall(&proven, now)).unwrap().unwrap().times, 3);
        let known = |key: &&Key| block_on(store.recall(key, now)).unwrap().is_some();
        assert!(keys.iter().filter(known).count() < 4 * 448);
    }
}

const KILLED: &str = "NOBOUNCE_TEST_KILLED_STORE";

/// A process counts in eight concurrent threads and prints each count after its acknowledgement. It
/// is killed (SIGKILL) while counting, several times. No printed count is lost, and each thread has
/// at most one count that was not printed.
#[test]
fn answered_operations_survive_sigkill() {
    const THREADS: usize = 8;
    if let Some(path) = env::var_os(KILLED) {
        let store = &Embedded::open(path).unwrap();
        return std::thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    loop {
                        let sighting =
                            block_on(store.see(&Key::new("count", thread), PACE, at(0.0))).unwrap();
                        println!("said {thread} {};", sighting.times);
                    }
                });
            }
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let mut said = [0_u32; THREADS];
    for round in 1..=5 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "embedded::answered_operations_survive_sigkill", "--nocapture"])
            .env(KILLED, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut hear = |line: String| {
            let words: Vec<&str> = line.trim_end_matches(';').split(' ').collect();
            if let ["said", thread, times] = words[..] {
                let count = &mut said[thread.parse::<usize>().unwrap()];
                *count = (*count).max(times.parse().unwrap());
            }
        };
        for _ in 0..round * 150 {
            hear(lines.next().expect("the process counts until it is killed").unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Its output before it was killed. The last line may be truncated.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        rest.into_iter().filter(|line| line.ends_with(';')).for_each(&mut hear);

        let store = Embedded::open(&path).unwrap();
        for (thread, said) in said.iter_mut().enumerate() {
            let known = block_on(store.recall(&Key::new("count", thread), at(0.0))).unwrap();
            let known = known.map_or(0, |sighting| sighting.times);
            assert!(*said <= known && known <= *said + 1, "printed {said}, stored {known}");
            *said = known;
        }
    }
}
