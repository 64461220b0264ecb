//! The onward connection of one client session.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use futures::future::poll_fn;
use futures::io::AsyncRead;
use futures::poll;

use super::offered::{INTRODUCTION, REMEMBER, REMEMBER_SILENCE};
use super::places::{Place, Ticket};
use super::transmit::transmit;
use super::{RESET, REUSE_TIME, Server};
use crate::capabilities::Capabilities;
use crate::deadline::{Awaiting, Deadline};
use crate::onward::{Onward, OnwardStep};
use crate::outcome::{Outcome, RelayError, Request};
use crate::peer::Peer;
use crate::runtime::{Runtime, Timer, poll_read, within};
use crate::tls::Channel;

/// Maximum number of octets of one read of replies.
const REPLY: usize = 4_096;

/// The onward connection of one client session, from one request to the next.
pub(super) struct Connection<R: Runtime> {
    pub(super) server: Arc<Server<R>>,
    pub(super) client: Arc<Peer>,
    lies: Lies<R>,
    /// Whether its connections to the server are made beyond the limit. They are never passed on to
    /// a client: they are neither pooled nor parked.
    is_uncounted: bool,
    /// Number of times that recipients were repeated since the server last accepted a message of
    /// this client. It is set on the server connection before each request, because that connection
    /// may come from the pool.
    renewals: u8,
    timer: Timer<'static>,
}

/// The location of the server connection between two requests.
enum Lies<R: Runtime> {
    /// No connection to the server exists.
    Nowhere,
    Here(Box<Line<R>>),
    /// Its place can be taken back for another client.
    Parked(Ticket),
}

/// An open or future connection to the server, with the state of its dialogue.
pub(super) struct Line<R: Runtime> {
    onward: Onward,
    connected: Option<Connected<R>>,
    place: Option<Place<Self>>,
    /// The time since which the connection is idle.
    rested: Option<Instant>,
}

struct Connected<R: Runtime> {
    stream: Channel<R::Stream>,
    since: Instant,
}

impl<R: Runtime> Connection<R> {
    pub(super) fn new(server: Arc<Server<R>>, client: Arc<Peer>) -> Self {
        let runtime = server.runtime.clone();
        let timer = Timer::new(move |at| {
            let runtime = runtime.clone();
            Box::pin(async move { runtime.sleep_until(at).await })
        });
        Self { server, client, lies: Lies::Nowhere, is_uncounted: false, renewals: 0, timer }
    }

    /// Creates a connection beyond the limit, for an internal request that must not wait for
    /// clients.
    pub(super) fn beyond_the_bound(server: Arc<Server<R>>, client: Arc<Peer>) -> Self {
        let mut connection = Self::new(server, client);
        connection.is_uncounted = true;
        connection
    }

    /// Forwards a request of a client, unless the server cannot be trusted or the request would
    /// lead back to this gate.
    pub(super) async fn forward(&mut self, request: Request<'_>) -> Outcome {
        if let Request::Recipient(envelope, recipient) = request
            && self.server.probing.recognises(envelope, recipient)
        {
            return Outcome::Failed(RelayError::Loop);
        }
        if let Some(objection) = self.server.guard.objection() {
            return Outcome::Failed(objection);
        }
        let server;
        // Keeps the RCPT command registered until it is answered.
        let mut _asking = None;
        if let Request::Recipient(envelope, recipient) = request {
            server = self.server.clone();
            let asking = _asking.insert(server.circles.ask(recipient, || server.runtime.now()));
            if asking.leads_back {
                return Outcome::Failed(RelayError::Loop);
            }
            if let Some(watch) = asking.watch.take() {
                // A separate boxed future: it is rarely needed.
                return Box::pin(self.ask_watched(watch, envelope, recipient)).await;
            }
        }
        self.ask_onward(request).await
    }

    pub(super) async fn ask_onward(&mut self, request: Request<'_>) -> Outcome {
        let peer = &*request.envelope().peer;
        let Some(mut line) = self.line(peer).await else {
            return Outcome::Failed(RelayError::Busy);
        };
        *line.onward.renewals() = self.renewals;
        line.onward.request(request);
        let server = &*self.server;
        let outcome = line.run(server, &mut self.timer).await;
        if let Some(offered) = line.onward.new_offer() {
            let offered = server.one_by_one(offered.through());
            let now = server.runtime.now();
            let says_helo = peer.helo.as_ref().is_some_and(|helo| !helo.extended);
            match server.settings.identify.impersonates() {
                false => server.offered.remember(offered, now + REMEMBER),
                // The server got HELO and had no extensions to offer.
                true if says_helo => {}
                true => server.offered.remember_less(&offered, now),
            }
        }
        self.renewals = *line.onward.renewals();
        self.lay_down(line, peer);
        outcome.unwrap_or(Outcome::Failed(RelayError::Lost))
    }

    /// Asks the server for its capabilities; returns `None` if it does not answer.
    pub(super) async fn introduce(&mut self) -> Option<Capabilities> {
        let (server, client) = (self.server.clone(), self.client.clone());
        let mut line = self.line(&client).await?;
        line.onward.introduce();
        line.run(&server, &mut self.timer).await;
        let offered = line.onward.capabilities().map(Capabilities::through);
        self.lay_down(line, &client);
        offered
    }

    /// Returns whether the place of the server connection was taken back.
    pub(super) fn has_lost_place(&self) -> bool {
        matches!(&self.lies, Lies::Parked(ticket) if self.server.places.is_lost(ticket))
    }

    /// Returns a server connection with a place: that of this client, an idle one from the pool, or
    /// a new one. Returns `None` if no place becomes free in time.
    async fn line(&mut self, peer: &Peer) -> Option<Box<Line<R>>> {
        let mut line = match self.pick_up() {
            Some(line) => line,
            None => self.fresh(),
        };
        let server = &*self.server;
        line.overhear().await;
        while !self.is_uncounted
            && line.connected.is_none()
            && let Some(idle) = server.idle.take(server.runtime.now())
        {
            line = idle;
            line.overhear().await;
        }
        if line.place.is_none() {
            line.place = match self.is_uncounted {
                true => Some(Place::beyond_the_bound()),
                // A separate boxed future: it is rarely needed.
                false => Box::pin(server.places.take(&*server.runtime, peer)).await,
            };
        }
        line.place.is_some().then_some(line)
    }

    /// Takes the server connection, if there still is one.
    fn pick_up(&mut self) -> Option<Box<Line<R>>> {
        match std::mem::replace(&mut self.lies, Lies::Nowhere) {
            Lies::Nowhere => None,
            Lies::Here(line) => Some(line),
            Lies::Parked(ticket) => self.server.places.unpark(&ticket),
        }
    }

    fn fresh(&self) -> Box<Line<R>> {
        let mut onward = Onward::new(self.server.settings.clone());
        onward.speak_for(self.client.clone());
        Box::new(Line { onward, connected: None, place: None, rested: None })
    }

    /// Keeps the server connection until the next request. If no reply is outstanding, its place
    /// can be taken back, unless it is uncounted.
    fn lay_down(&mut self, mut line: Box<Line<R>>, peer: &Peer) {
        self.lies = if line.connected.is_none() {
            line.place = None;
            Lies::Here(line)
        } else if line.onward.is_idle() && !self.is_uncounted {
            Lies::Parked({
                let since = line.rested;
                self.server.places.park(line, since, peer)
            })
        } else {
            Lies::Here(line)
        };
    }

    /// Puts the connection into the pool for the next client if possible. Otherwise sends QUIT and
    /// closes it.
    pub(super) async fn hang_up(&mut self) {
        let server = self.server.clone();
        let now = server.runtime.now();
        let Some(mut line) = self.pick_up() else { return };
        let is_shared = !self.is_uncounted
            && !server.settings.identify.impersonates()
            && !server.places.are_short();
        if is_shared && server.idle.has_room(now) {
            line.onward.reset();
            if !line.onward.is_idle() {
                let limit = Deadline { at: now + RESET, awaiting: Awaiting::Reset };
                let run = Box::pin(line.run(&server, &mut self.timer));
                if within(&*server.runtime, Some(limit), run).await.is_none() {
                    return;
                }
            }
            if line.is_reusable(now) {
                return server.idle.keep(line, server.runtime.now());
            }
        }
        line.onward.quit();
        Box::pin(line.run(&server, &mut self.timer)).await;
    }

    /// Sends RSET and QUIT and closes the connection.
    pub(super) async fn leave(&mut self) {
        let server = self.server.clone();
        let Some(mut line) = self.pick_up() else { return };
        line.onward.reset();
        line.run(&server, &mut self.timer).await;
        line.onward.quit();
        line.run(&server, &mut self.timer).await;
    }

    /// Asks the server for its capabilities, or waits for another client that asks. Each takes no
    /// longer than [`INTRODUCTION`].
    pub(super) async fn introduction(&mut self, now: Instant) -> Capabilities {
        let server = self.server.clone();
        let limit = Some(Deadline { at: now + INTRODUCTION, awaiting: Awaiting::Hello });
        let Some(_asking) = within(&*server.runtime, limit, server.offered.asking.lock()).await
        else {
            return server.one_by_one(server.offered.unheard());
        };
        let now = server.runtime.now();
        if let Some(offered) = server.offered.remembered(now) {
            return offered;
        }
        let introduced = within(&*server.runtime, limit, self.introduce()).await;
        let in_time = introduced.is_some();
        match introduced.flatten() {
            Some(offered) => {
                let offered = server.one_by_one(offered);
                server.offered.remember(offered.clone(), now + REMEMBER);
                offered
            }
            None => {
                let offered = server.one_by_one(server.offered.unheard());
                // If the server sees each client's identity, its refusal of one client says nothing
                // about others.
                if !(server.settings.identify.impersonates() && in_time) {
                    server.offered.remember(offered.clone(), now + REMEMBER_SILENCE);
                }
                offered
            }
        }
    }
}

impl<R: Runtime> Drop for Connection<R> {
    fn drop(&mut self) {
        // Takes back a parked connection, which would otherwise occupy its place for ever.
        drop(self.pick_up());
    }
}

impl<R: Runtime> Line<R> {
    /// Returns whether another client may use the connection.
    fn is_reusable(&self, now: Instant) -> bool {
        let is_young = |it: &Connected<R>| now < it.since + REUSE_TIME;
        self.onward.is_reusable() && self.connected.as_ref().is_some_and(is_young)
    }

    /// Executes the steps of the state machine until the request is answered or nothing is left to
    /// do.
    async fn run(&mut self, server: &Server<R>, timer: &mut Timer<'static>) -> Option<Outcome> {
        let runtime = &*server.runtime;
        loop {
            let now = runtime.now();
            let step = self.onward.poll(now);
            let deadline = self.onward.deadline();
            match step {
                OnwardStep::Connect => {
                    let stream = within(runtime, deadline, runtime.connect(&server.address)).await;
                    let since = runtime.now();
                    server.told.tell(since.saturating_duration_since(now), stream.as_ref());
                    match stream {
                        Some(Ok(stream)) => {
                            let stream = Channel::new(stream);
                            self.connected = Some(Connected { stream, since });
                            self.onward.connected();
                        }
                        Some(Err(error)) => self.onward.unreachable(error),
                        None => self.onward.handle_timeout(since),
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
                    match timer.within(deadline, read).await {
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
                OnwardStep::Done(outcome) => {
                    self.rested = Some(now);
                    return Some(outcome);
                }
                OnwardStep::Disconnect => self.connected = None,
                OnwardStep::Idle => {
                    self.rested = Some(now);
                    return None;
                }
            }
        }
    }

    /// Reads what the server sent on an idle connection meanwhile: 421 or EOF.
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

/// Reads once and passes on the octets; returns `false` at EOF.
async fn read<S: AsyncRead + Unpin>(stream: &mut S, mut take: impl FnMut(&[u8])) -> bool {
    poll_fn(|context| poll_read(stream, context, REPLY, &mut take))
        .await
        .is_ok_and(|length| length > 0)
}

#[cfg(test)]
mod tests;
