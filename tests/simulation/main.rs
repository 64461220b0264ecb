//! Simulation of whole gates with a seeded scheduler in virtual time: clients with various
//! behaviours, onward servers that fail in every way, failing scorers, clock jumps, and shutdown at
//! any time.
//!
//! A run is determined by its seed. A run that breaks an invariant prints the command that repeats
//! it with its dialogue.

#![cfg(feature = "serve")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(unreachable_pub, reason = "modules of one test")]

mod acts;
mod attackers;
mod client;
mod clock;
mod contents;
mod coverage;
mod executor;
mod ledger;
mod network;
mod oracle;
mod plan;
mod reach;
#[cfg(feature = "recording")]
mod recordings;
mod rng;
mod run;
mod runtime;
mod sabotage;
mod scorers;
mod server;
mod store;
mod tempers;
mod trace;
mod world;

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use coverage::Coverage;
use run::{Report, run};
use sabotage::Sabotage;
use world::Guarded;

/// The default seed.
const SEED: u64 = 2003;
/// Number of threads. Each run uses a single thread.
const THREADS: usize = 2;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is `{text}`, expected a number")))
}

/// Hides the messages of intended panics in scorers.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !scorers::is_intended(panic.payload()) {
                loud(panic);
            }
        }));
    });
}

struct Played {
    sessions: usize,
    kept: usize,
    polls: usize,
    guarded: Guarded,
    coverage: Coverage,
}

impl Played {
    fn nothing() -> Self {
        let (guarded, coverage) = (Guarded::default(), Coverage::default());
        Self { sessions: 0, kept: 0, polls: 0, guarded, coverage }
    }
}

/// Runs one seed after another until `sessions` sessions have been simulated. Panics at the first
/// seed that breaks an invariant.
fn play(first: u64, sessions: usize) -> Played {
    hush();
    let mut count = 0;
    let seeds = (first..).take_while(|seed| {
        let more = count < sessions;
        count += run::sessions(*seed);
        more
    });
    let seeds: Vec<u64> = seeds.collect();
    let next = AtomicUsize::new(0);
    let play_some = || {
        let mut played = Played::nothing();
        let mut failed: Option<Report> = None;
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let report = run(*seed, false, &mut played.coverage, None);
            played.sessions += report.sessions;
            played.kept += report.kept;
            played.polls += report.polls;
            played.guarded.add(report.guarded);
            if !report.violations.is_empty() {
                next.store(seeds.len(), Ordering::Relaxed);
                failed = Some(report);
            }
        }
        (played, failed)
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(play_some)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all = Played::nothing();
    let mut failures = Vec::new();
    for (part, failed) in parts {
        all.sessions += part.sessions;
        all.kept += part.kept;
        all.polls += part.polls;
        all.guarded.add(part.guarded);
        all.coverage.add(&part.coverage);
        failures.extend(failed);
    }
    if let Some(failed) = failures.into_iter().min_by_key(|failed| failed.seed) {
        fail(&failed, all.sessions);
    }
    let impossible = all.coverage.impossible();
    assert!(impossible.is_empty(), "visited:\n  {}", impossible.join("\n  "));
    all
}

/// Repeats a failed run with its dialogue.
fn fail(failed: &Report, sessions: usize) -> ! {
    let Report { seed, violations, .. } = failed;
    let again = run(*seed, true, &mut Coverage::default(), None);
    println!("{}", again.dialogue.join("\n"));
    panic!(
        "seed {seed}, among the first {sessions} sessions:\n  {}\n\
         again: NOBOUNCE_SEED={seed} cargo test --test simulation replay -- --nocapture\n",
        violations.join("\n  ")
    );
}

#[test]
fn thousand_simulated_sessions_keep_the_promise() {
    let first = number("NOBOUNCE_SEED").unwrap_or(SEED);
    let Played { sessions, kept, .. } = play(first, 1_000);
    assert!(sessions >= 1_000 && kept > 300, "{sessions} sessions, {kept} mails");
}

/// Runs as many sessions as `NOBOUNCE_SESSIONS` says. `.ci/run` uses this with optimised code.
#[test]
#[ignore = "takes minutes"]
#[allow(clippy::disallowed_methods, reason = "how long it takes")]
fn million_simulated_sessions_keep_the_promise() {
    let first = number("NOBOUNCE_SEED").unwrap_or(SEED);
    let wanted = number("NOBOUNCE_SESSIONS").map_or(1_000_000, |it| usize::try_from(it).unwrap());
    let began = Instant::now();
    let Played { sessions, kept, polls, guarded, coverage } = play(first, wanted);
    let seconds = began.elapsed().as_secs_f64();
    let (visited, reachable) = coverage.counts();
    #[allow(clippy::cast_precision_loss, reason = "a figure to be read")]
    let rate = sessions as f64 / seconds;
    println!(
        "{sessions} sessions from seed {first} in {seconds:.1} s, {rate:.0} per second; \
         {kept} mails kept, {polls} steps, 0 violations; \
         {visited} of {reachable} pairs of place and fault, the rarest:\n{}",
        coverage.rarest(10)
    );
    let Guarded { turned_away, tarpitted, too_slow } = guarded;
    println!(
        "{turned_away} turned away, {tarpitted} in the tarpit, {too_slow} cut off as too slow"
    );
    assert!(turned_away.min(tarpitted).min(too_slow) > 100, "{guarded:?}");
    let missing = coverage.missing();
    assert!(missing.is_empty(), "not visited:\n  {}", missing.join("\n  "));
}

/// Repeats the run of `NOBOUNCE_SEED` and prints its dialogue.
#[test]
fn simulation_is_replayed_from_its_seed() {
    hush();
    let seed = number("NOBOUNCE_SEED").unwrap_or(SEED);
    let report = run(seed, true, &mut Coverage::default(), None);
    println!("{}", report.dialogue.join("\n"));
    println!("seed {seed}, trace {:016x}", report.hash);
    assert!(report.violations.is_empty(), "{}", report.violations.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    hush();
    let hash = |seed, told| run(seed, told, &mut Coverage::default(), None).hash;
    let hashes: Vec<u64> = (SEED..SEED + 40).map(|seed| hash(seed, false)).collect();
    for (seed, expected) in (SEED..).zip(&hashes) {
        assert_eq!(hash(seed, true), *expected, "seed {seed}");
    }
    let mut different = hashes.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), hashes.len());
}

#[test]
fn faulty_gates_are_detected() {
    hush();
    for (sabotage, word) in [
        (Sabotage::Lies, "I1: "),
        (Sabotage::Conceals, "I2: "),
        (Sabotage::Disobeys, "I3: "),
        (Sabotage::Leaves, "I4: "),
        (Sabotage::Leaks, "I5: "),
        (Sabotage::Tells, "internal"),
    ] {
        let mut sessions = 0;
        let found = (SEED..).take(2_000).find_map(|seed| {
            let report = run(seed, false, &mut Coverage::default(), Some(sabotage));
            sessions += report.sessions;
            report.violations.into_iter().find(|violation| violation.contains(word))
        });
        let found = found.unwrap_or_else(|| panic!("{sabotage:?} is not found"));
        println!("{sabotage:?}: after {sessions} sessions, {found}");
    }
}
