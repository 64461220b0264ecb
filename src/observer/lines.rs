//! Records as lines of a log.

use std::io::Write;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::future::poll_fn;

use super::{Event, Observer};
use crate::runtime::Runtime;

/// How long lines wait for others. What one crash may lose is as much.
const MOMENT: Duration = Duration::from_millis(10);
/// Octets that may wait; whoever has more to say writes them, and waits for that.
const WAITING: usize = 64 << 10;

/// A log: the record of each transaction that ends, as a line. Lines of one moment (10 ms) are
/// written together: a system call for each would cost some percent of the whole gate.
///
/// ```
/// # use nobounce::{Gate, Lines, Runtime, Settings, relay};
/// # async fn gate<R: Runtime + Copy>(runtime: R, spawn: impl FnOnce(futures::future::BoxFuture<'static, ()>)) {
/// let (lines, writing) = Lines::to(std::io::stdout(), runtime);
/// spawn(Box::pin(writing));
/// let gate = Gate::new(runtime, Settings::new("mx.example"), relay::Maildir::new("maildir"))
///     .observer(lines);
/// # }
/// ```
#[derive(Debug)]
pub struct Lines<W>(Arc<Shared<W>>);

#[derive(Debug)]
struct Shared<W> {
    waiting: Mutex<Waiting>,
    writer: Mutex<(W, String)>,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: String,
    /// There will be no more.
    over: bool,
    waker: Option<Waker>,
}

impl<W: Write + Send> Lines<W> {
    /// The observer, and a future that writes what it is told. That is to be spawned; it ends when
    /// the observer is gone with its gate and all is written. What cannot be written is lost.
    ///
    /// The writer may block, as files, pipes and terminals do. A log that takes nothing stops the
    /// sessions after 64 KiB; no line is left out.
    pub fn to<R: Runtime>(
        writer: W,
        runtime: R,
    ) -> (Self, impl Future<Output = ()> + Send + use<W, R>) {
        let writer = Mutex::new((writer, String::new()));
        let shared = Arc::new(Shared { waiting: Mutex::default(), writer });
        let lines = Self(shared.clone());
        let writing = async move {
            while shared.is_told().await {
                runtime.sleep_until(runtime.now() + MOMENT).await;
                shared.write();
            }
        };
        (lines, writing)
    }
}

impl<W: Write + Send> Observer for Lines<W> {
    fn observe(&self, event: &Event<'_>) {
        let Event::Ended(record) = event else { return };
        let mut waiting = self.0.waiting();
        // Writing to a string does not fail.
        let _ = record.write(&mut waiting.lines);
        waiting.lines.push('\n');
        let (waker, full) = (waiting.waker.take(), waiting.lines.len() > WAITING);
        drop(waiting);
        if full {
            self.0.write();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<W> Drop for Lines<W> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.over = true;
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
    }
}

impl<W> Shared<W> {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to write; `false` if nothing will come.
    async fn is_told(&self) -> bool {
        poll_fn(|context| {
            let mut waiting = self.waiting();
            if waiting.over || !waiting.lines.is_empty() {
                return Poll::Ready(!waiting.lines.is_empty());
            }
            waiting.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl<W: Write> Shared<W> {
    /// Writes what waits. One at a time, so that lines stay in order.
    fn write(&self) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (writer, lines) = &mut *writer;
        mem::swap(&mut self.waiting().lines, lines);
        let _ = writer.write_all(lines.as_bytes()).and_then(|()| writer.flush());
        lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join;

    use super::*;
    use crate::envelope::{Envelope, SessionId};
    use crate::observer::TransactionRecord;
    use crate::rehearsal::{Rehearsal, envelope};
    use crate::session::{EndCause, TransactionEnd};
    use crate::tally::Tally;

    /// Keeps what is written at once apart.
    #[derive(Debug, Clone, Default)]
    struct Writes(Arc<Mutex<Vec<String>>>);

    impl Write for Writes {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().push(String::from_utf8(octets.to_vec()).unwrap());
            Ok(octets.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn record(transaction: u32) -> TransactionRecord {
        let envelope =
            Envelope { id: SessionId::new("test").transaction(transaction), ..envelope("<a@b>") };
        let end = TransactionEnd {
            envelope,
            refused: Vec::new(),
            size: 0,
            cause: EndCause::Accepted,
            reply: None,
            duration: Duration::ZERO,
        };
        TransactionRecord {
            end,
            tally: Tally::default(),
            onward: Vec::new(),
            failures: Vec::new(),
            queue_id: None,
            scoring: Duration::ZERO,
            relaying: Duration::ZERO,
        }
    }

    #[test]
    fn lines_of_one_moment_are_written_together_and_none_is_lost() {
        let runtime = Rehearsal::new();
        let writes = Writes::default();
        let (lines, writing) = Lines::to(writes.clone(), runtime.clone());
        let tell = |lines: &Lines<Writes>, transaction| {
            lines.observe(&Event::Ended(&record(transaction)));
        };
        let written = || -> Vec<String> { writes.0.lock().unwrap().drain(..).collect() };
        let line = |transaction| format!("{}\n", record(transaction));
        let telling = async {
            runtime.sleep(Duration::from_secs(60)).await;
            tell(&lines, 1);
            runtime.sleep(MOMENT / 2).await;
            tell(&lines, 2);
            tell(&lines, 3);
            assert!(written().is_empty());
            runtime.sleep(MOMENT).await;
            assert_eq!(written(), [[line(1), line(2), line(3)].concat()]);
            tell(&lines, 4);
            runtime.sleep(2 * MOMENT).await;
            assert_eq!(written(), [line(4)]);
            tell(&lines, 5);
            drop(lines);
        };
        runtime.run(join(writing, telling));
        assert_eq!(written(), [line(5)], "and the future has ended");
    }

    #[test]
    fn no_more_waits_than_is_allowed() {
        let runtime = Rehearsal::new();
        let writes = Writes::default();
        let (lines, _nobody_writes) = Lines::to(writes.clone(), runtime);
        let line = format!("{}\n", record(1));
        let enough = WAITING / line.len() + 1;
        for _ in 0..enough - 1 {
            lines.observe(&Event::Ended(&record(1)));
        }
        assert!(writes.0.lock().unwrap().is_empty());
        lines.observe(&Event::Ended(&record(1)));
        assert_eq!(*writes.0.lock().unwrap(), [line.repeat(enough)]);
    }
}
