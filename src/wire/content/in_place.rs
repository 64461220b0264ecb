//! Mail data that is read from the client directly into its final place, without a copy.

use super::{BEFORE, CR, ContentDecoder, GLANCE, PIECE, is_plain};
use crate::wire::budget::Block;

impl ContentDecoder {
    /// Returns a buffer into which mail data can be read directly. It is part of a reused block,
    /// since a new block would have to be zeroed first. It is empty until the first octets have
    /// been received.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let is_full = self.filling.as_ref().is_some_and(Block::is_full);
        if is_full && self.fault().is_none() && self.budget.has_spare() {
            let next = self.next_block();
            if next.is_some() {
                self.put_away();
                self.filling = next;
            }
        }
        let held = usize::from(self.holds_cr());
        let room = self.filling.as_mut().map(Block::room).unwrap_or_default();
        room.get_mut(held..).unwrap_or_default()
    }

    /// Returns how many octets to read at once when [`room`](Self::room) is empty. These octets
    /// fill a block, so that the following ones can be read in place. The first read is small,
    /// since most messages are small.
    #[cfg(feature = "serve")]
    pub(crate) fn portion(&self) -> usize {
        match &self.filling {
            Some(block) if !block.is_full() => block.left(),
            None if self.size == 0 => crate::wire::budget::FIRST,
            _ => crate::wire::budget::BLOCK,
        }
    }

    /// Takes `length` octets of DATA that were read into the room, as long as the content is the
    /// same as on the wire. Returns how many octets it took, and the others, which the caller must
    /// decode.
    pub(crate) fn data_in_place(&mut self, length: usize) -> (usize, Vec<u8>) {
        self.take_in_place::<true>(length)
    }

    /// Takes octets of a BDAT chunk that were read into the room. The return value is as for
    /// [`data_in_place`](Self::data_in_place).
    pub(crate) fn chunk_in_place(&mut self, length: usize) -> (usize, Vec<u8>) {
        self.unlooked();
        self.take_in_place::<false>(length)
    }

    fn take_in_place<const DOTS: bool>(&mut self, length: usize) -> (usize, Vec<u8>) {
        let Some(mut block) = self.filling.take() else { return Default::default() };
        let held = usize::from(self.holds_cr());
        let room = block.room();
        let wire = room.get(held..).unwrap_or_default();
        let wire = &wire[..length.min(wire.len())];
        let (plain, rest) = wire.split_at(self.plain::<DOTS>(wire));
        let (taken, rest) = (plain.len(), rest.to_vec());
        if taken > 0 {
            let kept = held + taken - usize::from(plain.ends_with(b"\r"));
            self.remember(plain);
            if held > 0 {
                room[0] = CR;
            }
            self.last = kept.checked_sub(1).map_or(self.last, |last| room[last]);
            self.size = self.size.saturating_add(kept as u64);
            block.filled(kept);
        }
        self.filling = Some(block);
        self.free_if_faulty();
        (taken, rest)
    }

    /// Returns how many of these octets, from the front, are the same in the content as on the
    /// wire. The result may be a few octets too low.
    fn plain<const DOTS: bool>(&self, wire: &[u8]) -> usize {
        if wire.first().is_none_or(|first| !self.goes_on_plain::<DOTS>(*first)) {
            return 0;
        }
        let mut plain = 0;
        for step in [GLANCE, PIECE, BEFORE] {
            while plain < wire.len() {
                let end = wire.len().min(plain + step);
                if !is_plain::<DOTS>(wire, plain..end) {
                    break;
                }
                plain = end;
            }
        }
        plain
    }
}
