//! What the store in memory costs, alone and under contention: `cargo bench --bench store`.
//!
//! Beside it stands what one would write first, a map behind one lock, with the same hash. Figures
//! are nanoseconds of wall time for each operation, all threads together: two threads on two cores
//! should have half of what one has, as long as they do not wait for each other.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a measurement")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nobounce::store::{Key, Memory, Rate, Store, Taken};
use pollster::block_on;

const OPERATIONS: usize = 400_000;
const CLIENTS: usize = 10_000;
const ROUNDS: usize = 5;

fn main() {
    let clients: Vec<Key> = (0..CLIENTS)
        .map(|n| Key::new("rate-address", format_args!("192.0.{}.{}/32", n / 256, n % 256)))
        .collect();
    let one = vec![Key::new("rate-address", "192.0.2.1/32")];
    println!(
        "{:<40} {:>9} {:>9} {:>9}",
        "ns for each operation", "1 thread", "2 threads", "8 threads"
    );
    for (keys, which) in [(&clients, "10,000 clients"), (&one, "one client")] {
        let memory = Memory::new();
        let rate = Rate::new(1_000_000, Duration::from_secs(1)).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        row(&format!("memory, {which}"), keys, |key| {
            matches!(block_on(memory.take(key, rate, 1, now)), Ok(Taken::Granted { .. }))
        });
        let map = Mutex::new(HashMap::<String, u64>::new());
        row(&format!("a map behind one lock, {which}"), keys, |key| {
            let mut map = map.lock().unwrap();
            let count = map.entry(key.to_string()).or_default();
            *count += 1;
            *count < 1_000_000
        });
    }
}

fn row(what: &str, keys: &[Key], operation: impl Fn(&Key) -> bool + Sync) {
    let figures = [1, 2, 8].map(|threads| {
        let rounds = (0..ROUNDS).map(|_| measure(threads, keys, &operation));
        // The best of some rounds: what else the machine does only adds.
        rounds.fold(f64::INFINITY, f64::min)
    });
    println!("{what:<40} {:>9.0} {:>9.0} {:>9.0}", figures[0], figures[1], figures[2]);
}

fn measure(threads: usize, keys: &[Key], operation: &(impl Fn(&Key) -> bool + Sync)) -> f64 {
    let begun = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                // Each thread goes through all of them, from another one on.
                let start = thread * keys.len() / threads;
                let keys = keys.iter().cycle().skip(start).take(OPERATIONS / threads);
                keys.for_each(|key| {
                    black_box(operation(key));
                });
            });
        }
    });
    begun.elapsed().as_secs_f64() * 1e9 / OPERATIONS as f64
}
