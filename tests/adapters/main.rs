//! The adapters for tokio and smol over real sockets: backlog, admission, shutdown.

#![cfg(all(feature = "smol", feature = "tokio", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod client;
mod service;

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use client::Client;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nobounce::admission::{Admission, AdmissionError, AdmissionLimits};
use nobounce::network::Networks;
use nobounce::smol::Smol;
use nobounce::tokio::Tokio;
use nobounce::{Address, Event, Gate, Settings};
use service::{Adapter, Door, Service, Shelf};

/// Timeout for every step of a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs each test with each adapter.
macro_rules! on_each {
    ($($test:ident)*) => {
        mod on_tokio {
            $( #[test] fn $test() { super::$test::<super::Tokio>(); } )*
        }
        mod on_smol {
            $( #[test] fn $test() { super::$test::<super::Smol>(); } )*
        }
    };
}

on_each! {
    a_thousand_clients_at_once_are_all_greeted
    a_listener_from_elsewhere_gets_a_large_backlog
    shutdown_lets_a_transaction_end_and_greets_nobody
    the_deadline_of_a_shutdown_ends_the_rest
    a_gate_that_is_shut_down_ends_the_loop
    dropping_the_future_closes_listeners_and_connections
    clients_of_a_unix_socket_are_served
    a_unix_socket_that_was_left_behind_is_replaced
    a_client_beyond_the_limits_is_told_so
    the_client_behind_a_proxy_is_the_one_of_its_header
    a_tls_listener_without_a_certificate_is_an_error_at_once
    an_address_in_use_is_named_in_the_error
    datagrams_go_to_their_server_and_come_from_nowhere_else
}

fn gate<R: Adapter>() -> Gate<R> {
    Gate::new(R::default(), Settings::new("mx.example"), Shelf)
}

fn loopback() -> Address {
    "127.0.0.1:0".parse().unwrap()
}

fn a_thousand_clients_at_once_are_all_greeted<R: Adapter>() {
    all_are_greeted::<R>(1_000, Door::At(loopback()));
}

fn a_listener_from_elsewhere_gets_a_large_backlog<R: Adapter>() {
    all_are_greeted::<R>(300, Door::Made(TcpListener::bind("127.0.0.1:0").unwrap()));
}

/// All clients connect before the first is accepted, as after a pause of the process.
fn all_are_greeted<R: Adapter>(count: usize, door: Door) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let mut service = Service::listening(gate::<R>(), door, PATIENCE);
    let clients: Vec<_> = (0..count).map(|_| Client::connect(&service.address)).collect();
    service.begin();
    for mut client in clients {
        client.expect("220 mx.example ESMTP");
    }
    service.stop();
    assert_eq!(service.ended().unwrap().cut_off, 0);
}

fn shutdown_lets_a_transaction_end_and_greets_nobody<R: Adapter>() {
    let mut service = Service::start(gate::<R>(), Door::At(loopback()));
    let mut idle = Client::greeted(&service.address);
    let mut busy = Client::greeted(&service.address);
    busy.begin_message();
    service.stop();
    idle.expect("421 4.3.2 ");
    idle.assert_closed();
    // The listener is closed before clients are notified.
    let late = Client::try_connect(&service.address);
    assert_eq!(late.err().unwrap().kind(), io::ErrorKind::ConnectionRefused);
    busy.say("Subject: last\r\n\r\n.", "250 2.0.0 Ok: queued as shelf");
    busy.expect("421 4.3.2 ");
    busy.assert_closed();
    assert_eq!(service.ended().unwrap().cut_off, 0);
}

fn the_deadline_of_a_shutdown_ends_the_rest<R: Adapter>() {
    let drain = Duration::from_millis(50);
    let mut service = Service::with_drain(gate::<R>(), Door::At(loopback()), drain);
    let mut busy = Client::greeted(&service.address);
    busy.begin_message();
    service.stop();
    busy.assert_closed();
    assert_eq!(service.ended().unwrap().cut_off, 1);
}

fn a_gate_that_is_shut_down_ends_the_loop<R: Adapter>() {
    let gate = Arc::new(gate::<R>());
    let service = Service::start(gate.clone(), Door::At(loopback()));
    let mut idle = Client::greeted(&service.address);
    gate.shut_down();
    idle.expect("421 4.3.2 ");
    idle.assert_closed();
    assert_eq!(service.ended().unwrap().cut_off, 0);
}

fn dropping_the_future_closes_listeners_and_connections<R: Adapter>() {
    let gate = Arc::new(gate::<R>());
    let service = Service::start(gate.clone(), Door::At(loopback()));
    let address = service.address.clone();
    let mut busy = Client::greeted(&address);
    busy.begin_message();
    let idle = Client::greeted(&address);
    service.cancel();
    busy.assert_closed();
    idle.assert_closed();
    // A listener closed in a task is not closed at once. Until then, a client connects but is not
    // served.
    R::block_on(gate.drained());
    while let Ok(late) = Client::try_connect(&address) {
        late.assert_closed();
    }
    assert!(!gate.is_going_down(), "the gate can be served again");
}

fn clients_of_a_unix_socket_are_served<R: Adapter>() {
    let folder = tempfile::tempdir().unwrap();
    let address = Address::Unix(folder.path().join("smtp"));
    let mut service = Service::start(gate::<R>(), Door::At(address.clone()));
    assert_eq!(service.address, address);
    let mut client = Client::greeted(&address);
    client.begin_message();
    client.say("Subject: here\r\n\r\n.", "250 2.0.0 Ok: queued as shelf");
    client.say("QUIT", "221 2.0.0 Bye");
    client.assert_closed();
    service.stop();
    assert_eq!(service.ended().unwrap().cut_off, 0);
}

fn a_unix_socket_that_was_left_behind_is_replaced<R: Adapter>() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("smtp");
    let address = Address::Unix(path.clone());
    let living = UnixListener::bind(&path).unwrap();
    let error = R::block_on(R::listen(&address)).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
    drop(living);
    let service = Service::start(gate::<R>(), Door::At(address.clone()));
    Client::greeted(&address);
    drop(service);
    // Files that are not sockets are kept.
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert!(R::block_on(R::listen(&Address::Unix(file.clone()))).is_err());
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
}

/// The accept loop itself answers the client, without a task for it.
fn a_client_beyond_the_limits_is_told_so<R: Adapter>() {
    let mut settings = Settings::new("mx.example");
    settings.own_networks = Networks::none();
    let mut limits = AdmissionLimits::default();
    limits.per_address = 1;
    let (tell, told) = mpsc::channel();
    let gate = Gate::new(R::default(), settings, Shelf).admission(Admission::new(limits)).observer(
        move |event| match event {
            Event::TurnedAway { reason, .. } => tell.send(*reason).unwrap(),
            Event::Disconnected { .. } => {}
            _ => {}
        },
    );
    let service = Service::start(gate, Door::At(loopback()));
    let first = Client::greeted(&service.address);
    let mut second = Client::connect(&service.address);
    second.expect("421 4.7.0 Too many connections from your address");
    second.assert_closed();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(AdmissionError::Address));
    drop(first);
}

fn the_client_behind_a_proxy_is_the_one_of_its_header<R: Adapter>() {
    let (tell, told) = mpsc::channel();
    let gate = gate::<R>().expect_proxy("127.0.0.1".parse().unwrap()).observer(move |event| {
        if let Event::Connected { peer, .. } = event {
            tell.send(peer.address).unwrap();
        }
    });
    let service = Service::start(gate, Door::At(loopback()));
    let mut client = Client::connect(&service.address);
    client.say("PROXY TCP4 192.0.2.7 198.51.100.1 4711 25", "220 mx.example ESMTP");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Some(([192, 0, 2, 7], 4711).into()));

    let (tell, told) = mpsc::channel();
    let gate = gate_for_nobody::<R>(move |stranger| tell.send(stranger).unwrap());
    let service = Service::start(gate, Door::At(loopback()));
    Client::connect(&service.address).assert_closed();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "not from a trusted proxy");
}

/// Returns a gate that trusts no proxy on this machine.
fn gate_for_nobody<R: Adapter>(tell: impl Fn(String) + Send + Sync + 'static) -> Gate<R> {
    gate::<R>().expect_proxy("192.0.2.0/24".parse().unwrap()).observer(move |event| {
        if let Event::Unproxied { error, .. } = event {
            tell(error.to_string());
        }
    })
}

fn a_tls_listener_without_a_certificate_is_an_error_at_once<R: Adapter>() {
    let service = Service::start(gate::<R>(), Door::TlsAt(loopback()));
    let error = service.ended().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "TLS is offered, but the gate has no TLS settings");
}

fn an_address_in_use_is_named_in_the_error<R: Adapter>() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listener = TcpListener::bind(taken).unwrap();
    let address: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let error = R::block_on(R::listen(&address)).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("{address}: ")), "{error}");
}

fn datagrams_go_to_their_server_and_come_from_nowhere_else<R: Adapter>() {
    let [server, stranger] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    R::block_on(async {
        let datagrams = R::default().datagrams(server.local_addr().unwrap()).await.unwrap();
        datagrams.send(b"question").await.unwrap();
        let mut buffer = [0; 100];
        let (length, asker) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"question");
        stranger.send_to(b"forged", asker).unwrap();
        server.send_to(b"answer", asker).unwrap();
        let length = datagrams.receive(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"answer");
    });
}
