//! Octets in transit, and how they are split into pieces.

use std::collections::VecDeque;

use super::Chunking;

/// Octets in transit.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Lines, each with a flag that it must arrive in one piece.
    lines: VecDeque<(Vec<u8>, bool)>,
    /// Total length of the lines in octets.
    length: usize,
    /// Whether EOF follows the lines.
    pub(super) eof: bool,
}

impl Flight {
    /// Adds a line. With `glued`, it arrives in one piece with the previous line.
    pub(super) fn push(&mut self, octets: &[u8], glued: bool) {
        self.length += octets.len();
        match self.lines.back_mut() {
            Some((line, whole)) if glued => {
                line.extend_from_slice(octets);
                *whole = true;
            }
            _ => self.lines.push_back((octets.to_vec(), glued)),
        }
    }

    /// Returns the next piece to arrive.
    pub(super) fn take(&mut self, cutter: &mut Cutter) -> Option<Vec<u8>> {
        let mut left = if self.length > 0 { cutter.cut(self.length) } else { 0 };
        let mut piece = Vec::with_capacity(left);
        while left > 0
            && let Some((mut line, whole)) = self.lines.pop_front()
        {
            if !whole && line.len() > left {
                let rest = line.split_off(left);
                self.lines.push_front((rest, false));
            }
            left = left.saturating_sub(line.len());
            self.length -= line.len();
            piece.append(&mut line);
        }
        (!piece.is_empty()).then_some(piece)
    }

    /// Returns whether all octets have arrived and EOF follows. Returns `true` only once.
    pub(super) fn ends(&mut self) -> bool {
        self.lines.is_empty() && std::mem::take(&mut self.eof)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && !self.eof
    }
}

/// A splitter of arriving octets into pieces.
pub(super) struct Cutter {
    chunking: Chunking,
    state: u64,
}

impl Cutter {
    pub(super) fn new(chunking: Chunking) -> Self {
        let state = match chunking {
            Chunking::Random(seed) => seed,
            Chunking::Whole | Chunking::Octets => 0,
        };
        Self { chunking, state }
    }

    /// Returns how many of `length` octets arrive now, at least one.
    fn cut(&mut self, length: usize) -> usize {
        match self.chunking {
            Chunking::Whole => length,
            Chunking::Octets => 1,
            Chunking::Random(_) => {
                // Mix short and long pieces: choose a bound of a random order of magnitude, then a
                // random length within it.
                let bound = 1 << (self.random() % 8);
                1 + self.random() as usize % length.min(bound)
            }
        }
    }

    /// Returns a random number from SplitMix64 (Steele, Lea, Flood 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
