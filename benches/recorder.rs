//! Instructions for accepted mail with a recorder, as a ratio to those without it, measured with valgrind.
//!
//! `cargo bench --bench recorder --features recording` prints the ratios, and fails if a recorder of refused mail adds more
//! than 6 % to a gate with scorers and a log, as `front_door` runs it.

#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark")]
#![allow(dead_code, reason = "shared modules")]

mod dialogue;
mod measure;

use std::env;
use std::hint::black_box;
use std::io;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::SystemTime;

use dialogue::{CONTENT, served};
use measure::table;
use nobounce::observer::Recorder;
use nobounce::observer::json::Line;
use nobounce::recording::{RecorderSettings, Sample};
use nobounce::scorers::{Behaviour, Gtube, Structure};
use nobounce::{Gate, Panel, Settings};

/// Tolerated ratio for a recorder of refused mail.
const MOST: f64 = 1.06;
const TRANSACTIONS: usize = 20;

/// The gates: alone, with the scorers and the log of `front_door`, and each with a recorder.
const GATES: [(&str, bool, Option<Sample>); 6] = [
    ("serve", false, None),
    ("serve, recorder of refused mail", false, Some(Sample::Refused)),
    ("serve, recorder of all mail", false, Some(Sample::All)),
    ("scorers and log", true, None),
    ("scorers and log, recorder of refused mail", true, Some(Sample::Refused)),
    ("scorers and log, recorder of all mail", true, Some(Sample::All)),
];

fn main() -> ExitCode {
    if let Some(case) = env::var("RECORDER_CASE").ok().and_then(|case| case.parse().ok()) {
        run(case);
        return ExitCode::SUCCESS;
    }
    let contents = [("4 KiB or less", 0), ("64 KiB", 1)];
    let mut is_good = true;
    for (name, content) in contents {
        let counts: Vec<u64> = (0..GATES.len()).map(|gate| count(2 * gate + content)).collect();
        let rows = GATES.iter().enumerate().map(|(at, (gate, is_whole, _))| {
            let base = counts[if *is_whole { 3 } else { 0 }];
            let ratio = counts[at] as f64 / base as f64;
            is_good &= at != 4 || ratio <= MOST;
            let each = counts[at] / TRANSACTIONS as u64;
            vec![(*gate).to_owned(), each.to_string(), format!("{ratio:.3}")]
        });
        let rows: Vec<_> = rows.collect();
        table(name, &["gate", "instructions per message", "ratio"], &rows);
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn gate(number: usize) -> Gate<served::Memory> {
    let mut settings = Settings::new("mx.example");
    settings.limits.transactions = u32::MAX;
    let (_, is_whole, sample) = &GATES[number];
    let panel = match is_whole {
        true => Panel::new().scorer(Gtube).scorer(Structure::new()).scorer(Behaviour::new()),
        false => Panel::new(),
    };
    let mut gate = served::gate(&settings, panel);
    if *is_whole {
        gate = gate.report_answers().record_fields(["Message-ID", "From", "Subject"]).observer(
            |event| {
                if let Some(line) = Line::of(event, SystemTime::UNIX_EPOCH) {
                    black_box(line.to_string());
                }
            },
        );
    }
    match sample {
        None => gate,
        Some(sample) => {
            let mut settings = RecorderSettings::default();
            settings.sample = sample.clone();
            let recorder = Recorder::new(served::Memory, io::sink(), settings);
            gate.observed_by(recorder.expect("the settings are good"))
        }
    }
}

/// Runs a case: a gate, with small or large contents.
fn run(case: usize) {
    let gate = gate(case / 2);
    let content: Arc<[u8]> = match case % 2 {
        0 => CONTENT.into(),
        _ => {
            [&b"Subject: x\r\n\r\n"[..], &line().repeat(64 * 1_024 / 78), b".\r\n"].concat().into()
        }
    };
    // Warm up: one-time initialisation is not counted.
    assert_eq!(served::session(&gate, TRANSACTIONS, 1, &content), TRANSACTIONS);
    counted_turn(&gate, &content);
}

fn line() -> Vec<u8> {
    [&[b'x'; 76][..], b"\r\n"].concat()
}

/// Valgrind recognises this function by its name, and counts only within it.
#[inline(never)]
fn counted_turn(gate: &Gate<served::Memory>, content: &Arc<[u8]>) {
    assert_eq!(served::session(gate, TRANSACTIONS, 1, content), TRANSACTIONS);
}

fn count(case: usize) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*counted_turn*"])
        .arg("--callgrind-out-file=/dev/null")
        .arg(env::current_exe().expect("we run"))
        .env("RECORDER_CASE", case.to_string())
        .output()
        .expect("valgrind is needed: `apt-get install valgrind`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let collected = collected.and_then(|(_, count)| count.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("{said}"))
}
