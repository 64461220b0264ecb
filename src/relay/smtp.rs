//! A relay target that forwards to an onward server over SMTP or LMTP.

mod circles;
mod connecting;
mod connection;
mod expiring;
mod guard;
mod harvests;
mod offered;
mod places;
mod pool;
mod probing;
mod self_test;
mod split;
mod transmit;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::{Relay, Target};
use crate::capabilities::Capabilities;
use crate::envelope::Envelope;
use crate::message::Message;
use crate::onward::{Identify, ONE_BY_ONE, OneRecipient, OnwardSettings, Protocol, TlsPolicy};
use crate::outcome::{Outcome, RelayError, Request};
use crate::peer::Peer;
use crate::runtime::{Address, Runtime};
use crate::tls::TlsClient;
use crate::verdict::Refusal;
use crate::wire::mailbox::ForwardPath;
use circles::Circles;
pub use connecting::ConnectAttempt;
use connecting::Told;
use connection::{Connection, Line};
use guard::Guard;
use harvests::Harvests;
use offered::Offered;
use places::Places;
use pool::Pool;
use probing::Probing;
pub use self_test::SelfTestError;
use split::Splits;

/// Default maximum number of idle connections: a fifth of the processes that Postfix runs at most
/// (`default_process_limit` 100).
const IDLE: usize = 20;
/// Default maximum number of connections. It leaves a fifth of the Postfix processes
/// (`default_process_limit` 100) for mail that does not come through the gate.
const CONNECTIONS: usize = 80;
/// Default time that a connection stays idle in the pool: as long as with Postfix
/// (`smtp_connection_cache_time_limit`). This is longer than the pauses between two clients of a
/// busy gate. It is short enough that a quiet gate does not keep server processes waiting. It is
/// also short enough that the TCP state left by a large message does not slow down small ones.
const IDLE_TIME: Duration = Duration::from_secs(2);
/// Maximum age of a connection that serves another client (Postfix
/// `smtp_connection_reuse_time_limit`). It is limited because the configuration of a server may
/// change.
const REUSE_TIME: Duration = Duration::from_secs(300);
/// Timeout for resetting a client's connection so that the next client can use it.
const RESET: Duration = Duration::from_secs(5);

/// An onward server, reached over SMTP (TCP or Unix socket) or LMTP. Each client has its own
/// connection. It is made for the client's first recipient and kept for its later messages.
///
/// After that, the connection can serve another client. It cannot if the server identifies it with
/// the first client ([`Identify::XClient`], [`Identify::Proxy`]), or has refused something on it.
///
/// A gate on the internet, in front of a Postfix that trusts XCLIENT:
///
/// ```no_run
/// # use nobounce::{relay, Gate, Runtime, Settings};
/// # use nobounce::onward::Identify;
/// # async fn gate<R: Runtime + Copy>(runtime: R) -> Result<Gate<R>, Box<dyn std::error::Error>> {
/// let target = relay::Smtp::new(runtime, "127.0.0.1:10025".parse()?, "mx.example.org")
///     .identify(Identify::XClient);
/// // Refuses to start in front of an open relay.
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
    bounds: Bounds,
    guard: Guard,
    places: Arc<Places<Line<R>>>,
    idle: Pool<R>,
    splits: Splits,
    probing: Probing,
    circles: Circles,
    harvests: Harvests,
    offered: Offered,
    told: Told,
}

/// Limits of connections and of refused recipients.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    connections: usize,
    idle: usize,
    idle_time: Duration,
    /// Whether nothing is forwarded before the self-test has passed.
    guards: bool,
    refused: harvests::Bounds,
}

impl Default for Bounds {
    fn default() -> Self {
        let refused = harvests::Bounds::default();
        Self { connections: CONNECTIONS, idle: IDLE, idle_time: IDLE_TIME, guards: false, refused }
    }
}

impl<R: Runtime> Smtp<R> {
    /// Creates a target for the SMTP server at `address`. `host` is the name in our EHLO.
    pub fn new(runtime: R, address: Address, host: &str) -> Self {
        Self::with_settings(runtime, address, OnwardSettings::new(host))
    }

    /// Creates a target for the LMTP server at `address` (RFC 2033), such as Dovecot or Cyrus.
    pub fn lmtp(runtime: R, address: Address, host: &str) -> Self {
        let mut settings = OnwardSettings::new(host);
        settings.protocol = Protocol::Lmtp;
        Self::with_settings(runtime, address, settings)
    }

    /// Creates a target with these settings. This target has no TLS client (see `with_tls`).
    /// [`TlsPolicy::May`] therefore works as `Never`, and with [`TlsPolicy::Must`] every request
    /// gets 451.
    pub fn with_settings(runtime: R, address: Address, settings: OnwardSettings) -> Self {
        Self::build(Arc::new(runtime), address, settings, None, Bounds::default(), Told::default())
    }

    /// Creates a target that uses TLS according to [`OnwardSettings::tls`]. [`TlsPolicy::Never`] is
    /// treated as [`TlsPolicy::Must`], because a caller that passes a TLS client wants it to be
    /// used.
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
        let (bounds, told) = Default::default();
        Self::build(Arc::new(runtime), address, settings, Some(client), bounds, told)
    }

    /// Sets how client information is passed to the server. By default it is not passed.
    #[must_use]
    pub fn identify(self, identify: Identify) -> Self {
        let settings = OnwardSettings { identify, ..(*self.server.settings).clone() };
        self.rebuild(settings, self.server.bounds)
    }

    /// Sets the size of the pool: up to `most` idle connections, each for at most `idle_time`. The
    /// default is 20 for 2 seconds (Postfix `smtp_connection_cache_time_limit`). An expired
    /// connection is closed when the next client connects or disconnects.
    #[must_use]
    pub fn keep_idle(self, most: usize, idle_time: Duration) -> Self {
        let bounds = Bounds { idle: most, idle_time, ..self.server.bounds };
        self.rebuild((*self.server.settings).clone(), bounds)
    }

    /// Sets the maximum number of connections to the server, including idle ones. The default is
    /// 80. It must be lower than the number that the server accepts from this machine. Postfix runs
    /// 100 processes (`default_process_limit`, or `maxproc` in `master.cf`).
    ///
    /// A client that needs a further connection waits up to 30 s and then gets `451 4.3.2`. Waiting
    /// clients are served round-robin by client network. While other clients wait, a client that
    /// has sent nothing for a second since its last RCPT loses its connection. Its recipients are
    /// sent again at DATA. If the server does not accept all of them again, the reply to DATA is
    /// 451.
    #[must_use]
    pub fn connections(self, most: usize) -> Self {
        let bounds = Bounds { connections: most, ..self.server.bounds };
        self.rebuild((*self.server.settings).clone(), bounds)
    }

    /// Limits how many recipients of a client the server may refuse with 5yz in an hour. The first
    /// limit is for an address (IPv6: its /64), the second for its network (/24, /48). The defaults
    /// are 100 and 500.
    ///
    /// Beyond the limit, RCPT gets `421 4.7.0`, which ends the session, and the server is not
    /// asked. This lasts for the time of one recipient: an hour divided by the limit, which is 36 s
    /// for 100. It slows down clients that guess addresses and reconnect after each session.
    ///
    /// Clients in our own networks ([`Peer::own`]) are not counted. Neither are clients that a
    /// trusted server announces with XFORWARD. [`u32::MAX`] disables a limit.
    #[must_use]
    pub fn refused_recipients(self, of_address: u32, of_network: u32) -> Self {
        let refused = harvests::Bounds { of_address, of_network };
        let bounds = Bounds { refused, ..self.server.bounds };
        self.rebuild((*self.server.settings).clone(), bounds)
    }

    /// Forwards nothing for clients before the [self-test](Self::self_test) has passed. Until then
    /// every RCPT gets 451, as if the server were down. A gate can thus greet clients at once,
    /// while the onward server may still be starting. If a later self-test finds an open relay or a
    /// mail loop, the target stops forwarding again.
    #[must_use]
    pub fn tested_first(self) -> Self {
        let bounds = Bounds { guards: true, ..self.server.bounds };
        self.rebuild((*self.server.settings).clone(), bounds)
    }

    fn rebuild(&self, settings: OnwardSettings, bounds: Bounds) -> Self {
        let Server { runtime, address, tls, told, .. } = &*self.server;
        let (runtime, address, tls) = (runtime.clone(), address.clone(), tls.clone());
        Self::build(runtime, address, settings, tls, bounds, told.clone())
    }

    fn build(
        runtime: Arc<R>,
        address: Address,
        mut settings: OnwardSettings,
        tls: Option<TlsClient>,
        bounds: Bounds,
        told: Told,
    ) -> Self {
        if tls.is_none() && settings.tls == TlsPolicy::May {
            // Without a TLS client, `May` would only make each connection twice.
            settings.tls = TlsPolicy::Never;
        }
        let settings = Arc::new(settings);
        let places = Arc::new(Places::new(bounds.connections));
        let idle = Pool::new(bounds.idle, bounds.idle_time);
        let (splits, probing, circles, offered) = Default::default();
        let server = Server {
            runtime,
            address,
            settings,
            tls,
            bounds,
            guard: Guard::new(bounds.guards),
            places,
            idle,
            splits,
            probing,
            circles,
            harvests: Harvests::new(bounds.refused),
            offered,
            told,
        };
        Self { server: Arc::new(server) }
    }

    fn connection(&self, client: Arc<Peer>) -> Connection<R> {
        Connection::new(self.server.clone(), client)
    }
}

/// Returns a handle to the same target, for example to run the self-test while the gate owns the
/// other.
impl<R: Runtime> Clone for Smtp<R> {
    fn clone(&self) -> Self {
        Self { server: self.server.clone() }
    }
}

impl<R: Runtime> Target for Smtp<R> {
    fn open(&self, peer: &Peer) -> Box<dyn Relay> {
        Box::new(self.connection(Arc::new(peer.clone())))
    }
}

#[async_trait]
impl<R: Runtime> Relay for Connection<R> {
    async fn capabilities(&mut self) -> Capabilities {
        let server = self.server.clone();
        let now = server.runtime.now();
        if let Some(offered) = server.offered.remembered(now) {
            return offered;
        }
        // A separate boxed future: it is rarely needed, and the outer future is created for each
        // client.
        Box::pin(self.introduction(now)).await
    }

    async fn rcpt(&mut self, envelope: &Envelope, recipient: &ForwardPath) -> Outcome {
        self.ask(Request::Recipient(envelope, recipient)).await
    }

    async fn content(&mut self, envelope: &Envelope, message: Message) -> Outcome {
        self.ask(Request::Content(envelope, message)).await
    }

    async fn answer(&mut self, envelope: &Envelope, recipient: &ForwardPath) -> Outcome {
        self.ask(Request::Answer(envelope, recipient)).await
    }

    fn ask<'a>(&'a mut self, request: Request<'a>) -> BoxFuture<'a, Outcome> {
        match request {
            Request::Recipient(envelope, recipient) => {
                Box::pin(self.forward_recipient(envelope, recipient))
            }
            Request::Content(envelope, message) => {
                Box::pin(self.forward_content(envelope, message))
            }
            Request::Answer(..) | Request::Renewal(_) => Box::pin(self.forward(request)),
        }
    }

    fn has_given_up(&self) -> bool {
        self.has_lost_place()
    }

    async fn renew(&mut self, envelope: &Envelope) -> Outcome {
        self.ask(Request::Renewal(envelope)).await
    }

    async fn close(&mut self) {
        self.hang_up().await;
    }
}

impl<R: Runtime> Connection<R> {
    /// Asks about a recipient, unless it must be sent alone or the client is guessing recipients.
    async fn forward_recipient(&mut self, envelope: &Envelope, recipient: &ForwardPath) -> Outcome {
        let Server { splits, runtime, .. } = &*self.server;
        if splits.is_split(envelope, recipient, || runtime.now()) {
            return Outcome::Refused(ONE_BY_ONE);
        }
        if self.server.harvests.refuses(envelope, || self.server.runtime.now()) {
            return Outcome::Refused(harvests::TOO_MANY);
        }
        let outcome = self.forward(Request::Recipient(envelope, recipient)).await;
        if let Outcome::Refused(refusal) = &outcome
            && !refusal.is_transient()
        {
            self.server.harvests.count(envelope, self.server.runtime.now());
        }
        outcome
    }

    /// Forwards the content, unless it was forwarded before for some of its recipients only.
    async fn forward_content(&mut self, envelope: &Envelope, message: Message) -> Outcome {
        const SPLIT: Refusal = Refusal::fixed(
            451,
            5,
            0,
            "Only one recipient per transaction, send to each recipient separately",
        );
        let Server { splits, runtime, .. } = &*self.server;
        let content = splits.content(envelope, &message);
        if content.is_some_and(|content| splits.is_known(envelope, content, runtime.now())) {
            return Outcome::Refused(SPLIT);
        }
        let outcome = self.forward(Request::Content(envelope, message)).await;
        if let (Some(content), Outcome::Failed(RelayError::Partial(_))) = (content, &outcome) {
            let Server { splits, runtime, .. } = &*self.server;
            splits.remember(envelope, content, runtime.now());
        }
        outcome
    }
}

impl<R: Runtime> Server<R> {
    /// Limits the recipients to one per transaction if the server answers the content per recipient
    /// and the client does not support that.
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
