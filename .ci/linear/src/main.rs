//! Command-line tool:
//!
//! - `linear SHAPE SIZE` does the work of one shape and prints the number of octets processed.
//! - `linear observed HOW SESSIONS` serves sessions of small messages with these observers.
//! - `linear mail NAME OCTETS` and `linear seed FILE OCTETS` serve a client that sends a mail of
//!   this shape, or repeats this file, with everything enabled and a budget of 64 MiB. They print
//!   the result and the peak memory of the process.

use std::fs;

use linear::judged::{self, MAILS};
use linear::{Work, observed, shapes};
use nobounce::message::Budget;

const BUDGET: usize = 64 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("a number");
    match arguments[..] {
        ["observed", how, sessions] => {
            let sessions = observed::sessions(how, number(sessions));
            println!("{}", measured(sessions));
        }
        [name, size] => {
            let shape = shapes().find(|shape| shape.name == name).expect("a shape defined in src/");
            println!("{}", measured((shape.prepare)(number(size))));
        }
        ["mail", name, octets] => {
            let mail = MAILS
                .iter()
                .find(|mail| mail.name == name)
                .expect("a message shape defined in src/");
            let got = mail.serve(number(octets), Budget::new(BUDGET));
            println!("{} {}", got.last, peak());
        }
        ["seed", file, octets] => {
            let seed = fs::read(file).expect("a seed");
            let got = judged::seed(seed, number(octets), Budget::new(BUDGET));
            println!("{} {}", got.last, peak());
        }
        _ => panic!("expected the arguments of one of the four commands"),
    }
}

/// The function measured by callgrind: `--toggle-collect=linear::measured*`.
#[inline(never)]
fn measured(work: Work) -> usize {
    work()
}

/// Returns the peak resident memory of this process in KiB.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
