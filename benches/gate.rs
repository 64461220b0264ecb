//! End to end over loopback: source → gate → sink. `cargo bench --bench gate`.
//!
//! The gate is the example `on_tokio`, built as for release (but with debug information). It is
//! compared with a source that sends directly to the sink, and with HAProxy in TCP mode, if
//! installed. HAProxy moves the same octets without parsing them. Source, gate and sink share the
//! machine. Compare rates only within one run; the reliable figure is the CPU time of the gate's
//! process.
//!
//! Differences between the candidates:
//!
//! - The gate writes a record of each message to a pipe and runs GTUBE over the content. HAProxy logs nothing.
//! - The gate pools its connections to the sink for the next client. HAProxy cannot do this.
//! - HAProxy has one thread. The gate has as many threads as cores (and no locks on one core).
//!
//! Besides the tables, it writes the same figures as a plot to `benches/plots/gate.svg`.
//!
//! Cases are `new` (a connection for each message) or `keep` (the client keeps its connections),
//! with the size of the content. There are 20 concurrent clients (`keep-10m`: 4, `c1`: 1). Each
//! command waits for its reply.

#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark")]

mod loopback;
mod measure;
mod plot;

use std::net::SocketAddr;
use std::time::Duration;

use loopback::process::{Process, raise_descriptor_limit};
use loopback::sink;
use loopback::source::{Load, hold, send};
use measure::{is_quick, median, table};

fn main() {
    if std::env::args().any(|argument| argument == "--sink") {
        sink::run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be created").block_on(async {
        let descriptors = raise_descriptor_limit();
        let sink = Process::sink();
        let gate = Process::on_tokio(sink.address);
        let haproxy = Process::haproxy(sink.address, (descriptors - 100) / 2 - 10);
        if haproxy.is_none() {
            println!("HAProxy is not installed (`apt-get install haproxy`): its rows are empty");
        }
        let peers = Peers { sink, gate, haproxy };
        throughput(&peers).await;
        memory(&peers.sink, descriptors).await;
    });
}

struct Peers {
    sink: Process,
    gate: Process,
    haproxy: Option<Process>,
}

const CELLS: &[(&str, Load)] = &[
    ("new-4k", Load { keep: false, size: 4 << 10, clients: 20, messages: 2_000 }),
    ("keep-4k", Load { keep: true, size: 4 << 10, clients: 20, messages: 4_000 }),
    ("new-64k", Load { keep: false, size: 64 << 10, clients: 20, messages: 1_000 }),
    ("keep-64k", Load { keep: true, size: 64 << 10, clients: 20, messages: 2_000 }),
    ("keep-1m", Load { keep: true, size: 1 << 20, clients: 20, messages: 200 }),
    ("keep-10m", Load { keep: true, size: 10 << 20, clients: 4, messages: 20 }),
    ("new-4k-c1", Load { keep: false, size: 4 << 10, clients: 1, messages: 200 }),
];

/// The result of one candidate in one round.
struct Turn {
    seconds: f64,
    cpu: f64,
}

async fn throughput(peers: &Peers) {
    let Peers { sink, gate, haproxy } = peers;
    let rounds = if is_quick() { 1 } else { 7 };
    let mut candidates = vec![("direct", sink.address, None)];
    candidates.push(("nobounce", gate.address, Some(gate)));
    candidates.extend(haproxy.as_ref().map(|it| ("HAProxy", it.address, Some(it))));
    let mut rows = Vec::new();
    let mut bars: Vec<(&str, Vec<f64>)> =
        candidates[1..].iter().map(|(name, ..)| (*name, Vec::new())).collect();
    for (cell, load) in CELLS {
        let messages =
            if is_quick() { (load.messages / 20).max(load.clients) } else { load.messages };
        let load = Load { messages, ..*load };
        let mut turns: Vec<Vec<Turn>> = candidates.iter().map(|_| Vec::new()).collect();
        let mut latencies: Vec<Vec<Duration>> = candidates.iter().map(|_| Vec::new()).collect();
        for round in 0..=rounds {
            for (at, (_, server, process)) in candidates.iter().enumerate() {
                let cpu = || process.map_or(Duration::ZERO, Process::cpu_time);
                let before = cpu();
                let sent = send(*server, load).await;
                let cpu = cpu() - before;
                if round > 0 {
                    // The first round is a warm-up.
                    let (seconds, cpu) = (sent.time.as_secs_f64(), cpu.as_secs_f64());
                    turns[at].push(Turn { seconds, cpu });
                    latencies[at].extend(sent.latencies);
                }
            }
        }
        let of_haproxy = |at: usize| {
            let ratios = turns.get(2).into_iter().flatten().zip(&turns[at]);
            median(ratios.map(|(haproxy, own)| own.cpu / haproxy.cpu))
        };
        for (at, (name, _, process)) in candidates.iter().enumerate() {
            let rate = median(turns[at].iter().map(|turn| messages as f64 / turn.seconds));
            let direct = turns[0].iter().zip(&turns[at]);
            let of_direct = median(direct.map(|(direct, own)| direct.seconds / own.seconds));
            let cpu = median(turns[at].iter().map(|turn| turn.cpu * 1e3 / messages as f64));
            if let Some((_, bars)) = at.checked_sub(1).and_then(|at| bars.get_mut(at)) {
                bars.push(of_haproxy(at));
            }
            latencies[at].sort();
            let percentile = |part: usize| {
                let latency = latencies[at][(latencies[at].len() - 1) * part / 100];
                format!("{:.2}", latency.as_secs_f64() * 1e3)
            };
            let known = |is: bool, text: String| if is { text } else { "-".into() };
            rows.push(vec![
                format!("{cell}: {name}"),
                format!("{rate:.0}"),
                format!("{of_direct:.2}"),
                known(process.is_some(), format!("{cpu:.3}")),
                known(process.is_some() && haproxy.is_some(), format!("{:.2}", of_haproxy(at))),
                percentile(50),
                percentile(99),
            ]);
        }
    }
    let head =
        ["cell", "messages/s", "of direct", "CPU s per 1,000", "of HAProxy", "p50, ms", "p99, ms"];
    table("Messages over loopback, medians of interleaved rounds", &head, &rows);
    if !is_quick() && haproxy.is_some() {
        let cells: Vec<&str> = CELLS.iter().map(|(cell, _)| *cell).collect();
        plot::bars("gate.svg", "CPU time for each message, HAProxy is 1", &cells, &bars);
    }
}

/// Octets of content that each busy client has sent.
const BUSY: usize = 64 << 10;

async fn memory(sink: &Process, descriptors: usize) {
    let (idle, busy) = if is_quick() { (500, 50) } else { (10_000, 1_000) };
    // HAProxy needs two descriptors per client.
    let room = (descriptors - 100) / 2 - 20;
    let gate = |server| Some(Process::on_tokio(server));
    let haproxy = |server| Process::haproxy(server, room + 10);
    type Start<'s> = &'s dyn Fn(SocketAddr) -> Option<Process>;
    let candidates: [(&str, usize, Start<'_>); 2] =
        [("nobounce", idle, &gate), ("HAProxy", idle.min(room), &haproxy)];
    let mut rows = Vec::new();
    for (name, idle, start) in candidates {
        for (kind, clients, sent) in [("idle", idle, None), ("busy", busy, Some(BUSY))] {
            // A fresh process, warmed up with one client.
            let Some(process) = start(sink.address) else { continue };
            drop(hold(process.address, 1, sent).await);
            let before = process.resident();
            let held = hold(process.address, clients, sent).await;
            let cost = process.resident().saturating_sub(before) / clients as u64;
            rows.push(vec![format!("{name}: {kind}"), held.len().to_string(), cost.to_string()]);
        }
    }
    let head = ["connections", "held", "octets each"];
    table("Resident memory: idle after EHLO; busy with 64 KiB of content received", &head, &rows);
}
