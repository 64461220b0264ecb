//! The page on security only names files and steps of `.ci/run` that exist, and the numbers of tests
//! in it and in the page with figures are those of the repository.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../src/docs/security.md");
const FIGURES: &str = include_str!("../src/docs/figures.md");
const BOUNDS: &str = include_str!("../src/docs/bounds.md");

#[test]
fn files_and_steps_in_the_security_page_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code = PAGE.split('`').skip(1).step_by(2);
    let files: Vec<_> = code
        .filter(|it| ["tests/", ".ci/", "examples/"].iter().any(|at| it.starts_with(at)))
        .collect();
    assert!(files.len() > 12, "{files:?}");
    for file in files {
        assert!(root.join(file).exists(), "{file} does not exist");
    }

    let run = fs::read_to_string(root.join(".ci/run"));
    let run = run.expect(".ci/run is in the repository, not in the package");
    let table = PAGE.lines().filter(|line| line.starts_with("| "));
    let steps: Vec<_> = table.flat_map(|line| line.split('"').skip(1).step_by(2)).collect();
    assert!(steps.len() > 5, "{steps:?}");
    for step in steps {
        let names = [format!(" {step} "), format!(" '{step}' ")];
        let is_step = |line: &str| {
            let name = line.strip_prefix("step").or_else(|| line.strip_prefix("beside"));
            name.is_some_and(|name| names.iter().any(|it| name.starts_with(it)))
        };
        assert!(run.lines().any(is_step), "no step `{step}`");
    }
}

#[test]
fn numbers_of_tests_in_the_pages_are_those_of_the_repository() {
    let targets = files("fuzz/fuzz_targets", "rs").len();
    for (page, row, number) in [
        (PAGE, "`tests/dialogues`", format!("{} dialogues", dialogues())),
        (PAGE, "`tests/bounds`", format!("{} bounds", bounds())),
        (PAGE, "\"linear time\"", format!("{} shapes", shapes())),
        (PAGE, "\"fuzzing\"", format!("{targets} targets")),
        (FIGURES, "| dialogues;", format!("| {} |", dialogues())),
        (FIGURES, "| bounds;", format!("| {} |", bounds())),
    ] {
        let line = page.lines().find(|line| line.starts_with('|') && line.contains(row));
        let line = line.unwrap_or_else(|| panic!("no row {row}"));
        assert!(line.contains(&format!(" {number}")), "expected {number} in {line}");
    }
}

fn dialogues() -> usize {
    files("tests/dialogues", "dialogue").len()
}

/// Returns the number of rows in the tables of bounds. They have five cells and begin with the name
/// of a test.
fn bounds() -> usize {
    let is_bound = |line: &&str| line.starts_with("| `") && line.matches('|').count() == 6;
    BOUNDS.lines().filter(is_bound).count()
}

/// Returns the number of input shapes of `.ci/linear`: values of `Shape`, and lines of the macros
/// that make them.
fn shapes() -> usize {
    let texts =
        files(".ci/linear/src", "rs").into_iter().map(|file| fs::read_to_string(file).unwrap());
    let is_shape = |line: &str| {
        let line = line.trim_start();
        let is_value = line.contains("Shape { name: \"") || line.starts_with("shape!(\"");
        // `"NAME", BEGINNING, |SIZE| …` in `mails!`.
        is_value || line.starts_with('"') && line.contains("\", ")
    };
    texts.map(|text| text.lines().filter(|line| is_shape(line)).count()).sum()
}

/// Returns the files in a folder whose names end like this.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).expect("the folder is in the repository");
    let files = entries.map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|it| it == extension)).collect()
}
