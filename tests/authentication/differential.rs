//! Mutated signed messages, verified by us, dkimpy and Mail::DKIM. Every difference must be in the list of
//! explanations.
//!
//! Needs Debian's libmail-dkim-perl, python3-dkim and python3-nacl; `.ci/run` installs them.

mod explanations;
mod mutations;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use nobounce::authentication::dkim::{SignatureResult, Verification};

use super::{Txt, verify};
use mutations::{Mail, Random};

/// Number of messages.
const MAILS: usize = 2_000;
/// The time of all verifications.
const NOW: u64 = 1_000_000_000;

/// Result of another implementation: `pass`, or why not.
type Said = BTreeMap<String, String>;

#[test]
#[ignore = "needs libmail-dkim-perl and python3-dkim: see .ci/run"]
fn dkimpy_and_mail_dkim_agree_or_the_difference_is_explained() {
    let seed = std::env::var("NOBOUNCE_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut random = Random::new(seed.unwrap_or(2_003));
    let folder = tempfile::tempdir().unwrap();
    let mails: Vec<Mail> = (0..MAILS).map(|at| Mail::random(&mut random, at)).collect();
    let mut records = String::new();
    for (at, mail) in mails.iter().enumerate() {
        fs::write(folder.path().join(format!("{at:05}.eml")), mail.text()).unwrap();
        if let Some(record) = &mail.record {
            records += &format!("{}\t{record}\n", mail.key_name);
        }
    }
    fs::write(folder.path().join("records"), records).unwrap();

    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/authentication");
    let dkimpy = said(Command::new("/usr/bin/python3").arg(tests.join("dkimpy.py")), folder.path());
    let perl = said(Command::new("perl").arg(tests.join("mail_dkim.pl")), folder.path());
    let mut explained: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut unexplained, mut passed) = (Vec::new(), 0);
    for (at, mail) in mails.iter().enumerate() {
        let text = mail.text();
        let ours = verify_one(&text, &mail.key_name, mail.record.as_deref());
        passed += usize::from(ours.result == SignatureResult::Pass);
        let [dkimpy, perl] = [&dkimpy, &perl].map(|said| &said[&format!("{at:05}")]);
        let agrees = |theirs: &str| (theirs == "pass") == (ours.result == SignatureResult::Pass);
        for (who, theirs, other) in [("dkimpy", dkimpy, perl), ("Mail::DKIM", perl, dkimpy)] {
            if agrees(theirs) {
                continue;
            }
            let is_alone = agrees(other) || other.contains("unsupported algorithm ed25519");
            match explanations::find(who, is_alone, mail, &text, &ours, theirs) {
                Some(explanation) => *explained.entry(explanation).or_default() += 1,
                None => unexplained.push(format!(
                    "{at}: {:?}: {who}: {theirs}; ours: {} {:?}\n{}\n{text}",
                    mail.mutations,
                    ours.result,
                    ours.reason,
                    mail.record.as_deref().unwrap_or("no record"),
                )),
            }
        }
    }
    println!("{MAILS} messages, {passed} of which pass; differences explained:");
    explained.iter().for_each(|(explanation, count)| println!("{count:>5}  {explanation}"));
    assert!((MAILS / 5..MAILS * 4 / 5).contains(&passed), "{passed} pass");
    let count = unexplained.len();
    unexplained.truncate(20);
    assert_eq!(count, 0, "unexplained:\n{}", unexplained.join("\n\n"));
}

fn verify_one(text: &str, name: &str, record: Option<&str>) -> Verification {
    let texts: Vec<&str> = record.into_iter().collect();
    // A changed selector or domain has no key.
    let signatures = nobounce::authentication::dkim::Signatures::read(&super::content(text));
    let mut records: Vec<Txt<'_>> = vec![(name, Some(&texts))];
    let names: Vec<String> = signatures.key_names().map(|name| name.to_string()).collect();
    records.extend(names.iter().filter(|it| *it != name).map(|it| (&**it, Some(&[][..]))));
    let results = verify(text, &records, NOW);
    assert_eq!(results.len(), 1, "{text}");
    results[0].clone()
}

fn said(command: &mut Command, folder: &Path) -> Said {
    let output = command.arg(folder).output().expect("the program starts: see .ci/run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let mut cells = line.splitn(3, '\t');
        let (file, _, said) = (cells.next()?, cells.next()?, cells.next()?);
        Some((file.to_owned(), said.to_owned()))
    };
    lines.lines().filter_map(line).collect()
}
