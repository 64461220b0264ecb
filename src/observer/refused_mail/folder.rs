//! The folder with copies of refused messages: two private files each, within limits.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::RefusedMailLimits;

/// The endings of the two files of a copy, and of a file that is being written.
const MESSAGE: &str = "eml";
const RECORD: &str = "json";
const UNFINISHED: &str = "unfinished";
/// Minimum interval between two listings of the folder. Files may be removed by others.
const LISTING: Duration = Duration::from_secs(60);

/// The folder, with its copies. The oldest is the first.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    copies: BTreeMap<(SystemTime, String), u64>,
    octets: u64,
    listed: SystemTime,
}

impl Folder {
    /// Opens the folder, and creates it if it does not exist.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let (copies, listed) = (BTreeMap::new(), SystemTime::UNIX_EPOCH);
        let mut folder = Self { path: path.to_owned(), copies, octets: 0, listed };
        folder.list()?;
        Ok(folder)
    }

    /// Writes a copy. Older copies are removed before, as the limits say.
    pub(super) fn keep(
        &mut self,
        reference: &str,
        message: &[u8],
        record: &[u8],
        limits: &RefusedMailLimits,
        now: SystemTime,
    ) -> io::Result<()> {
        let octets = (message.len() + record.len()) as u64;
        if octets > limits.octets || limits.messages == 0 {
            return Err(io::Error::new(ErrorKind::FileTooLarge, "a copy exceeds the limit"));
        }
        self.make_room(1, octets, limits, now);
        let name = file_name(reference);
        // The message is last: a copy without a message is not complete.
        write_private(&path(&self.path, &name, RECORD), record)?;
        if let Err(error) = write_private(&path(&self.path, &name, MESSAGE), message) {
            let _ = fs::remove_file(path(&self.path, &name, RECORD));
            return Err(error);
        }
        self.octets += octets;
        self.copies.insert((now, name), octets);
        Ok(())
    }

    /// Removes copies that exceed the limits.
    pub(super) fn tidy(&mut self, limits: &RefusedMailLimits, now: SystemTime) {
        self.make_room(0, 0, limits, now);
    }

    fn make_room(
        &mut self,
        messages: usize,
        octets: u64,
        limits: &RefusedMailLimits,
        now: SystemTime,
    ) {
        let is_old =
            |since: &SystemTime| now.duration_since(*since).is_ok_and(|age| age > limits.age);
        let exceeds = |folder: &Self| {
            folder.copies.len() + messages > limits.messages
                || folder.octets.saturating_add(octets) > limits.octets
                || folder.copies.first_key_value().is_some_and(|((since, _), _)| is_old(since))
        };
        if exceeds(self) && now.duration_since(self.listed).is_ok_and(|it| it >= LISTING) {
            // An unreadable folder is an error when the next copy is written.
            let _ = self.list();
            self.listed = now;
        }
        while exceeds(self) {
            let Some(((_, name), octets)) = self.copies.pop_first() else { return };
            self.octets -= octets;
            for ending in [MESSAGE, RECORD] {
                let _ = fs::remove_file(path(&self.path, &name, ending));
            }
        }
    }

    /// Reads the names, sizes and times of the copies, and removes unfinished files.
    fn list(&mut self) -> io::Result<()> {
        let mut found: BTreeMap<String, (SystemTime, u64)> = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let file = PathBuf::from(entry.file_name());
            let (Some(name), Some(ending)) =
                (file.file_stem().and_then(OsStr::to_str), file.extension())
            else {
                continue;
            };
            // Files of others are not touched.
            if !is_file_name(name) || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
                continue;
            }
            if ending == UNFINISHED {
                let _ = fs::remove_file(entry.path());
            } else if (ending == MESSAGE || ending == RECORD)
                && let Ok(facts) = entry.metadata()
            {
                let modified = facts.modified()?;
                let copy = found.entry(name.to_owned()).or_insert((modified, 0));
                // A release changes the record.
                copy.0 = copy.0.min(modified);
                copy.1 += facts.len();
            }
        }
        self.octets = found.values().map(|(_, octets)| octets).sum();
        let copies = found.into_iter().map(|(name, (since, octets))| ((since, name), octets));
        self.copies = copies.collect();
        Ok(())
    }
}

/// Returns the path of the message with this reference.
pub(super) fn message_path(folder: &Path, reference: &str) -> PathBuf {
    path(folder, &file_name(reference), MESSAGE)
}

/// Returns the path of the record with this reference.
pub(super) fn record_path(folder: &Path, reference: &str) -> PathBuf {
    path(folder, &file_name(reference), RECORD)
}

fn path(folder: &Path, name: &str, ending: &str) -> PathBuf {
    folder.join(format!("{name}.{ending}"))
}

/// Writes a file with mode 0600 at once: it has its name when it is complete. A file that replaces
/// another one has the same owner, if possible.
pub(super) fn write_private(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{UNFINISHED}"));
    let written = (|| {
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(octets)?;
        if let Ok(old) = fs::metadata(path) {
            let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
        }
        fs::rename(&unfinished, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}

/// Returns a file name for a reference. A gate may choose any characters for its references.
fn file_name(reference: &str) -> String {
    let mut name = String::new();
    for (index, octet) in reference.bytes().enumerate() {
        let is_plain = octet.is_ascii_alphanumeric() || b"-_".contains(&octet);
        match octet {
            _ if is_plain => name.push(octet.into()),
            b'.' if index > 0 => name.push('.'),
            _ => name.push_str(&format!("%{octet:02x}")),
        }
    }
    name
}

/// Returns whether a name is one of [`file_name`], or of an unfinished file.
fn is_file_name(name: &str) -> bool {
    let is_ours = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.%".contains(&octet);
    // Every reference has a dot before the number of its transaction.
    !name.starts_with('.') && name.contains('.') && name.bytes().all(is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_name_stays_in_the_folder() {
        for (reference, expected) in [
            ("1k19wrxwwfq-2tb-0.1", "1k19wrxwwfq-2tb-0.1"),
            ("../../etc/passwd", "%2e.%2f..%2fetc%2fpasswd"),
            (".hidden.1", "%2ehidden.1"),
            ("a%b.1", "a%25b.1"),
        ] {
            let name = file_name(reference);
            assert_eq!(name, expected);
            assert!(is_file_name(&name), "{name}");
        }
        for other in ["notes", ".1.2", "a b.1", "ü.1"] {
            assert!(!is_file_name(other), "{other}");
        }
    }
}
