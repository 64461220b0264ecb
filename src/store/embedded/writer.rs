//! The writer: a thread that puts changes on disk, in lots, and tells those who wait for it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use futures::channel::oneshot;

use super::changes::{Changes, Note};
use super::file::{File, OpenError};
use crate::store::StoreError;

/// Most that may wait for the disk at once: more sessions than a machine has.
const WAITING: usize = 1 << 16;
/// Most octets of values and records of logs that may wait for the disk.
const WAITING_OCTETS: usize = 16 << 20;

/// Hands changes to the thread. Dropped, it waits until all are written.
#[derive(Debug)]
pub(super) struct Writer {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Where changes lie until the thread takes them.
#[derive(Debug, Default)]
struct Desk {
    pending: Mutex<Pending>,
    /// Somebody waits, or all is to end.
    called: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    changes: Changes,
    /// Octets of values and records that the thread is writing.
    writing: usize,
    waiting: Vec<oneshot::Sender<Result<(), StoreError>>>,
    closing: bool,
    /// The thread has ended: nobody will be told anything.
    gone: bool,
}

impl Writer {
    /// Starts the thread, with changes that nobody waits for.
    pub(super) fn start(file: File, changes: Changes) -> Result<Self, OpenError> {
        let pending = Mutex::new(Pending { changes, ..Pending::default() });
        let desk = Arc::new(Desk { pending, called: Condvar::new() });
        let thread = Builder::new().name("nobounce-store".into());
        let present = Present(desk.clone());
        let run = move || {
            let present = present;
            present.0.run(file);
        };
        let thread = thread.spawn(run).map_err(OpenError::Thread)?;
        Ok(Self { desk, thread: Some(thread) })
    }

    /// Makes changes in memory, which `change` notes in the journal that it is given, and waits
    /// until they are on disk.
    ///
    /// Notes of one record must be made in the order of its changes: under its lock.
    pub(super) async fn write<N: Note, A>(
        &self,
        change: impl FnOnce(&mut dyn FnMut(N)) -> A,
    ) -> Result<A, StoreError> {
        let mut noted = false;
        let answer = change(&mut |change| {
            change.note(&mut self.desk.lock().changes);
            noted = true;
        });
        if noted {
            self.desk.call()?.await.unwrap_or_else(|_| Err(gone()))?;
        }
        Ok(answer)
    }

    /// As [`write`](Self::write), for changes of many octets: none is made when many wait for the disk.
    pub(super) async fn write_octets<N: Note, A>(
        &self,
        change: impl FnOnce(&mut dyn FnMut(N)) -> A,
    ) -> Result<A, StoreError> {
        if self.desk.lock().is_full() {
            // The thread tries again to write them.
            drop(self.desk.call()?);
            return Err(StoreError::Behind);
        }
        self.write(change).await
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.desk.lock().closing = true;
        self.desk.called.notify_one();
        if let Some(thread) = self.thread.take() {
            // If it has panicked, those who waited for it know.
            let _ = thread.join();
        }
    }
}

impl Pending {
    /// Whether no more octets of values and records may wait for the disk.
    fn is_full(&self) -> bool {
        self.changes.octets.len() + self.writing >= WAITING_OCTETS
    }
}

impl Desk {
    /// Calls the thread; what it says comes when everything noted so far is on disk.
    fn call(&self) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        let mut pending = self.lock();
        if pending.gone {
            return Err(gone());
        }
        if pending.waiting.len() >= WAITING {
            return Err(StoreError::Behind);
        }
        let (told, tells) = oneshot::channel();
        pending.waiting.push(told);
        self.called.notify_one();
        Ok(tells)
    }

    /// The thread: writes what has come while the lot before was being written.
    fn run(&self, mut file: File) {
        loop {
            let idle = |pending: &mut Pending| pending.waiting.is_empty() && !pending.closing;
            let mut pending =
                self.called.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            let changes = std::mem::take(&mut pending.changes);
            let waiting = std::mem::take(&mut pending.waiting);
            let closing = pending.closing;
            pending.writing = changes.octets.len();
            drop(pending);

            let written = if changes.is_empty() { Ok(()) } else { file.write(&changes) };
            let told = match written {
                Ok(()) => {
                    self.lock().writing = 0;
                    Ok(())
                }
                Err(error) => {
                    // They are tried again with the next ones.
                    let mut pending = self.lock();
                    pending.writing = 0;
                    pending.changes.fill_up(changes);
                    Err(StoreError::Disk(Arc::new(error)))
                }
            };
            for waiter in waiting {
                // Who has stopped waiting need not be told.
                let _ = waiter.send(told.clone());
            }
            if closing {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As long as the thread has it, somebody writes.
struct Present(Arc<Desk>);

impl Drop for Present {
    fn drop(&mut self) {
        let mut pending = self.0.lock();
        pending.gone = true;
        pending.waiting.clear();
    }
}

fn gone() -> StoreError {
    StoreError::Disk(Arc::new(std::io::Error::other("the thread that writes has ended")))
}
