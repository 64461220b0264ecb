//! A bounded queue between the sessions and a thread or task that may block.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::{Event, Observer};

/// An observer that never blocks. It converts events into items of your own type and queues them
/// for a thread or a task.
///
/// The conversion function is called in the task of the session and must not block. It returns
/// `None` for events that should be ignored. When the queue is full, the item is dropped and
/// counted.
///
/// ```
/// use std::thread;
/// use nobounce::{Event, Gate, Runtime, Settings, Target};
/// use nobounce::observer::Queue;
///
/// fn gate<R: Runtime>(runtime: R, target: Box<dyn Target>) -> Gate<R> {
///     let (queue, queued) = Queue::new(10_000, |event| match event {
///         Event::Ended(record) => Some(record.to_string()),
///         _ => None,
///     });
/// // This thread may block: on a pipe, a disk, a database.
///     thread::spawn(move || {
///         while let Some(line) = queued.wait() {
///             eprintln!("{line}");
///         }
///     });
///     Gate::new(runtime, Settings::new("mx.example"), target).observed_by(queue)
/// }
/// ```
pub struct Queue<T, F> {
    shared: Arc<Shared<T>>,
    take: F,
}

/// The receiving half of a [`Queue`]. It ends when the observer was dropped with its gate and every
/// item was received.
pub struct Queued<T>(Arc<Shared<T>>);

struct Shared<T> {
    room: usize,
    state: Mutex<State<T>>,
    arrived: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    lost: u64,
    /// Whether the observer was dropped.
    over: bool,
    waker: Option<Waker>,
}

impl<T: Send, F: Fn(&Event<'_>) -> Option<T> + Send + Sync> Queue<T, F> {
    /// Returns the observer and the receiving half. The queue holds at most `room` items, and at
    /// least one.
    pub fn new(room: usize, take: F) -> (Self, Queued<T>) {
        let state = State { items: VecDeque::new(), lost: 0, over: false, waker: None };
        let state = Mutex::new(state);
        let shared = Arc::new(Shared { room: room.max(1), state, arrived: Condvar::new() });
        (Self { shared: shared.clone(), take }, Queued(shared))
    }
}

impl<T: Send, F: Fn(&Event<'_>) -> Option<T> + Send + Sync> Observer for Queue<T, F> {
    fn observe(&self, event: &Event<'_>) {
        let Some(item) = (self.take)(event) else { return };
        let mut state = self.shared.state();
        if state.items.len() >= self.shared.room {
            state.lost = state.lost.saturating_add(1);
            drop(state);
            return;
        }
        state.items.push_back(item);
        self.shared.notify(state);
    }
}

impl<T, F> Drop for Queue<T, F> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.over = true;
        self.shared.notify(state);
    }
}

impl<T> Queued<T> {
    /// Returns the next item; `None` at the end. Blocks the thread while the queue is empty.
    pub fn wait(&self) -> Option<T> {
        let mut state = self.0.state();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Some(item);
            }
            if state.over {
                return None;
            }
            state = self.0.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns the next item; `None` at the end. Waits while the queue is empty; at most one caller
    /// may wait.
    pub async fn next(&self) -> Option<T> {
        poll_fn(|context| {
            let mut state = self.0.state();
            match state.items.pop_front() {
                None if !state.over => {
                    state.waker = Some(context.waker().clone());
                    Poll::Pending
                }
                item => Poll::Ready(item),
            }
        })
        .await
    }

    /// Returns the number of items lost since the last call because the queue was full.
    pub fn lost(&self) -> u64 {
        mem::take(&mut self.0.state().lost)
    }
}

impl<T> Drop for Queued<T> {
    /// Drops the queued items, which can no longer be received.
    fn drop(&mut self) {
        let items = mem::take(&mut self.0.state().items);
        drop(items);
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, mut state: MutexGuard<'_, State<T>>) {
        let waker = state.waker.take();
        drop(state);
        self.arrived.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T, F> fmt::Debug for Queue<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("room", &self.shared.room).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Queued<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queued")
            .field("waiting", &self.0.state().items.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use futures::future::join;

    use super::*;
    use crate::envelope::SessionId;
    use crate::rehearsal::{Rehearsal, peer};

    fn queue(room: usize) -> (impl Observer, Queued<String>) {
        Queue::new(room, |event| match event {
            Event::Connected { session, .. } => Some(session.to_string()),
            _ => None,
        })
    }

    fn tell(observer: &impl Observer, session: &str) {
        let session = &SessionId::new(session);
        observer.observe(&Event::ObserverFailed { observer: 0, panic: "of no interest" });
        observer.observe(&Event::Connected { session, peer: &peer() });
    }

    #[test]
    fn full_queue_drops_and_counts_new_items() {
        let (observer, queued) = queue(2);
        for session in ["a", "b", "c", "d"] {
            tell(&observer, session);
        }
        assert_eq!(queued.lost(), 2);
        assert_eq!(queued.wait().as_deref(), Some("a"));
        tell(&observer, "e");
        drop(observer);
        assert_eq!([queued.wait(), queued.wait()].map(Option::unwrap), ["b", "e"]);
        assert_eq!((queued.wait(), queued.lost()), (None, 0));
    }

    #[test]
    fn a_thread_and_a_task_can_wait_for_items() {
        let (observer, queued) = queue(10);
        let thread = thread::spawn(move || [queued.wait(), queued.wait(), queued.wait()]);
        tell(&observer, "a");
        tell(&observer, "b");
        drop(observer);
        assert_eq!(thread.join().unwrap(), [Some("a".into()), Some("b".into()), None]);

        let runtime = Rehearsal::new();
        let (observer, queued) = queue(10);
        let telling = async {
            runtime.sleep(std::time::Duration::from_secs(1)).await;
            tell(&observer, "c");
            drop(observer);
        };
        let taking = async { [queued.next().await, queued.next().await] };
        assert_eq!(runtime.run(join(taking, telling)).0, [Some("c".into()), None]);
    }
}
