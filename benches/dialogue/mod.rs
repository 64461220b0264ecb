//! Sessions in memory: a client that sends its lines, a panel without findings, and either a relay
//! target or an onward server that accepts everything.

#![allow(dead_code, reason = "each benchmark uses its part")]

pub(crate) mod served;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use nobounce::envelope::SessionId;
use nobounce::onward::{OnwardSettings, OnwardStep};
use nobounce::verdict::Subject;
use nobounce::{
    Envelope, ForwardPath, Message, Onward, Outcome, Peer, Receipt, Request, ReversePath, Session,
    Settings, Step, Verdict,
};

/// Octets read from a client at once: the buffer size of `serve`.
pub(crate) const READ: usize = 16_384;

pub(crate) const EHLO: &[u8] = b"EHLO client.example\r\n";
/// The lines of a transaction: three commands, then the content.
pub(crate) const MAIL: &[u8] = b"MAIL FROM:<alice@client.example>\r\n";
pub(crate) const RCPT: &[u8] = b"RCPT TO:<bob@mx.example>\r\n";
pub(crate) const DATA: &[u8] = b"DATA\r\n";
pub(crate) const CONTENT: &[u8] = b"Subject: hello\r\n\r\nHello!\r\n.\r\n";

/// Returns a fixed instant for a dialogue, in which time does not pass.
#[allow(clippy::disallowed_methods, reason = "an `Instant` cannot be created otherwise")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A client together with its session.
pub(crate) struct Dialogue {
    session: Session,
    now: Instant,
    /// Octets sent to the client.
    pub(crate) heard: usize,
    /// Number of accepted messages.
    pub(crate) taken: usize,
    onward: Option<Server>,
}

impl Dialogue {
    /// Starts a dialogue after the greeting and EHLO. The relay target accepts everything.
    pub(crate) fn new(settings: &Arc<Settings>, now: Instant) -> Self {
        let id = SessionId::new("bench");
        let peer = Peer::new(([192, 0, 2, 1], 4711).into());
        let session = Session::new(settings.clone(), id, peer, now, SystemTime::UNIX_EPOCH);
        let mut dialogue = Self { session, now, heard: 0, taken: 0, onward: None };
        dialogue.settle();
        dialogue.say(EHLO);
        dialogue
    }

    /// Starts the same dialogue with an onward server.
    pub(crate) fn with_onward(
        settings: &Arc<Settings>,
        onward: &Arc<OnwardSettings>,
        now: Instant,
    ) -> Self {
        let mut dialogue = Self::new(settings, now);
        dialogue.onward = Some(Server::new(onward));
        dialogue
    }

    /// Sends these octets in one segment and runs the session until it wants to read again.
    pub(crate) fn say(&mut self, octets: &[u8]) {
        self.session.receive(octets);
        self.settle();
    }

    /// Runs one transaction. Each command waits for its reply.
    pub(crate) fn transaction(&mut self, content: &[u8]) {
        for command in [MAIL, RCPT, DATA] {
            self.say(command);
        }
        let taken = self.taken;
        self.stream(content);
        self.settle();
        assert_eq!(self.taken, taken + 1, "the message was not accepted");
    }

    /// Sends content, which is read the way `serve` reads it, until the session requests something
    /// else: to ask the panel, or to send a refusal. That step is not executed.
    pub(crate) fn stream(&mut self, content: &[u8]) {
        let mut rest = content;
        while !rest.is_empty() {
            let room = self.session.room();
            let most = if room.is_empty() { READ } else { room.len() };
            let (piece, behind) = rest.split_at(rest.len().min(most));
            match room.get_mut(..piece.len()) {
                // Same as a socket read directly into the room: no further copy.
                Some(room) if !room.is_empty() => {
                    room.copy_from_slice(piece);
                    self.session.receive_in_room(piece.len());
                }
                _ => self.session.receive(piece),
            }
            rest = behind;
            if !matches!(self.session.poll(self.now), Step::Receive) {
                return assert!(rest.is_empty(), "premature end of data");
            }
        }
        panic!("the end of data was not detected");
    }

    /// Returns the message that the session asks the panel about, as it would be forwarded.
    /// Returns `None` if the content was refused.
    pub(crate) fn message(&mut self) -> Option<Vec<u8>> {
        match self.session.poll(self.now) {
            Step::Ask(question) => match question.subject() {
                Subject::Content(_, message) => Some(message.segments().concat()),
                _ => None,
            },
            _ => None,
        }
    }

    /// Executes the steps of the session until it wants to read.
    fn settle(&mut self) {
        loop {
            match self.session.poll(self.now) {
                Step::Transmit(octets) => self.heard += octets.len(),
                Step::Receive | Step::Close => return,
                Step::Ask(question) => question.answer(Verdict::Pass),
                Step::Forward(forward) => {
                    let (request, pending) = forward.take();
                    self.taken += usize::from(matches!(request, Request::Content(..)));
                    let outcome = match (&mut self.onward, request) {
                        (Some(onward), request) => onward.ask(request, self.now),
                        (None, Request::Recipient(..) | Request::Renewal(_)) => {
                            Outcome::Accepted(Receipt::recipient())
                        }
                        (None, Request::Content(..) | Request::Answer(..)) => {
                            Outcome::Accepted(Receipt::kept("4711"))
                        }
                    };
                    pending.complete(outcome);
                }
                Step::Ended(_) => {}
                Step::StartTls => panic!("TLS was not asked for"),
            }
        }
    }
}

/// An onward server that accepts everything, and the state machine that talks to it.
pub(crate) struct Server {
    onward: Onward,
    /// Whether the server waits for the end of data.
    in_content: bool,
}

const OFFER: &[u8] = b"250-onward.example\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n\
                       250-ENHANCEDSTATUSCODES\r\n250 PIPELINING\r\n";

impl Server {
    pub(crate) fn new(settings: &Arc<OnwardSettings>) -> Self {
        Self { onward: Onward::new(settings.clone()), in_content: false }
    }

    pub(crate) fn ask(&mut self, request: Request<'_>, now: Instant) -> Outcome {
        self.onward.request(request);
        loop {
            match self.onward.poll(now) {
                OnwardStep::Done(outcome) => return outcome,
                step => self.go_on(step),
            }
        }
    }

    /// Runs the transaction up to the server's 354 reply. The next output of the state machine is
    /// the content in wire format.
    pub(crate) fn offer(&mut self, envelope: &Envelope, message: &Message, now: Instant) {
        self.onward.request(Request::Content(envelope, message.clone()));
        while !self.in_content {
            let step = self.onward.poll(now);
            self.go_on(step);
        }
    }

    /// Returns everything to write to the server, in batches.
    pub(crate) fn written(&mut self, now: Instant) -> Vec<Bytes> {
        let mut all = Vec::new();
        loop {
            match self.onward.poll(now) {
                OnwardStep::Transmit(segments) => all.extend(segments),
                OnwardStep::Receive => return all,
                step => panic!("content was to be written, and {step:?} is next"),
            }
        }
    }

    fn go_on(&mut self, step: OnwardStep) {
        match step {
            OnwardStep::Connect => {
                self.onward.connected();
                self.onward.receive(b"220 onward.example ESMTP\r\n");
            }
            OnwardStep::Transmit(segments) => self.hear(&segments),
            step => panic!("the onward server said all, and {step:?} is next"),
        }
    }

    fn hear(&mut self, segments: &[Bytes]) {
        let Self { onward, in_content } = self;
        if *in_content {
            *in_content = false;
            return onward.receive(TAKEN);
        }
        for segment in segments {
            answer(segment, in_content, |reply| onward.receive(reply));
        }
    }
}

const TAKEN: &[u8] = b"250 2.0.0 Ok: queued as 4711\r\n";

/// Answers a command, or the end of content, in the role of the onward server.
fn answer(octets: &[u8], in_content: &mut bool, mut say: impl FnMut(&[u8])) {
    if std::mem::take(in_content) {
        return say(TAKEN);
    }
    for line in octets.split(|octet| *octet == b'\n') {
        say(match line.get(..4) {
            Some(b"EHLO") => OFFER,
            Some(b"DATA") => {
                *in_content = true;
                b"354 End data with <CR><LF>.<CR><LF>\r\n"
            }
            Some(b"QUIT") => b"221 2.0.0 Bye\r\n",
            Some(_) => b"250 2.1.0 Ok\r\n",
            None => continue,
        });
    }
}

/// Returns an envelope for messages without a session, and its recipient.
pub(crate) fn envelope() -> (Envelope, ForwardPath) {
    let peer = Arc::new(Peer::new(([192, 0, 2, 1], 4711).into()));
    let sender = ReversePath::parse(b"<alice@client.example>").expect("it is one");
    let recipient = ForwardPath::parse(b"<bob@mx.example>").expect("it is one");
    let mut envelope = Envelope::new(SessionId::new("bench").transaction(1), peer, sender);
    envelope.forward_paths.push(recipient.clone());
    (envelope, recipient)
}
