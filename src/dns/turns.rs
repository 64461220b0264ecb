//! A fair semaphore: a limited number of permits, granted in order of arrival.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::oneshot;

/// A limited number of turns (permits). A caller waits if no turn is free.
#[derive(Debug)]
pub(crate) struct Turns(Arc<Mutex<Queue>>);

#[derive(Debug)]
struct Queue {
    free: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A permit. Dropping it passes the turn to the next waiter.
#[derive(Debug)]
pub(crate) struct Turn(Option<Arc<Mutex<Queue>>>);

impl Turns {
    /// Creates a semaphore with `most` turns, at least one.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue { free: most.max(1), waiting: VecDeque::new() })))
    }

    /// Waits for a turn. Dropping the future leaves the queue.
    pub(crate) async fn take(&self) -> Turn {
        let coming = {
            let mut queue = lock(&self.0);
            if queue.free > 0 {
                queue.free -= 1;
                return Turn(Some(self.0.clone()));
            }
            let (given, coming) = oneshot::channel();
            queue.waiting.push_back(given);
            coming
        };
        // The sender is dropped only with the queue, and this function holds the queue.
        coming.await.unwrap_or(Turn(None))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        loop {
            let Some(next) = lock(&shared).waiting.pop_front() else { break };
            match next.send(Self(Some(shared.clone()))) {
                Ok(()) => return,
                // This waiter has been dropped. Prevent the returned turn from releasing itself.
                Err(mut turn) => turn.0 = None,
            }
        }
        lock(&shared).free += 1;
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;

    #[test]
    fn turns_are_granted_in_order_and_abandoned_turns_are_passed_on() {
        pollster::block_on(async {
            let turns = Turns::new(2);
            let (one, two) = (turns.take().await, turns.take().await);
            let (mut third, mut fifth) = (pin!(turns.take()), pin!(turns.take()));
            let mut fourth = Box::pin(turns.take());
            let mut sixth = Box::pin(turns.take());
            assert!(poll!(third.as_mut()).is_pending());
            assert!(poll!(fourth.as_mut()).is_pending());
            assert!(poll!(fifth.as_mut()).is_pending());
            assert!(poll!(sixth.as_mut()).is_pending());
            drop(fourth);
            drop(one);
            assert!(poll!(fifth.as_mut()).is_pending(), "the third goes first");
            let third = third.await;
            // The fifth gets the next turn. The sixth gets one too, but is dropped before it is
            // polled.
            drop(two);
            drop(third);
            drop(sixth);
            let fifth = fifth.await;
            let other = turns.take().await;
            assert_eq!(lock(&turns.0).free, 0);
            drop((fifth, other));
            let queue = lock(&turns.0);
            assert_eq!((queue.free, queue.waiting.len()), (2, 0));
        });
    }
}
