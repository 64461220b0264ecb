//! Schedules the cryptography of TLS handshakes: few at once, a limited share of the time, fair by
//! network.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use futures::future::poll_fn;

use crate::runtime::Runtime;

/// Computing time that may be used in advance of its share.
const AHEAD: Duration = Duration::from_millis(50);
/// The shortest pause, because timers are not more precise than this.
const PAUSE: Duration = Duration::from_millis(2);
/// Seconds of lower priority that a network gets for each second of computing time.
const MEMORY: u32 = 100;
/// Additional computing time that is charged to a network for a failed handshake.
const FAILURE: Duration = Duration::from_millis(5);
/// The longest time that a network has lower priority.
const LONGEST: Duration = Duration::from_secs(60);
/// Maximum number of networks that are remembered.
const NETWORKS: usize = 4_096;

/// Limits on the resources that TLS handshakes of clients may use. A handshake needs as much
/// computing time as several messages, and a client can start one with a few octets.
///
/// Only the cryptography counts. A handshake that waits for its client does not block others.
/// Handshakes over the limits wait for their turn, up to
/// [`SessionTimeouts::tls`](crate::session::SessionTimeouts::tls). The next turn goes to the network that
/// has used the least time recently. Failed handshakes count for more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeLimits {
    /// Number of handshakes that may compute at once. Default: half the number of processors, and
    /// at least one.
    pub at_once: NonZero<usize>,
    /// Percentage of the time that each of the [`at_once`](Self::at_once) handshakes may compute,
    /// on average. Default: 50.
    pub share: u8,
    /// Number of handshakes that may wait for their turn. Default: 256. Over the limit, STARTTLS
    /// gets `421 4.7.0`, and a connection with TLS from the first octet is closed.
    pub waiting: usize,
    /// Number of handshakes of one network that may wait. Default: 32.
    pub waiting_of_network: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        Self {
            at_once: NonZero::new(processors / 2).unwrap_or(NonZero::<usize>::MIN),
            share: 50,
            waiting: 256,
            waiting_of_network: 32,
        }
    }
}

/// The scheduler.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    limits: HandshakeLimits,
    state: Mutex<State>,
    /// Number of waiting handshakes, readable without the lock.
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    computing: usize,
    /// Waiting handshakes in order of arrival.
    waiting: Vec<Waiting>,
    numbered: u64,
    /// The time at which the computing time used so far is covered by the share.
    earned_at: Option<Instant>,
    /// The time until which each network has lower priority.
    behind: HashMap<IpAddr, Instant>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    network: Option<IpAddr>,
    waker: Option<Waker>,
}

/// The error for a handshake that finds the waiting queue full.
#[derive(Debug, thiserror::Error)]
#[error("too many TLS handshakes")]
pub(crate) struct TooMany;

impl Turns {
    pub(crate) fn new(limits: HandshakeLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Returns whether [`is_full`](Self::is_full) may be true. Cheap, without the lock.
    pub(crate) fn may_be_full(&self) -> bool {
        let HandshakeLimits { waiting, waiting_of_network, .. } = self.limits;
        self.waiting.load(Ordering::Relaxed) >= waiting.min(waiting_of_network)
    }

    /// Returns whether a client of this network cannot even wait.
    pub(crate) fn is_full(&self, network: Option<IpAddr>) -> bool {
        self.state().is_full(network, &self.limits)
    }

    /// Waits for a turn. Dropping it ends the turn.
    pub(crate) async fn take<'t, R: Runtime>(
        &'t self,
        runtime: &'t R,
        network: Option<IpAddr>,
    ) -> io::Result<Turn<'t, R>> {
        let place = self.queue(network).map_err(io::Error::other)?;
        loop {
            let until = poll_fn(|context| {
                self.state().poll(place.number, &self.limits, context.waker(), runtime.now())
            });
            match until.await {
                None => break,
                Some(at) => runtime.sleep_until(at).await,
            }
        }
        drop(place);
        Ok(Turn { turns: self, runtime, network, began: runtime.now() })
    }

    /// Charges this network computing time for a failed handshake.
    pub(crate) fn failed(&self, network: Option<IpAddr>, now: Instant) {
        self.state().charge(network, FAILURE, now);
    }

    fn queue(&self, network: Option<IpAddr>) -> Result<Place<'_>, TooMany> {
        let mut state = self.state();
        if state.is_full(network, &self.limits) {
            return Err(TooMany);
        }
        state.numbered += 1;
        let number = state.numbered;
        state.waiting.push(Waiting { number, network, waker: None });
        self.waiting.store(state.waiting.len(), Ordering::Relaxed);
        Ok(Place { turns: self, number })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_full(&self, network: Option<IpAddr>, limits: &HandshakeLimits) -> bool {
        let of_network = || self.waiting.iter().filter(|it| it.network == network).count();
        self.waiting.len() >= limits.waiting
            || network.is_some() && of_network() >= limits.waiting_of_network
    }

    /// Becomes ready with `None` when it is the turn of this handshake, or with the time at which
    /// to poll again.
    fn poll(
        &mut self,
        number: u64,
        limits: &HandshakeLimits,
        waker: &Waker,
        now: Instant,
    ) -> Poll<Option<Instant>> {
        let next = self.next();
        if self.computing < limits.at_once.get() && next == Some(number) {
            let early = self.earned_at.and_then(|at| at.checked_sub(AHEAD)).filter(|at| *at > now);
            if let Some(at) = early {
                return Poll::Ready(Some(at.max(now + PAUSE)));
            }
            self.computing += 1;
            return Poll::Ready(None);
        }
        if let Some(waiting) = self.waiting.iter_mut().find(|it| it.number == number) {
            waiting.waker = Some(waker.clone());
        }
        if self.computing < limits.at_once.get() {
            self.wake_next();
        }
        Poll::Pending
    }

    /// Returns the handshake with the next turn: the oldest one of the network that has used the
    /// least time.
    fn next(&self) -> Option<u64> {
        let behind = |it: &&Waiting| it.network.and_then(|network| self.behind.get(&network));
        self.waiting.iter().min_by_key(|it| (behind(it), it.number)).map(|it| it.number)
    }

    fn wake_next(&mut self) {
        let next = self.next();
        let next = self.waiting.iter_mut().find(|it| Some(it.number) == next);
        if let Some(waker) = next.and_then(|it| it.waker.take()) {
            waker.wake();
        }
    }

    /// Charges computing time to a network.
    fn charge(&mut self, network: Option<IpAddr>, time: Duration, now: Instant) {
        let Some(network) = network else { return };
        if self.behind.len() >= NETWORKS {
            self.behind.retain(|_, until| *until > now);
        }
        if self.behind.len() < NETWORKS || self.behind.contains_key(&network) {
            let until = self.behind.entry(network).or_insert(now);
            *until = ((*until).max(now) + time * MEMORY).min(now + LONGEST);
        }
    }
}

/// A place in the waiting queue.
struct Place<'t> {
    turns: &'t Turns,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        state.waiting.retain(|it| it.number != self.number);
        self.turns.waiting.store(state.waiting.len(), Ordering::Relaxed);
        if state.computing < self.turns.limits.at_once.get() {
            state.wake_next();
        }
    }
}

/// The permission to compute. Dropping it ends the turn.
pub(crate) struct Turn<'t, R: Runtime> {
    turns: &'t Turns,
    runtime: &'t R,
    network: Option<IpAddr>,
    began: Instant,
}

impl<R: Runtime> Drop for Turn<'_, R> {
    fn drop(&mut self) {
        let now = self.runtime.now();
        let time = now.saturating_duration_since(self.began);
        let Turns { limits, .. } = self.turns;
        let share = u32::from(limits.share.clamp(1, 100));
        let at_once = u32::try_from(limits.at_once.get()).unwrap_or(u32::MAX);
        let mut state = self.turns.state();
        state.computing -= 1;
        let earned = time * 100 / share / at_once;
        state.earned_at = Some(state.earned_at.map_or(now, |at| at.max(now)) + earned);
        state.charge(self.network, time, now);
        state.wake_next();
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{FutureExt, join_all};

    use super::*;
    use crate::rehearsal::Rehearsal;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn turns(set: impl FnOnce(&mut HandshakeLimits)) -> Turns {
        let at_once = NonZero::<usize>::MIN;
        let mut limits = HandshakeLimits { at_once, ..HandshakeLimits::default() };
        set(&mut limits);
        Turns::new(limits)
    }

    fn network(n: u8) -> Option<IpAddr> {
        Some([198, 51, n, 0].into())
    }

    /// Takes a turn and computes for this time, in steps of the virtual clock.
    async fn compute(turns: &Turns, runtime: &Rehearsal, network: Option<IpAddr>, time: Duration) {
        let turn = turns.take(runtime, network).await.unwrap();
        runtime.sleep(time).await;
        drop(turn);
    }

    #[test]
    fn concurrent_handshakes_and_their_time_are_bounded() {
        let runtime = Rehearsal::new();
        let turns = turns(|limits| (limits.waiting, limits.waiting_of_network) = (1_000, 1_000));
        let work = (0..400).map(|_| compute(&turns, &runtime, network(1), MILLISECOND));
        runtime.run(join_all(work));
        // 400 ms of work at half of the time, of which 50 ms were used in advance.
        let took = runtime.elapsed();
        assert!(took >= MILLISECOND * 740 && took <= MILLISECOND * 860, "{took:?}");
        assert_eq!(turns.state().waiting.len(), 0);
    }

    #[test]
    fn network_with_less_handshake_time_goes_first() {
        let runtime = Rehearsal::new();
        let turns = turns(|_| {});
        let ends = Mutex::new(Vec::new());
        let work = async |n: u8, after: u64| {
            runtime.sleep(MILLISECOND * after as u32).await;
            compute(&turns, &runtime, network(n), MILLISECOND * 10).await;
            ends.lock().unwrap().push(n);
        };
        // Thirty clients of one network are waiting when a client of another network comes.
        let crowd = (0..30).map(|_| work(1, 0).boxed_local());
        runtime.run(join_all(crowd.chain([work(2, 15).boxed_local()])));
        let ends = ends.into_inner().unwrap();
        assert_eq!(ends.iter().position(|n| *n == 2), Some(2), "{ends:?}");
    }

    #[test]
    fn failed_handshakes_delay_a_network() {
        let runtime = Rehearsal::new();
        let turns = turns(|_| {});
        turns.failed(network(1), runtime.now());
        let held = turns.take(&runtime, None).now_or_never().unwrap().unwrap();
        let ends = Mutex::new(Vec::new());
        let work = async |n: u8| {
            compute(&turns, &runtime, network(n), MILLISECOND).await;
            ends.lock().unwrap().push(n);
        };
        let release = async {
            runtime.sleep(MILLISECOND).await;
            drop(held);
        };
        runtime.run(join_all([
            work(1).boxed_local(),
            work(2).boxed_local(),
            release.boxed_local(),
        ]));
        assert_eq!(*ends.lock().unwrap(), [2, 1]);
    }

    #[test]
    fn waiting_handshakes_are_bounded_in_total_and_per_network() {
        let runtime = Rehearsal::new();
        let turns = turns(|limits| (limits.waiting, limits.waiting_of_network) = (5, 2));
        let _held = turns.take(&runtime, None).now_or_never().unwrap().unwrap();
        let mut waiting = Vec::new();
        for (n, waits) in [(1, true), (1, true), (1, false), (2, true), (2, true), (3, true)] {
            assert_eq!(turns.is_full(network(n)), !waits, "{n}");
            let mut turn = Box::pin(turns.take(&runtime, network(n)));
            let refused = turn.as_mut().now_or_never().is_some_and(|turn| turn.is_err());
            assert_eq!(refused, !waits, "{n}");
            waiting.push(turn);
        }
        assert!(turns.is_full(network(4)), "five wait in all");
        waiting.clear();
        assert!(!turns.is_full(network(4)), "they have left the queue");
    }

    #[test]
    fn abandoned_handshake_turn_is_passed_on() {
        let runtime = Rehearsal::new();
        let turns = turns(|_| {});
        let held = turns.take(&runtime, None).now_or_never().unwrap().unwrap();
        let mut first = Box::pin(turns.take(&runtime, network(1)));
        assert!(first.as_mut().now_or_never().is_none());
        let second = compute(&turns, &runtime, network(2), MILLISECOND);
        let leave = async {
            runtime.sleep(MILLISECOND).await;
            drop(held);
            drop(first);
        };
        runtime.run(join_all([second.boxed_local(), leave.boxed_local()]));
    }
}
