//! An in-memory gate and its environment.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use nobounce::driver::ServeError;
use nobounce::tls::TlsServer;
use nobounce::{
    Address, Envelope, Event, ForwardPath, Gate, Message, Outcome, Peer, Receipt, Relay, Runtime,
    Settings, Target, serve, serve_tls,
};
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

/// A server in this process. It gets the far end of each connection.
pub(crate) type Accept = Arc<dyn Fn(DuplexStream) + Send + Sync>;

/// A network with one server. Its connections buffer this many octets in each direction.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) accept: Accept,
    pub(crate) width: usize,
}

impl Network {
    /// Returns a network without a listener.
    pub(crate) fn none() -> Self {
        Self { accept: Arc::new(|_| panic!("no connection was expected")), width: 1 }
    }
}

#[async_trait]
impl Runtime for Network {
    type Stream = Compat<DuplexStream>;

    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }

    async fn connect(&self, _: &Address) -> io::Result<Self::Stream> {
        let (near, far) = duplex(self.width);
        (self.accept)(far);
        Ok(near.compat())
    }
}

/// A relay target that keeps messages unchanged.
#[derive(Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<Vec<String>>>);

impl Shelf {
    pub(crate) fn messages(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Returns the only message, with folded lines joined.
    pub(crate) fn only(&self) -> String {
        let messages = self.messages();
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages[0].replace("\r\n ", " ")
    }
}

impl Target for Shelf {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Relay for Shelf {
    async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
        Outcome::Accepted(Receipt::recipient())
    }

    async fn content(&mut self, _: &Envelope, message: Message) -> Outcome {
        let octets = message.segments().concat();
        self.0.lock().unwrap().push(String::from_utf8(octets).unwrap());
        Outcome::Accepted(Receipt::kept("shelf"))
    }
}

type Session = JoinHandle<Result<(), ServeError>>;

/// Results and records of its sessions.
#[derive(Clone)]
pub(crate) struct Server {
    gate: Arc<Gate<Network>>,
    pub(crate) records: Arc<Mutex<Vec<String>>>,
    sessions: Arc<Mutex<Vec<Session>>>,
}

impl Server {
    pub(crate) fn new(target: impl Target + 'static, tls: Option<TlsServer>) -> Self {
        Self::with_settings(Settings::new("mx.example"), target, tls)
    }

    pub(crate) fn with_settings(
        settings: Settings,
        target: impl Target + 'static,
        tls: Option<TlsServer>,
    ) -> Self {
        let records = Arc::new(Mutex::new(Vec::new()));
        let kept = records.clone();
        let gate = Gate::new(Network::none(), settings, target);
        let gate = gate.observer(move |event| {
            if let Event::Ended(record) = event {
                kept.lock().unwrap().push(record.to_string());
            }
        });
        let gate = match tls {
            Some(tls) => gate.tls(tls),
            None => gate,
        };
        Self { gate: Arc::new(gate), records, sessions: Arc::default() }
    }

    /// Opens a connection to it.
    pub(crate) fn connect(&self, width: usize) -> DuplexStream {
        self.begin(width, false)
    }

    /// Opens a connection with implicit TLS.
    pub(crate) fn connect_tls(&self, width: usize) -> DuplexStream {
        self.begin(width, true)
    }

    fn begin(&self, width: usize, tls: bool) -> DuplexStream {
        let (near, far) = duplex(width);
        self.attend(far, tls);
        near
    }

    fn attend(&self, far: DuplexStream, tls: bool) {
        let gate = self.gate.clone();
        let peer = Peer::new(([192, 0, 2, 1], 4711).into());
        let session = tokio::spawn(async move {
            match tls {
                true => serve_tls(far.compat(), peer, &gate).await,
                false => serve(far.compat(), peer, &gate).await,
            }
        });
        self.sessions.lock().unwrap().push(session);
    }

    /// Returns a network in which it is the server.
    pub(crate) fn network(&self, width: usize) -> Network {
        let server = self.clone();
        Network { accept: Arc::new(move |far| server.attend(far, false)), width }
    }

    /// Returns the result of its only session.
    pub(crate) async fn ended(&self) -> Result<(), ServeError> {
        let session = self.sessions.lock().unwrap().pop().unwrap();
        assert!(self.sessions.lock().unwrap().is_empty());
        session.await.unwrap()
    }

    pub(crate) fn connections(&self) -> usize {
        self.sessions.lock().unwrap().len()
    }
}
