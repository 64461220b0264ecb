//! Plays every dialogue of `tests/dialogues/` in several chunkings, and makes sure that the player
//! would notice if one were wrong.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use nobounce::{Chunking, EndCause, Refusal, Subject, Transcript, TranscriptError, Verdict};

/// How many random chunkings each dialogue is played in.
const SEEDS: u64 = 16;

fn chunkings() -> impl Iterator<Item = Chunking> {
    let random = (0..SEEDS).map(Chunking::Random);
    [Chunking::Whole, Chunking::Octets].into_iter().chain(random)
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "dialogue"));
    files.sort();
    files
}

fn play(text: &str) -> Result<(), String> {
    let transcript = Transcript::parse(text).map_err(|error| error.to_string())?;
    for chunking in chunkings() {
        transcript.play(chunking).map_err(|error| format!("{error} ({chunking:?})"))?;
    }
    Ok(())
}

#[test]
fn every_dialogue_is_the_same_in_every_chunking() {
    let files = files();
    assert!(files.len() >= 60, "only {} dialogues", files.len());
    let faults: Vec<_> = files
        .iter()
        .filter_map(|file| {
            let name = file.file_name().unwrap().to_string_lossy();
            let fault = play(&fs::read_to_string(file).unwrap()).err()?;
            Some(format!("{name}: {fault}"))
        })
        .collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_dialogue_says_what_it_is_about() {
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# "), "{} begins without a comment", file.display());
    }
}
