//! The files of the log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use crate::output::LineEnd;

/// Returns the number of the standard descriptor that this path leads to: `-`, `/dev/stdout`, or a
/// symbolic link to it, as in container images.
pub(super) fn standard_descriptor(path: &Path) -> Option<u8> {
    let mut path = path.to_owned();
    for _ in 0..8 {
        match path.to_str()? {
            "-" | "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => return Some(1),
            "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => return Some(2),
            _ => path = path.parent()?.join(fs::read_link(&path).ok()?),
        }
    }
    None
}

/// Returns whether `path` names standard output or standard error.
pub(crate) fn is_standard_output(path: &Path) -> bool {
    standard_descriptor(path).is_some()
}

/// Checks that a file is empty or that its first line is one of this log, so that no other file is
/// damaged.
pub(crate) fn is_ours(path: &Path) -> Result<(), String> {
    if !fs::metadata(path).is_ok_and(|it| it.is_file()) {
        return Ok(());
    }
    let mut begin = Vec::new();
    // A user may be allowed to write the log but not to read it.
    let Ok(file) = File::open(path) else { return Ok(()) };
    file.take(64).read_to_end(&mut begin).map_err(|error| error.to_string())?;
    let line = begin.trim_ascii_start();
    // A line of text has a time stamp or none.
    let is_text = |line: &[u8]| {
        line.starts_with(b"id=") || line.starts_with(b"client=") || line.starts_with(b"front_door:")
    };
    let behind = line.iter().position(|octet| *octet == b' ').map_or(line, |at| &line[at + 1..]);
    match line {
        [] | [b'{', ..] => Ok(()),
        _ if is_text(line) || line.starts_with(b"2") && is_text(behind) => Ok(()),
        _ => Err("this file is not a log of front_door".into()),
    }
}

/// Opens a log file for appending and returns whether its last line is complete. Only the owner
/// may write it, and only the group may read it.
pub(crate) fn append(option: &str, path: &Path) -> io::Result<(File, LineEnd)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640);
    // Opening a FIFO for writing only would block until it has a reader.
    let kind = fs::metadata(path).map(|it| it.file_type()).ok();
    if kind.is_some_and(|kind| kind.is_fifo()) {
        options.read(true);
    }
    let said = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!(
                "{option}: {}: {error}; expected a file that the user of front_door may write, or `-` for standard output",
                path.display()
            ),
        )
    };
    let end = if kind.is_some_and(|kind| kind.is_file()) { last_line(path) } else { None };
    Ok((options.open(path).map_err(said)?, end.unwrap_or(LineEnd::Complete)))
}

/// Returns the state of a file's last line. A crash or a full disk may have truncated its last
/// line.
fn last_line(path: &Path) -> Option<LineEnd> {
    let (mut file, mut last) = (File::open(path).ok()?, [0]);
    file.seek(SeekFrom::End(-1)).ok()?;
    file.read_exact(&mut last).ok()?;
    Some(if last == *b"\n" { LineEnd::Complete } else { LineEnd::Missing })
}
