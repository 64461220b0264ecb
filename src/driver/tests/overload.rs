//! A gate with all or nearly all places taken.

use std::sync::Mutex;

use futures::future::{join, join_all};

use super::*;
use crate::admission::{Admission, AdmissionLimits};

/// Connects each client at the given second from the given address. It sends its input and is then
/// silent. Returns the second at which each session ended, including `LINGER`, and the last line
/// that each client received.
fn hear(
    runtime: &Rehearsal,
    gate: &Gate<Rehearsal>,
    clients: &[(u64, [u8; 4], &str)],
) -> Vec<(u64, String)> {
    let came = clients.iter().map(|(second, address, says)| async move {
        runtime.sleep(Duration::from_secs(*second)).await;
        let mut heard = Vec::new();
        let mut client = Client::new(says, &mut heard);
        client.groups = says.split_inclusive("\r\n").map(str::len).collect();
        client.waits_at = says.len();
        let _ = serve(client, Peer::new((*address, 4711).into()), gate).await;
        let last = str::from_utf8(&heard).unwrap().lines().next_back().unwrap_or_default();
        (runtime.elapsed().as_secs(), last.to_owned())
    });
    runtime.run(join_all(came))
}

fn gate_for(runtime: &Rehearsal, set: impl FnOnce(&mut AdmissionLimits)) -> Gate<Rehearsal> {
    let mut limits = AdmissionLimits::default();
    set(&mut limits);
    gate(runtime, &Slow::new(runtime, false)).admission(Admission::new(limits))
}

const SILENT: &str = "EHLO c\r\n";
const QUIT: &str = "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 0 LAST\r\nQUIT\r\n";
const EVICTED: &str = "421 4.3.2 Too many connections, try again later";

#[test]
fn a_full_gate_closes_the_newest_idle_session_of_the_largest_network() {
    let runtime = Rehearsal::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let noted = events.clone();
    let gate = gate_for(&runtime, |limits| {
        (limits.connections, limits.stress_from) = (4, 101);
    })
    .observer(move |event| {
        if let Event::Evicted { peer, .. } = event {
            noted.lock().unwrap().push(peer.to_string());
        }
    });
    let clients = [
        (0, [203, 0, 113, 1], SILENT),
        (1, [198, 51, 100, 1], SILENT),
        (2, [198, 51, 100, 2], SILENT),
        // In a transaction, and in the largest network: it keeps its place.
        (3, [198, 51, 100, 3], "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"),
        (10, [192, 0, 2, 1], QUIT),
    ];
    let heard = hear(&runtime, &gate, &clients);
    let late = "421 4.4.2 Timeout exceeded, closing connection";
    let expected = [(302, late), (303, late), (10, EVICTED), (305, late), (10, "221 2.0.0 Bye")];
    let heard: Vec<_> = heard.iter().map(|(second, last)| (*second, &**last)).collect();
    assert_eq!(heard, expected);
    assert_eq!(*events.lock().unwrap(), ["unknown[198.51.100.2]"]);
    assert_eq!(gate.admission.connections(), 0);
}

#[test]
fn own_networks_are_never_evicted_and_always_let_in() {
    let runtime = Rehearsal::new();
    let gate = gate_for(&runtime, |limits| limits.connections = 2);
    let clients = [
        (0, [127, 0, 0, 1], SILENT),
        (1, [198, 51, 100, 1], SILENT),
        (5, [127, 0, 0, 1], SILENT),
        // No session is left that can be evicted.
        (6, [192, 0, 2, 1], QUIT),
    ];
    let heard = hear(&runtime, &gate, &clients);
    let late = "421 4.4.2 Timeout exceeded, closing connection";
    let expected = [(302, late), (5, EVICTED), (307, late), (6, EVICTED)];
    let heard: Vec<_> = heard.iter().map(|(second, last)| (*second, &**last)).collect();
    assert_eq!(heard, expected);
}

#[test]
fn stress_shortens_waits_that_have_begun_and_ends_by_hysteresis() {
    let runtime = Rehearsal::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let noted = events.clone();
    let clock = runtime.clone();
    let gate = gate_for(&runtime, |limits| limits.connections = 10).observer(move |event| {
        if let Event::Overload { on, connections } = event {
            noted.lock().unwrap().push((clock.elapsed().as_secs(), *on, *connections));
        }
    });
    let mut clients: Vec<_> = (0..6).map(|n| (0, [198, 51, n, 1], SILENT)).collect();
    clients.push((0, [127, 0, 0, 1], SILENT));
    clients.push((100, [192, 0, 2, 1], SILENT));
    // Stress has ended.
    clients.push((200, [192, 0, 2, 1], SILENT));
    let heard = hear(&runtime, &gate, &clients);
    let ends: Vec<_> = heard.iter().map(|(second, _)| *second).collect();
    assert_eq!(ends, [112, 112, 112, 112, 112, 112, 302, 112, 502]);
    assert!(heard.iter().all(|(_, last)| last.starts_with("421 4.4.2")), "{heard:?}");
    let events = events.lock().unwrap();
    assert_eq!(events[..], [(100, true, 8), (112, false, 6)]);
    assert!(!gate.is_stressed());
}

/// A client that sends single octets of one command counts as silent.
#[test]
fn silent_session_is_evicted_among_networks_of_equal_size() {
    for (comes_at, makes_room) in [(1, false), (2, true)] {
        let runtime = Rehearsal::new();
        let gate = gate_for(&runtime, |limits| {
            (limits.connections, limits.stress_from) = (1, 101);
        });
        let clients = [(0, [198, 51, 100, 1], SILENT), (comes_at, [192, 0, 2, 1], QUIT)];
        let heard = hear(&runtime, &gate, &clients);
        let expected = if makes_room { "221 2.0.0 Bye" } else { EVICTED };
        assert_eq!(heard[1].1, expected, "after {comes_at} s");
    }
}

#[test]
fn a_network_gets_no_more_than_the_average_under_stress() {
    let runtime = Rehearsal::new();
    let gate = gate_for(&runtime, |limits| limits.connections = 10);
    let mut clients: Vec<_> = (1..=7).map(|n| (0, [198, 51, 100, n], SILENT)).collect();
    clients.push((1, [203, 0, 113, 1], SILENT));
    // Places are left, but not for this network.
    clients.push((2, [198, 51, 100, 8], QUIT));
    clients.push((3, [203, 0, 113, 2], QUIT));
    let heard = hear(&runtime, &gate, &clients);
    assert_eq!(heard[8].1, EVICTED);
    assert_eq!(heard[9].1, "221 2.0.0 Bye");
}

#[test]
fn abandoned_connection_frees_its_slot() {
    let runtime = Rehearsal::new();
    let gate = gate_for(&runtime, |limits| limits.connections = 1);
    let first = hear(&runtime, &gate, &[(0, [198, 51, 100, 1], QUIT)]);
    assert_eq!(first[0].1, "221 2.0.0 Bye");
    let address = Some([192, 0, 2, 9].into());
    let place = gate.admission.admit(address, runtime.now()).unwrap();
    // Its session runs elsewhere, and is never marked as idle.
    let second = hear(&runtime, &gate, &[(5, [198, 51, 100, 1], QUIT)]);
    assert_eq!(second[0].1, EVICTED);
    drop(place);
    let sleeping = runtime.sleep(Duration::from_secs(1));
    runtime.run(join(sleeping, async {}));
    let third = hear(&runtime, &gate, &[(0, [198, 51, 100, 1], QUIT)]);
    assert_eq!((third[0].1.as_str(), gate.admission.connections()), ("221 2.0.0 Bye", 0));
}
