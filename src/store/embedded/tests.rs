use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use futures::future::join_all;
use pollster::block_on;
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::octets::OctetChanges;
use super::*;
use crate::store::log::LogChange;

/// A disk whose failures are controlled by the test.
#[derive(Debug, Clone)]
struct Disk {
    octets: Arc<InMemoryBackend>,
    broken: Arc<AtomicBool>,
    syncs: Arc<AtomicUsize>,
    /// A lock that a test holds to make the disk hang.
    hanging: Arc<std::sync::Mutex<()>>,
}

impl Disk {
    fn new() -> Self {
        Self {
            octets: Arc::new(InMemoryBackend::new()),
            broken: Arc::default(),
            syncs: Arc::default(),
            hanging: Arc::default(),
        }
    }

    fn works(&self) -> io::Result<()> {
        match self.broken.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the disk is broken")),
            false => Ok(()),
        }
    }

    fn store(&self) -> Embedded {
        self.store_for(1000)
    }

    fn store_for(&self, records: usize) -> Embedded {
        let disk = self.clone();
        let open = move || redb::Database::builder().create_with_backend(disk.clone());
        Embedded::with_file(File::new(open).unwrap(), records).unwrap()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        self.works()?;
        self.octets.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.works()?;
        self.octets.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.works()?;
        self.octets.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        drop(self.hanging.lock().unwrap());
        self.works()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.octets.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.works()?;
        self.octets.write(offset, data)
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const PACE: Pace = Pace { apart: Duration::ZERO, once: HOUR, again: HOUR };
const NOW: SystemTime = SystemTime::UNIX_EPOCH;

async fn see(store: &Embedded, what: u32) -> Result<u32, StoreError> {
    store.see(&Key::new("k", what), PACE, NOW).await.map(|sighting| sighting.times)
}

#[test]
fn disk_failure_is_reported_and_recovered_from() {
    let disk = Disk::new();
    let store = disk.store();
    assert_eq!(block_on(see(&store, 1)).unwrap(), 1);
    disk.broken.store(true, Ordering::Relaxed);
    for what in [1, 2, 2] {
        let error = block_on(see(&store, what)).unwrap_err();
        assert!(matches!(error, StoreError::Disk(_)), "{error}");
    }
    // Records in memory can be read without the disk.
    assert_eq!(block_on(store.recall(&Key::new("k", 1), NOW)).unwrap().unwrap().times, 2);
    disk.broken.store(false, Ordering::Relaxed);
    assert_eq!(block_on(see(&store, 1)).unwrap(), 3);
    drop(store);
    // The failed changes were written with the next change.
    let store = disk.store();
    assert_eq!(block_on(see(&store, 1)).unwrap(), 4);
    assert_eq!(block_on(see(&store, 2)).unwrap(), 3);
}

#[test]
fn changes_during_a_write_are_written_together() {
    let disk = Disk::new();
    let store = disk.store();
    block_on(see(&store, 0)).unwrap();
    let each = {
        let before = disk.syncs.load(Ordering::Relaxed);
        block_on(see(&store, 0)).unwrap();
        disk.syncs.load(Ordering::Relaxed) - before
    };
    let before = disk.syncs.load(Ordering::Relaxed);
    block_on(join_all((0..1000).map(|what| see(&store, what)))).into_iter().for_each(|result| {
        result.unwrap();
    });
    let syncs = disk.syncs.load(Ordering::Relaxed) - before;
    // The size of the first batch depends on timing. The rest is in the second batch, or a few
    // more.
    assert!(syncs <= 100 * each, "{syncs} for 1000 changes, {each} for one");
}

/// If the disk hangs, only the writer thread and the callers who change something wait.
#[test]
fn hanging_disk_does_not_block_reads() {
    let disk = Disk::new();
    let store = &disk.store();
    block_on(see(store, 1)).unwrap();
    let hanging = disk.hanging.lock().unwrap();
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        scope.spawn(move || tell.send(block_on(see(store, 1)).unwrap()).unwrap());
        let mut write = Box::pin(see(store, 2));
        for _ in 0..1000 {
            assert!(futures::FutureExt::now_or_never(&mut write).is_none(), "the disk hangs");
            assert!(block_on(store.recall(&Key::new("k", 1), NOW)).unwrap().is_some());
        }
        assert!(told.try_recv().is_err(), "answered before the write");
        drop(hanging);
        assert_eq!(told.recv().unwrap(), 2);
        assert_eq!(block_on(write).unwrap(), 1);
    });
}

#[test]
fn file_of_another_format_is_not_changed() {
    let disk = Disk::new();
    let about = redb::TableDefinition::<'_, &str, u128>::new("about");
    let database = redb::Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(about).unwrap().insert("form", 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let disk_again = disk.clone();
    let open = move || redb::Database::builder().create_with_backend(disk_again.clone());
    let error = Embedded::with_file(File::new(open).unwrap(), 1000).unwrap_err();
    assert!(matches!(error, OpenError::Form(2)), "{error}");
}

/// The number of octets that wait for a broken disk is bounded. They are written when it works
/// again.
#[test]
fn octets_waiting_for_the_disk_are_bounded() {
    let disk = Disk::new();
    // The logs have room for 64 MiB.
    let store = disk.store_for(1 << 20);
    disk.broken.store(true, Ordering::Relaxed);
    let (log, record) = (Key::new("log", ""), vec![0; crate::store::MAX_OCTETS]);
    let retention = Retention::new(1_000, HOUR);
    let append = || block_on(store.append(&log, &record, retention, NOW));
    let errors: Vec<_> = (0..300).map(|_| append().unwrap_err()).collect();
    let (disk_failed, behind): (Vec<_>, Vec<_>) =
        errors.iter().partition(|error| matches!(error, StoreError::Disk(_)));
    assert_eq!((disk_failed.len(), behind.len()), (256, 44));
    assert!(behind.iter().all(|error| matches!(error, StoreError::Behind)));
    disk.broken.store(false, Ordering::Relaxed);
    // A refused change makes the thread try again. Changes that arrive while an attempt fails wait
    // too, and are written later.
    let mut late = 0;
    let written = (0..1_000_000).find_map(|_| {
        std::thread::yield_now();
        let appended = append();
        late += usize::from(matches!(appended, Err(StoreError::Disk(_))));
        appended.ok()
    });
    let last = written.unwrap();
    drop(store);
    let store = disk.store_for(1 << 20);
    let page = block_on(store.read(&log, last - 256, NOW)).unwrap();
    assert_eq!((page.records, page.missed), (vec![record], false));
    assert_eq!(store.memory.len(), 257 + late);
}

/// Values and records that were replaced, removed or evicted do not wait for the disk.
#[test]
fn replaced_octets_do_not_count_as_waiting() {
    let disk = Disk::new();
    let store = disk.store();
    disk.broken.store(true, Ordering::Relaxed);
    let (octets, retention) = (vec![0; crate::store::MAX_OCTETS], Retention::new(1, HOUR));
    let key = Key::new("k", "");
    for _ in 0..300 {
        let put = block_on(store.put(&key, &octets, NOW + HOUR, NOW)).unwrap_err();
        assert!(matches!(put, StoreError::Disk(_)), "{put}");
        let append = block_on(store.append(&key, &octets, retention, NOW)).unwrap_err();
        assert!(matches!(append, StoreError::Disk(_)), "{append}");
    }
}

/// Changes that arrive during a failing write replace the changes of that write.
#[test]
fn changes_merged_after_a_failed_write_have_an_exact_size() {
    let value = |size| Some(Value::new(&vec![0; size], NOW + HOUR));
    let record = |position, size: Option<usize>| {
        LogChange::Record(7, position, size.map(|size| vec![0; size].into()))
    };
    let (mut older, mut newer) = (OctetChanges::default(), OctetChanges::default());
    older.note_value(1, value(1_000));
    older.note_value(2, value(200));
    older.note_value(3, value(30));
    older.note_log(record(1, Some(4_000)));
    older.note_log(record(2, Some(500)));
    assert_eq!(older.len(), 5_730);
    newer.note_value(1, value(10));
    newer.note_value(1, value(20));
    newer.note_value(2, None);
    newer.note_log(record(1, None));
    newer.note_log(record(3, Some(6)));
    assert_eq!(newer.len(), 26);
    newer.fill_up(older);
    assert_eq!(newer.len(), 20 + 30 + 500 + 6);
}
