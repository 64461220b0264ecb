//! Connections of which it is not known yet for whom they count: their PROXY headers are awaited.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

/// One connection in the doorway, as its driver and the admission share it.
#[derive(Debug)]
pub(super) struct Newcomer {
    /// Larger than those of connections before it.
    number: u64,
    /// It had to make room.
    displaced: AtomicBool,
    waker: AtomicWaker,
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Doorway {
    waiting: BTreeMap<u64, Arc<Newcomer>>,
    numbered: u64,
}

impl Doorway {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn enter(&mut self) -> Arc<Newcomer> {
        self.numbered += 1;
        let (number, displaced) = (self.numbered, AtomicBool::new(false));
        let newcomer = Arc::new(Newcomer { number, displaced, waker: AtomicWaker::new() });
        self.waiting.insert(number, newcomer.clone());
        newcomer
    }

    /// Lets this connection out, wherever to.
    pub(super) fn leave(&mut self, newcomer: &Newcomer) {
        self.waiting.remove(&newcomer.number);
    }

    /// Takes out the connection that has waited longest. It still has to be woken.
    pub(super) fn displace(&mut self) -> Option<Arc<Newcomer>> {
        let (_, oldest) = self.waiting.pop_first()?;
        oldest.displaced.store(true, Ordering::Release);
        Some(oldest)
    }
}

impl Newcomer {
    pub(super) fn is_displaced(&self) -> bool {
        self.displaced.load(Ordering::Acquire)
    }

    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Ready once it had to make room.
    pub(super) fn poll_displaced(&self, context: &mut Context<'_>) -> Poll<()> {
        self.waker.register(context.waker());
        if self.is_displaced() { Poll::Ready(()) } else { Poll::Pending }
    }
}
