//! Memory for mail data: in blocks that are never moved, of a bounded number, used again.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Octets of a block: small beside a message that is large, and large beside what a block costs to
/// hand on.
pub(crate) const BLOCK: usize = 64 << 10;
/// Most octets of blocks that are kept for the next message. The system gives memory page by page,
/// each made of zeros first, which costs as much as copying the mail data.
const SPARE: usize = 32 << 20;
/// How long those are kept that nobody needs.
const KEPT: Duration = Duration::from_secs(10);

/// Memory for the mail data of all sessions that share it. When it is spent, a client that sends
/// more is told `452 4.3.1` at the end of its mail data, and comes again; nothing is lost, and
/// nobody who was there before is disturbed.
///
/// Blocks that a message has left are kept for the next ones, up to 32 MiB of them; so the memory in
/// use is the budget and that at the most. Of these, what nobody has needed for ten seconds goes back
/// to the allocator, as sessions begin and transactions end: behind a burst of large mail nothing
/// stays. What scorers make of a message (joined, decoded) is not counted.
///
/// Whether the allocator gives it on to the system is its affair. glibc keeps what lies between things
/// in use, and uses it again: 12 MiB behind 400 MB from ten clients at once. `malloc_trim` gives it to
/// the system; `front_door` calls it every ten seconds.
///
/// ```
/// use nobounce::{Budget, Settings};
///
/// let mut settings = Settings::new("mx.example");
/// settings.budget = Budget::new(64 << 20);
/// assert_eq!((settings.budget.limit(), settings.budget.used()), (64 << 20, 0));
/// ```
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    limit: usize,
    used: AtomicUsize,
    spare: Mutex<Spare>,
}

/// Empty blocks of the usual size, taken from the end and put there.
#[derive(Default)]
struct Spare {
    blocks: Vec<Vec<u8>>,
    /// How many of them, from the front, nobody has needed since then.
    unneeded: usize,
    since: Option<Instant>,
}

impl Budget {
    /// So many octets. A clone is the same budget, not another.
    pub fn new(octets: usize) -> Self {
        let spare = Mutex::default();
        Self(Arc::new(Shared { limit: octets, used: AtomicUsize::new(0), spare }))
    }

    /// How many octets there may be.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Octets of the blocks that hold mail data now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// A block with room for so many octets, if there is money for it.
    pub(crate) fn block(&self, room: usize) -> Option<Block> {
        let spend = |used: usize| used.checked_add(room).filter(|used| *used <= self.0.limit);
        self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).ok()?;
        let spare = if room == BLOCK { self.0.spare().take() } else { None };
        let octets = spare.unwrap_or_else(|| Vec::with_capacity(room));
        Some(Block { octets, room, budget: self.clone() })
    }

    /// Gives the allocator back what nobody has needed for a while. To be called now and then.
    pub(crate) fn tidy(&self, now: Instant) {
        let unneeded = self.0.spare().unneeded(now);
        // Here and below, nobody else waits for this.
        drop(unneeded);
    }
}

impl Default for Budget {
    /// 512 MiB: ten messages of the largest size that is taken by default, at once.
    fn default() -> Self {
        Self::new(512 << 20)
    }
}

impl PartialEq for Budget {
    /// Whether they allow as much.
    fn eq(&self, other: &Self) -> bool {
        self.limit() == other.limit()
    }
}

impl Eq for Budget {}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("limit", &self.limit()).field("used", &self.used()).finish()
    }
}

impl Shared {
    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spare {
    fn take(&mut self) -> Option<Vec<u8>> {
        let block = self.blocks.pop();
        self.unneeded = self.unneeded.min(self.blocks.len());
        block
    }

    /// Keeps a block, or hands it back if there are enough.
    fn put(&mut self, mut block: Vec<u8>) -> Option<Vec<u8>> {
        if self.blocks.len() == SPARE / BLOCK {
            return Some(block);
        }
        block.clear();
        self.blocks.push(block);
        None
    }

    /// Hands out those that nobody has needed for long enough, and looks from now on again.
    fn unneeded(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < KEPT {
            return Vec::new();
        }
        let unneeded = self.blocks.drain(..self.unneeded).collect();
        (self.unneeded, self.since) = (self.blocks.len(), Some(now));
        unneeded
    }
}

/// Octets that never move, and room for more. Dropping it gives its memory back.
pub(crate) struct Block {
    octets: Vec<u8>,
    /// Octets it was made for.
    room: usize,
    budget: Budget,
}

impl Block {
    /// Takes as many of the octets as there is room for; says how many.
    pub(crate) fn fill(&mut self, octets: &[u8]) -> usize {
        let taken = octets.len().min(self.room - self.octets.len());
        self.octets.extend_from_slice(&octets[..taken]);
        taken
    }

    pub(crate) fn is_full(&self) -> bool {
        self.octets.len() == self.room
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

impl fmt::Debug for Block {
    /// Nothing of what somebody wrote to somebody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("len", &self.octets.len()).finish_non_exhaustive()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let shared = &self.budget.0;
        if self.room == BLOCK {
            let superfluous = shared.spare().put(std::mem::take(&mut self.octets));
            drop(superfluous);
        }
        shared.used.fetch_sub(self.room, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_comes_back() {
        let budget = Budget::new(BLOCK + 100);
        let block = budget.block(BLOCK).expect("within the budget");
        assert_eq!(budget.used(), BLOCK);
        assert!(budget.block(101).is_none());
        assert_eq!(budget.used(), BLOCK, "what was not had is not spent");
        let small = budget.block(100).expect("the last octet");
        assert!(budget.block(1).is_none());
        assert!(budget.clone().block(usize::MAX).is_none());
        drop((block, small));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_block_takes_no_more_than_it_has_room_for() {
        let mut block = Budget::default().block(3).expect("a block");
        assert_eq!((block.fill(b"ab"), block.is_full()), (2, false));
        assert_eq!((block.fill(b"cd"), block.is_full()), (1, true));
        assert_eq!((block.fill(b"d"), block.as_ref()), (0, &b"abc"[..]));
        assert_eq!(format!("{block:?}"), "Block { len: 3, .. }", "nothing of what it holds");
    }

    #[test]
    fn a_budget_is_what_it_allows() {
        let budget = Budget::new(7);
        let _block = budget.block(3);
        assert_eq!(budget.limit(), 7);
        assert_eq!(format!("{budget:?}"), "Budget { limit: 7, used: 3 }");
        assert!(budget == Budget::new(7) && budget != Budget::new(8));
        assert_eq!(SPARE, 33_554_432, "as is documented");
    }

    #[test]
    fn blocks_are_used_again_and_come_empty() {
        let budget = Budget::default();
        let mut block = budget.block(BLOCK).expect("a block");
        assert_eq!(block.fill(&[b'x'; BLOCK + 1]), BLOCK);
        assert!(block.is_full());
        let place = block.as_ref().as_ptr();
        drop(block);
        let mut again = budget.block(BLOCK).expect("a block");
        assert!(again.as_ref().is_empty() && !again.is_full());
        again.fill(b"y");
        assert_eq!((again.as_ref().as_ptr(), again.as_ref()), (place, &b"y"[..]));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a moment to begin with")]
    fn blocks_that_nobody_needs_are_given_back() {
        let budget = Budget::default();
        let blocks = |count: usize| -> Vec<_> { (0..count).map(|_| budget.block(BLOCK)).collect() };
        let (begin, kept) = (Instant::now(), || budget.0.spare().blocks.len());
        budget.tidy(begin);
        drop(blocks(8));
        for (seconds, needed, left) in
            [(9, 0, 8), (10, 3, 8), (19, 0, 8), (20, 3, 3), (29, 0, 3), (30, 0, 3), (40, 0, 0)]
        {
            budget.tidy(begin + Duration::from_secs(seconds));
            assert_eq!(kept(), left, "after {seconds} s");
            drop(blocks(needed));
        }
        budget.tidy(begin);
        assert_eq!(kept(), 0, "a clock that goes back");
    }

    #[test]
    fn few_blocks_are_kept() {
        let budget = Budget::default();
        let blocks: Vec<_> = (0..1000).map(|_| budget.block(BLOCK)).collect();
        assert!(blocks.iter().all(Option::is_some));
        drop(blocks);
        assert_eq!((budget.used(), budget.0.spare().blocks.len()), (0, SPARE / BLOCK));
    }
}
