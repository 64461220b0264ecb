//! The tarpit: slow replies to clients with a high score, at a bounded cost to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::score::Score;

/// The longest delay of one reply. Clients wait five minutes for a reply (RFC 5321 section
/// 4.5.3.2), and the panel and the relay target need part of that time.
const LONGEST: Duration = Duration::from_secs(60);

/// A delay of the replies to clients with a high score. It begins when the tally of the session or
/// transaction reaches a given score.
///
/// Three limits bound the cost: the delay of one reply, the total delay of one session, and the
/// number of sessions in the tarpit. The last one keeps delayed sessions from using up the
/// connections of others. When all slots are taken, the client is not delayed. The reply to an
/// accepted message is never delayed, and neither are replies to clients in
/// [`own_networks`](crate::Settings::own_networks).
///
/// ```
/// use std::time::Duration;
/// use nobounce::Score;
/// use nobounce::admission::Tarpit;
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
    /// Creates a tarpit for clients with this score or a higher one. The defaults are 5 seconds for
    /// each reply (Exchange `TarpitInterval`), one minute in total for a session, and 100 sessions
    /// at once. That is 0.5 % of the default connection limit.
    pub const fn from(score: Score) -> Self {
        Self {
            from: score,
            delay: Duration::from_secs(5),
            total: Duration::from_secs(60),
            sessions: 100,
            stuck: AtomicUsize::new(0),
        }
    }

    /// Sets the delay of each reply. A delay over one minute is reduced to one minute.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay.min(LONGEST);
        self
    }

    /// Sets the total delay of one session. When it is used up, the session leaves the tarpit.
    #[must_use]
    pub fn total(mut self, total: Duration) -> Self {
        self.total = total;
        self
    }

    /// Sets the maximum number of sessions in the tarpit.
    #[must_use]
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions;
        self
    }

    /// Returns whether a client with this score is delayed.
    pub(crate) fn is_for(&self, score: Score) -> bool {
        score >= self.from
    }

    /// Adds a session to the tarpit, if a slot is free.
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
    /// The delay that is left for this session.
    left: Duration,
}

impl Stuck {
    /// Returns the delay of the next reply; `None` if the session's total delay is used up.
    pub(crate) fn next(&mut self) -> Option<Duration> {
        let delay = self.tarpit.delay.min(self.left);
        self.left -= delay;
        (!delay.is_zero()).then_some(delay)
    }

    /// Returns whether the session's total delay is used up.
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
    fn tarpit_bounds_sessions_and_total_delay() {
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
    fn reply_delay_is_at_most_a_minute() {
        let tarpit = Tarpit::from(Score::ZERO).delay(Duration::MAX).total(Duration::MAX);
        assert_eq!(Arc::new(tarpit).take_in().unwrap().next(), Some(LONGEST));
    }
}
