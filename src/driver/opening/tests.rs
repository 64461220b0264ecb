use std::sync::{Arc, Mutex};

use futures::future::join;

use super::*;
use crate::admission::ProxyError;
use crate::admission::{Admission, AdmissionLimits};
use crate::driver::serve;
use crate::driver::tests::{Client, Slow};
use crate::rehearsal::{Rehearsal, peer};
use crate::session::Settings;

/// Returns an empty gate that admits one client per address.
fn gate(runtime: &Rehearsal) -> Gate<Rehearsal> {
    let limits = AdmissionLimits { per_address: 1, ..AdmissionLimits::default() };
    let target = Slow::new(runtime, false);
    Gate::new(runtime.clone(), Settings::new("mx.example"), target)
        .session_prefix("test")
        .admission(Admission::new(limits))
}

/// Connects a client from `peer`. Returns its output and the result of `serve`.
fn comes(
    gate: &Gate<Rehearsal>,
    peer: Peer,
    says: &str,
    polite: bool,
) -> (String, Result<(), ServeError>) {
    let mut heard = Vec::new();
    let mut client = Client::new(says, &mut heard);
    client.polite = polite;
    let served = gate.runtime.run(serve(client, peer, gate));
    (String::from_utf8(heard).unwrap(), served)
}

/// Occupies a place for a client of this address.
fn inside(gate: &Gate<Rehearsal>, client: &Peer) -> AdmissionGuard {
    let address = client.address.map(|address| address.ip());
    gate.admission.admit(address, gate.runtime.now()).unwrap()
}

const GREETED: &str = "220 mx.example ESMTP nobounce test\r\n221 2.0.0 Bye\r\n";
const FULL: &str = "421 4.7.0 Too many connections from your address\r\n";

#[test]
fn connection_over_the_limit_gets_421_instead_of_a_greeting() {
    let runtime = Rehearsal::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let noted = events.clone();
    let gate = gate(&runtime).observer(move |event| {
        noted.lock().unwrap().push(match event {
            Event::TurnedAway { peer, reason } => format!("{peer}: {reason}"),
            event => format!("{event:?}"),
        });
    });
    let place = inside(&gate, &peer());
    let (heard, served) = comes(&gate, peer(), "QUIT\r\n", true);
    assert_eq!(heard, FULL);
    assert!(matches!(served, Err(ServeError::TurnedAway(AdmissionError::Address))), "{served:?}");
    let turned = "unknown[192.0.2.1]: too many connections from the address";
    assert_eq!(*events.lock().unwrap(), [turned]);
    assert_eq!((gate.sessions(), gate.admission.connections()), (0, 1));

    drop(place);
    for _ in 0..2 {
        assert_eq!(comes(&gate, peer(), "QUIT\r\n", true).0, GREETED);
        assert_eq!(gate.admission.connections(), 0, "its slot was not freed");
    }
}

#[test]
fn own_networks_and_trusted_proxies_count_only_towards_the_total() {
    let runtime = Rehearsal::new();
    let own = Peer::new(([127, 0, 0, 1], 4711).into());
    let gate = gate(&runtime);
    let _place = inside(&gate, &own);
    assert_eq!(comes(&gate, own, "QUIT\r\n", true).0, GREETED);

    let _place = inside(&gate, &peer());
    assert_eq!(comes(&gate, peer(), "QUIT\r\n", true).0, FULL);
    for for_xclient in [true, false] {
        let mut settings = Settings::new("mx.example");
        let trusted =
            if for_xclient { &mut settings.xclient_from } else { &mut settings.xforward_from };
        *trusted = "192.0.2.0/24".parse().unwrap();
        gate.replace(Gate::new(runtime.clone(), settings, Slow::new(&runtime, false)));
        assert_eq!(comes(&gate, peer(), "QUIT\r\n", true).0, GREETED);
    }
}

#[test]
fn limits_apply_to_the_client_of_a_proxy() {
    let runtime = Rehearsal::new();
    let gate = gate(&runtime).expect_proxy("192.0.2.0/24".parse().unwrap());
    let client = Peer::new(([198, 51, 100, 1], 4711).into());
    let header = |from: &str| format!("PROXY TCP4 {from} 192.0.2.7 4711 25\r\n");
    let greeting = "220 mx.example ESMTP nobounce test\r\n";

    let place = inside(&gate, &client);
    assert_eq!(comes(&gate, peer(), &header("198.51.100.1"), false).0, FULL);
    assert_eq!(comes(&gate, peer(), &header("198.51.100.2"), false).0, greeting);
    // The proxy itself has many connections, and may check whether the gate is alive.
    let _place = inside(&gate, &peer());
    assert_eq!(comes(&gate, peer(), &header("198.51.100.2"), false).0, greeting);
    assert_eq!(comes(&gate, peer(), "PROXY UNKNOWN\r\n", false).0, greeting);
    drop(place);
    assert_eq!(comes(&gate, peer(), &header("198.51.100.1"), false).0, greeting);
    assert_eq!(gate.admission.connections(), 1);
}

#[test]
fn the_connection_that_has_waited_longest_for_its_proxy_header_makes_room() {
    let runtime = Rehearsal::new();
    let limits = AdmissionLimits { connections: 1, ..AdmissionLimits::default() };
    let gate = gate(&runtime).admission(Admission::new(limits));
    let gate = gate.expect_proxy("192.0.2.0/24".parse().unwrap());
    // One connection more than the limit may wait for its header.
    let _place = inside(&gate, &Peer::local());
    let mut heard = Vec::new();
    let mut silent = Client::new("", &mut heard);
    silent.polite = true;
    let waits = serve(silent, peer(), &gate);
    let displaces = async {
        runtime.sleep(Duration::from_secs(1)).await;
        let mut newcomer = gate.admission.enter().unwrap();
        assert_eq!(gate.admission.connections(), 2, "the other connection is no longer counted");
        // All places of admitted clients are taken.
        let told = newcomer.count_for([198, 51, 100, 1].into(), runtime.now());
        assert_eq!(told, Err(AdmissionError::Full));
    };
    let (served, ()) = runtime.run(join(waits, displaces));
    let displaced = ServeError::Unproxied(ProxyError::Displaced);
    assert_eq!(served.unwrap_err().to_string(), displaced.to_string());
    assert_eq!(runtime.elapsed(), Duration::from_secs(1));
    assert_eq!(heard, b"", "a proxy reads no replies");
    assert_eq!(gate.admission.connections(), 1);
}
