//! Instruction counts of the hot paths, measured with valgrind. They do not depend on the load of
//! the machine.
//!
//! - `cargo bench --bench instructions` compares them with `benches/instructions.txt` and fails if one is more than
//!   3 % worse.
//! - `cargo bench --bench instructions -- --renew` rewrites the file. Do this in the commit that changes the figures.
//!
//! Another compiler, C library or processor leads to other instruction counts for the same code.
//! The file therefore begins with the environment of the measurement. In any other environment,
//! differences are printed but nothing fails.

#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark")]

mod dialogue;
mod measure;
mod shapes;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::BytesMut;
use dialogue::{CONTENT, Dialogue, served};
use measure::table;
use nobounce::message::MailData;
use nobounce::onward::OnwardSettings;
use nobounce::reply::ReplyCode;
use nobounce::{Message, Outcome, Panel, Reply, Request, Settings, wire_exposed};
use shapes::{SHAPES, content};

/// Tolerated relative increase of a figure.
const TOLERANCE: f64 = 0.03;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

fn main() -> ExitCode {
    let has = |name: &str| env::args().any(|argument| argument == name);
    if has("--under-valgrind") {
        run_all();
        return ExitCode::SUCCESS;
    }
    let circumstances = circumstances();
    let counted = count();
    if has("--renew") {
        fs::write(FILE, write(&circumstances, &counted)).expect("the repository can be written to");
    }
    let (known_circumstances, known) = read(&fs::read_to_string(FILE).unwrap_or_default());
    let mut worse = Vec::new();
    let mut rows = Vec::new();
    for (name, count) in &counted {
        let before = known.iter().find(|(known, _)| known == name).map(|(_, count)| *count);
        let change = before.map(|before| *count as f64 / before as f64 - 1.0);
        if change.is_none_or(|change| change > TOLERANCE) {
            worse.push(name.as_str());
        }
        let or_new = |text: Option<String>| text.unwrap_or_else(|| "new".into());
        rows.push(vec![
            name.clone(),
            or_new(before.map(|before| before.to_string())),
            count.to_string(),
            or_new(change.map(|change| format!("{:+.1} %", change * 100.0))),
        ]);
    }
    table("Instructions", &["hot path", "in the file", "now", "change"], &rows);
    if worse.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("worse or new: {}", worse.join("; "));
    if circumstances == known_circumstances {
        println!("if that must be: cargo bench --bench instructions -- --renew");
        return ExitCode::FAILURE;
    }
    println!(
        "but counted otherwise: {circumstances}\n          in the file: {known_circumstances}"
    );
    ExitCode::SUCCESS
}

/// A benchmark case: its name, its number of repetitions in one turn, and the turn.
type Case = (String, u64, Box<dyn FnMut()>);

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut add = |name: &str, times: u64, mut work: Box<dyn FnMut()>| {
        let turn = move || (0..times).for_each(|_| work());
        cases.push((name.to_string(), times, Box::new(turn)));
    };
    let now = dialogue::now();
    let mut settings = Settings::new("mx.example");
    settings.limits.transactions = u32::MAX;
    let settings = Arc::new(settings);
    let onward = Arc::new(OnwardSettings::new("mx.example"));

    for (name, pattern) in SHAPES {
        let wire = [content(pattern, LENGTH).as_slice(), b"\r\n.\r\n"].concat();
        let mut dialogue = Dialogue::new(&settings, now);
        let turn = move || dialogue.transaction(&wire);
        add(&format!("64 KiB in: {name}"), 1, Box::new(turn));
    }
    for (name, pattern) in [SHAPES[0], SHAPES[7]] {
        let (envelope, recipient) = dialogue::envelope();
        let mut without_recipient = envelope.clone();
        without_recipient.forward_paths.clear();
        let data = MailData::normalise(&content(pattern, LENGTH));
        let message = Message::new("mx.example", &envelope, SystemTime::UNIX_EPOCH, data);
        let onward = onward.clone();
        let turn = move || {
            let mut server = dialogue::Server::new(&onward);
            let asked = Request::Recipient(&without_recipient, &recipient);
            assert!(matches!(server.ask(asked, now), Outcome::Accepted(_)));
            server.offer(&envelope, &message, now);
            black_box(server.written(now));
        };
        add(&format!("64 KiB out, connection and all: {name}"), 1, Box::new(turn));
    }
    for command in [
        "MAIL FROM:<alice@client.example>",
        "MAIL FROM:<alice@client.example> SIZE=4711 BODY=8BITMIME",
        "RCPT TO:<bob@mx.example>",
        "DATA",
    ] {
        let line = format!("{command}\r\n");
        let turn = move || {
            black_box(wire_exposed::read_command(black_box(line.as_bytes())).is_some());
        };
        add(&format!("read {command}"), 100, Box::new(turn));
    }
    let turn = || {
        let reply = black_box(b"250 2.0.0 Ok: queued as 4bKd7R1x9Zz3vQy\r\n");
        assert!(wire_exposed::read_replies(reply).next().is_some());
    };
    add("read a reply", 100, Box::new(turn));
    let reply = Reply::plain(ReplyCode::new(250).expect("it is one"), "2.1.5 Ok");
    let mut output = BytesMut::with_capacity(64);
    let turn = move || {
        output.clear();
        black_box(&reply).write(&mut output);
    };
    add("write a reply", 100, Box::new(turn));

    let mut plain = Dialogue::new(&settings, now);
    add("a transaction", 20, Box::new(move || plain.transaction(CONTENT)));
    let mut relayed = Dialogue::with_onward(&settings, &onward, now);
    add("a transaction, onward", 20, Box::new(move || relayed.transaction(CONTENT)));
    let gate = served::gate(&settings, Panel::new());
    let small: Arc<[u8]> = CONTENT.into();
    let turn = move || assert_eq!(served::session(&gate, 20, 1, &small), 20);
    add("a session of 20 transactions in serve", 1, Box::new(turn));
    cases
}

const LENGTH: usize = 64 << 10;

fn run_all() {
    for (_, _, mut turn) in cases() {
        // Warm up: one-time initialisation and first-time allocations are not counted.
        turn();
        counting_begins();
        turn();
        counting_ends();
    }
}

/// Valgrind recognises these two functions by their names. When they are called, it writes the
/// counts so far to a file.
#[inline(never)]
fn counting_begins() {
    black_box("begin");
}

#[inline(never)]
fn counting_ends() {
    black_box("end");
}

/// Returns the number of instructions of each case.
fn count() -> Vec<(String, u64)> {
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let own = env::current_exe().expect("we run");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-before=*counting_begins*"])
        .arg("--dump-before=*counting_ends*")
        .arg(format!("--callgrind-out-file={}", folder.path().join("counted").display()))
        .arg(own)
        .arg("--under-valgrind")
        .output()
        .expect("valgrind is needed: `apt-get install valgrind`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let mut turns = Vec::new();
    for number in 1.. {
        let Ok(text) = fs::read_to_string(folder.path().join(format!("counted.{number}"))) else {
            break;
        };
        if text
            .lines()
            .any(|line| line.starts_with("desc: Trigger:") && line.contains("counting_ends"))
        {
            let total = text.lines().find_map(|line| line.strip_prefix("totals:"));
            let total = total.and_then(|total| total.trim().parse::<u64>().ok());
            turns.push(total.expect("each dump has a sum"));
        }
    }
    let cases = cases();
    assert_eq!(cases.len(), turns.len(), "{said}");
    cases.into_iter().zip(turns).map(|((name, times, _), total)| (name, total / times)).collect()
}

/// Returns the environment that the figures depend on, apart from the code.
fn circumstances() -> String {
    let said = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output();
        let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    };
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let mut text = said(&rustc, "--version");
    for (program, argument) in [("valgrind", "--version"), ("getconf", "GNU_LIBC_VERSION")] {
        let _ = write!(text, ", {}", said(program, argument));
    }
    let avx2 = fs::read_to_string(Path::new("/proc/cpuinfo")).unwrap_or_default().contains(" avx2");
    let _ = write!(text, ", {}{}", env::consts::ARCH, if avx2 { " with AVX2" } else { "" });
    text
}

fn write(circumstances: &str, counted: &[(String, u64)]) -> String {
    let mut text = format!("{circumstances}\n");
    for (name, count) in counted {
        let _ = writeln!(text, "{count:>12}  {name}");
    }
    text
}

fn read(text: &str) -> (String, Vec<(String, u64)>) {
    let (circumstances, rest) = text.split_once('\n').unwrap_or_default();
    let known = rest.lines().filter_map(|line| {
        let (count, name) = line.trim_start().split_once("  ")?;
        Some((name.to_string(), count.parse().ok()?))
    });
    (circumstances.to_string(), known.collect())
}
