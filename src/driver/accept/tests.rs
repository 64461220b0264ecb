use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use futures::io::{AsyncRead, AsyncWrite};

use super::*;
use crate::rehearsal::{Rehearsal, peer};
use crate::relay::Smtp;
use crate::runtime::Address;
use crate::session::Settings;

/// `EMFILE` and `ECONNABORTED` of Linux.
const DESCRIPTORS: i32 = 24;
const ABORTED: i32 = 103;

/// A rehearsal with tasks, which are polled together with the main future.
#[derive(Clone)]
struct Stage {
    rehearsal: Rehearsal,
    tasks: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
}

impl Stage {
    fn new() -> Self {
        Self { rehearsal: Rehearsal::new(), tasks: Arc::default() }
    }

    fn run<T>(&self, main: impl Future<Output = T>) -> T {
        let mut main = pin!(main);
        let all = poll_fn(|context| {
            loop {
                if let Poll::Ready(done) = main.as_mut().poll(context) {
                    return Poll::Ready(done);
                }
                let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
                let before = tasks.len();
                tasks.retain_mut(|task| task.poll_unpin(context).is_pending());
                let ended = tasks.len() < before;
                self.tasks.lock().unwrap().append(&mut tasks);
                if !ended {
                    return Poll::Pending;
                }
            }
        });
        self.rehearsal.run(all)
    }
}

#[async_trait]
impl Runtime for Stage {
    type Stream = Client;

    fn now(&self) -> Instant {
        self.rehearsal.now()
    }

    async fn sleep_until(&self, at: Instant) {
        self.rehearsal.sleep_until(at).await;
    }

    async fn connect(&self, _: &Address) -> io::Result<Client> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

/// The result of each attempt to accept. After the last one, there is nothing to accept.
type Script = VecDeque<Result<Client, i32>>;

impl Adapter for Stage {
    type Listener = Script;

    fn poll_accept(script: &mut Script, _: &mut Context<'_>) -> Poll<io::Result<(Client, Peer)>> {
        match script.pop_front() {
            None => Poll::Pending,
            Some(Ok(client)) => Poll::Ready(Ok((client, peer()))),
            Some(Err(code)) => Poll::Ready(Err(io::Error::from_raw_os_error(code))),
        }
    }

    fn send_at_once(_: &Client, _: &[u8]) {}

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().unwrap().push(future.boxed());
    }
}

/// A client that sends nothing and disconnects when this future is ready.
struct Client(Option<BoxFuture<'static, ()>>);

impl Client {
    fn leaving_after(stage: &Stage, time: Duration) -> Self {
        let (stage, at) = (stage.clone(), stage.now() + time);
        Self(Some(async move { stage.sleep_until(at).await }.boxed()))
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.0.as_mut().is_some_and(|leaves| leaves.poll_unpin(context).is_pending()) {
            return Poll::Pending;
        }
        self.0 = None;
        Poll::Ready(Ok(0))
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Serves until `time` (in milliseconds) has passed. Runs `on_failure` when accepting fails.
fn serve(
    stage: &Stage,
    script: impl IntoIterator<Item = Result<Client, i32>>,
    time: u64,
    on_failure: impl Fn() + Send + Sync + 'static,
) {
    let smtp = Smtp::new(stage.clone(), "192.0.2.1:25".parse().unwrap(), "mx.example");
    let gate = Gate::new(stage.clone(), Settings::new("mx.example"), smtp).observer(move |event| {
        if let Event::AcceptFailed { .. } = event {
            on_failure();
        }
    });
    let (over, at) = (stage.clone(), stage.now() + Duration::from_millis(time));
    let signal = async move { over.sleep_until(at).await };
    let script: Script = script.into_iter().collect();
    let serving = Serve::new(gate).and(script).with_graceful_shutdown(signal);
    let ended = stage.run(serving.into_future()).unwrap();
    assert_eq!(ended.cut_off, 0);
}

/// Serves until `time` has passed. Returns the milliseconds at which accepting failed.
fn failures(
    stage: &Stage,
    script: impl IntoIterator<Item = Result<Client, i32>>,
    time: u64,
) -> Vec<u128> {
    let failures: Arc<Mutex<Vec<u128>>> = Arc::default();
    let (seen, clock) = (failures.clone(), stage.rehearsal.clone());
    serve(stage, script, time, move || seen.lock().unwrap().push(clock.elapsed().as_millis()));
    failures.lock().unwrap().clone()
}

#[test]
fn pauses_double_up_to_a_second_while_descriptors_run_out() {
    let stage = Stage::new();
    let script = (0..12).map(|_| Err(DESCRIPTORS));
    let expected = [0, 5, 15, 35, 75, 155, 315, 635, 1_275, 2_275, 3_275, 4_275];
    assert_eq!(failures(&stage, script, 10_000), expected);
}

#[test]
fn a_client_that_was_accepted_ends_the_series_of_pauses() {
    let stage = Stage::new();
    let client = Client::leaving_after(&stage, Duration::ZERO);
    let script =
        [Err(DESCRIPTORS), Err(DESCRIPTORS), Ok(client), Err(DESCRIPTORS), Err(DESCRIPTORS)];
    assert_eq!(failures(&stage, script, 1_000)[..3], [0, 5, 15]);
}

#[test]
fn a_session_that_ends_ends_the_pause() {
    let stage = Stage::new();
    let client = Client::leaving_after(&stage, Duration::from_millis(2_000));
    let errors = (0..11).map(|_| Err(DESCRIPTORS));
    let found = failures(&stage, std::iter::once(Ok(client)).chain(errors), 10_000);
    assert_eq!(found, [0, 5, 15, 35, 75, 155, 315, 635, 1_275, 2_000, 3_000]);
}

#[test]
fn a_connection_that_broke_before_it_was_accepted_costs_no_pause() {
    let stage = Stage::new();
    let script = (0..100).map(|_| Err(ABORTED));
    assert_eq!(failures(&stage, script, 1), vec![0; 100]);
}

#[test]
fn other_tasks_run_after_every_64_connections_that_broke() {
    let stage = Stage::new();
    let failed = Arc::new(AtomicUsize::new(0));
    let seen: Arc<Mutex<Vec<usize>>> = Arc::default();
    let (total, noted) = (failed.clone(), seen.clone());
    // The stage polls every task in each round.
    let other = poll_fn(move |_| {
        noted.lock().unwrap().push(total.load(Ordering::Relaxed));
        Poll::Pending
    });
    stage.spawn(other);
    let script = (0..200).map(|_| Err(ABORTED));
    serve(&stage, script, 1, move || {
        failed.fetch_add(1, Ordering::Relaxed);
    });
    let mut seen = seen.lock().unwrap().clone();
    seen.dedup();
    assert_eq!(seen, [0, AT_ONCE, 2 * AT_ONCE, 3 * AT_ONCE, 200]);
}

#[test]
fn a_shutdown_ends_the_pause() {
    let stage = Stage::new();
    let script = (0..9).map(|_| Err(DESCRIPTORS));
    failures(&stage, script, 1_300);
    assert_eq!(stage.rehearsal.elapsed(), Duration::from_millis(1_300));
}
