//! Virtual time: it stands still while a task is ready, then jumps to the next timer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use super::executor::Owner;
use super::world::World;

pub struct Clock {
    began: Instant,
    pub now: Instant,
    /// Offset of the time of day in seconds. Clock changes set it.
    day: i64,
    timers: Vec<Option<Timer>>,
    free: Vec<usize>,
    due: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    armed: u64,
}

struct Timer {
    number: u64,
    owner: Owner,
    waker: Option<Waker>,
}

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "an `Instant` cannot be created otherwise")]
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            now,
            day: 1_700_000_000,
            timers: Vec::new(),
            free: Vec::new(),
            due: BinaryHeap::new(),
            armed: 0,
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.began
    }

    /// The time of day may be before 1970, as with a broken clock.
    pub fn time_of_day(&self) -> SystemTime {
        let ahead = Duration::from_secs(self.day.unsigned_abs());
        let day = if self.day < 0 {
            SystemTime::UNIX_EPOCH - ahead
        } else {
            SystemTime::UNIX_EPOCH + ahead
        };
        day + self.elapsed()
    }

    pub fn turn(&mut self, seconds: i64) {
        self.day += seconds;
    }

    /// Advances the time as if the machine had been suspended.
    pub fn leap(&mut self, time: Duration) {
        self.now += time;
        self.fire();
    }

    /// Advances the time to the next timer. Returns `false` without a timer.
    pub fn pass(&mut self) -> bool {
        while let Some(Reverse((at, number, timer))) = self.due.peek().copied() {
            if self.is_armed(timer, number) {
                self.now = self.now.max(at);
                self.fire();
                return true;
            }
            self.due.pop();
        }
        false
    }

    fn fire(&mut self) {
        while let Some(Reverse((at, number, timer))) = self.due.peek().copied()
            && at <= self.now
        {
            self.due.pop();
            if self.is_armed(timer, number)
                && let Some(waker) = self.timers[timer].as_mut().and_then(|it| it.waker.take())
            {
                waker.wake();
            }
        }
    }

    fn is_armed(&self, timer: usize, number: u64) -> bool {
        let armed = self.timers[timer].as_ref();
        armed.is_some_and(|it| it.number == number && it.waker.is_some())
    }

    pub fn arm(&mut self, at: Instant, owner: Owner, waker: &Waker) -> usize {
        self.armed += 1;
        let number = self.armed;
        let armed = Some(Timer { number, owner, waker: Some(waker.clone()) });
        let timer = self.free.pop().unwrap_or_else(|| {
            self.timers.push(None);
            self.timers.len() - 1
        });
        self.timers[timer] = armed;
        self.due.push(Reverse((at, number, timer)));
        timer
    }

    pub fn rouse(&mut self, timer: usize, waker: &Waker) {
        if let Some(held) = self.timers[timer].as_mut().and_then(|it| it.waker.as_mut()) {
            held.clone_from(waker);
        }
    }

    pub fn disarm(&mut self, timer: usize) {
        self.timers[timer] = None;
        self.free.push(timer);
    }

    /// Returns the number of armed timers that belong to the gate's tasks.
    pub fn held_by_gate(&self) -> usize {
        let gates = |timer: &&Timer| matches!(timer.owner, Owner::Gate(_));
        self.timers.iter().flatten().filter(gates).count()
    }
}

/// A future that waits until a time. It releases its timer on drop.
pub struct Sleep {
    world: World,
    at: Instant,
    timer: Option<usize>,
}

impl Sleep {
    pub fn until(world: &World, at: Instant) -> Self {
        Self { world: world.clone(), at, timer: None }
    }

    pub fn of(world: &World, time: Duration) -> Self {
        Self::until(world, world.now() + time)
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = self.world.clone();
        let state = &mut *world.state();
        if self.at <= state.clock.now {
            return Poll::Ready(());
        }
        match self.timer {
            Some(timer) => state.clock.rouse(timer, context.waker()),
            None => self.timer = Some(state.clock.arm(self.at, state.owner, context.waker())),
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.world.state().clock.disarm(timer);
        }
    }
}
