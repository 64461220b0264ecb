//! Verification of signatures takes at most three times as long as SHA-256 of the octets that are hashed.

use linear::hashing::Hashed;

/// Number of runs. The shortest one counts.
const RUNS: usize = 200;

#[test]
fn verification_takes_at_most_three_times_as_long_as_sha_256() {
    let mut faults = Vec::new();
    for message in Hashed::all() {
        let times: Vec<_> = (0..RUNS).map(|_| message.measure()).collect();
        let ours = times.iter().map(|it| it.ours).min().unwrap();
        let sha256 = times.iter().map(|it| it.sha256).min().unwrap();
        let ratio = ours.as_secs_f64() / sha256.as_secs_f64();
        println!(
            "{:>28}: {:>9} octets hashed, {ours:>9.1?}, SHA-256 {sha256:>9.1?}: {ratio:.2}",
            message.label, message.octets
        );
        if ratio > 3.0 {
            faults.push(format!("{}: {ratio:.2}", message.label));
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
}
