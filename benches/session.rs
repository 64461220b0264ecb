//! Whole sessions in memory: time and allocations per transaction, and throughput for large
//! content. `cargo bench --bench session`.
//!
//! A transaction is MAIL, RCPT, DATA, and content of three lines. Each waits for its reply. There
//! are three variants:
//!
//! - `session`: the server half, with a relay target that accepts everything;
//! - `session, onward`: with the client half and the replies of a server that accepts everything;
//! - `serve`: all of that in a gate with an empty panel, over in-memory connections. Timers are not
//!   included, since they belong to the runtime.
//!
//! The baseline for a transaction is smtp-proto's parser and its `DataReceiver` on the same lines,
//! without checks, replies or storage. The baseline for large content is memcpy.

#![allow(unsafe_code, reason = "a counting allocator needs it")]
#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark")]

mod dialogue;
mod measure;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use dialogue::{CONTENT, DATA, Dialogue, MAIL, RCPT, READ, served};
use measure::{cpu_time, interleaved, is_quick, repeated, table, timed};
use nobounce::onward::OnwardSettings;
use nobounce::{Panel, Settings};
use smtp_proto::request::receiver::DataReceiver;

/// An allocator that counts the allocations of this thread, including reallocations that move
/// memory.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call is passed to the system allocator with unchanged arguments and result.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the requirements for the caller are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the requirements for the caller are the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the requirements for the caller are the same.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let (length, rounds, times) =
        if is_quick() { (1 << 20, 3, 200) } else { (10 << 20, 21, 5_000) };
    let settings = settings();
    transactions(&settings, rounds, times);
    large_content(&settings, rounds, length);
}

fn settings() -> Arc<Settings> {
    let mut settings = Settings::new("mx.example");
    settings.limits.transactions = u32::MAX;
    settings.into()
}

fn transactions(settings: &Arc<Settings>, rounds: usize, times: u32) {
    let now = dialogue::now();
    let onward = Arc::new(OnwardSettings::new("mx.example"));
    let mut plain = Dialogue::new(settings, now);
    let mut relayed = Dialogue::with_onward(settings, &onward, now);
    let gate = served::gate(settings, Panel::new());
    let content: Arc<[u8]> = CONTENT.into();
    let many = usize::try_from(times).expect("it fits");
    // Subtracts a session with a single transaction, so that only the other transactions are
    // measured.
    let mut serve = || {
        let begin = cpu_time();
        assert_eq!(served::session(&gate, 1, 1, &content), 1);
        let middle = cpu_time();
        assert_eq!(served::session(&gate, many + 1, 1, &content), many + 1);
        (cpu_time() - middle).saturating_sub(middle - begin)
    };
    let figures = interleaved(
        rounds,
        [
            &mut || repeated(times, parsed),
            &mut || repeated(times, || plain.transaction(CONTENT)),
            &mut || repeated(times, || relayed.transaction(CONTENT)),
            &mut serve,
        ],
    );
    let allocations = [
        allocations(times, || {
            parsed();
        }),
        allocations(times, || plain.transaction(CONTENT)),
        allocations(times, || relayed.transaction(CONTENT)),
        {
            let one = allocations(1, || _ = served::session(&gate, 1, 1, &content));
            let all = allocations(1, || _ = served::session(&gate, many + 1, 1, &content));
            (all - one) / f64::from(times)
        },
    ];
    let names = ["smtp-proto, parsed only", "session", "session, onward", "serve"];
    let rows: Vec<Vec<String>> = std::iter::zip(names, std::iter::zip(figures, allocations))
        .map(|(name, (figure, allocations))| {
            let nanoseconds = figure.seconds / f64::from(times) * 1e9;
            vec![
                name.to_string(),
                format!("{nanoseconds:.0}"),
                format!("{:.2}", figure.ratio),
                format!("{allocations:.2}"),
            ]
        })
        .collect();
    let head = ["a transaction of four commands", "ns", "ratio", "allocations"];
    table("Sessions in memory, each transaction", &head, &rows);
}

/// Parses the lines of a transaction with smtp-proto.
fn parsed() -> Vec<u8> {
    for line in [MAIL, RCPT, DATA] {
        let parsed = smtp_proto::Request::parse(&mut black_box(line).iter());
        black_box(parsed.expect("it is a command"));
    }
    let mut content = Vec::new();
    assert!(DataReceiver::new().ingest(&mut black_box(CONTENT).iter(), &mut content));
    content
}

/// Returns the number of allocations per repetition.
fn allocations(times: u32, mut work: impl FnMut()) -> f64 {
    let before = ALLOCATIONS.get();
    for _ in 0..times {
        work();
    }
    (ALLOCATIONS.get() - before) as f64 / f64::from(times)
}

fn large_content(settings: &Arc<Settings>, rounds: usize, length: usize) {
    let now = dialogue::now();
    let onward = Arc::new(OnwardSettings::new("mx.example"));
    let line = format!("{}\r\n", "Q29udGVudCB0aGF0IGxvb2tz".repeat(4).split_at(76).0);
    let body = line.repeat(length / line.len());
    let content: Arc<[u8]> = format!("Subject: large\r\n\r\n{body}.\r\n").into_bytes().into();
    let mut plain = Dialogue::new(settings, now);
    let mut relayed = Dialogue::with_onward(settings, &onward, now);
    let gate = served::gate(settings, Panel::new());
    let mut copied = || -> Duration {
        timed(|| {
            let mut octets = Vec::with_capacity(content.len());
            content.chunks(READ).for_each(|piece| octets.extend_from_slice(piece));
            octets
        })
    };
    let figures = interleaved(
        rounds,
        [
            &mut copied,
            &mut || timed(|| plain.transaction(&content)),
            &mut || timed(|| relayed.transaction(&content)),
            &mut || timed(|| served::session(&gate, 1, 1, &content)),
        ],
    );
    let rows: Vec<Vec<String>> =
        std::iter::zip(["memcpy", "session", "session, onward", "serve"], figures)
            .map(|(name, figure)| {
                let rate = content.len() as f64 / figure.seconds / 1e9;
                vec![name.to_string(), format!("{rate:.2}"), format!("{:.2}", 1.0 / figure.ratio)]
            })
            .collect();
    let title = format!("One message of {} MiB in 76-column lines", length >> 20);
    table(&title, &["through", "GB/s", "of memcpy"], &rows);
}
