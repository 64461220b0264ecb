//! Octets in a list of blocks, which can be read like one contiguous buffer.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;

/// Block size in octets. It is small compared with a large message, and large enough that the cost
/// of passing a block on does not matter.
pub(crate) const BLOCK: usize = 64 << 10;

/// Octets in blocks. The first and the last block have any length, those between have [`BLOCK`]
/// octets, and none is empty. So one division finds the block of an octet. Blocks of other lengths
/// are [`pieces`](Self::pieces), for which it takes a binary search.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blocks {
    blocks: Vec<Bytes>,
    /// Where each block begins, if their lengths vary.
    begins: Option<Arc<[usize]>>,
}

impl Blocks {
    /// Creates a list of blocks of any length. None of them may be empty.
    pub(crate) fn pieces(pieces: &[Bytes]) -> Self {
        let begins = pieces.iter().scan(0, |end, piece| {
            let begin = *end;
            *end += piece.len();
            Some(begin)
        });
        Self { begins: Some(begins.collect()), blocks: pieces.to_vec() }
    }

    /// Appends a block, unless it is empty. The last block before it must be full, unless that is
    /// the first one.
    pub(super) fn push(&mut self, block: Bytes) {
        debug_assert!(
            self.blocks.get(1..).unwrap_or_default().iter().all(|block| block.len() == BLOCK)
        );
        if !block.is_empty() {
            self.blocks.push(block);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[Bytes] {
        &self.blocks
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.iter().map(Bytes::len).sum()
    }

    /// Returns at most the first `most` octets of the line that begins at `start`, and the place
    /// where the whole line ends, its line end included. The octets are copied only if they span
    /// several blocks.
    pub(crate) fn line(&self, start: usize, most: usize) -> (Cow<'_, [u8]>, usize) {
        let (at, offset) = self.locate(start);
        let Some(block) = self.blocks.get(at) else { return (Cow::default(), start) };
        let rest = &block[offset..];
        if let Some(end) = memchr(b'\n', rest) {
            return (rest[..most.min(end + 1)].into(), start + end + 1);
        }
        let mut head = Cow::from(&rest[..most.min(rest.len())]);
        let mut end = start + rest.len();
        for block in &self.blocks[at + 1..] {
            let line_end = memchr(b'\n', block).map(|end| end + 1);
            let length = line_end.unwrap_or(block.len());
            if head.len() < most {
                let more = length.min(most - head.len());
                head.to_mut().extend_from_slice(&block[..more]);
            }
            end += length;
            if line_end.is_some() {
                break;
            }
        }
        (head, end)
    }

    /// Returns at most the first `most` octets of the line that begins at `start`, its line end
    /// included. It scans no further than these octets. They are copied only if they span several
    /// blocks.
    pub(crate) fn head(&self, start: usize, most: usize) -> Cow<'_, [u8]> {
        let (at, offset) = self.locate(start);
        let Some(block) = self.blocks.get(at) else { return Cow::default() };
        let rest = &block[offset..];
        let within = &rest[..most.min(rest.len())];
        match memchr(b'\n', within) {
            Some(end) => (&within[..=end]).into(),
            None if within.len() == most => within.into(),
            None => self.line(start, most).0,
        }
    }

    /// Returns the position after the end of a line, its line end included. `start` is any place in
    /// that line.
    pub(crate) fn line_end(&self, start: usize) -> usize {
        self.line(start, 0).1
    }

    /// Returns the place of the first octet in this range for which `skipped` is false.
    pub(crate) fn skip(&self, range: Range<usize>, skipped: impl Fn(u8) -> bool) -> usize {
        let (first, mut offset) = self.locate(range.start);
        let mut place = range.start;
        for block in self.blocks.get(first..).unwrap_or_default() {
            let rest = &block[offset..block.len().min(offset + range.end - place)];
            let count = rest.iter().take_while(|octet| skipped(**octet)).count();
            place += count;
            if count < rest.len() || place >= range.end {
                break;
            }
            offset = 0;
        }
        place
    }

    /// Returns the octet at this place.
    pub(crate) fn get(&self, place: usize) -> Option<u8> {
        let (at, offset) = self.locate(place);
        self.blocks.get(at)?.get(offset).copied()
    }

    /// Returns the octets of this range, block by block.
    pub(crate) fn slices(&self, range: Range<usize>) -> impl Iterator<Item = Bytes> {
        let (first, mut offset) = self.locate(range.start);
        let mut left = range.len();
        self.blocks.get(first..).unwrap_or_default().iter().map_while(move |block| {
            let length = left.min(block.len().saturating_sub(offset));
            let slice = (length > 0).then(|| block.slice(offset..offset + length));
            (left, offset) = (left - length, 0);
            slice
        })
    }

    /// Returns the octets of this range in one piece. They are copied only if they span several
    /// blocks.
    pub(crate) fn join(&self, range: Range<usize>) -> Bytes {
        let length = range.len();
        let mut slices = self.slices(range);
        let first = slices.next().unwrap_or_default();
        if first.len() == length {
            return first;
        }
        let mut joined = Vec::with_capacity(length);
        joined.extend_from_slice(&first);
        slices.for_each(|slice| joined.extend_from_slice(&slice));
        joined.into()
    }

    /// Returns the index of the block that contains the octet, and its offset in that block.
    fn locate(&self, place: usize) -> (usize, usize) {
        if let Some(begins) = &self.begins {
            let block = begins.partition_point(|begin| *begin <= place).saturating_sub(1);
            return (block, place - begins.get(block).copied().unwrap_or_default());
        }
        let first = self.blocks.first().map_or(0, Bytes::len);
        match place.checked_sub(first) {
            None => (0, place),
            Some(rest) => (1 + rest / BLOCK, rest % BLOCK),
        }
    }
}

#[cfg(test)]
impl Blocks {
    /// Splits octets into blocks, the first of this length.
    pub(crate) fn cut(octets: &[u8], first: usize) -> Self {
        let (first, rest) = octets.split_at(first.min(octets.len()));
        let mut blocks = Self::default();
        [first].into_iter().chain(rest.chunks(BLOCK)).for_each(|block| {
            blocks.push(Bytes::copy_from_slice(block));
        });
        blocks
    }
}

impl From<Bytes> for Blocks {
    fn from(octets: Bytes) -> Self {
        let mut blocks = Self::default();
        blocks.push(octets);
        blocks
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the octets in pieces of these lengths, and the rest of them.
    fn in_pieces(mut octets: &[u8], lengths: &[usize]) -> Blocks {
        let mut pieces = Vec::new();
        for length in lengths.iter().copied().chain([usize::MAX]) {
            let (piece, rest) = octets.split_at(length.min(octets.len()));
            pieces.extend((!piece.is_empty()).then(|| Bytes::copy_from_slice(piece)));
            octets = rest;
        }
        Blocks::pieces(&pieces)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn blocks_read_like_one_piece(
            length in 0..3 * BLOCK,
            first in prop_oneof![Just(0), 1..100_usize, Just(BLOCK)],
            line in prop_oneof![1..100_usize, BLOCK - 1..3 * BLOCK],
            most in prop_oneof![0..10_usize, 0..3 * BLOCK],
            range in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
            pieces in prop::option::of(prop::collection::vec(1..BLOCK, 0..5)),
        ) {
            let octet = |at: usize| if at % line == line - 1 { b'\n' } else { at as u8 | 0x80 };
            let octets: Vec<u8> = (0..length).map(octet).collect();
            let blocks = match pieces {
                None => Blocks::cut(&octets, first),
                Some(lengths) => in_pieces(&octets, &lengths),
            };
            prop_assert_eq!(blocks.len(), length);

            let (mut at, mut lines) = (0, Vec::new());
            while at < length {
                let (line, end) = blocks.line(at, usize::MAX);
                prop_assert_eq!(&line[..], &octets[at..end]);
                prop_assert_eq!(blocks.line(at, most), (line[..most.min(line.len())].into(), end));
                prop_assert_eq!(blocks.head(at, most), &line[..most.min(line.len())]);
                prop_assert_eq!(blocks.line_end(at + most.min(line.len() - 1)), end);
                let dots = octets[at..end].iter().take_while(|octet| **octet & 3 > 0).count();
                prop_assert_eq!(blocks.skip(at..end, |octet| octet & 3 > 0), at + dots);
                lines.push(line.into_owned());
                at = end;
            }
            let expected: Vec<_> = octets.split_inclusive(|octet| *octet == b'\n').collect();
            prop_assert_eq!(lines, expected);
            prop_assert_eq!(blocks.line(length, most), (Cow::default(), length));
            prop_assert!(blocks.head(length, most).is_empty());

            let (one, other) = (range.0.index(length + 1), range.1.index(length + 1));
            let range = one.min(other)..one.max(other);
            let slices: Vec<Bytes> = blocks.slices(range.clone()).collect();
            prop_assert!(slices.iter().all(|slice| !slice.is_empty()));
            prop_assert_eq!(&slices.concat()[..], &octets[range.clone()]);
            prop_assert_eq!(&blocks.join(range.clone())[..], &octets[range.clone()]);
            prop_assert_eq!(blocks.get(range.start), octets.get(range.start).copied());
        }
    }

    #[test]
    fn content_in_one_block_is_not_copied() {
        let octets = b"ab\ncd\n".repeat(BLOCK);
        let blocks = Blocks::cut(&octets, 7);
        let place = blocks.as_slice()[1].as_ptr();
        assert_eq!(blocks.join(7..BLOCK).as_ptr(), place);
        assert!(matches!(blocks.line(9, 9), (Cow::Borrowed(_), 12)));
        assert!(matches!(blocks.line(6, 9), (Cow::Owned(_), 9)));
        let cut_off = Blocks::cut(b"ab\ncd", 3);
        assert!(matches!(cut_off.line(4, 9), (Cow::Borrowed(b"d"), 5)), "the last line has no end");
    }
}
