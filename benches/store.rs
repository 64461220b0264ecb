//! Throughput of the stores: in memory, in a file (feature `redb`), and in Redis. Needs
//! redis-server.
//!
//! The baseline is the simplest implementation, a map with one lock. Each thread acts as a gate
//! that sends one request after another and waits for each answer. Where a request waits for a
//! disk or a server, concurrency matters. The figure is wall time, the best of several rounds,
//! since other work on the machine can only slow a round down.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a measurement"
)]

mod measure;
#[path = "../tests/store/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use all of it")]
mod server;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

#[cfg(feature = "redb")]
use nobounce::store::Embedded;
use nobounce::store::{Key, Memory, Rate, Redis, Store};
use pollster::block_on;
use server::{Server, Waiting};

const THREADS: [usize; 3] = [1, 8, 32];

fn main() {
    let (rounds, time) = match measure::is_quick() {
        true => (1, Duration::from_millis(10)),
        false => (5, Duration::from_millis(300)),
    };
    println!("{:<34}{}", "operations in a second", THREADS.map(|n| format!("{n:>12}")).concat());
    let many: Vec<Key> = (0..10_000)
        .map(|n| Key::new("rate-address", format_args!("192.0.{}.{}/32", n / 256, n % 256)))
        .collect();
    let one = vec![Key::new("rate-address", "192.0.2.1/32")];
    let rate = Rate::new(1_000_000, Duration::from_secs(1)).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for (keys, which) in [(&many, "10,000 clients"), (&one, "one client")] {
        let row = |what: &str, operation: &(dyn Fn(&Key) + Sync)| {
            let figures = THREADS.map(|threads| {
                let rounds = (0..rounds).map(|_| measure(threads, time, keys, operation));
                format!("{:>12.0}", rounds.fold(0.0, f64::max))
            });
            println!("{:<34}{}", format!("{what}, {which}"), figures.concat());
        };
        let take = |store: &dyn Store, key: &Key| {
            let taken = block_on(store.take(key, rate, 1, now));
            assert!(taken.is_ok(), "{taken:?}");
        };

        let map = Mutex::new(HashMap::<String, u64>::new());
        row("a map with one lock", &|key| {
            *map.lock().unwrap().entry(key.to_string()).or_default() += 1;
        });
        let memory = Memory::new();
        row("memory", &|key| take(&memory, key));
        #[cfg(feature = "redb")]
        {
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let file = Embedded::open(folder.path().join("store.redb")).unwrap();
            row("redb", &|key| take(&file, key));
        }
        let server = Server::start(&[]);
        let redis = Redis::new(Waiting, server.address());
        row("Redis", &|key| take(&redis, key));
    }
}

/// Returns the operations per second of all threads together.
fn measure(threads: usize, time: Duration, keys: &[Key], one: &(dyn Fn(&Key) + Sync)) -> f64 {
    let done = AtomicUsize::new(0);
    let begun = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            let done = &done;
            scope.spawn(move || {
                // Each thread goes through all keys, from a different start.
                let start = thread * keys.len() / threads;
                let mut keys = keys.iter().cycle().skip(start);
                while begun.elapsed() < time {
                    keys.by_ref().take(16).for_each(one);
                    done.fetch_add(16, Ordering::Relaxed);
                }
            });
        }
    });
    done.into_inner() as f64 / begun.elapsed().as_secs_f64()
}
