//! Doubling the input costs at most 2.2 times the instructions, for every shape.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use linear::{Shape, shapes};

/// Maximum ratio of instructions for twice the input: 2, plus an allowance for size-dependent
/// steps, such as the growth of a buffer or a table.
const MOST: f64 = 2.2;
/// Minimum ratio. With less, the work was not done.
const LEAST: f64 = 1.8;

#[test]
fn instructions_grow_linearly_with_the_input() {
    let shapes: Vec<_> = shapes().collect();
    assert!(shapes.len() > 20, "only {} shapes", shapes.len());
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(shape) = shapes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(fault) = hold(shape) {
                        faults.lock().unwrap().push(fault);
                    }
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Measures one shape and checks its growth.
fn hold(shape: &Shape) -> Result<(), String> {
    let Shape { name, size, least, .. } = shape;
    let (octets, once) = measure(shape, *size)?;
    let (more_octets, twice) = measure(shape, 2 * size)?;
    let growth = more_octets as f64 / octets as f64;
    let ratio = twice as f64 / once as f64;
    let each = twice as f64 / more_octets as f64;
    println!("{name:>24}: {more_octets:>9} octets, {each:>8.2} instructions each, {ratio:.3}");
    if !(1.95..2.05).contains(&growth) {
        return Err(format!("{name}: {octets} octets, then {more_octets}"));
    }
    // A session has a fixed cost regardless of its mail, and scorers read only a part of a large
    // mail. A signature with more than 100 tags is not read to its end. The view of links has limits
    // for a URL and for header fields.
    let is_partly_read =
        ["judged-", "rendered-", "signature-tags"].iter().any(|it| name.starts_with(it));
    let least_ratio = if is_partly_read { 1.0 } else { LEAST };
    if !(least_ratio..=MOST).contains(&ratio) {
        return Err(format!("{name}: {once} instructions, then {twice}: {ratio:.3} times as many"));
    }
    if each < *least {
        return Err(format!("{name}: {each:.2} instructions for an octet cannot be"));
    }
    Ok(())
}

/// Returns the number of octets processed and the number of instructions.
fn measure(shape: &Shape, size: usize) -> Result<(usize, u64), String> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=linear::measured*")
        .args([env!("CARGO_BIN_EXE_linear"), shape.name, &size.to_string()])
        .output()
        .expect("valgrind: install the Debian package of that name");
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{} {size}: {said}", shape.name));
    }
    let octets = String::from_utf8_lossy(&output.stdout).trim().parse();
    let counted = said.split("Collected : ").nth(1).and_then(|rest| rest.lines().next());
    let counted = counted.and_then(|number| number.trim().parse().ok());
    octets.ok().zip(counted).ok_or_else(|| format!("{} {size}: no count in {said}", shape.name))
}
