//! A gate with everything enabled: every scorer with its daemon, DNS, an onward server. Nothing
//! waits.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::io::{AsyncRead, AsyncWrite};
use nobounce::dns::{Answer, DomainName, Record, RecordKind, ResolveError, Resolver};
use nobounce::message::Budget;
use nobounce::panel::Seat;
use nobounce::relay::Smtp;
use nobounce::scorers::{
    Authentication, Behaviour, Clamd, DnsList, Dnsbl, Greylist, Gtube, HeloNames, RateLimit,
    Reputation, ReverseNames, Rhsbl, Rspamd, Spamd, Uribl,
};
use nobounce::session::EarlyInput;
use nobounce::store::Memory;
use nobounce::{
    Address, Event, Gate, Observer, Panel, Peer, Runtime, Score, Settings, Thresholds, serve,
};

use crate::input::Input;

/// The result of a session.
#[derive(Debug, Clone, Copy, Default)]
pub struct Got {
    /// First digit of the last reply.
    pub last: usize,
    /// Octets received by the onward server.
    pub onward: usize,
    /// Octets received by the daemons.
    pub daemons: usize,
}

/// A gate and its environment.
pub struct Service {
    world: World,
    gate: Gate<World>,
}

impl Service {
    /// Returns a gate with every scorer.
    pub fn new(budget: Budget) -> Self {
        Self::with(budget, panel)
    }

    /// Returns a gate with this panel.
    pub fn with(budget: Budget, panel: impl FnOnce(&World) -> Panel) -> Self {
        let world = World::default();
        let mut settings = Settings::new("mx.example");
        settings.early_input = EarlyInput::Tolerate;
        settings.authserv_id = Some(settings.host.clone());
        settings.budget = budget;
        settings.limits.content = 64 << 20;
        let target = Smtp::new(world.clone(), address("onward:25"), "mx.example");
        let gate = Gate::new(world.clone(), settings, target)
            .panel(panel(&world))
            .name_clients(Zone, Duration::from_secs(1))
            .observed_by(Written);
        Self { world, gate }
    }

    /// Serves a client with this input. All scorers are in monitor mode, so its mail is relayed.
    pub fn serve(&self, input: Input) -> Got {
        let (client, last) = Client::new(input);
        let peer = Peer::new(([192, 0, 2, 1], 4711).into());
        pollster::block_on(serve(client, peer, &self.gate)).expect("a session");
        Got {
            last: last.load(Ordering::Relaxed),
            onward: self.world.0.onward.load(Ordering::Relaxed),
            daemons: self.world.0.daemons.load(Ordering::Relaxed),
        }
    }
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

/// Returns a panel with all scorers in monitor mode.
fn panel(world: &World) -> Panel {
    let store = Arc::new(Memory::with_capacity(100));
    let list = || DnsList::new("list.example").expect("a zone").weight(Score::points(1));
    let authentication = Authentication::new(Zone, "mx.example");
    let seats = [
        Seat::new(Gtube),
        Seat::new(Behaviour::new()),
        Seat::new(Spamd::new(world.clone(), address("spamd:783"))),
        Seat::new(Rspamd::new(world.clone(), address("rspamd:11333"))),
        Seat::new(Clamd::new(world.clone(), address("clamd:3310"))),
        Seat::new(authentication),
        Seat::new(Dnsbl::new(Zone).list(list())),
        Seat::new(Rhsbl::new(Zone).list(list())),
        Seat::new(Uribl::new(Zone).list(list())),
        Seat::new(HeloNames::new(Zone)),
        Seat::new(ReverseNames::new(Zone)),
        Seat::new(Greylist::new(world.clone(), store.clone())),
        Seat::new(RateLimit::new(world.clone(), store.clone())),
        Seat::new(Reputation::new(world.clone(), store)),
    ];
    let panel = Panel::new().thresholds(Thresholds::none());
    seats.into_iter().fold(panel, |panel, seat| panel.seat(seat.monitor()))
}

/// An observer that formats each record as a program's log would.
struct Written;

impl Observer for Written {
    fn observe(&self, event: &Event<'_>) {
        if let Event::Ended(record) = event {
            assert!(!record.to_string().is_empty());
        }
    }
}

/// DNS: every name has records of every type, except in DNS lists, which list nobody.
struct Zone;

#[async_trait]
impl Resolver for Zone {
    async fn lookup(&self, name: &DomainName, kind: RecordKind) -> Result<Answer, ResolveError> {
        let record = match kind {
            RecordKind::A if name.ends_with("list.example") => None,
            RecordKind::A => Some(Record::A([192, 0, 2, 1].into())),
            RecordKind::Ptr => "client.example.org".parse().ok().map(Record::Ptr),
            RecordKind::Txt if name.starts_with("_dmarc.") => {
                Some(Record::Txt(b"v=DMARC1; p=reject".as_slice().into()))
            }
            RecordKind::Txt => Some(Record::Txt(b"v=spf1 a -all".as_slice().into())),
            _ => None,
        };
        Ok(Answer::new(record, Duration::from_secs(60)))
    }
}

/// The runtime: connections to in-memory servers. Time does not pass.
#[derive(Clone)]
pub struct World(Arc<Counted>);

struct Counted {
    began: Instant,
    onward: AtomicUsize,
    daemons: AtomicUsize,
}

impl Default for World {
    fn default() -> Self {
        let (onward, daemons) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Counted { began: Instant::now(), onward, daemons }))
    }
}

#[async_trait]
impl Runtime for World {
    type Stream = Server;

    fn now(&self) -> Instant {
        self.0.began
    }

    async fn sleep_until(&self, _: Instant) {
        std::future::pending().await
    }

    async fn connect(&self, address: &Address) -> io::Result<Server> {
        let address = address.to_string();
        let kind = match address.split(':').next() {
            Some("spamd") => Kind::Spamd,
            Some("rspamd") => Kind::Rspamd,
            Some("clamd") => Kind::Clamd(0),
            _ => Kind::Onward(Mail::Commands),
        };
        let greeting: &[u8] = if address.starts_with("onward") { b"220 mx\r\n" } else { b"" };
        Ok(Server { world: self.clone(), kind, says: greeting.into(), line: Vec::new() })
    }
}

/// A server that accepts everything.
pub struct Server {
    world: World,
    kind: Kind,
    says: Vec<u8>,
    /// The current command, or the last octets of the mail data.
    line: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Kind {
    Spamd,
    Rspamd,
    /// ClamAV, with the number of requests answered.
    Clamd(u32),
    Onward(Mail),
}

#[derive(Clone, Copy, PartialEq)]
enum Mail {
    Commands,
    Data,
}

impl Server {
    /// Answers a complete request.
    fn answer(&mut self) {
        const REPORT: &str =
            r#"{"action":"no action","score":0.1,"required_score":15,"symbols":{}}"#;
        self.says = match &mut self.kind {
            Kind::Spamd => {
                let head =
                    "SPAMD/1.1 0 EX_OK\r\nContent-length: 6\r\nSpam: False ; 0.1 / 5.0\r\n\r\n";
                format!("{head}RULE_A").into()
            }
            Kind::Rspamd => {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{REPORT}", REPORT.len())
                    .into()
            }
            Kind::Clamd(before) => {
                *before += 1;
                format!("{before}: stream: OK\0").into()
            }
            Kind::Onward(_) => return,
        };
    }

    /// Receives input in the role of the onward server.
    fn hear(&mut self, octets: &[u8]) {
        let Kind::Onward(mail) = &mut self.kind else {
            return;
        };
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            self.line.extend_from_slice(&line[..line.len().min(600 - self.line.len().min(600))]);
            if !line.ends_with(b"\n") {
                continue;
            }
            let reply: &[u8] = match (&self.line[..], *mail) {
                (b".\r\n", Mail::Data) => {
                    *mail = Mail::Commands;
                    b"250 2.0.0 ok\r\n"
                }
                (_, Mail::Data) => b"",
                (command, _) if command.starts_with(b"EHLO") => {
                    b"250-mx\r\n250-8BITMIME\r\n250 DSN\r\n"
                }
                (command, _) if command.starts_with(b"DATA") => {
                    *mail = Mail::Data;
                    b"354 go\r\n"
                }
                (command, _) if command.starts_with(b"QUIT") => b"221 2.0.0 bye\r\n",
                _ => b"250 2.0.0 ok\r\n",
            };
            self.says.extend_from_slice(reply);
            self.line.clear();
        }
    }
}

impl AsyncRead for Server {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.says.is_empty() {
            return Poll::Pending;
        }
        let count = self.says.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.says[..count]);
        self.says.drain(..count);
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Server {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let counted = match self.kind {
            Kind::Onward(_) => &self.world.0.onward,
            _ => &self.world.0.daemons,
        };
        counted.fetch_add(octets.len(), Ordering::Relaxed);
        self.hear(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.kind, Kind::Rspamd | Kind::Clamd(_)) {
            self.answer();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Kind::Spamd = self.kind {
            self.answer();
        }
        Poll::Ready(Ok(()))
    }
}

/// A client that sends everything at once, in segments as on the internet.
struct Client {
    input: Input,
    /// First digit of the last reply.
    last: Arc<AtomicUsize>,
}

impl Client {
    fn new(input: Input) -> (Self, Arc<AtomicUsize>) {
        let last = Arc::new(AtomicUsize::new(0));
        (Self { input, last: last.clone() }, last)
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.input.read(buffer)))
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        for line in octets.split(|octet| *octet == b'\n') {
            if let [digit @ b'2'..=b'5', ..] = line {
                self.last.store(usize::from(digit - b'0'), Ordering::Relaxed);
            }
        }
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
