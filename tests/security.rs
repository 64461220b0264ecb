//! The page on security only names files and steps of `.ci/run` that exist.
#![allow(clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../src/docs/security.md");

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
