//! The Maildir folder on disk. All functions block.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

/// Number of file names to try before the folder is considered broken.
const TRIES: usize = 8;
/// Age at which a file in `tmp/` is considered abandoned (the Maildir specification).
const ABANDONED: Duration = Duration::from_secs(36 * 3600);

/// A Maildir.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    host: String,
    /// Whether the entries of the folder are known to be durable.
    ready: AtomicBool,
    /// The counter of running deliveries: each delivery holds a clone.
    deliveries: Arc<()>,
}

/// A complete and synchronised message in `tmp/`. Dropping it deletes the file.
#[derive(Debug)]
pub(super) struct Draft<'f> {
    folder: &'f Folder,
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, host: host(), ready: AtomicBool::new(false), deliveries: Arc::default() }
    }

    /// Returns a slot for one more delivery, if fewer than `limit` are running. Dropping the slot
    /// frees it.
    pub(super) fn slot(&self, limit: usize) -> Option<Arc<()>> {
        let slot = Arc::clone(&self.deliveries);
        // One reference is the folder's own.
        (Arc::strong_count(&slot) <= limit + 1).then_some(slot)
    }

    /// Writes a message to `tmp/` and synchronises it.
    pub(super) fn draft(&self, segments: &[Bytes]) -> io::Result<Draft<'_>> {
        self.prepare()?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let (path, mut file) =
            claim(&self.root.join("tmp"), self.names(), |path| options.open(path))?;
        let draft = Draft { folder: self, path };
        for segment in segments {
            file.write_all(segment)?;
        }
        file.sync_all()?;
        Ok(draft)
    }

    /// Creates missing folders. A folder that this process or a crashed one has just created is
    /// synchronised before a message is stored in it.
    fn prepare(&self) -> io::Result<()> {
        let mut created = create(&self.root)?;
        for part in ["tmp", "new", "cur"] {
            created |= create(&self.root.join(part))?;
        }
        if created || !self.ready.load(Ordering::Acquire) {
            synchronise(&self.root)?;
            synchronise(&self.root.join(".."))?;
            self.sweep();
            self.ready.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Removes the files that crashed deliveries left in `tmp/`. Errors are ignored.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.root.join("tmp")) else { return };
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|modified| now().duration_since(modified).ok());
            if age.is_some_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Returns file names of the form `SECONDS.MmicrosPpidQcounter.HOST`. They are unique on this
    /// host unless its clock is turned back; [`claim`] handles that case.
    fn names(&self) -> impl Iterator<Item = String> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let pid = process::id();
        let name = move || {
            let time = now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let (seconds, micros) = (time.as_secs(), time.subsec_micros());
            let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
            format!("{seconds}.M{micros}P{pid}Q{counter}.{}", self.host)
        };
        std::iter::repeat_with(name)
    }
}

impl Draft<'_> {
    /// Moves the message into `new/`. Returns its name there once it is durable.
    pub(super) fn keep(self) -> io::Result<String> {
        let names = self.folder.names();
        self.keep_as(names)
    }

    /// Does the same as [`keep`](Self::keep), with the first unused name of `names`.
    pub(super) fn keep_as(self, names: impl Iterator<Item = String>) -> io::Result<String> {
        let new = self.folder.root.join("new");
        // A link never replaces an existing file, as a rename would.
        let (path, ()) = claim(&new, names, |path| fs::hard_link(&self.path, path))?;
        if let Err(error) = synchronise(&new) {
            // Without the synchronisation, the message might be lost in a crash. The file is
            // removed: the client gets an error reply and sends the message again.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(path.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // If removal fails, a later sweep removes the file once it is old enough.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes a file in `folder` under the first of `names` that is free.
fn claim<T>(
    folder: &Path,
    names: impl Iterator<Item = String>,
    make: impl Fn(&Path) -> io::Result<T>,
) -> io::Result<(PathBuf, T)> {
    for name in names.take(TRIES) {
        let path = folder.join(name);
        match make(&path) {
            Ok(made) => return Ok((path, made)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Creates a folder. Returns whether it was missing.
fn create(folder: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the entries of a folder durable.
fn synchronise(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Returns the name of this host, reduced to characters that are safe in file names and replies.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = name.trim().chars().filter(plain).take(64).collect();
    if name.is_empty() { "localhost".into() } else { name }
}

#[allow(
    clippy::disallowed_methods,
    reason = "an edge: files are named and aged by the time of day"
)]
fn now() -> SystemTime {
    SystemTime::now()
}
