//! Random numbers, all from one seed.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and the same on every machine.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Returns an independent generator, so that one user's draws never affect another's.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// Returns a number below `bound`, or 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).unwrap()
    }

    /// Returns `true` with a probability of `cases` permille.
    pub fn permille(&mut self, cases: usize) -> bool {
        self.below(1000) < cases
    }

    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len())]
    }

    /// Returns a duration of at most `most`. Every magnitude from a microsecond is equally likely.
    pub fn wait(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_micros()).unwrap().max(1);
        let magnitude = self.below(most.ilog2() as usize + 1);
        let micros = (1_u64 << magnitude) + self.next() % (1 << magnitude);
        Duration::from_micros(micros.min(most))
    }
}
