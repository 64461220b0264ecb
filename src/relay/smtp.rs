//! The relay target that asks an onward server over SMTP or LMTP.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use futures::future::poll_fn;
use futures::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use futures::poll;

use super::{Relay, Target};
use crate::capabilities::Capabilities;
use crate::deadline::{Awaiting, Deadline};
use crate::envelope::Envelope;
use crate::message::Message;
use crate::onward::{Onward, OnwardSettings, OnwardStep, Protocol, TlsPolicy};
use crate::outcome::{Outcome, RelayError, Request};
use crate::peer::Peer;
use crate::runtime::{Address, Runtime, within};
use crate::tls::{Channel, TlsClient};
use crate::wire::mailbox::ForwardPath;

/// How long what a server offers is remembered.
const REMEMBER: Duration = Duration::from_secs(300);
/// How long it is remembered that a server could not say what it offers.
const REMEMBER_SILENCE: Duration = Duration::from_secs(10);
/// How long a client waits for its greeting because of a server that has not been asked yet.
const INTRODUCTION: Duration = Duration::from_secs(5);
/// Most segments that are written at once.
const VECTORS: usize = 64;

/// An onward server, asked over SMTP (TCP or Unix socket) or LMTP. Each client has a connection of
/// its own, made when its first recipient is asked about and kept for its later messages.
#[derive(Debug)]
pub struct Smtp<R: Runtime> {
    server: Arc<Server<R>>,
}

#[derive(Debug)]
struct Server<R> {
    runtime: R,
    address: Address,
    settings: Arc<OnwardSettings>,
    tls: Option<TlsClient>,
    /// What the server offered when it was last heard, and until when that is taken for true.
    offered: Mutex<Option<(Capabilities, Instant)>>,
}

impl<R: Runtime> Smtp<R> {
    /// The SMTP server at `address`; `host` is the name we introduce ourselves with.
    pub fn new(runtime: R, address: Address, host: &str) -> Self {
        Self::with_settings(runtime, address, OnwardSettings::new(host))
    }

    /// The LMTP server at `address` (RFC 2033): Dovecot, Cyrus.
    pub fn lmtp(runtime: R, address: Address, host: &str) -> Self {
        let mut settings = OnwardSettings::new(host);
        settings.protocol = Protocol::Lmtp;
        Self::with_settings(runtime, address, settings)
    }

    /// With time-outs and protocol of one's own. Without a TLS client [`TlsPolicy::May`] is `Never`,
    /// and [`TlsPolicy::Must`] is 451 for everything: see `with_tls`.
    pub fn with_settings(runtime: R, address: Address, settings: OnwardSettings) -> Self {
        Self::build(runtime, address, settings, None)
    }

    /// Over TLS, as [`OnwardSettings::tls`] says; where that is [`TlsPolicy::Never`], as
    /// [`TlsPolicy::Must`]: who hands over a client means it to be used.
    #[cfg(feature = "tls")]
    pub fn with_tls(
        runtime: R,
        address: Address,
        mut settings: OnwardSettings,
        client: TlsClient,
    ) -> Self {
        if settings.tls == TlsPolicy::Never {
            settings.tls = TlsPolicy::Must;
        }
        Self::build(runtime, address, settings, Some(client))
    }

    fn build(
        runtime: R,
        address: Address,
        mut settings: OnwardSettings,
        tls: Option<TlsClient>,
    ) -> Self {
        if tls.is_none() && settings.tls == TlsPolicy::May {
            // Nobody is there to do it: each connection would be made twice.
            settings.tls = TlsPolicy::Never;
        }
        let settings = Arc::new(settings);
        let server = Server { runtime, address, settings, tls, offered: Mutex::new(None) };
        Self { server: Arc::new(server) }
    }
}

impl<R: Runtime> Target for Smtp<R> {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        let onward = Onward::new(self.server.settings.clone());
        Box::new(Connection { server: self.server.clone(), onward, stream: None })
    }
}

/// The connection to the server that one client has.
struct Connection<R: Runtime> {
    server: Arc<Server<R>>,
    onward: Onward,
    stream: Option<Channel<R::Stream>>,
}

#[async_trait]
impl<R: Runtime> Relay for Connection<R> {
    async fn capabilities(&mut self) -> Capabilities {
        let now = self.server.runtime.now();
        if let Some(offered) = self.server.remembered(now) {
            return offered;
        }
        self.onward.introduce();
        let server = self.server.clone();
        let limit = Deadline { at: now + INTRODUCTION, awaiting: Awaiting::Hello };
        let _ = within(&server.runtime, Some(limit), self.run()).await;
        let (offered, remember) = match self.onward.capabilities() {
            Some(offered) => (offered.through(), REMEMBER),
            None => (server.unheard(), REMEMBER_SILENCE),
        };
        let offered = self.server.one_by_one(offered);
        self.server.remember(&offered, now + remember);
        offered
    }

    async fn rcpt(&mut self, envelope: &Envelope, recipient: &ForwardPath) -> Outcome {
        self.ask(Request::Recipient(envelope, recipient)).await
    }

    async fn content(&mut self, envelope: &Envelope, message: &Message) -> Outcome {
        self.ask(Request::Content(envelope, message)).await
    }

    async fn close(&mut self) {
        self.onward.quit();
        self.run().await;
    }
}

impl<R: Runtime> Connection<R> {
    async fn ask(&mut self, request: Request<'_>) -> Outcome {
        self.overhear().await;
        self.onward.request(request);
        let outcome = self.run().await;
        if let Some(offered) = self.onward.capabilities() {
            let until = self.server.runtime.now() + REMEMBER;
            self.server.remember(&self.server.one_by_one(offered.through()), until);
        }
        outcome.unwrap_or(Outcome::Failed(RelayError::Lost))
    }

    /// Does what the machine says until the request is answered or nothing is left to do.
    async fn run(&mut self) -> Option<Outcome> {
        let server = self.server.clone();
        let runtime = &server.runtime;
        loop {
            let step = self.onward.poll(runtime.now());
            let deadline = self.onward.deadline();
            match step {
                OnwardStep::Connect => {
                    match within(runtime, deadline, runtime.connect(&server.address)).await {
                        Some(Ok(stream)) => {
                            self.stream = Some(Channel::new(stream));
                            self.onward.connected();
                        }
                        Some(Err(error)) => self.onward.unreachable(error),
                        None => self.onward.handle_timeout(runtime.now()),
                    }
                }
                OnwardStep::Transmit(segments) => {
                    let written = match &mut self.stream {
                        Some(stream) => transmit(runtime, &server.settings, stream, segments).await,
                        None => Err(io::ErrorKind::NotConnected.into()),
                    };
                    if written.is_err() {
                        self.onward.transmit_failed();
                    }
                }
                OnwardStep::Receive => {
                    let Some(stream) = &mut self.stream else {
                        self.onward.disconnected();
                        continue;
                    };
                    let onward = &mut self.onward;
                    match within(runtime, deadline, read(stream, |octets| onward.receive(octets)))
                        .await
                    {
                        Some(true) => {}
                        Some(false) => self.disconnected(),
                        None => self.onward.handle_timeout(runtime.now()),
                    }
                }
                OnwardStep::StartTls => {
                    let upgrade = async {
                        match (&mut self.stream, &server.tls) {
                            (Some(stream), Some(tls)) => stream.connect(tls).await,
                            _ => Err(io::ErrorKind::Unsupported.into()),
                        }
                    };
                    match within(runtime, deadline, upgrade).await {
                        Some(Ok(_)) => self.onward.tls_started(),
                        Some(Err(error)) => self.onward.tls_failed(error),
                        None => self.onward.handle_timeout(runtime.now()),
                    }
                }
                OnwardStep::Done(outcome) => return Some(outcome),
                OnwardStep::Disconnect => self.stream = None,
                OnwardStep::Idle => return None,
            }
        }
    }

    /// Takes notice of what an idle connection has said meanwhile: 421, or its end.
    async fn overhear(&mut self) {
        let Some(stream) = self.stream.as_mut().filter(|_| self.onward.is_idle()) else {
            return;
        };
        let onward = &mut self.onward;
        let heard = {
            let mut reading = pin!(read(stream, |octets| onward.receive(octets)));
            poll!(reading.as_mut())
        };
        if heard == Poll::Ready(false) {
            self.disconnected();
        }
    }

    fn disconnected(&mut self) {
        self.stream = None;
        self.onward.disconnected();
    }
}

impl<R> Server<R> {
    fn remembered(&self, now: Instant) -> Option<Capabilities> {
        let offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        offered.as_ref().filter(|(_, until)| now < *until).map(|(offered, _)| offered.clone())
    }

    /// What is offered for a server that cannot be asked: what it had when it last could, otherwise
    /// everything. A client that misses what its message needs (SMTPUTF8, 8BITMIME) gives it back to
    /// its sender for good; one that is offered too much is told 451 and comes again.
    fn unheard(&self) -> Capabilities {
        let offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        offered.as_ref().map_or_else(Capabilities::all, |(offered, _)| offered.clone())
    }

    fn remember(&self, offered: &Capabilities, until: Instant) {
        let mut held = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some((offered.clone(), until));
    }

    /// A server that answers the content per recipient gets one at a time.
    fn one_by_one(&self, offered: Capabilities) -> Capabilities {
        match self.settings.protocol {
            Protocol::Smtp => offered,
            Protocol::Lmtp => Capabilities { recipients_max: Some(1), ..offered },
        }
    }
}

/// Reads once and hands over what came; `false` at the end of the stream. The buffer lives only
/// while there is something to read.
async fn read<S: AsyncRead + Unpin>(stream: &mut S, mut take: impl FnMut(&[u8])) -> bool {
    poll_fn(|context| {
        let mut buffer = [0; 4096];
        Pin::new(&mut *stream).poll_read(context, &mut buffer).map(|result| match result {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                take(&buffer[..length]);
                true
            }
        })
    })
    .await
}

/// Writes all segments in order, many at a time, with a deadline for each block that the server
/// takes.
async fn transmit<R: Runtime, S: AsyncWrite + Unpin>(
    runtime: &R,
    settings: &OnwardSettings,
    stream: &mut S,
    segments: Vec<Bytes>,
) -> io::Result<()> {
    let block = || {
        let wait = settings.timeouts.data_block;
        Some(Deadline::after(runtime.now(), wait, Awaiting::Transmission))
    };
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let mut segments = segments.into_iter();
    let mut batch: Vec<Bytes> = Vec::with_capacity(VECTORS.min(segments.len()));
    loop {
        batch.extend(segments.by_ref().take(VECTORS - batch.len()));
        if batch.is_empty() {
            break;
        }
        let write = async {
            let slices: Vec<_> = batch.iter().map(|segment| IoSlice::new(segment)).collect();
            stream.write_vectored(&slices).await
        };
        let mut written = within(runtime, block(), write).await.ok_or_else(late)??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let done = batch.iter().take_while(|segment| {
            let whole = written >= segment.len();
            written -= if whole { segment.len() } else { 0 };
            whole
        });
        let done = done.count();
        batch.drain(..done);
        if let Some(first) = batch.first_mut() {
            first.advance(written);
        }
    }
    within(runtime, block(), stream.flush()).await.ok_or_else(late)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{Rehearsal, peer};

    #[test]
    fn a_server_that_is_away_takes_nothing_from_what_is_offered() {
        let runtime = Rehearsal::new();
        let away = |protocol| {
            let mut settings = OnwardSettings::new("mx.example");
            settings.protocol = protocol;
            Smtp::with_settings(runtime.clone(), Address::Tcp("192.0.2.1:25".into()), settings)
        };
        let offers = |server: &Smtp<_>| runtime.run(server.open(&peer()).capabilities());

        let smtp = away(Protocol::Smtp);
        assert_eq!(offers(&smtp), Capabilities::all());
        let one = Capabilities { recipients_max: Some(1), ..Capabilities::all() };
        assert_eq!(offers(&away(Protocol::Lmtp)), one);

        // Known from before, however long ago.
        let known = Capabilities { dsn: false, size: Some(1000), ..Capabilities::all() };
        smtp.server.remember(&known, runtime.now());
        assert_eq!(offers(&smtp), known);
        runtime.run(runtime.sleep(10 * REMEMBER));
        assert_eq!(offers(&smtp), known);
    }
}
