//! Memory for mail data: in blocks that are never moved, of a bounded number, used again.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Octets of a block: small beside a message that is large, and large beside what a block costs to
/// hand on.
pub(crate) const BLOCK: usize = 64 << 10;
/// Octets of the first block where the client has not said how large its message is: most messages
/// are small, and a client that is slow must not hold much.
pub(crate) const FIRST: usize = 8 << 10;
/// How long blocks that a message has left are kept for the next one. The system gives memory page by
/// page, each made of zeros first, which costs as much as copying the mail data.
const KEPT: Duration = Duration::from_secs(10);

/// Memory for the mail data of all sessions that share it. When it is spent, a client that sends
/// more is told `452 4.3.1` at the end of its mail data, and comes again; nothing is lost, and
/// nobody who was there before is disturbed.
///
/// Blocks that a message has left are kept for the next ones; they are within the budget, too, and
/// give way to what is in use. What nobody has needed for ten seconds goes back to the allocator, as
/// sessions begin and transactions end, or by [`tidy`](Self::tidy): behind a burst of large mail
/// nothing stays. What scorers make of a message (joined, decoded) is not counted.
///
/// Whether the allocator gives it on to the system is its affair. glibc keeps what lies between things
/// in use, and uses it again. `malloc_trim` gives it to the system; `front_door` tidies and calls it
/// every ten seconds. An allocator that asks for large pages (mimalloc, in `on_tokio`) takes a tenth of
/// the CPU time of messages of 10 MiB.
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
    held: Mutex<Held>,
}

struct Held {
    /// Octets of the blocks that hold mail data now.
    used: usize,
    /// Blocks that hold none. With those in use they stay within the limit.
    spare: [Spare; 2],
    /// Since when is counted which of them are needed.
    since: Option<Instant>,
}

/// Blocks of one size that hold nothing, taken from the end and put there.
struct Spare {
    size: usize,
    blocks: Vec<Vec<u8>>,
    /// How many of them, from the front, nobody has needed.
    unneeded: usize,
}

impl Budget {
    /// So many octets. A clone is the same budget, not another.
    pub fn new(octets: usize) -> Self {
        let spare = [BLOCK, FIRST].map(|size| Spare { size, blocks: Vec::new(), unneeded: 0 });
        let held = Mutex::new(Held { used: 0, spare, since: None });
        Self(Arc::new(Shared { limit: octets, held }))
    }

    /// How many octets there may be.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Octets of the blocks that hold mail data now.
    pub fn used(&self) -> usize {
        self.0.held().used
    }

    /// Gives the allocator back what nobody has needed for a while. Sessions do so as they begin, and
    /// when a transaction ends; a host that has none for long may do it by the clock.
    pub fn tidy(&self, now: Instant) {
        let unneeded = self.0.held().unneeded(now);
        // Nobody else waits for this.
        drop(unneeded);
    }

    /// A block with room for so many octets, if there is money for it.
    pub(crate) fn block(&self, room: usize) -> Option<Block> {
        let mut octets = self.0.held().take(room, self.0.limit)?;
        if octets.is_empty() {
            octets.reserve_exact(room);
        } else {
            // It may not have been full before. Once it is, mail data can be read to all of it.
            octets.resize(room, 0);
        }
        Some(Block { octets, filled: 0, room, budget: self.clone() })
    }

    /// A charge of nothing yet, for memory that is not in blocks.
    pub(crate) fn charge(&self) -> Charge {
        Charge { budget: self.clone(), octets: 0 }
    }

    /// A block of the usual size that was used before, if there is one.
    pub(crate) fn spare_block(&self) -> Option<Block> {
        let is_there = self.0.held().spare(BLOCK).is_some_and(|spare| !spare.blocks.is_empty());
        is_there.then(|| self.block(BLOCK)).flatten()
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
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Spends so much, if there is money for it, and hands out the memory of a spare block or none.
    fn take(&mut self, room: usize, limit: usize) -> Option<Vec<u8>> {
        self.used = self.used.checked_add(room).filter(|used| *used <= limit)?;
        let block = self.spare(room).and_then(Spare::take).unwrap_or_default();
        self.give_way(limit);
        Some(block)
    }

    /// Spends so much on other things, if there is money for it.
    fn spend(&mut self, octets: usize, limit: usize) -> bool {
        let used = self.used.checked_add(octets).filter(|used| *used <= limit);
        self.used = used.unwrap_or(self.used);
        self.give_way(limit);
        used.is_some()
    }

    /// Frees spare blocks that are beyond the limit together with what is used.
    fn give_way(&mut self, limit: usize) {
        for at in 0..self.spare.len() {
            let spare: usize = self.spare.iter().map(Spare::octets).sum();
            let beyond = (self.used + spare).saturating_sub(limit);
            self.spare[at].give_way(beyond);
        }
    }

    /// Takes back what was spent on a block, and keeps one of a usual size.
    fn put(&mut self, block: Vec<u8>, room: usize) {
        self.used -= room;
        if let Some(spare) = self.spare(room) {
            spare.blocks.push(block);
        }
    }

    /// The spare blocks of this size, if it is a usual one.
    fn spare(&mut self, size: usize) -> Option<&mut Spare> {
        self.spare.iter_mut().find(|spare| spare.size == size)
    }

    /// Hands out those that nobody has needed for long enough, and looks from now on again.
    fn unneeded(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < KEPT {
            return Vec::new();
        }
        self.since = Some(now);
        self.spare.iter_mut().flat_map(Spare::unneeded).collect()
    }
}

impl Spare {
    fn octets(&self) -> usize {
        self.blocks.len() * self.size
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let block = self.blocks.pop();
        self.unneeded = self.unneeded.min(self.blocks.len());
        block
    }

    /// Frees so many octets, or all.
    fn give_way(&mut self, octets: usize) {
        let blocks = octets.div_ceil(self.size);
        self.blocks.truncate(self.blocks.len().saturating_sub(blocks));
        self.unneeded = self.unneeded.min(self.blocks.len());
    }

    fn unneeded(&mut self) -> Vec<Vec<u8>> {
        let unneeded = self.blocks.drain(..self.unneeded).collect();
        self.unneeded = self.blocks.len();
        unneeded
    }
}

/// What is charged for memory that is not in blocks. Dropping it gives it back.
pub(crate) struct Charge {
    budget: Budget,
    octets: usize,
}

impl Charge {
    /// How many octets are charged.
    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    /// Charges so many more, all or none. Says whether the budget had them.
    pub(crate) fn grow(&mut self, octets: usize) -> bool {
        let limit = self.budget.limit();
        let can_pay = self.budget.0.held().spend(octets, limit);
        self.octets += if can_pay { octets } else { 0 };
        can_pay
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").field("octets", &self.octets).finish_non_exhaustive()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.0.held().used -= self.octets;
    }
}

/// Octets that never move, and room for more. Dropping it gives its memory back.
pub(crate) struct Block {
    /// What was filled, and behind it what an earlier message has left of itself.
    octets: Vec<u8>,
    filled: usize,
    /// Octets it was made for.
    room: usize,
    budget: Budget,
}

impl Block {
    /// Takes as many of the octets as there is room for; says how many.
    pub(crate) fn fill(&mut self, octets: &[u8]) -> usize {
        let octets = &octets[..octets.len().min(self.left())];
        let made = self.octets.get_mut(self.filled..self.filled + octets.len());
        match made {
            Some(made) => made.copy_from_slice(octets),
            // It is new, and ends where it is filled to.
            None => self.octets.extend_from_slice(octets),
        }
        self.filled += octets.len();
        octets.len()
    }

    /// The part of its room that can be written to as it is: none in a block that is new.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.octets[self.filled..]
    }

    /// So many octets of that room hold something now.
    pub(crate) fn filled(&mut self, length: usize) {
        self.filled = self.octets.len().min(self.filled + length);
    }

    /// Octets that there is room for.
    pub(crate) fn left(&self) -> usize {
        self.room - self.filled
    }

    pub(crate) fn is_full(&self) -> bool {
        self.left() == 0
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.octets[..self.filled]
    }
}

impl fmt::Debug for Block {
    /// Nothing of what somebody wrote to somebody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("len", &self.filled).finish_non_exhaustive()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.budget.0.held().put(std::mem::take(&mut self.octets), self.room);
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
    fn charges_and_blocks_share_a_budget() {
        let budget = Budget::new(BLOCK + 100);
        let mut charge = budget.charge();
        assert!(charge.grow(60) && charge.grow(40) && !charge.grow(BLOCK + 1));
        assert_eq!((charge.octets(), budget.used()), (100, 100));
        let block = budget.block(BLOCK).expect("the rest");
        assert!(!charge.grow(1) && budget.charge().grow(0));
        drop(block);
        assert!(charge.grow(BLOCK), "the spare block gives way");
        drop(charge);
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
        let (begin, kept) = (Instant::now(), || budget.0.held().spare[0].blocks.len());
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
    fn blocks_that_are_kept_are_within_the_budget_and_give_way() {
        let budget = Budget::new(4 * BLOCK + 100);
        let spare = || budget.0.held().spare[0].blocks.len();
        let blocks: Vec<_> = (0..4).map(|_| budget.block(BLOCK)).collect();
        assert!(blocks.iter().all(Option::is_some) && budget.spare_block().is_none());
        drop(blocks);
        assert_eq!((budget.used(), spare()), (0, 4));
        let small = budget.block(100).expect("beside them");
        assert_eq!(spare(), 4);
        let first = budget.block(FIRST).expect("in place of one of them");
        assert_eq!(spare(), 3);
        let again = budget.spare_block().expect("one of them");
        assert_eq!((budget.used(), spare()), (BLOCK + FIRST + 100, 2));
        drop((small, first, again));
        let held = || budget.0.held().spare.iter().map(Spare::octets).sum::<usize>();
        assert_eq!((budget.used(), spare(), held()), (0, 3, 3 * BLOCK + FIRST));
        let more = budget.block(BLOCK + 100).expect("beside the rest");
        assert_eq!((spare(), held()), (2, 2 * BLOCK + FIRST));
        let most = budget.block(3 * BLOCK).expect("all of it");
        assert_eq!(held(), 0);
        drop((more, most));
        assert_eq!((budget.used(), held()), (0, 0), "none of a usual size");
    }

    #[test]
    fn what_is_read_to_its_place_is_there() {
        let budget = Budget::default();
        let mut block = budget.block(BLOCK).expect("a block");
        assert!(block.room().is_empty(), "nothing is made of zeros for it");
        block.fill(&[b'x'; 100]);
        drop(block);
        let mut block = budget.spare_block().expect("that one");
        assert_eq!((block.room().len(), block.as_ref()), (BLOCK, &b""[..]), "all of it");
        block.room()[..2].copy_from_slice(b"ab");
        block.filled(2);
        assert_eq!((block.room().len(), block.as_ref()), (BLOCK - 2, &b"ab"[..]));
        assert_eq!((block.fill(&[b'c'; BLOCK]), block.is_full()), (BLOCK - 2, true));
        assert_eq!((block.room().len(), &block.as_ref()[..3]), (0, &b"abc"[..]));
    }
}
