//! Metrics cost at most 3 % of the instructions of a message, also with the times of scorers.

use std::process::Command;

/// With less, the metrics were not counted.
const LEAST: f64 = 1.005;
const MOST: f64 = 1.03;

#[test]
fn metrics_cost_a_small_share_of_a_message() {
    let without = instructions("without");
    for how in ["metrics", "answers"] {
        let with = instructions(how);
        let ratio = with / without;
        println!("{how:>8}: {with:.0} instructions a message, without {without:.0}: {ratio:.4}");
        assert!((LEAST..=MOST).contains(&ratio), "{how}: {ratio:.4}");
    }
}

/// Returns the number of instructions of a message.
fn instructions(how: &str) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=linear::measured*")
        .args([env!("CARGO_BIN_EXE_linear"), "observed", how, "10"])
        .output()
        .expect("valgrind: install the Debian package of that name");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let messages: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    let counted = said.split("Collected : ").nth(1).and_then(|rest| rest.lines().next());
    let counted: f64 = counted.and_then(|number| number.trim().parse().ok()).expect("a count");
    counted / messages
}
