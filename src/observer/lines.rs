//! Writes transaction records as log lines.

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::future::poll_fn;
use memchr::memchr_iter;

use super::{Event, Observer};
use crate::runtime::Runtime;

/// Time for which lines are buffered to be written together. A crash loses these lines.
const MOMENT: Duration = Duration::from_millis(10);
/// Maximum number of octets buffered for the writer. Further lines are lost and counted.
const WAITING: usize = 1 << 20;

/// A log that writes one line for the record of each transaction. Lines within 10 ms are written
/// together. A system call for each line would cost a few percent of the gate's throughput.
///
/// ```
/// # use nobounce::{relay, Gate, Runtime, Settings};
/// # use nobounce::observer::LineLogger;
/// # async fn gate<R: Runtime + Copy>(runtime: R, spawn: impl FnOnce(futures::future::BoxFuture<'static, ()>)) {
/// let (lines, writing) = LineLogger::to(std::io::stdout(), runtime);
/// spawn(Box::pin(writing));
/// let gate = Gate::new(runtime, Settings::new("mx.example"), relay::Maildir::new("maildir"))
///     .observed_by(lines);
/// # }
/// ```
#[derive(Debug)]
pub struct LineLogger<W>(Arc<Shared<W>>);

#[derive(Debug)]
struct Shared<W> {
    waiting: Mutex<Waiting>,
    output: Mutex<Output<W>>,
    lost: AtomicU64,
}

#[derive(Debug)]
struct Output<W> {
    writer: W,
    /// The lines that are being written.
    lines: String,
    /// Whether the last write ended within a line.
    torn: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: String,
    /// Whether the observer was dropped, so that no more lines follow.
    over: bool,
    waker: Option<Waker>,
}

impl<W: Write + Send> LineLogger<W> {
    /// Returns the observer, and a future that writes the lines. Spawn the future. It ends when the
    /// observer was dropped with its gate and every line was written.
    ///
    /// No session waits for the writer. Lines are lost when 1 MiB of them are buffered, or when the
    /// writer returns an error. [`lost`](Self::lost) counts them. After a partial write, the next
    /// output begins on a new line.
    ///
    /// The future blocks its thread while the writer blocks, as files, pipes and terminals do. If
    /// the reader of a pipe may stop reading, run the future on its own thread.
    pub fn to<R: Runtime>(
        writer: W,
        runtime: R,
    ) -> (Self, impl Future<Output = ()> + Send + use<W, R>) {
        let output = Mutex::new(Output { writer, lines: String::new(), torn: false });
        let (waiting, lost) = (Mutex::default(), AtomicU64::new(0));
        let shared = Arc::new(Shared { waiting, output, lost });
        let lines = Self(shared.clone());
        let writing = async move {
            while shared.is_told().await {
                runtime.sleep_until(runtime.now() + MOMENT).await;
                shared.write();
            }
        };
        (lines, writing)
    }

    /// Returns the number of lines lost so far.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl<W: Write + Send> Observer for LineLogger<W> {
    fn observe(&self, event: &Event<'_>) {
        let Event::Ended(record) = event else { return };
        let mut waiting = self.0.waiting();
        if waiting.lines.len() >= WAITING {
            drop(waiting);
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Writing to a string does not fail.
        let _ = record.write(&mut waiting.lines);
        waiting.lines.push('\n');
        let waker = waiting.waker.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<W> Drop for LineLogger<W> {
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

    /// Waits for lines to write. Returns `false` if no more lines follow.
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
    /// Writes the waiting lines.
    fn write(&self) {
        let output = &mut *self.output.lock().unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut self.waiting().lines, &mut output.lines);
        let lost = output.write();
        self.lost.fetch_add(lost, Ordering::Relaxed);
    }
}

impl<W: Write> Output<W> {
    /// Writes the lines, and returns the number of lost lines.
    fn write(&mut self) -> u64 {
        let mended = usize::from(self.torn);
        if self.torn {
            self.lines.insert(0, '\n');
        }
        let (written, result) = write(&mut self.writer, self.lines.as_bytes());
        let ended = self.lines.as_bytes()[..written].iter().next_back();
        self.torn = ended.map_or(self.torn, |end| *end != b'\n');
        let lost = match result.and_then(|()| self.writer.flush()) {
            Ok(()) => 0,
            // The line end that completes a partial line is not counted as a line.
            Err(_) => memchr_iter(b'\n', &self.lines.as_bytes()[written.max(mended)..]).count(),
        };
        self.lines.clear();
        lost as u64
    }
}

/// Writes as much as the writer accepts. Returns the number of octets written.
fn write(writer: &mut impl Write, octets: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < octets.len() {
        match writer.write(&octets[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use futures::future::join;

    use super::*;
    use crate::envelope::{Envelope, SessionId};
    use crate::observer::TransactionRecord;
    use crate::rehearsal::{Rehearsal, envelope};
    use crate::session::{EndCause, RefusedRecipient, TransactionEnd};
    use crate::tally::Tally;
    use crate::wire::mailbox::ForwardPath;
    use crate::wire::reply::Reply;

    /// Records each write separately.
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
            end: Box::new(end),
            tally: Tally::default(),
            onward: Vec::new(),
            failures: Vec::new(),
            queue_id: None,
            scoring: Duration::ZERO,
            relaying: Duration::ZERO,
            reported: None,
        }
    }

    #[test]
    fn record_lists_a_bounded_number_of_recipients() {
        let mut record = record(1);
        let recipient = |n: usize| ForwardPath::parse(format!("<{n}@d>")).unwrap();
        const NO: Reply = Reply::fixed(550, Some((1, 1)), "No");
        for (count, more) in [(50, None), (51, Some(1)), (1_000, Some(950))] {
            record.end.envelope.forward_paths = (0..count).map(recipient).collect();
            let refused = |n| RefusedRecipient {
                recipient: recipient(n),
                reply: NO,
                cause: EndCause::RefusedByPanel,
            };
            record.end.refused = (0..count).map(refused).collect();
            let line = record.to_string();
            for (key, rest) in [(" to=", " to_more="), (" refused=", " refused_more=")] {
                assert_eq!(line.matches(key).count(), 50, "{line}");
                let counted = more.map(|more| format!("{rest}{more}"));
                assert_eq!(line.contains(rest), counted.is_some(), "{line}");
                assert!(counted.is_none_or(|counted| line.contains(&counted)), "{line}");
            }
        }
    }

    #[test]
    fn lines_of_one_interval_are_written_together() {
        let runtime = Rehearsal::new();
        let writes = Writes::default();
        let (lines, writing) = LineLogger::to(writes.clone(), runtime.clone());
        let tell = |lines: &LineLogger<Writes>, transaction| {
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
    fn lines_beyond_the_bound_are_lost_and_counted() {
        let runtime = Rehearsal::new();
        let writes = Writes::default();
        let (lines, _nobody_writes) = LineLogger::to(writes.clone(), runtime);
        let line = format!("{}\n", record(1));
        let enough = WAITING.div_ceil(line.len());
        for _ in 0..enough {
            lines.observe(&Event::Ended(&record(1)));
        }
        assert_eq!(lines.lost(), 0);
        lines.observe(&Event::Ended(&record(1)));
        lines.observe(&Event::Ended(&record(1)));
        assert_eq!(lines.lost(), 2);
        assert_eq!(lines.0.waiting().lines, line.repeat(enough));
        assert!(writes.0.lock().unwrap().is_empty(), "no session writes");
    }

    /// A disk with room for this many octets.
    #[derive(Debug, Clone, Default)]
    struct Disk(Arc<Mutex<(usize, String)>>);

    impl Write for Disk {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let (room, text) = &mut *self.0.lock().unwrap();
            let count = octets.len().min(*room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= count;
            text.push_str(str::from_utf8(&octets[..count]).unwrap());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_line_after_a_partial_write_begins_on_a_new_line() {
        let runtime = Rehearsal::new();
        let disk = Disk::default();
        let (lines, writing) = LineLogger::to(disk.clone(), runtime.clone());
        let line = |transaction| format!("{}\n", record(transaction));
        let telling = async {
            // Room for one line and ten octets of the next, while three lines are written at once.
            disk.0.lock().unwrap().0 = line(1).len() + 10;
            for transaction in 1..=3 {
                lines.observe(&Event::Ended(&record(transaction)));
            }
            runtime.sleep(2 * MOMENT).await;
            assert_eq!(lines.lost(), 2);
            // The disk is full.
            lines.observe(&Event::Ended(&record(4)));
            runtime.sleep(2 * MOMENT).await;
            assert_eq!(lines.lost(), 3);
            disk.0.lock().unwrap().0 = usize::MAX;
            lines.observe(&Event::Ended(&record(5)));
            drop(lines);
        };
        runtime.run(join(writing, telling));
        let expected = format!("{}{}\n{}", line(1), &line(2)[..10], line(5));
        assert_eq!(disk.0.lock().unwrap().1, expected);
    }
}
