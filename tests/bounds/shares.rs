//! Limits of a client's share of the memory for mail data.
#![allow(clippy::disallowed_methods, reason = "any moment: all times are counted from it")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nobounce::envelope::SessionId;
use nobounce::message::Budget;
use nobounce::{Outcome, Peer, Receipt, Session, Settings, Step, Verdict};

/// Size in octets of the first block of a content, and of each further block.
const FIRST: usize = 8 << 10;
const BLOCK: usize = 64 << 10;

/// A client that sends a content.
struct Sender {
    session: Session,
    now: Instant,
}

impl Sender {
    fn new(settings: &Arc<Settings>, address: [u8; 4], now: Instant) -> Self {
        let (id, peer) = (SessionId::new("test"), Peer::new((address, 4711).into()));
        let session = Session::new(settings.clone(), id, peer, now, SystemTime::UNIX_EPOCH);
        let mut sender = Self { session, now };
        for says in ["", "EHLO c\r\n", "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"] {
            sender.say(says.as_bytes());
        }
        sender
    }

    /// Sends octets and returns the replies up to the client's next turn.
    fn say(&mut self, octets: &[u8]) -> String {
        let mut heard = String::new();
        self.session.receive(octets);
        loop {
            match self.session.poll(self.now) {
                Step::Receive | Step::Close => return heard,
                Step::Transmit(octets) => heard.push_str(str::from_utf8(&octets).unwrap()),
                Step::Ask(question) => question.answer(Verdict::Pass),
                Step::Forward(forward) => {
                    let (request, pending) = forward.take();
                    let receipt = match request {
                        nobounce::Request::Recipient(..) => Receipt::recipient(),
                        _ => Receipt::kept("1"),
                    };
                    pending.complete(Outcome::Accepted(receipt));
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, octets: usize) {
        let heard = self.say(&vec![b'x'; octets]);
        assert!(heard.is_empty(), "{heard}");
    }

    /// Ends the content. Returns whether it was accepted.
    fn ended(mut self) -> bool {
        let heard = self.say(b"\r\n.\r\n");
        assert!(heard.starts_with("250 ") || heard.starts_with("452 4.3.1 "), "{heard}");
        heard.starts_with("250 ")
    }
}

/// Returns settings with this budget, for contents of two blocks.
fn settings(budget: usize) -> Arc<Settings> {
    let mut settings = Settings::new("mx.example");
    settings.budget = Budget::new(budget);
    settings.limits.content = 100_000;
    settings.into()
}

/// This many clients, 15 per address, send two full blocks each. Returns whether the last one's
/// content is accepted.
fn is_last_taken(settings: &Arc<Settings>, clients: u8) -> bool {
    let now = Instant::now();
    let senders = (0..clients).map(|n| {
        let mut sender = Sender::new(settings, [192, 0, 2, n / 15], now);
        sender.send(FIRST + BLOCK - 2);
        sender
    });
    let mut senders: Vec<_> = senders.collect();
    // These clients are slow, too, but the budget is not exhausted.
    let last = senders.pop().unwrap();
    let mut other = Sender::new(settings, [198, 51, 100, 1], now + Duration::from_secs(60));
    other.send(FIRST + BLOCK - 2);
    assert!(other.ended(), "another network has a separate share");
    last.ended()
}

#[test]
fn address_share() {
    // 15 blocks of 64 KiB for this address, but not a 16th.
    let four = settings(4 << 20);
    assert!(is_last_taken(&four, 15));
    let mut one_address = (*settings(4 << 20)).clone();
    one_address.limits.network_share = 100;
    let one_address = Arc::new(one_address);
    let now = Instant::now();
    let mut senders: Vec<_> =
        (0..16).map(|_| Sender::new(&one_address, [192, 0, 2, 1], now)).collect();
    senders.iter_mut().for_each(|sender| sender.send(FIRST + BLOCK - 2));
    assert!(!senders.pop().unwrap().ended(), "the 16th");
    assert!(senders.pop().unwrap().ended(), "the 15th");
    let mut again = Sender::new(&one_address, [192, 0, 2, 1], now);
    again.send(FIRST + BLOCK - 2);
    assert!(again.ended(), "returned memory can be used again");
}

#[test]
fn network_share() {
    // Three addresses with at most 15 clients each.
    assert!(is_last_taken(&settings(4 << 20), 31));
    assert!(!is_last_taken(&settings(4 << 20), 32));
}

#[test]
fn slow_holder() {
    for (seconds, gives_up) in [(9, false), (10, true)] {
        let mut settings = (*settings(1 << 20)).clone();
        settings.limits.content = 10 << 20;
        let settings = Arc::new(settings);
        let now = Instant::now();
        let mut slow = Sender::new(&settings, [192, 0, 2, 1], now);
        slow.send(FIRST + 13 * BLOCK + 1);
        // Its next octet is in time, but its next block is not.
        slow.now += Duration::from_secs(seconds);
        slow.send(1);
        let used = settings.budget.used();
        let mut other = Sender::new(&settings, [198, 51, 100, 1], slow.now);
        other.send(FIRST + 8 * BLOCK);
        // The slow session releases its memory without being polled.
        assert_eq!(settings.budget.used() < used, gives_up, "{seconds} s");
        assert_eq!(other.ended(), gives_up, "{seconds} s");
        slow.send(BLOCK);
        assert_eq!(slow.ended(), !gives_up, "{seconds} s");
        assert_eq!(settings.budget.used(), 0);
    }
}
