//! An onward connection under arbitrary events in any order. A request only succeeds if the server
//! accepted exactly this request, and the server never gets anything ambiguous.
//!
//! The first two octets of the input choose the settings. In the rest, ASCII is output of the
//! server, and each octet above it is an event (see `happen`). `0xff` quotes the next octet.

#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use nobounce::envelope::SessionId;
use nobounce::message::MailData;
use nobounce::onward::{Identify, OnwardSettings, OnwardStep, Protocol, ProxyVersion, TlsPolicy};
use nobounce::peer::Helo;
use nobounce::session::Deadline;
use nobounce::{Envelope, ForwardPath, Message, Onward, Outcome, Peer, Request, ReversePath};
use nobounce_fuzz::server::{Asked, Server};

fuzz_target!(|input: &[u8]| {
    let [first, second, script @ ..] = input else {
        return;
    };
    let mut course = Course::new(*first, *second);
    for (octets, event) in nobounce_fuzz::course(script) {
        course.say(&octets);
        if let Some(event) = event {
            course.happen(event);
            course.go_on();
        }
    }
    course.end();
});

/// The event that an onward connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Connect,
    Receive,
    StartTls,
    Idle,
}

/// The pending request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Recipient(usize),
    Content,
}

struct Course {
    onward: Onward,
    server: Server,
    now: Instant,
    wait: Wait,
    settings: OnwardSettings,
    clients: [Arc<Peer>; 2],
    envelope: Envelope,
    transactions: u32,
    content: &'static [u8],
    asked: Option<Question>,
}

const RECIPIENTS: [&str; 3] =
    ["<a@example.net>", "<b@example.net> NOTIFY=NEVER", "<\"c > d\"@example.net>"];
const CONTENTS: [&[u8]; 4] =
    [b"Subject: x\r\n\r\nx\r\n", b".\r\n..\r\n", b"", b"\r\n.\r\n\r\nQUIT\r\n"];

impl Course {
    fn new(first: u8, second: u8) -> Self {
        let mut settings = OnwardSettings::new("mx.example");
        settings.protocol = if first & 1 == 0 { Protocol::Smtp } else { Protocol::Lmtp };
        settings.tls = [TlsPolicy::Never, TlsPolicy::May, TlsPolicy::Must, TlsPolicy::May]
            [usize::from(first >> 1 & 3)];
        settings.identify = match first >> 3 & 7 {
            0..4 => Identify::None,
            4 => Identify::XClient,
            5 => Identify::XForward,
            6 => Identify::Proxy(ProxyVersion::V1),
            _ => Identify::Proxy(ProxyVersion::V2),
        };
        let client = |last: u8, extended, name: &str| {
            let mut peer = Peer::new(([192, 0, 2, last], 4711).into());
            peer.helo = Some(Helo { extended, name: name.into() });
            Arc::new(peer)
        };
        let other =
            if second & 1 == 0 { client(2, false, "other") } else { Arc::new(Peer::local()) };
        let clients = [client(1, true, "client.example"), other];
        let sender = ["<s@example.org>", "<> SIZE=9 BODY=8BITMIME", "<s> RET=HDRS", "<s> SMTPUTF8"]
            [usize::from(second >> 1 & 3)];
        let sender = ReversePath::parse(sender).expect("a path");
        let id = SessionId::new("fuzz").transaction(1);
        let mut course = Self {
            onward: Onward::new(Arc::new(settings.clone())),
            server: Server::default(),
            now: Instant::now(),
            wait: Wait::Idle,
            settings,
            envelope: Envelope::new(id, clients[0].clone(), sender),
            clients,
            transactions: 1,
            content: CONTENTS[usize::from(second >> 3 & 3)],
            asked: None,
        };
        course.go_on();
        course
    }

    /// Sends these octets from the server, even if it was not asked.
    fn say(&mut self, octets: &[u8]) {
        // Octets received during the TLS handshake are not SMTP.
        if matches!(self.wait, Wait::Receive | Wait::Idle) {
            self.onward.receive(octets);
            self.server.say(octets);
            self.go_on();
        }
    }

    fn happen(&mut self, what: u8) {
        match what & 0x1f {
            0 => {
                let next = self.envelope.forward_paths.len();
                if let Some(recipient) = RECIPIENTS.get(next) {
                    let recipient = ForwardPath::parse(recipient).expect("a path");
                    self.onward.request(Request::Recipient(&self.envelope, &recipient));
                    self.asked = Some(Question::Recipient(next));
                }
            }
            1 if !self.envelope.forward_paths.is_empty() => {
                let content = MailData::normalise(self.content);
                let message = Message::new("mx.example", &self.envelope, UNIX_EPOCH, content);
                self.onward.request(Request::Content(&self.envelope, message));
                self.asked = Some(Question::Content);
            }
            // Starts another transaction, of this client or of the other one.
            what @ (2 | 3) => {
                self.transactions += 1;
                let id = SessionId::new("fuzz").transaction(self.transactions);
                let client = self.clients[usize::from(what - 2)].clone();
                self.envelope = Envelope::new(id, client, self.envelope.reverse_path.clone());
                if self.asked.is_some() {
                    self.give_up(Onward::reset);
                }
            }
            4 => self.give_up(Onward::introduce),
            5 => self.give_up(Onward::quit),
            6 => self.give_up(Onward::reset),
            7 => {
                if self.wait == Wait::Connect {
                    let proxied = matches!(self.settings.identify, Identify::Proxy(_));
                    self.server = Server::connect(proxied);
                }
                self.onward.connected();
            }
            8 => self.onward.unreachable("refused"),
            9 => {
                if self.wait == Wait::StartTls {
                    self.server.start_tls();
                }
                self.onward.tls_started();
            }
            10 => self.onward.tls_failed("no cipher"),
            11 if self.wait != Wait::Connect => self.onward.disconnected(),
            12 => {
                self.server.lost = true;
                self.onward.transmit_failed();
            }
            13 => self.run_out(),
            14 => {
                let before = (self.wait, self.onward.deadline());
                if let Some(Deadline { at, .. }) = before.1 {
                    self.onward.handle_timeout(at - Duration::from_nanos(1));
                }
                self.onward.handle_timeout(self.now);
                self.go_on();
                assert_eq!((self.wait, self.onward.deadline()), before);
            }
            15 => {
                let client = self.clients[1].clone();
                self.onward.speak_for(client);
            }
            _ => {}
        }
    }

    /// Abandons the pending request.
    fn give_up(&mut self, then: fn(&mut Onward)) {
        self.asked = None;
        then(&mut self.onward);
    }

    fn run_out(&mut self) {
        if let Some(deadline) = self.onward.deadline() {
            self.now = self.now.max(deadline.at);
            self.onward.handle_timeout(self.now);
        }
    }

    /// Polls until the machine waits for an event.
    fn go_on(&mut self) {
        loop {
            self.wait = match self.onward.poll(self.now) {
                OnwardStep::Transmit(octets) => {
                    assert!(!octets.is_empty());
                    if !self.server.lost {
                        self.server.hear(&octets.concat());
                    }
                    continue;
                }
                OnwardStep::Done(outcome) => {
                    self.done(&outcome);
                    continue;
                }
                OnwardStep::Disconnect => {
                    self.server = Server::default();
                    continue;
                }
                step => wait(&step),
            };
            break;
        }
        let deadline = self.onward.deadline();
        assert_eq!(deadline.is_none(), self.wait == Wait::Idle);
        assert_eq!(wait(&self.onward.poll(self.now)), self.wait);
        assert_eq!(self.onward.deadline(), deadline);
        assert!(self.wait != Wait::Idle || self.asked.is_none(), "idle, and {:?}", self.asked);
    }

    /// Checks the answer to the request: it only succeeds if the server's complete reply to this
    /// request was positive.
    fn done(&mut self, outcome: &Outcome) {
        let asked = self.asked.take().expect("an answer without a request");
        let Outcome::Accepted(receipt) = outcome else {
            assert!(matches!(outcome.reply().code().value() / 100, 4 | 5));
            return;
        };
        assert!(!self.server.lost, "acceptance before the request was sent completely");
        let (command, reply) = self.server.last().expect("everything answered");
        assert_eq!(reply.code, receipt.reply().code().value());
        assert_eq!(reply.code / 100, 2);
        if self.settings.tls == TlsPolicy::Must {
            assert!(self.server.is_private());
        }
        if self.settings.identify.impersonates() {
            let address = self.envelope.peer.address.map(|address| address.ip().to_string());
            let expected = address.unwrap_or("[UNAVAILABLE]".into());
            assert_eq!(self.server.client(), Some(expected), "in the name of another client");
        }
        let named = |recipient: &str| format!("RCPT TO:{recipient}").into_bytes();
        match asked {
            Question::Recipient(index) => {
                assert_eq!(*command, Asked::Command(named(RECIPIENTS[index])));
                let recipient = ForwardPath::parse(RECIPIENTS[index]).expect("a path");
                self.envelope.forward_paths.push(recipient);
            }
            Question::Content => {
                let Asked::Content(octets) = command else {
                    panic!("a yes to {command:?}");
                };
                let content = MailData::normalise(self.content);
                let message = Message::new("mx.example", &self.envelope, UNIX_EPOCH, content);
                assert_eq!(*octets, message.segments().concat());
                // The server has accepted every recipient that the client was told is accepted.
                for recipient in &RECIPIENTS[..self.envelope.forward_paths.len()] {
                    assert!(self.server.granted(&named(recipient)), "{recipient} was not named");
                }
            }
        }
    }

    /// Ends the input: the server is silent and unreachable. Every request must still be answered.
    fn end(mut self) {
        for _ in 0..100 {
            match self.wait {
                Wait::Idle => break,
                Wait::Connect => self.onward.unreachable("refused"),
                Wait::StartTls | Wait::Receive => self.run_out(),
            }
            self.go_on();
        }
        assert_eq!((self.wait, self.asked), (Wait::Idle, None));
        self.onward.quit();
        self.go_on();
        self.onward.disconnected();
        self.go_on();
        assert_eq!(self.wait, Wait::Idle);
    }
}

fn wait(step: &OnwardStep) -> Wait {
    match step {
        OnwardStep::Connect => Wait::Connect,
        OnwardStep::Receive => Wait::Receive,
        OnwardStep::StartTls => Wait::StartTls,
        OnwardStep::Idle => Wait::Idle,
        OnwardStep::Transmit(_) | OnwardStep::Done(_) | OnwardStep::Disconnect => {
            panic!("handed over twice: {step:?}")
        }
    }
}
