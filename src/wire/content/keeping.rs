//! Storage of decoded mail data, and the owner whose memory share is charged.

use std::time::Instant;

use bytes::Bytes;

use super::ContentDecoder;
use crate::wire::blocks::Blocks;
use crate::wire::budget::{BLOCK, Block, FIRST};
use crate::wire::holders::Owner;

impl ContentDecoder {
    /// Sets the owner whose share is charged for the content.
    pub(crate) fn set_owner(&mut self, owner: Option<Owner>) {
        self.owner = owner;
    }

    /// Sets the current time. Content that arrives slowly may have to give up its memory.
    pub(crate) fn tell_time(&mut self, now: Instant) {
        self.now = Some(now);
        if std::mem::take(&mut self.has_filled)
            && let Some(held) = &self.held
        {
            held.touch(now);
        }
    }

    pub(super) fn keep(&mut self, octets: &[u8]) {
        self.last = octets.last().copied().unwrap_or(self.last);
        self.size = self.size.saturating_add(octets.len() as u64);
        if self.fault().is_none() {
            self.store(octets);
            if !self.starved {
                return;
            }
        }
        self.free_if_faulty();
    }

    /// Frees all content if it cannot be kept to its end.
    pub(super) fn free_if_faulty(&mut self) {
        if self.fault().is_some() {
            self.starved |= self.held.take().is_some_and(|held| held.is_given_up());
            self.full = Blocks::default();
            self.filling = None;
        }
    }

    pub(super) fn store(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            if self.filling.as_ref().is_none_or(Block::is_full) {
                self.put_away();
                self.filling = self.next_block();
            }
            match &mut self.filling {
                Some(block) => octets = &octets[block.fill(octets)..],
                None => {
                    self.starved = true;
                    return;
                }
            }
        }
    }

    /// Moves the block that was being filled, which is full, to the full blocks.
    pub(super) fn put_away(&mut self) {
        let Some(block) = self.filling.take() else { return };
        let block = Bytes::from_owner(block);
        self.has_filled = true;
        if self.held.is_none() {
            self.held = self.now.map(|now| self.budget.hold(now));
        }
        match &self.held {
            Some(held) => held.push(block),
            None => self.full.push(block),
        }
    }

    /// Returns the next block. The first block has the announced size and is not charged to a
    /// share: small messages need no other block.
    pub(super) fn next_block(&self) -> Option<Block> {
        let is_first = self.full.is_empty() && self.held.is_none() && self.filling.is_none();
        let (room, owner) = match (is_first, self.announced) {
            (false, _) => (BLOCK, self.owner),
            (true, 0) => (FIRST, None),
            // If mail sent by BDAT does not end in CRLF, a line end is added.
            (true, announced) => (announced.saturating_add(b" \r\n".len()).min(BLOCK), None),
        };
        self.budget.block_for(room, owner, self.now)
    }
}
