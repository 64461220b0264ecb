//! The relay target that asks an onward server over SMTP or LMTP.

mod circles;
mod connection;
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
use connection::Connection;
use guard::Guard;
use harvests::Harvests;
use offered::Offered;
use places::Places;
use pool::Pool;
use probing::Probing;
pub use self_test::SelfTestError;
use split::Splits;

/// Most connections that are kept idle between clients: a fifth of the servers that Postfix runs at
/// most (`default_process_limit` 100).
const IDLE: usize = 20;
/// Most connections in all: what leaves a fifth of the servers of Postfix (`default_process_limit`
/// 100) for mail that comes by other ways.
const CONNECTIONS: usize = 80;
/// How long they are kept: as long as Postfix does (`smtp_connection_cache_time_limit`), more than the
/// pauses between two clients of a busy gate, and not so long that a quiet one keeps servers waiting, or
/// that what TCP has learnt of a large message is held against small ones.
const IDLE_TIME: Duration = Duration::from_secs(2);
/// How old a connection may be to serve another client (Postfix `smtp_connection_reuse_time_limit`):
/// a server's configuration changes.
const REUSE_TIME: Duration = Duration::from_secs(300);
/// How long a client's connection may take to be made fit for the next client.
const RESET: Duration = Duration::from_secs(5);

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
    bounds: Bounds,
    guard: Guard,
    places: Arc<Places<R>>,
    idle: Pool<R>,
    splits: Splits,
    probing: Probing,
    circles: Circles,
    harvests: Harvests,
    offered: Offered,
}

/// How many connections there may be, and when.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    connections: usize,
    idle: usize,
    idle_time: Duration,
    /// Whether the self-test must have passed before anything goes onward.
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
        Self::build(Arc::new(runtime), address, settings, None, Bounds::default())
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
        Self::build(Arc::new(runtime), address, settings, Some(client), Bounds::default())
    }

    /// Says how the server is told who the client is. To begin with it is not.
    #[must_use]
    pub fn identify(self, identify: Identify) -> Self {
        let settings = OnwardSettings { identify, ..(*self.server.settings).clone() };
        self.rebuild(settings, self.server.bounds)
    }

    /// Keeps at most so many connections idle between clients, each for so long; without this, 20
    /// for 2 seconds (Postfix `smtp_connection_cache_time_limit`). One whose time is over is closed when
    /// the next client comes or goes.
    #[must_use]
    pub fn keep_idle(self, most: usize, idle_time: Duration) -> Self {
        let bounds = Bounds { idle: most, idle_time, ..self.server.bounds };
        self.rebuild((*self.server.settings).clone(), bounds)
    }

    /// Has at most `most` connections to the server at once, idle ones included; without this, 80. It
    /// must be fewer than the server takes from this machine: Postfix runs 100 processes
    /// (`default_process_limit`, or `maxproc` in `master.cf`).
    ///
    /// A client that needs one more waits up to 30 s, in a queue in which the networks of clients take
    /// turns, then it is told `451 4.3.2`. While others wait, a client that has sent nothing for a
    /// second since its last RCPT loses its connection. Its recipients are named again at DATA, and the
    /// answer to DATA is 451 if the server does not accept all of them again.
    #[must_use]
    pub fn connections(self, most: usize) -> Self {
        let bounds = Bounds { connections: most, ..self.server.bounds };
        self.rebuild((*self.server.settings).clone(), bounds)
    }

    /// How many recipients of an address (IPv6: of its /64), and of its network (/24, /48), the server may
    /// refuse with 5yz in an hour; without this, 100 and 500. Beyond that RCPT is answered with
    /// `421 4.7.0`, which ends the session, and the server is not asked, until as much of the hour has passed as one recipient may
    /// take. A client that guesses addresses and connects again after each session is slowed so.
    ///
    /// Clients in networks of our own ([`Peer::own`]), and those that a trusted server tells of by XFORWARD, are
    /// not counted. [`u32::MAX`] is no bound.
    #[must_use]
    pub fn refused_recipients(self, of_address: u32, of_network: u32) -> Self {
        let refused = harvests::Bounds { of_address, of_network };
        let bounds = Bounds { refused, ..self.server.bounds };
        self.rebuild((*self.server.settings).clone(), bounds)
    }

    /// Asks nothing onward in the name of a client before the [self-test](Self::self_test) has passed:
    /// until then every RCPT is answered with 451, as it is when the server is down. So a gate can
    /// greet clients at once, while the server behind it may still be starting. A self-test that
    /// finds an open relay or a mail loop closes the target again.
    #[must_use]
    pub fn tested_first(self) -> Self {
        let bounds = Bounds { guards: true, ..self.server.bounds };
        self.rebuild((*self.server.settings).clone(), bounds)
    }

    fn rebuild(&self, settings: OnwardSettings, bounds: Bounds) -> Self {
        let Server { runtime, address, tls, .. } = &*self.server;
        Self::build(runtime.clone(), address.clone(), settings, tls.clone(), bounds)
    }

    fn build(
        runtime: Arc<R>,
        address: Address,
        mut settings: OnwardSettings,
        tls: Option<TlsClient>,
        bounds: Bounds,
    ) -> Self {
        if tls.is_none() && settings.tls == TlsPolicy::May {
            // Nobody is there to do it: each connection would be made twice.
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
        };
        Self { server: Arc::new(server) }
    }

    fn connection(&self, client: Arc<Peer>) -> Connection<R> {
        Connection::new(self.server.clone(), client)
    }
}

/// A handle to the same target: for a self-test beside the gate that has the other.
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
        // In a future of its own: mostly there is no need of it, and this one is made for each client.
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
    /// Asks about a recipient, unless it must come alone or the client's address guesses recipients.
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

    /// Asks about the content, unless it went onward for some of its recipients only before.
    async fn forward_content(&mut self, envelope: &Envelope, message: Message) -> Outcome {
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
        let outcome = self.forward(Request::Content(envelope, message)).await;
        if let (Some(content), Outcome::Failed(RelayError::Partial(_))) = (content, &outcome) {
            let Server { splits, runtime, .. } = &*self.server;
            splits.remember(envelope, content, runtime.now());
        }
        outcome
    }
}

impl<R: Runtime> Server<R> {
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
