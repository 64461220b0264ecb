//! The connection to the onward server that one client has.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use futures::future::poll_fn;
use futures::io::AsyncRead;
use futures::poll;

use super::Server;
use super::offered::REMEMBER;
use super::transmit::transmit;
use crate::onward::{Onward, OnwardStep};
use crate::outcome::{Outcome, RelayError, Request};
use crate::runtime::{Runtime, Timer, poll_read, within};
use crate::tls::Channel;

/// Octets of replies that are read at once.
const REPLY: usize = 4_096;

/// The connection to the server that one client has.
pub(super) struct Connection<R: Runtime> {
    pub(super) server: Arc<Server<R>>,
    pub(super) onward: Onward,
    pub(super) connected: Option<Connected<R>>,
    pub(super) timer: Timer<'static>,
}

pub(super) struct Connected<R: Runtime> {
    pub(super) stream: Channel<R::Stream>,
    pub(super) since: Instant,
}

impl<R: Runtime> Connection<R> {
    pub(super) async fn ask(&mut self, request: Request<'_>) -> Outcome {
        if let Request::Recipient(_, recipient) = request
            && self.server.probing.recognises(recipient)
        {
            return Outcome::Failed(RelayError::Loop);
        }
        self.ask_onward(request).await
    }

    pub(super) async fn ask_onward(&mut self, request: Request<'_>) -> Outcome {
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
                false => self.server.offered.remember(&offered, now + REMEMBER),
                // The server had nothing to offer to HELO.
                true if says_helo => {}
                true => self.server.offered.remember_less(&offered, now),
            }
        }
        outcome.unwrap_or(Outcome::Failed(RelayError::Lost))
    }

    /// Takes leave, and leaves nothing.
    pub(super) async fn leave(&mut self) {
        self.onward.reset();
        self.run().await;
        self.onward.quit();
        self.run().await;
    }

    /// Does what the machine says until the request is answered or nothing is left to do.
    pub(super) async fn run(&mut self) -> Option<Outcome> {
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

/// Reads once and hands over what came; `false` at the end of the stream.
async fn read<S: AsyncRead + Unpin>(stream: &mut S, mut take: impl FnMut(&[u8])) -> bool {
    poll_fn(|context| poll_read(stream, context, REPLY, &mut take))
        .await
        .is_ok_and(|length| length > 0)
}
