//! Shared by all benchmarks: interleaved rounds and tables.
//!
//! Other work on the machine slows all candidates of a round down equally. Ratios are therefore
//! computed within each round, and the median ratio is reported. Time is the thread's CPU time, so
//! other processes are not measured.

#![allow(dead_code, reason = "each benchmark uses its part")]

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Returns whether this is only a smoke test: after `cargo bench -- --quick`, or if it was not
/// started by `cargo bench`.
pub(crate) fn is_quick() -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    has("--quick") || !has("--bench")
}

/// The result of one candidate over all rounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    /// Median time of a turn in seconds.
    pub(crate) seconds: f64,
    /// Median ratio to the first candidate's time in the same round.
    pub(crate) ratio: f64,
}

/// Runs the rounds. In each, every candidate takes one turn and returns its time. An additional
/// first round is a warm-up and is ignored.
pub(crate) fn interleaved<const N: usize>(
    rounds: usize,
    mut candidates: [&mut dyn FnMut() -> Duration; N],
) -> [Figure; N] {
    let mut turn = || candidates.each_mut().map(|candidate| candidate().as_secs_f64());
    turn();
    let turns: Vec<[f64; N]> = (0..rounds).map(|_| turn()).collect();
    std::array::from_fn(|at| Figure {
        seconds: median(turns.iter().map(|turn| turn[at])),
        ratio: median(turns.iter().map(|turn| turn[at] / turn[0])),
    })
}

/// Returns this thread's CPU time for `work`. The result is dropped outside of the measurement.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let begin = cpu_time();
    let made = std::hint::black_box(work());
    let time = cpu_time() - begin;
    drop(made);
    time
}

/// Returns this thread's CPU time for `times` repetitions.
pub(crate) fn repeated<T>(times: u32, mut work: impl FnMut() -> T) -> Duration {
    timed(|| {
        for _ in 0..times {
            std::hint::black_box(work());
        }
    })
}

/// Returns the CPU time of this thread.
pub(crate) fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has it").into()
}

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints a Markdown table with aligned columns.
pub(crate) fn table(title: &str, head: &[&str], rows: &[Vec<String>]) {
    println!("\n{title}\n\n{}", markdown(head, rows));
}

/// Formats a Markdown table. The first column is text, the others are numbers.
pub(crate) fn markdown(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:<0$}", width(column)),
            _ => format!("{cell:>0$}", width(column)),
        });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rules = (0..head.len()).map(|column| match column {
        0 => "-".repeat(width(column)),
        _ => format!("{}:", "-".repeat(width(column) - 1)),
    });
    let rules: Vec<String> = rules.collect();
    let mut text = line(head.to_vec()) + &line(rules.iter().map(String::as_str).collect());
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}
