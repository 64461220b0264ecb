//! Tarpit: those who score badly are answered slowly, at a bounded cost to us.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::score::Score;

/// The longest delay of one reply: clients wait five minutes for one (RFC 5321 section 4.5.3.2),
/// and panel and relay target take some of them.
const LONGEST: Duration = Duration::from_secs(60);

/// Delays replies to a client once the tally of its session or transaction has reached a score.
///
/// All of it is bounded: how long one reply is delayed, how long all of a session's are, and how
/// many sessions stand in the tarpit at once, so that they cannot use up the places of others. Who
/// finds no room there is answered as always. Never delayed is the reply to a message that was
/// taken, and nobody in [`own_networks`](crate::Settings::own_networks) is.
///
/// ```
/// use std::time::Duration;
/// use nobounce::{Score, Tarpit};
///
/// let tarpit = Tarpit::from(Score::points(4)).delay(Duration::from_secs(10)).sessions(20);
/// ```
#[derive(Debug)]
pub struct Tarpit {
    from: Score,
    delay: Duration,
    total: Duration,
    sessions: usize,
    stuck: AtomicUsize,
}

impl Tarpit {
    /// For those who have this score or more: 5 seconds for each reply (Exchange
    /// `TarpitInterval`), a minute for all of a session's, and 100 sessions at once, a fiftieth of
    /// those that are let in.
    pub const fn from(score: Score) -> Self {
        Self {
            from: score,
            delay: Duration::from_secs(5),
            total: Duration::from_secs(60),
            sessions: 100,
            stuck: AtomicUsize::new(0),
        }
    }

    /// For how long each reply is delayed; more than a minute is taken for one.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay.min(LONGEST);
        self
    }

    /// For how long all replies of one session are. When that is spent it leaves the tarpit.
    #[must_use]
    pub fn total(mut self, total: Duration) -> Self {
        self.total = total;
        self
    }

    /// How many sessions there are room for.
    #[must_use]
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions;
        self
    }

    /// Whether it is for those of this score.
    pub(crate) fn is_for(&self, score: Score) -> bool {
        score >= self.from
    }

    /// Takes a session in, if there is room.
    pub(crate) fn take_in(self: &Arc<Self>) -> Option<Stuck> {
        let more = |stuck: usize| (stuck < self.sessions).then_some(stuck + 1);
        self.stuck.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Stuck { tarpit: self.clone(), left: self.total })
    }
}

/// A session in the tarpit.
#[derive(Debug)]
pub(crate) struct Stuck {
    tarpit: Arc<Tarpit>,
    /// How much delay is left to it.
    left: Duration,
}

impl Stuck {
    /// For how long the next reply is delayed; `None` if it has been delayed enough.
    pub(crate) fn next(&mut self) -> Option<Duration> {
        let delay = self.tarpit.delay.min(self.left);
        self.left -= delay;
        (!delay.is_zero()).then_some(delay)
    }

    /// Whether it has been delayed enough.
    pub(crate) fn is_spent(&self) -> bool {
        self.left.is_zero()
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.tarpit.stuck.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_sessions_than_there_is_room_for_and_each_for_no_longer_than_its_time() {
        let second = Duration::from_secs(1);
        let tarpit = Tarpit::from(Score::points(4)).delay(2 * second).total(5 * second).sessions(2);
        let tarpit = Arc::new(tarpit);
        assert!(tarpit.is_for(Score::points(4)) && !tarpit.is_for(Score::hundredths(399)));
        let mut first = tarpit.take_in().unwrap();
        let second_one = tarpit.take_in().unwrap();
        assert!(tarpit.take_in().is_none());
        drop(second_one);
        assert!(tarpit.take_in().is_some());
        let delays: Vec<_> = std::iter::from_fn(|| first.next()).collect();
        assert_eq!(delays, [2 * second, 2 * second, second]);
    }

    #[test]
    fn a_reply_is_delayed_by_a_minute_at_the_most() {
        let tarpit = Tarpit::from(Score::ZERO).delay(Duration::MAX).total(Duration::MAX);
        assert_eq!(Arc::new(tarpit).take_in().unwrap().next(), Some(LONGEST));
    }
}
