//! Checks the scoring of mail of every shape with everything enabled. It needs at most the memory
//! of the budget plus a constant, and time proportional to the size of the mail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use linear::judged::MAILS;

/// Size of a mail in octets: the default of `Limits::content`.
const OCTETS: usize = 50 << 20;
/// Peak memory in KiB: 64 MiB in addition to the budget of 64 MiB.
const MOST: usize = (64 + 64) << 10;
/// Time limit for one mail. A quadratic shape would take hours.
const TIME: Duration = Duration::from_secs(60);

#[test]
fn memory_of_a_message_is_bounded_by_its_budget_and_64_mib() {
    let mails = MAILS.iter().map(|mail| ("mail", PathBuf::from(mail.name)));
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let seeds = files(&seeds).into_iter().map(|file| ("seed", file));
    let cases: Vec<_> = mails.chain(seeds).collect();
    assert!(cases.len() > 100, "only {} cases", cases.len());
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((kind, name)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(fault) = hold(kind, name) {
                        faults.lock().unwrap().push(format!("{kind} {}: {fault}", name.display()));
                    }
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn hold(kind: &str, name: &Path) -> Result<(), String> {
    let began = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_linear"))
        .arg(kind)
        .arg(name)
        .arg(OCTETS.to_string())
        .output()
        .map_err(|error| error.to_string())?;
    let (said, time) = (String::from_utf8_lossy(&output.stdout), began.elapsed());
    let short = name.file_name().unwrap_or_default().to_string_lossy();
    println!("{kind} {short:>24}: {:>10}, {time:.1?}", said.trim());
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let peak = said.split_whitespace().nth(1).and_then(|peak| peak.parse::<usize>().ok());
    match peak {
        None => Err(format!("no figure in {said:?}")),
        Some(peak) if peak > MOST => Err(format!("{peak} KiB, at most {MOST}")),
        _ if time > TIME => Err(format!("{time:?}")),
        _ => Ok(()),
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the seeds").map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}
