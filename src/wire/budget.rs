//! Memory for mail data: a bounded pool of blocks that never move and are reused.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

pub(crate) use super::blocks::BLOCK;
use super::blocks::Blocks;
use super::holders::{Holders, Holding, Owned, Owner};

/// Octets of the first block if the client has not announced the size of its message. Most messages
/// are small, and a slow client must not hold much memory.
pub(crate) const FIRST: usize = 8 << 10;
/// Time for which unused blocks stay in the pool. New memory from the system is zeroed page by
/// page, which costs as much as copying the mail data.
const KEPT: Duration = Duration::from_secs(10);

/// Memory limit for the mail data of all sessions that share this budget.
///
/// When the budget is exhausted, a client that sends more gets `452 4.3.1` at the end of its mail
/// data. The client retries later, so no mail is lost. Messages that already hold memory are not
/// affected, unless the client is slow: a message that fills no block for ten seconds gives up its
/// memory.
///
/// Blocks of finished messages are pooled for reuse. Pooled blocks count towards the limit and are
/// freed when the memory is needed. Blocks that were not needed for ten seconds are returned to the
/// allocator. This happens when a session begins, when a transaction ends, and in
/// [`tidy`](Self::tidy), so a burst of large mail leaves no memory allocated. Copies that scorers
/// make of a message (joined or decoded) are not counted.
///
/// Whether the memory is returned to the system depends on the allocator. glibc keeps free memory
/// that lies between allocations in use, and reuses it. `malloc_trim` returns it to the system;
/// `front_door` calls `tidy` and `malloc_trim` every ten seconds. An allocator that asks for huge
/// pages (mimalloc, in the example `on_tokio`) saves a tenth of the CPU time for messages of 10
/// MiB.
///
/// ```
/// use nobounce::Settings;
/// use nobounce::message::Budget;
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
    /// Octets that are charged to the budget now.
    used: usize,
    /// Pooled blocks. Together with the blocks in use they stay within the limit.
    spare: [Spare; 2],
    /// Start of the current period, in which the pool counts the blocks that are not needed.
    since: Option<Instant>,
    owned: Owned,
    holders: Holders,
}

/// Pooled blocks of one size. Blocks are taken from the end and returned to the end.
struct Spare {
    size: usize,
    blocks: Vec<Vec<u8>>,
    /// Number of blocks, counted from the front, that were not needed in the current period.
    unneeded: usize,
}

impl Budget {
    /// Creates a budget of this many octets. A clone shares the same budget.
    pub fn new(octets: usize) -> Self {
        let spare = [BLOCK, FIRST].map(|size| Spare { size, blocks: Vec::new(), unneeded: 0 });
        let (owned, holders) = Default::default();
        let held = Mutex::new(Held { used: 0, spare, since: None, owned, holders });
        Self(Arc::new(Shared { limit: octets, held }))
    }

    /// Returns the limit in octets.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Returns the octets that are charged to the budget now.
    pub fn used(&self) -> usize {
        self.0.held().used
    }

    /// Returns blocks that were not needed for ten seconds to the allocator. Sessions call this
    /// when they begin and when a transaction ends. A host that may be without sessions for long
    /// can call it from a timer.
    pub fn tidy(&self, now: Instant) {
        let unneeded = self.0.held().unneeded(now);
        // Frees the blocks after the lock is released.
        drop(unneeded);
    }

    /// Returns a block with room for this many octets, or `None` if the budget is exhausted.
    pub(crate) fn block(&self, room: usize) -> Option<Block> {
        self.block_for(room, None, None)
    }

    /// Returns a block as [`block`](Self::block) does, and charges it to the owner's share, too.
    /// Returns `None` if that share is exhausted. If the budget is exhausted, slow messages give up
    /// their memory to make room; without `now`, no message does.
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
            // Dropping the blocks locks the budget, so the lock is released first.
            drop(held);
            drop(slowest.give_up());
        };
        if octets.is_empty() {
            octets.reserve_exact(room);
        } else {
            // An earlier message may have filled only a part of the block. Extends the block to its
            // full length, so that data can be read into all of it.
            octets.resize(room, 0);
        }
        let owner = owner.map(Box::new);
        Some(Block { octets, filled: 0, room, owner, budget: self.clone() })
    }

    /// Returns an empty charge for memory that is not in blocks.
    pub(crate) fn charge(&self) -> Charge {
        Charge { budget: self.clone(), octets: 0 }
    }

    /// Returns whether the pool has a block of [`BLOCK`] octets.
    pub(crate) fn has_spare(&self) -> bool {
        self.0.held().spare(BLOCK).is_some_and(|spare| !spare.blocks.is_empty())
    }

    /// Registers a message that is being received. It may have to give up its full blocks before it
    /// is complete.
    pub(crate) fn hold(&self, now: Instant) -> Hold {
        let (id, holding) = self.0.held().holders.add(now);
        Hold { budget: self.clone(), id, holding }
    }
}

impl Default for Budget {
    /// Returns a budget of 512 MiB: ten concurrent messages of the largest size that is accepted by
    /// default.
    fn default() -> Self {
        Self::new(512 << 20)
    }
}

impl PartialEq for Budget {
    /// Compares the limits.
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
    /// Charges `room` octets and returns the memory of a pooled block, or an empty vector if the
    /// pool has none. Returns `None` if the owner's share is exhausted, and `Some(None)` if the
    /// budget is.
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

    /// Charges memory that is not in blocks. Returns whether the budget had room for it.
    fn spend(&mut self, octets: usize, limit: usize) -> bool {
        let used = self.used.checked_add(octets).filter(|used| *used <= limit);
        self.used = used.unwrap_or(self.used);
        self.give_way(limit);
        used.is_some()
    }

    /// Frees pooled blocks until they fit into the limit together with the memory in use.
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

    /// Refunds the charge of a block. Keeps the block in the pool if it has one of the usual sizes.
    fn put(&mut self, block: Vec<u8>, room: usize, owner: Option<&Owner>) {
        self.used -= room;
        if let Some(owner) = owner {
            self.owned.remove(owner, room);
        }
        if let Some(spare) = self.spare(room) {
            spare.blocks.push(block);
        }
    }

    /// Returns the pooled blocks of this size, if it is one of the usual sizes.
    fn spare(&mut self, size: usize) -> Option<&mut Spare> {
        self.spare.iter_mut().find(|spare| spare.size == size)
    }

    /// Removes and returns the blocks that were not needed for [`KEPT`], and starts a new period.
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

    /// Frees at least this many octets, or all blocks.
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

/// The full blocks of a message that is being received. Dropping it returns them to the budget.
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

    /// Records that the message has filled a block at `now`.
    pub(crate) fn touch(&self, now: Instant) {
        self.budget.0.held().holders.touch(self.id, now);
    }

    /// Returns whether the message had to give up its blocks because the budget was exhausted.
    pub(crate) fn is_given_up(&self) -> bool {
        self.holding.is_given_up()
    }

    /// Returns the blocks of a complete message, or `None` if they were given up.
    pub(crate) fn finish(self) -> Option<Blocks> {
        self.holding.take()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.budget.0.held().holders.remove(self.id);
    }
}

/// A charge for memory that is not in blocks. Dropping it refunds the charge.
pub(crate) struct Charge {
    budget: Budget,
    octets: usize,
}

impl Charge {
    /// Returns the octets that are charged.
    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    /// Charges this many more octets, all or none. Returns whether the budget had room for them.
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

/// Octets that never move, and room for more. Dropping it returns the memory to the budget.
pub(crate) struct Block {
    /// The filled octets, followed by leftover octets of an earlier message.
    octets: Vec<u8>,
    filled: usize,
    /// Capacity in octets, as charged.
    room: usize,
    /// The owner whose share is charged. Boxed, since most messages have only a block without an
    /// owner.
    owner: Option<Box<Owner>>,
    budget: Budget,
}

impl Block {
    /// Copies as many of the octets as fit, and returns how many.
    pub(crate) fn fill(&mut self, octets: &[u8]) -> usize {
        let octets = &octets[..octets.len().min(self.left())];
        let made = self.octets.get_mut(self.filled..self.filled + octets.len());
        match made {
            Some(made) => made.copy_from_slice(octets),
            // A new block ends at its filled length.
            None => self.octets.extend_from_slice(octets),
        }
        self.filled += octets.len();
        octets.len()
    }

    /// Returns the free part of the block that is already initialised. It is empty in a new block.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.octets[self.filled..]
    }

    /// Marks this many octets of [`room`](Self::room) as filled.
    pub(crate) fn filled(&mut self, length: usize) {
        self.filled = self.octets.len().min(self.filled + length);
    }

    /// Returns how many octets still fit.
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
    /// Shows the length only, since mail data is private.
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
