//! A single-threaded executor that picks the next ready task at random.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::rng::Rng;
use super::world::World;

pub type Work = Pin<Box<dyn Future<Output = ()>>>;

/// The owner of a task. A resource that a task of the gate has not released at the end is a leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// `serve` for this session.
    Gate(usize),
    /// The client of this session.
    Client(usize),
    /// The onward server at this connection.
    Server(usize),
    /// The task that shuts the gate down and changes the clocks.
    Hand,
}

impl Owner {
    /// Onward servers wait for connections forever. All other tasks must end.
    fn is_counted(self) -> bool {
        !matches!(self, Self::Server(_))
    }

    pub fn number(self) -> u64 {
        match self {
            Self::Hand => 0,
            Self::Gate(session) => 4 * session as u64 + 1,
            Self::Client(session) => 4 * session as u64 + 2,
            Self::Server(connection) => 4 * connection as u64 + 3,
        }
    }
}

struct Task {
    owner: Owner,
    /// `None` when the task is done.
    work: Option<Work>,
    waker: Waker,
}

pub struct Executor {
    world: World,
    tasks: Vec<Task>,
    ready: Arc<Mutex<Ready>>,
    rng: Rng,
    /// Permille of cases in which time advances although a task is ready, as on a slow machine.
    starved: usize,
    polls: usize,
    /// Number of remaining tasks, without those of onward servers.
    busy: usize,
}

#[derive(Default)]
struct Ready {
    tasks: Vec<usize>,
    /// Whether each task is in the queue.
    among: Vec<bool>,
}

struct Signal {
    task: usize,
    ready: Arc<Mutex<Ready>>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut ready = self.ready.lock().unwrap();
        if !std::mem::replace(&mut ready.among[self.task], true) {
            ready.tasks.push(self.task);
        }
    }
}

impl Executor {
    pub fn new(world: World, rng: Rng, starved: usize) -> Self {
        let ready = Arc::default();
        Self { world, tasks: Vec::new(), ready, rng, starved, polls: 0, busy: 0 }
    }

    pub fn spawn(&mut self, owner: Owner, work: Work) {
        let task = self.tasks.len();
        self.busy += usize::from(owner.is_counted());
        let waker = Waker::from(Arc::new(Signal { task, ready: self.ready.clone() }));
        self.tasks.push(Task { owner, work: Some(work), waker });
        let mut ready = self.ready.lock().unwrap();
        ready.tasks.push(task);
        ready.among.push(true);
    }

    /// Returns whether a task remains that is not an onward server's.
    pub fn is_busy(&self) -> bool {
        self.busy > 0
    }

    /// Returns the owners of the remaining tasks.
    pub fn left(&self) -> Vec<Owner> {
        self.tasks.iter().filter(|task| task.work.is_some()).map(|task| task.owner).collect()
    }

    /// Runs one task, or advances the time. Returns `false` if neither is possible.
    pub fn step(&mut self) -> bool {
        let count = self.ready.lock().unwrap().tasks.len();
        if count == 0 || (self.starved > 0 && self.rng.permille(self.starved)) {
            let passed = self.world.pass(count > 0);
            if count == 0 {
                return passed;
            }
        }
        let task = {
            let mut ready = self.ready.lock().unwrap();
            let at = self.rng.below(count);
            let task = ready.tasks.swap_remove(at);
            ready.among[task] = false;
            task
        };
        let Task { owner, work, waker } = &mut self.tasks[task];
        let Some(running) = work else { return true };
        self.polls += 1;
        self.world.enter(*owner);
        if running.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
            *work = None;
            self.busy -= usize::from(owner.is_counted());
        }
        true
    }

    pub fn polls(&self) -> usize {
        self.polls
    }
}

/// Yields to other tasks this many times.
pub async fn step_back(times: usize) {
    let mut left = times;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
