//! A session under arbitrary events in any order, checked against the client's own bookkeeping.
//!
//! The first octet of the input chooses the settings. In the rest, ASCII is sent by the client, and
//! each octet above it is an event (see `happen`). `0xff` quotes the next octet.

#![no_main]

use std::time::{Duration, Instant, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use nobounce::envelope::SessionId;
use nobounce::message::{Budget, HeaderField, LineEndings};
use nobounce::outcome::RequestKind;
use nobounce::peer::TlsInfo;
use nobounce::reply::EnhancedStatus;
use nobounce::session::{Capabilities, Deadline, EarlyInput, EndCause, TransactionEnd};
use nobounce::{Outcome, Peer, Receipt, Refusal, Request, Session, Settings, Step, Verdict};
use nobounce_fuzz::client::Client;

fuzz_target!(|input: &[u8]| {
    let Some((choice, script)) = input.split_first() else {
        return;
    };
    let mut course = Course::new(*choice);
    for (octets, event) in nobounce_fuzz::course(script) {
        course.send(&octets);
        if let Some(event) = event {
            course.happen(event);
            course.go_on();
        }
    }
    course.end();
});

/// The event that a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Receive,
    StartTls,
    Ask,
    Forward,
    Close,
}

struct Course {
    session: Session,
    client: Client,
    now: Instant,
    wait: Wait,
    transactions: u32,
    ended: Vec<TransactionEnd>,
    input_ended: bool,
    /// Recipients that the relay target has accepted. The next field holds the contents.
    recipients: Vec<Vec<u8>>,
    contents: Vec<Vec<u8>>,
}

impl Course {
    fn new(choice: u8) -> Self {
        let is = |bit: u8| choice >> bit & 1 == 1;
        let mut settings = Settings::new("mx.example");
        settings.line_endings = if is(0) { LineEndings::Refuse } else { LineEndings::Normalise };
        settings.early_input = if is(1) { EarlyInput::Tolerate } else { EarlyInput::Refuse };
        settings.capabilities.start_tls = is(2);
        if is(3) {
            settings.xclient_from = "127.0.0.1".parse().expect("a network");
            settings.xforward_from = "127.0.0.1".parse().expect("a network");
        }
        if is(4) {
            settings.limits.command_line = 80;
            settings.limits.content = 60;
            settings.limits.recipients = 2;
            settings.limits.transactions = 3;
            settings.limits.errors = 4;
            settings.limits.junk_commands = 3;
        }
        if is(5) {
            settings.budget = Budget::new(0);
        }
        let (client, transactions) =
            (Client::new(settings.limits.command_line), settings.limits.transactions);
        let peer = Peer::new(([127, 0, 0, 1], 4711).into());
        let now = Instant::now();
        let id = SessionId::new("fuzz");
        let mut session = Session::new(settings.into(), id, peer, now, UNIX_EPOCH);
        session.offer(&Capabilities::all());
        let mut course = Self {
            session,
            client,
            now,
            wait: Wait::Ask,
            transactions,
            ended: Vec::new(),
            input_ended: false,
            recipients: Vec::new(),
            contents: Vec::new(),
        };
        course.go_on();
        course
    }

    /// Sends these octets from the client, even if it was not asked.
    fn send(&mut self, octets: &[u8]) {
        self.session.receive(octets);
        self.client.send(octets);
        self.go_on();
    }

    fn happen(&mut self, what: u8) {
        let refusal = |code| Refusal::permanent(code, EnhancedStatus::new(7, 1), "No");
        let leave = || Refusal::transient(421, EnhancedStatus::new(7, 0), "Bye");
        match what & 0x1f {
            0 => self.answer(Verdict::Pass),
            1 => self.answer(Verdict::Refuse(refusal(550))),
            2 => self.answer(Verdict::Refuse(leave())),
            3 => {
                let field = HeaderField::new("X-Spam", "yes").expect("a field");
                self.answer(Verdict::Tag(vec![field]));
            }
            4 => self.take(),
            // A receipt for another kind of request.
            5 => {
                let is_content = self.is_content();
                let wrong = if is_content { Receipt::recipient() } else { Receipt::kept("1") };
                self.complete(Outcome::Accepted(wrong));
            }
            6 => self.complete(Outcome::Refused(refusal(554))),
            7 => self.complete(Outcome::Refused(leave())),
            8 => self.complete(Outcome::failed("of its own")),
            9 => self.run_out(),
            10 => {
                // A timeout event before the deadline must change nothing.
                let before = (self.wait, self.session.deadline());
                if let Some(Deadline { at, .. }) = before.1 {
                    if at <= self.now {
                        return;
                    }
                    self.session.handle_timeout(at - Duration::from_nanos(1));
                }
                self.session.handle_timeout(self.now);
                self.go_on();
                assert_eq!((self.wait, self.session.deadline()), before);
            }
            11 => self.now += Duration::from_secs(2),
            12 => {
                self.session.receive_eof();
                self.input_ended = true;
            }
            13 => self.session.lose_client(),
            14 => {
                if self.wait == Wait::StartTls {
                    self.client.start_tls();
                }
                self.session.tls_started(TlsInfo::new("TLSv1.3", "TLS_AES_128_GCM_SHA256"));
            }
            15 => self.session.shut_down(),
            16 => self.session.offer(&Capabilities::none()),
            // Success: grants everything that the session asks for.
            17 => {
                for _ in 0..100 {
                    match self.wait {
                        Wait::Ask => self.answer(Verdict::Pass),
                        Wait::Forward => self.take(),
                        Wait::Receive | Wait::StartTls | Wait::Close => break,
                    }
                    self.go_on();
                }
            }
            _ => {}
        }
    }

    /// Lets the session's deadline pass.
    fn run_out(&mut self) {
        if let Some(deadline) = self.session.deadline() {
            self.now = self.now.max(deadline.at);
            self.session.handle_timeout(self.now);
        }
    }

    fn answer(&mut self, verdict: Verdict) {
        if let Step::Ask(question) = self.session.poll(self.now) {
            question.answer(verdict);
        }
    }

    fn complete(&mut self, outcome: Outcome) {
        if let Step::Forward(forward) = self.session.poll(self.now) {
            forward.complete(outcome);
        }
    }

    fn is_content(&mut self) -> bool {
        match self.session.poll(self.now) {
            Step::Forward(forward) => forward.kind() == RequestKind::Content,
            _ => false,
        }
    }

    /// Lets the relay target accept the pending request.
    fn take(&mut self) {
        let Step::Forward(forward) = self.session.poll(self.now) else {
            return;
        };
        let (request, pending) = forward.take();
        let receipt = match request {
            Request::Recipient(_, recipient) => {
                let parameters = recipient.parameters.raw();
                assert!(!recipient.path.written().iter().any(u8::is_ascii_control));
                let mut written = recipient.path.written().to_vec();
                if !parameters.is_empty() {
                    written.push(b' ');
                    written.extend_from_slice(parameters);
                }
                self.recipients.push(written);
                Receipt::recipient()
            }
            Request::Answer(..) => panic!("not offered"),
            Request::Renewal(_) => panic!("no request was abandoned"),
            Request::Content(envelope, message) => {
                assert!(!envelope.forward_paths.is_empty());
                self.contents.push(message.content().to_vec());
                Receipt::kept("1")
            }
        };
        pending.complete(Outcome::Accepted(receipt));
    }

    /// Polls until the session waits for an event.
    fn go_on(&mut self) {
        loop {
            self.wait = match self.session.poll(self.now) {
                Step::Transmit(octets) => {
                    assert!(!octets.is_empty());
                    self.client.hear(&octets);
                    continue;
                }
                Step::Ended(end) => {
                    self.ended.push(*end);
                    continue;
                }
                step => wait(&step),
            };
            break;
        }
        let deadline = self.session.deadline();
        assert_eq!(deadline.is_none(), self.wait == Wait::Close);
        assert_eq!(self.session.is_closed(), self.wait == Wait::Close);
        // A step that was not completed is returned again.
        assert_eq!(wait(&self.session.poll(self.now)), self.wait);
        assert_eq!(self.session.deadline(), deadline);
        self.check();
    }

    /// Checks the delivery promise and its consequences.
    fn check(&mut self) {
        let told = &self.client;
        assert!(
            told.recipients.len() <= self.recipients.len(),
            "a 2xx to RCPT without the relay target's acceptance"
        );
        assert!(
            told.contents.len() <= self.contents.len(),
            "a 2xx to content without the relay target's acceptance"
        );
        for (told, taken) in told.recipients.iter().zip(&self.recipients) {
            // Ignore the client's spaces between words.
            let squeezed = |path: &[u8]| path.iter().filter(|it| **it != b' ').copied().collect();
            let [told, taken]: [Vec<u8>; 2] = [squeezed(told), squeezed(taken)];
            assert_eq!(told, taken, "another recipient");
        }
        for (told, taken) in told.contents.iter().zip(&self.contents) {
            assert_eq!(told, taken, "another content");
        }
        if self.wait == Wait::Receive {
            assert!(!self.input_ended, "asked for input after its end");
            self.client.is_answered();
            assert_eq!(self.client.recipients.len(), self.recipients.len());
            assert_eq!(self.client.contents.len(), self.contents.len());
        }
    }

    /// Ends the input: the client disconnects, and nothing answers the session any more.
    fn end(mut self) {
        self.session.receive_eof();
        self.input_ended = true;
        for _ in 0..10_000 {
            self.go_on();
            if self.wait == Wait::Close {
                return self.is_over();
            }
            self.run_out();
        }
        panic!("no end: {:?}", self.session);
    }

    fn is_over(mut self) {
        self.session.receive(b"NOOP\r\n");
        self.session.shut_down();
        self.session.handle_timeout(self.now + Duration::from_secs(1_000_000));
        self.go_on();
        assert_eq!(self.wait, Wait::Close);

        assert!(self.client.senders <= self.ended.len(), "a transaction did not end");
        assert!(self.ended.len() <= self.transactions as usize);
        let ids: Vec<_> = self.ended.iter().map(|end| end.envelope.id.to_string()).collect();
        let expected: Vec<_> = (1..=ids.len()).map(|n| format!("fuzz.{n}")).collect();
        assert_eq!(ids, expected, "each transaction ends once");
        let accepted = self.ended.iter().filter(|end| end.cause == EndCause::Accepted);
        assert_eq!(accepted.count(), self.contents.len());
        for end in &self.ended {
            let yes = end.reply.as_ref().is_some_and(|reply| reply.code().value() / 100 == 2);
            assert_eq!(yes, end.cause == EndCause::Accepted);
        }
    }
}

fn wait(step: &Step<'_>) -> Wait {
    match step {
        Step::Receive => Wait::Receive,
        Step::StartTls => Wait::StartTls,
        Step::Ask(_) => Wait::Ask,
        Step::Forward(_) => Wait::Forward,
        Step::Close => Wait::Close,
        Step::Transmit(_) | Step::Ended(_) => panic!("handed over twice: {step:?}"),
    }
}
