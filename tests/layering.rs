//! Holds every file of the crate to the layers of the architecture, to having no sockets and no
//! clock, and to a length that can be read in one go.
//!
//! Test modules are held to the layers too, so that each layer can be tested with what is below it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first, each with its modules. A module may use its own layer and the ones
/// below. A new module is placed here, or the test fails.
const LAYERS: &[(&str, &[&str])] = &[
    ("wire", &["wire"]),
    (
        "words",
        &[
            "capabilities",
            "conduct",
            "deadline",
            "envelope",
            "header",
            "host",
            "message",
            "network",
            "outcome",
            "peer",
            "verdict",
        ],
    ),
    ("machines", &["onward", "session"]),
    // The trait alone: panels and scorers need its timers and connections, the edges supply them.
    // DNS is asked through it by both.
    ("runtime", &["dns", "rehearsal", "runtime", "unwind"]),
    ("policy", &["breaker", "opinion", "panel", "score", "scorer", "scorers", "store", "tally"]),
    (
        "edges",
        &[
            "admission",
            "docs",
            "driver",
            "fuzzing",
            "gate",
            "naming",
            "observer",
            "relay",
            "tarpit",
            "tls",
            "transcript",
        ],
    ),
];

/// Layers that may ask what time it is.
const CLOCKS: &[&str] = &["runtime", "edges"];

/// What no file of the crate may name: sockets and runtimes are the caller's.
const FORBIDDEN: &[&str] =
    &["TcpListener", "TcpStream", "UdpSocket", "UnixStream", "async_std", "smol", "tokio"];

/// Lines that a file may have.
const LENGTH: usize = 500;

/// Files that may be longer, each with the reason.
const LONG: &[(&str, &str)] = &[];

#[test]
fn every_file_keeps_to_the_architecture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 10, "only {} files under {}", files.len(), root.display());

    let faults: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let name = file.strip_prefix(&root).unwrap().to_str().unwrap();
            faults(name, &fs::read_to_string(file).unwrap())
        })
        .collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));

    for (name, _) in LONG {
        assert!(files.contains(&root.join(name)), "{name} is listed as long and is not there");
    }
}

#[test]
fn the_check_finds_what_it_is_for() {
    let cases = [
        // file, text, the fault (none: the text is right)
        ("session.rs", "use crate::verdict::Verdict;", None),
        ("session.rs", "use crate::onward::Onward;", None),
        ("wire/mailbox.rs", "use crate::wire::command::Command;", None),
        ("panel.rs", "use crate::runtime::Runtime;", None),
        ("relay/smtp.rs", "use super::Relay;\nuse crate::onward::Onward;", None),
        ("lib.rs", "pub use session::Session;\nmod driver;", None),
        ("peer.rs", "/// See [`Onward`](crate::Onward).\n// or crate::driver", None),
        ("peer.rs", "pub(crate) struct Peer;", None),
        ("driver.rs", "let now = Instant::now();", None),
        ("session.rs", "#[cfg(test)]\nmod tests {\n    let now = Instant::now();\n}", None),
        ("session/tests.rs", "let now = Instant::now();", None),
        ("session.rs", "use crate::driver::serve;", Some("machines must not use edges (driver)")),
        ("verdict.rs", "use crate::panel::Panel;", Some("words must not use policy (panel)")),
        ("wire/line.rs", "fn f(p: crate::peer::Peer) {}", Some("wire must not use words (peer)")),
        ("session.rs", "use crate::runtime::X;", Some("machines must not use runtime (runtime)")),
        (
            "session.rs",
            "use crate::{\n    verdict::{Verdict, Stage},\n    driver::{serve},\n};",
            Some("machines must not use edges (driver)"),
        ),
        (
            "session.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::relay::Relay;\n}",
            Some("machines must not use edges (relay)"),
        ),
        ("session.rs", "use crate::nowhere::X;", Some("nowhere is in no layer")),
        ("session.rs", "use crate::Peer;", Some("Peer is in no layer")),
        ("nowhere.rs", "", Some("nowhere is in no layer")),
        ("nowhere/deep.rs", "", Some("nowhere is in no layer")),
        ("session.rs", "use super::driver;", Some("super leads to the root of the crate")),
        ("wire/mod.rs", "use super::driver;", Some("super leads to the root of the crate")),
        ("wire/line.rs", "use super::super::driver;", Some("super::super hides a layer")),
        ("driver.rs", "use std::net::TcpStream;", Some("names TcpStream")),
        ("driver.rs", "use std::net::{SocketAddr, TcpStream};", Some("names TcpStream")),
        ("driver.rs", "tokio::spawn(x);", Some("names tokio")),
        ("runtime.rs", "use smol::Timer;", Some("names smol")),
        ("session.rs", "let t = Instant::now(); // why", Some("asks what time it is")),
        ("panel.rs", "let t = std::time::SystemTime::now();", Some("asks what time it is")),
    ];
    for (file, text, expected) in cases {
        let found = faults(file, text);
        match expected {
            None => assert!(found.is_empty(), "{file}: {text}\n{found:?}"),
            Some(fault) => assert_eq!(found, [format!("{file}: {fault}")], "{text}"),
        }
    }

    let long = "\n".repeat(LENGTH + 1);
    assert_eq!(faults("peer.rs", &long), ["peer.rs: has 501 lines, 500 are allowed"]);
    assert!(faults("peer.rs", &"\n".repeat(LENGTH)).is_empty());
}

/// What is wrong with a file: its path below `src/`, and its text.
fn faults(file: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let code: Vec<&str> = text.lines().map(without_comment).collect();
    let whole = code.join("\n");

    let lines = text.lines().count();
    if lines > LENGTH && !LONG.iter().any(|(long, _)| *long == file) {
        faults.push(format!("has {lines} lines, {LENGTH} are allowed"));
    }
    for name in FORBIDDEN {
        if words(&whole).any(|word| word == *name) {
            faults.push(format!("names {name}"));
        }
    }
    if file != "lib.rs" {
        arrows(file, &code, &mut faults);
    }
    faults.into_iter().map(|fault| format!("{file}: {fault}")).collect()
}

/// What is wrong with what a module uses.
fn arrows(file: &str, code: &[&str], faults: &mut Vec<String>) {
    let module = file.split('/').next().unwrap_or(file).trim_end_matches(".rs");
    let Some(own) = layer(module) else {
        return faults.push(format!("{module} is in no layer"));
    };
    for used in used_modules(&code.join("\n")) {
        match layer(&used) {
            None => faults.push(format!("{used} is in no layer")),
            Some(other) if other > own => {
                let [own, other] = [own, other].map(|at| LAYERS[at].0);
                faults.push(format!("{own} must not use {other} ({used})"));
            }
            Some(_) => {}
        }
    }
    if code.iter().any(|line| line.contains("super::super")) {
        faults.push("super::super hides a layer".into());
    }
    let top = !file.contains('/') || file == format!("{module}/mod.rs");
    if top && code.iter().any(|line| !line.starts_with(' ') && line.contains("super::")) {
        faults.push("super leads to the root of the crate".into());
    }
    let clock = |line: &&str| line.contains("Instant::now") || line.contains("SystemTime::now");
    if !CLOCKS.contains(&LAYERS[own].0) && shipped(file, code).iter().any(clock) {
        faults.push("asks what time it is".into());
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, modules)| modules.contains(&module))
}

/// The module that each path beginning with `crate::` leads to, groups taken apart.
fn used_modules(code: &str) -> Vec<String> {
    let paths = code.split("crate::").skip(1).flat_map(|rest| match rest.strip_prefix('{') {
        Some(group) => members(group),
        None => vec![rest.to_string()],
    });
    paths.filter_map(|path| words(&path).next().map(String::from)).collect()
}

/// The members of a `{…}` group whose opening brace was taken off, without what is nested in them.
fn members(group: &str) -> Vec<String> {
    let mut members = vec![String::new()];
    let mut depth = 0;
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            '{' => depth += 1,
            ',' if depth == 0 => members.push(String::new()),
            _ if depth == 0 => members.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    members
}

/// The code of a file that is no test: up to its inline test module, if it has one.
fn shipped<'c, 't>(file: &str, code: &'c [&'t str]) -> &'c [&'t str] {
    if file.ends_with("tests.rs") || file.contains("/tests/") {
        return &[];
    }
    let inline = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].ends_with('{');
    let end = code.windows(2).position(inline).unwrap_or(code.len());
    &code[..end]
}

/// The line without the comment at its end. A `//` in a string cuts it too, which hides little.
fn without_comment(line: &str) -> &str {
    line.find("//").map_or(line, |at| &line[..at])
}

/// Identifiers and keywords.
fn words(code: &str) -> impl Iterator<Item = &str> {
    let parts = code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    parts.filter(|word| !word.is_empty())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
