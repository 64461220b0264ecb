//! Memory for mail data: in blocks that are never moved, of a bounded number, used again.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

pub(crate) use super::blocks::BLOCK;
use super::blocks::Blocks;
use super::holders::{Holders, Holding, Owned, Owner};

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
    owned: Owned,
    holders: Holders,
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
        let (owned, holders) = Default::default();
        let held = Mutex::new(Held { used: 0, spare, since: None, owned, holders });
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
        self.block_for(room, None, None)
    }

    /// The same, if the owner's share has room for it, too. Where there is no money for it, slow
    /// messages give up their memory at once; without `now` nobody does.
    pub(crate) fn block_for(
        &self,
        room: usize,
        owner: Option<Owner>,
        now: Option<Instant>,
    ) -> Option<Block> {
        let mut octets = loop {
            let mut held = self.0.held();
            if let Some(octets) = held.take(room, owner.as_ref(), self.0.limit)? {
                break octets;
            }
            let slowest = held.holders.take_slowest(now?)?;
            // Blocks that are dropped go back to the budget.
            drop(held);
            drop(slowest.give_up());
        };
        if octets.is_empty() {
            octets.reserve_exact(room);
        } else {
            // It may not have been full before. Once it is, mail data can be read to all of it.
            octets.resize(room, 0);
        }
        let owner = owner.map(Box::new);
        Some(Block { octets, filled: 0, room, owner, budget: self.clone() })
    }

    /// A charge of nothing yet, for memory that is not in blocks.
    pub(crate) fn charge(&self) -> Charge {
        Charge { budget: self.clone(), octets: 0 }
    }

    /// Whether there is a block of the usual size that was used before.
    pub(crate) fn has_spare(&self) -> bool {
        self.0.held().spare(BLOCK).is_some_and(|spare| !spare.blocks.is_empty())
    }

    /// Begins to hold the full blocks of a message, which it may have to give up before it is complete.
    pub(crate) fn hold(&self, now: Instant) -> Hold {
        let (id, holding) = self.0.held().holders.add(now);
        Hold { budget: self.clone(), id, holding }
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
    /// Spends so much and hands out the memory of a spare block or none. `None` if the owner's share is
    /// spent, `Some(None)` if the budget is.
    fn take(
        &mut self,
        room: usize,
        owner: Option<&Owner>,
        limit: usize,
    ) -> Option<Option<Vec<u8>>> {
        let Some(used) = self.used.checked_add(room).filter(|used| *used <= limit) else {
            return Some(None);
        };
        if owner.is_some_and(|owner| !self.owned.add(owner, room)) {
            return None;
        }
        self.used = used;
        let block = self.spare(room).and_then(Spare::take).unwrap_or_default();
        self.give_way(limit);
        Some(Some(block))
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
            if beyond == 0 {
                return;
            }
            self.spare[at].give_way(beyond);
        }
    }

    /// Takes back what was spent on a block, and keeps one of a usual size.
    fn put(&mut self, block: Vec<u8>, room: usize, owner: Option<&Owner>) {
        self.used -= room;
        if let Some(owner) = owner {
            self.owned.remove(owner, room);
        }
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

/// The full blocks of a message that is being received. Dropping it gives them back.
#[derive(Debug)]
pub(crate) struct Hold {
    budget: Budget,
    id: u64,
    holding: Arc<Holding>,
}

impl Hold {
    pub(crate) fn push(&self, block: Bytes) {
        self.holding.push(block);
    }

    /// Notes that the message has filled a block by now.
    pub(crate) fn touch(&self, now: Instant) {
        self.budget.0.held().holders.touch(self.id, now);
    }

    /// Whether the blocks were given up, since others were short of memory.
    pub(crate) fn is_given_up(&self) -> bool {
        self.holding.is_given_up()
    }

    /// The blocks of a message that is complete; `None` if they were given up.
    pub(crate) fn finish(self) -> Option<Blocks> {
        self.holding.take()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.budget.0.held().holders.remove(self.id);
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
    /// Whose share it is part of. In a box, since most messages have a block in no share.
    owner: Option<Box<Owner>>,
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
        let octets = std::mem::take(&mut self.octets);
        self.budget.0.held().put(octets, self.room, self.owner.as_deref());
    }
}

#[cfg(test)]
mod tests;
