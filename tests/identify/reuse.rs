//! Pooled onward connections serve one client after another, without disclosing anything of one
//! client to the next.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join;
use nobounce::onward::{Identify, ProxyVersion};
use nobounce::relay::SelfTestError;
use nobounce::{Address, Gate, Peer, Runtime, Settings, relay, serve};
use smol::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use smol::net::unix::UnixStream;
use smol::net::{TcpListener, TcpStream};
use smol::{Task, Timer};

use super::client::{CONTENT, MAIL, RCPT, say};

const HELLO: &str = "EHLO client.example.com";
const MESSAGE: [&str; 6] = [HELLO, MAIL, RCPT, "DATA", CONTENT, "QUIT"];

/// A clock that can be advanced.
#[derive(Debug, Clone, Default)]
struct Clock(Arc<Mutex<Duration>>);

impl Clock {
    fn forward(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

#[async_trait]
impl Runtime for Clock {
    type Stream = TcpStream;

    fn now(&self) -> Instant {
        #[expect(clippy::disallowed_methods, reason = "the edge of a test")]
        let now = Instant::now();
        now + *self.0.lock().unwrap()
    }

    async fn sleep_until(&self, at: Instant) {
        let forward = *self.0.lock().unwrap();
        Timer::at(at - forward).await;
    }

    async fn connect(&self, address: &Address) -> io::Result<TcpStream> {
        TcpStream::connect(address.to_string()).await
    }
}

/// An onward server that records its input for each connection.
struct Server {
    address: Address,
    heard: Arc<Mutex<Vec<Vec<String>>>>,
    _accepting: Task<()>,
}

/// The time at which the server closes a connection.
#[derive(Clone, Copy, PartialEq)]
enum Leaves {
    OnQuit,
    /// Immediately after accepting a message, with 421.
    AfterMessage,
    /// At the second MAIL, without a reply.
    AtSecondMail,
}

impl Server {
    async fn start(leaves: Leaves) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap().to_string().into());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let book = heard.clone();
        let accepting = smol::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut connections = book.lock().unwrap();
                connections.push(Vec::new());
                let at = connections.len() - 1;
                smol::spawn(converse(stream, leaves, book.clone(), at)).detach();
            }
        });
        Self { address, heard, _accepting: accepting }
    }

    fn gate(&self, clock: &Clock, identify: Identify) -> Gate<Clock> {
        let target = relay::Smtp::new(clock.clone(), self.address.clone(), "gate.example.com");
        let target = target.identify(identify);
        Gate::new(clock.clone(), Settings::new("gate.example.com"), target)
    }

    /// Returns the verbs received on each connection.
    fn verbs(&self) -> Vec<String> {
        let verb = |line: &String| line.split(' ').next().unwrap().to_owned();
        let heard = self.heard.lock().unwrap();
        heard.iter().map(|lines| lines.iter().map(verb).collect::<Vec<_>>().join(" ")).collect()
    }

    fn lines(&self, beginning: &str) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.concat().into_iter().filter(|line| line.starts_with(beginning)).collect()
    }
}

async fn converse(
    stream: TcpStream,
    leaves: Leaves,
    heard: Arc<Mutex<Vec<Vec<String>>>>,
    at: usize,
) -> io::Result<()> {
    let mut writer = stream.clone();
    let mut reader = BufReader::new(stream);
    writer.write_all(b"220 onward.example.com\r\n").await?;
    let mut data = false;
    let mut mails = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let reply = match line.split([' ', ':']).next().unwrap() {
            "." if data => {
                data = false;
                writer.write_all(b"250 2.0.0 Ok: queued as 1\r\n").await?;
                if leaves == Leaves::AfterMessage {
                    writer.write_all(b"421 4.3.2 Going down\r\n").await?;
                    return Ok(());
                }
                continue;
            }
            _ if data => continue,
            "PROXY" => "",
            "EHLO" if line == "EHLO gate.example.com" => {
                "250-onward.example.com\r\n250-DSN\r\n250-XCLIENT ADDR\r\n250 XFORWARD NAME ADDR HELO\r\n"
            }
            "EHLO" => "250-onward.example.com\r\n250 8BITMIME\r\n",
            "XCLIENT" => "220 onward.example.com\r\n",
            "DATA" => {
                data = true;
                "354 Go ahead\r\n"
            }
            "RCPT" if line.contains("nobody") => "550 5.1.1 No such user\r\n",
            "QUIT" => "221 2.0.0 Bye\r\n",
            "MAIL" => {
                mails += 1;
                "250 2.1.0 Ok\r\n"
            }
            _ => "250 2.0.0 Ok\r\n",
        };
        heard.lock().unwrap()[at].push(line.to_owned());
        if leaves == Leaves::AtSecondMail && mails == 2 {
            return Ok(());
        }
        writer.write_all(reply.as_bytes()).await?;
        if line == "QUIT" {
            return Ok(());
        }
    }
}

/// Runs a client's session to its end, including the close.
async fn client(gate: &Gate<Clock>, n: u8, lines: &[&str]) -> Vec<String> {
    let (here, there) = UnixStream::pair().unwrap();
    let peer = Peer::new(([192, 0, 2, n], 25).into());
    let (served, replies) = join(serve(there, peer, gate), say(here, lines)).await;
    served.unwrap();
    replies
}

#[test]
fn clients_share_a_connection() {
    smol::block_on(async {
        let (server, clock) = (Server::start(Leaves::OnQuit).await, Clock::default());
        let gate = server.gate(&clock, Identify::None);
        for n in 1..=3 {
            assert_eq!(client(&gate, n, &MESSAGE).await[5], "250 2.0.0 Ok: queued as 1");
        }
        assert_eq!(server.verbs(), ["EHLO MAIL RCPT DATA MAIL RCPT DATA MAIL RCPT DATA"]);
    });
}

#[test]
fn a_transaction_left_open_is_closed_before_the_next_client() {
    smol::block_on(async {
        let (server, clock) = (Server::start(Leaves::OnQuit).await, Clock::default());
        let gate = server.gate(&clock, Identify::None);
        client(&gate, 1, &[HELLO, MAIL, RCPT, "QUIT"]).await;
        // Already now, not only when the next client comes.
        assert_eq!(server.verbs(), ["EHLO MAIL RCPT RSET"]);
        client(&gate, 2, &MESSAGE).await;
        assert_eq!(server.verbs(), ["EHLO MAIL RCPT RSET MAIL RCPT DATA"]);
    });
}

#[test]
fn connection_with_refusals_is_not_reused() {
    smol::block_on(async {
        let (server, clock) = (Server::start(Leaves::OnQuit).await, Clock::default());
        let gate = server.gate(&clock, Identify::None);
        client(&gate, 1, &[HELLO, MAIL, "RCPT TO:<nobody@example.org>", "QUIT"]).await;
        client(&gate, 2, &MESSAGE).await;
        assert_eq!(server.verbs(), ["EHLO MAIL RCPT RSET QUIT", "EHLO MAIL RCPT DATA"]);
    });
}

#[test]
fn connection_identified_as_a_client_is_not_reused() {
    smol::block_on(async {
        for (identify, verbs) in [
            (Identify::XClient, "EHLO XCLIENT EHLO MAIL RCPT DATA QUIT"),
            (Identify::Proxy(ProxyVersion::V1), "PROXY EHLO EHLO MAIL RCPT DATA QUIT"),
        ] {
            let (server, clock) = (Server::start(Leaves::OnQuit).await, Clock::default());
            let gate = server.gate(&clock, identify);
            client(&gate, 1, &MESSAGE).await;
            client(&gate, 2, &MESSAGE).await;
            // The server's offer is known by then, so XCLIENT is sent at once.
            let second = verbs.replace("EHLO EHLO", "EHLO");
            assert_eq!(server.verbs(), [verbs, &second]);
            let command = verbs.split(' ').find(|verb| !verb.starts_with("EHLO")).unwrap();
            let told = server.lines(command);
            assert!(told[0].contains("192.0.2.1") && told[1].contains("192.0.2.2"), "{told:?}");
        }
    });
}

#[test]
fn xforward_is_sent_for_each_client() {
    smol::block_on(async {
        let (server, clock) = (Server::start(Leaves::OnQuit).await, Clock::default());
        let gate = server.gate(&clock, Identify::XForward);
        client(&gate, 1, &MESSAGE).await;
        client(&gate, 2, &MESSAGE).await;
        assert_eq!(server.verbs(), ["EHLO XFORWARD MAIL RCPT DATA XFORWARD MAIL RCPT DATA"]);
        let told = [1, 2].map(|n| {
            format!("XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.{n} HELO=client.example.com")
        });
        assert_eq!(server.lines("XFORWARD"), told);
    });
}

#[test]
fn idle_connection_expires() {
    smol::block_on(async {
        let (server, clock) = (Server::start(Leaves::OnQuit).await, Clock::default());
        let gate = server.gate(&clock, Identify::None);
        client(&gate, 1, &MESSAGE).await;
        let pause = Duration::from_millis(1_900);
        clock.forward(pause);
        client(&gate, 2, &MESSAGE).await;
        assert_eq!(server.verbs().len(), 1);
        clock.forward(Duration::from_millis(2_100));
        client(&gate, 3, &MESSAGE).await;
        assert_eq!(server.verbs().len(), 2);
        // A connection is retired after five minutes, however busy it is. All these clients come
        // before that.
        for n in 0..157 {
            clock.forward(pause);
            client(&gate, n, &MESSAGE).await;
        }
        assert_eq!(server.verbs().len(), 2);
        for n in 1..=2 {
            clock.forward(pause);
            client(&gate, n, &MESSAGE).await;
        }
        assert_eq!(server.verbs().len(), 3);
    });
}

#[test]
fn pooled_connections_are_bounded() {
    smol::block_on(async {
        let (server, clock) = (Server::start(Leaves::OnQuit).await, Clock::default());
        let target = relay::Smtp::new(clock.clone(), server.address.clone(), "gate.example.com");
        let target = target.keep_idle(1, Duration::from_secs(60));
        let gate = Gate::new(clock, Settings::new("gate.example.com"), target);
        // Two concurrent clients: neither continues before the other's recipient is accepted.
        let mut ends = Vec::new();
        let mut sessions = Vec::new();
        for n in 1..=2 {
            let (here, there) = UnixStream::pair().unwrap();
            ends.push(here);
            sessions.push(serve(there, Peer::new(([192, 0, 2, n], 25).into()), &gate));
        }
        let talk = async {
            for end in &mut ends {
                say(&mut *end, &MESSAGE[..5]).await;
            }
            for end in &mut ends {
                end.write_all(b"QUIT\r\n").await.unwrap();
                end.read_to_end(&mut Vec::new()).await.unwrap();
            }
            ends.clear();
        };
        join(futures::future::join_all(sessions), talk).await;
        let verbs = server.verbs();
        assert_eq!(verbs.len(), 2);
        assert_eq!(verbs.iter().filter(|verbs| verbs.ends_with("QUIT")).count(), 1, "{verbs:?}");
        client(&gate, 3, &MESSAGE).await;
        assert_eq!(server.verbs().len(), 2);
    });
}

#[test]
fn connection_closed_by_the_server_is_replaced() {
    smol::block_on(async {
        for leaves in [Leaves::AfterMessage, Leaves::AtSecondMail] {
            let (server, clock) = (Server::start(leaves).await, Clock::default());
            let gate = server.gate(&clock, Identify::None);
            for n in 1..=3 {
                assert_eq!(client(&gate, n, &MESSAGE).await[5], "250 2.0.0 Ok: queued as 1");
            }
            assert_eq!(server.verbs().len(), 3, "{:?}", server.verbs());
        }
    });
}

/// The server's offer to clients counts, not its offer to us. The first client that needs more is
/// refused, and the next one is not offered it.
#[test]
fn extensions_denied_to_one_client_are_not_offered_to_the_next() {
    smol::block_on(async {
        let (server, clock) = (Server::start(Leaves::OnQuit).await, Clock::default());
        let gate = server.gate(&clock, Identify::XClient);
        let offers_dsn = async |n| {
            let (mut here, there) = UnixStream::pair().unwrap();
            let talk = async move {
                let mut greeting = String::new();
                let mut reader = BufReader::with_capacity(1, &mut here);
                reader.read_line(&mut greeting).await.unwrap();
                here.write_all(b"EHLO c\r\nQUIT\r\n").await.unwrap();
                let mut said = String::new();
                here.read_to_string(&mut said).await.unwrap();
                said.contains("DSN")
            };
            join(serve(there, Peer::new(([192, 0, 2, n], 25).into()), &gate), talk).await.1
        };
        assert!(offers_dsn(1).await);
        // A reply to HELO offers no extension, which says nothing about EHLO.
        client(&gate, 2, &["HELO client.example.com", MAIL, RCPT, "QUIT"]).await;
        assert!(offers_dsn(3).await);
        let rcpt = "RCPT TO:<alice@example.org> NOTIFY=NEVER";
        let replies = client(&gate, 4, &[HELLO, MAIL, rcpt, "QUIT"]).await;
        assert!(replies[3].starts_with("451 4.3.5 The next server does not offer"), "{replies:?}");
        assert!(!offers_dsn(5).await);
        clock.forward(Duration::from_secs(301));
        assert!(offers_dsn(6).await);
    });
}

#[test]
fn self_test_closes_its_connection() {
    smol::block_on(async {
        let (server, clock) = (Server::start(Leaves::OnQuit).await, Clock::default());
        for (identify, verbs) in [
            (Identify::XClient, "EHLO XCLIENT EHLO MAIL RCPT DATA QUIT"),
            (Identify::XForward, "EHLO XFORWARD MAIL RCPT DATA QUIT"),
            (Identify::None, "EHLO MAIL RCPT DATA QUIT"),
        ] {
            let target =
                relay::Smtp::new(clock.clone(), server.address.clone(), "gate.example.com");
            let result = target.identify(identify).self_test().await;
            let Err(SelfTestError::WouldRelay { recipient, reply }) = result else {
                panic!("{identify:?}: {result:?}");
            };
            let (local_part, domain) = recipient.split_once('@').unwrap();
            assert!(local_part.starts_with("<self-test-"), "{local_part}");
            assert_eq!(domain, "relay-test.invalid>");
            assert_eq!(reply.to_string(), "250 2.0.0 Ok: queued as 1");
            assert_eq!(server.verbs().pop().unwrap(), verbs);
        }
        assert!(server.lines("XCLIENT")[0].contains("ADDR=192.0.2.1"));
    });
}

#[test]
fn unreachable_server_is_a_transient_failure() {
    smol::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap().to_string().into());
        drop(listener);
        let clock = Clock::default();
        for identify in [Identify::None, Identify::XClient, Identify::Proxy(ProxyVersion::V2)] {
            let target = relay::Smtp::new(clock.clone(), address.clone(), "gate.example.com");
            let target = target.identify(identify);
            let gate = Gate::new(clock.clone(), Settings::new("gate.example.com"), target);
            let replies = client(&gate, 1, &[HELLO, MAIL, RCPT, "QUIT"]).await;
            assert_eq!(replies[3], "451 4.4.1 The next server cannot be reached, try again later");
        }
    });
}
