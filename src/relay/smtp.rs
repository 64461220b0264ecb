//! The relay target that asks an onward server over SMTP or LMTP.

mod pool;
mod self_test;
mod split;
mod transmit;

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::poll_fn;
use futures::io::AsyncRead;
use futures::poll;

use super::{Relay, Target};
use crate::capabilities::Capabilities;
use crate::deadline::{Awaiting, Deadline};
use crate::envelope::Envelope;
use crate::message::Message;
use crate::onward::{
    Identify, ONE_BY_ONE, OneRecipient, Onward, OnwardSettings, OnwardStep, Protocol, TlsPolicy,
};
use crate::outcome::{Outcome, RelayError, Request};
use crate::peer::Peer;
use crate::runtime::{Address, Runtime, Timer, poll_read, within};
use crate::tls::{Channel, TlsClient};
use crate::verdict::Refusal;
use crate::wire::mailbox::ForwardPath;
use pool::Pool;
pub use self_test::SelfTestError;
use split::Splits;
use transmit::transmit;

/// How long what a server offers is remembered.
const REMEMBER: Duration = Duration::from_secs(300);
/// How long it is remembered that a server could not say what it offers.
const REMEMBER_SILENCE: Duration = Duration::from_secs(10);
/// How long a client waits for its greeting because of a server that has not been asked yet.
const INTRODUCTION: Duration = Duration::from_secs(5);
/// Most connections that are kept idle between clients: a fifth of the servers that Postfix runs at
/// most (`default_process_limit` 100).
const IDLE: usize = 20;
/// How long they are kept: as long as Postfix does (`smtp_connection_cache_time_limit`), more than the
/// pauses between two clients of a busy gate, and not so long that a quiet one keeps servers waiting, or
/// that what TCP has learnt of a large message is held against small ones.
const IDLE_TIME: Duration = Duration::from_secs(2);
/// How old a connection may be to serve another client (Postfix `smtp_connection_reuse_time_limit`):
/// a server's configuration changes.
const REUSE_TIME: Duration = Duration::from_secs(300);
/// How long a client's connection may take to be made fit for the next client.
const RESET: Duration = Duration::from_secs(5);
/// Octets of replies that are read at once.
const REPLY: usize = 4_096;

/// An onward server, asked over SMTP (TCP or Unix socket) or LMTP. Each client has a connection of
/// its own, made when its first recipient is asked about and kept for its later messages. Behind it
/// the connection serves another client, unless the server takes it for the first one's
/// ([`Identify::XClient`], [`Identify::Proxy`]) or has refused something on it.
///
/// A gate that the internet connects to, in front of a Postfix that believes XCLIENT:
///
/// ```no_run
/// # use nobounce::{Gate, Identify, Runtime, Settings, relay};
/// # async fn gate<R: Runtime + Copy>(runtime: R) -> Result<Gate<R>, Box<dyn std::error::Error>> {
/// let target = relay::Smtp::new(runtime, "127.0.0.1:10025".parse()?, "mx.example.org")
///     .identify(Identify::XClient);
/// // Not a client is served in front of an open relay.
/// target.self_test().await?;
/// let gate = Gate::new(runtime, Settings::new("mx.example.org"), target);
/// # Ok(gate)
/// # }
/// ```
#[derive(Debug)]
pub struct Smtp<R: Runtime> {
    server: Arc<Server<R>>,
}

#[derive(Debug)]
struct Server<R: Runtime> {
    runtime: Arc<R>,
    address: Address,
    settings: Arc<OnwardSettings>,
    tls: Option<TlsClient>,
    idle: Pool<R>,
    splits: Splits,
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
        let idle = Pool::new(IDLE, IDLE_TIME);
        Self::build(Arc::new(runtime), address, settings, None, idle)
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
        let idle = Pool::new(IDLE, IDLE_TIME);
        Self::build(Arc::new(runtime), address, settings, Some(client), idle)
    }

    /// Says how the server is told who the client is. To begin with it is not.
    #[must_use]
    pub fn identify(self, identify: Identify) -> Self {
        let Server { runtime, address, settings, tls, idle, .. } = &*self.server;
        let settings = OnwardSettings { identify, ..(**settings).clone() };
        Self::build(runtime.clone(), address.clone(), settings, tls.clone(), idle.like())
    }

    /// Keeps at most so many connections idle between clients, each for so long; without this, 20
    /// for 2 seconds (Postfix `smtp_connection_cache_time_limit`). One whose time is over is closed when
    /// the next client comes or goes.
    #[must_use]
    pub fn keep_idle(self, most: usize, idle_time: Duration) -> Self {
        let Server { runtime, address, settings, tls, .. } = &*self.server;
        let idle = Pool::new(most, idle_time);
        Self::build(runtime.clone(), address.clone(), (**settings).clone(), tls.clone(), idle)
    }

    fn build(
        runtime: Arc<R>,
        address: Address,
        mut settings: OnwardSettings,
        tls: Option<TlsClient>,
        idle: Pool<R>,
    ) -> Self {
        if tls.is_none() && settings.tls == TlsPolicy::May {
            // Nobody is there to do it: each connection would be made twice.
            settings.tls = TlsPolicy::Never;
        }
        let settings = Arc::new(settings);
        let (splits, offered) = (Splits::default(), Mutex::new(None));
        let server = Server { runtime, address, settings, tls, idle, splits, offered };
        Self { server: Arc::new(server) }
    }

    fn connection(&self, client: Arc<Peer>) -> Connection<R> {
        let mut onward = Onward::new(self.server.settings.clone());
        onward.speak_for(client);
        let runtime = self.server.runtime.clone();
        let timer = Timer::new(move |at| {
            let runtime = runtime.clone();
            Box::pin(async move { runtime.sleep_until(at).await })
        });
        Connection { server: self.server.clone(), onward, connected: None, timer }
    }
}

impl<R: Runtime> Target for Smtp<R> {
    fn open(&self, peer: &Peer) -> Box<dyn Relay> {
        Box::new(self.connection(Arc::new(peer.clone())))
    }
}

/// The connection to the server that one client has.
struct Connection<R: Runtime> {
    server: Arc<Server<R>>,
    onward: Onward,
    connected: Option<Connected<R>>,
    timer: Timer<'static>,
}

struct Connected<R: Runtime> {
    stream: Channel<R::Stream>,
    since: Instant,
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
        // In a future of its own: mostly there is no need of it, and this one is made for each client.
        let run = Box::pin(self.run());
        let in_time = within(&*server.runtime, Some(limit), run).await.is_some();
        match self.onward.capabilities() {
            Some(offered) => {
                let offered = server.one_by_one(offered.through());
                server.remember(&offered, now + REMEMBER);
                offered
            }
            None => {
                let offered = server.one_by_one(server.unheard());
                // What the server thinks of one client is nothing to another.
                if !(server.settings.identify.impersonates() && in_time) {
                    server.remember(&offered, now + REMEMBER_SILENCE);
                }
                offered
            }
        }
    }

    async fn rcpt(&mut self, envelope: &Envelope, recipient: &ForwardPath) -> Outcome {
        let Server { splits, runtime, .. } = &*self.server;
        if splits.is_split(envelope, recipient, || runtime.now()) {
            return Outcome::Refused(ONE_BY_ONE);
        }
        self.ask(Request::Recipient(envelope, recipient)).await
    }

    async fn content(&mut self, envelope: &Envelope, message: Message) -> Outcome {
        const SPLIT: Refusal = Refusal::fixed(
            451,
            5,
            0,
            "One recipient at a time, send to each in a transaction of its own",
        );
        let Server { splits, runtime, .. } = &*self.server;
        let content = splits.content(envelope, &message);
        if content.is_some_and(|content| splits.is_known(envelope, content, runtime.now())) {
            return Outcome::Refused(SPLIT);
        }
        let outcome = self.ask(Request::Content(envelope, message)).await;
        if let (Some(content), Outcome::Failed(RelayError::Partial(_))) = (content, &outcome) {
            let Server { splits, runtime, .. } = &*self.server;
            splits.remember(envelope, content, runtime.now());
        }
        outcome
    }

    async fn answer(&mut self, envelope: &Envelope, recipient: &ForwardPath) -> Outcome {
        self.ask(Request::Answer(envelope, recipient)).await
    }

    async fn close(&mut self) {
        let server = self.server.clone();
        let now = server.runtime.now();
        if !server.settings.identify.impersonates() && server.idle.has_room(now) {
            self.onward.reset();
            if !self.onward.is_idle() {
                let limit = Deadline { at: now + RESET, awaiting: Awaiting::Reset };
                let run = Box::pin(self.run());
                if within(&*server.runtime, Some(limit), run).await.is_none() {
                    return;
                }
            }
            let is_young = |it: &mut Connected<R>| now < it.since + REUSE_TIME;
            if self.onward.is_reusable()
                && let Some(connected) = self.connected.take_if(is_young)
            {
                let fresh = Onward::new(server.settings.clone());
                let onward = std::mem::replace(&mut self.onward, fresh);
                return server.idle.keep(connected, onward, server.runtime.now());
            }
        }
        self.onward.quit();
        Box::pin(self.run()).await;
    }
}

impl<R: Runtime> Connection<R> {
    async fn ask(&mut self, request: Request<'_>) -> Outcome {
        self.overhear().await;
        while self.connected.is_none()
            && let Some((connected, onward)) = self.server.idle.take(self.server.runtime.now())
        {
            self.connected = Some(connected);
            self.onward = onward;
            self.overhear().await;
        }
        let says_helo = request.envelope().peer.helo.as_ref().is_some_and(|helo| !helo.extended);
        self.onward.request(request);
        let outcome = self.run().await;
        if let Some(offered) = self.onward.capabilities() {
            let offered = self.server.one_by_one(offered.through());
            let now = self.server.runtime.now();
            match self.server.settings.identify.impersonates() {
                false => self.server.remember(&offered, now + REMEMBER),
                // The server had nothing to offer to HELO.
                true if says_helo => {}
                true => self.server.remember_less(&offered, now),
            }
        }
        outcome.unwrap_or(Outcome::Failed(RelayError::Lost))
    }

    /// Takes leave, and leaves nothing.
    async fn leave(&mut self) {
        self.onward.reset();
        self.run().await;
        self.onward.quit();
        self.run().await;
    }

    /// Does what the machine says until the request is answered or nothing is left to do.
    async fn run(&mut self) -> Option<Outcome> {
        let server = self.server.clone();
        let runtime = &*server.runtime;
        loop {
            let step = self.onward.poll(runtime.now());
            let deadline = self.onward.deadline();
            match step {
                OnwardStep::Connect => {
                    match within(runtime, deadline, runtime.connect(&server.address)).await {
                        Some(Ok(stream)) => {
                            let (stream, since) = (Channel::new(stream), runtime.now());
                            self.connected = Some(Connected { stream, since });
                            self.onward.connected();
                        }
                        Some(Err(error)) => self.onward.unreachable(error),
                        None => self.onward.handle_timeout(runtime.now()),
                    }
                }
                OnwardStep::Transmit(segments) => {
                    let written = match &mut self.connected {
                        Some(Connected { stream, .. }) => {
                            transmit(runtime, &server.settings, stream, segments).await
                        }
                        None => Err(io::ErrorKind::NotConnected.into()),
                    };
                    if written.is_err() {
                        self.onward.transmit_failed();
                    }
                }
                OnwardStep::Receive => {
                    let Some(Connected { stream, .. }) = &mut self.connected else {
                        self.onward.disconnected();
                        continue;
                    };
                    let onward = &mut self.onward;
                    let read = read(stream, |octets| onward.receive(octets));
                    match self.timer.within(deadline, read).await {
                        Some(true) => {}
                        Some(false) => self.disconnected(),
                        None => self.onward.handle_timeout(runtime.now()),
                    }
                }
                OnwardStep::StartTls => {
                    let upgrade = async {
                        match (&mut self.connected, &server.tls) {
                            (Some(Connected { stream, .. }), Some(tls)) => {
                                stream.connect(tls).await
                            }
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
                OnwardStep::Disconnect => self.connected = None,
                OnwardStep::Idle => return None,
            }
        }
    }

    /// Takes notice of what an idle connection has said meanwhile: 421, or its end.
    async fn overhear(&mut self) {
        let Some(Connected { stream, .. }) =
            self.connected.as_mut().filter(|_| self.onward.is_idle())
        else {
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
        self.connected = None;
        self.onward.disconnected();
    }
}

impl<R: Runtime> Server<R> {
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

    /// What a server offers may be a matter of the client. The next one is offered no more than the
    /// last one was, until the server is asked again.
    fn remember_less(&self, offered: &Capabilities, now: Instant) {
        let mut held = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, _)) = held.as_mut().filter(|(_, until)| now < *until) {
            *known = known.intersection(offered);
        }
    }

    /// A server that answers the content per recipient gets one at a time, unless the client
    /// understands so many answers.
    fn one_by_one(&self, offered: Capabilities) -> Capabilities {
        match self.settings.protocol {
            Protocol::Smtp if self.settings.one_recipient == OneRecipient::Always => {
                Capabilities { recipients_max: Some(1), ..offered }
            }
            Protocol::Smtp => offered,
            Protocol::Lmtp => Capabilities { recipients_max: Some(1), prdr: true, ..offered },
        }
    }
}

/// Reads once and hands over what came; `false` at the end of the stream.
async fn read<S: AsyncRead + Unpin>(stream: &mut S, mut take: impl FnMut(&[u8])) -> bool {
    poll_fn(|context| poll_read(stream, context, REPLY, &mut take))
        .await
        .is_ok_and(|length| length > 0)
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
        let one = Capabilities { recipients_max: Some(1), prdr: true, ..Capabilities::all() };
        assert_eq!(offers(&away(Protocol::Lmtp)), one);

        // Known from before, however long ago.
        let known = Capabilities { dsn: false, size: Some(1000), ..Capabilities::all() };
        smtp.server.remember(&known, runtime.now());
        assert_eq!(offers(&smtp), known);
        runtime.run(runtime.sleep(10 * REMEMBER));
        assert_eq!(offers(&smtp), known);
    }
}
