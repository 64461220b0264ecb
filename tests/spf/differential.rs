//! Random policies, evaluated by us and by pyspf. `pyspf.py` holds the list of explanations: for
//! each, a correction of pyspf with the paragraph of the RFC. Where the results differ, pyspf with
//! corrections must agree with us.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use nobounce::authentication::{Spf, spf};
use serde_json::Value;

use crate::policies::{Case, Dice};

/// Number of cases.
const CASES: usize = 10_000;

#[test]
#[ignore = "needs pyspf: see .ci/programs/spf.sh"]
fn random_policies_have_the_results_of_pyspf() {
    let seed = std::env::var("NOBOUNCE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/spf/pyspf.py");
    let mut python = Command::new("/usr/bin/python3")
        .args([program, &crate::variable("NOBOUNCE_PYSPF")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Debian's python3");
    let mut questions = python.stdin.take().unwrap();
    let mut answers = BufReader::new(python.stdout.take().unwrap()).lines();

    let mut dice = Dice(seed);
    let (mut results, mut reasons) = (BTreeMap::new(), BTreeMap::new());
    let (mut differing, mut unexplained) = (0, Vec::new());
    for _ in 0..CASES {
        let case = Case::new(dice.next());
        let evaluation = Spf::new(case.client, case.helo, &case.sender);
        let ours = pollster::block_on(spf(&case, evaluation));
        let question = case.to_json(ours.result.as_str());
        writeln!(questions, "{question}").unwrap();
        let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        *results.entry(ours.result.as_str()).or_insert(0) += 1;
        let Some(because) = answer["because"].as_array() else {
            unexplained.push(format!("{question}\nours: {ours}\ntheirs: {answer}\n"));
            continue;
        };
        differing += usize::from(!because.is_empty());
        for reason in because {
            *reasons.entry(reason.as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    drop(questions);
    assert!(python.wait().unwrap().success());
    println!("seed {seed}: {CASES} cases: {results:?}");
    println!("{differing} explained differences: {reasons:?}; {} unexplained", unexplained.len());
    unexplained.truncate(5);
    assert!(unexplained.is_empty(), "\n{}", unexplained.join("\n"));
    for result in ["none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"] {
        assert!(results.get(result).is_some_and(|count| *count > 50), "few cases of {result}");
    }
}
