//! A cache for answers that do not depend on the recipient. The question is asked once per
//! transaction, regardless of the number of recipients.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::envelope::{Envelope, TransactionId};
use crate::opinion::ScorerError;

/// Maximum number of remembered questions.
const TRANSACTIONS: usize = 1024;

/// The answers of one scorer for the most recent transactions.
#[derive(Debug)]
pub(super) struct Once<T>(Mutex<Recent<T>>);

#[derive(Debug)]
struct Recent<T> {
    /// `None` while the question is pending. It stays `None` if the question timed out.
    answers: HashMap<Key, Option<T>>,
    order: VecDeque<Key>,
}

/// The transaction and the subject of the question.
type Key = (TransactionId, Vec<u8>);

impl<T: Clone> Once<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Recent { answers: HashMap::new(), order: VecDeque::new() }))
    }

    /// Returns the remembered answer about `about` in this transaction, or the answer of `ask`.
    ///
    /// # Errors
    ///
    /// Returns an error if the question timed out earlier in this transaction. It is not asked
    /// again, because it would probably time out again.
    pub(super) async fn ask(
        &self,
        envelope: &Envelope,
        about: impl Into<Vec<u8>>,
        ask: impl Future<Output = T>,
    ) -> Result<T, ScorerError> {
        let key = (envelope.id.clone(), about.into());
        match self.recent().answers.get(&key) {
            Some(Some(answer)) => return Ok(answer.clone()),
            Some(None) => {
                let late = "no answer in time for an earlier recipient of this message, so it was not asked again";
                return Err(ScorerError::new(late));
            }
            None => {}
        }
        self.recent().begin(key.clone());
        let answer = ask.await;
        if let Some(place) = self.recent().answers.get_mut(&key) {
            *place = Some(answer.clone());
        }
        Ok(answer)
    }

    fn recent(&self) -> MutexGuard<'_, Recent<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Recent<T> {
    fn begin(&mut self, key: Key) {
        if self.order.len() >= TRANSACTIONS
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.answers.insert(key, None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::envelope::SessionId;
    use crate::rehearsal::envelope;

    #[test]
    fn query_is_made_once_per_transaction_and_memory_is_bounded() {
        let (once, asked) = (Once::new(), AtomicU32::new(0));
        let ask = |n: u32, about: &str| {
            let mut envelope = envelope("<a@example.org>");
            envelope.id = SessionId::new("s").transaction(n);
            let answer = async { asked.fetch_add(1, Ordering::Relaxed) };
            pollster::block_on(once.ask(&envelope, about, answer)).unwrap()
        };
        assert_eq!(
            [ask(1, "a"), ask(1, "a"), ask(1, "b"), ask(2, "a"), ask(1, "a")],
            [0, 0, 1, 2, 0]
        );
        for n in 0..3 * TRANSACTIONS {
            ask(u32::try_from(n).unwrap(), "c");
        }
        let recent = once.recent();
        assert_eq!((recent.answers.len(), recent.order.len()), (TRANSACTIONS, TRANSACTIONS));
    }

    #[test]
    fn timed_out_query_is_not_repeated_in_a_transaction() {
        let once = Once::<()>::new();
        let envelope = envelope("<a@example.org>");
        pollster::block_on(async {
            let mut hung = Box::pin(once.ask(&envelope, "a", std::future::pending()));
            assert!(futures::poll!(hung.as_mut()).is_pending());
            drop(hung);
            let error = once.ask(&envelope, "a", async {}).await.unwrap_err();
            assert!(error.to_string().starts_with("no answer in time"), "{error}");
        });
    }
}
