//! Lessons: what became of transactions, for scorers that remember.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt;
use futures::channel::mpsc;

use crate::opinion::ScorerError;
use crate::peer::Peer;
use crate::score::Score;
use crate::session::{EndCause, TransactionEnd};
use crate::tally::{Entry, Tally};
use crate::wire::reply::{Reply, ReplyClass};

/// Lessons that may wait to be learned.
const WAITING: usize = 1024;
/// From which score on a message speaks against its client: where the default
/// [`Thresholds`](crate::Thresholds) tag it.
const SUSPICIOUS: Score = Score::points(5);

/// Learns from what became of transactions: [`Greylist`](super::Greylist) and
/// [`Reputation`](super::Reputation) do, and scorers of your own may.
#[async_trait]
pub trait Learner: Send + Sync {
    /// Returns the name of the scorer that it is, if it is one. What that scorer found is left out of
    /// all lessons: nobody is worse for having been bad, nor better for having been good.
    fn scorer(&self) -> Option<&str> {
        None
    }

    /// A transaction has ended.
    async fn learn(&self, lesson: &Lesson) -> Result<(), ScorerError>;
}

/// What there is to be learned from a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lesson {
    /// The client.
    pub peer: Arc<Peer>,
    /// What the transaction says of it.
    pub impression: Impression,
    /// Recipients that the relay target has refused for good.
    pub strangers: u32,
}

/// What a transaction says of its client.
///
/// What [`Learner`]s found is left out: they say what is known of the client from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Impression {
    /// The message was taken, and nothing much spoke against it.
    Good,
    /// A scorer or the relay target refused the message for good, or what speaks against
    /// it weighs 5 points and more.
    Bad,
    /// Nothing: there was no message, or nobody has said yes or no to it.
    Unknown,
}

impl Lesson {
    /// Returns what there is to be learned from the end of a transaction, from what was found on it, and
    /// from what the relay target answered. Findings of the scorers named in `learners` are left out.
    pub fn of<N: AsRef<str>>(
        end: &TransactionEnd,
        tally: &Tally,
        onward: &[Reply],
        learners: &[N],
    ) -> Self {
        let permanent = |reply: &Reply| reply.class() == ReplyClass::Permanent;
        let refused =
            end.cause == EndCause::RefusedByRelay && end.reply.as_ref().is_some_and(permanent);
        let objected = tally.objections().any(|it| !it.monitored && !it.refusal.is_transient());
        let learned = |entry: &&Entry| learners.iter().any(|it| it.as_ref() == &*entry.scorer);
        let new = tally.counted().filter(|entry| !learned(entry));
        let score: Score = new.map(|entry| entry.finding.score()).sum();
        let impression = if refused || objected || score >= SUSPICIOUS {
            Impression::Bad
        } else if end.cause == EndCause::Accepted {
            Impression::Good
        } else {
            Impression::Unknown
        };
        // One of the answers is that to the content.
        let refusals = onward.iter().filter(|reply| permanent(reply)).count();
        let strangers = refusals.saturating_sub(usize::from(refused));
        let strangers = u32::try_from(strangers).unwrap_or(u32::MAX);
        Self { peer: end.envelope.peer.clone(), impression, strangers }
    }
}

/// An observer that has scorers learn from what became of transactions.
///
/// Observers must not wait and stores may have to, so there are two halves: the observer, which
/// puts lessons aside, and a future that learns them, for the runtime to run beside the sessions.
/// If it is not run, nothing is learned. It ends when the observer, that is the gate, is gone.
///
/// Lessons are lost, and counted, if a thousand wait already, or if a store fails: what scorers
/// know of clients is made of many, and mail does not depend on one.
///
/// ```
/// use std::sync::Arc;
/// use nobounce::scorers::{Greylist, Lessons, Reputation};
/// use nobounce::store::Memory;
/// use nobounce::{Gate, Panel, Runtime, Settings, Target};
///
/// /// The gate, and what is to be run beside it: `tokio::spawn(learning)` and the like.
/// fn gate<R: Runtime + Clone>(
///     runtime: R,
///     target: Box<dyn Target>,
/// ) -> (Gate<R>, impl Future<Output = ()> + Send) {
///     let store = Arc::new(Memory::new());
///     let greylist = Greylist::new(runtime.clone(), store.clone());
///     let reputation = Reputation::new(runtime.clone(), store);
///     let (lessons, learning) =
///         Lessons::for_learners(vec![Box::new(greylist.clone()), Box::new(reputation.clone())]);
///     let panel = Panel::new().scorer(reputation).scorer(greylist);
///     let gate = Gate::new(runtime, Settings::new("mx.example"), target).panel(panel);
///     (gate.observed_by(lessons), learning)
/// }
/// ```
#[derive(Debug)]
pub struct Lessons {
    given: Mutex<mpsc::Sender<Lesson>>,
    /// The scorers that learn.
    learners: Box<[Box<str>]>,
    lost: Arc<AtomicU64>,
}

impl Lessons {
    /// Lessons for these, and the future that has them learn.
    pub fn for_learners(
        learners: Vec<Box<dyn Learner>>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (given, mut taken) = mpsc::channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let names = learners.iter().filter_map(|learner| learner.scorer().map(Into::into));
        let learning_scorers = names.collect();
        let lessons =
            Self { given: Mutex::new(given), learners: learning_scorers, lost: lost.clone() };
        let learning = async move {
            while let Some(lesson) = taken.next().await {
                for learner in &learners {
                    if learner.learn(&lesson).await.is_err() {
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        };
        (lessons, learning)
    }

    /// How many lessons were lost, each counted once for every scorer that did not learn it, or
    /// once if there was no room for it.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Puts the lesson of a transaction aside.
    pub fn give_of(&self, end: &TransactionEnd, tally: &Tally, onward: &[Reply]) {
        self.give(Lesson::of(end, tally, onward, &self.learners));
    }

    /// Puts a lesson aside. The observer does so for every transaction that ends.
    pub fn give(&self, lesson: Lesson) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.try_send(lesson).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
