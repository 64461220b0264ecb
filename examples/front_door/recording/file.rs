//! The files of a recording. A full file is renamed, as logrotate does, and the oldest is removed.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, str};

use crate::config::record::FileLimits;
use crate::journal::append;
use crate::output::Output;

/// The current file of a recording, which a thread writes. The recorder passes one session at a
/// time.
pub(super) struct RecordingFile {
    path: PathBuf,
    limits: FileLimits,
    output: Output,
    errors: Output,
    /// The size of the file when all sessions so far are written.
    size: u64,
    /// Whether the last file is full and could not be renamed.
    is_stuck: bool,
}

impl RecordingFile {
    pub(super) fn open(path: &Path, limits: FileLimits, errors: &Output) -> io::Result<Self> {
        let (file, end) = append("--record", path)?;
        let size = file.metadata().map_or(0, |it| it.len());
        let name = path.display().to_string();
        let output = Output::start(&name, file, end, Some(errors.clone()), lost)?;
        let (path, errors) = (path.to_owned(), errors.clone());
        Ok(Self { path, limits, output, errors, size, is_stuck: false })
    }

    /// Opens the file again, after something else has renamed it.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let (file, end) = append("--record", &self.path)?;
        self.size = file.metadata().map_or(0, |it| it.len());
        self.output.replace(file, end);
        self.is_stuck = false;
        Ok(())
    }

    /// Waits for at most `patience` until all sessions are written.
    pub(super) fn finish(&self, patience: Duration) {
        self.output.finish(patience);
    }

    /// Renames the full file and opens a new one.
    fn rotate(&mut self) -> io::Result<()> {
        let missing_is_fine = |result: io::Result<()>| match result {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        };
        for number in (1..self.limits.keep).rev() {
            let (from, to) = (self.numbered(number), self.numbered(number + 1));
            missing_is_fine(fs::rename(from, to))?;
        }
        missing_is_fine(fs::rename(&self.path, self.numbered(1)))?;
        let (file, end) = append("--record", &self.path)?;
        self.output.replace(file, end);
        self.size = 0;
        Ok(())
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut name: OsString = self.path.clone().into();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Write for RecordingFile {
    /// Queues the lines of a session.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let length = lines.len() as u64;
        if self.size > 0 && self.size + length > self.limits.size {
            let rotated = self.rotate();
            if let (Err(error), false) = (&rotated, self.is_stuck) {
                let name = self.path.display();
                self.errors.report(format_args!(
                    "--record {name}: renaming the full file failed, sessions are not recorded: {error}"
                ));
            }
            self.is_stuck = rotated.is_err();
            rotated?;
        }
        let text = str::from_utf8(lines).map_err(|_| ErrorKind::InvalidData)?;
        self.output.line(text.trim_end_matches('\n'));
        self.size += length;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the line that reports the number of lost sessions. Readers skip it.
fn lost(sessions: u64) -> String {
    format!("{{\"kind\":\"lost\",\"sessions\":{sessions}}}")
}
