//! A gate served by an adapter in its own thread.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;
use std::{io, thread};

use futures::channel::oneshot;
use futures::future::{BoxFuture, Either, FutureExt, select};
use nobounce::smol::Smol;
use nobounce::tokio::{Shutdown, Tokio};
use nobounce::{
    Address, Envelope, ForwardPath, Gate, Message, Outcome, Peer, Receipt, Relay, Runtime, Target,
    async_trait,
};

use super::PATIENCE;

/// The address and the kind of a service's listener.
pub(crate) enum Door {
    At(Address),
    TlsAt(Address),
    /// A listener of the standard library with its backlog of 128.
    Made(TcpListener),
}

/// A common interface of the adapters under test.
pub(crate) trait Adapter: Runtime + Default + Copy {
    type Listener: Send + 'static;

    fn block_on<T>(future: impl Future<Output = T>) -> T;

    fn listen(address: &Address) -> impl Future<Output = io::Result<Self::Listener>>;

    fn adopt(listener: TcpListener) -> io::Result<Self::Listener>;

    fn address(listener: &Self::Listener) -> Address;

    fn serve(
        listener: Self::Listener,
        gate: Arc<Gate<Self>>,
        tls: bool,
        stop: BoxFuture<'static, ()>,
        drain: Duration,
    ) -> BoxFuture<'static, io::Result<Shutdown>>;
}

macro_rules! adapter {
    ($runtime:ty, $adapter:ident, $block_on:expr) => {
        impl Adapter for $runtime {
            type Listener = nobounce::$adapter::Listener;

            fn block_on<T>(future: impl Future<Output = T>) -> T {
                #[allow(clippy::redundant_closure_call, reason = "tokio's timers need a runtime")]
                $block_on(future)
            }

            async fn listen(address: &Address) -> io::Result<Self::Listener> {
                nobounce::$adapter::listen(address).await
            }

            fn adopt(listener: TcpListener) -> io::Result<Self::Listener> {
                listener.try_into()
            }

            fn address(listener: &Self::Listener) -> Address {
                listener.local_address().unwrap()
            }

            fn serve(
                listener: Self::Listener,
                gate: Arc<Gate<Self>>,
                tls: bool,
                stop: BoxFuture<'static, ()>,
                drain: Duration,
            ) -> BoxFuture<'static, io::Result<Shutdown>> {
                #[cfg(feature = "tls")]
                let serving = match tls {
                    true => nobounce::$adapter::serve_tls(listener, gate),
                    false => nobounce::$adapter::serve(listener, gate),
                };
                #[cfg(not(feature = "tls"))]
                let (serving, _) = (nobounce::$adapter::serve(listener, gate), tls);
                serving.with_graceful_shutdown(stop).drain_within(drain).into_future()
            }
        }
    };
}

adapter!(Tokio, tokio, |future| tokio::runtime::Runtime::new().unwrap().block_on(future));
adapter!(Smol, smol, |future| smol::block_on(future));

pub(crate) struct Service {
    pub(crate) address: Address,
    begin: Option<oneshot::Sender<()>>,
    stop: Option<oneshot::Sender<()>>,
    cancel: Option<oneshot::Sender<()>>,
    ended: Receiver<Option<io::Result<Shutdown>>>,
}

impl Service {
    pub(crate) fn start<R: Adapter>(gate: impl Into<Arc<Gate<R>>>, door: Door) -> Self {
        Self::with_drain(gate, door, PATIENCE)
    }

    pub(crate) fn with_drain<R: Adapter>(
        gate: impl Into<Arc<Gate<R>>>,
        door: Door,
        drain: Duration,
    ) -> Self {
        let mut service = Self::listening(gate, door, drain);
        service.begin();
        service
    }

    /// Opens a service's listener without accepting clients.
    pub(crate) fn listening<R: Adapter>(
        gate: impl Into<Arc<Gate<R>>>,
        door: Door,
        drain: Duration,
    ) -> Self {
        let gate = gate.into();
        let (tell_address, address) = mpsc::channel();
        let (begin, begins) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (cancel, cancelled) = oneshot::channel::<()>();
        let (tell_ended, ended) = mpsc::channel();
        thread::spawn(move || {
            let served = R::block_on(async {
                let tls = matches!(door, Door::TlsAt(_));
                let listener = match door {
                    Door::At(address) | Door::TlsAt(address) => R::listen(&address).await.unwrap(),
                    Door::Made(listener) => R::adopt(listener).unwrap(),
                };
                tell_address.send(R::address(&listener)).unwrap();
                let _ = begins.await;
                let stopped = stopped.map(drop).boxed();
                let served = R::serve(listener, gate, tls, stopped, drain);
                match select(served, cancelled).await {
                    Either::Left((served, _)) => Some(served),
                    Either::Right((_, served)) => {
                        drop(served);
                        // Tasks that were dropped end concurrently.
                        let _ = tell_ended.send(None);
                        R::default().sleep_until(R::default().now() + PATIENCE).await;
                        None
                    }
                }
            });
            let _ = tell_ended.send(served);
        });
        let address = address.recv_timeout(PATIENCE).unwrap();
        Self { address, begin: Some(begin), stop: Some(stop), cancel: Some(cancel), ended }
    }

    pub(crate) fn begin(&mut self) {
        self.begin.take().unwrap().send(()).unwrap();
    }

    /// Starts the shutdown.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Drops the future.
    pub(crate) fn cancel(mut self) {
        self.cancel.take().unwrap().send(()).unwrap();
        assert!(self.ended.recv_timeout(PATIENCE).unwrap().is_none());
    }

    /// Waits for the end.
    pub(crate) fn ended(self) -> io::Result<Shutdown> {
        self.ended.recv_timeout(PATIENCE).unwrap().unwrap()
    }
}

/// A relay target that accepts everything.
#[derive(Clone, Copy)]
pub(crate) struct Shelf;

impl Target for Shelf {
    fn open(&self, _: &Peer) -> Box<dyn Relay> {
        Box::new(Self)
    }
}

#[async_trait]
impl Relay for Shelf {
    async fn rcpt(&mut self, _: &Envelope, _: &ForwardPath) -> Outcome {
        Outcome::Accepted(Receipt::recipient())
    }

    async fn content(&mut self, _: &Envelope, _: Message) -> Outcome {
        Outcome::Accepted(Receipt::kept("shelf"))
    }
}
