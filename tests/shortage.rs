//! Memory shortage: slow clients lose their memory. Fast clients do not, nor do clients that have
//! sent everything.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nobounce::envelope::SessionId;
use nobounce::message::Budget;
use nobounce::outcome::RequestKind;
use nobounce::{Outcome, Peer, Receipt, Session, Settings, Step, Verdict};

const KIB: usize = 1 << 10;

struct Client {
    session: Session,
    now: Instant,
}

impl Client {
    /// Returns a client in a transaction.
    fn new(settings: &Arc<Settings>, address: [u8; 4], now: Instant) -> Self {
        let (id, peer) = (SessionId::new("test"), Peer::new((address, 4711).into()));
        let session = Session::new(settings.clone(), id, peer, now, SystemTime::UNIX_EPOCH);
        let mut client = Self { session, now };
        for says in ["", "EHLO c\r\n", "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"] {
            client.say(says.as_bytes());
        }
        client
    }

    /// Sends octets and returns the replies, until it is the client's turn or the panel is asked
    /// about a content.
    fn say(&mut self, octets: &[u8]) -> String {
        let mut heard = String::new();
        self.session.receive(octets);
        loop {
            match self.session.poll(self.now) {
                Step::Receive | Step::Close => return heard,
                Step::Transmit(octets) => heard.push_str(str::from_utf8(&octets).unwrap()),
                Step::Ask(question) => match question.subject() {
                    nobounce::verdict::Subject::Content(..) => return heard,
                    _ => question.answer(Verdict::Pass),
                },
                Step::Forward(forward) => {
                    assert_eq!(forward.kind(), RequestKind::Recipient, "not asked");
                    forward.complete(Outcome::Accepted(Receipt::recipient()));
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, octets: usize) {
        assert_eq!(self.say(&vec![b'x'; octets]), "");
    }

    /// Answers positively for the panel and the relay target.
    fn pass(&mut self) -> String {
        let Step::Ask(question) = self.session.poll(self.now) else { panic!("not asked") };
        question.answer(Verdict::Pass);
        let Step::Forward(forward) = self.session.poll(self.now) else { panic!("no") };
        forward.complete(Outcome::Accepted(Receipt::kept("1")));
        self.say(b"")
    }
}

fn settings(budget: usize) -> Settings {
    let mut settings = Settings::new("mx.example");
    settings.budget = Budget::new(budget);
    settings
}

/// Addresses in many networks hold all of the memory and send an octet from time to time.
#[test]
fn slow_clients_do_not_block_others() {
    let settings = Arc::new(settings(16 << 20));
    let began = Instant::now();
    let mut slow: Vec<_> = (0..50).map(|n| Client::new(&settings, [10, n, 0, 1], began)).collect();
    for client in &mut slow {
        client.say(b"DATA\r\n");
        client.send(320 * KIB);
    }
    assert!(settings.budget.used() > settings.budget.limit() - 400 * KIB);
    let mut now = began;
    for n in 0..20 {
        now += Duration::from_secs(15);
        for client in &mut slow {
            client.now = now;
            client.send(1);
        }
        let mut honest = Client::new(&settings, [192, 0, 2, n], now);
        honest.say(b"DATA\r\n");
        for _ in 0..20 {
            honest.now += Duration::from_millis(100);
            honest.send(100 * KIB);
        }
        assert_eq!(honest.say(b"\r\n.\r\n"), "");
        assert_eq!(honest.pass(), "250 2.0.0 Ok: queued as 1\r\n");
    }
    let told = slow.iter_mut().map(|client| client.say(b"\r\n.\r\n"));
    let told = told.filter(|told| told.starts_with("452 4.3.1 ")).count();
    assert!(told >= 5, "{told} lost their memory, no more than necessary");
}

/// A client that fills its blocks in time keeps them, and a later client is refused.
#[test]
fn fast_clients_keep_their_memory() {
    let settings = Arc::new(settings(4 << 20));
    let began = Instant::now();
    let mut fast = Client::new(&settings, [192, 0, 2, 1], began);
    fast.say(b"DATA\r\n");
    fast.send(3_900 * KIB);
    // Slower than most, with 7,300 octets per second.
    for _ in 0..2 {
        fast.now += Duration::from_secs(9);
        fast.send(64 * KIB);
        let mut other = Client::new(&settings, [198, 51, 100, 1], fast.now);
        other.say(b"DATA\r\n");
        other.send(512 * KIB);
        assert!(other.say(b"\r\n.\r\n").starts_with("452 4.3.1 "));
    }
    assert_eq!(fast.say(b"\r\n.\r\n"), "");
    assert_eq!(fast.pass(), "250 2.0.0 Ok: queued as 1\r\n");
}

/// A message that is being scored or relayed never loses its memory, however long that takes.
#[test]
fn a_complete_message_keeps_its_memory() {
    let settings = Arc::new(settings(4 << 20));
    let began = Instant::now();
    let mut judged = Client::new(&settings, [192, 0, 2, 1], began);
    judged.say(b"DATA\r\n");
    judged.send(3_500 * KIB);
    assert_eq!(judged.say(b"\r\n.\r\n"), "");
    let used = settings.budget.used();
    let mut other = Client::new(&settings, [198, 51, 100, 1], began + Duration::from_secs(60));
    other.say(b"DATA\r\n");
    other.send(1_000 * KIB);
    assert!(other.say(b"\r\n.\r\n").starts_with("452 4.3.1 "));
    assert_eq!(settings.budget.used(), used);
    assert_eq!(judged.pass(), "250 2.0.0 Ok: queued as 1\r\n");
    assert_eq!(settings.budget.used(), 0);
}

/// Chunks, and the time between them: the next chunk is refused, and the previous ones are lost.
#[test]
fn slow_client_gets_its_reply_after_the_chunk() {
    let settings = Arc::new(settings(4 << 20));
    let began = Instant::now();
    let mut slow = Client::new(&settings, [192, 0, 2, 1], began);
    assert_eq!(slow.say(b"BDAT 3500000\r\n"), "");
    assert_eq!(slow.say(&vec![b'x'; 3_500_000]), "250 2.0.0 Chunk received\r\n");
    let mut other = Client::new(&settings, [198, 51, 100, 1], began + Duration::from_secs(11));
    other.say(b"DATA\r\n");
    other.send(1_000 * KIB);
    assert!(settings.budget.used() < 1_200 * KIB, "it is freed between chunks");
    assert_eq!(other.say(b"\r\n.\r\n"), "");
    slow.now = other.now;
    let lost = "452 4.3.1 Insufficient system storage, try again later\r\n";
    assert_eq!(slow.say(b"BDAT 1\r\nx"), lost);
    assert!(slow.say(b"BDAT 1 LAST\r\nx").starts_with("503 5.5.1 "));
    assert_eq!(slow.say(b"RSET\r\n"), "250 2.0.0 Ok\r\n");
    assert_eq!(other.pass(), "250 2.0.0 Ok: queued as 1\r\n");
}

/// Our own networks, and servers that connect on behalf of many clients, have no limited share.
#[test]
fn own_networks_and_trusted_servers_are_exempt_from_shares() {
    for (own, trusted, is_bound) in
        [(false, false, true), (true, false, false), (false, true, false)]
    {
        let mut settings = settings(4 << 20);
        settings.limits.content = 100_000;
        let address = "192.0.2.1".parse().unwrap();
        if own {
            settings.own_networks = address;
        } else if trusted {
            settings.xforward_from = address;
        }
        let settings = Arc::new(settings);
        let now = Instant::now();
        let mut clients: Vec<_> =
            (0..32).map(|_| Client::new(&settings, [192, 0, 2, 1], now)).collect();
        let mut refused = 0;
        for client in &mut clients {
            client.say(b"DATA\r\n");
            client.send(71 * KIB);
            refused += usize::from(client.say(b"\r\n.\r\n").starts_with("452 4.3.1 "));
        }
        assert_eq!(refused > 0, is_bound, "{refused} refused, own: {own}, trusted: {trusted}");
    }
}
