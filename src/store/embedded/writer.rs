//! The writer: a thread that writes batches of changes to disk and notifies the waiting callers.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use futures::channel::oneshot;

use super::changes::{Changes, Note};
use super::file::{File, OpenError};
use crate::store::StoreError;

/// Maximum number of callers that wait for the disk. It is more than the sessions of one machine.
const WAITING: usize = 1 << 16;
/// Maximum size of the values and log records that wait for the disk, in octets.
const WAITING_OCTETS: usize = 16 << 20;

/// Handle that passes changes to the writer thread. Dropping it waits until all changes are
/// written.
#[derive(Debug)]
pub(super) struct Writer {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// State shared with the writer thread.
#[derive(Debug, Default)]
struct Desk {
    pending: Mutex<Pending>,
    /// The signal that a caller is waiting, or that the writer is closing.
    called: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    changes: Changes,
    /// Size of the values and records in the current write, in octets.
    writing: usize,
    waiting: Vec<oneshot::Sender<Result<(), StoreError>>>,
    closing: bool,
    /// The thread has ended and will not notify any caller.
    gone: bool,
}

impl Writer {
    /// Starts the thread with initial changes that no caller waits for.
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

    /// Makes a change in memory and waits until it is on disk. `change` reports each changed record
    /// to the journal that it gets.
    ///
    /// Notes of one record must be made in the order of its changes, so hold the record's lock
    /// while noting.
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

    /// Makes a change of many octets, as [`write`](Self::write) does. If too many octets already
    /// wait for the disk, makes no change and returns an error.
    pub(super) async fn write_octets<N: Note, A>(
        &self,
        change: impl FnOnce(&mut dyn FnMut(N)) -> A,
    ) -> Result<A, StoreError> {
        if self.desk.lock().is_full() {
            // Wakes the thread to retry the write.
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
            // If the thread panicked, the waiting callers have already got an error.
            let _ = thread.join();
        }
    }
}

impl Pending {
    /// Returns whether the limit for waiting octets is reached.
    fn is_full(&self) -> bool {
        self.changes.octets.len() + self.writing >= WAITING_OCTETS
    }
}

impl Desk {
    /// Wakes the thread. The receiver resolves when everything noted so far is on disk, or with an
    /// error.
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

    /// Runs the main loop of the thread. Each iteration writes the changes that arrived during the
    /// previous write.
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
                    // The failed changes are retried with the next ones.
                    let mut pending = self.lock();
                    pending.writing = 0;
                    pending.changes.fill_up(changes);
                    Err(StoreError::Disk(Arc::new(error)))
                }
            };
            for waiter in waiting {
                // The caller may have stopped waiting.
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

/// Guard held by the thread. Its drop marks the thread as gone, also after a panic.
struct Present(Arc<Desk>);

impl Drop for Present {
    fn drop(&mut self) {
        let mut pending = self.0.lock();
        pending.gone = true;
        pending.waiting.clear();
    }
}

fn gone() -> StoreError {
    StoreError::Disk(Arc::new(std::io::Error::other("the writer thread has ended")))
}
