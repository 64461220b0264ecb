//! Lessons: the outcome of transactions, for scorers with a memory.

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

/// Maximum number of lessons in the queue.
const WAITING: usize = 1024;
/// A message with at least this score counts against its client. The default
/// [`Thresholds`](crate::Thresholds) tag at the same score.
const SUSPICIOUS: Score = Score::points(5);

/// A component that learns from the outcome of transactions. [`Greylist`](super::Greylist) and
/// [`Reputation`](super::Reputation) implement it, and your own scorers can.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::net::IpAddr;
/// use std::sync::Mutex;
/// use nobounce::scorers::{Impression, Learner, Lesson};
/// use nobounce::{ScorerError, async_trait};
///
/// /// Counts bad messages for each address. A real scorer bounds the map, or uses a `Store`.
/// #[derive(Default)]
/// struct Offenders(Mutex<BTreeMap<IpAddr, u32>>);
///
/// #[async_trait]
/// impl Learner for Offenders {
///     fn scorer(&self) -> Option<&str> {
///         Some("offenders")
///     }
///
///     async fn learn(&self, lesson: &Lesson) -> Result<(), ScorerError> {
///         if let (Impression::Bad, Some(address)) = (lesson.impression, lesson.peer.address) {
///             *self.0.lock().unwrap().entry(address.ip()).or_default() += 1;
///         }
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Learner: Send + Sync {
    /// Returns the name of the learner's scorer, if it has one. The findings of that scorer are
    /// excluded from all lessons. Otherwise earlier outcomes would reinforce themselves.
    fn scorer(&self) -> Option<&str> {
        None
    }

    /// Learns from a transaction that has ended.
    async fn learn(&self, lesson: &Lesson) -> Result<(), ScorerError>;
}

/// The outcome of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lesson {
    /// The client.
    pub peer: Arc<Peer>,
    /// The judgement on the client.
    pub impression: Impression,
    /// Number of recipients that the relay target permanently refused.
    pub strangers: u32,
}

/// The judgement on a client that follows from a transaction.
///
/// Findings of [`Learner`]s are excluded, because they only repeat what was known before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Impression {
    /// The message was accepted, and its score is below 5 points.
    Good,
    /// A scorer or the relay target permanently refused the message, or its score is 5 points or
    /// more.
    Bad,
    /// No judgement: no message was sent, or it was neither accepted nor permanently refused.
    Unknown,
}

impl Lesson {
    /// Returns the lesson of a transaction, from its end, its tally and the replies of the relay
    /// target. Findings of the scorers named in `learners` are excluded.
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
        // If the relay target refused the content, one of these replies belongs to the content.
        let refusals = onward.iter().filter(|reply| permanent(reply)).count();
        let strangers = refusals.saturating_sub(usize::from(refused));
        let strangers = u32::try_from(strangers).unwrap_or(u32::MAX);
        Self { peer: end.envelope.peer.clone(), impression, strangers }
    }
}

/// An observer that teaches scorers the outcome of transactions.
///
/// Observers must not block, but a store may have to wait. So there are two parts: the observer,
/// which queues lessons, and a future, which delivers them to the learners. Run the future
/// concurrently with the sessions; otherwise nothing is learned. It ends when the observer is
/// dropped, together with the gate.
///
/// A lesson is dropped, and counted as lost, if 1024 lessons are already queued or if a store
/// fails. The memory of a scorer consists of many lessons, so losing one does no harm.
///
/// ```
/// use std::sync::Arc;
/// use nobounce::scorers::{Greylist, Lessons, Reputation};
/// use nobounce::store::Memory;
/// use nobounce::{Gate, Panel, Runtime, Settings, Target};
///
/// /// Returns the gate and the future to run beside it, for example with `tokio::spawn(learning)`.
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
    /// Names of the scorers that learn.
    learners: Box<[Box<str>]>,
    lost: Arc<AtomicU64>,
}

impl Lessons {
    /// Creates the observer for these learners, and the future that delivers the lessons.
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

    /// Returns the number of lost lessons. A lesson counts once for each learner that failed, or
    /// once if the queue was full.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Queues the lesson of a transaction.
    pub fn give_of(&self, end: &TransactionEnd, tally: &Tally, onward: &[Reply]) {
        self.give(Lesson::of(end, tally, onward, &self.learners));
    }

    /// Queues a lesson. The observer does this at the end of every transaction.
    pub fn give(&self, lesson: Lesson) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.try_send(lesson).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
