//! Connections that wait for their PROXY headers. Until then it is unknown for which client they
//! count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

/// One waiting connection, shared by its driver and the admission.
#[derive(Debug)]
pub(super) struct Newcomer {
    /// Identifier of the connection. Later connections have greater numbers.
    number: u64,
    /// Whether the connection was displaced by another one.
    displaced: AtomicBool,
    waker: AtomicWaker,
}

/// All waiting connections, the oldest first.
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

    /// Removes this connection.
    pub(super) fn leave(&mut self, newcomer: &Newcomer) {
        self.waiting.remove(&newcomer.number);
    }

    /// Removes the connection that has waited longest. The caller must wake it.
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

    /// Becomes ready when the connection was displaced.
    pub(super) fn poll_displaced(&self, context: &mut Context<'_>) -> Poll<()> {
        self.waker.register(context.waker());
        if self.is_displaced() { Poll::Ready(()) } else { Poll::Pending }
    }
}
