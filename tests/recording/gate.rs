//! A gate with a recorder, and sessions with it.

use std::sync::Arc;

use nobounce::gate::GateStep;
use nobounce::observer::Recorder;
use nobounce::recording::{RecordedSession, RecorderSettings, Recording};
use nobounce::reply::{EnhancedStatus, ReplyCode};
use nobounce::session::Capabilities;
use nobounce::testing::VirtualRuntime;
use nobounce::{
    Envelope, ForwardPath, Gate, Message, Outcome, Panel, Peer, Receipt, Refusal, Relay, Reply,
    Runtime, Settings, Target, async_trait,
};

/// A relay target that quotes what it refuses: recipients with `nobody`, and contents with `virus`.
pub struct Quotes;

impl Target for Quotes {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        Box::new(Self)
    }
}

#[async_trait]
impl Relay for Quotes {
    async fn capabilities(&mut self) -> Capabilities {
        Capabilities::all()
    }

    async fn rcpt(&mut self, envelope: &Envelope, recipient: &ForwardPath) -> Outcome {
        let path = &recipient.path;
        if !path.to_string().contains("nobody") {
            return Outcome::Accepted(Receipt::recipient());
        }
        let local_part = path.mailbox().map_or("", |mailbox| mailbox.local_part);
        let client = envelope.peer.address.map(|it| it.ip().to_string()).unwrap_or_default();
        let text = format!(
            "{path}: no {local_part} here\nsee https://help.mark-onward.example/?to=mark-url@mark-onward.example,\n\
             client {client} [{client}] {}, from {}",
            envelope.peer.name.as_deref().unwrap_or_default(),
            envelope.reverse_path.path
        );
        Outcome::Refused(Refusal::permanent(550, EnhancedStatus::new(1, 1), &text))
    }

    async fn content(&mut self, _: &Envelope, message: Message) -> Outcome {
        let content = message.content().clone();
        if content.windows(5).any(|octets| octets == b"virus") {
            let text = "554 5.6.0 virus from mark-other@mark-onward.example";
            let reply = Reply::plain(ReplyCode::new(554).unwrap(), &text[4..]);
            return Outcome::Refused(Refusal::try_from(reply).unwrap());
        }
        Outcome::Accepted(Receipt::kept("4711"))
    }
}

/// The way in which a client sends.
#[derive(Debug, Clone, Copy)]
pub enum Pieces {
    Whole,
    Octets,
}

/// A gate in virtual time, with a recorder.
pub struct Recorded {
    pub gate: Gate<VirtualRuntime>,
    pub recorder: Arc<Recorder<VirtualRuntime, Vec<u8>>>,
    pub runtime: VirtualRuntime,
}

pub fn settings() -> Settings {
    Settings::new("mx.example")
}

impl Recorded {
    pub fn new(panel: Panel, settings: RecorderSettings) -> Self {
        let runtime = VirtualRuntime::new();
        let recorder = Arc::new(Recorder::new(runtime.clone(), Vec::new(), settings).unwrap());
        let gate = Gate::new(runtime.clone(), self::settings(), Quotes)
            .session_prefix("g")
            .panel(panel)
            .report_answers()
            .observed_by(recorder.clone());
        Self { gate, recorder, runtime }
    }

    /// Runs a session. The client sends each text after the replies to the one before.
    pub fn session(&self, client: Peer, texts: &[&str], pieces: Pieces) -> String {
        let runtime = &self.runtime;
        let mut session = runtime.run(self.gate.open(client)).unwrap();
        let mut texts = texts.iter();
        let mut rest: &[u8] = b"";
        let mut replies = Vec::new();
        loop {
            match session.poll(runtime.now()) {
                GateStep::Transmit(octets) => replies.extend_from_slice(&octets),
                GateStep::Receive => {
                    if rest.is_empty() {
                        match texts.next() {
                            Some(text) => rest = text.as_bytes(),
                            None => {
                                session.receive_eof();
                                continue;
                            }
                        }
                    }
                    let length = match pieces {
                        Pieces::Whole => rest.len(),
                        Pieces::Octets => 1,
                    };
                    let (piece, left) = rest.split_at(length);
                    rest = left;
                    session.receive(piece);
                }
                GateStep::Ask(question) => runtime.run(question.ask()),
                GateStep::Forward(forward) => runtime.run(forward.ask()),
                GateStep::Delay(_) => {}
                GateStep::StartTls => session.tls_failed(),
                GateStep::Close => break,
            }
        }
        runtime.run(session.close());
        String::from_utf8_lossy(&replies).into_owned()
    }

    /// Returns the recording so far.
    pub fn written(&self) -> String {
        let written = self.recorder.with_writer(|written| written.clone());
        String::from_utf8(written).unwrap()
    }

    /// Returns the recorded sessions so far.
    pub fn sessions(&self) -> Vec<RecordedSession> {
        Recording::new(self.written().as_bytes()).map(Result::unwrap).collect()
    }
}

/// Returns a client with a name.
pub fn client() -> Peer {
    Peer::new(([203, 0, 113, 77], 4711).into()).named("mark-name.mark-client.example")
}
