//! `front_door --record` and `front_door replay`: recordings of real sessions, and what another
//! configuration would have done with them.

#![allow(clippy::disallowed_methods, reason = "a test of a process, in real time")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::GTUBE;
use super::gate::binary;
use super::log::{front_door, greet, mail};
use super::server::Onward;
use super::why::{normal, told};

const PAGE: &str = include_str!("../../src/docs/replaying.md");

/// The configuration of the page.
const NEW: &str = "[thresholds]\nrefuse = 8\n\n[gtube]\n[structure]\n[behaviour]\n[greylist]\n\n[weights.gtube]\nGTUBE = 7.5\n";

/// Records three mails, two of which are refused. Returns the recording.
fn record(folder: &Path) -> PathBuf {
    let path = folder.join("mail.recording");
    let onward = Onward::start(false);
    let config = folder.join("old.toml");
    let text = "[gtube]\n[structure]\n[behaviour]\n[record]\nsample = \"all\"\n";
    fs::write(&config, text).unwrap();
    let options = ["--config", config.to_str().unwrap(), "--record", path.to_str().unwrap()];
    let (mut gate, _) = front_door(&onward, folder, &options);
    for content in [GTUBE, "Subject: hello\r\n\r\nHello!", GTUBE] {
        let mut client = greet(gate.address);
        mail(&mut client, &["b@example.org"], content);
        client.say("QUIT");
    }
    gate.stop();
    path
}

fn replay(recording: &Path, options: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary("front_door"));
    command.arg("replay").arg(recording).args(options).args(["--host", "mx.example.org"]);
    told(&command.output().unwrap())
}

/// Replaces the names of sessions, times and widths of numbers.
fn plain(text: &str) -> String {
    let is_id = |word: &&str| word.matches('-').count() == 2 && word.ends_with(".1");
    let id = text.split_whitespace().find(is_id);
    let gate = id.and_then(|id| id.rsplit_once('-')).map_or("none", |(gate, _)| gate);
    normal(text, gate)
}

#[test]
fn the_replay_on_the_page_is_a_real_one() {
    let folder = tempfile::tempdir().unwrap();
    let recording = record(folder.path());
    let new = folder.path().join("new.toml");
    fs::write(&new, NEW).unwrap();
    assert!(PAGE.contains(NEW.trim_end()), "the page shows the configuration");
    let new = new.to_str().unwrap();
    let (code, output, errors) = replay(&recording, &["--config", new]);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{output}");
    let (_, page) =
        PAGE.split_once("$ front_door replay mail.recording --config new.toml\n").unwrap();
    let (page, _) = page.split_once("```").unwrap();
    assert_eq!(plain(&output), plain(page), "\n{output}");
}

#[test]
fn exit_codes_of_a_replay_are_for_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let recording = record(folder.path());
    let mode = fs::metadata(&recording).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o640);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let old = file("same.toml", "[gtube]\n[structure]\n[behaviour]\n");
    let strict = file(
        "strict.toml",
        "[thresholds]\ntag = 0.1\nrefuse = 0.1\n[gtube]\n[structure]\n[behaviour]\n[weights.gtube]\nGTUBE = 0\n",
    );
    let wrong = file("wrong.toml", "[gtbe]\n");
    let damaged = file("damaged", "not a recording\n");
    let cut = fs::read(&recording).unwrap();
    let cut = file("cut", std::str::from_utf8(&cut[..cut.len() / 2]).unwrap());
    for (options, code, told) in [
        (&["--config", &*old, "--fail-on", "*->*"][..], 0, "pass                 1"),
        (&["--config", &strict, "--fail-on", "pass->refuse"], 0, "refuse               2"),
        (
            &["--config", &strict, "--fail-on", "refuse->pass"],
            1,
            "gtube:GTUBE 1000.00 before, 0.00 now",
        ),
        (&["--config", &strict, "--against", &old, "--fail-on", "refuse->*"], 1, "refuse->pass"),
        (&["--config", &old, "--against", &strict, "--fail-on", "pass->refuse"], 1, "pass->refuse"),
        (&["--reject-at", "2000", "--tag-at", "1"], 0, "refuse->tag"),
        (
            &["--protocol", "--trust", "127.0.0.1"],
            0,
            "3 are the same, 0 differ, 0 cannot be replayed",
        ),
        (
            &["--protocol", "--trust", "127.0.0.1", "--own-network", "198.51.100.0/24"],
            1,
            "# found instead of the next line: ",
        ),
        (&["--fail-on", "pass"], 64, "expected two of pass, tag, defer, refuse"),
        (&["--config", &wrong], 78, "wrong.toml:1"),
        (&["--against", "/no/such/file"], 78, "/no/such/file"),
    ] {
        let (exit, output, errors) = replay(&recording, options);
        assert_eq!(exit, Some(code), "{options:?}: {output}{errors}");
        assert!(output.contains(told) || errors.contains(told), "{options:?}: {output}{errors}");
    }
    for (path, code, told) in [
        (&*damaged, 66, "line 1: not a line of a recording"),
        ("/no/such/file", 66, "expected a recording written with --record"),
        (&cut, 0, "transactions in"),
    ] {
        let (exit, output, errors) = replay(Path::new(path), &[]);
        assert_eq!(exit, Some(code), "{path}: {output}{errors}");
        assert!(output.contains(told) || errors.contains(told), "{path}: {output}{errors}");
    }
}

#[test]
fn a_full_recording_is_renamed_and_the_oldest_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mail.recording");
    let onward = Onward::start(false);
    let config = folder.path().join("small.toml");
    let text = format!(
        "[gtube]\n[record]\nfile = {path:?}\nsample = \"all\"\nmax_file = 6000\nkeep = 2\n"
    );
    fs::write(&config, text).unwrap();
    let options = ["--config", config.to_str().unwrap()];
    let (mut gate, _) = front_door(&onward, folder.path(), &options);
    for _ in 0..12 {
        let mut client = greet(gate.address);
        mail(&mut client, &["b@example.org"], "Subject: hello\r\n\r\nHello!");
        client.say("QUIT");
    }
    gate.stop();
    let sizes = |name: &str| fs::metadata(folder.path().join(name)).map(|it| it.len()).ok();
    for name in ["mail.recording", "mail.recording.1", "mail.recording.2"] {
        let size = sizes(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert!((1..=6_000).contains(&size), "{name}: {size}");
        let (code, output, errors) = replay(&folder.path().join(name), &[]);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{output}");
    }
    assert_eq!(sizes("mail.recording.3"), None);
}

#[test]
fn a_recording_with_two_files_or_plain_contents_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (table, more, told) in [
        (
            "file = \"a\"",
            &["--record", "b"][..],
            "--record b: `record.file` is a; expected only one of them",
        ),
        (
            "content = \"whole\"",
            &["--record", "b"],
            "one.toml:1: record: a recording of headers or whole contents",
        ),
        ("file = \"-\"", &[], "--record -: this is standard output; expected a file"),
        ("sample = 2", &[], "a share from 0 to 1"),
        ("sample = \"some\"", &[], "one.toml:2: record.sample: "),
        ("content = \"some\"", &[], "expected \"hash\", \"header\", \"none\" or \"whole\""),
        ("keep = 0", &[], "one.toml:2: record.keep: "),
    ] {
        let path = folder.path().join("one.toml");
        fs::write(&path, format!("[record]\n{table}\n")).unwrap();
        let mut command = Command::new(binary("front_door"));
        command.args(["--check", "--config"]).arg(&path).args(more).current_dir(folder.path());
        let (code, output, errors) = super::why::told(&command.output().unwrap());
        assert_eq!(code, Some(1), "{table}: {output}{errors}");
        assert!(errors.contains(told), "{table}: {errors}");
    }
}
