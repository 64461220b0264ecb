//! A relay target that leads back to its own gate, directly or indirectly. One RCPT must end in a
//! reply, not in as many sessions as there are file descriptors.

#![cfg(feature = "serve")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use nobounce::network::Networks;
use nobounce::onward::{Identify, ProxyVersion};
use nobounce::relay::{self, SelfTestError};
use nobounce::{Address, Event, Gate, Peer, Runtime, Settings, serve};
use smol::Timer;
use smol::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use smol::net::{TcpListener, TcpStream};
use smol::stream::StreamExt;

const LOOP: &str = "451 4.4.6 Mail loop detected, try again later";

#[derive(Debug, Clone, Copy)]
struct Smol;

#[async_trait]
impl Runtime for Smol {
    type Stream = TcpStream;

    async fn sleep_until(&self, at: Instant) {
        Timer::at(at).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<TcpStream> {
        TcpStream::connect(address.to_string()).await
    }
}

async fn listener() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap().to_string().into());
    (listener, address)
}

/// Serves a gate in front of `target` forever. Its clients may send XFORWARD. Returns the counter
/// of its sessions.
fn start(listener: TcpListener, target: relay::Smtp<Smol>, proxied: bool) -> Arc<AtomicUsize> {
    let seen = Arc::<AtomicUsize>::default();
    let observer = seen.clone();
    let loopback: Networks = "127.0.0.0/8".parse().unwrap();
    let mut settings = Settings::new("mx.example.org");
    settings.xforward_from = loopback.clone();
    let mut gate = Gate::new(Smol, settings, target).observer(move |event| {
        if let Event::Connected { .. } = event {
            observer.fetch_add(1, Ordering::SeqCst);
        }
    });
    if proxied {
        gate = gate.expect_proxy(loopback);
    }
    let gate = Arc::new(gate);
    smol::spawn(async move {
        while let Ok((client, address)) = listener.accept().await {
            let gate = gate.clone();
            smol::spawn(async move { serve(client, Peer::new(address), &gate).await }).detach();
        }
    })
    .detach();
    seen
}

/// Forwards octets in both directions, as NAT or a load balancer does.
fn forward(listener: TcpListener, to: Address) {
    smol::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let to = to.to_string();
            smol::spawn(async move {
                let server = TcpStream::connect(to).await.unwrap();
                let there = smol::io::copy(client.clone(), server.clone());
                let back = smol::io::copy(server.clone(), client.clone());
                let _ = smol::future::or(there, back).await;
            })
            .detach();
        }
    })
    .detach();
}

/// A server with a before-queue filter, like Postfix with `smtpd_proxy_filter`. At RCPT it connects
/// to the filter, forwards MAIL and RCPT unchanged, and returns the filter's replies. Without a
/// filter it accepts after a delay.
fn filtered(listener: TcpListener, filter: Option<Address>, ehlo: &'static str) {
    smol::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            smol::spawn(before_queue(client, filter.clone(), ehlo)).detach();
        }
    })
    .detach();
}

async fn before_queue(
    mut client: TcpStream,
    filter: Option<Address>,
    ehlo: &str,
) -> io::Result<()> {
    client.write_all(b"220 filtered.example ESMTP\r\n").await?;
    let mut lines = BufReader::new(client.clone()).lines();
    let mut mail = String::new();
    while let Some(line) = lines.next().await {
        let line = line?;
        let reply = match line.split(' ').next().unwrap_or_default() {
            "EHLO" => ehlo.into(),
            "RCPT" if line.contains("relay-test.invalid") || line.contains("example.com") => {
                "554 5.7.1 Relay access denied".into()
            }
            "RCPT" => match &filter {
                Some(filter) => last_reply(filter, "", [&mail, &line]).await?,
                None => {
                    Timer::after(Duration::from_millis(600)).await;
                    "250 2.1.5 Ok".into()
                }
            },
            verb => {
                if verb == "MAIL" {
                    mail = line.clone();
                }
                "250 2.0.0 Ok".into()
            }
        };
        client.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
    Ok(())
}

const WITH_DSN: &str = "250-filtered.example\r\n250-DSN\r\n250 PIPELINING";
const WITHOUT: &str = "250 filtered.example";

/// Returns the last reply to a client that gets as far as RCPT.
async fn reply_to_rcpt(address: &Address, header: &str) -> String {
    let commands = ["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>"];
    last_reply(address, header, commands).await.unwrap()
}

async fn last_reply(address: &Address, header: &str, commands: [&str; 2]) -> io::Result<String> {
    let mut client = TcpStream::connect(address.to_string()).await?;
    client.write_all(header.as_bytes()).await?;
    let mut last = hear(&mut client).await?;
    for line in ["EHLO client.example.com"].into_iter().chain(commands) {
        client.write_all(format!("{line}\r\n").as_bytes()).await?;
        last = hear(&mut client).await?;
    }
    Ok(last)
}

async fn hear(client: &mut TcpStream) -> io::Result<String> {
    let (mut heard, mut octet) = (Vec::new(), [0]);
    loop {
        client.read_exact(&mut octet).await?;
        heard.push(octet[0]);
        let line = heard.rsplit(|it| *it == b'\n').nth(1).unwrap_or_default();
        if octet == *b"\n" && line.get(3) == Some(&b' ') {
            return Ok(String::from_utf8(line.to_vec()).unwrap().trim_end().into());
        }
    }
}

fn target(address: &Address, identify: Identify) -> relay::Smtp<Smol> {
    relay::Smtp::new(Smol, address.clone(), "mx.example.org").identify(identify)
}

const ALL: [Identify; 4] =
    [Identify::None, Identify::XClient, Identify::XForward, Identify::Proxy(ProxyVersion::V2)];

#[test]
fn gate_that_relays_to_itself_replies_451() {
    smol::block_on(async {
        for identify in ALL {
            let (listener, address) = listener().await;
            let proxied = matches!(identify, Identify::Proxy(_));
            let seen = start(listener, target(&address, identify), proxied);
            let header = if proxied { "PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n" } else { "" };
            for n in 1..=3 {
                assert_eq!(reply_to_rcpt(&address, header).await, LOOP, "{identify:?}");
                // Its own session, and those of connections that ask for the offered extensions and
                // for the recipient.
                let sessions = seen.load(Ordering::SeqCst);
                assert!(sessions <= 3 * n, "{identify:?}: {sessions} sessions");
            }
        }
    });
}

#[test]
fn loop_through_another_server_is_detected() {
    smol::block_on(async {
        let ((one, first), (other, second)) = (listener().await, listener().await);
        let identify = Identify::XForward;
        let seen = [
            start(one, target(&second, identify), false),
            start(other, target(&first, identify), false),
        ];
        assert_eq!(reply_to_rcpt(&first, "").await, LOOP);
        let sessions: Vec<_> = seen.iter().map(|seen| seen.load(Ordering::SeqCst)).collect();
        assert!(sessions.iter().sum::<usize>() <= 6, "{sessions:?}");
    });
}

#[test]
fn self_test_finds_direct_and_indirect_loops() {
    smol::block_on(async {
        // Directly, and through a relay that forwards octets from another address.
        for through in [false, true] {
            let (listener_of_gate, gate) = listener().await;
            let (between, forwarder) = listener().await;
            forward(between, gate.clone());
            let onward = if through { &forwarder } else { &gate };
            let target = target(onward, Identify::None);
            let seen = start(listener_of_gate, target.clone(), false);
            let tested = target.self_test().await;
            let error = tested.unwrap_err();
            assert!(matches!(error, SelfTestError::Loop), "{through}: {error}");
            assert!(seen.load(Ordering::SeqCst) <= 2, "{seen:?}");
        }
    });
}

#[test]
fn two_gates_in_one_process_are_not_a_loop() {
    smol::block_on(async {
        let ((one, first), (other, second)) = (listener().await, listener().await);
        let nobody = Address::Tcp("127.0.0.1:1".into());
        start(other, target(&nobody, Identify::None), false);
        start(one, target(&second, Identify::None), false);
        let reply = reply_to_rcpt(&first, "").await;
        assert_eq!(reply, "451 4.4.1 The next server cannot be reached, try again later");
    });
}

#[test]
fn loop_through_a_filter_is_detected_during_rcpt() {
    smol::block_on(async {
        for ehlo in [WITH_DSN, WITHOUT] {
            let ((gates, gate), (servers, server)) = (listener().await, listener().await);
            filtered(servers, Some(gate.clone()), ehlo);
            let seen = start(gates, target(&server, Identify::None), false);
            let late = async {
                Timer::after(Duration::from_secs(5)).await;
                "no reply".into()
            };
            assert_eq!(smol::future::or(reply_to_rcpt(&gate, ""), late).await, LOOP);
            // From then on the loop is known.
            let sessions = seen.load(Ordering::SeqCst);
            assert_eq!(reply_to_rcpt(&gate, "").await, LOOP);
            assert_eq!(seen.load(Ordering::SeqCst), sessions + 1);
            // Even if every connection is in use: each client has one.
            assert!(sessions <= 85, "{sessions} sessions");
        }
    });
}

#[test]
fn the_self_test_finds_a_server_whose_filter_is_the_gate() {
    smol::block_on(async {
        for ehlo in [WITH_DSN, WITHOUT] {
            let ((gates, gate), (servers, server)) = (listener().await, listener().await);
            filtered(servers, Some(gate.clone()), ehlo);
            let target = target(&server, Identify::None);
            let seen = start(gates, target.clone(), false);
            let error = target.self_test().await.unwrap_err();
            assert!(matches!(error, SelfTestError::Loop), "{error}");
            assert!(seen.load(Ordering::SeqCst) <= 2, "{seen:?}");
        }
    });
}

#[test]
fn same_recipient_from_many_clients_is_not_a_loop() {
    smol::block_on(async {
        let ((gates, gate), (servers, server)) = (listener().await, listener().await);
        filtered(servers, None, WITH_DSN);
        start(gates, target(&server, Identify::None), false);
        // One imitates a token.
        let imitated = "MAIL FROM:<self-test-0123456789abcdef@mx.example.org>";
        let replies = join_all((0..50).map(|n| {
            let mail = if n == 0 { imitated } else { "MAIL FROM:<a@example.org>" };
            last_reply(&gate, "", [mail, "RCPT TO:<b@example.org>"])
        }));
        for reply in replies.await {
            assert_eq!(reply.unwrap(), "250 2.1.5 Ok");
        }
    });
}
