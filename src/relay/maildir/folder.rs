//! The folder on disk. Everything here blocks.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

/// Names that are tried before a folder is taken for broken.
const TRIES: usize = 8;
/// Age at which a file in `tmp/` is one that nobody writes any more (the Maildir specification).
const ABANDONED: Duration = Duration::from_secs(36 * 3600);

/// A Maildir.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    host: String,
    /// Whether its entries were seen to be durable.
    ready: AtomicBool,
    /// Cloned once for each delivery that is under way.
    deliveries: Arc<()>,
}

/// A message in `tmp/`, whole and synchronised. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Draft<'f> {
    folder: &'f Folder,
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, host: host(), ready: AtomicBool::new(false), deliveries: Arc::default() }
    }

    /// Room for one more delivery, until it is dropped, if fewer than `limit` are under way.
    pub(super) fn slot(&self, limit: usize) -> Option<Arc<()>> {
        let slot = Arc::clone(&self.deliveries);
        // One count is the folder's own.
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

    /// Creates what is missing. What was created, or may have been by somebody who then crashed, is
    /// synchronised before anything is kept in it.
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

    /// Removes what crashed deliveries left in `tmp/`. Nothing depends on it.
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

    /// Names for a file, `SECONDS.MmicrosPpidQcounter.HOST`: unique on this host unless its clock
    /// was turned back, and then [`claim`] sees to it.
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
    /// Puts the message into `new/` and says under which name, once that is durable.
    pub(super) fn keep(self) -> io::Result<String> {
        let names = self.folder.names();
        self.keep_as(names)
    }

    /// The same, under the first of these names that is free.
    pub(super) fn keep_as(self, names: impl Iterator<Item = String>) -> io::Result<String> {
        let new = self.folder.root.join("new");
        // A link, because it never takes the place of another file, as a renamed one would.
        let (path, ()) = claim(&new, names, |path| fs::hard_link(&self.path, path))?;
        if let Err(error) = synchronise(&new) {
            // It may or may not survive a crash: the client keeps it, so it need not be here.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(path.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // What stays here after all is swept away when it is old enough.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes a file in `folder` under the first of `names` that no file has.
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

/// Creates a folder; whether it was missing.
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

/// The name of this host as it may stand in a file's name and in a reply.
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
