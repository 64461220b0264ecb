use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use futures::io::AsyncWrite;

use super::*;
use crate::driver::{ServeError, serve};
use crate::envelope::Envelope;
use crate::message::Message;
use crate::observer::Event;
use crate::opinion::{Opinion, ScorerError};
use crate::outcome::{Outcome, Receipt};
use crate::panel::Panel;
use crate::peer::Voucher;
use crate::rehearsal::Rehearsal;
use crate::relay::{Relay, Target};
use crate::score::{Finding, Score};
use crate::scorer::{ConnectContext, Scorer};
use crate::session::Settings;
use crate::wire::mailbox::ForwardPath;

const PROXIES: &str = "192.0.2.0/28";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The next action of a connection.
#[derive(Clone)]
enum Does {
    Say(Vec<u8>),
    Wait(u64),
    End,
    Break,
}

use Does::{Break, End, Say, Wait};

fn say(octets: impl AsRef<[u8]>) -> Does {
    Say(octets.as_ref().to_vec())
}

/// A connection that performs its script and is silent after that.
struct Connection {
    rehearsal: Rehearsal,
    script: VecDeque<Does>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(context));
                self.waiting = None;
            }
            match self.script.pop_front() {
                None => return Poll::Pending,
                Some(Say(octets)) => {
                    buffer[..octets.len()].copy_from_slice(&octets);
                    return Poll::Ready(Ok(octets.len()));
                }
                Some(Wait(milliseconds)) => {
                    let rehearsal = self.rehearsal.clone();
                    let time = Duration::from_millis(milliseconds);
                    self.waiting = Some(Box::pin(async move { rehearsal.sleep(time).await }));
                }
                Some(End) => {
                    self.script.push_front(End);
                    return Poll::Ready(Ok(0));
                }
                Some(Break) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.heard.lock().unwrap().extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A relay target that accepts everything.
struct Taker;

impl Target for Taker {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        Box::new(Taker)
    }
}

#[async_trait]
impl Relay for Taker {
    async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
        Outcome::Accepted(Receipt::recipient())
    }

    async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
        Outcome::Accepted(Receipt::kept("1"))
    }
}

/// A scorer with a finding for every client; the symbol is the client's address.
struct Finder;

#[async_trait]
impl Scorer for Finder {
    fn name(&self) -> &str {
        "finder"
    }

    async fn on_connect(&self, at: &ConnectContext<'_>) -> Result<Opinion, ScorerError> {
        let address = at.peer.address.map_or("none".into(), |address| address.ip().to_string());
        Ok(Finding::new(&address, Score::points(1)).into())
    }
}

/// The result of a connection.
struct Served {
    result: Result<(), ServeError>,
    heard: String,
    /// Abbreviated events.
    events: Vec<String>,
    elapsed: Duration,
}

fn served(peer: Peer, script: Vec<Does>, configure: impl FnOnce(&mut Settings)) -> Served {
    let rehearsal = Rehearsal::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = events.clone();
    let mut settings = Settings::new("mx.example");
    configure(&mut settings);
    let gate = Gate::new(rehearsal.clone(), settings, Taker)
        .session_prefix("test")
        .panel(Panel::new().scorer(Finder))
        .expect_proxy(PROXIES.parse().unwrap())
        .observer(move |event| {
            log.lock().unwrap().extend(match event {
                Event::Connected { peer, .. } => {
                    let port = peer.address.map_or(0, |address| address.port());
                    Some(format!("connected {peer}:{port} via {}", peer.vouched.address))
                }
                Event::ClientChanged { peer, .. } => Some(format!("changed {peer}")),
                Event::Unproxied { peer, error } => Some(format!("unproxied {peer}: {error}")),
                Event::Judged { tally, .. } => Some(format!("judged {tally}")),
                Event::Ended(record) => Some(record.to_string()),
                _ => None,
            });
        });
    let heard = Arc::new(Mutex::new(Vec::new()));
    let connection = Connection {
        rehearsal: rehearsal.clone(),
        script: script.into(),
        waiting: None,
        heard: heard.clone(),
    };
    let result = rehearsal.run(serve(connection, peer, &gate));
    let heard = String::from_utf8(heard.lock().unwrap().clone()).unwrap();
    assert_eq!(gate.sessions(), 0);
    let events = events.lock().unwrap().clone();
    Served { result, heard, events, elapsed: rehearsal.elapsed() }
}

fn proxy() -> Peer {
    Peer::new(([192, 0, 2, 7], 5000).into()).named("proxy.example")
}

fn header(source: &str, destination: &str, v2: bool) -> Vec<u8> {
    let header = ProxyHeader::tcp(source.parse().unwrap(), destination.parse().unwrap());
    let mut octets = BytesMut::new();
    if v2 {
        header.write_v2(&mut octets)
    } else {
        header.write_v1(&mut octets)
    }
    octets.to_vec()
}

/// Trusted headers, and the client that each of them announces.
fn headers() -> Vec<(Vec<u8>, &'static str)> {
    const V4: &str = "connected unknown[198.51.100.7]:4711 via proxy[192.0.2.7]";
    const V6: &str = "connected unknown[IPv6:2001:db8::7]:4711 via proxy[192.0.2.7]";
    const NOBODY: &str = "connected unknown[unknown]:0 via proxy[192.0.2.7]";
    let v4 = |v2| header("198.51.100.7:4711", "203.0.113.1:25", v2);
    let v6 = |v2| header("[2001:db8::7]:4711", "[2001:db8::1]:25", v2);
    let mapped = |v2| header("[::ffff:198.51.100.7]:4711", "[2001:db8::1]:25", v2);
    let mut extended = v4(true);
    extended[15] += 7;
    extended.extend_from_slice(b"\x04\0\x04junk");
    vec![
        (v4(false), V4),
        (v4(true), V4),
        (extended, V4),
        (v6(false), V6),
        (v6(true), V6),
        (mapped(false), V4),
        (mapped(true), V4),
        (b"PROXY UNKNOWN\r\n".to_vec(), NOBODY),
        (b"PROXY UNKNOWN 198.51.100.7 203.0.113.1 4711 25\r\n".to_vec(), NOBODY),
        ([V2, b"\x21\0\0\0"].concat(), NOBODY),
        ([V2, b"\x20\0\0\0"].concat(), "connected proxy.example[192.0.2.7]:5000 via socket"),
        ([V2, b"\x20\x11\0\x02xx"].concat(), "connected proxy.example[192.0.2.7]:5000 via socket"),
    ]
}

const GREETED: &str = "220 mx.example ESMTP nobounce test\r\n221 2.0.0 Bye\r\n";

#[test]
fn split_proxy_header_identifies_the_client() {
    for (header, connected) in headers() {
        let polite = [Wait(1000), say("QUIT\r\n")];
        let whole = vec![vec![Say(header.clone())]];
        let halves =
            (1..header.len()).map(|at| vec![say(&header[..at]), Wait(1000), say(&header[at..])]);
        let octets = vec![header.iter().map(|octet| Say(vec![*octet])).collect()];
        for script in whole.into_iter().chain(halves).chain(octets) {
            let served = served(proxy(), [script, polite.to_vec()].concat(), |_| {});
            served.result.unwrap();
            assert_eq!(served.heard, GREETED, "{header:?}");
            assert_eq!(served.events[0], connected, "{header:?}");
        }
    }
}

/// Octets after the header are input of the client. A client that talks before its greeting is
/// detected, and a silent client is not mistaken for one.
#[test]
fn input_after_the_proxy_header_before_the_greeting_is_a_violation() {
    const EARLY: &str = "554 5.5.0 SMTP protocol synchronization error\r\n";
    for (header, _) in headers() {
        let together = [&header[..], b"EHLO pushy.example\r\n"].concat();
        let cases = [
            (vec![Say(together)], EARLY),
            (vec![Say([&header[..], b"E"].concat()), End], EARLY),
            (vec![Say(header.clone()), Wait(1), say("QUIT\r\n")], GREETED),
        ];
        for (script, heard) in cases {
            assert_eq!(served(proxy(), script, |_| {}).heard, heard);
        }
    }
}

#[test]
fn connection_without_a_proxy_header_is_closed_silently() {
    let good = header("198.51.100.7:4711", "203.0.113.1:25", false);
    let good2 = header("198.51.100.7:4711", "203.0.113.1:25", true);
    let elsewhere = || Peer::new(([192, 0, 2, 16], 5000).into());
    let v2 = |rest: &[u8]| say([V2, rest].concat());
    let cases: Vec<(Peer, Vec<Does>, &str)> = vec![
        (elsewhere(), vec![Say(good.clone())], "unknown[192.0.2.16]: not from a trusted proxy"),
        (elsewhere(), vec![], "unknown[192.0.2.16]: not from a trusted proxy"),
        (Peer::local(), vec![Say(good.clone())], "unknown[local]: not from a trusted proxy"),
        (proxy(), vec![say("EHLO a.example\r\n")], "no PROXY header"),
        (proxy(), vec![say("P"), say("A")], "no PROXY header"),
        (proxy(), vec![say(b"\x16\x03\x01")], "no PROXY header"),
        (proxy(), vec![say("PROXY TCP4 1.2.3.4\r\n")], "malformed PROXY header"),
        (proxy(), vec![say("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n")], "malformed PROXY header"),
        (proxy(), vec![say("PROXY TCP4 ::1 ::2 1 2\r\n")], "malformed PROXY header"),
        (proxy(), vec![say("PROXY "), say("x".repeat(101))], "malformed PROXY header"),
        (proxy(), vec![v2(b"\x31\x11\0\x0c")], "malformed PROXY header"),
        (proxy(), vec![v2(b"\x21\x11\0\x04abcd")], "malformed PROXY header"),
        (proxy(), vec![End], "the proxy closed the connection before the end of the PROXY header"),
        (
            proxy(),
            vec![say(&good[..20]), End],
            "the proxy closed the connection before the end of the PROXY header",
        ),
        (
            proxy(),
            vec![say(&good2[..20]), End],
            "the proxy closed the connection before the end of the PROXY header",
        ),
        (
            proxy(),
            vec![Break],
            "the connection was lost before the end of the PROXY header: connection reset",
        ),
    ];
    for (peer, script, event) in cases {
        let served = served(peer, script, |_| {});
        assert!(matches!(served.result, Err(ServeError::Unproxied(_))), "{:?}", served.result);
        assert_eq!(served.heard, "", "{event}");
        assert_eq!(served.events.len(), 1, "{:?}", served.events);
        assert!(served.events[0].starts_with("unproxied "), "{:?}", served.events);
        assert!(served.events[0].ends_with(event), "{:?}: {event}", served.events);
        assert_eq!(served.elapsed, Duration::ZERO);
    }
}

#[test]
fn proxy_header_times_out_after_five_seconds() {
    for (header, _) in headers() {
        let (first, rest) = header.split_at(header.len() - 1);
        // Octets that trickle in do not extend the timeout.
        let mut late: Vec<_> = first.iter().flat_map(|it| [Wait(1), Say(vec![*it])]).collect();
        late.extend([Wait(5_001 - first.len() as u64), say(rest)]);
        let mut timely = late.clone();
        let last = timely.len() - 2;
        timely[last] = Wait(4_999 - first.len() as u64);
        timely.extend([Wait(60_000), say("QUIT\r\n")]);

        assert_eq!(served(proxy(), timely, |_| {}).heard, GREETED);
        for script in [late, vec![], vec![say(first)]] {
            let served = served(proxy(), script, |_| {});
            assert_eq!(served.heard, "");
            assert_eq!(served.elapsed, Duration::from_secs(5));
            assert_eq!(
                served.events,
                ["unproxied proxy.example[192.0.2.7]: no PROXY header in time"]
            );
        }
    }
}

/// A proxy may be trusted with XCLIENT, but the clients behind it are not.
#[test]
fn the_rights_are_those_of_the_client_not_of_the_proxy() {
    let trusted = |settings: &mut Settings| {
        settings.xclient_from = "192.0.2.7, 198.51.100.7, local".parse().unwrap();
    };
    for (header, connected) in headers() {
        let script = vec![
            Say(header),
            Wait(1),
            say("XCLIENT ADDR=203.0.113.9\r\n"),
            Wait(1),
            say("QUIT\r\n"),
        ];
        let served = served(proxy(), script, trusted);
        let may = connected.contains("[198.51.100.7]") || connected.ends_with("via socket");
        let reply = if may { "220 mx" } else { "500 5.5.1 " };
        let second = served.heard.lines().nth(1).unwrap();
        assert!(second.starts_with(reply), "{connected}: {second}");
        let changed = served.events.contains(&"changed unknown[203.0.113.9]".to_owned());
        assert_eq!(changed, may, "{:?}", served.events);
    }
}

/// Findings about a server that uses XCLIENT do not count against its clients.
#[test]
fn xclient_resets_the_verdict() {
    let trusted = |settings: &mut Settings| settings.xclient_from = "192.0.2.7".parse().unwrap();
    let mut script = vec![say([V2, b"\x20\0\0\0"].concat())];
    let lines = [
        "XCLIENT ADDR=203.0.113.9 NAME=a.example",
        "EHLO a.example",
        "MAIL FROM:<>",
        "RCPT TO:<b@example.com>",
        "QUIT",
    ];
    script.extend(lines.iter().flat_map(|line| [Wait(1), say(format!("{line}\r\n"))]));
    let served = served(proxy(), script, trusted);
    served.result.unwrap();
    let mut events = served.events;
    let record = events.pop().unwrap();
    assert_eq!(
        events,
        [
            "connected proxy.example[192.0.2.7]:5000 via socket",
            "judged score=1.00 finder:192.0.2.7=1.00",
            "changed a.example[203.0.113.9]",
            "judged score=1.00 finder:203.0.113.9=1.00",
            "judged score=1.00 finder:203.0.113.9=1.00",
        ]
    );
    assert!(
        record.contains(" client=a.example[203.0.113.9] via=xclient[192.0.2.7] helo="),
        "{record}"
    );
    assert!(record.contains(" score=1.00 finder:203.0.113.9=1.00 "), "{record}");
}

#[test]
fn peers_show_who_vouches_for_them() {
    let server: std::net::SocketAddr = "[2001:db8::1]:25".parse().unwrap();
    let cases = [
        (Voucher::Socket, "socket"),
        (Voucher::Proxy(None), "proxy[local]"),
        (Voucher::XClient(Some(server)), "xclient[IPv6:2001:db8::1]"),
        (Voucher::XForward(Some(server)), "xforward[IPv6:2001:db8::1]"),
    ];
    for (voucher, written) in cases {
        assert_eq!(voucher.to_string(), written);
    }
    let mut vouched = Peer::local().vouched;
    assert_eq!(vouched.to_string(), "");
    vouched.address = Voucher::Proxy(None);
    vouched.helo = Voucher::XClient(None);
    assert_eq!(vouched.to_string(), "proxy[local],xclient[local]");
    vouched.name = Voucher::XClient(None);
    assert_eq!(vouched.to_string(), "proxy[local],xclient[local]");
}
