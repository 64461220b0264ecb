//! Growth of cost with the size of the content and the number of recipients, scorers, header fields
//! and connections. `cargo bench --bench scale` prints a table for each and writes the plots in
//! `benches/plots/`.
//!
//! Messages go through `serve` with everything in memory; the figure is CPU time. Connections are
//! held over loopback by the example `on_tokio`; the figures are those of its process. `growth` is
//! the exponent between a row and the previous row: 1 is linear growth, 0 is constant.

#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark")]

mod dialogue;
mod loopback;
mod measure;
mod plot;

use std::sync::Arc;

use async_trait::async_trait;
use dialogue::served;
use loopback::process::{Process, raise_descriptor_limit};
use loopback::sink;
use loopback::source::{Load, content, hold, send};
use measure::{is_quick, median, table, timed};
use nobounce::{DataContext, Opinion, Panel, Scorer, ScorerError, Settings};

fn main() {
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    if has("--sink") {
        sink::run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let by_connections = || runtime.expect("a runtime can be created").block_on(connections());
    if has("--connections") {
        // Run separately, since it takes the longest.
        return by_connections();
    }
    let sizes = [1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 50 << 20];
    in_memory("size", "octets of content", &sizes, |octets| Mail {
        content: content(octets.min((50 << 20) - 1_024)).into(),
        ..Mail::default()
    });
    in_memory("recipients", "recipients", &[1, 3, 10, 30, 100, 300, 1_000], |recipients| Mail {
        recipients,
        ..Mail::default()
    });
    in_memory("scorers", "scorers that look for a word", &[1, 3, 10, 30], |scorers| Mail {
        scorers,
        content: content(64 << 10).into(),
        ..Mail::default()
    });
    in_memory("fields", "header fields", &[10, 100, 1_000, 10_000, 100_000], |fields| Mail {
        content: with_fields(fields).into(),
        ..Mail::default()
    });
    by_connections();
}

/// A message, and the number of scorers that read it.
struct Mail {
    content: Arc<[u8]>,
    recipients: usize,
    scorers: usize,
}

impl Default for Mail {
    fn default() -> Self {
        Self { content: content(1 << 10).into(), recipients: 1, scorers: 0 }
    }
}

/// Returns a message with this many client header fields, each of which must be compared with our
/// own field names.
fn with_fields(fields: usize) -> Vec<u8> {
    let field = "X-Unknown-Field: for this benchmark\r\n";
    format!("{}\r\nHello!\r\n.\r\n", field.repeat(fields)).into_bytes()
}

/// A scorer that searches the text of the message for a word.
struct Word;

#[async_trait]
impl Scorer for Word {
    fn name(&self) -> &str {
        "word"
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let words = memchr::memmem::Finder::new("unsubscribe");
        let found = at.message.segments().iter().any(|segment| words.find(segment).is_some());
        assert!(!found, "the word is not in the text");
        Ok(Opinion::silent())
    }
}

fn in_memory(name: &str, axis: &str, steps: &[usize], mail: impl Fn(usize) -> Mail) {
    let rounds = if is_quick() { 1 } else { 9 };
    let steps = if is_quick() { &steps[..steps.len().min(4)] } else { steps };
    let points = steps.iter().map(|step| {
        let mail = mail(*step);
        let panel = (0..mail.scorers).fold(Panel::new(), |panel, _| panel.scorer(Word));
        let gate = served::gate(&Settings::new("mx.example"), panel);
        let turn = || {
            let session = || served::session(&gate, 1, mail.recipients, &mail.content);
            let time = timed(|| assert_eq!(session(), 1, "the message was not accepted"));
            time.as_secs_f64() * 1e6
        };
        (*step as f64, median((0..=rounds).map(|_| turn()).skip(1)))
    });
    let points: Vec<(f64, f64)> = points.collect();
    show(name, axis, "microseconds", &[("CPU time of a session, µs", &points)]);
}

/// Measures the memory of idle connections and the cost of a message beside them and among them.
async fn connections() {
    let steps: &[usize] = if is_quick() { &[1, 100] } else { &[1, 10, 100, 1_000, 10_000] };
    let rounds = if is_quick() { 1 } else { 5 };
    raise_descriptor_limit();
    let sink = Process::sink();
    let (mut memory, mut beside, mut among) = (Vec::new(), Vec::new(), Vec::new());
    for step in steps.iter().copied() {
        let gate = Process::on_tokio(sink.address);
        let x = step as f64;
        let before = gate.resident();
        let idle = hold(gate.address, step, None).await;
        memory.push((x, gate.resident().saturating_sub(before).max(1) as f64));
        let load = Load { keep: true, size: 4 << 10, clients: 20.min(step), messages: 400 };
        beside.push((x, cpu(&gate, load, rounds).await));
        drop(idle);
        // Each client also has a connection to the sink.
        let clients = step.min(9_000);
        let messages = clients.max(400) * 3;
        among.push((x, cpu(&gate, Load { clients, messages, ..load }, rounds).await));
    }
    show("idle", "idle connections", "octets", &[("resident memory, octets", &memory)]);
    let lines: [plot::Line<'_>; 2] =
        [("beside idle connections, µs", &beside), ("beside active connections, µs", &among)];
    show("connections", "connections", "microseconds", &lines);
}

/// Returns the gate's CPU time per message in microseconds.
async fn cpu(gate: &Process, load: Load, rounds: usize) -> f64 {
    let mut turns = Vec::new();
    for _ in 0..=rounds {
        let before = gate.cpu_time();
        send(gate.address, load).await;
        turns.push((gate.cpu_time() - before).as_secs_f64() * 1e6 / load.messages as f64);
    }
    median(turns.drain(1..))
}

fn show(name: &str, axis: &str, unit: &str, lines: &[plot::Line<'_>]) {
    for (what, points) in lines {
        let before = std::iter::once(None).chain(points.iter().map(Some));
        let rows: Vec<Vec<String>> = before
            .zip(*points)
            .map(|(before, (x, y))| {
                let growth = before.map(|(a, b)| (y / b).ln() / (x / a).ln());
                let growth = growth.map_or("-".into(), |growth| format!("{growth:.2}"));
                vec![format!("{x}"), format!("{y:.1}"), format!("{:.3}", y / x), growth]
            })
            .collect();
        table(&format!("By {axis}"), &[axis, what, "each", "growth"], &rows);
    }
    if !is_quick() {
        plot::lines(&format!("{name}.svg"), &format!("Cost by {axis}"), [axis, unit], lines);
    }
}
