//! Checks every file of the crate: the layers of the architecture, no sockets and no clock outside
//! of the edges, and a limit on its length.
//!
//! Test modules must follow the layers too, so that each layer can be tested with the layers below
//! it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

/// The layers with their modules, lowest first. A module may use its own layer and the ones below.
/// A new module must be added here, or the test fails.
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
    // Only the trait: panels and scorers need its timers and connections, and the edges implement
    // it. Both use it to query DNS.
    ("runtime", &["dns", "rehearsal", "runtime", "unwind"]),
    (
        "policy",
        &[
            "authentication",
            "breaker",
            "opinion",
            "panel",
            "score",
            "scorer",
            "scorers",
            "store",
            "tally",
        ],
    ),
    // The bookkeeping of a session, for the gate and for the testing kit.
    ("record", &["record"]),
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
            "recording",
            "relay",
            "replay",
            "tarpit",
            "tls",
            "testing",
        ],
    ),
    ("adapters", &["adapters"]),
];

/// The runtime adapters: the only files that may name sockets and runtimes. The files in an
/// adapter's folder belong to it.
const ADAPTERS: &[&str] = &["runtime/smol", "runtime/tokio"];

/// Other places that may name an adapter: to declare it and its feature.
const DECLARED: &[&str] = &[
    "feature = \"smol\"",
    "feature = \"tokio\"",
    "pub mod smol;",
    "pub mod tokio;",
    "pub use runtime::smol;",
    "pub use runtime::tokio;",
];

/// Layers that may read the clock.
const CLOCKS: &[&str] = &["runtime", "edges"];

/// Sockets and runtimes, which no other file of the crate may name. They belong to the caller.
const FORBIDDEN: &[&str] = &[
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "async_signal",
    "async_std",
    "smol",
    "tokio",
];

/// Maximum number of lines in a file.
const LENGTH: usize = 500;

#[test]
fn every_file_follows_the_layers() {
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
}

#[test]
fn layering_check_finds_violations() {
    let cases = [
        // file, text, the fault (none: the text is correct)
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
        ("runtime.rs", "#[cfg(feature = \"tokio\")]\npub mod tokio;", None),
        ("runtime.rs", "use tokio::Tokio;", Some("names tokio")),
        ("runtime/tokio.rs", "use crate::driver::Serve;\nuse tokio::net::TcpStream;", None),
        ("runtime/smol/listener.rs", "use smol::Timer;", None),
        ("runtime/segments.rs", "use smol::Timer;", Some("names smol")),
        ("runtime/tokio_like.rs", "use tokio::spawn;", Some("names tokio")),
        (
            "runtime/segments.rs",
            "use crate::driver::Serve;",
            Some("runtime must not use edges (driver)"),
        ),
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

/// Returns the faults of a file, given its path below `src/` and its text.
fn faults(file: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let code: Vec<&str> = text.lines().map(without_comment).collect();
    let whole = code.join("\n");

    let lines = text.lines().count();
    if lines > LENGTH {
        faults.push(format!("has {lines} lines, {LENGTH} are allowed"));
    }
    let outside = DECLARED.iter().fold(whole, |code, declared| code.replace(declared, ""));
    for name in FORBIDDEN {
        if !is_adapter(file) && words(&outside).any(|word| word == *name) {
            faults.push(format!("names {name}"));
        }
    }
    if file != "lib.rs" {
        arrows(file, &code, &mut faults);
    }
    faults.into_iter().map(|fault| format!("{file}: {fault}")).collect()
}

/// Adds the faults in a module's dependencies.
fn arrows(file: &str, code: &[&str], faults: &mut Vec<String>) {
    let module = match is_adapter(file) {
        true => "adapters",
        false => file.split('/').next().unwrap_or(file).trim_end_matches(".rs"),
    };
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

fn is_adapter(file: &str) -> bool {
    ADAPTERS.iter().any(|adapter| {
        file.strip_prefix(adapter).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    })
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, modules)| modules.contains(&module))
}

/// Returns the module of each path that begins with `crate::`, with groups expanded.
fn used_modules(code: &str) -> Vec<String> {
    let paths = code.split("crate::").skip(1).flat_map(|rest| match rest.strip_prefix('{') {
        Some(group) => members(group),
        None => vec![rest.to_string()],
    });
    paths.filter_map(|path| words(&path).next().map(String::from)).collect()
}

/// Returns the members of a `{…}` group after its opening brace, without nested groups.
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

/// Returns the code of a file without its inline test module.
fn shipped<'c, 't>(file: &str, code: &'c [&'t str]) -> &'c [&'t str] {
    if file.ends_with("tests.rs") || file.contains("/tests/") {
        return &[];
    }
    let inline = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].ends_with('{');
    let end = code.windows(2).position(inline).unwrap_or(code.len());
    &code[..end]
}

/// Returns the line without a trailing comment. A `//` in a string also cuts the line, which hides
/// little.
fn without_comment(line: &str) -> &str {
    line.find("//").map_or(line, |at| &line[..at])
}

/// Returns identifiers and keywords.
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

// --- import cycles ---

/// Modules of the edges, lowest first. Each may use the previous lines and its own line.
const EDGES: &[&[&str]] =
    &[&["admission", "relay", "tarpit", "tls"], &["observer"], &["gate"], &["driver"]];

#[test]
fn imports_have_no_cycle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let read = |file: &PathBuf| {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap().to_string();
        let text = fs::read_to_string(file).unwrap();
        (name, text)
    };
    let texts: Vec<(String, String)> = files.iter().map(read).collect();
    let imports = imports(&texts);
    let found = in_loops(&imports);
    assert!(found.is_empty(), "these imports make loops:\n{}\n", found.join("\n"));

    let place = |file: &str| {
        let module = file.split('/').next().unwrap().trim_end_matches(".rs");
        EDGES.iter().position(|line| line.contains(&module))
    };
    for (user, used) in &imports {
        let (Some(own), Some(other)) = (place(user), place(used)) else { continue };
        assert!(own >= other, "{user} must not use {used}");
    }
}

#[test]
fn import_cycle_is_found() {
    let found = |files: &[(&str, &str)]| {
        let owned = |(file, text): &(&str, &str)| ((*file).to_string(), (*text).to_string());
        in_loops(&imports(&files.iter().map(owned).collect::<Vec<_>>()))
    };
    let two = [
        ("a/mod.rs", "mod b;\nmod c;"),
        ("a/b.rs", "use super::c::C;"),
        ("a/c.rs", "use crate::{x::Y, a::{b::{B, D}}};"),
    ];
    assert_eq!(found(&two), ["a/b.rs -> a/c.rs", "a/c.rs -> a/b.rs"]);
    let three = [
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "fn f() { crate::c::f() }"),
        ("c.rs", "use crate::a::A;"),
        ("d.rs", "use crate::a::A;"),
        ("e.rs", ""),
    ];
    assert_eq!(found(&three), ["a.rs -> b.rs", "b.rs -> c.rs", "c.rs -> a.rs"]);
    // A module and its parent, and imports in tests only.
    let none = [
        ("a.rs", "mod b;\nuse b::B;\n#[cfg(test)]\nmod tests {\n    use crate::c::C;\n}"),
        ("a/b.rs", "use super::A;"),
        ("a/tests.rs", "use crate::c::C;"),
        ("c.rs", "use crate::a::A; // crate::d"),
        ("d.rs", "use crate::c::C;"),
    ];
    assert!(found(&none).is_empty());
}

/// Returns the imports between files, except those between a module and its parent.
fn imports(texts: &[(String, String)]) -> Vec<(String, String)> {
    let modules: Vec<(Vec<&str>, &str)> =
        texts.iter().map(|(file, _)| (module_of(file), file.as_str())).collect();
    let mut imports = Vec::new();
    for (file, text) in texts.iter().filter(|(file, _)| file != "lib.rs") {
        let own = module_of(file);
        let code: Vec<&str> = text.lines().map(without_comment).collect();
        let code = shipped(file, &code).join("\n");
        for path in paths(&code) {
            let mut base = if path[0] == "crate" { Vec::new() } else { own.clone() };
            let up = path.iter().take_while(|segment| *segment == "super").count();
            base.truncate(own.len().saturating_sub(up));
            let rest =
                path.iter().map(String::as_str).filter(|it| *it != "crate" && *it != "super");
            base.extend(rest);
            let used = (1..=base.len())
                .rev()
                .find_map(|length| modules.iter().find(|(module, _)| *module == base[..length]));
            let Some((used, other)) = used else { continue };
            let is_parent =
                |one: &[&str], two: &[&str]| two.split_last().is_some_and(|it| it.1 == one);
            let import = (file.clone(), (*other).to_string());
            if *used != own
                && !is_parent(used, &own)
                && !is_parent(&own, used)
                && !imports.contains(&import)
            {
                imports.push(import);
            }
        }
    }
    imports
}

/// Returns the module in a file, as a path in the crate.
fn module_of(file: &str) -> Vec<&str> {
    let file = file.trim_end_matches(".rs");
    file.trim_end_matches("/mod").split('/').collect()
}

/// Returns every path that begins with `crate` or `super`, with groups expanded.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let is_start = !code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
            if is_start {
                let mut path = vec![start.trim_end_matches(':').to_string()];
                branches(&code[at + start.len()..], &mut path, &mut paths);
            }
        }
    }
    paths
}

/// Expands the paths of an import tree.
fn branches(rest: &str, path: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let rest = rest.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        let (mut depth, mut begin) = (0, 0);
        for (at, c) in group.char_indices() {
            let is_end = depth == 0 && (c == ',' || c == '}');
            if is_end && !group[begin..at].trim().is_empty() {
                branches(&group[begin..at], &mut path.clone(), paths);
            }
            match c {
                '}' if depth == 0 => return,
                '}' => depth -= 1,
                '{' => depth += 1,
                ',' if depth == 0 => begin = at + 1,
                _ => {}
            }
        }
        return;
    }
    let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    path.push(rest[..length].to_string());
    match rest[length..].strip_prefix("::") {
        Some(more) => branches(more, path, paths),
        None => paths.push(path.clone()),
    }
}

/// Returns the imports that are part of a cycle.
fn in_loops(imports: &[(String, String)]) -> Vec<String> {
    let leads_back = |(user, used): &&(String, String)| {
        let mut reached = vec![used];
        let mut next = 0;
        while let Some(&file) = reached.get(next) {
            next += 1;
            for (_, used) in imports.iter().filter(|(user, _)| user == file) {
                if !reached.contains(&used) {
                    reached.push(used);
                }
            }
        }
        reached.contains(&user)
    };
    let loops = imports.iter().filter(leads_back);
    let mut loops: Vec<String> = loops.map(|(user, used)| format!("{user} -> {used}")).collect();
    loops.sort();
    loops
}
